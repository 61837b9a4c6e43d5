//! What makes a backup an older one: said with what to do rather than go back.
//!
//! Must never name a command that would lose what is newer without saying so.
//! Called by `known`, and by `start_failure` for its text.

use std::path::PathBuf;

/// What is known to be newer than a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Newer {
    /// The store in place, which the key opens whole.
    Store {
        /// The store.
        path: PathBuf,
        /// Its generation.
        generation: u64,
    },
    /// A good backup of the same store.
    Backup {
        /// Its file.
        path: PathBuf,
        /// Its generation.
        generation: u64,
        /// The key it says it is sealed under, if the other backup is not.
        under: Option<String>,
    },
    /// The mark alone: what it has seen may be in a backup elsewhere.
    Mark {
        /// The mark.
        path: PathBuf,
        /// The generation it has seen.
        generation: u64,
    },
}

impl std::fmt::Display for Newer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store { path, generation } => write!(
                f,
                "the store that is there, {}, is whole and newer: it is at generation {generation}, and what was made since \
                 is not in the backup",
                path.display()
            ),
            Self::Backup { path, generation, under } => {
                write!(f, "a newer one is there: {} is of generation {generation}", path.display())?;
                match under {
                    Some(key) => write!(f, ", sealed under master key {key} in its own word"),
                    None => Ok(()),
                }
            }
            Self::Mark { path, generation } => write!(
                f,
                "the high-water mark {} has seen generation {generation}: what was made since is not in the backup",
                path.display()
            ),
        }
    }
}

impl Newer {
    /// What to do rather than go back, as the beginning of a sentence.
    pub(in super::super) fn instead(&self) -> String {
        match self {
            Self::Store { .. } => "Start the daemon on it; ".to_owned(),
            Self::Backup { path, .. } => format!("Restore that one with `servos-keyd restore {}`; ", path.display()),
            Self::Mark { .. } => "Look for a newer backup; ".to_owned(),
        }
    }
}
