//! A look whether the store, its mark, its backups and the sockets are still where they were: what is removed under a running
//! daemon is lost, unnoticed, at its next end, and without a socket nobody reaches it.
//!
//! Must never change anything, read more than a record, nor wait for a place that the store does not need.
//! Called by the writer, between its jobs.

use super::ledger::Ledger;
use crate::store::record;

impl Ledger {
    /// Looks. That the store is gone is told as any trouble with it; that something beside it is, a self-check finds out
    /// at once, and mends it where it can.
    pub(super) fn look_at_files(&mut self) {
        // An error is told by the ledger.
        let _ = self.read(record::META);
        // The mark lies beside the store, which has just been read.
        let mark = self.places.mark.exists();
        self.in_doubt |= self.seen.mark_differs(mark);
        let sockets = &self.engine.facts.sockets;
        if let Some(found) = self.seen.found(&self.places.backups, sockets) {
            self.in_doubt |= self.seen.backups_differ(found.backups);
            self.engine.found_gone(self.seen.gone(sockets, found.sockets));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_store::locked;
    use super::super::status::status;
    use super::super::test_rig::Rig;
    use std::path::PathBuf;

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
            while rig.ledger.seen.is_waiting() {
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
