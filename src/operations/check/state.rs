//! What the last self-check found and when the next one is due, for status.
//!
//! Must never grow with the store: lists are bounded where they are made.
//! Made by `online`; kept by `progress`; read by `status`.

/// What came of the last self-check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// None has ended since the start.
    #[default]
    Pending,
    /// Everything is good, or was mended.
    Sound,
    /// Something beside the store is wrong, or the store could not be read.
    Problems,
    /// The store is damaged.
    Damaged,
}

/// The self-check as status tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfCheckState {
    /// What came of the last one.
    pub outcome: Outcome,
    /// When it ended: Unix seconds; 0 before the first.
    pub at: i64,
    /// The generation that it looked at.
    pub generation: u64,
    /// Seals that it opened, those of the backup too.
    pub seals: u32,
    /// What is wrong, with what mends it; each a sentence.
    pub problems: Vec<String>,
    /// What was wrong and is mended; each a sentence.
    pub mended: Vec<String>,
    /// When the next one is due: Unix seconds; 0 if none is.
    pub next: i64,
    /// The newest backup that was found good or written; empty if there is none.
    pub backup: String,
}
