//! The copy of the master key that a drill tries: in a file, or on paper.
//!
//! Must never be the key that the daemon itself reads because nothing else was named: that one is no copy.
//! Called by `restore_drill`.

use super::key;
use super::restore_arguments::DrillArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::offered_key::Offered;
use crate::cli::paper::{self, Desk};
use crate::sys::locked::LockedMemory;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;

/// Reads the file, or the paper.
///
/// # Errors
/// 65, 66, 77 and 78 for what is no key, missing, or open to others.
pub(super) fn read(drill: &DrillArguments, memory: &LockedMemory) -> Result<Offered, Failure> {
    if let Some(file) = &drill.key_file {
        let found = key::read_given(file, false, memory)?;
        // A key that is none is told before anything of the backup.
        key::held(&found, memory)?;
        return Ok(Offered::Sources(found));
    }
    let mut input: Box<dyn Read> = match io::stdin().as_fd().try_clone_to_owned() {
        // The standard library's handle keeps what passes in a buffer that is never wiped.
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(error) => return Err(Failure::say(exit::DAMAGED, format!("cannot read standard input: {error}"))),
    };
    let mut errors = io::stderr();
    let input_is_terminal = io::stdin().is_terminal();
    let mut desk = Desk { input: &mut *input, errors: &mut errors, input_is_terminal };
    Ok(Offered::paper(paper::read(&drill.paper, &mut desk, memory)?, memory)?)
}
