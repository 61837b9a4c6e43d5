//! The master key's sources as a rotation sees them: read anew at each question, each with the key it yields.
//!
//! Must never keep a key: whoever asks drops what it was given.
//! Called by the operations of a rotation; implemented by `cli` over `config`. What they yield, as it is shown, is held by `engine` and
//! told by `report` and `rpc`.

use crate::custody::id::Fingerprint;
use crate::custody::keys::MasterKey;

/// What a change of the source takes to reach the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing: the daemon opens the file itself, each time.
    Reread,
    /// A restart: a credential, or a file that is bind-mounted, keeps its old bytes under a running daemon.
    Restart,
    /// A restart with another environment: what the start was given is all there is.
    Environment,
}

/// A source with the key that it yields now.
pub struct HeldKey {
    /// How people know the source.
    pub source: String,
    /// What a change of it takes.
    pub renewal: Renewal,
    /// The key.
    pub key: MasterKey,
}

/// A key source with what it yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceView {
    /// How people know it.
    pub name: String,
    /// The key it yields.
    pub fingerprint: Fingerprint,
    /// What a change of it takes.
    pub renewal: Renewal,
}

/// What the sources yield.
#[must_use]
pub fn views(held: &[HeldKey]) -> Vec<SourceView> {
    let view = |held: &HeldKey| SourceView {
        name: held.source.clone(),
        fingerprint: held.key.fingerprint(),
        renewal: held.renewal,
    };
    held.iter().map(view).collect()
}

/// A source that cannot be read, or holds no key: a sentence with what mends it, and no byte of what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceUnreadable(pub String);

/// The sources. Reading blocks; it is done on the writer's thread, and at a start.
pub trait KeySources: Send {
    /// Every source that is present, in the order in which they count; at least one. They need not agree.
    ///
    /// # Errors
    /// [`SourceUnreadable`] for the first that cannot be read.
    fn read(&self) -> Result<Vec<HeldKey>, SourceUnreadable>;

    /// The new key from the `.next` beside a key file that the daemon opens, judged like that file; `None` if there is
    /// none. Where there are several, they agree.
    ///
    /// # Errors
    /// [`SourceUnreadable`] if one is there and cannot be read, or two hold different keys.
    fn read_next(&self) -> Result<Option<HeldKey>, SourceUnreadable>;

    /// Sees that the key files, and what lies beside them as `.next`, outlast a power cut: whoever put a key there may not
    /// have.
    ///
    /// # Errors
    /// [`SourceUnreadable`] if the disk does not take one.
    fn settle(&self) -> Result<(), SourceUnreadable>;

    /// The `.next` file that an operator is told to make: beside the first key file that the daemon opens itself.
    fn next_file(&self) -> Option<String>;

    /// The command that lets a running daemon see a changed credential or environment.
    fn restart_command(&self) -> String;
}
