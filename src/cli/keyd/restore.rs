//! `servos-keyd restore FILE`: a backup onto an empty place.
//!
//! Must never touch a store that is there.
//! Called by `run`.

use super::{ConfigArguments, harden, key, output, place};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::operations::restore::restore;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The backup: a .skb1 file, or what ExportKeyring gave
    file: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    let config = arguments.config.load()?;
    let memory = key::memory()?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    if !arguments.file.exists() {
        return Err(Failure::say(exit::MISSING, format!("{}: no such file", arguments.file.display())));
    }
    let places = place::places(&config);
    place::make_directory(&places)?;
    let _lock = place::lock(&places)?;
    let first = key::choose(&sources, &memory)?;
    let second = key::choose(&sources, &memory)?;
    let restored = restore(&places, &arguments.file, first.key, second.key, &memory)?;
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
    output::line(
        "next        servos-keyd serve; then verify the canaries of your databases: servos-keyctl verify-canary",
    );
    Ok(())
}
