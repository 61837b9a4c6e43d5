//! A master key from paper: from shares or the key itself, in files, typed at the terminal, or on standard input.
//!
//! Must never echo, print or log what stands on paper, nor hold it outside of locked memory.
//! Called by every command that takes a key from paper: `recover`, `check-key`, and whatever tries a kit.

mod collected;
mod desk;
mod refusal;
mod terminal;
mod text;
mod typed;

pub use desk::Desk;
pub use text::{BEGIN_SHARE, END_SHARE};

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::given;
use crate::custody::keys::{KeyError, MasterKey};
use crate::custody::shares;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use clap::Args;
use collected::{Collected, Found};
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most that is read of a file or of standard input: 16 shares with all that a kit says beside them.
const LIMIT_BYTES: usize = 64 * 1024;

/// Leads to what standard input is.
const STANDARD_INPUT: &str = "/dev/stdin";

/// Where the paper is.
#[derive(Args, Default)]
pub struct PaperArguments {
    /// A file with a share of a recovery kit, or with several, or with the key itself; give it once for each file, in
    /// any order. - is standard input
    #[arg(long = "share", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Type the shares of a recovery kit, or the key itself: at a terminal nothing of it is shown, and each word is
    /// checked; elsewhere standard input is read
    #[arg(long)]
    pub typed: bool,
}

impl PaperArguments {
    /// Whether a key from paper is asked for at all.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.typed || !self.files.is_empty()
    }

    /// The files that it is read from: standard input may be one as well.
    pub fn read_from(&self) -> impl Iterator<Item = PathBuf> {
        let of_file = |file: &PathBuf| if file == Path::new("-") { STANDARD_INPUT.into() } else { file.clone() };
        self.files.iter().map(of_file).chain(self.typed.then(|| STANDARD_INPUT.into()))
    }
}

/// A key from paper. Whether it is the right one is not known yet.
pub struct PaperKey {
    /// The key.
    pub key: MasterKey,
    /// What it was put together from, for messages.
    pub source: String,
    /// What should be mended about the files.
    pub warnings: Vec<String>,
}

/// Reads the paper and puts the key together.
///
/// # Errors
/// 64 for arguments that do not go together, 65 for what is no share or key, or does not belong together, naming which;
/// 66 for shares that are missing, and for a missing file; 1 where who types gives up.
pub fn read(arguments: &PaperArguments, desk: &mut Desk<'_>, memory: &LockedMemory) -> Result<PaperKey, Failure> {
    let uses_of_input = arguments.files.iter().filter(|file| *file == Path::new("-")).count();
    if uses_of_input + usize::from(arguments.typed) > 1 {
        let failure = Failure::say(exit::USAGE, "standard input was named twice, and is read once");
        return Err(failure.with_hint("give --share - or --typed, once"));
    }
    let (mut collected, mut warnings) = (Collected::default(), Vec::new());
    let mut read_from = arguments.files.iter().map(Some).collect::<Vec<_>>();
    // What is typed comes last: then it is known how much is missing.
    read_from.extend(arguments.typed.then_some(None));
    let several = read_from.len() > 1;
    for file in read_from {
        let (found, place) = match file {
            Some(file) if file != Path::new("-") => {
                let place = file.display().to_string();
                (text::read(file_text(file, memory, &mut warnings)?.expose_bytes(), &place, memory)?, place)
            }
            None if desk.input_is_terminal => match typed::at_terminal(desk, &mut collected, memory)? {
                None => break,
                Some(key) => (Found::Key(key), "what was typed".to_owned()),
            },
            _ => {
                let place = "standard input".to_owned();
                (text::read(input_text(desk.input, memory)?.expose_bytes(), &place, memory)?, place)
            }
        };
        if let Some(key) = collected.take(found, &place)? {
            if several {
                let failure = Failure::say(exit::USAGE, format!("{place} holds a whole key, and there is more given"));
                return Err(failure.with_hint("give that alone, or shares alone"));
            }
            return Ok(PaperKey { key, source: place, warnings });
        }
    }
    let key = shares::combine(&collected.shares, memory).map_err(|error| collected.refused(error))?;
    let kit = collected.shares.first().map(|share| share.kit().to_string()).unwrap_or_default();
    let source = match collected.shares.len() {
        1 => format!("one share of kit \"{kit}\""),
        count => format!("{count} shares of kit \"{kit}\""),
    };
    Ok(PaperKey { key, source, warnings })
}

fn file_text(file: &Path, memory: &LockedMemory, warnings: &mut Vec<String>) -> Result<LockedBuffer, Failure> {
    let unreadable = |error: std::io::Error| Failure::reading(file, &error);
    let mut opened = given::opened(file).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        warnings
            .push(format!("others can read or change {} (mode {mode:04o}): chmod 600, or delete it", file.display()));
    }
    text_of(&mut opened, &file.display().to_string(), memory)?.map_err(unreadable)
}

fn input_text(input: &mut dyn Read, memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    text_of(input, "standard input", memory)?
        .map_err(|error| Failure::say(exit::DAMAGED, format!("cannot read standard input: {error}")))
}

fn text_of(
    mut from: &mut dyn Read,
    place: &str,
    memory: &LockedMemory,
) -> Result<std::io::Result<LockedBuffer>, Failure> {
    let mut text = memory.buffer(LIMIT_BYTES).map_err(KeyError::from)?;
    match text.read_from(&mut from) {
        Ok(true) => Ok(Ok(text)),
        Ok(false) => Err(Failure::say(exit::DATA, format!("{place} is longer than a recovery kit: is it one?"))),
        Err(error) => Ok(Err(error)),
    }
}

#[cfg(test)]
mod tests;
