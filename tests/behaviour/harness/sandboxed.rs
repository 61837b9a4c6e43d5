//! A daemon in its sandbox, from outside: its threads in the kernel's word, and what status tells.
//!
//! Must never count a thread that ends while it is looked at as a fault.
//! Used by the tests of the sandbox.

use super::{Daemon, block_on};
use servos_keyd::proto::v1::{Confinement, SandboxStatus};
use std::collections::BTreeMap;

/// A thread of a process.
pub struct Thread {
    /// Its number.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// What the kernel says of it, by field.
    pub status: BTreeMap<String, String>,
}

/// The threads of a process.
pub fn threads(process: u32) -> Vec<Thread> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let seen = tasks.filter_map(|task| {
        let task = task.unwrap();
        // One that has just ended is none.
        let text = std::fs::read_to_string(task.path().join("status")).ok()?;
        let fields = text.lines().filter_map(|line| line.split_once(":\t"));
        let status: BTreeMap<_, _> = fields.map(|(field, value)| (field.to_owned(), value.to_owned())).collect();
        Some(Thread { id: task.file_name().to_str()?.parse().ok()?, name: status.get("Name")?.clone(), status })
    });
    seen.collect()
}

/// What status tells of the sandbox, and its warnings.
pub fn sandbox(daemon: &Daemon) -> (SandboxStatus, Vec<String>) {
    let status = block_on(async { daemon.admin().status().await.unwrap() });
    (status.sandbox.unwrap(), status.warnings)
}

/// Whether this kernel has Landlock: a process of ours would be told the same.
pub fn has_landlock(told: &SandboxStatus) -> bool {
    matches!(told.landlock(), Confinement::Enforced | Confinement::Partial)
}
