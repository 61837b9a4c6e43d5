//! `servos-keyd restore`: a backup, or what ExportKeyring left in a database, in the store's place.
//!
//! Must never move or write anything before the backup, the key and the canaries have proved good.
//! Called by `run`.

pub use super::restore_arguments::Arguments;
use super::restore_report::{self as report, Told};
use super::{harden, key, place, remedy, restore_drill, restore_input};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::operations::restore::known::{judge, survey};
use crate::operations::restore::proof::prove;
use crate::operations::restore::restore;

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    if arguments.drill.drill {
        return restore_drill::run(arguments, &arguments.drill);
    }
    // Told that --drill is missing, somebody would add it, see a drill succeed, and take the store for restored.
    if arguments.drill.key_file.is_some() {
        let failure = Failure::say(exit::USAGE, "--key-file names a copy for a drill, and a restore takes no copy");
        return Err(failure.with_hint(
            "to restore: SERVOS_MASTER_KEY_FILE=FILE servos-keyd restore BACKUP; to try the copy only: add --drill",
        ));
    }
    if arguments.drill.paper.is_given() {
        let failure = Failure::say(exit::USAGE, "paper is read for a drill only");
        return Err(failure.with_hint("add --drill; to restore, put the key where the daemon reads it first"));
    }
    let config = arguments.config.load()?;
    let memory = key::memory_as(config.memory)?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    let places = place::settled(&config, arguments.config.config.as_deref())?;
    let held = if place::has_directory(&places) { Some(place::lock(&places)?) } else { None };
    // Nothing is made, not even a directory, before the backup and the key have proved good. While a rotation was pending,
    // either of its keys will do, and so will both.
    let backup = restore_input::backup(arguments, Failure::from)?;
    let chosen = key::choose(&sources, backup.claimed(), &memory)?;
    let proven = prove(backup, chosen.key, &memory)?;
    let canaries = restore_input::canaries(&arguments.canary, &proven)?;
    let again = || key::choose(&sources, Ok(proven.owners().to_vec()), &memory);
    let to_try = again()?;
    let known = survey(&places, &proven, std::iter::once(to_try.key).chain(to_try.other).collect(), &memory)?;
    if let Err(older) = judge(&places, &proven, &known) {
        if !arguments.older {
            report::lacking(&known.comparison.missing(), arguments.json);
            return Err(older.into());
        }
        report::going_back(&older, &known.comparison.missing(), arguments.json);
    }
    let _lock = match held {
        Some(lock) => lock,
        None => {
            place::make_directory(&places)?;
            let lock = place::lock(&places)?;
            // What was judged above was an empty place.
            if places.store.symlink_metadata().is_ok() {
                let made = format!("{} was made meanwhile: run the same command again", places.store.display());
                return Err(Failure::say(exit::TRY_AGAIN, made));
            }
            lock
        }
    };
    let backups_are_new = place::backups_are_new(&places);
    let chosen = again()?;
    let mut told = Told::of(&proven, &known, canaries, chosen.pending);
    let restored = restore(&places, proven, &known, told.newest_canary(), chosen.key, &memory, key::now())?;
    // What was done is told all the same: only the report says how to undo it.
    let given = place::give_to_owner(&places, backups_are_new);
    told.next = format!(
        "{}; then verify the canaries of your databases: servos-keyctl verify-canary",
        remedy::start_command(arguments.config.config.as_deref(), &config, &chosen.source)
    );
    report::restored(&places, &restored, told, known, arguments.json);
    given
}
