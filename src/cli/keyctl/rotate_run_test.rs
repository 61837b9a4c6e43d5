//! What `rotate run` asks a person at a terminal, and that nothing is made before the answer.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `cargo test`.

use super::rotate_stage::{NEW_KEY, OLD_KEY, RotationStage, assert_shows_no_key};
use crate::client::fake_daemon::lock;

const ENV: &str = "# a\nSERVOS_MASTER_KEY=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

#[test]
fn any_answer_but_yes_to_the_plan_makes_nothing() {
    let staged = RotationStage::with_file(OLD_KEY);
    for answer in ["no\n", "\n", "", "y\n", "YES\n"] {
        let outcome = staged.run_asking(&["run"], answer);
        assert_eq!(outcome.code, 1, "{answer:?}: {}", outcome.errors);
        for part in ["What will be done", "Make a new key in", "Type yes to go on"] {
            assert!(outcome.errors.contains(part), "{part}: {}", outcome.errors);
        }
        assert_eq!(staged.files(), ["master.key"], "{answer:?}");
    }
    assert!(lock(&staged.rules().begun).iter().all(|asked| asked.dry_run), "something was begun");
}

#[test]
fn before_an_env_file_is_changed_a_person_says_that_every_component_is_on_the_daemon() {
    let staged = RotationStage::with_file(ENV);
    for answer in ["yes\nno\n", "yes\nyes\n", "yes\n"] {
        let outcome = staged.run_asking(&["run"], answer);
        assert_eq!(outcome.code, 1, "{answer:?}: {}", outcome.errors);
        assert!(outcome.errors.contains("Is every component on the daemon?"), "{}", outcome.errors);
        assert!(outcome.errors.contains("Type migrated to go on"), "{}", outcome.errors);
        assert_eq!(staged.files(), ["master.key"], "{answer:?}");
    }
    // Who does not ask must have said it.
    let outcome = staged.run_asking(&["run", "--yes"], "yes\nmigrated\n");
    assert_eq!(outcome.code, 64, "{}", outcome.errors);
    assert!(outcome.errors.contains("--components-migrated"), "{}", outcome.errors);
    assert_eq!(staged.files(), ["master.key"]);
    // Who said it is not asked again.
    let outcome = staged.run_asking(&["run", "--components-migrated"], "no\n");
    assert_eq!(outcome.code, 1);
    assert!(!outcome.errors.contains("Is every component"), "{}", outcome.errors);
}

#[test]
fn what_the_daemon_refuses_is_not_asked_about_and_makes_nothing() {
    let staged = RotationStage::with_file(OLD_KEY);
    *lock(&staged.rules().refusal) = Some((tonic::Code::FailedPrecondition, "salvage: nothing is changed".into()));
    let outcome = staged.run_asking(&["run"], "yes\n");
    assert_ne!(outcome.code, 0);
    assert!(outcome.errors.contains("salvage: nothing is changed") && !outcome.errors.contains("Type yes"));
    assert_eq!(staged.files(), ["master.key"]);
}

#[test]
fn the_key_that_the_plan_is_asked_with_is_none_that_is_ever_used() {
    let staged = RotationStage::with_file(OLD_KEY);
    for _ in 0..2 {
        let outcome = staged.run(&["run", "--dry-run"]);
        assert_eq!(outcome.code, 0, "{}", outcome.errors);
        assert_shows_no_key(&outcome, &[OLD_KEY, NEW_KEY]);
    }
    let asked = lock(&staged.rules().begun).clone();
    assert!(asked.iter().all(|one| one.dry_run && one.new_key.len() == 64 && one.request_id.is_empty()));
    assert_ne!(asked[0].new_key_fingerprint, asked[1].new_key_fingerprint);
    assert_eq!(staged.files(), ["master.key"]);
}

#[test]
fn an_interrupted_run_is_told_by_rotate_status() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    let before = staged.run(&["status"]);
    assert!(!before.text().contains("rotate run --resume") && before.text().contains("rm "), "{}", before.text());
    staged.put("master.key.rotation", "{}\n");
    let told = staged.run(&["status"]);
    assert!(!told.text().contains("rm ") && !told.text().contains("rotate begin"), "{}", told.text());
    assert!(told.text().contains("master.key.rotation is there") && told.text().contains("--undo"), "{}", told.text());
}
