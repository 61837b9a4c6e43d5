//! What the configuration asks of an operator's care, and of the backups: the part that is read again while the daemon runs.
//!
//! Must never hold what a start alone can put in force: places, sockets, limits.
//! Made by `cli` from the configuration; read by `status`, by rotations, and when old backups are removed.

/// The part of the configuration that a reload puts in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// How old the newest backup may become while the store changes, in seconds; 0 for any age.
    pub backup_interval: i64,
    /// Backups kept whatever their age.
    pub keep: usize,
    /// The age in seconds under which a backup is kept whatever their number.
    pub keep_for: u64,
    /// How long a drill counts, in seconds; 0 for ever.
    pub drill_interval: i64,
    /// What else a master key's text is used for, by the configuration: its name, and for how many seconds a replaced
    /// key's text must be kept for it.
    pub other_uses: Vec<(String, i64)>,
}
