//! A file that is replaced by one that differs in its bytes alone: what is judged before, and what is left when it fails.
//!
//! Must never need root, nor a file outside of a directory of its own.
//! Called by `cargo test`.

use super::same_file::{Replaced, clear_successor, replace_same};
use crate::cli::exit;
use crate::cli::failure::Failure;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

struct Stage {
    directory: tempfile::TempDir,
    path: PathBuf,
    file: File,
    before: Metadata,
}

fn stage() -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("servos.env");
    fs::write(&path, b"old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let file = File::open(&path).unwrap();
    let before = file.metadata().unwrap();
    Stage { directory, path, file, before }
}

impl Stage {
    fn replace(&self, is_good: &dyn Fn(&Path) -> Result<(), Failure>) -> Result<Replaced, Failure> {
        replace_same(&self.path, b"new", &self.file, &self.before, is_good)
    }

    fn successor(&self) -> PathBuf {
        self.directory.path().join(".servos.env.rotating")
    }

    /// What lies under the name, and nothing beside it.
    #[track_caller]
    fn alone(&self) -> Vec<u8> {
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), 1, "something was left beside it");
        fs::read(&self.path).unwrap()
    }
}

#[test]
fn the_new_file_is_judged_whole_before_it_takes_the_name() {
    let staged = stage();
    let judged = std::cell::Cell::new(false);
    let is_good = |written: &Path| {
        assert_eq!(fs::read(written).unwrap(), b"new");
        assert_eq!(written.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read(&staged.path).unwrap(), b"old", "it has the name already");
        judged.set(true);
        Ok(())
    };
    assert!(matches!(staged.replace(&is_good), Ok(Replaced::Done)));
    assert!(judged.get());
    assert_eq!(staged.alone(), b"new");
}

#[test]
fn a_new_file_that_is_not_good_leaves_the_old_one_and_nothing_beside_it() {
    let staged = stage();
    let refused = staged.replace(&|_| Err(Failure::say(exit::BUG, "not this one"))).unwrap_err();
    assert_eq!(refused.message, "not this one");
    assert_eq!(staged.alone(), b"old");
}

#[test]
fn what_somebody_changed_meanwhile_is_not_written_over() {
    for change in ["bytes", "another file", "a mode"] {
        let staged = stage();
        let is_good = |_: &Path| {
            match change {
                "bytes" => fs::write(&staged.path, b"theirs").unwrap(),
                "another file" => {
                    fs::remove_file(&staged.path).unwrap();
                    fs::write(&staged.path, b"old").unwrap();
                }
                _ => fs::set_permissions(&staged.path, Permissions::from_mode(0o600)).unwrap(),
            }
            Ok(())
        };
        let refused = staged.replace(&is_good).unwrap_err();
        assert_eq!(refused.exit, exit::TRY_AGAIN, "{change}");
        assert_ne!(staged.alone(), b"new", "{change}");
    }
}

#[test]
fn a_link_in_the_place_of_the_new_file_is_not_written_through() {
    let staged = stage();
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::write(elsewhere.path(), b"theirs").unwrap();
    symlink(elsewhere.path(), staged.successor()).unwrap();
    assert!(matches!(staged.replace(&|_| Ok(())), Ok(Replaced::Done)));
    assert_eq!((staged.alone(), fs::read(elsewhere.path()).unwrap()), (b"new".to_vec(), b"theirs".to_vec()));
    assert!(!staged.path.symlink_metadata().unwrap().is_symlink());
}

#[test]
fn what_a_killed_replacement_left_is_taken_away() {
    let staged = stage();
    fs::write(staged.successor(), b"half").unwrap();
    clear_successor(&staged.path).unwrap();
    clear_successor(&staged.path).unwrap();
    assert_eq!(staged.alone(), b"old");
}
