//! A clock that jumps by years, forward and back: nothing that was acknowledged is lost, and nothing stops.
//!
//! Must never pass without a start at each time, and every value opened after it.
//! Called by cargo.

use super::test_rig::{BEGIN, DAY, Rig, id};
use crate::store::backup_file;
use std::sync::atomic::Ordering;

const YEAR: i64 = 365 * DAY;

/// Times that a clock may show: years ahead and behind, the epoch of a battery that is empty, and what no clock should.
const TIMES: [i64; 9] =
    [BEGIN + 20 * YEAR, BEGIN, BEGIN - 20 * YEAR, 0, BEGIN + YEAR, -YEAR, i64::MAX, i64::MIN, BEGIN + 1];

#[test]
fn a_clock_that_jumps_by_years_loses_no_version_value_request_or_newest_backup() {
    let mut rig = Rig::with_legacy();
    let mut sealed = Vec::new();
    for (round, time) in (1_u32..).zip(TIMES) {
        rig.clock.store(time, Ordering::Relaxed);
        let before = rig.keyring().generation;
        let rotated = rig.rotate("default", id(round)).unwrap();
        assert_eq!(rotated.version, round + 1, "at {time}");
        // The same again is the same call, whatever the clock showed at the first.
        assert_eq!(rig.rotate("default", id(round)).unwrap().version, round + 1, "at {time}");
        rig.create(&format!("key-{round}"), None).unwrap();
        sealed.push(rig.encrypt("default", &round.to_be_bytes()).unwrap().ciphertext);
        assert!(rig.keyring().generation > before, "at {time}");
        rig.check();
        rig = rig.restarted();
        for (ciphertext, round) in sealed.iter().zip(1_u32..) {
            assert_eq!(*rig.decrypt(ciphertext).unwrap().plaintext, round.to_be_bytes(), "at {time}");
        }
        let backups = backup_file::list(&rig.backups()).unwrap();
        let newest = backup_file::read(backups.last().unwrap()).unwrap();
        let kept = newest.records.keys().filter(|name| name.starts_with("version/")).count();
        let there = rig.snapshot().records.keys().filter(|name| name.starts_with("version/")).count();
        assert_eq!(kept, there, "at {time}: the newest backup holds every version");
        assert!(backups.len() >= usize::try_from(2 * round).unwrap().min(10), "at {time}: {} backups", backups.len());
    }
}

#[test]
fn a_request_of_a_time_ahead_is_remembered_and_one_of_long_ago_is_a_call_of_its_own() {
    let mut rig = Rig::new();
    rig.clock.store(BEGIN + 20 * YEAR, Ordering::Relaxed);
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
    rig.clock.store(BEGIN, Ordering::Relaxed);
    let mut rig = rig.restarted();
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2, "it was not repeated");
    rig.clock.store(BEGIN + 40 * YEAR, Ordering::Relaxed);
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 3, "a version more is no loss");
    rig.check();
}

#[test]
fn any_time_can_be_told() {
    for time in TIMES {
        assert!(!super::rfc3339(time).is_empty(), "{time}");
    }
}
