//! What `restore` is given: a backup in a file, or as a database gave it out, and clients' canaries.
//!
//! Must never show what was given: a wrong file may be the key's.
//! Called by `restore`.

use super::restore_arguments::Arguments;
use crate::cli::exit;
use crate::cli::export::{from_base64, skb1, without_white_space};
use crate::cli::failure::Failure;
use crate::cli::given;
use crate::config::key_source_error::shell_quoted;
use crate::operations::restore::canary::{self, CanarySeen};
use crate::operations::restore::proof::{Proven, Source, Unproven, read_backup};
use crate::operations::start_failure::StartFailure;
use crate::store::backup_file::{self, MAX_FILE_BYTES};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A canary has 64 bytes; its base64 text 88 and perhaps some white space.
const MAX_CANARY_BYTES: u64 = 128;

/// Reads the backup that the arguments name.
///
/// # Errors
/// 65 for what is no export; what `refused` makes of a file that is missing or no good backup.
pub(super) fn backup(arguments: &Arguments, refused: impl Fn(StartFailure) -> Failure) -> Result<Unproven, Failure> {
    let Some(path) = &arguments.from_export else {
        let path = arguments.file.clone().unwrap_or_default();
        return read_backup(&path, shell_quoted(&path)).map_err(refused);
    };
    let (name, bytes) = read(path, MAX_FILE_BYTES)?;
    let rejected = |problem: &str| Failure::say(exit::DATA, format!("{}: {problem}", name.display()));
    let bytes = bytes.ok_or_else(|| rejected("is longer than 1 GiB"))?;
    let bytes = skb1(bytes).map_err(rejected)?;
    let backup = backup_file::decode(&bytes).map_err(|error| refused(StartFailure::from(error).in_backup(&name)))?;
    Ok(Unproven::new(Source { name, argument: format!("--from-export {}", shell_quoted(path)) }, backup))
}

/// Verifies canaries against the backup.
///
/// # Errors
/// 65 for what is no canary, and for one of another store or a damaged one.
pub(super) fn canaries(files: &[PathBuf], proven: &Proven) -> Result<Vec<CanarySeen>, Failure> {
    let one = |file: &PathBuf| {
        let (name, bytes) = read(file, MAX_CANARY_BYTES)?;
        let canary = bytes.as_deref().and_then(canary_of).ok_or_else(|| {
            let problem = "holds no canary: 64 bytes, or their base64 text, as `servos-keyctl canary issue` writes it";
            Failure::say(exit::DATA, format!("{} {problem}", name.display()))
        })?;
        Ok(canary::check(proven, &name, &canary)?)
    };
    files.iter().map(one).collect()
}

/// The whole of a file, or of standard input for `-`; `None` if it is longer than `limit`.
fn read(path: &Path, limit: u64) -> Result<(PathBuf, Option<Vec<u8>>), Failure> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") {
        let name = PathBuf::from("standard input");
        let read = std::io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Failure::reading(&name, &error))?;
        name
    } else {
        let read = given::opened(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
        read.map_err(|error| Failure::reading(path, &error))?;
        path.to_owned()
    };
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= limit);
    Ok((name, fits.then_some(bytes)))
}

fn canary_of(bytes: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    from_base64(&without_white_space(bytes))?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::{Base64, Encoding as _};

    #[test]
    fn a_canary_is_64_bytes_or_their_text() {
        let raw = [7; 64];
        let text = Base64::encode_string(&raw) + "\n";
        assert_eq!(canary_of(&raw), Some(raw));
        assert_eq!(canary_of(text.as_bytes()), Some(raw));
        assert_eq!(canary_of(&raw[1..]), None);
        assert_eq!(canary_of(b""), None);
        assert_eq!(canary_of(b"not a canary"), None);
    }
}
