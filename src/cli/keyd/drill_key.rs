//! The copy of the master key that a drill tries: in a file, or on paper.
//!
//! Must never be the key that the daemon itself reads because nothing else was named: that one is no copy.
//! Called by `restore_drill`.

use super::key::{self, ChosenKey};
use super::restore::DrillArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::paper::{self, Desk};
use crate::config::key_source::KeySource;
use crate::custody::keys::{HEX_CHARACTERS, KeyError, MasterKey};
use crate::operations::key_choice::ClaimedKeys;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;

/// A copy that can be had as often as it is needed.
pub(super) enum TriedKey {
    /// What a file holds.
    File(Vec<KeySource>),
    /// A key from paper, as hex.
    Paper { text: LockedBuffer, source: String, warnings: Vec<String> },
}

impl TriedKey {
    /// Reads the file, or the paper.
    ///
    /// # Errors
    /// 65, 66, 77 and 78 for what is no key, missing, or open to others.
    pub(super) fn read(drill: &DrillArguments, memory: &LockedMemory) -> Result<Self, Failure> {
        if let Some(file) = &drill.key_file {
            let found = key::read_given(file, false, memory)?;
            // A key that is none is told before anything of the backup.
            key::held(&found, memory)?;
            return Ok(Self::File(found));
        }
        let mut input: Box<dyn Read> = match io::stdin().as_fd().try_clone_to_owned() {
            // The standard library's handle keeps what passes in a buffer that is never wiped.
            Ok(descriptor) => Box::new(File::from(descriptor)),
            Err(error) => return Err(Failure::say(exit::DAMAGED, format!("cannot read standard input: {error}"))),
        };
        let mut errors = io::stderr();
        let input_is_terminal = io::stdin().is_terminal();
        let mut desk = Desk { input: &mut *input, errors: &mut errors, input_is_terminal };
        let read = paper::read(&drill.paper, &mut desk, memory)?;
        let mut text = memory.buffer(HEX_CHARACTERS).map_err(KeyError::from)?;
        read.key.write_hex(&mut text)?;
        Ok(Self::Paper { text, source: read.source, warnings: read.warnings })
    }

    /// What should be mended about where it lies.
    pub(super) fn warnings(&self) -> Vec<String> {
        match self {
            Self::File(found) => found.iter().flat_map(|source| source.warnings.iter().cloned()).collect(),
            Self::Paper { warnings, .. } => warnings.clone(),
        }
    }

    /// The key to try: of two in a file, the one that the backup says it is under.
    ///
    /// # Errors
    /// 78 for two keys that disagree.
    pub(super) fn chosen(&self, claimed: ClaimedKeys, memory: &LockedMemory) -> Result<ChosenKey, Failure> {
        let (text, source, warnings) = match self {
            Self::File(found) => return key::choose_among(found, claimed, memory),
            Self::Paper { text, source, warnings } => (text, source, warnings),
        };
        Ok(ChosenKey {
            key: MasterKey::parse(text.expose_bytes(), memory)?,
            other: None,
            source: source.clone(),
            shared: false,
            warnings: warnings.clone(),
            pending: None,
            sources: Vec::new(),
        })
    }
}
