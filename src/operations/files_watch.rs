//! A look whether the store, its mark and its backups are still where they were: what is removed under a running daemon is
//! lost, unnoticed, at its next end.
//!
//! Must never change anything, read more than a record, nor wait for a place that the store does not need.
//! Called by the writer, between its jobs.

use super::ledger::Ledger;
use crate::store::record;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How long a look waits for the backups' directory, once: it may lie on a network that does not answer, and then the
/// store's changes, the watchdog's test and the end of the daemon wait behind the writer.
const PATIENCE: Duration = Duration::from_millis(200);

/// A directory whatever its name: device and inode; none where there is none.
type Identity = Option<(u64, u64)>;

/// What was found beside the store. A mark is another file after each commit: of it is known whether it is there.
#[derive(Debug, Default)]
pub struct Seen {
    mark: Option<bool>,
    backups: Option<Identity>,
    /// A look at the backups' directory that has not come back.
    under_way: Option<Receiver<Identity>>,
}

impl Ledger {
    /// Looks. That the store is gone is told as any trouble with it; that something beside it is, a self-check finds out
    /// at once, and mends it where it can.
    pub(super) fn look_at_files(&mut self) {
        // An error is told by the ledger.
        let _ = self.read(record::META);
        // The mark lies beside the store, which has just been read.
        let mark = self.places.mark.exists();
        self.in_doubt |= differs(&mut self.seen.mark, mark);
        if let Some(backups) = self.seen.directory(&self.places.backups) {
            self.in_doubt |= differs(&mut self.seen.backups, backups);
        }
    }
}

impl Seen {
    /// The directory; none while that is not known. It is looked at by a thread of its own, and by one at a time.
    fn directory(&mut self, path: &Path) -> Option<Identity> {
        let (under_way, patience) = match self.under_way.take() {
            Some(under_way) => (under_way, Duration::ZERO),
            None => (look_at(path.to_owned())?, PATIENCE),
        };
        match under_way.recv_timeout(patience) {
            Ok(found) => Some(found),
            Err(RecvTimeoutError::Timeout) => {
                self.under_way = Some(under_way);
                None
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

/// None where there is no thread for it now.
fn look_at(path: PathBuf) -> Option<Receiver<Identity>> {
    let (sender, receiver) = sync_channel(1);
    let look = move || {
        let found = std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        // Nobody waits for it at the daemon's end.
        let _ = sender.send(found);
    };
    std::thread::Builder::new().name("look".to_owned()).spawn(look).ok().map(|_| receiver)
}

/// Takes what is so now; whether that was otherwise before. The first look is what later ones are compared with.
fn differs<T: PartialEq>(before: &mut Option<T>, now: T) -> bool {
    let differs = before.as_ref().is_some_and(|before| *before != now);
    *before = Some(now);
    differs
}

#[cfg(test)]
mod tests {
    use super::super::fake_store::locked;
    use super::super::test_rig::Rig;
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_told_without_anybody_s_asking() {
        let mut rig = Rig::new();
        rig.ledger.look_at_files();
        assert!(rig.engine.health.now().is_well());
        locked(&rig.medium).unreadable = true;
        rig.ledger.look_at_files();
        assert!(!rig.engine.health.now().is_well());
    }

    #[test]
    fn a_mark_or_backups_that_are_gone_or_others_are_looked_into_once() {
        let mut rig = Rig::new();
        let (mark, backups) = (rig.ledger.places.mark.clone(), rig.ledger.places.backups.clone());
        std::fs::create_dir_all(&backups).unwrap();
        std::fs::write(&mark, "").unwrap();
        let doubts = |rig: &mut Rig| {
            rig.ledger.look_at_files();
            while rig.ledger.seen.under_way.is_some() {
                rig.ledger.look_at_files();
            }
            std::mem::take(&mut rig.ledger.in_doubt)
        };
        assert!(!doubts(&mut rig), "the first look is what later ones are compared with");
        assert!(!doubts(&mut rig));
        std::fs::remove_file(&mark).unwrap();
        assert!(doubts(&mut rig) && !doubts(&mut rig));
        std::fs::rename(&backups, backups.with_extension("away")).unwrap();
        assert!(doubts(&mut rig) && !doubts(&mut rig));
        std::fs::create_dir(&backups).unwrap();
        assert!(doubts(&mut rig) && !doubts(&mut rig));
    }

    #[test]
    fn a_directory_that_does_not_answer_keeps_nobody_waiting_and_is_asked_once() {
        let mut seen = Seen::default();
        let place = tempfile::tempdir().unwrap();
        let (answer, under_way) = sync_channel(1);
        seen.under_way = Some(under_way);
        assert_eq!(seen.directory(place.path()), None);
        assert_eq!(seen.directory(place.path()), None);
        assert!(seen.under_way.is_some(), "the same look");
        answer.send(Some((1, 2))).unwrap();
        assert_eq!(seen.directory(place.path()), Some(Some((1, 2))));
        drop(answer);
        assert!(seen.under_way.is_none(), "the next is a new one");
        // One that broke off is no word on the directory.
        let (broken, under_way) = sync_channel(1);
        drop(broken);
        seen.under_way = Some(under_way);
        assert_eq!(seen.directory(place.path()), None);
        let mut found = None;
        while found.is_none() {
            found = seen.directory(place.path());
        }
        let own = std::fs::metadata(place.path()).unwrap();
        assert_eq!(found, Some(Some((own.dev(), own.ino()))));
    }
}
