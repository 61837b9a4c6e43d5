//! What the watchdog is fed with: a message sealed and opened with each live key, and a record of the store read.
//!
//! Must never call a daemon dead for a disk that answers with an error: what it serves needs memory alone, and a restart
//! would take even that away. A store that does not answer at all is another thing: no change would ever end.
//! Called by `cli`, as a job of the writer's: so the writer's thread must come to it.

use super::ledger::Ledger;
use super::refusal::Refusal;
use super::self_test;
use crate::store::record;

/// Whether the daemon does what it is there for.
///
/// # Errors
/// [`Refusal::Damaged`] names a key that does not open what it sealed; [`Refusal::Random`]. That the store answers with an
/// error is none here: the ledger tells `health` of it.
pub fn examine(ledger: &mut Ledger) -> Result<(), Refusal> {
    let engine = ledger.engine();
    self_test::run(&engine.keyring(), &*engine.random)?;
    // An error is an answer.
    let _ = ledger.read(record::META);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fake_store::locked;
    use super::super::test_rig::Rig;
    use super::*;

    #[test]
    fn a_store_that_answers_with_an_error_is_no_dead_daemon_and_health_tells_of_it() {
        let mut rig = Rig::new();
        let reads = locked(&rig.medium).reads;
        assert!(examine(&mut rig.ledger).is_ok() && rig.engine.health.now().is_well());
        assert_eq!(locked(&rig.medium).reads, reads + 1, "the store was read");
        locked(&rig.medium).unreadable = true;
        assert!(examine(&mut rig.ledger).is_ok());
        assert!(!rig.engine.health.now().is_well());
    }
}
