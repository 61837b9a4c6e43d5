//! A look whether the store, its mark, its backups and the sockets are still where they were: what is removed under a running
//! daemon is lost, unnoticed, at its next end, and without a socket nobody reaches it.
//!
//! Must never change anything, read more than a record, nor wait for a place that the store does not need.
//! Called by the writer, between its jobs.

use super::ledger::Ledger;
use crate::store::record;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How long a look waits for the backups' directory, once: it may lie on a network that does not answer, and then the
/// store's changes, the watchdog's test and the end of the daemon wait behind the writer.
const PATIENCE: Duration = Duration::from_millis(200);

/// A directory or socket whatever its name: device and inode; none where there is none.
type Identity = Option<(u64, u64)>;

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    backups: Identity,
    sockets: Vec<Identity>,
}

/// What was found beside the store. A mark is another file after each commit: of it is known whether it is there.
#[derive(Debug, Default)]
pub struct Seen {
    mark: Option<bool>,
    backups: Option<Identity>,
    /// As they were at the first look.
    sockets: Option<Vec<Identity>>,
    looker: Option<Looker>,
}

/// The thread that looks where an answer may not come.
#[derive(Debug)]
struct Looker {
    /// Each has it look once; it ends when this is dropped.
    ask: SyncSender<()>,
    found: Receiver<Found>,
    /// It was asked, and has not answered.
    is_asked: bool,
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
        let sockets = &self.engine.facts.sockets;
        if let Some(found) = self.seen.found(&self.places.backups, sockets) {
            self.in_doubt |= differs(&mut self.seen.backups, found.backups);
            self.engine.found_gone(self.seen.gone(sockets, found.sockets));
        }
    }
}

impl Seen {
    /// The directory and the sockets; none while that is not known. A thread of its own looks, asked once until it answers.
    fn found(&mut self, backups: &Path, sockets: &[PathBuf]) -> Option<Found> {
        let looker = match &mut self.looker {
            Some(looker) => looker,
            none => none.insert(Looker::begin(backups.to_owned(), sockets.to_vec())?),
        };
        let patience = if looker.is_asked { Duration::ZERO } else { PATIENCE };
        if !looker.is_asked {
            // If it is gone, there is no answer either.
            looker.is_asked = looker.ask.try_send(()).is_ok();
        }
        match looker.found.recv_timeout(patience) {
            Ok(found) => {
                looker.is_asked = false;
                Some(found)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.looker = None;
                None
            }
        }
    }

    /// Those of the sockets that are not what they were. One that could not be seen from here at the start tells nothing.
    fn gone(&mut self, sockets: &[PathBuf], now: Vec<Identity>) -> Vec<PathBuf> {
        let first = self.sockets.get_or_insert_with(|| now.clone());
        let compared = sockets.iter().zip(first.iter().zip(now));
        compared.filter(|(_, (first, now))| first.is_some() && *first != now).map(|(path, _)| path.clone()).collect()
    }
}

impl Looker {
    /// None where there is no thread for it now.
    fn begin(backups: PathBuf, sockets: Vec<PathBuf>) -> Option<Self> {
        let ((ask, asked), (answer, found)) = (sync_channel(1), sync_channel(1));
        let identity = |path: &PathBuf| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        let look = move || {
            while let Ok(()) = asked.recv() {
                let sockets = sockets.iter().map(identity).collect();
                if answer.send(Found { backups: identity(&backups), sockets }).is_err() {
                    return;
                }
            }
        };
        let begun = std::thread::Builder::new().name("look".to_owned()).spawn(look);
        begun.ok().map(|_| Self { ask, found, is_asked: false })
    }
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
    use super::super::status::status;
    use super::super::test_rig::Rig;
    use super::*;
    use std::os::unix::net::UnixListener;

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
            while rig.ledger.seen.looker.as_ref().is_none_or(|looker| looker.is_asked) {
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
        let found = |seen: &mut Seen| seen.found(place.path(), &[]);
        let ((ask, asked), (answer, answers)) = (sync_channel(1), sync_channel(1));
        seen.looker = Some(Looker { ask, found: answers, is_asked: false });
        assert_eq!((found(&mut seen), found(&mut seen)), (None, None));
        assert_eq!((asked.try_recv().is_ok(), asked.try_recv().is_ok()), (true, false));
        answer.send(Found { backups: Some((1, 2)), sockets: Vec::new() }).unwrap();
        assert_eq!(found(&mut seen).unwrap().backups, Some((1, 2)));
        assert_eq!((found(&mut seen), asked.try_recv().is_ok()), (None, true));
        // One that broke off is no word on the directory, and another comes.
        drop((answer, asked));
        assert_eq!(found(&mut seen), None);
        let own = std::fs::metadata(place.path()).unwrap();
        let looked = std::iter::repeat_with(|| found(&mut seen)).flatten().next().unwrap();
        assert_eq!(looked.backups, Some((own.dev(), own.ino())));
    }

    #[test]
    fn a_socket_that_is_gone_or_anothers_is_told_until_it_is_back() {
        let place = tempfile::tempdir().unwrap();
        let (kept, away, absent) = (place.path().join("a"), place.path().join("b"), place.path().join("c"));
        let sockets = [kept.clone(), away.clone(), absent.clone()];
        let _listening = [UnixListener::bind(&kept).unwrap(), UnixListener::bind(&away).unwrap()];
        let mut seen = Seen::default();
        let mut gone = || {
            let found = std::iter::repeat_with(|| seen.found(place.path(), &sockets)).flatten().next().unwrap();
            seen.gone(&sockets, found.sockets)
        };
        assert!(gone().is_empty());
        std::fs::write(&absent, "").unwrap();
        let moved = away.with_extension("moved");
        std::fs::rename(&away, &moved).unwrap();
        assert_eq!(gone(), [away.as_path()], "and not one that was never seen");
        let another = UnixListener::bind(&away).unwrap();
        assert_eq!(gone(), [away.as_path()]);
        drop(another);
        std::fs::rename(&moved, &away).unwrap();
        assert!(gone().is_empty());
    }

    #[test]
    fn who_looks_at_the_daemon_is_told_of_a_socket_that_is_gone() {
        let rig = Rig::new();
        let told =
            || status(&rig.whole(), &rig.engine).warnings.iter().filter(|text| text.contains("/s is gone")).count();
        assert_eq!(told(), 0);
        rig.engine.found_gone(vec![PathBuf::from("/s")]);
        assert_eq!(told(), 1);
        rig.engine.found_gone(Vec::new());
        assert_eq!(told(), 0);
    }
}
