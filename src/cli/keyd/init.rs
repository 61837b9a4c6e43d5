//! `servos-keyd init`: makes the store of an installation, once and on purpose.
//!
//! Must never make one beside a mark or backup of another, nor with a key that a given legacy row refutes.
//! Called by `run`.

use super::{ConfigArguments, harden, key, output, place, remedy};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::config::settings::Config;
use crate::custody::keys::MasterKey;
use crate::operations::check_key::{Claim, claim};
use crate::operations::create::{Creation, FIRST_KEYS, create, vacancy};
use crate::operations::ledger::Places;
use crate::operations::legacy_proof::prove;
use crate::operations::start_failure::StartFailure;
use crate::operations::{key_choice, rfc3339};
use crate::proto::v1::MasterKeyStatus;
use crate::store::directory_lock::DirectoryLock;
use crate::store::durable::directory_of;
use crate::store::port::StoreError;
use crate::store::redb_adapter;
use crate::sys::locked::LockedMemory;
use crate::telemetry::chain::chain;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest file of rows, in bytes.
const MAX_ROWS_BYTES: u64 = 16 * 1024 * 1024;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// Keep the master key as a legacy key too, so that values sealed before servos-keyd open
    #[arg(long)]
    adopt_legacy: bool,
    /// First prove the key on rows that ServOS sealed: a file with one base64 value a line
    #[arg(long, value_name = "FILE")]
    check_legacy: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    let config = arguments.config.load()?;
    let memory = key::memory_as(config.memory)?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    let file = arguments.config.config.as_deref();
    // What tells of a store is in the way of another.
    let places = place::settled(&config, file).map_err(|failure| match failure.exit {
        exit::MISSING => Failure { exit: exit::CANNOT_CREATE, ..failure },
        _ => failure,
    })?;
    refuse_what_is_there(&config, &places, arguments.adopt_legacy)?;
    let chosen = key::choose(&sources, key_choice::no_store(), &memory)?;
    for warning in &chosen.warnings {
        output::remark(&format!("warning: {warning}"));
    }
    if let Some(file) = &arguments.check_legacy {
        check_rows(file, &chosen.key, &memory)?;
    }
    place::check_backup_directory(&places)?;
    place::make_directory(&places)?;
    let _lock = place::lock(&places)?;
    let backups_are_new = place::backups_are_new(&places);
    let adopt_legacy = arguments.adopt_legacy || config.legacy.adopt;
    let store_id = create(&Creation {
        places: &places,
        master: &chosen.key,
        shared: chosen.shared || adopt_legacy,
        adopt_legacy,
        memory: &memory,
        random: &key::random,
        now: key::now(),
    })?;
    place::give_to_owner(&places, backups_are_new)?;
    output::line(&format!("store     {} ({store_id})", places.store.display()));
    output::line(&format!("key       {} from {}", chosen.key.fingerprint(), chosen.source));
    output::line(&format!("keys      {}", FIRST_KEYS.join(", ")));
    output::line(&format!("backup    {}", places.backups.display()));
    if adopt_legacy {
        output::line("legacy    values sealed under this key before servos-keyd open when a caller allows it");
    }
    if arguments.check_legacy.is_some() && !adopt_legacy {
        output::remark(
            "warning: values sealed before servos-keyd, such as those that were checked, do not open with this store: adopt \
             their key with `servos-keyctl legacy adopt FILE` (`init --adopt-legacy` would have done so)",
        );
    }
    output::line("next      keep the master key and the backup apart, on another machine; then start the daemon:");
    output::line(&format!(
        "          {}",
        remedy::start_command(arguments.config.config.as_deref(), &config, &chosen.source)
    ));
    Ok(())
}

/// What is in the way is said before a key is asked for.
fn refuse_what_is_there(config: &Config, places: &Places, adopt_legacy: bool) -> Result<(), Failure> {
    match vacancy(places) {
        Ok(_) => Ok(()),
        Err(StartFailure::Exists { path }) => Err(already_made(&path, config, adopt_legacy)),
        // For init, what tells of a lost store is something in the way.
        Err(failure @ StartFailure::StoreLost { .. }) => Err(Failure::new(exit::CANNOT_CREATE, &failure)),
        Err(failure) => Err(failure.into()),
    }
}

/// What stands there already, in its own word, and what is likely to be wanted instead.
fn already_made(store: &Path, config: &Config, adopt_legacy: bool) -> Failure {
    let seen = DirectoryLock::shared(directory_of(store)).map_err(StartFailure::Store).and_then(|_lock| {
        let snapshot = redb_adapter::view(store).map_err(StartFailure::of_file)?;
        claim(&snapshot)
    });
    let under =
        |keys: Vec<String>, since| format!("under master key {}, in use since {}", keys.join(" or "), rfc3339(since));
    let (state, next) = match seen {
        Ok(Claim { fingerprints, since, .. }) => {
            let keys = fingerprints.iter().map(ToString::to_string).collect();
            (format!("by its own word {}", under(keys, since)), "servos-keyctl doctor")
        }
        Err(StartFailure::Store(StoreError::InUse { .. })) => match key_of_daemon(store, config) {
            Some(MasterKeyStatus { fingerprint, since, .. }) => {
                (format!("and its daemon serves it, {}", under(vec![fingerprint], since)), "servos-keyctl status")
            }
            None => ("and a process has it, most likely its daemon".to_owned(), "servos-keyctl status"),
        },
        Err(failure) => (format!("and tells nothing ({})", chain(&failure)), "servos-keyctl doctor"),
    };
    let adopt = match adopt_legacy {
        true => "; to have it open values of another key too: servos-keyctl legacy adopt FILE",
        false => "",
    };
    let text = format!(
        "a store stands at {} already, {state}. A store is never overwritten: nothing was touched",
        store.display()
    );
    Failure::say(exit::CANNOT_CREATE, text).with_hint(format!("to see how it is: {next}{adopt}"))
}

/// What the daemon that has the store tells of its key.
fn key_of_daemon(store: &Path, config: &Config) -> Option<MasterKeyStatus> {
    let socket = config.socket.admin_path.as_ref().unwrap_or(&config.socket.path);
    let runtime = crate::cli::runtime::of_this_thread().ok()?;
    let client = Client::new(socket).with_wait_for_daemon(Duration::ZERO);
    let status = runtime.block_on(AdminClient::new(&client).status()).ok()?;
    status.master_key.filter(|_| status.store.is_some_and(|its| Path::new(&its.path) == store))
}

fn check_rows(file: &Path, master: &MasterKey, memory: &LockedMemory) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::say(exit::MISSING, format!("{}: no such file", file.display())),
        std::io::ErrorKind::InvalidData => {
            Failure::say(exit::DATA, format!("{}: is not text; give one base64 value a line", file.display()))
        }
        _ => StoreError::from_io(file, error).into(),
    };
    if file.metadata().map_err(unreadable)?.len() > MAX_ROWS_BYTES {
        return Err(Failure::say(exit::DATA, format!("{}: has more than 16 MiB", file.display())));
    }
    let rows = std::fs::read_to_string(file).map_err(unreadable)?;
    let proof = prove(master, &rows, memory)?;
    if proof.count == 0 {
        return Err(Failure::say(exit::DATA, format!("{}: holds no value to check the key on", file.display())));
    }
    let count = proof.verdict(file, master.fingerprint())?;
    output::line(&format!("checked   the key opens {count} of {count} values in {}", file.display()));
    Ok(())
}
