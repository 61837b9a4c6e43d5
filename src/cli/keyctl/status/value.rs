//! The status for programs.
//!
//! Must never give a value that is not known the word of a good one.
//! Called by `status` alone.

use super::traffic;
use crate::cli::keyctl::output::time_value;
use crate::cli::keyctl::rotate_show;
use crate::proto::v1::{
    Confinement, Drill, DrillStatus, GetStatusResponse, LegacyKeyStatus, MemoryProtection, SandboxStatus, SelfCheck,
    SelfCheckResult, StoreState, StoreStatus,
};
use serde_json::{Value, json};

pub(super) fn value(status: &GetStatusResponse) -> Value {
    let store = status.store.clone().unwrap_or_default();
    let master = status.master_key.clone().unwrap_or_default();
    let backup = status.backup.clone().unwrap_or_default();
    let legacy = |key: &LegacyKeyStatus| json!({"fingerprint": key.fingerprint, "adopted": time_value(key.adopted)});
    json!({
        "daemon_version": status.daemon_version,
        "started": time_value(status.started),
        "store": {
            "path": store.path,
            "store_id": store.store_id,
            "generation": store.generation,
            "keyring": store.keyring,
            "created": time_value(store.created),
            "records": store.records,
            "mark_generation": store.mark_generation,
            "state": store_state(&store),
            "problem": store.problem,
            "bytes": store.bytes,
        },
        "master_key": {
            "fingerprint": master.fingerprint,
            "since": time_value(master.since),
            "source": master.source,
            "shared": master.shared,
        },
        "legacy_keys": status.legacy_keys.iter().map(legacy).collect::<Vec<_>>(),
        "memory_protection": protection(status),
        "locked_memory": status.locked_memory.map(|memory| json!({"bytes": memory.bytes, "limit_bytes": memory.limit_bytes})),
        "sandbox": status.sandbox.as_ref().map(sandbox_value),
        "backup": {
            "directory": backup.directory,
            "generation": backup.generation,
            "written": time_value(backup.written),
            "newest": time_value(backup.newest),
            "interval_seconds": backup.interval,
            "overdue": backup.overdue,
        },
        "drills": status.drills.as_ref().map(drills_value),
        "keys": status.keys,
        "versions": status.versions,
        "salvage": status.salvage,
        "rotation": status.rotation.as_ref().map(|rotation| rotate_show::status_value(rotation, next_file(status))),
        "self_check": status.self_check.as_ref().map(self_check_value),
        "calls": status.calls.as_ref().map(traffic::calls_value),
        "connections": status.connections.as_ref().map(traffic::connections_value),
        "warnings": status.warnings,
        "unopened_records": status.unopened_records,
    })
}

fn protection(status: &GetStatusResponse) -> &'static str {
    match status.memory_protection() {
        MemoryProtection::MemfdSecret => "memfd_secret",
        MemoryProtection::Mlock => "mlock",
        MemoryProtection::Unspecified => "unknown",
    }
}

fn store_state(store: &StoreStatus) -> &'static str {
    match store.state() {
        StoreState::Healthy => "healthy",
        StoreState::Failing => "failing",
        StoreState::Suspended => "suspended",
        StoreState::ReadOnly => "read_only",
        StoreState::Unspecified => "unknown",
    }
}

pub(super) fn next_file(status: &GetStatusResponse) -> Option<&str> {
    status.master_key.as_ref().map(|master| master.next_file.as_str()).filter(|next| !next.is_empty())
}

fn confinement(state: Confinement) -> &'static str {
    match state {
        Confinement::Enforced => "enforced",
        Confinement::Partial => "partial",
        Confinement::Unavailable => "unavailable",
        Confinement::Off => "off",
        Confinement::Unspecified => "unknown",
    }
}

fn sandbox_value(sandbox: &SandboxStatus) -> Value {
    json!({
        "landlock": confinement(sandbox.landlock()),
        "landlock_abi": sandbox.landlock_abi,
        "landlock_reason": sandbox.landlock_reason,
        "seccomp": confinement(sandbox.seccomp()),
        "seccomp_reason": sandbox.seccomp_reason,
    })
}

fn drills_value(drills: &DrillStatus) -> Value {
    let drill = |drill: &Drill| json!({"at": time_value(drill.at), "fingerprint": drill.fingerprint});
    json!({
        "key": drills.key.as_ref().map(drill),
        "restore": drills.restore.as_ref().map(drill),
        "interval_seconds": drills.interval,
        "due": time_value(drills.due),
        "overdue": drills.overdue,
    })
}

fn self_check_value(check: &SelfCheck) -> Value {
    let result = match check.result() {
        SelfCheckResult::Pending => "pending",
        SelfCheckResult::Sound => "sound",
        SelfCheckResult::Faulty => "faulty",
        SelfCheckResult::Unspecified => "unknown",
    };
    json!({
        "result": result,
        "at": time_value(check.at),
        "generation": check.generation,
        "seals": check.seals,
        "problems": check.problems,
        "mended": check.mended,
        "backup": check.backup,
        "next": time_value(check.next),
    })
}
