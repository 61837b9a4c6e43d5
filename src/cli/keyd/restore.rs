//! `servos-keyd restore`: a backup, or what ExportKeyring left in a database, in the store's place.
//!
//! Must never move or write anything before the backup, the key and the canaries have proved good.
//! Called by `run`.

use super::restore_report::{self as report, Told};
use super::{ConfigArguments, harden, key, place, remedy, restore_input};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::operations::restore::known::{judge, survey};
use crate::operations::restore::proof::prove;
use crate::operations::restore::restore;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The backup: a .skb1 file
    #[arg(required_unless_present = "from_export", conflicts_with = "from_export")]
    pub(super) file: Option<PathBuf>,
    /// What ExportKeyring left in a database, as it comes out of there: bytes, or their text in hex or base64; - for
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub(super) from_export: Option<PathBuf>,
    /// A client's canary that must belong to the backup: 64 bytes, or their base64 text; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(super) canary: Vec<PathBuf>,
    /// Go back on purpose, where something newer is known
    #[arg(long)]
    older: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    let config = arguments.config.load()?;
    let memory = key::memory_as(config.memory)?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    let places = place::places(&config);
    let held = if place::has_directory(&places) { Some(place::lock(&places)?) } else { None };
    // Nothing is made, not even a directory, before the backup and the key have proved good. While a rotation was pending,
    // either of its keys will do, and so will both.
    let backup = restore_input::backup(arguments)?;
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
