//! `servos-keyd restore`: a backup, or what ExportKeyring left in a database, in the store's place.
//!
//! Must never move or write anything before the backup, the key and the canaries have proved good.
//! Called by `run`.

use super::restore_report::{self as report, Told};
use super::{ConfigArguments, harden, key, place, remedy, restore_drill, restore_input};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::paper::PaperArguments;
use crate::operations::restore::known::{judge, survey};
use crate::operations::restore::proof::prove;
use crate::operations::restore::restore;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The backup: a .skb1 file; with --drill, the newest of this store if none is named
    #[arg(required_unless_present_any = ["from_export", "drill"], conflicts_with = "from_export")]
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
    #[command(flatten)]
    pub(super) drill: DrillArguments,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A drill: nothing of the store is touched, and the daemon may go on.
#[derive(clap::Args)]
pub struct DrillArguments {
    /// Only try it: restore into a scratch place with a copy of the master key, open everything there, and have the
    /// daemon keep the date
    #[arg(long, conflicts_with_all = ["older", "canary"])]
    pub(super) drill: bool,
    /// With --drill: the copy of the key, a key file, or an env file with SERVOS_MASTER_KEY= or ACT_MASTER_KEY= in it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "typed"])]
    pub(super) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) paper: PaperArguments,
    /// With --drill: values of the application's database that must open, JSON lines of key, context and ciphertext
    /// (base64), with "legacy": true for values from before servos-keyd
    #[arg(long, value_name = "FILE", requires = "drill")]
    pub(super) sample: Option<PathBuf>,
    /// With --drill: do not have the daemon keep the date
    #[arg(long, requires = "drill")]
    pub(super) no_record: bool,
}

impl DrillArguments {
    /// A drill tries a copy.
    ///
    /// # Errors
    /// 64 if none is named.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.key_file.is_some() || self.paper.is_given() {
            return Ok(());
        }
        let failure = Failure::say(exit::USAGE, "a drill tries a copy of the master key, and none was named");
        Err(failure.with_hint(
            "name it: --key-file FILE, or shares of a recovery kit: --share FILE, --typed; the key that the daemon \
             reads is no copy",
        ))
    }
}

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
