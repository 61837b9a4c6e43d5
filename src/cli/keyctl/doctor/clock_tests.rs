//! Tests of `clock`.
//!
//! Must never look at the clock of the machine that they run on.
//! Run by `cargo test`.

use super::*;
use crate::cli::keyctl::doctor::planted::Planted;
use crate::store::backup_file::{Backup, write_durably};
use crate::store::port::Snapshot;
use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

#[test]
fn a_clock_before_the_release_or_long_after_it_is_told() {
    let mut planted = Planted::well();
    for (now, id) in [(0, "clock-behind"), (RELEASED - 1, "clock-behind"), (2_500_000_000, "clock-ahead")] {
        planted.case.machine.now = now;
        let found = planted.sees(id, "timedatectl set-ntp true");
        assert!(found.text.contains("The clock shows "), "{}", found.text);
    }
    planted.case.machine.now = RELEASED + 1;
    assert!(planted.ids().is_empty());
}

#[test]
fn a_clock_before_the_last_change_of_the_store_its_backups_or_its_key_is_told() {
    let planted = Planted::well();
    let now = planted.case.machine.now;
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap());
    planted.write("state/keyd.redb", "");
    planted.write("state/keyd.redb.mark", "");
    let store = File::options().write(true).open(planted.at("state/keyd.redb")).unwrap();
    store.set_modified(at(now + 60)).unwrap();
    assert!(planted.ids().is_empty(), "a minute is no matter");
    store.set_modified(at(now + 3600)).unwrap();
    let found = planted.sees("clock-behind", "timedatectl");
    assert!(found.text.contains("keyd.redb"), "{}", found.text);
    store.set_modified(at(now - 60)).unwrap();
    let made = u64::try_from(now + 7200).unwrap();
    write_durably(&planted.at("state/backup"), &Backup::of([7; 16], made, Snapshot::default())).unwrap();
    let found = planted.sees("clock-behind", "timedatectl");
    assert!(found.text.contains("the backup "), "{}", found.text);
    let mut planted = Planted::well();
    planted.status().master_key.as_mut().unwrap().since = now + 86_400;
    let found = planted.sees("clock-behind", "timedatectl");
    assert!(found.text.contains("the master key in use"), "{}", found.text);
}
