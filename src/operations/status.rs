//! GetStatus: the state of daemon, store, key and memory, with what an operator should mend.
//!
//! Must never wait for the disk: it answers when the disk does not.
//! Called by `rpc::key_admin`.

use super::check::state::{Outcome, SelfCheckState};
use super::due::{self, BackupAge, DrillState};
use super::engine::{Confinement, Engine, Facts, Sandbox};
use super::health::{Health, StoreState};
use super::keyring::{DataKey, Keyring};
use super::rotation::{Rotation, State, report};
use crate::auth::operation::{GetStatus, ReadMetrics};
use crate::auth::permit::Permit;
use crate::telemetry::traffic::Traffic;
use std::sync::Arc;

/// What is said where the kernel gives no memfd_secret.
pub const NO_MEMFD_SECRET: &str = "The kernel refuses memfd_secret: keys lie in locked pages that root can read. Take a \
                                   kernel of 5.14 or newer, booted with secretmem.enable=1 if it is older than 6.5.";

/// The most warnings, and the most records that did not open, in one answer: it must not grow with the store.
const MAX_LISTED: usize = 1000;

/// The state of the daemon.
pub struct Status {
    /// The keyring of the moment.
    pub keyring: Arc<Keyring>,
    /// What was said at the start.
    pub facts: Facts,
    /// Generation of the mark; 0 under salvage, and if it could not be written since the start.
    pub mark_generation: u64,
    /// Generation and time of the newest backup since the start; zeros if there is none.
    pub backup: (u64, i64),
    /// Age of the newest backup that is known.
    pub backup_age: BackupAge,
    /// The last drills, and when the next is due.
    pub drills: DrillState,
    /// Number of records in the store.
    pub records: u32,
    /// Size of its file; 0 if that is not known.
    pub store_bytes: u64,
    /// How much memory is locked for keys.
    pub locked_bytes: u64,
    /// What goes on on the sockets.
    pub traffic: Arc<Traffic>,
    /// What to know and mend, most urgent first.
    pub warnings: Vec<String>,
    /// The rotation that is under way.
    pub rotation: Option<RotationStatus>,
    /// The last self-check.
    pub self_check: SelfCheckState,
    /// What the daemon knows to be wrong with itself.
    pub health: Health,
}

/// How far a rotation is.
pub struct RotationStatus {
    /// The rotation.
    pub rotation: Rotation,
    /// Of its step: seals or data keys that are done.
    pub done: u32,
    /// And in all; 0 where it cannot be told.
    pub total: u32,
    /// What keeps it from going on; empty if nothing does.
    pub problem: String,
    /// What comes next.
    pub next: Vec<String>,
}

/// Tells the state of the daemon.
#[must_use]
pub fn status(_permit: &Permit<GetStatus>, engine: &Engine) -> Status {
    gathered(engine)
}

/// The same for metrics, which show numbers of it alone.
#[must_use]
pub fn measured(_permit: &Permit<ReadMetrics>, engine: &Engine) -> Status {
    gathered(engine)
}

fn gathered(engine: &Engine) -> Status {
    let keyring = engine.keyring();
    let warnings = bounded(warnings(&keyring, engine));
    let unopened = bounded(engine.facts.unopened.clone());
    Status {
        facts: Facts { unopened, ..engine.facts.clone() },
        mark_generation: engine.progress.mark_generation(),
        backup: engine.progress.backup(),
        backup_age: engine.backup_age(&keyring),
        drills: engine.drills(&keyring),
        records: engine.progress.records(),
        store_bytes: engine.progress.store_bytes(),
        locked_bytes: (engine.locked_bytes)(),
        traffic: Arc::clone(&engine.traffic),
        warnings,
        self_check: engine.progress.self_check(),
        health: engine.health.now(),
        rotation: keyring.rotation.clone().map(|rotation| rotation_status(rotation, engine)),
        keyring,
    }
}

fn rotation_status(rotation: Rotation, engine: &Engine) -> RotationStatus {
    let (done, total, problem) = engine.progress.rotation();
    let next = report::next(&rotation, &engine.facts.sources, &engine.facts.restart_command);
    RotationStatus { rotation, done, total, problem, next }
}

/// The first of a list, and how many more there are.
fn bounded(mut list: Vec<String>) -> Vec<String> {
    if list.len() > MAX_LISTED {
        let more = list.len() - MAX_LISTED;
        list.truncate(MAX_LISTED);
        list.push(format!("... and {more} more: see the daemon's log"));
    }
    list
}

/// How the daemon itself is.
fn own_warnings(engine: &Engine) -> Vec<String> {
    let mut warnings = Vec::new();
    if engine.facts.salvage {
        warnings.push("Salvage: the daemon only opens. Restore a backup, then start it without --salvage.".to_owned());
    }
    let Health { store, store_problem, .. } = engine.health.now();
    match store {
        StoreState::Suspended => warnings.push(format!(
            "No change is possible: {store_problem}. Restart the daemon, which judges what is there; until then it seals \
             and opens with the keys it had."
        )),
        StoreState::Failing => warnings.push(format!(
            "What a change needs cannot be written: {store_problem}. Mend the disk: the daemon tries again and goes on by \
             itself; until then it seals and opens with the keys it had."
        )),
        StoreState::Healthy | StoreState::ReadOnly => {}
    }
    warnings.extend(self_check_warnings(&engine.progress.self_check()));
    warnings.extend(engine.sockets_gone().iter().map(|path| {
        format!(
            "The socket {} is gone, or another lies in its place: who connects now does not reach this daemon. Make it \
             anew: systemd-tmpfiles --create servos-keyd.conf; systemctl try-restart 'servos-keyd*.socket' servos-keyd; where \
             the daemon makes its sockets itself, restart the daemon.",
            path.display()
        )
    }));
    if let Some(problem) = engine.reload_refused() {
        warnings.push(format!(
            "The last reload was refused, and the configuration before it is in force: {problem}. The next start refuses it \
             too. Mend it, and have it read again: systemctl reload servos-keyd, or SIGHUP"
        ));
    }
    warnings
}

fn warnings(keyring: &Keyring, engine: &Engine) -> Vec<String> {
    let mut warnings = own_warnings(engine);
    if let Some(rotation) = &keyring.rotation {
        warnings.push(rotation_warning(rotation, engine));
    }
    if !keyring.legacy.is_empty() {
        let commands: Vec<String> =
            keyring.legacy.iter().map(|key| format!("servos-keyctl legacy retire {}", key.fingerprint)).collect();
        warnings.push(format!(
            "Legacy values open: whoever can write an application's database can move them, and whoever has the old \
             key can forge them. Re-encrypt them, then run: {}",
            commands.join("; ")
        ));
    }
    if keyring.master.shared {
        warnings.push(
            "The master key is shared: components, backups and shell histories have held it, until it is rotated: \
             servos-keyctl rotate run"
                .to_owned(),
        );
    }
    warnings.extend(due::warnings(keyring, engine));
    if !engine.facts.memfd_secret {
        warnings.push(NO_MEMFD_SECRET.to_owned());
    }
    warnings.extend(engine.facts.sandbox.iter().flat_map(sandbox_warnings));
    let waits = |key: &&Arc<DataKey>| key.is_promoting() && keyring.rotation.is_none();
    let closes_new = engine.facts.sandbox.as_ref().is_some_and(Sandbox::closes_new_directories);
    let anew = if closes_new {
        "; if it was made or mounted since the daemon's start, restart the daemon instead"
    } else {
        ""
    };
    for key in keyring.keys.values().filter(waits) {
        let (version, name, directory) = (key.promoting, &key.name, &engine.facts.backup_directory);
        warnings.push(format!(
            "Version {version} of {name} waits for a backup in {directory}: mend that directory, then run servos-keyctl keys \
             rotate {name}{anew}"
        ));
    }
    warnings.extend(engine.facts.warnings.iter().cloned());
    warnings
}

/// Where half of the sandbox is missing. What is off is so by the operator's word, and what an older kernel leaves open of
/// Landlock was said at the start; of seccomp no kernel knows only a part.
fn sandbox_warnings(sandbox: &Sandbox) -> Vec<String> {
    let halves = [
        (&sandbox.landlock, "Landlock", "open every file that its user can", "landlock"),
        (&sandbox.seccomp, "seccomp", "make every system call", "seccomp"),
    ];
    let told = |(half, name, consequence, key): (&Confinement, &str, &str, &str)| match half {
        Confinement::Unavailable(reason) => Some(format!(
            "The sandbox is without {name}: {reason}. The daemon can {consequence}. Run it on a kernel that has {name}, \
             where no filter of a container or service manager refuses it, or turn it off on purpose with {key} = false in \
             [sandbox]."
        )),
        Confinement::Off | Confinement::Enforced | Confinement::Partial(_) => None,
    };
    let mut warnings: Vec<String> = halves.into_iter().filter_map(told).collect();
    if let Confinement::Partial(reason) = &sandbox.seccomp {
        warnings.push(format!(
            "The sandbox has seccomp in part: {reason}. The daemon can make system calls that it should not. Restart it; if it \
             is said again, see whether its container or unit has so many filters that the kernel takes no more."
        ));
    }
    warnings
}

fn self_check_warnings(check: &SelfCheckState) -> Vec<String> {
    let said = match check.outcome {
        Outcome::Pending | Outcome::Sound => return Vec::new(),
        Outcome::Problems => "The self-check found a problem",
        Outcome::Damaged => "The self-check found the store damaged",
    };
    let at = super::rfc3339(check.at);
    check.problems.iter().map(|problem| format!("{said} at {at}: {problem}")).collect()
}

fn rotation_warning(rotation: &Rotation, engine: &Engine) -> String {
    let Rotation { old, new, .. } = rotation;
    let (_, _, problem) = engine.progress.rotation();
    let state = match rotation.state() {
        State::Pending => {
            format!(
                "A rotation of the master key is pending: {old} and {new} both open the store. What comes next: \
                 servos-keyctl rotate status"
            )
        }
        State::Finishing | State::Finished => {
            format!("A rotation of the master key is being finished: {new} opens the store.")
        }
        State::Aborting | State::Aborted => {
            format!("A rotation of the master key is being aborted: {old} opens the store.")
        }
    };
    match problem.as_str() {
        "" => state,
        problem if rotation.state() == State::Pending => format!("{state}. The start could not finish it: {problem}"),
        problem if engine.health.now().store == StoreState::Suspended => {
            format!("{state} It waits for a restart of the daemon: {problem}")
        }
        problem => format!("{state} It waits, and is tried again every minute: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_of_the_sandbox_that_is_missing_is_warned_of_and_what_the_kernel_or_operator_leaves_out_is_not() {
        let why = || "why".to_owned();
        for (landlock, seccomp, expected) in [
            (Confinement::Enforced, Confinement::Enforced, &[][..]),
            (Confinement::Off, Confinement::Off, &[]),
            (Confinement::Partial(why()), Confinement::Enforced, &[]),
            (Confinement::Enforced, Confinement::Partial(why()), &["The sandbox has seccomp in part: why. "]),
            (Confinement::Unavailable(why()), Confinement::Off, &["The sandbox is without Landlock: why. "]),
            (
                Confinement::Unavailable(why()),
                Confinement::Unavailable(why()),
                &["The sandbox is without Landlock: why. ", "The sandbox is without seccomp: why. "],
            ),
        ] {
            let warnings = sandbox_warnings(&Sandbox { landlock, landlock_abi: 0, seccomp });
            assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
            assert!(warnings.iter().zip(expected).all(|(warning, start)| warning.starts_with(start)), "{warnings:?}");
        }
    }
}
