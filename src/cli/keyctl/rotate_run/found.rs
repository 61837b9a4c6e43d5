//! Which files a run changes, and which of the daemon's key sources lie in none of them.
//!
//! Must never guess: where nothing names a file, the operator is asked to.
//! Called by `rotate_run`, and by all that change a file.

use super::arguments::RunArguments;
use super::place::Place;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::rotate_key_file::{KeyPlace, check_key_file};
use crate::cli::unit;
use crate::proto::v1::{GetStatusResponse, KeySource};
use crate::sys::locked::LockedMemory;
use std::path::{Path, PathBuf};

/// The files of a run.
pub(super) struct Found {
    /// Those that hold the key; none where all is done by hand.
    pub(super) places: Vec<Place>,
    /// The one that the rest lies beside.
    pub(super) main: PathBuf,
    /// The file of the new key.
    pub(super) next: PathBuf,
}

/// The files that are named, that the daemon opens, or that its unit takes the key from.
///
/// # Errors
/// 64 where none of them says it, and for what cannot be a key file.
pub(super) fn find(
    arguments: &RunArguments,
    status: Option<&GetStatusResponse>,
    memory: &LockedMemory,
) -> Result<Found, Failure> {
    if let Some(file) = &arguments.by_hand {
        let next = absolute(file)?;
        return Ok(Found { places: Vec::new(), main: next.clone(), next });
    }
    let credential = arguments.encrypted_credential.clone();
    let mut places = Vec::new();
    for file in &arguments.key_file {
        check_key_file(Some(file))?;
        places.push(Place { file: absolute(file)?, credential: credential.clone() });
    }
    if places.is_empty() {
        let told = match status {
            Some(status) => KeyPlace::find(status, None)?.map(|place| place.file),
            None => None,
        };
        places.extend(match told {
            Some(file) => Some(Place { file: absolute(&file)?, credential: None }),
            None => unit::source(&arguments.unit, memory)
                .map(|source| Place { file: source.file, credential: source.encrypted }),
        });
    }
    let Some(first) = places.first() else {
        let text = "it cannot be told which file the daemon's master key comes from";
        return Err(Failure::say(exit::USAGE, text).with_hint(
            "name it with --key-file FILE, as LoadCredential=, EnvironmentFile= or the compose file does; where no file of \
             this machine holds it: --by-hand FILE makes the new key in FILE, says what to do, and waits",
        ));
    };
    Ok(Found { main: first.file.clone(), next: first.next(), places })
}

fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(file).map_err(|error| Failure::reading(file, &error))?;
    if absolute.to_str().is_none() {
        let text = format!("the name {} is no UTF-8, and no journal can hold it", file.display());
        return Err(Failure::say(exit::USAGE, text).with_hint("name the file through a link, or change it by hand"));
    }
    Ok(absolute)
}

/// Sources that hold the key in none of the files that are changed: where none is, all of them.
pub(super) fn is_elsewhere(source: &KeySource, files: &[PathBuf]) -> bool {
    let is_of = |file: &PathBuf| {
        let rest = source.name.strip_prefix(&*file.to_string_lossy());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    };
    files.is_empty() || (!source.needs_restart && !files.iter().any(is_of))
}
