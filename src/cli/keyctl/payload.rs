//! What goes in and comes out of a command: bytes from standard input or a file, to standard output or a file.
//!
//! Must never grow with its input beyond a limit, nor leave an input's bytes behind unwiped.
//! Called by the commands that read or write values, canaries and keys.

use super::console::Console;
use super::durable_file::{self, Replace};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::error::Error;
use crate::client::value::from_base64;
use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where a result goes.
#[derive(Args)]
pub(super) struct OutputArguments {
    /// Write to this file, of mode 0600, instead of standard output
    #[arg(long = "out", value_name = "FILE")]
    pub(super) path: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, requires = "path")]
    force: bool,
}

impl OutputArguments {
    /// Refuses an output file that exists before any work is done.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match &self.path {
            Some(path) => durable_file::check_absent(path, Replace::from_force(self.force)),
            None => Ok(()),
        }
    }

    /// Writes the result.
    pub(super) fn write(&self, console: &mut Console, bytes: &[u8]) -> Result<(), Failure> {
        match &self.path {
            Some(path) => durable_file::write(path, bytes, Replace::from_force(self.force)),
            None => console.write(bytes),
        }
    }

    /// Refuses to throw binary data at a person's terminal.
    pub(super) fn check_binary(&self, console: &Console) -> Result<(), Failure> {
        if self.path.is_none() && console.output_is_terminal && !console.json {
            let failure = Failure::say(exit::USAGE, "the result is binary, and the output is a terminal");
            return Err(failure.with_hint("add --base64, or --out FILE"));
        }
        Ok(())
    }
}

/// Reads a file, or standard input for none and for `-`: at most `limit` bytes.
pub(super) fn read(console: &mut Console, path: Option<&Path>, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match path {
        Some(path) if path != Path::new("-") => {
            let mut file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
            read_limited(&mut file, path, limit)
        }
        _ => {
            if console.input_is_terminal {
                console.hint("Reading from the terminal; Ctrl-D ends the input.");
            }
            read_limited(&mut console.input, Path::new("standard input"), limit)
        }
    }
}

/// How people know an input.
pub(super) fn name_of(path: Option<&Path>) -> String {
    match path {
        Some(path) if path != Path::new("-") => path.display().to_string(),
        _ => "standard input".to_owned(),
    }
}

/// The bytes of base64 text; line breaks and other white space in it mean nothing.
///
/// # Errors
/// 65 if it is no standard base64.
pub(super) fn decoded(mut text: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    text.retain(|byte| !byte.is_ascii_whitespace());
    let text = str::from_utf8(&text).map_err(|_| Error::NotBase64)?;
    Ok(Zeroizing::new(from_base64(text)?))
}

fn read_limited(input: &mut dyn Read, name: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // A vector that grows leaves its old bytes behind, so it has its full size from the start.
    let mut bytes = Zeroizing::new(vec![0; limit.saturating_add(1)]);
    let mut filled = 0;
    while let Some(space) = bytes.get_mut(filled..).filter(|space| !space.is_empty()) {
        match input.read(space) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::reading(name, &error)),
        }
    }
    if filled > limit {
        let text = format!("{} has more than {limit} bytes, the limit", name.display());
        return Err(Failure::say(exit::DATA, text));
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact() {
        let read = |length: usize| read_limited(&mut vec![7; length].as_slice(), Path::new("x"), 10);
        assert_eq!(read(0).unwrap().as_slice(), b"");
        assert_eq!(read(10).unwrap().as_slice(), [7; 10]);
        assert_eq!(read(11).unwrap_err().exit, exit::DATA);
    }
}
