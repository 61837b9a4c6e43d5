//! A daemon in its sandbox, from outside: its threads in the kernel's word, and what status tells.
//!
//! Must never count a thread that ends while it is looked at as a fault.
//! Used by the tests of the sandbox.

use super::{Daemon, block_on};
use landlock::{AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use servos_keyd::proto::v1::SandboxStatus;
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

/// Whether this kernel has Landlock: asked of the kernel, and not of a daemon that may have missed it.
pub fn has_landlock() -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    strict.handle_access(AccessFs::Execute).and_then(Ruleset::create).is_ok()
}
