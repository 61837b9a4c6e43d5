//! `servos-keyd restore FILE`: a backup onto an empty place.
//!
//! Must never touch a store that is there.
//! Called by `run`.

use super::{ConfigArguments, harden, key, output, place, remedy};
use crate::cli::failure::Failure;
use crate::operations::mark_check::OF_ANOTHER_ROOT;
use crate::operations::restore::{prove, read_backup, refuse_store, restore};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The backup: a .skb1 file, or what ExportKeyring gave
    file: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    let config = arguments.config.load()?;
    let memory = key::memory()?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    let places = place::places(&config);
    let held = if place::has_directory(&places) { Some(place::lock(&places)?) } else { None };
    refuse_store(&places)?;
    // Nothing is made, not even a directory, before the backup and the key have proved good. While a rotation was pending,
    // either of its keys will do, and so will both.
    let backup = read_backup(&arguments.file)?;
    let chosen = key::choose(&sources, backup.claimed(), &memory)?;
    let proven = prove(backup, chosen.key, &memory)?;
    let _lock = match held {
        Some(lock) => lock,
        None => {
            place::make_directory(&places)?;
            place::lock(&places)?
        }
    };
    let chosen = key::choose(&sources, Ok(proven.owners().to_vec()), &memory)?;
    let restored = restore(&places, proven, chosen.key, &memory)?;
    place::give_to_owner(&places, false)?;
    let (keys, versions) = restored.contents;
    output::line(&format!("store       {} ({})", places.store.display(), restored.store_id));
    output::line(&format!(
        "restored    {keys} keys, {versions} versions, as of generation {}",
        restored.backup_generation
    ));
    output::line(&format!("generation  {}", restored.generation));
    if let Some(seen) = restored.seen_generation.filter(|seen| *seen > restored.backup_generation) {
        output::remark(&format!(
            "warning: the lost store had reached generation {seen}; what was made after generation {} is not in this \
             backup. Look for a newer one before you go on",
            restored.backup_generation
        ));
    }
    if restored.of_another_root {
        output::remark(&format!("warning: {OF_ANOTHER_ROOT}"));
    }
    chosen.pending.iter().for_each(|pending| output::remark(&format!("warning: {pending}")));
    output::line(&format!(
        "next        {}; then verify the canaries of your databases: servos-keyctl verify-canary",
        remedy::start_command(arguments.config.config.as_deref(), &config, &chosen.source)
    ));
    Ok(())
}
