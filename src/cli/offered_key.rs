//! A key that is tried: what a file or the sources hold, or what was put together from paper.
//!
//! Must never hold the key of paper outside of locked memory.
//! Called by `keyctl`, for what checks keys and for recovery kits, and by `keyd` for a drill.

use super::failure::Failure;
use super::key::{self, ChosenKey};
use super::paper::PaperKey;
use crate::config::key_source::KeySource;
use crate::custody::keys::{HEX_CHARACTERS, KeyError, MasterKey};
use crate::operations::key_choice::ClaimedKeys;
use crate::sys::locked::{LockedBuffer, LockedMemory};

/// A key that is checked; it can be had as often as it is needed.
pub enum Offered {
    /// What sources hold.
    Sources(Vec<KeySource>),
    /// A key from paper, as hex.
    Paper {
        /// Its text.
        text: LockedBuffer,
        /// What it was put together from.
        source: String,
        /// What should be mended about that.
        warnings: Vec<String>,
    },
}

impl Offered {
    /// A key from paper.
    ///
    /// # Errors
    /// [`KeyError`] if there is no locked memory.
    pub fn paper(paper: PaperKey, memory: &LockedMemory) -> Result<Self, KeyError> {
        let mut text = memory.buffer(HEX_CHARACTERS)?;
        paper.key.write_hex(&mut text)?;
        Ok(Self::Paper { text, source: paper.source, warnings: paper.warnings })
    }

    /// What should be mended about where it lies.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Sources(found) => {
                found.iter().flat_map(|source| source.warnings.iter().map(ToString::to_string)).collect()
            }
            Self::Paper { warnings, .. } => warnings.clone(),
        }
    }

    /// The one to check: two may be there while a rotation is pending, and the claim tells which.
    ///
    /// # Errors
    /// 78 for two keys that disagree.
    pub fn chosen(&self, claimed: ClaimedKeys, memory: &LockedMemory) -> Result<ChosenKey, Failure> {
        let (text, source, warnings) = match self {
            Self::Sources(found) => return key::choose_among(found, claimed, memory),
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
