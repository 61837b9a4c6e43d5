//! What can be wrong with a place the master key comes from, in words that name the place and what mends it.
//!
//! Must never hold or show a byte of what was read there.
//! Made by `config::key_source` and below; `cli` turns its class into an exit code.

use crate::sys::locked::LockedMemoryError;
pub use crate::telemetry::shell::shell_quoted;
use std::io;
use std::path::Path;

/// Why the master key's sources cannot be read. `place` is the source as [`super::key_source::KeySource`] names it.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// Nothing brings a key.
    #[error(
        "no master key is given: pass the systemd credential servos_master_key, \
         name a file with SERVOS_MASTER_KEY_FILE or [master_key] file, or set SERVOS_MASTER_KEY; \
         on a new installation `servos-keyctl generate-key FILE` makes one"
    )]
    NoSource,
    /// systemd has put [`super::key_source::NOT_FOUND`] in the place of the credential, and nothing else brings a key.
    #[error(
        "{place}: systemd found no such file when it started the unit: bring the one back that LoadCredential= in \
         `systemctl cat servos-keyd` names, nothing makes a new key; where the key lies in another file, name that in a drop-in, \
         as /usr/share/doc/servos-keyd/drop-ins/key-file.conf does"
    )]
    NotDelivered {
        /// The source.
        place: String,
    },
    /// The file that was named is not there.
    #[error("{place}: there is no such file; restore it from where the key is kept, nothing makes a new one")]
    Missing {
        /// The source.
        place: String,
    },
    /// The system does not let the daemon open the file.
    #[error(
        "{place}: permission denied for {user}: let systemd pass it with LoadCredential=, \
         or give it away with `{mend}`, and let that user through its directories", user = user_name(*daemon_uid)
    )]
    Denied {
        /// The source.
        place: String,
        /// The user the daemon runs as.
        daemon_uid: u32,
        /// The command that mends it.
        mend: String,
    },
    /// The same for the file with the key to come, which systemd has no hand in.
    #[error(
        "{place}: permission denied for {user}: give it away with `{mend}`, and let that user through its directories",
        user = user_name(*daemon_uid)
    )]
    NextDenied {
        /// The source.
        place: String,
        /// The user the daemon runs as.
        daemon_uid: u32,
        /// The command that mends it.
        mend: String,
    },
    /// Others can read or change the file.
    #[error("{place}: refused: {faults}")]
    Exposed {
        /// The source.
        place: String,
        /// Each fault with the command that mends it.
        faults: String,
    },
    /// A directory, FIFO, device or socket.
    #[error("{place}: is {kind}, not a file")]
    NotAFile {
        /// The source.
        place: String,
        /// What it is.
        kind: &'static str,
    },
    /// More than any key file or env file needs.
    #[error("{place}: is larger than {limit_bytes} bytes: neither a key file nor an env file")]
    TooLarge {
        /// The source.
        place: String,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// No byte, or nothing but blanks.
    #[error("{place}: is empty")]
    Empty {
        /// The source.
        place: String,
    },
    /// A NUL byte: raw bytes, or text of 16 bits a character.
    #[error("{place}: holds a NUL byte: a key is written as hex or base64, in plain ASCII (not UTF-16, not raw bytes)")]
    Nul {
        /// The source.
        place: String,
    },
    /// The mark that some editors write before UTF-8 text.
    #[error("{place}: begins with a byte order mark: save it as plain ASCII")]
    ByteOrderMark {
        /// The source.
        place: String,
    },
    /// Words of a recovery kit, and not the key that they are put together to.
    #[error(
        "{place}: holds words of a recovery kit, not a key: `servos-keyctl recover --share FILE --out KEY_FILE` makes a key \
         file of it"
    )]
    Words {
        /// The source.
        place: String,
    },
    /// A quote that is never closed.
    #[error("{place}: the quote opened on line {line} is never closed")]
    UnclosedQuote {
        /// The source.
        place: String,
        /// The line, from 1.
        line: usize,
    },
    /// The variable is there, its value is not.
    #[error("{place}: line {line} leaves {variable} empty")]
    EmptyValue {
        /// The source.
        place: String,
        /// The variable.
        variable: &'static str,
        /// The line, from 1.
        line: usize,
    },
    /// Neither a bare key nor an env file with the key in it.
    #[error("{place}: holds neither a key alone nor a line SERVOS_MASTER_KEY=")]
    NoKeyInside {
        /// The source.
        place: String,
    },
    /// A variable for a path that holds what looks like a key.
    #[error("{variable} holds what looks like a key, where the path of a file belongs")]
    PathLooksLikeKey {
        /// The variable.
        variable: &'static str,
    },
    /// The system failed to open or read it.
    #[error("{place}: cannot be read")]
    Unreadable {
        /// The source.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No locked memory to read into.
    #[error("{place}: there is no locked memory to read it into")]
    Memory {
        /// The source.
        place: String,
        /// What the system said.
        #[source]
        source: LockedMemoryError,
    },
}

/// The kinds that `cli` gives different exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// No key.
    NotFound,
    /// A mode, an owner, or the system's refusal.
    NotPermitted,
    /// Something else than a key is where the key should be.
    Malformed,
    /// The system failed.
    Unavailable,
}

impl KeySourceError {
    /// What kind of fault it is.
    #[must_use]
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::NoSource | Self::NotDelivered { .. } | Self::Missing { .. } => FaultClass::NotFound,
            Self::Denied { .. } | Self::NextDenied { .. } | Self::Exposed { .. } => FaultClass::NotPermitted,
            Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::Empty { .. }
            | Self::Nul { .. }
            | Self::ByteOrderMark { .. }
            | Self::Words { .. }
            | Self::UnclosedQuote { .. }
            | Self::EmptyValue { .. }
            | Self::NoKeyInside { .. }
            | Self::PathLooksLikeKey { .. } => FaultClass::Malformed,
            Self::Unreadable { .. } | Self::Memory { .. } => FaultClass::Unavailable,
        }
    }
}

/// A user as people know them: by name where there is one.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

/// The command that gives a file to somebody: what has the name itself, or what its link names now, and not what a link that
/// somebody puts there meanwhile would name.
#[must_use]
pub fn chown(owner: &str, path: &Path) -> String {
    let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let target = is_link.then(|| path.canonicalize().ok()).flatten();
    format!("chown -h {owner} {}", shell_quoted(target.as_deref().unwrap_or(path)))
}

/// A user as chown(1) takes them.
#[must_use]
pub fn chown_name(uid: u32) -> String {
    let name = user_name(uid);
    name.strip_prefix("user ").map(str::to_owned).unwrap_or(name)
}
