//! `servos-keyctl doctor`: everything that is to be mended, with the command that mends it; nothing else.
//!
//! Must never mend anything itself, nor end with 0 while something is to be mended.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::{count, push_list};
use super::rotate_key_file::KeyPlace;
use super::rotate_run;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{GetStatusResponse, StoreState};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One thing to look at: what is to be mended about it, each a sentence with the command.
type Check = fn(&GetStatusResponse) -> Vec<String>;

/// Every check by its name, the most urgent first.
const CHECKS: &[(&str, Check)] = &[
    ("warnings", warnings),
    ("store", store),
    ("records", records),
    ("key-file", key_file),
    ("rotate-run", rotate_run),
    ("next-key", next_key),
];

/// Runs every check on the daemon's status and on what lies beside it; ends with 1 if something is to be mended.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments) -> Result<(), Failure> {
    let status = socket.admin().status().await?;
    let found = examined(&status);
    let value = json!({
        "well": found.is_empty(),
        "to_mend": found.iter().map(|(check, text)| json!({"check": check, "text": text})).collect::<Vec<_>>(),
        "checks": CHECKS.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
    });
    console.result(&value, &text(&found))?;
    match found.len() {
        0 => Ok(()),
        number => {
            let number = u64::try_from(number).unwrap_or(u64::MAX);
            let failure = format!("{} to be mended", count(number, "thing"));
            Err(Failure::say(exit::NO, failure).with_hint("each names what mends it; servos-keyctl status tells all"))
        }
    }
}

fn examined(status: &GetStatusResponse) -> Vec<(&'static str, String)> {
    CHECKS.iter().flat_map(|(name, check)| check(status).into_iter().map(|text| (*name, text))).collect()
}

fn text(found: &[(&str, String)]) -> String {
    if found.is_empty() {
        return "Nothing to mend.\n".to_owned();
    }
    let mut text = String::new();
    push_list(&mut text, "To mend:", &found.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>());
    text.trim_start().to_owned()
}

/// What the daemon itself warns of.
fn warnings(status: &GetStatusResponse) -> Vec<String> {
    status.warnings.clone()
}

/// A store that takes no changes, where no warning tells why.
fn store(status: &GetStatusResponse) -> Vec<String> {
    let state = status.store.as_ref().map(crate::proto::v1::StoreStatus::state);
    let is_told = !status.warnings.is_empty();
    match state {
        Some(StoreState::Healthy | StoreState::ReadOnly) => Vec::new(),
        Some(StoreState::Failing | StoreState::Suspended) if is_told => Vec::new(),
        _ => vec!["The daemon does not say that its store takes changes: servos-keyctl status".to_owned()],
    }
}

/// What salvage could not open.
fn records(status: &GetStatusResponse) -> Vec<String> {
    match status.unopened_records.len() {
        0 => Vec::new(),
        number => {
            let number = count(u64::try_from(number).unwrap_or(u64::MAX), "record");
            vec![format!("{number} of the store could not be opened: servos-keyd restore FILE brings back a backup.")]
        }
    }
}

/// The key file that the daemon opens itself, and the new key beside it.
fn key_files(status: &GetStatusResponse) -> Option<(PathBuf, PathBuf)> {
    KeyPlace::find(status, None).ok()?.map(|place| (place.file, place.next))
}

/// Whether the next start would still take the key file. The daemon may see other files than the tool does: one that is
/// missing tells something only where its directory is there.
fn key_file(status: &GetStatusResponse) -> Vec<String> {
    let Some((file, _)) = key_files(status) else { return Vec::new() };
    let shown = file.display();
    match file.metadata() {
        Ok(metadata) => exposed(&file, metadata.permissions().mode()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.parent().is_some_and(Path::is_dir) => {
            vec![format!(
                "The key file {shown} is gone: the daemon serves from memory, and would not start again. Bring it \
                 back from where a copy is kept before anything restarts the daemon, and try it: servos-keyctl \
                 check-key --key-file {}",
                shell_quoted(&file)
            )]
        }
        Err(_) => Vec::new(),
    }
}

/// What others than the owner can do with a file that holds a key. That its group can read it may be meant.
fn exposed(file: &Path, mode: u32) -> Vec<String> {
    let problem = match mode {
        mode if mode & 0o022 != 0 => "others can change",
        mode if mode & 0o004 != 0 => "everyone can read",
        _ => return Vec::new(),
    };
    let mode = mode & 0o7777;
    vec![format!("{problem} {} (mode {mode:04o}), which holds a key: chmod 600 {}", file.display(), shell_quoted(file))]
}

/// A rotation by the tool that was cut off.
fn rotate_run(status: &GetStatusResponse) -> Vec<String> {
    rotate_run::interrupted_beside(status).into_iter().collect()
}

/// A new key that lies there while no rotation needs it: what a run has made, its own commands take away.
fn next_key(status: &GetStatusResponse) -> Vec<String> {
    let Some((file, next)) = key_files(status) else { return Vec::new() };
    let Ok(metadata) = next.metadata() else { return Vec::new() };
    let mut found = exposed(&next, metadata.permissions().mode());
    if status.rotation.is_none() && rotate_run::interrupted_beside(status).is_none() {
        found.push(format!(
            "{} holds a key, and no rotation is under way. If servos-keyctl check-key --key-file {} says that it is \
             the one in use, or it is not wanted, remove it: rm {}; else servos-keyctl rotate begin goes on with it, \
             to take the place of the one in {}.",
            next.display(),
            shell_quoted(&next),
            shell_quoted(&next),
            file.display()
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{MasterKeyStatus, Rotation, StoreStatus};
    use std::fs;

    fn well(directory: &Path) -> GetStatusResponse {
        let file = directory.join("master.key");
        fs::write(&file, "a key").unwrap();
        chmod(&file, 0o600);
        GetStatusResponse {
            store: Some(StoreStatus { state: StoreState::Healthy.into(), ..StoreStatus::default() }),
            master_key: Some(MasterKeyStatus {
                next_file: directory.join("master.key.next").display().to_string(),
                ..MasterKeyStatus::default()
            }),
            ..GetStatusResponse::default()
        }
    }

    fn chmod(file: &Path, mode: u32) {
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn names(status: &GetStatusResponse) -> Vec<&'static str> {
        examined(status).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_daemon_that_is_well_has_nothing_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        let mut status = well(dir.path());
        assert!(names(&status).is_empty());
        assert_eq!(text(&examined(&status)), "Nothing to mend.\n");
        // A daemon that opens no key file, or whose files the tool does not see.
        status.master_key.as_mut().unwrap().next_file = String::new();
        assert!(names(&status).is_empty());
        status.master_key.as_mut().unwrap().next_file = "/no/such/place/master.key.next".into();
        assert!(names(&status).is_empty());
    }

    #[test]
    fn every_warning_of_the_daemon_is_to_be_mended_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let status = GetStatusResponse {
            warnings: vec!["Rotate it.".into(), "Back it up.".into()],
            unopened_records: vec!["key/00".into()],
            ..well(dir.path())
        };
        assert_eq!(names(&status), ["warnings", "warnings", "records"]);
        assert!(text(&examined(&status)).starts_with("To mend:\n  - Rotate it.\n  - Back it up.\n  - 1 record "));
    }

    #[test]
    fn a_store_that_does_not_say_that_it_is_well_is_not_taken_for_well() {
        let dir = tempfile::tempdir().unwrap();
        for state in [StoreState::Unspecified, StoreState::Failing, StoreState::Suspended] {
            let store = Some(StoreStatus { state: state.into(), ..StoreStatus::default() });
            assert_eq!(names(&GetStatusResponse { store, ..well(dir.path()) }), ["store"]);
        }
        assert_eq!(names(&GetStatusResponse { store: None, ..well(dir.path()) }), ["store"]);
    }

    #[test]
    fn a_key_file_that_is_open_to_others_or_gone_is_told_with_what_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let status = well(dir.path());
        let file = dir.path().join("master.key");
        for (mode, said) in [(0o604, "everyone can read"), (0o620, "others can change"), (0o666, "others can change")] {
            chmod(&file, mode);
            let found = examined(&status);
            assert_eq!(names(&status), ["key-file"]);
            assert!(found[0].1.starts_with(said) && found[0].1.contains(": chmod 600 "), "{}", found[0].1);
        }
        // Its group may be the daemon's.
        chmod(&file, 0o440);
        assert!(names(&status).is_empty());
        fs::remove_file(&file).unwrap();
        let found = examined(&status);
        assert!(found[0].1.contains("is gone") && found[0].1.contains("servos-keyctl check-key --key-file "));
    }

    #[test]
    fn a_new_key_is_left_over_only_where_no_rotation_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let mut status = well(dir.path());
        let next = dir.path().join("master.key.next");
        fs::write(&next, "a key").unwrap();
        chmod(&next, 0o600);
        let found = examined(&status);
        assert_eq!(names(&status), ["next-key"]);
        assert!(found[0].1.contains("remove it: rm ") && found[0].1.contains("servos-keyctl rotate begin"));
        chmod(&next, 0o644);
        assert_eq!(names(&status), ["next-key", "next-key"]);
        status.rotation = Some(Rotation::default());
        assert_eq!(names(&status), ["next-key"]);
        chmod(&next, 0o600);
        assert!(names(&status).is_empty());
    }

    #[test]
    fn the_new_key_of_a_run_that_was_interrupted_is_not_removed_by_hand() {
        let dir = tempfile::tempdir().unwrap();
        let status = well(dir.path());
        for name in ["master.key.next", "master.key.rotation"] {
            fs::write(dir.path().join(name), "x").unwrap();
            chmod(&dir.path().join(name), 0o600);
        }
        let found = examined(&status);
        assert_eq!(names(&status), ["rotate-run"]);
        assert!(found[0].1.contains("--resume") && found[0].1.contains("--undo") && !found[0].1.contains("rm "));
    }

    #[test]
    fn every_check_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }
}
