//! A key against a backup or an export: read in whatever form it is, and opened whole.
//!
//! Must never take a backup's own word for the key's being the right one, nor show a byte of a file that is none.
//! Called by `check_key` and `recover`.

use super::opener::{Given, Opener};
use crate::cli::exit;
use crate::cli::export::skb1;
use crate::cli::failure::Failure;
use crate::cli::given;
use crate::cli::offered_key::Offered;
use crate::operations::inspect::{Proof, Told, inspect, prove};
use crate::operations::start_failure::StartFailure;
use crate::store::backup_file::{self, Backup, MAX_FILE_BYTES};
use crate::sys::locked::LockedMemory;
use std::io::Read as _;
use std::path::Path;

/// Whether a file is a store's, by how it begins.
pub(super) fn is_store(path: &Path) -> Result<bool, Failure> {
    let mut begins = Vec::new();
    let read = given::opened(path).and_then(|file| file.take(5).read_to_end(&mut begins));
    read.map_err(|error| Failure::reading(path, &error))?;
    Ok(begins == b"redb\x1a")
}

/// Finds which key opens a backup, and whether the one that is offered does.
///
/// # Errors
/// 65 for what is no backup and for one that does not open whole, 66 and 77 for a file that cannot be read, 78 for one
/// of a newer servos-keyd.
pub(super) fn backup(
    path: &Path,
    offered: Option<&Offered>,
    memory: &LockedMemory,
) -> Result<(Option<Given>, Opener), Failure> {
    let backup = read(path)?;
    let told = inspect(&backup);
    let chosen = offered.map(|offered| offered.chosen(Ok(told.opened_by.clone()), memory)).transpose()?;
    let given = chosen.as_ref().map(Given::of);
    let (mut opens, mut held_as_legacy) = (None, false);
    if let Some(chosen) = chosen {
        let refused = |failure: StartFailure| {
            let exit = if matches!(failure, StartFailure::Damaged(_)) { exit::DATA } else { exit::of_start(&failure) };
            Failure { exit, ..Failure::from(failure.in_backup(path)) }
        };
        match prove(backup, chosen.key, memory).map_err(refused)? {
            Proof::Opens { unopened, .. } => {
                whole(path, &told, unopened.len())?;
                opens = Some(true);
            }
            Proof::Other { held_as_legacy: held } => {
                opens = Some(false);
                held_as_legacy = held;
            }
        }
    }
    let opener = Opener {
        what: "backup",
        opens,
        fingerprints: told.opened_by.iter().map(ToString::to_string).collect(),
        since: told.since,
        is_verified: opens == Some(true),
        held_as_legacy,
        store: None,
        store_id: told.store_id.to_string(),
        asked: format!("the backup {}", path.display()),
        socket: None,
    };
    Ok((given, opener))
}

/// The key is right, but the paper's day may still not come: half a backup is not to be counted on.
fn whole(path: &Path, told: &Told, unopened: usize) -> Result<(), Failure> {
    let bad = told.problems.len().max(unopened);
    if bad == 0 {
        return Ok(());
    }
    let records = if bad == 1 { "1 record is".to_owned() } else { format!("{bad} records are") };
    let failure = Failure::say(exit::DATA, format!("the key opens {}, but {records} not good in it", path.display()));
    Err(failure.with_hint("see which with `servos-keyctl inspect`, and take another backup"))
}

fn read(path: &Path) -> Result<Backup, Failure> {
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES.saturating_add(1);
    let read = given::opened(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| Failure::reading(path, &error))?;
    let rejected = |problem: &str| Failure::say(exit::DATA, format!("{}: {problem}", path.display()));
    let bytes = skb1(bytes).map_err(rejected)?;
    backup_file::decode(&bytes).map_err(|error| {
        let exit = exit::of_inspected(&error);
        Failure { exit, ..Failure::from(StartFailure::from(error).in_backup(path)) }
    })
}
