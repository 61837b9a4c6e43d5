//! The daemon's sandbox: which files its work needs, and what is told of how far it took.
//!
//! Must never reach further than the work: no program, no other's file, and of names only what the messages show.
//! Called by `serve`, the one command that serves; those that an operator runs by hand have none.

use super::place;
use super::sockets::Listening;
use crate::cli::key_sources::own_restart_command;
use crate::cli::places::Use;
use crate::config::key_source::Sources;
use crate::config::key_source_error::{chown, chown_name, shell_quoted};
use crate::config::settings::Config;
use crate::operations::engine::{Confinement, Sandbox};
use crate::operations::ledger::Places;
use crate::store::durable::directory_of;
use crate::sys::sandbox::Enforcement;
use crate::sys::sandbox::calls::{self, Owner};
use crate::sys::sandbox::files::{Confined, Reach, confine};
use crate::sys::sockets::inherited::path_of;
use crate::sys::{harden, peer};
use crate::telemetry::events;
use nix::unistd::Uid;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What the names of users are looked up in, for messages that name the owner of a file. Those of /etc are files: its
/// directory holds others' secrets. Where one is replaced while the daemon runs, its messages show numbers.
const NAMES: [&str; 9] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/userdb",
    "/run/nscd",
    "/run/systemd/userdb",
    "/run/userdb",
    "/usr/lib/userdb",
    "/var/lib/sss/mc",
];

/// What the process reads of itself, and of the machine: mounts, descriptors; how many processors an allocator serves.
const OWN: [&str; 2] = ["/proc/self", "/sys/devices/system/cpu"];

/// A number that is nobody's: beyond what systems and containers give to users, and none of those that mean nobody.
const NO_USER: Uid = Uid::from_raw(0xffff_fff0);

/// What is known when the sandbox is entered.
pub(super) struct Needs<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The file it was read from.
    pub config_file: Option<&'a Path>,
    /// The places of store, mark and backups.
    pub places: &'a Places,
    /// The key's sources.
    pub sources: &'a Sources,
    /// The sockets, inherited or bound.
    pub sockets: &'a [Listening],
    /// What is done with the store.
    pub purpose: Use,
}

/// A sandbox that was entered; what it holds open must stay so.
pub struct Entered {
    /// How far it took, for status.
    pub sandbox: Sandbox,
    /// What to know and mend of it.
    pub warnings: Vec<String>,
    /// Where the sockets lie that it leaves open.
    pub sockets: Vec<PathBuf>,
    _confined: Option<Confined>,
}

impl Entered {
    /// None was, and nothing is closed: for tests, which share their process.
    #[must_use]
    pub fn none() -> Self {
        let sandbox = Sandbox { landlock: Confinement::Off, landlock_abi: 0, seccomp: Confinement::Off };
        Self { sandbox, warnings: Vec::new(), sockets: Vec::new(), _confined: None }
    }
}

/// Enters the sandbox, for good, as far as configuration and kernel allow; what is missing is logged.
pub(super) fn enter(needs: &Needs<'_>) -> Entered {
    let wanted = needs.config.sandbox;
    prepare();
    // A library that was loaded for names may have started one.
    let beside = harden::refuse_threads().err().map(|refused| refused.to_string());
    let confined = wanted.landlock.then(|| confine(&reach(needs)));
    let of = |enforcement| of_all_threads(of(enforcement), beside.as_deref());
    let sandbox = Sandbox {
        landlock: confined.as_ref().map_or(Confinement::Off, |confined| of(confined.enforcement.clone())),
        landlock_abi: confined.as_ref().map_or(0, |confined| confined.abi),
        // Behind Landlock, whose own calls it forbids.
        seccomp: if wanted.seccomp { of(calls::restrict(&owners(needs.places))) } else { Confinement::Off },
    };
    let missing = confined.as_ref().map(|confined| confined.missing.as_slice()).unwrap_or_default();
    let mut warnings: Vec<String> = missing.iter().map(|path| closed(path)).collect();
    if sandbox.closes_new_directories() {
        warnings.extend(opened_wide(needs));
    }
    let sockets = needs.sockets.iter().filter_map(|one| path_of(&one.listener)).collect();
    let entered = Entered { sandbox, warnings, sockets, _confined: confined };
    report(&entered);
    entered
}

/// What must be known before, as nobody can look it up later.
fn prepare() {
    peer::learn_overflow_user();
    // No code can be loaded any more. A user whom no name service knows is looked for in all of them, so each is loaded
    // now; for one of /etc/passwd, none would be. Of groups, nothing is told by name.
    let _ = nix::unistd::User::from_uid(NO_USER);
}

fn reach(needs: &Needs<'_>) -> Reach {
    let Places { store, mark, backups, .. } = needs.places;
    let [store, mark] = [store, mark].map(|file| directory_of(file).to_owned());
    let mut own = vec![store, mark];
    // Below the store's it is open with that, and may be made later.
    own.extend((!place::backups_lie_with_the_store(needs.places)).then(|| backups.clone()));
    own.sort();
    own.dedup();
    let mut reach = Reach {
        readable: NAMES.into_iter().chain(OWN).map(PathBuf::from).collect(),
        close_abstract_sockets: !manager_is_abstract(),
        ..Reach::default()
    };
    match needs.purpose {
        Use::Change => reach.writable = own,
        Use::Look => reach.readable.extend(own),
    }
    reach.readable.extend(needs.config_file.map(|file| directory_of(file).to_owned()));
    reach.readable.extend(needs.sources.key_files.iter().flat_map(|file| directories_of_key(file)));
    reach.readable.extend(needs.sources.trust.credentials_directory.clone());
    reach.clearable = directories_of_bound(needs.sockets).collect();
    reach
}

/// Where the sockets lie that were bound here, and are removed at the end.
fn directories_of_bound(sockets: &[Listening]) -> impl Iterator<Item = PathBuf> {
    let bound = sockets.iter().filter(|one| one.file.is_some());
    bound.filter_map(|one| Some(directory_of(&path_of(&one.listener)?).to_owned()))
}

/// For whom files are made here, if that is not who makes them.
fn owners(places: &Places) -> Vec<Owner> {
    let directories = [directory_of(&places.store), directory_of(&places.mark), &places.backups];
    let found = directories.into_iter().filter_map(|directory| std::fs::metadata(directory).ok());
    let mut owners: Vec<Owner> = found
        .map(|found| (found.uid(), found.gid()))
        .filter(|(uid, _)| Uid::effective().is_root() && *uid != 0)
        .collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Where a key file lies, and where it leads to. The directories: a rule on the file would end with a rename over it, which
/// is how a rotation replaces it.
fn directories_of_key(file: &Path) -> Vec<PathBuf> {
    let led_to = file.canonicalize().ok();
    let files = [Some(file.to_owned()), led_to];
    files.into_iter().flatten().map(|file| directory_of(&file).to_owned()).collect()
}

/// What to mend where something of the daemon's lies in a directory with everybody's.
fn opened_wide(needs: &Needs<'_>) -> Vec<String> {
    const LEFT: &str = "leaves everything in it open to the daemon";
    const CLEARED: &str = "lets the daemon remove everything in it";
    let Places { store, mark, backups, .. } = needs.places;
    let mut own = vec![
        ("the store", directory_of(store).to_owned(), "/var/lib/servos-keyd", LEFT),
        ("the mark", directory_of(mark).to_owned(), "/var/lib/servos-keyd", LEFT),
        ("the backups", backups.clone(), "/var/lib/servos/keyd-backup", LEFT),
    ];
    own.extend(needs.config_file.map(|file| ("the configuration", directory_of(file).to_owned(), "/etc/servos", LEFT)));
    let of_keys = needs.sources.key_files.iter().flat_map(|file| directories_of_key(file));
    own.extend(of_keys.map(|directory| ("a key file", directory, "/etc/servos", LEFT)));
    own.extend(directories_of_bound(needs.sockets).map(|directory| ("a socket", directory, "/run/servos", CLEARED)));
    let wide = own.into_iter().filter_map(|(what, directory, better, left)| {
        let directory = directory.canonicalize().unwrap_or(directory);
        place::is_shared(&directory).then(|| opened(what, &directory, better, left))
    });
    let mut warnings: Vec<String> = wide.collect();
    warnings.dedup();
    warnings
}

fn opened(what: &str, directory: &Path, better: &str, left: &str) -> String {
    let (directory, restart) = (directory.display(), own_restart_command());
    format!(
        "The directory of {what} is {directory}: the sandbox {left}. Stop the daemon, move {what} to a \
         directory apart, such as {better}, and name that instead; then {restart}"
    )
}

/// Whether the service manager is spoken to by an abstract socket, which is one of another process.
fn manager_is_abstract() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|address| address.as_bytes().starts_with(b"@"))
}

fn of(enforcement: Enforcement) -> Confinement {
    match enforcement {
        Enforcement::Whole => Confinement::Enforced,
        Enforcement::Partial(open) => Confinement::Partial(open),
        Enforcement::Refused(reason) => Confinement::Unavailable(reason),
    }
}

/// What was put on beside other threads is not in force on those.
fn of_all_threads(half: Confinement, beside: Option<&str>) -> Confinement {
    match (half, beside) {
        (Confinement::Enforced, Some(reason)) => Confinement::Partial(reason.to_owned()),
        (half, _) => half,
    }
}

fn closed(path: &Path) -> String {
    let (daemon, restart) = (chown_name(Uid::effective().as_raw()), own_restart_command());
    format!(
        "The directory {} was not there, or not for the daemon, when it started: the sandbox keeps it closed until a restart \
         ({restart}). First make it: mkdir -p -m 700 {} && {}",
        path.display(),
        shell_quoted(path),
        chown(&daemon, path)
    )
}

fn report(entered: &Entered) {
    let Sandbox { landlock, landlock_abi, seccomp } = &entered.sandbox;
    for (name, half) in [("Landlock", landlock), ("seccomp", seccomp)] {
        match half {
            Confinement::Partial(reason) | Confinement::Unavailable(reason) => tracing::warn!(
                event = events::SANDBOX_INCOMPLETE,
                half = name,
                reason,
                "half of the sandbox is not what it should be"
            ),
            Confinement::Off => tracing::warn!(
                event = events::SANDBOX_INCOMPLETE,
                half = name,
                reason = "[sandbox] turns it off",
                "half of the sandbox is turned off"
            ),
            Confinement::Enforced => {}
        }
    }
    for warning in &entered.warnings {
        tracing::warn!(event = events::SANDBOX_INCOMPLETE, "{warning}");
    }
    tracing::info!(
        event = events::SANDBOX_ENTERED,
        landlock = word(landlock),
        landlock_abi,
        seccomp = word(seccomp),
        "what the daemon does not need is closed to it, as far as this says"
    );
}

fn word(half: &Confinement) -> &'static str {
    match half {
        Confinement::Enforced => "enforced",
        Confinement::Partial(_) => "partial",
        Confinement::Off => "off",
        Confinement::Unavailable(_) => "unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_source::Trust;

    fn opened_wide_by(key_files: &[&str], config_file: &str, store: &str) -> Vec<String> {
        let (config, state) = (Config::default(), Path::new("/var/lib/servos-keyd"));
        let places = Places {
            store: PathBuf::from(store),
            mark: state.join("keyd.redb.mark"),
            backups: state.join("backup"),
            keep: 1,
            keep_for: 1,
        };
        let trust = Trust { credentials_directory: None, allow_readable: false, daemon_uid: 0, daemon_gid: 0 };
        let key_files = key_files.iter().map(PathBuf::from).collect();
        opened_wide(&Needs {
            config: &config,
            config_file: Some(Path::new(config_file)),
            places: &places,
            sources: &Sources { key_files, environment_key: Vec::new(), trust },
            sockets: &[],
            purpose: Use::Change,
        })
    }

    #[test]
    fn a_half_that_was_put_on_beside_other_threads_is_told_as_one_in_part() {
        let told = |half| of_all_threads(half, Some("two threads"));
        assert_eq!(of_all_threads(Confinement::Enforced, None), Confinement::Enforced);
        assert_eq!(told(Confinement::Enforced), Confinement::Partial("two threads".to_owned()));
        for half in [Confinement::Off, Confinement::Unavailable("why".to_owned())] {
            assert_eq!(told(half.clone()), half);
        }
    }

    #[test]
    fn what_lies_in_a_directory_of_the_whole_system_s_is_named_with_a_better_one() {
        let (config, store) = ("/etc/servos/keyd.toml", "/var/lib/servos-keyd/keyd.redb");
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("link")).unwrap();
        let through_link = directory.path().join("link/no-such.key");
        let through_link = through_link.to_str().unwrap();
        assert!(opened_wide_by(&["/etc/servos/master.key", "/run/keys/key"], config, store).is_empty());
        for (keys, config, store, said) in [
            (&["/etc/no-such.key"][..], config, store, "The directory of a key file is /etc: "),
            (&["/no-such.key"], config, store, "The directory of a key file is /: "),
            (&[through_link], config, store, "The directory of a key file is /etc: "),
            (&[], "/root/keyd.toml", store, "The directory of the configuration is /root: "),
            (&[], config, "/var/keyd.redb", "The directory of the store is /var: "),
        ] {
            let warnings = opened_wide_by(keys, config, store);
            assert!(warnings.len() == 1 && warnings[0].starts_with(said), "{warnings:?}");
            assert!(warnings[0].contains(if said.contains("store") { "/var/lib/servos-keyd" } else { "/etc/servos" }));
        }
    }
}
