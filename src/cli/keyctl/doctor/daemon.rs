//! What the daemon tells, or that it tells nothing: its warnings, each under the id of what it warns of.
//!
//! Must never lose a warning, nor pass over what the status says without one.
//! Called by `doctor`, as its first families of checks.

use super::case::{Case, Configured, Daemon};
use super::command;
use super::finding::{self, Kind, Report, Severity};
use super::key_places::is_hidden;
use crate::cli::keyctl::output::count;
use crate::cli::service;
use crate::cli::unit::UNIT;
use crate::config::key_source_error::shell_quoted;
use crate::operations::status::NO_MEMFD_SECRET;
use crate::proto::v1::{Confinement, GetStatusResponse, SelfCheckResult, StoreState, StoreStatus};
use crate::store::backup_file;
use crate::store::durable::directory_of;

/// A kind of warning of the daemon's.
struct Told {
    kind: &'static Kind,
    /// How the daemon begins it.
    begins: &'static [&'static str],
    /// Whether the status says so, whatever its warnings are.
    is_so: fn(&GetStatusResponse) -> bool,
    /// The command that mends it.
    mend: fn(&Case, &GetStatusResponse) -> Option<String>,
}

const TOLD: [Told; 9] = [
    Told {
        kind: finding::SALVAGE,
        begins: &["Salvage: "],
        is_so: |status| status.salvage,
        mend: |case, _| Some(restore(case)),
    },
    Told {
        kind: finding::STORE_NOT_WRITABLE,
        begins: &["No change is possible", "What a change needs cannot be written"],
        is_so: |status| !matches!(state(status), Some(StoreState::Healthy | StoreState::ReadOnly)),
        mend: |case, status| match state(status) {
            // The daemon has it still, until it ends.
            _ if holds_a_lost_store(case) => Some(
                "servos-keyctl backup /root/keyd-saved.skb1 # then docs/store.md: what to do when the store is gone"
                    .to_owned(),
            ),
            Some(StoreState::Suspended) => Some("systemctl restart servos-keyd".to_owned()),
            _ => {
                let store = case.places().map(|places| shell_quoted(directory_of(&places.store))).unwrap_or_default();
                Some(format!("df -h {store}; df -i {store}; dmesg | tail # room, and what the disk said"))
            }
        },
    },
    Told {
        kind: finding::SELF_CHECK,
        begins: &["The self-check found"],
        is_so: |status| status.self_check.as_ref().is_some_and(|check| check.result() == SelfCheckResult::Faulty),
        mend: |_, _| Some("journalctl -u servos-keyd -g self_check -n 20".to_owned()),
    },
    Told {
        kind: finding::SOCKET_GONE,
        begins: &["The socket "],
        is_so: |status| status.warnings.iter().any(|warning| warning.starts_with("The socket ")),
        mend: |case, _| Some(socket_anew(case)),
    },
    Told {
        kind: finding::ROTATION_PENDING,
        begins: &["A rotation of the master key is"],
        is_so: |status| status.rotation.is_some(),
        mend: |_, _| Some("servos-keyctl rotate status".to_owned()),
    },
    Told {
        kind: finding::LEGACY_OPEN,
        begins: &["Legacy values open"],
        is_so: |status| !status.legacy_keys.is_empty(),
        mend: |_, status| {
            let retire =
                status.legacy_keys.iter().map(|key| format!("servos-keyctl legacy retire {}", key.fingerprint));
            // Values that have not moved would open no more.
            let retire = retire.collect::<Vec<_>>().join("; ");
            Some(format!(
                "servos-keyctl reencrypt --help # move each value that is left; when none is, and only then: {retire}"
            ))
        },
    },
    Told {
        kind: finding::KEY_SHARED,
        begins: &["The master key is shared"],
        is_so: |status| status.master_key.as_ref().is_some_and(|master| master.shared),
        mend: |_, _| Some("servos-keyctl rotate run".to_owned()),
    },
    Told {
        kind: finding::BACKUP_OVERDUE,
        begins: &["The newest backup in ", "No backup of the store is known"],
        is_so: |status| status.backup.as_ref().is_some_and(|backup| backup.overdue),
        mend: |_, _| Some("servos-keyctl backup".to_owned()),
    },
    Told {
        kind: finding::DRILL_OVERDUE,
        begins: &["No copy of the master key"],
        is_so: |status| status.drills.as_ref().is_some_and(|drills| drills.overdue),
        mend: |_, _| {
            Some("servos-keyctl check-key --typed # or --key-file FILE, a copy that is kept elsewhere".to_owned())
        },
    },
];

/// How it begins a warning of its sandbox, which may be without either half.
const OF_SANDBOX: &str = "The sandbox ";

/// Source: landlock(7). Landlock came with Linux 5.13, and may be left out of `lsm=`; seccomp is older than any that runs this.
const KERNEL: &str = "uname -r; cat /sys/kernel/security/lsm; systemctl show servos-keyd -p SystemCallFilter";

/// Who is not mapped arrives as this user, and so does whoever is it.
const NOBODY: u32 = 65_534;

fn state(status: &GetStatusResponse) -> Option<StoreState> {
    status.store.as_ref().map(StoreStatus::state)
}

/// The command that makes a socket anew which is gone.
pub(super) fn socket_anew(case: &Case) -> String {
    let own = "kill -TERM PID # of the daemon, and start it again";
    if case.is_service { service::SOCKETS_ANEW.to_owned() } else { own.to_owned() }
}

/// Whether the store's file is gone, and the daemon has what was in it until it ends.
pub(super) fn holds_a_lost_store(case: &Case) -> bool {
    case.status().is_some()
        && case.sees_as_daemon().is_ok()
        && case.places().is_some_and(|places| matches!(places.store.try_exists(), Ok(false)))
}

/// Whether it answers.
pub(super) fn answer(case: &Case, report: &mut Report) {
    let (kind, failure) = match &case.daemon {
        Daemon::Answered(_) => return,
        Daemon::Silent(failure) => (finding::NO_DAEMON, failure),
        Daemon::Closed(failure) => (finding::DAEMON_NOT_ASKED, failure),
        Daemon::Unmapped(failure) => (finding::PEERS_UNMAPPED, failure),
    };
    let mut text = failure.message.clone();
    if let Some(hint) = &failure.hint {
        text = format!("{text}: {hint}");
    }
    if let Some(state) = &case.state {
        text = format!("{text}. systemd says of {UNIT}: {}", state.words);
        if let Some(last) = &state.last_words {
            text = format!("{text}; and the last that it said: {last}");
        }
    }
    if !matches!(case.daemon, Daemon::Closed(_) | Daemon::Unmapped(_)) && is_hidden(case) {
        text = format!("{text}. systemd runs this machine, and has no {UNIT}");
    }
    let mend = match &case.daemon {
        Daemon::Closed(_) => match case.config().and_then(|config| config.socket.admin_path.as_ref()) {
            Some(admin) if *admin != case.socket => format!("servos-keyctl doctor --socket {}", shell_quoted(admin)),
            _ => "sudo servos-keyctl doctor".to_owned(),
        },
        Daemon::Unmapped(_) if case.machine.euid == NOBODY => {
            "useradd --system --groups servos USER # and run the component as that user, not as nobody".to_owned()
        }
        Daemon::Unmapped(_) => {
            "systemctl cat servos-keyd # PrivateUsers=no, and the daemon where its components run".to_owned()
        }
        _ => start(case),
    };
    report.problem(kind, text, mend);
    report.not_made(
        "what the daemon alone knows (its warnings, drills, self-check, sandbox, the state of legacy keys): it did not answer",
    );
}

/// What has it serve again: that differs by what keeps it from it.
fn start(case: &Case) -> String {
    let is_hidden = is_hidden(case);
    match (&case.unit, &case.state) {
        (Ok(_), Some(state)) if !state.closed_sockets.is_empty() => {
            format!("systemctl enable --now {}", service::SOCKETS)
        }
        (Ok(_), Some(state)) if state.is_failed => {
            "journalctl -u servos-keyd -n 20 # says why; once that is mended: systemctl restart servos-keyd".to_owned()
        }
        (Ok(_), Some(_)) if !case.socket.exists() => service::SOCKETS_ANEW.to_owned(),
        (Ok(_), _) => "systemctl restart servos-keyd; journalctl -u servos-keyd -n 20".to_owned(),
        (Err(_), _) if is_hidden => "systemctl daemon-reload; systemctl cat servos-keyd # if it is still not there, install \
                                     the package again: dpkg -i servos-keyd_*.deb, or rpm -U --replacepkgs servos-keyd-*.rpm"
            .to_owned(),
        (Err(_), _) if matches!(case.configured, Configured::By(_)) => command::keyd(case, "serve", ""),
        (Err(_), _) => "servos-keyd serve --config FILE".to_owned(),
    }
}

/// The newest backup in the store's place.
fn restore(case: &Case) -> String {
    let backups = case.places().and_then(|places| backup_file::list(&places.backups).ok()).unwrap_or_default();
    let newest = backups.last().map_or_else(|| "FILE".to_owned(), |newest| shell_quoted(newest));
    command::keyd_alone(case, "restore", &newest)
}

/// What it warns of.
pub(super) fn warnings(case: &Case, report: &mut Report) {
    let Some(status) = case.status() else { return };
    let mut met = Vec::new();
    // Whether its memory is closed to root is looked at with the rest of the memory.
    for warning in status.warnings.iter().filter(|warning| *warning != NO_MEMFD_SECRET) {
        let told = TOLD.iter().find(|told| told.begins.iter().any(|begin| warning.starts_with(begin)));
        let (kind, mend) = match told {
            Some(told) => (told.kind, (told.mend)(case, status)),
            None if warning.starts_with(OF_SANDBOX) => (finding::SANDBOX, Some(KERNEL.to_owned())),
            None => (finding::DAEMON_WARNING, None),
        };
        met.push(kind);
        report.add(kind, Severity::Problem, warning.clone(), mend);
    }
    for told in TOLD.iter().filter(|told| !met.contains(&told.kind) && (told.is_so)(status)) {
        let text = format!("The daemon's status tells of it, and no warning does ({}).", told.kind.id);
        report.add(told.kind, Severity::Problem, text, (told.mend)(case, status));
    }
    let sandbox = status.sandbox.as_ref();
    let is_without = sandbox.is_some_and(|its| [its.landlock(), its.seccomp()].contains(&Confinement::Unavailable));
    if is_without && !met.contains(&finding::SANDBOX) {
        report.problem(finding::SANDBOX, "The daemon runs without half of its sandbox.", KERNEL);
    }
    if let Ok(number @ 1..) = u64::try_from(status.unopened_records.len()) {
        let text = format!("{} of the store could not be opened.", count(number, "record"));
        report.problem(finding::RECORDS_UNOPENED, text, restore(case));
    }
}

#[cfg(test)]
#[path = "daemon_tests.rs"]
mod tests;
