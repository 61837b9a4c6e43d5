//! A look whether the store, its mark and its backups are still where they were: what is removed under a running daemon is
//! lost, unnoticed, at its next end.
//!
//! Must never change anything, nor read more than a record.
//! Called by the writer, between its jobs.

use super::ledger::Ledger;
use crate::store::record;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What was found beside the store. A mark is another file after each commit: of it is known whether it is there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    looked: bool,
    mark: bool,
    backups: Option<(u64, u64)>,
}

impl Ledger {
    /// Looks. That the store is gone is told as any trouble with it; that something beside it is, a self-check finds out
    /// at once, and mends it where it can.
    pub(super) fn look_at_files(&mut self) {
        // An error is told by the ledger.
        let _ = self.read(record::META);
        let now = Seen { looked: true, mark: self.places.mark.exists(), backups: directory(&self.places.backups) };
        let before = std::mem::replace(&mut self.seen, now);
        self.in_doubt |= before.looked && before != now;
    }
}

fn directory(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::super::fake_store::locked;
    use super::super::test_rig::Rig;

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
}
