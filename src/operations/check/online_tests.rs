//! The self-check on a fake medium: what it takes for damage, what it mends, and that a change in between is neither.
//!
//! Must never sleep: steps are taken by hand, whenever they would be due.
//! Run by `cargo test`.

use super::*;
use crate::custody::snapshot;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::backup;
use crate::operations::fake_store::locked;
use crate::operations::load;
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::Rig;
use crate::store::port::Snapshot;
use crate::store::record;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn new(rig: &Rig) -> SelfCheck {
    SelfCheck::new(DAY, || (), &rig.engine)
}

/// A whole check.
fn checked(rig: &mut Rig) -> SelfCheckState {
    new(rig).whole(&mut rig.ledger)
}

/// A rig with a backup that the check has found good.
fn good() -> Rig {
    let mut rig = Rig::new();
    backup::write(&mut rig.ledger).unwrap();
    let state = checked(&mut rig);
    assert_eq!((state.outcome, state.mended), (Outcome::Sound, Vec::<String>::new()));
    rig
}

/// Makes the MAC fit again, as one who has the root could.
fn sign(rig: &Rig, snapshot: &mut Snapshot) {
    let (root, store) = (&rig.ledger.root, &rig.ledger.store_id);
    let mac = snapshot::mac(root, store, snapshot.generation, &load::digests(snapshot));
    snapshot.records.insert(record::MAC.to_owned(), mac.to_vec());
}

fn first(snapshot: &Snapshot, begin: &str) -> String {
    snapshot.records.keys().find(|name| name.starts_with(begin)).unwrap().clone()
}

fn flip(snapshot: &mut Snapshot, begin: &str) {
    let name = first(snapshot, begin);
    *snapshot.records.get_mut(&name).unwrap().last_mut().unwrap() ^= 1;
}

fn flip_in_the_middle(snapshot: &mut Snapshot, name: &str) {
    let value = snapshot.records.get_mut(name).unwrap();
    let middle = value.len() / 2;
    value[middle] ^= 1;
}

#[test]
fn each_damage_stops_changes_and_copies_until_a_later_check_finds_it_gone() {
    type Damage = fn(&Rig, &mut Snapshot);
    let cases: [(&str, Damage, &str); 10] = [
        ("a seal", |_, s| flip(s, "version/"), "mac:"),
        ("a seal under a MAC that fits", |rig, s| (flip(s, "version/"), sign(rig, s)).1, "versions: record version/"),
        ("the MAC", |_, s| flip(s, "mac"), "mac:"),
        ("the root", |_, s| flip_in_the_middle(s, "master"), "root:"),
        ("the canary", |rig, s| (flip(s, "canary"), sign(rig, s)).1, "canary: the canary does not open"),
        ("no identity", |rig, s| (drop(s.records.remove("identity")), sign(rig, s)).1, "identity: record identity"),
        ("no key", |rig, s| (drop(s.records.remove(&first(s, "key/"))), sign(rig, s)).1, "belongs to no key"),
        (
            "no version",
            |rig, s| (drop(s.records.remove(&first(s, "version/"))), sign(rig, s)).1,
            "the primary version of",
        ),
        ("a record of nobody's", |rig, s| (drop(s.records.insert("odd".into(), vec![])), sign(rig, s)).1, "record odd"),
        ("another generation", |_, s| s.generation += 1, "file: the file is at generation"),
    ];
    for (case, damage, said) in cases {
        let mut rig = good();
        let whole = rig.snapshot();
        let mut damaged = whole.clone();
        damage(&rig, &mut damaged);
        locked(&rig.medium).snapshot = damaged;
        let state = checked(&mut rig);
        assert_eq!(state.outcome, Outcome::Damaged, "{case}");
        assert!(state.problems.iter().any(|problem| problem.contains(said)), "{case}: {:?}", state.problems);
        assert!(state.problems[0].contains(&format!("`servos-keyd restore {}`", state.backup)), "{:?}", state.problems);
        assert!(!rig.engine.health.now().is_well(), "{case}");
        assert!(matches!(rig.rotate("default", None), Err(Refusal::Damaged(_))), "{case}");
        assert!(matches!(backup::write(&mut rig.ledger), Err(Refusal::Damaged(_))), "{case}");
        rig.encrypt("default", b"x").unwrap();
        locked(&rig.medium).snapshot = whole;
        assert_eq!(checked(&mut rig).outcome, Outcome::Sound, "{case}");
        assert!(rig.engine.health.now().is_well(), "{case}");
        rig.rotate("default", None).unwrap();
    }
}

#[test]
fn a_store_that_cannot_be_read_is_told_and_is_no_damage() {
    let mut rig = good();
    locked(&rig.medium).unreadable = true;
    let state = checked(&mut rig);
    assert_eq!(state.outcome, Outcome::Problems);
    assert!(state.problems[0].contains("could not be read"), "{:?}", state.problems);
    assert!(rig.engine.health.now().is_well());
    locked(&rig.medium).unreadable = false;
    rig.rotate("default", None).unwrap();
    assert_eq!(checked(&mut rig).outcome, Outcome::Sound);
}

#[test]
fn a_backup_that_is_missing_damaged_another_keys_or_too_old_is_followed_by_a_new_one() {
    let mut rig = Rig::new();
    let state = checked(&mut rig);
    assert_eq!(state.outcome, Outcome::Sound);
    assert!(state.mended[0].contains("there is no backup in"), "{:?}", state.mended);
    assert_eq!(checked(&mut rig).mended, Vec::<String>::new());
    // The one that holds the new version, and so the newest, goes.
    rig.rotate("default", None).unwrap();
    std::fs::remove_file(backups::newest_first(&rig.backups(), None).unwrap().remove(0)).unwrap();
    let state = checked(&mut rig);
    assert!(state.mended[0].contains("is in no backup"), "{:?}", state.mended);
    assert_eq!(state.backup, backups::newest_first(&rig.backups(), None).unwrap()[0].display().to_string());
    // A backup of damaged records, whole by its digest.
    rig.rotate("default", None).unwrap();
    let path = backups::newest_first(&rig.backups(), None).unwrap().remove(0);
    let mut found = crate::store::backup_file::read(&path).unwrap();
    found.records.remove("identity");
    std::fs::write(&path, crate::store::backup_file::encode(&found).unwrap()).unwrap();
    let state = checked(&mut rig);
    assert!(state.mended[0].contains("is damaged: record identity is missing, and 1 more"), "{:?}", state.mended);
    assert!(path.exists(), "it is never removed");
}

#[test]
fn a_change_between_two_steps_is_neither_damage_nor_a_version_in_no_backup() {
    for after in 1..4 {
        let mut rig = good();
        let mut check = new(&rig);
        for _ in 0..after {
            check.step(&mut rig.ledger);
        }
        rig.rotate("default", None).unwrap();
        let state = check.whole(&mut rig.ledger);
        assert_eq!((state.outcome, state.mended), (Outcome::Sound, Vec::new()), "after {after} steps");
        rig.check();
    }
}

#[test]
fn a_step_is_followed_by_a_pause_and_nothing_is_held_between_two_checks() {
    let mut rig = good();
    let mut check = new(&rig);
    assert!(check.next_due() > Instant::now() + DAY.min(FIRST) - Duration::from_secs(60));
    check.step(&mut rig.ledger);
    assert!(!matches!(check.stage, Stage::Waiting));
    let before = Instant::now();
    check.step(&mut rig.ledger);
    assert!(check.next_due() > before);
    let state = check.whole(&mut rig.ledger);
    assert!(matches!(check.stage, Stage::Waiting));
    assert_eq!(state.next, state.at + i64::try_from(DAY.as_secs()).unwrap() - 1);
    // One that broke off is begun anew.
    check.step(&mut rig.ledger);
    check.broke_off(&rig.engine);
    assert!(matches!(check.stage, Stage::Waiting) && check.next_due() > Instant::now());
    assert_eq!(check.whole(&mut rig.ledger).outcome, Outcome::Sound);
}

#[test]
fn while_changes_are_refused_for_another_reason_nothing_is_judged() {
    let mut rig = good();
    rig.ledger.suspend(&std::io::Error::other("planted"));
    let mut check = new(&rig);
    check.step(&mut rig.ledger);
    assert!(matches!(check.stage, Stage::Waiting));
    assert!(check.next_due() <= Instant::now() + LATER);
}

#[test]
fn many_faults_are_told_up_to_a_bound() {
    let mut rig = good();
    for n in 0..20 {
        rig.create(&format!("key-{n}"), None).unwrap();
    }
    let mut damaged = rig.snapshot();
    for (name, value) in &mut damaged.records {
        if name.starts_with("version/") {
            *value.last_mut().unwrap() ^= 1;
        }
    }
    locked(&rig.medium).snapshot = damaged;
    let state = checked(&mut rig);
    assert_eq!(state.problems.len(), 21);
    // 28 versions, 28 keys without a primary version, and the MAC.
    assert_eq!(state.problems[20], "... and 37 more");
}

#[test]
fn a_check_that_could_not_read_the_store_does_not_take_back_what_one_before_it_found() {
    let mut rig = good();
    let whole = rig.snapshot();
    flip(&mut locked(&rig.medium).snapshot, "version/");
    assert_eq!(checked(&mut rig).outcome, Outcome::Damaged);
    locked(&rig.medium).unreadable = true;
    let state = checked(&mut rig);
    assert_eq!(state.outcome, Outcome::Damaged, "{:?}", state.problems);
    assert!(!rig.engine.health.now().is_well());
    locked(&rig.medium).unreadable = false;
    assert!(matches!(rig.rotate("default", None), Err(Refusal::Damaged(_))));
    locked(&rig.medium).snapshot = whole;
    assert_eq!(checked(&mut rig).outcome, Outcome::Sound);
    rig.rotate("default", None).unwrap();
}

#[test]
fn damage_stops_changes_when_it_is_found_and_not_only_when_the_backup_was_gone_through() {
    let mut rig = good();
    flip(&mut locked(&rig.medium).snapshot, "version/");
    let mut check = new(&rig);
    while !matches!(check.stage, Stage::Backup(..)) {
        check.step(&mut rig.ledger);
    }
    assert!(matches!(rig.rotate("default", None), Err(Refusal::Damaged(_))));
    assert!(!rig.engine.health.now().is_well());
    // Nor is it forgotten where the rest of the check is given up.
    check.broke_off(&rig.engine);
    assert!(matches!(rig.rotate("default", None), Err(Refusal::Damaged(_))));
    // The refusal names status, which tells of it.
    let told = rig.engine.progress.self_check();
    assert!(told.outcome == Outcome::Damaged && told.problems[0].contains("`servos-keyd fsck`"), "{told:?}");
}

#[test]
fn a_backup_that_is_damaged_again_under_the_same_name_is_put_aside_again() {
    let mut rig = good();
    let path = backups::newest_first(&rig.backups(), None).unwrap().remove(0);
    for times in 1..4 {
        std::fs::write(&path, format!("damaged for the {times}. time")).unwrap();
        let state = checked(&mut rig);
        assert_eq!(state.outcome, Outcome::Sound, "{times}: {:?}", state.problems);
        assert!(state.mended[0].contains("a new backup was written"), "{:?}", state.mended);
    }
    let aside = std::fs::read_dir(rig.backups()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged"));
    assert_eq!(aside.count(), 3, "none of them is removed");
}

#[test]
fn a_legacy_key_that_is_in_no_backup_is_followed_by_one() {
    let mut rig = good();
    let permit = rig.whole();
    adopt_legacy_key(&permit, &mut rig.ledger, &b"0123456789abcdef".repeat(4), None).unwrap();
    // As by a directory that was full when the key was adopted.
    std::fs::remove_file(backups::newest_first(&rig.backups(), None).unwrap().remove(0)).unwrap();
    let state = checked(&mut rig);
    let own = rig.keyring().legacy[0].fingerprint;
    assert!(state.mended[0].contains(&format!("legacy key {own} is in no backup; a new")), "{:?}", state.mended);
    assert_eq!(checked(&mut rig).mended, Vec::<String>::new());
}

#[test]
fn a_copy_that_somebody_named_is_not_taken_for_the_newest_backup() {
    let mut rig = good();
    let newest = backups::newest_first(&rig.backups(), None).unwrap().remove(0);
    let copy = newest.display().to_string().replace("-0", "-before-0");
    std::fs::copy(&newest, copy).unwrap();
    let state = checked(&mut rig);
    assert_eq!((state.outcome, state.mended), (Outcome::Sound, Vec::<String>::new()));
    assert_eq!(state.backup, newest.display().to_string());
}
