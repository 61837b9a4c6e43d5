//! What makes a backup an older one: said with what to do rather than go back.
//!
//! Must never name a command that would lose what is newer without saying so.
//! Called by `known`, and by `start_failure` for its text.

use crate::telemetry::shell::shell_quoted;
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
        /// Versions of the backup that it does not name: somebody went back behind the backup before.
        lacks: usize,
    },
    /// A good backup of the same store.
    Backup {
        /// Its file.
        path: PathBuf,
        /// Its generation.
        generation: u64,
        /// The key it says it is sealed under, if the other backup is not.
        under: Option<String>,
        /// Versions of the given backup that it does not name.
        lacks: usize,
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
            Self::Store { path, generation, lacks } => {
                write!(
                    f,
                    "the store that is there, {}, is whole and newer: it is at generation {generation}, and what was made \
                     since is not in the backup",
                    path.display()
                )?;
                lacking(f, *lacks)
            }
            Self::Backup { path, generation, under, lacks } => {
                write!(f, "a newer one is there: {} is of generation {generation}", path.display())?;
                if let Some(key) = under {
                    write!(f, ", sealed under master key {key} in its own word")?;
                }
                lacking(f, *lacks)
            }
            Self::Mark { path, generation } => write!(
                f,
                "the high-water mark {} has seen generation {generation}: what was made since is not in the backup",
                path.display()
            ),
        }
    }
}

/// What is newer need not hold everything: after a restore of an older backup, generations go on above all others.
fn lacking(f: &mut std::fmt::Formatter<'_>, lacks: usize) -> std::fmt::Result {
    match lacks {
        0 => Ok(()),
        lacks => write!(f, "; but key versions that the backup holds are not in it: {lacks}"),
    }
}

impl Newer {
    /// What to do rather than go back, as the beginning of a sentence.
    pub(in super::super) fn instead(&self) -> String {
        match self {
            Self::Store { lacks: 1.., .. } => "Decide which of the two you need; ".to_owned(),
            Self::Store { .. } => "Start the daemon on it; ".to_owned(),
            Self::Backup { path, lacks: 1.., .. } => {
                let file = shell_quoted(path);
                format!("Decide which of the two you need; that one comes with `servos-keyd restore {file}`; ")
            }
            Self::Backup { path, .. } => {
                format!("Restore that one with `servos-keyd restore {}`; ", shell_quoted(path))
            }
            Self::Mark { .. } => "Look for a newer backup; ".to_owned(),
        }
    }
}
