//! Tests of the status, as people and programs see it.
//!
//! Must never let a word pass that says more than is known.
//! Run by `cargo test`.

use super::super::value::value;
use super::*;
use crate::proto::v1::{
    CallStatus, ConnectionStatus, OperationStatus, PeerStatus, Rotation, RotationState, SocketStatus,
};
use serde_json::json;

fn text(status: &GetStatusResponse) -> String {
    let Screen { state, to_do } = screen(status, None);
    state + &to_do
}

/// Whether a row has these words.
fn says(status: &GetStatusResponse, words: &str) -> bool {
    text(status).lines().any(|line| line.split_whitespace().eq(words.split(' ')))
}

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
    assert!(says(&status, "rotation none under way") && value(&status)["rotation"].is_null());
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
        (Confinement::Enforced, "enforced", "Landlock: only its own directories, "),
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

#[test]
fn an_ordinary_installation_fits_a_screen_of_80_by_40() {
    let (since, directory) = (1_795_446_000, "/var/lib/servos/keyd-backup");
    let drill = Some(Drill { at: since, fingerprint: "00112233445566aa".into() });
    let operation = |operation: &str| OperationStatus {
        operation: operation.into(),
        calls: 123_456_789,
        errors: 1_234,
        buckets: vec![1, 2, 3],
        ..OperationStatus::default()
    };
    let names = ["Encrypt", "Decrypt", "ReEncrypt", "VerifyCanary", "ExportKeyring", "WhoAmI", "GetStatus", "other"];
    let socket =
        |socket: &str| SocketStatus { socket: socket.into(), open: 12, accepted: 1_234_567, ..SocketStatus::default() };
    let peer = |pid| PeerStatus { socket: "component".into(), uid: Some(u32::MAX), pid, connections: 4 };
    let status = GetStatusResponse {
        daemon_version: "0.1.0".into(),
        started: since,
        store: Some(StoreStatus {
            path: "/var/lib/servos-keyd/keyd.redb".into(),
            store_id: "00112233445566778899aabbccddeeff".into(),
            generation: 4_294_967_296,
            keyring: 4_294_967_296,
            mark_generation: 4_294_967_296,
            created: since,
            records: 1_234,
            bytes: 1_581_056,
            state: StoreState::Healthy.into(),
            ..StoreStatus::default()
        }),
        master_key: Some(MasterKeyStatus {
            fingerprint: "00112233445566aa".into(),
            since,
            source: "/etc/servos/servos.env".into(),
            shared: true,
            ..MasterKeyStatus::default()
        }),
        memory_protection: MemoryProtection::MemfdSecret.into(),
        locked_memory: Some(LockedMemoryStatus { bytes: 143_360, limit_bytes: Some(8 << 20) }),
        backup: Some(BackupStatus {
            directory: directory.into(),
            generation: 12,
            written: since,
            ..Default::default()
        }),
        keys: 8,
        versions: 19,
        drills: Some(DrillStatus { key: drill.clone(), restore: drill, due: since, ..DrillStatus::default() }),
        self_check: Some(SelfCheck {
            result: SelfCheckResult::Sound.into(),
            at: since,
            next: since,
            ..Default::default()
        }),
        sandbox: Some(SandboxStatus {
            landlock: Confinement::Enforced.into(),
            landlock_abi: 7,
            seccomp: Confinement::Enforced.into(),
            ..SandboxStatus::default()
        }),
        calls: Some(CallStatus {
            bounds_us: vec![10, 20],
            operations: names.map(operation).to_vec(),
            ..CallStatus::default()
        }),
        connections: Some(ConnectionStatus {
            sockets: ["admin", "component", "metrics"].map(socket).to_vec(),
            peers: [i32::MAX, i32::MAX - 1].map(peer).to_vec(),
        }),
        ..GetStatusResponse::default()
    };
    let said = text(&status);
    let widest = said.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80 && said.lines().count() <= 40, "{widest} by {}:\n{said}", said.lines().count());
    for row in [
        "locked 140.0 KiB, at most 8.0 MiB",
        "size 1.5 MiB, 1234 records",
        "connected 12 admin, 12 component, 12 metrics",
    ] {
        assert!(says(&status, row), "{row}: {said}");
    }
}
