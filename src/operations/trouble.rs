//! What the store or its mark refused last, until it works again.
//!
//! Must never be forgotten before what was refused is done.
//! Held by `ledger`; changed by `ledger_trouble` alone, which tells it to whoever watches.

use super::refusal::StoreTrouble;

/// What was refused last.
#[derive(Default)]
pub(super) struct Trouble {
    /// What the store refused, until a commit succeeds.
    pub(super) store: Option<StoreFault>,
    /// What the mark refused, until it is written.
    pub(super) mark: Option<String>,
    /// Why changes are refused until a restart.
    pub(super) suspended: String,
    /// It is over since the writer last asked.
    pub(super) recovered: bool,
}

/// Why the store cannot be used.
pub(super) struct StoreFault {
    pub(super) reason: String,
    pub(super) trouble: StoreTrouble,
    /// What failed needs room for a whole new file.
    pub(super) rewrites: bool,
}
