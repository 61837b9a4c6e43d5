//! `rotate finish` and `rotate abort` against a fake daemon: what is asked, awaited, removed, kept and refused.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `cargo test`.

use super::rotate_stage::{NEW_KEY, OLD_KEY, RotationStage, THIRD_KEY, assert_shows_no_key, fingerprint_of};
use crate::client::fake_daemon::lock;
use crate::client::fake_rotation::{OLD, rotation};
use crate::proto::v1::{Rotation, RotationState, RotationStep};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use tonic::Code;

/// A rotation to the new key at some step; none once it is over.
fn at(state: RotationState, step: RotationStep, done: u32) -> Option<Rotation> {
    Some(Rotation { done, total: 4, ..rotation(&fingerprint_of(NEW_KEY), state, step) })
}

fn pending() -> Option<Rotation> {
    at(RotationState::Pending, RotationStep::Waiting, 0)
}

/// The new key stands in the key file and in `.next`; the daemon finishes in steps.
fn ready() -> RotationStage {
    let staged = RotationStage::with_file(&format!("SERVOS_MASTER_KEY={NEW_KEY}\n"));
    staged.put("master.key.next", NEW_KEY);
    let resealing = |done| at(RotationState::Finishing, RotationStep::Resealing, done);
    let backup = at(RotationState::Finishing, RotationStep::Backup, 0);
    staged.tell_at_last(&[pending(), resealing(1), resealing(2), backup, None], &fingerprint_of(NEW_KEY));
    staged
}

#[test]
fn finish_waits_until_nothing_is_left_and_removes_the_next_file() {
    let staged = ready();
    staged.watch_next();
    let outcome = staged.run(&["finish", "--yes"]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert_eq!(*lock(&staged.rules().seen), [Some(NEW_KEY.to_owned())], "removed before the daemon decided");
    assert_eq!(staged.files(), ["master.key"]);
    for part in ["alone opens the store now", "Removed ", "making seals anew, 1 of 4", "writing a backup"] {
        assert!(outcome.errors.contains(part), "{part}: {}", outcome.errors);
    }
    assert_eq!(outcome.errors.matches("making seals anew").count(), 1, "a line for each look: {}", outcome.errors);
    for part in
        ["finished", "nothing is left", "keyd-0.skb1", "Restic", "re-encrypt", "each has a new version", "removed"]
    {
        assert!(outcome.text().contains(part), "{part}: {}", outcome.text());
    }
    assert_shows_no_key(&outcome, &[OLD_KEY, NEW_KEY]);
}

#[test]
fn a_terminal_sees_a_bar_and_programs_see_one_document() {
    let staged = ready();
    let seen = staged.run_asking(&["finish"], "yes\n");
    assert_eq!(seen.code, 0, "{}", seen.errors);
    assert!(seen.errors.contains("\rmaking seals anew [###############...............] 2 of 4"), "{:?}", seen.errors);
    assert!(seen.errors.contains("Type yes") && seen.errors.contains("nothing takes that back"));
    let asked: Vec<bool> = lock(&staged.rules().finished).iter().map(|asked| asked.dry_run).collect();
    assert_eq!(asked, [true, false]);
    let staged = ready();
    let outcome = staged.run(&["finish", "--yes", "--json"]);
    assert_eq!(outcome.errors, "");
    let answer = outcome.json();
    assert_eq!((&answer["rotation"]["state"], &answer["new_key_file_removed"]), (&"finished".into(), &true.into()));
    assert_eq!(answer["old_key_backups"].as_array().unwrap().len(), 1);
}

#[test]
fn finish_without_waiting_returns_at_once() {
    let staged = ready();
    let answer = staged.run(&["finish", "--yes", "--no-wait", "--json"]).json();
    assert_eq!(answer["rotation"]["state"], "finishing");
    assert_eq!(lock(&staged.rules().statuses).len(), 4, "only one status was asked for");
    assert!(!staged.next.exists());
}

#[test]
fn what_the_daemon_refuses_is_told_in_its_words_and_changes_no_file() {
    let words = "the credential still holds the old key: `systemctl restart servos-keyd`";
    for arguments in [["finish", "--yes"].as_slice(), &["finish", "--dry-run"], &["abort", "--yes"]] {
        let staged = ready();
        *lock(&staged.rules().refusal) = Some((Code::FailedPrecondition, words.into()));
        let outcome = staged.run(arguments);
        assert!(outcome.code == 65 && outcome.errors.contains(words), "{}", outcome.errors);
        assert_eq!(staged.files(), ["master.key", "master.key.next"]);
    }
    for command in ["finish", "abort"] {
        let staged = ready();
        *lock(&staged.rules().refusal) = Some((Code::FailedPrecondition, words.into()));
        let outcome = staged.run_asking(&[command], "yes\n");
        assert!(outcome.code == 65 && !outcome.errors.contains("Type yes"), "{}", outcome.errors);
    }
}

#[test]
fn nothing_ends_unconfirmed() {
    for command in ["finish", "abort"] {
        let staged = ready();
        let nobody = staged.run(&[command]);
        assert_eq!((nobody.code, staged.stage.calls()), (64, 0), "{}", nobody.errors);
        let staged = ready();
        let no = staged.run_asking(&[command], "no\n");
        assert_eq!(no.code, 1, "{}", no.errors);
        assert!(lock(&staged.rules().finished).iter().all(|asked| asked.dry_run));
        assert!(lock(&staged.rules().aborted).iter().all(|asked| asked.dry_run));
        assert!(staged.next.exists());
    }
}

#[test]
fn a_dry_run_of_the_end_changes_nothing() {
    for command in ["finish", "abort"] {
        let staged = ready();
        let answer = staged.run(&[command, "--dry-run", "--json"]).json();
        assert_eq!(answer["dry_run"], true);
        assert!(staged.next.exists() && lock(&staged.rules().statuses).len() == 4);
    }
}

#[test]
fn the_next_file_stays_unless_the_key_file_holds_the_same_key() {
    let table = [
        ("master.key", OLD_KEY.to_owned(), "holds another key"),
        ("master.key.next", THIRD_KEY.to_owned(), "it holds another key"),
        ("master.key", "damaged".to_owned(), "`servos-keyctl rotate finish` removes it"),
        ("master.key.next", NEW_KEY[2..].to_owned(), " stays: "),
    ];
    for (name, content, why) in table {
        let staged = ready();
        staged.put(name, &content);
        let outcome = staged.run(&["finish", "--yes"]);
        assert_eq!(outcome.code, 0, "{}", outcome.errors);
        assert!(staged.next.exists() && outcome.text().contains(why), "{}", outcome.text());
        assert!(!outcome.errors.contains("Removed"));
    }
    let staged = ready();
    fs::remove_file(&staged.file).unwrap();
    std::os::unix::fs::symlink(&staged.next, &staged.file).unwrap();
    assert!(staged.run(&["finish", "--yes"]).text().contains("leads to it") && staged.file.exists());
}

#[test]
fn a_next_file_that_begin_was_told_of_is_removed_when_finish_is_told_of_it_too() {
    let staged = RotationStage::given_its_key(NEW_KEY);
    staged.put("master.key.next", NEW_KEY);
    let tell = || staged.tell_at_last(&[pending(), None], &fingerprint_of(NEW_KEY));
    tell();
    assert_eq!(staged.run(&["finish", "--yes"]).code, 0);
    assert!(staged.next.exists(), "nobody said where it is");
    tell();
    assert_eq!(staged.run(&["finish", "--yes", "--key-file", staged.file.to_str().unwrap()]).code, 0);
    assert!(!staged.next.exists());
}

#[test]
fn without_a_rotation_there_is_nothing_to_end_but_a_file_to_remove() {
    for command in ["finish", "abort"] {
        let staged = RotationStage::with_file(OLD_KEY);
        let outcome = staged.run(&[command, "--yes"]);
        assert_eq!((outcome.code, staged.stage.calls()), (65, 0), "{}", outcome.errors);
        assert!(outcome.errors.contains(&fingerprint_of(OLD_KEY)), "{}", outcome.errors);
    }
    // A start of the daemon has finished it.
    let staged = RotationStage::with_file(NEW_KEY);
    staged.put("master.key.next", NEW_KEY);
    assert_eq!(staged.run(&["finish", "--yes"]).code, 65, "the key in it is not in use");
    staged.tell_at_last(&[None], &fingerprint_of(NEW_KEY));
    assert_eq!(staged.run(&["finish", "--dry-run"]).code, 65);
    let outcome = staged.run(&["finish"]);
    assert!(outcome.code == 0 && outcome.text().contains("removed"), "{}", outcome.errors);
    assert_eq!(staged.files(), ["master.key"]);
}

#[test]
fn without_a_rotation_a_next_file_that_stays_is_told_with_the_reason() {
    let finished = || {
        let staged = RotationStage::with_file(NEW_KEY);
        staged.put("master.key.next", NEW_KEY);
        staged.tell_at_last(&[None], &fingerprint_of(NEW_KEY));
        staged
    };
    let stays = |staged: &RotationStage, why: &str| {
        let outcome = staged.run(&["finish"]);
        assert_eq!(outcome.code, 65, "{}", outcome.errors);
        for part in ["no rotation of the master key is under way", &format!("{} stays", staged.next.display()), why] {
            assert!(outcome.errors.contains(part), "{part}: {}", outcome.errors);
        }
        assert_eq!(staged.files(), ["master.key", "master.key.next"]);
        assert_shows_no_key(&outcome, &[NEW_KEY, THIRD_KEY]);
    };
    let third = finished();
    third.put("master.key", THIRD_KEY);
    stays(&third, &format!("{} holds another key, {}", third.file.display(), fingerprint_of(THIRD_KEY)));
    let open = finished();
    fs::set_permissions(&open.next, fs::Permissions::from_mode(0o644)).unwrap();
    stays(&open, "mode 0644");
    let other = finished();
    other.put("master.key.next", THIRD_KEY);
    stays(&other, "it holds another key");
}

#[test]
fn what_does_not_go_on_ends_the_waiting_and_says_that_the_key_has_changed() {
    let staged = ready();
    let full = Rotation {
        problem: "no space is left for the backup".into(),
        ..at(RotationState::Finishing, RotationStep::Backup, 0).unwrap()
    };
    staged.tell_at_last(&[pending(), Some(full)], &fingerprint_of(NEW_KEY));
    let outcome = staged.run(&["finish", "--yes"]);
    assert_eq!(outcome.code, 75, "{}", outcome.errors);
    for part in ["no space is left for the backup", "alone opens the store already", "rotate status"] {
        assert!(outcome.errors.contains(part), "{part}: {}", outcome.errors);
    }
}

#[test]
fn a_daemon_that_restarts_meanwhile_is_waited_for_and_one_that_refuses_is_not() {
    let staged = ready();
    *lock(&staged.rules().silence_after_end) = Some((Code::Unavailable, 3));
    let outcome = staged.run(&["finish", "--yes"]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert_eq!(lock(&staged.rules().silence_after_end).unwrap().1, 0);
    let staged = ready();
    *lock(&staged.rules().silence_after_end) = Some((Code::PermissionDenied, 1));
    let outcome = staged.run(&["finish", "--yes"]);
    assert_eq!(outcome.code, 77, "{}", outcome.errors);
    assert!(outcome.errors.contains("alone opens the store already"), "{}", outcome.errors);
}

#[test]
fn a_daemon_on_whose_socket_nobody_listens_for_a_while_is_waited_for() {
    let staged = ready();
    let backup = at(RotationState::Finishing, RotationStep::Backup, 0);
    staged.tell_at_last(&[pending(), backup], &fingerprint_of(NEW_KEY));
    let socket = staged.stage.daemon.socket.clone();
    let away = staged.stage.file("away.sock");
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while lock(&staged.rules().finished).is_empty() && begun.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(5));
            }
            fs::rename(&socket, &away).unwrap();
            // A socket's file that outlives its listener refuses.
            drop(UnixListener::bind(&socket).unwrap());
            staged.stage.daemon.cut_connections();
            // Longer than the longest pause between two looks.
            std::thread::sleep(Duration::from_secs(2));
            staged.tell_at_last(&[None], &fingerprint_of(NEW_KEY));
            fs::rename(&away, &socket).unwrap();
        });
        staged.run(&["finish", "--yes"])
    });
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert_eq!(outcome.errors.matches("no daemon answers").count(), 1, "{}", outcome.errors);
    assert!(outcome.errors.contains("asked again for up to 60 seconds"), "{}", outcome.errors);
    assert!(outcome.text().contains("nothing is left"), "{}", outcome.text());
}

#[test]
fn an_end_with_another_key_than_the_one_decided_is_no_success() {
    let staged = ready();
    staged.tell_at_last(&[pending(), None], &fingerprint_of(THIRD_KEY));
    let outcome = staged.run(&["finish", "--yes"]);
    assert!(outcome.code == 65 && outcome.errors.contains(&fingerprint_of(THIRD_KEY)), "{}", outcome.errors);
}

#[test]
fn finish_again_goes_on_waiting_without_asking() {
    let staged = ready();
    staged.tell_at_last(&[at(RotationState::Finishing, RotationStep::Backup, 0), None], &fingerprint_of(NEW_KEY));
    let outcome = staged.run(&["finish"]);
    assert_eq!((outcome.code, staged.stage.calls()), (0, 1), "{}", outcome.errors);
}

#[test]
fn abort_keeps_the_next_file_and_says_what_to_do_about_it() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    let aborting = at(RotationState::Aborting, RotationStep::Rewriting, 0);
    staged.tell_at_last(&[pending(), aborting, None], OLD);
    let outcome = staged.run(&["abort", "--yes", "--new-data-keys"]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert!(lock(&staged.rules().aborted)[0].new_data_keys && staged.next.exists());
    assert!(outcome.errors.contains(&format!("{OLD} alone opens the store now")), "{}", outcome.errors);
    let rm = format!("`rm {}`", staged.next.display());
    for part in ["aborted", "keyd-0.skb1", "leaked", "begin --generate", &rm] {
        assert!(outcome.text().contains(part), "{part}: {}", outcome.text());
    }
    assert_shows_no_key(&outcome, &[OLD_KEY, NEW_KEY]);
}

#[test]
fn a_daemon_that_names_no_next_file_as_next_file_has_nothing_removed() {
    let staged = ready();
    let mut statuses = lock(&staged.rules().statuses).clone();
    for status in &mut statuses {
        status.master_key.as_mut().unwrap().next_file = staged.file.display().to_string();
    }
    *lock(&staged.rules().statuses) = statuses;
    assert_eq!(staged.run(&["finish", "--yes"]).code, 70);
    assert_eq!((staged.files().len(), staged.stage.calls()), (2, 0));
}
