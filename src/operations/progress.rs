//! What the writer did last, readable by anyone without waiting for it.
//!
//! Must never be what a decision stands on: it is for status.
//! Called by `ledger` and `backup`, which write it, and by `status`, which reads it.

use super::check::state::SelfCheckState;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the writer did last.
#[derive(Debug, Default)]
pub struct Progress {
    mark_generation: AtomicU64,
    backup_generation: AtomicU64,
    backup_at: AtomicI64,
    newest_backup: Mutex<(u64, i64)>,
    records: AtomicU32,
    store_bytes: AtomicU64,
    rotation_done: AtomicU32,
    rotation_total: AtomicU32,
    rotation_problem: Mutex<String>,
    self_check: Mutex<SelfCheckState>,
}

impl Progress {
    /// The mark names this generation now: it was read at the start, or written behind a commit.
    pub fn marked(&self, generation: u64) {
        self.mark_generation.store(generation, Ordering::Relaxed);
    }

    pub(super) fn backed_up(&self, generation: u64, at: i64) {
        self.backup_generation.store(generation, Ordering::Relaxed);
        self.backup_at.store(at, Ordering::Relaxed);
        self.found_backup(generation, at);
    }

    /// The newest backup in the directory is of this generation and time: it was found at the start or by a self-check,
    /// or written.
    pub fn found_backup(&self, generation: u64, at: i64) {
        *self.newest_backup.lock().unwrap_or_else(PoisonError::into_inner) = (generation, at);
    }

    /// Generation and time of the newest backup that is known; zeros if none is.
    #[must_use]
    pub fn newest_backup(&self) -> (u64, i64) {
        *self.newest_backup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store holds so many records.
    pub fn counted(&self, records: usize) {
        self.records.store(u32::try_from(records).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The store's file is so large.
    pub fn measured(&self, bytes: u64) {
        self.store_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How large the store's file is; 0 if that is not known.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.store_bytes.load(Ordering::Relaxed)
    }

    /// Of the step that a rotation is at, so much is done.
    pub(super) fn rotated(&self, done: usize, total: usize) {
        self.rotation_done.store(u32::try_from(done).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.rotation_total.store(u32::try_from(total).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn rotation_goes_on(&self) {
        self.problem().clear();
    }

    pub(super) fn rotation_waits(&self, problem: String) {
        *self.problem() = problem;
    }

    fn problem(&self) -> MutexGuard<'_, String> {
        self.rotation_problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the step that a rotation is at: done, in all, and what keeps it from going on, if something does.
    #[must_use]
    pub fn rotation(&self) -> (u32, u32, String) {
        let counted = (self.rotation_done.load(Ordering::Relaxed), self.rotation_total.load(Ordering::Relaxed));
        (counted.0, counted.1, self.problem().clone())
    }

    pub(super) fn self_checked(&self, state: SelfCheckState) {
        *self.self_check.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// What the last self-check found, and when the next is due.
    #[must_use]
    pub fn self_check(&self) -> SelfCheckState {
        self.self_check.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Generation of the mark; 0 under salvage, which reads none.
    #[must_use]
    pub fn mark_generation(&self) -> u64 {
        self.mark_generation.load(Ordering::Relaxed)
    }

    /// Generation and time of the newest backup since the start.
    #[must_use]
    pub fn backup(&self) -> (u64, i64) {
        (self.backup_generation.load(Ordering::Relaxed), self.backup_at.load(Ordering::Relaxed))
    }

    /// Number of records in the store.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records.load(Ordering::Relaxed)
    }
}
