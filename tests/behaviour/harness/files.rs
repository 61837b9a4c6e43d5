//! Every file below a directory, as it is: to prove that a run left them untouched byte for byte.
//!
//! Must never follow a link, or miss that a file was written again with the same bytes.
//! Used by tests of refusals.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is below a directory: each path with what is there.
pub type Files = BTreeMap<PathBuf, Entry>;

/// One thing in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `directory`, `file`, `socket` or `other`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// SHA-256 of a file's bytes.
    digest: Vec<u8>,
    /// When a file was last written, and its inode: one that was replaced differs.
    written: (i64, i64, u64),
}

/// Looks at everything below `directory`.
pub fn snapshot_of_files(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let mode = found.mode() & 0o7777;
            let kind = found.file_type();
            let mut seen = Entry { kind: "other", mode, digest: Vec::new(), written: (0, 0, 0) };
            if kind.is_dir() {
                seen.kind = "directory";
                waiting.push(path.clone());
            } else if kind.is_file() {
                seen.kind = "file";
                let bytes = std::fs::read(&path).unwrap();
                seen.digest = ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref().to_vec();
                seen.written = (found.mtime(), found.mtime_nsec(), found.ino());
            } else if kind.is_socket() {
                seen.kind = "socket";
            }
            files.insert(path.strip_prefix(directory).unwrap().to_owned(), seen);
        }
    }
    files
}

#[test]
fn a_byte_a_mode_a_new_file_and_a_file_written_again_all_show() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"one").unwrap();
    let before = snapshot_of_files(directory.path());
    assert_eq!(snapshot_of_files(directory.path()), before);
    std::fs::write(directory.path().join("more"), b"").unwrap();
    assert_ne!(snapshot_of_files(directory.path()), before);
    std::fs::remove_file(directory.path().join("more")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_ne!(snapshot_of_files(directory.path()), before);
    let before = snapshot_of_files(directory.path());
    std::fs::write(&file, b"two").unwrap();
    assert_ne!(snapshot_of_files(directory.path()), before);
    std::fs::write(directory.path().join("again"), b"two").unwrap();
    let before = snapshot_of_files(directory.path());
    std::fs::rename(directory.path().join("again"), &file).unwrap();
    std::fs::write(directory.path().join("again"), b"two").unwrap();
    assert_ne!(snapshot_of_files(directory.path()), before);
}
