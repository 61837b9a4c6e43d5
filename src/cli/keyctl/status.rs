//! `servos-keyctl status`: the state of the daemon, and what to mend.
//!
//! Must never hide a warning: they come last, where a person looks first.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::{count, fields, push_list, time, time_value};
use super::rotate_show;
use super::socket::SocketArguments;
use crate::cli::failure::Failure;
use crate::proto::v1::{
    Confinement, Drill, DrillStatus, GetStatusResponse, MemoryProtection, SandboxStatus, SelfCheck, SelfCheckResult,
    StoreState, StoreStatus,
};
use crate::store::backup_file::list;
use serde_json::{Value, json};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Shows the answer of GetStatus.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments) -> Result<(), Failure> {
    let status = socket.admin().status().await?;
    console.result(&value(&status), &text(&status))
}

fn memory(status: &GetStatusResponse) -> (&'static str, &'static str) {
    match status.memory_protection() {
        MemoryProtection::MemfdSecret => ("memfd_secret", "memfd_secret: not even root reads the keys"),
        MemoryProtection::Mlock => ("mlock", "mlock: locked and absent from cores, but root can read the keys"),
        MemoryProtection::Unspecified => ("unknown", "unknown"),
    }
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

fn sandbox_rows(sandbox: &SandboxStatus) -> [(&'static str, String); 2] {
    let half = |name: &str, state, whole: &str, reason: &str| match state {
        Confinement::Enforced => format!("{name}: {whole}"),
        Confinement::Partial => format!("{name}, in part: {reason}"),
        Confinement::Unavailable => format!("NO {name}: {reason}"),
        Confinement::Off => format!("{name} is turned OFF by the configuration"),
        Confinement::Unspecified => format!("{name}: unknown"),
    };
    let files = format!("only its own directories can be opened, no file executed (version {})", sandbox.landlock_abi);
    let calls = "no system call but its own can be made";
    [
        ("sandbox", half("Landlock", sandbox.landlock(), &files, &sandbox.landlock_reason)),
        ("", half("seccomp", sandbox.seccomp(), calls, &sandbox.seccomp_reason)),
    ]
}

fn store_state(store: &StoreStatus) -> (&'static str, &'static str) {
    match store.state() {
        StoreState::Healthy => ("healthy", "healthy: it takes changes"),
        StoreState::Failing => ("failing", "FAILING: changes are refused, and it is tried again without a restart"),
        StoreState::Suspended => ("suspended", "SUSPENDED: changes are refused until a restart"),
        StoreState::ReadOnly => ("read_only", "read-only: salvage writes nothing"),
        StoreState::Unspecified => ("unknown", "unknown"),
    }
}

fn value(status: &GetStatusResponse) -> Value {
    let store = status.store.clone().unwrap_or_default();
    let master = status.master_key.clone().unwrap_or_default();
    let backup = status.backup.clone().unwrap_or_default();
    let legacy = |key: &crate::proto::v1::LegacyKeyStatus| json!({"fingerprint": key.fingerprint, "adopted": time_value(key.adopted)});
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
            "state": store_state(&store).0,
            "problem": store.problem,
        },
        "master_key": {
            "fingerprint": master.fingerprint,
            "since": time_value(master.since),
            "source": master.source,
            "shared": master.shared,
        },
        "legacy_keys": status.legacy_keys.iter().map(legacy).collect::<Vec<_>>(),
        "memory_protection": memory(status).0,
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
        "warnings": status.warnings,
        "unopened_records": status.unopened_records,
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

fn next_file(status: &GetStatusResponse) -> Option<&str> {
    status.master_key.as_ref().map(|master| master.next_file.as_str()).filter(|next| !next.is_empty())
}

fn text(status: &GetStatusResponse) -> String {
    let mut rows = vec![("servos-keyd", format!("{}, up since {}", status.daemon_version, time(status.started)))];
    if status.salvage {
        rows.push(("", "SALVAGE: opens what opens, seals and changes nothing".to_owned()));
    }
    if let Some(master) = &status.master_key {
        let shared = if master.shared { ", shared with what had it before" } else { "" };
        rows.push(("master key", format!("{}, in use since {}{shared}", master.fingerprint, time(master.since))));
        rows.push(("  read from", master.source.clone()));
    }
    if let Some(rotation) = &status.rotation {
        rows.extend(rotate_show::rows(rotation));
        rows.extend(next_file(status).map(|next| ("  new key in", next.to_owned())));
    }
    rows.push(("memory", memory(status).1.to_owned()));
    rows.extend(status.sandbox.iter().flat_map(sandbox_rows));
    if let Some(store) = &status.store {
        rows.push(("store", store.path.clone()));
        rows.push(("  id", format!("{}, made {}", store.store_id, time(store.created))));
        let generations = format!("{}, keyring {}, mark {}", store.generation, store.keyring, store.mark_generation);
        rows.push(("  generation", generations));
        rows.push(("  records", store.records.to_string()));
        rows.push(("  state", store_state(store).1.to_owned()));
        if !store.problem.is_empty() {
            rows.push(("  problem", store.problem.clone()));
        }
    }
    rows.push(("keys", format!("{} with {}", count(status.keys, "key"), count(status.versions, "version"))));
    for key in &status.legacy_keys {
        rows.push(("legacy key", format!("{}, held since {}", key.fingerprint, time(key.adopted))));
    }
    if let Some(backup) = &status.backup {
        rows.push(("backups", backup.directory.clone()));
        let newest = match backup.generation {
            0 if backup.newest != 0 => format!("none since the start; made {}", time(backup.newest)),
            0 => format!("none since the start; {}", newest_on_disk(Path::new(&backup.directory))),
            generation => format!("generation {generation}, written {}", time(backup.written)),
        };
        let newest = if backup.overdue { newest + ": OVERDUE" } else { newest };
        rows.push(("  newest", newest));
    }
    let in_use = status.master_key.as_ref().map(|master| master.fingerprint.as_str()).unwrap_or_default();
    rows.extend(status.drills.iter().flat_map(|drills| drill_rows(drills, in_use)));
    rows.extend(status.self_check.iter().flat_map(self_check_rows));
    let mut text = fields(&rows);
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
mod tests {
    use super::*;
    use crate::proto::v1::{BackupStatus, MasterKeyStatus, Rotation, RotationState};

    fn status() -> GetStatusResponse {
        GetStatusResponse {
            daemon_version: "0.1.0".into(),
            started: 1_795_446_000,
            store: Some(StoreStatus { path: "/var/lib/servos-keyd/keyd.redb".into(), ..Default::default() }),
            master_key: Some(MasterKeyStatus { fingerprint: "0011".into(), shared: true, ..Default::default() }),
            memory_protection: MemoryProtection::Mlock.into(),
            backup: Some(BackupStatus::default()),
            keys: 1,
            versions: 2,
            ..Default::default()
        }
    }

    #[test]
    fn warnings_come_last_and_their_absence_is_said() {
        let mut status = status();
        assert!(text(&status).ends_with("\nNothing to mend.\n"));
        status.warnings = vec!["Rotate the master key.".into()];
        assert!(text(&status).ends_with("\nTo mend:\n  - Rotate the master key.\n"));
        assert_eq!(value(&status)["warnings"][0], "Rotate the master key.");
    }

    #[test]
    fn backups_from_before_the_start_are_told_where_they_can_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest_on_disk(dir.path()), "none on disk");
        std::fs::write(dir.path().join("keyd-00-1.skb1"), b"").unwrap();
        let said = newest_on_disk(dir.path());
        assert!(said.starts_with("newest on disk: written 2"), "{said}");
        assert!(newest_on_disk(&dir.path().join("none")).contains("unknown to the tool"));
        assert!(text(&status()).contains("none since the start; newest on disk: unknown to the tool"));
    }

    #[test]
    fn drills_are_told_with_the_key_that_they_were_of_and_what_is_overdue_is_marked() {
        let mut status = status();
        assert!(!text(&status).contains("drill") && value(&status)["drills"].is_null());
        let drill = |fingerprint: &str| Some(Drill { at: 1_795_446_000, fingerprint: fingerprint.into() });
        status.drills = Some(DrillStatus { restore: drill("9988"), due: 1_795_446_000, ..DrillStatus::default() });
        let said = text(&status);
        let parts = ["of the key: never", "of a restore: 2026-11-23T15:00:00Z, of 9988, which is not in use"];
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("OVERDUE"), "{said}");
        status.drills = Some(DrillStatus { key: drill("0011"), overdue: true, due: 1, ..DrillStatus::default() });
        status.backup = Some(BackupStatus { newest: 1_795_446_000, overdue: true, ..BackupStatus::default() });
        let said = text(&status);
        let parts =
            ["key: 2026-11-23T15:00:00Z\n", "due 1970-01-01T00:00:01Z: OVERDUE", "made 2026-11-23T15:00:00Z: OVERDUE"];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        let value = value(&status);
        assert_eq!(value["drills"]["key"]["at"], "2026-11-23T15:00:00Z");
        assert_eq!(value["drills"]["overdue"], true);
        assert_eq!(value["backup"]["newest"], "2026-11-23T15:00:00Z");
    }

    #[test]
    fn a_rotation_is_shown_where_there_is_one() {
        let mut status = status();
        assert!(!text(&status).contains("rotation") && value(&status)["rotation"].is_null());
        status.master_key.as_mut().unwrap().next_file = "/etc/servos/master.key.next".into();
        assert!(!text(&status).contains("master.key.next"));
        status.rotation = Some(Rotation {
            state: RotationState::Pending.into(),
            old_fingerprint: "0011".into(),
            new_fingerprint: "2233".into(),
            opens: vec!["0011".into(), "2233".into()],
            next: vec!["Put the new key in place.".into()],
            ..Rotation::default()
        });
        let said = text(&status);
        for part in ["pending", "2233, opens the store", "master.key.next", "  - Put the new key in place.\n"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(value(&status)["rotation"]["state"], "pending");
        assert_eq!(value(&status)["rotation"]["next_file"], "/etc/servos/master.key.next");
    }

    #[test]
    fn a_self_check_is_shown_with_what_it_mended_and_an_unknown_result_never_as_a_good_one() {
        let mut status = status();
        assert!(!text(&status).contains("self-check") && value(&status)["self_check"].is_null());
        let check = |result: SelfCheckResult| SelfCheck {
            result: result.into(),
            at: 1_795_446_000,
            mended: vec!["there was no backup".into()],
            ..SelfCheck::default()
        };
        for (result, said, word) in [
            (SelfCheckResult::Pending, "none yet since the start", "pending"),
            (SelfCheckResult::Sound, "good at 2026-", "sound"),
            (SelfCheckResult::Faulty, "PROBLEMS at 2026-", "faulty"),
            (SelfCheckResult::Unspecified, "unknown", "unknown"),
        ] {
            status.self_check = Some(check(result));
            assert!(text(&status).contains(said) && text(&status).contains("there was no backup"), "{}", text(&status));
            assert_eq!(value(&status)["self_check"]["result"], word);
        }
    }

    #[test]
    fn what_is_wrong_with_the_store_is_shown_and_an_unknown_state_is_no_good_one() {
        let mut status = status();
        let store = status.store.as_mut().unwrap();
        store.set_state(StoreState::Failing);
        store.problem = "no space is left for /var/lib/servos-keyd/keyd.redb".into();
        let said = text(&status);
        assert!(said.contains("FAILING: ") && said.contains("no space is left for /var/lib"), "{said}");
        let shown = value(&status);
        assert_eq!(
            (&shown["store"]["state"], &shown["store"]["problem"]),
            (&"failing".into(), &json!(status.store.as_ref().unwrap().problem))
        );
        for (state, word) in [(1, "healthy"), (3, "suspended"), (4, "read_only"), (0, "unknown"), (77, "unknown")] {
            status.store = Some(StoreStatus { state, ..StoreStatus::default() });
            assert_eq!(value(&status)["store"]["state"], word);
            assert!(!text(&status).contains("  problem"));
        }
    }

    #[test]
    fn the_sandbox_is_told_half_by_half_and_what_is_missing_with_its_reason() {
        let mut status = status();
        assert!(!text(&status).contains("sandbox") && value(&status)["sandbox"].is_null());
        for (state, word, said) in [
            (Confinement::Enforced, "enforced", "Landlock: only its own directories"),
            (Confinement::Partial, "partial", "Landlock, in part: why"),
            (Confinement::Unavailable, "unavailable", "NO Landlock: why"),
            (Confinement::Off, "off", "Landlock is turned OFF by the configuration"),
            (Confinement::Unspecified, "unknown", "Landlock: unknown"),
        ] {
            let sandbox = SandboxStatus { landlock: state.into(), landlock_reason: "why".into(), ..Default::default() };
            status.sandbox = Some(sandbox);
            assert!(text(&status).contains(said), "{}", text(&status));
            assert_eq!(value(&status)["sandbox"]["landlock"], word);
            assert_eq!(value(&status)["sandbox"]["seccomp"], "unknown");
        }
    }

    #[test]
    fn an_unknown_protection_is_never_shown_as_a_good_one() {
        let mut status = status();
        status.memory_protection = 77;
        assert_eq!(value(&status)["memory_protection"], "unknown");
    }
}
