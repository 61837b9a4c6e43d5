//! `servos-keyd accept --generation N`: the operator's word that the store is the right one.
//!
//! Must never take a store that does not open whole, nor without being told its generation.
//! Called by `run`.

use super::{ConfigArguments, harden, key, output, place};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::operations::accept::accept;
use crate::operations::mark_check::{OF_ANOTHER_ROOT, names_another_root};
use crate::operations::start_failure::StartFailure;
use crate::operations::{key_choice, load, rfc3339};
use crate::store::mark;
use crate::store::redb_adapter::{RedbStore, view};
use std::io::{BufRead, IsTerminal};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The generation of the store, as the refusal to start names it
    #[arg(long, value_name = "N")]
    generation: u64,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    let config = arguments.config.load()?;
    let memory = key::memory_as(config.memory)?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    let places = place::settled(&config, arguments.config.config.as_deref())?;
    let _lock = place::lock(&places)?;
    let snapshot = view(&places.store).map_err(StartFailure::of_file)?;
    // While a rotation is pending, either of its keys will do, and so will both.
    let chosen = key::choose(&sources, key_choice::claimed(&snapshot), &memory)?;
    let authentic = load::authenticate(snapshot.clone(), chosen.key, &memory)?;
    let (state, previous) = authentic.state();
    let whole = load::open(authentic, &memory)?;
    chosen.pending.iter().for_each(|pending| output::remark(&format!("warning: {pending}")));
    let keyring = whole.keyring;
    if keyring.generation != arguments.generation {
        let (found, told) = (keyring.generation, arguments.generation);
        return Err(StartFailure::OtherGeneration { found, told }.into());
    }
    output::remark(&format!(
        "{} holds {} keys and {} versions at generation {}, made {}.",
        places.store.display(),
        keyring.names.len(),
        keyring.versions.len(),
        keyring.generation,
        rfc3339(keyring.created),
    ));
    // A mark that cannot be read is what brings people here.
    if names_another_root(mark::read(&places.mark).ok().flatten().as_ref(), &state, previous) {
        output::remark(&format!("warning: {OF_ANOTHER_ROOT}"));
    }
    output::remark("If a newer store existed, what was sealed under its newer versions will not open with this one.");
    if !arguments.yes && !confirmed()? {
        return Err(Failure::say(exit::NO, "nothing was changed"));
    }
    let chosen = key::choose(&sources, key_choice::claimed(&snapshot), &memory)?;
    let authentic = load::authenticate(snapshot, chosen.key, &memory)?;
    let mut store = RedbStore::open(&places.store).map_err(StartFailure::from)?;
    let next = accept(&places, &authentic, &mut store, arguments.generation)?;
    drop(store);
    place::give_to_owner(&places, false)?;
    output::line(&format!("accepted; the store goes on at generation {next}"));
    Ok(())
}

fn confirmed() -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::say(
            exit::USAGE,
            "accept asks before it takes a store: answer on a terminal, or give --yes",
        ));
    }
    output::remark("Take it? Type yes:");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|error| Failure::new(exit::DAMAGED, &error))?;
    Ok(answer.trim() == "yes")
}
