//! The proof that a master key is the one that sealed real rows, before a store is made with it.
//!
//! Must never keep or show what a row holds.
//! Called by `cli` for `init --check-legacy` and `legacy adopt --check`.

use super::refusal::Refusal;
use super::start_failure::StartFailure;
use crate::custody::id::Fingerprint;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::legacy;
use base64ct::Encoding as _;
use std::path::Path;

/// Lines that are named where rows are refused; the others are counted.
const LINES_NAMED: usize = 5;

/// What a file of rows says of a key.
pub struct Proof {
    /// How many rows there are.
    pub count: usize,
    /// The lines, from 1, that hold no base64.
    pub not_base64: Vec<usize>,
    /// The lines, from 1, of values that the key does not open.
    pub refused: Vec<usize>,
}

/// Opens every row of a file: each line that is not blank is `Base64(nonce || ciphertext || tag)`.
///
/// # Errors
/// [`Refusal::Memory`].
pub fn prove(master: &MasterKey, rows: &str, memory: &LockedMemory) -> Result<Proof, Refusal> {
    let key = master.as_legacy(memory)?;
    let mut proof = Proof { count: 0, not_base64: Vec::new(), refused: Vec::new() };
    for (line, row) in (1..).zip(rows.lines().map(str::trim)).filter(|(_, row)| !row.is_empty()) {
        proof.count += 1;
        match base64ct::Base64::decode_vec(row) {
            Err(_) => proof.not_base64.push(line),
            Ok(value) if legacy::open(&key, &value).is_err() => proof.refused.push(line),
            Ok(_) => {}
        }
    }
    Ok(proof)
}

impl Proof {
    /// The number of values, all of which the key `given` opens, in rows that came from `file`.
    ///
    /// # Errors
    /// [`StartFailure::LegacyRowNotBase64`], [`StartFailure::LegacyRowRefused`] if none opens,
    /// [`StartFailure::LegacyRowsDiffer`] if some do.
    pub fn verdict(self, file: &Path, given: Fingerprint) -> Result<usize, StartFailure> {
        let (file, count) = (file.to_owned(), self.count);
        if let Some(line) = self.not_base64.first() {
            return Err(StartFailure::LegacyRowNotBase64 { file, line: *line });
        }
        match count.saturating_sub(self.refused.len()) {
            0 => Err(StartFailure::LegacyRowRefused { file, given }),
            opened if opened < count => {
                let lines = numbered(&self.refused);
                Err(StartFailure::LegacyRowsDiffer { file, given, opened, count, lines })
            }
            _ => Ok(count),
        }
    }
}

/// The first lines by number, and how many more there are.
fn numbered(lines: &[usize]) -> String {
    let first: Vec<String> = lines.iter().take(LINES_NAMED).map(ToString::to_string).collect();
    let noun = if lines.len() == 1 { "line" } else { "lines" };
    match lines.len().saturating_sub(LINES_NAMED) {
        0 => format!("{noun} {}", first.join(", ")),
        more => format!("{noun} {} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lines_are_named_and_the_others_counted() {
        assert_eq!(numbered(&[3]), "line 3");
        assert_eq!(numbered(&[1, 2, 3, 4, 5]), "lines 1, 2, 3, 4, 5");
        assert_eq!(numbered(&[1, 2, 3, 4, 5, 8, 9]), "lines 1, 2, 3, 4, 5 and 2 more");
    }
}
