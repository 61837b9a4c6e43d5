//! What can be wrong with the configuration file, in words that name the file, the line and the key.
//!
//! Must never repeat a line of the file: someone may have written a key into it.
//! Made by `config::file`; shown by `cli`.

use std::io;
use std::path::PathBuf;

use super::obstacle::Obstacle;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named does not exist.
    #[error("the configuration file {} does not exist", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or read.
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// This user may not read it.
    #[error("the configuration file {} cannot be read by {user}: {}", path.display(), mended(obstacle.as_ref(), user))]
    Denied {
        /// The file.
        path: PathBuf,
        /// The user.
        user: String,
        /// What keeps it from that user, where modes are what closes it.
        obstacle: Option<Obstacle>,
    },
    /// A directory, a FIFO or a socket.
    #[error("the configuration {} is not a file", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// More bytes than any configuration needs.
    #[error("the configuration file {} is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Not UTF-8.
    #[error("{}:{line}: the configuration is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line of the first bad byte, from 1.
        line: usize,
    },
    /// Not TOML.
    #[error("{}:{line}: not TOML: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser expected; never text of the file.
        problem: String,
    },
    /// A section or key that does not exist.
    #[error("{}:{line}: unknown key {key}: {advice}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key as written, with its section.
        key: String,
        /// The nearest known key, or where to look.
        advice: String,
    },
    /// A known key with a value it cannot have.
    #[error("{}:{line}: {key}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with its section.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Two keys that name one file.
    #[error("{}: {first} and {second} name the same file, {}", path.display(), shared.display())]
    SameFile {
        /// The configuration file.
        path: PathBuf,
        /// One key.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The file both name.
        shared: PathBuf,
    },
}

impl ConfigError {
    /// The line that is wrong, where one is.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::NotText { line, .. }
            | Self::Syntax { line, .. }
            | Self::UnknownKey { line, .. }
            | Self::Invalid { line, .. } => Some(*line),
            Self::NotFound { .. }
            | Self::Unreadable { .. }
            | Self::Denied { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::SameFile { .. } => None,
        }
    }
}

fn mended(obstacle: Option<&Obstacle>, user: &str) -> String {
    match obstacle {
        Some(Obstacle::Private(place)) => format!(
            "{} is not to be opened to others: run this as root, or put the configuration where {user} can read it",
            place.display()
        ),
        Some(Obstacle::Modes(mend)) => format!("if the daemon runs as that user, {mend}; else run this as root"),
        None => format!("see that {user} can go through its directories"),
    }
}
