//! What lies beside the store, as it was last seen: its mark, the directory of its backups, and the sockets.
//!
//! Must never change anything there, nor wait for a place that the store does not need.
//! Held by `ledger`; called by `ledger_files`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How long a look waits for the backups' directory, once: it may lie on a network that does not answer, and then the
/// store's changes, the watchdog's test and the end of the daemon wait behind the writer.
const PATIENCE: Duration = Duration::from_millis(200);

/// A directory or socket whatever its name: device and inode; none where there is none.
pub(super) type Identity = Option<(u64, u64)>;

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) backups: Identity,
    pub(super) sockets: Vec<Identity>,
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

impl Seen {
    /// The directory and the sockets; none while that is not known. A thread of its own looks, asked once until it answers.
    pub(super) fn found(&mut self, backups: &Path, sockets: &[PathBuf]) -> Option<Found> {
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
    pub(super) fn gone(&mut self, sockets: &[PathBuf], now: Vec<Identity>) -> Vec<PathBuf> {
        let first = self.sockets.get_or_insert_with(|| now.clone());
        let compared = sockets.iter().zip(first.iter().zip(now));
        compared.filter(|(_, (first, now))| first.is_some() && *first != now).map(|(path, _)| path.clone()).collect()
    }

    /// Whether the mark is there and was not, or the other way round.
    pub(super) fn mark_differs(&mut self, now: bool) -> bool {
        differs(&mut self.mark, now)
    }

    /// Whether the directory is another one than it was, or gone.
    pub(super) fn backups_differ(&mut self, now: Identity) -> bool {
        differs(&mut self.backups, now)
    }

    /// Whether it knows nothing of the directory yet that it was asked.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        self.looker.as_ref().is_none_or(|looker| looker.is_asked)
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
    use super::*;
    use std::os::unix::net::UnixListener;

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
}
