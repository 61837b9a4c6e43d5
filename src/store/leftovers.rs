//! Files that a writer left which broke off: never read, and in nobody's way.
//!
//! Must never name a file that anything reads.
//! Called by `operations::check`.

use super::{backup_file, durable, redb_adapter};
use std::path::{Path, PathBuf};

/// What lies beside the store, beside the mark and among the backups and was never finished. What cannot be looked at has
/// none.
#[must_use]
pub fn list(store: &Path, mark: &Path, backups: &Path) -> Vec<PathBuf> {
    let mut found = vec![redb_adapter::unfinished(store), durable::beside(mark, ".tmp")];
    found.retain(|path| path.symlink_metadata().is_ok());
    let entries = std::fs::read_dir(backups).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_leftover = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        backup_file::is_unfinished(name)
    };
    let mut in_backups: Vec<PathBuf> = entries.filter(is_leftover).collect();
    in_backups.sort();
    found.extend(in_backups);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_finished_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let look = || list(&at("keyd.redb"), &at("keyd.redb.mark"), directory.path());
        for name in ["keyd.redb", "keyd.redb.mark", "keyd-1.skb1", "notes.tmp"] {
            std::fs::write(at(name), b"").unwrap();
        }
        assert!(look().is_empty());
        for name in ["keyd.redb.new", "keyd.redb.mark.tmp", "keyd-1.skb1.tmp"] {
            std::fs::write(at(name), b"").unwrap();
        }
        assert_eq!(look(), [at("keyd.redb.new"), at("keyd.redb.mark.tmp"), at("keyd-1.skb1.tmp")]);
        assert!(list(&at("none"), &at("none"), &at("none")).is_empty());
    }
}
