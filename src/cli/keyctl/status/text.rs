//! The status on one screen, for people.
//!
//! Must never hide a warning: they come last, where a person looks first.
//! Called by `status` alone.

use super::traffic::{self, Before};
use super::value::next_file;
use crate::cli::keyctl::output::{bytes, count, fields, push_list, time};
use crate::cli::keyctl::rotate_show;
use crate::proto::v1::{
    BackupStatus, Confinement, Drill, DrillStatus, GetStatusResponse, LockedMemoryStatus, MasterKeyStatus,
    MemoryProtection, SandboxStatus, SelfCheck, SelfCheckResult, StoreState, StoreStatus,
};
use crate::store::backup_file::list;
use std::path::Path;
use std::time::UNIX_EPOCH;

type Row = (&'static str, String);

/// What is so, and then what needs doing.
pub(super) struct Screen {
    pub(super) state: String,
    pub(super) to_do: String,
}

/// The screen of a status; rates are counted from `before`.
pub(super) fn screen(status: &GetStatusResponse, before: Option<&Before>) -> Screen {
    let mut rows = vec![("servos-keyd", format!("{}, up since {}", status.daemon_version, time(status.started)))];
    if status.salvage {
        rows.push(("", "SALVAGE: opens what opens, seals and changes nothing".to_owned()));
    }
    rows.extend(status.master_key.iter().flat_map(master_rows));
    match &status.rotation {
        None => rows.push(("rotation", "none under way".to_owned())),
        Some(rotation) => {
            rows.extend(rotate_show::rows(rotation));
            rows.extend(next_file(status).map(|next| ("  new key in", next.to_owned())));
        }
    }
    rows.push(("keys", format!("{} with {}", count(status.keys, "key"), count(status.versions, "version"))));
    for key in &status.legacy_keys {
        rows.push(("legacy key", format!("{}, held since {}", key.fingerprint, time(key.adopted))));
    }
    rows.extend(status.store.iter().flat_map(store_rows));
    rows.extend(status.backup.iter().flat_map(backup_rows));
    let in_use = status.master_key.as_ref().map(|master| master.fingerprint.as_str()).unwrap_or_default();
    rows.extend(status.drills.iter().flat_map(|drills| drill_rows(drills, in_use)));
    rows.extend(status.self_check.iter().flat_map(self_check_rows));
    rows.extend(memory_rows(status));
    rows.extend(status.sandbox.iter().flat_map(sandbox_rows));
    rows.extend(status.connections.iter().flat_map(traffic::connection_rows));
    let mut state = fields(&rows);
    if let Some(calls) = &status.calls {
        state.push('\n');
        state.push_str(&traffic::call_table(calls, status.started, before));
    }
    Screen { state, to_do: to_do(status) }
}

fn to_do(status: &GetStatusResponse) -> String {
    let mut text = String::new();
    if let Some(rotation) = &status.rotation {
        push_list(&mut text, "Next in the rotation:", &rotation.next);
    }
    push_list(&mut text, "Not opened:", &status.unopened_records);
    push_list(&mut text, "To mend:", &status.warnings);
    if status.warnings.is_empty() && status.unopened_records.is_empty() {
        text.push_str("\nNothing to mend.\n");
    }
    text
}

fn master_rows(master: &MasterKeyStatus) -> [Row; 2] {
    let shared = if master.shared { ", SHARED" } else { "" };
    let key = format!("{}, in use since {}{shared}", master.fingerprint, time(master.since));
    [("master key", key), ("  read from", master.source.clone())]
}

fn memory_rows(status: &GetStatusResponse) -> Vec<Row> {
    let protection = match status.memory_protection() {
        MemoryProtection::MemfdSecret => "memfd_secret: not even root reads the keys",
        MemoryProtection::Mlock => "mlock: locked and absent from cores, but root can read the keys",
        MemoryProtection::Unspecified => "unknown",
    };
    let locked = status.locked_memory.map(|LockedMemoryStatus { bytes: locked, limit_bytes }| {
        let most = limit_bytes.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {}", bytes(limit)));
        ("  locked", format!("{}, {most}", bytes(locked)))
    });
    [("memory", protection.to_owned())].into_iter().chain(locked).collect()
}

fn store_rows(store: &StoreStatus) -> Vec<Row> {
    let size = if store.bytes == 0 { String::new() } else { format!("{}, ", bytes(store.bytes)) };
    let generations = format!("{}, keyring {}, mark {}", store.generation, store.keyring, store.mark_generation);
    let state = match store.state() {
        StoreState::Healthy => "healthy: it takes changes",
        StoreState::Failing => "FAILING: changes are refused, and it is tried again by itself",
        StoreState::Suspended => "SUSPENDED: changes are refused until a restart",
        StoreState::ReadOnly => "read-only: salvage writes nothing",
        StoreState::Unspecified => "unknown",
    };
    let mut rows = vec![
        ("store", store.path.clone()),
        ("  id", format!("{}, made {}", store.store_id, time(store.created))),
        ("  size", format!("{size}{}", count(store.records, "record"))),
        ("  generation", generations),
        ("  state", state.to_owned()),
    ];
    if !store.problem.is_empty() {
        rows.push(("  problem", store.problem.clone()));
    }
    rows
}

fn backup_rows(backup: &BackupStatus) -> [Row; 2] {
    let newest = match backup.generation {
        0 if backup.newest != 0 => format!("none since the start; made {}", time(backup.newest)),
        0 => format!("none since the start; {}", newest_on_disk(Path::new(&backup.directory))),
        generation => format!("generation {generation}, written {}", time(backup.written)),
    };
    let newest = if backup.overdue { newest + ": OVERDUE" } else { newest };
    [("backups", backup.directory.clone()), ("  newest", newest)]
}

fn self_check_rows(check: &SelfCheck) -> Vec<(&'static str, String)> {
    let (at, seals) = (time(check.at), count(check.seals, "seal"));
    let said = match check.result() {
        SelfCheckResult::Pending => "none yet since the start".to_owned(),
        SelfCheckResult::Sound => format!("good at {at}: {seals}, generation {}", check.generation),
        SelfCheckResult::Faulty => format!("PROBLEMS at {at}: see below"),
        SelfCheckResult::Unspecified => "unknown".to_owned(),
    };
    let mut rows = vec![("self-check", said)];
    rows.extend(check.mended.iter().map(|mended| ("  mended", mended.clone())));
    if check.next != 0 {
        rows.push(("  next", time(check.next)));
    }
    rows
}

fn drill_rows(drills: &DrillStatus, in_use: &str) -> [(&'static str, String); 3] {
    let said = |drill: Option<&Drill>| match drill {
        None => "never".to_owned(),
        Some(drill) if drill.fingerprint == in_use => time(drill.at),
        Some(drill) => format!("{}, of {}, which is not in use", time(drill.at), drill.fingerprint),
    };
    let word = if drills.overdue { ": OVERDUE" } else { "" };
    [
        ("last drill", format!("of the key: {}", said(drills.key.as_ref()))),
        ("", format!("of a restore: {}", said(drills.restore.as_ref()))),
        ("  next", format!("due {}{word}", time(drills.due))),
    ]
}

fn sandbox_rows(sandbox: &SandboxStatus) -> [Row; 2] {
    let half = |name: &str, state, whole: &str, reason: &str| match state {
        Confinement::Enforced => format!("{name}: {whole}"),
        Confinement::Partial => format!("{name}, in part: {reason}"),
        Confinement::Unavailable => format!("NO {name}: {reason}"),
        Confinement::Off => format!("{name} is turned OFF by the configuration"),
        Confinement::Unspecified => format!("{name}: unknown"),
    };
    let files = format!("only its own directories, nothing executed (version {})", sandbox.landlock_abi);
    let calls = "only the system calls it makes";
    [
        ("sandbox", half("Landlock", sandbox.landlock(), &files, &sandbox.landlock_reason)),
        ("", half("seccomp", sandbox.seccomp(), calls, &sandbox.seccomp_reason)),
    ]
}

/// What the backup directory holds, if this process may look into it.
fn newest_on_disk(directory: &Path) -> String {
    let written = |path: &Path| {
        let age = path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(age.as_secs()).ok()
    };
    // A directory that is not there for the tool may be there for the daemon.
    let listed = if directory.is_dir() { list(directory).ok() } else { None };
    let Some(files) = listed else { return "newest on disk: unknown to the tool".to_owned() };
    match files.iter().filter_map(|path| written(path)).max() {
        Some(newest) => format!("newest on disk: written {}", time(newest)),
        None => "none on disk".to_owned(),
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
