//! Between the operations' types and the messages of the contract.
//!
//! Must never leave an enum of an answer at its zero.
//! Called by the handlers.

use super::{rotation, traffic};
use crate::auth::peer::Socket;
use crate::operations::check::state::{Outcome, SelfCheckState};
use crate::operations::create_key::Created;
use crate::operations::decrypt::{Format, Opened};
use crate::operations::drill::Drill;
use crate::operations::due::DrillState;
use crate::operations::encrypt::Sealed;
use crate::operations::engine::{Confinement, Sandbox};
use crate::operations::health::StoreState;
use crate::operations::keyring::{DataKey, Keyring};
use crate::operations::list_keys::Row;
use crate::operations::status::Status;
use crate::operations::verify_canary::Finding;
use crate::operations::version::{Version, VersionState};
use crate::operations::whoami::Identity;
use crate::proto::v1;
use std::sync::Arc;

pub(super) fn sealed(sealed: Sealed) -> v1::EncryptResponse {
    v1::EncryptResponse {
        ciphertext: sealed.ciphertext,
        key: sealed.key.as_str().to_owned(),
        version: sealed.version,
        keyring: sealed.keyring,
    }
}

pub(super) fn format(format: Format) -> i32 {
    match format {
        Format::Skd1 => v1::Format::Skd1.into(),
        Format::Legacy => v1::Format::Legacy.into(),
    }
}

pub(super) fn opened(mut opened: Opened) -> v1::DecryptResponse {
    v1::DecryptResponse {
        // Taken, not copied: the buffer is wiped when the answer's is freed.
        plaintext: std::mem::take(&mut *opened.plaintext),
        key: opened.key.as_str().to_owned(),
        version: opened.version,
        primary: opened.primary,
        format: format(opened.format),
    }
}

pub(super) fn moved((sealed, from): (Sealed, Format)) -> v1::ReEncryptResponse {
    v1::ReEncryptResponse {
        ciphertext: sealed.ciphertext,
        key: sealed.key.as_str().to_owned(),
        version: sealed.version,
        format: format(from),
        keyring: sealed.keyring,
    }
}

pub(super) fn canary(finding: Finding, keyring: &Keyring) -> v1::VerifyCanaryResponse {
    let result = match finding {
        Finding::Opens => v1::CanaryResult::Opens,
        Finding::Stale => v1::CanaryResult::Stale,
        Finding::OtherStore => v1::CanaryResult::OtherStore,
        Finding::Damaged => v1::CanaryResult::Damaged,
    };
    v1::VerifyCanaryResponse {
        result: result.into(),
        fingerprint: keyring.master.fingerprint.to_string(),
        since: keyring.master.since,
        store_id: keyring.store_id.to_string(),
        generation: keyring.generation,
        keyring: keyring.keyring,
    }
}

pub(super) fn identity(identity: &Identity) -> v1::WhoAmIResponse {
    let socket = match identity.peer.socket {
        Socket::Component => v1::Socket::Component,
        Socket::Admin => v1::Socket::Admin,
        Socket::Dev => v1::Socket::Dev,
        Socket::Metrics => v1::Socket::Metrics,
    };
    v1::WhoAmIResponse {
        uid: identity.peer.credentials.uid,
        gid: identity.peer.credentials.gid,
        pid: identity.peer.credentials.pid,
        socket: socket.into(),
        administrator: identity.administrator,
        operations: identity.operations.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn created(created: &Created) -> v1::Key {
    // The answer to a repetition is the same as the first: the key as it was made, with its version 1.
    let mut key = key(&created.key, &[]);
    key.primary = created.version.number;
    key.state = v1::KeyState::Active.into();
    key.versions = vec![v1::KeyVersion {
        number: created.version.number,
        id: created.version.id.to_string(),
        state: v1::VersionState::Primary.into(),
        created: created.version.created,
        messages_sealed: 0,
        bytes_sealed: 0,
    }];
    key
}

pub(super) fn row(row: &Row) -> v1::Key {
    key(&row.key, &row.versions)
}

fn key(key: &DataKey, versions: &[Arc<Version>]) -> v1::Key {
    let state = if key.is_deleted() { v1::KeyState::Deleted } else { v1::KeyState::Active };
    v1::Key {
        name: key.name.as_str().to_owned(),
        id: key.id.to_string(),
        purpose: v1::KeyPurpose::Encrypt.into(),
        state: state.into(),
        created: key.created,
        primary: key.primary,
        versions: versions.iter().map(|v| version(key, v)).collect(),
    }
}

fn version(key: &DataKey, version: &Version) -> v1::KeyVersion {
    let state = match version.state {
        VersionState::Disabled => v1::VersionState::Disabled,
        VersionState::Enabled if version.number == key.primary => v1::VersionState::Primary,
        VersionState::Enabled => v1::VersionState::Enabled,
    };
    let (messages_sealed, bytes_sealed) = version.usage.sealed();
    v1::KeyVersion {
        number: version.number,
        id: version.id.to_string(),
        state: state.into(),
        created: version.created,
        messages_sealed,
        bytes_sealed,
    }
}

fn store_state(state: StoreState) -> v1::StoreState {
    match state {
        StoreState::Healthy => v1::StoreState::Healthy,
        StoreState::Failing => v1::StoreState::Failing,
        StoreState::Suspended => v1::StoreState::Suspended,
        StoreState::ReadOnly => v1::StoreState::ReadOnly,
    }
}

pub(super) fn status(status: Status) -> v1::GetStatusResponse {
    let (keyring, facts) = (&status.keyring, status.facts);
    let protection = if facts.memfd_secret { v1::MemoryProtection::MemfdSecret } else { v1::MemoryProtection::Mlock };
    v1::GetStatusResponse {
        daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
        started: facts.started,
        store: Some(v1::StoreStatus {
            path: facts.store_path,
            store_id: keyring.store_id.to_string(),
            generation: keyring.generation,
            keyring: keyring.keyring,
            created: keyring.created,
            records: status.records,
            mark_generation: status.mark_generation,
            state: store_state(status.health.store).into(),
            problem: status.health.store_problem,
            bytes: status.store_bytes,
        }),
        master_key: Some(v1::MasterKeyStatus {
            fingerprint: keyring.master.fingerprint.to_string(),
            since: keyring.master.since,
            source: facts.key_source,
            shared: keyring.master.shared,
            next_file: facts.next_file,
        }),
        legacy_keys: keyring
            .legacy
            .iter()
            .map(|key| v1::LegacyKeyStatus { fingerprint: key.fingerprint.to_string(), adopted: key.adopted })
            .collect(),
        memory_protection: protection.into(),
        backup: Some(v1::BackupStatus {
            directory: facts.backup_directory,
            generation: status.backup.0,
            written: status.backup.1,
            newest: status.backup_age.newest,
            interval: status.backup_age.interval,
            overdue: status.backup_age.overdue,
        }),
        keys: u32::try_from(keyring.names.len()).unwrap_or(u32::MAX),
        versions: u32::try_from(keyring.versions.len()).unwrap_or(u32::MAX),
        salvage: facts.salvage,
        warnings: status.warnings,
        unopened_records: facts.unopened,
        rotation: status.rotation.map(rotation::of_status),
        self_check: Some(self_check(status.self_check)),
        sandbox: facts.sandbox.as_ref().map(sandbox),
        drills: Some(drills(status.drills)),
        calls: Some(traffic::calls(&status.traffic.calls)),
        connections: Some(traffic::connections(&status.traffic.connections)),
        locked_memory: Some(v1::LockedMemoryStatus { bytes: status.locked_bytes, limit_bytes: facts.lock_limit_bytes }),
    }
}

fn drills(state: DrillState) -> v1::DrillStatus {
    let drill = |drill: Drill| v1::Drill { at: drill.at, fingerprint: drill.fingerprint.to_string() };
    v1::DrillStatus {
        key: state.key.map(drill),
        restore: state.restore.map(drill),
        interval: state.interval,
        due: state.due,
        overdue: state.overdue,
    }
}

fn sandbox(sandbox: &Sandbox) -> v1::SandboxStatus {
    let (landlock, landlock_reason) = confinement(&sandbox.landlock);
    let (seccomp, seccomp_reason) = confinement(&sandbox.seccomp);
    v1::SandboxStatus { landlock, landlock_abi: sandbox.landlock_abi, landlock_reason, seccomp, seccomp_reason }
}

fn confinement(half: &Confinement) -> (i32, String) {
    let (state, reason) = match half {
        Confinement::Off => (v1::Confinement::Off, ""),
        Confinement::Enforced => (v1::Confinement::Enforced, ""),
        Confinement::Partial(reason) => (v1::Confinement::Partial, reason.as_str()),
        Confinement::Unavailable(reason) => (v1::Confinement::Unavailable, reason.as_str()),
    };
    (state.into(), reason.to_owned())
}

fn self_check(state: SelfCheckState) -> v1::SelfCheck {
    let result = match state.outcome {
        Outcome::Pending => v1::SelfCheckResult::Pending,
        Outcome::Sound => v1::SelfCheckResult::Sound,
        Outcome::Problems | Outcome::Damaged => v1::SelfCheckResult::Faulty,
    };
    v1::SelfCheck {
        result: result.into(),
        at: state.at,
        generation: state.generation,
        seals: state.seals,
        problems: state.problems,
        next: state.next,
        backup: state.backup,
        mended: state.mended,
    }
}
