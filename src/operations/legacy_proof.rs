//! The proof that a master key is the one that sealed real rows, before a store is made with it.
//!
//! Must never keep or show what a row holds.
//! Called by `cli` for `init --check-legacy`.

use super::refusal::Refusal;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::legacy;
use base64ct::Encoding as _;

/// Opens every row of a file: each line that is not blank is `Base64(nonce || ciphertext || tag)`. Answers how many
/// there were, and the numbers of the lines that the key does not open.
///
/// # Errors
/// [`Refusal::Memory`].
pub fn prove(master: &MasterKey, rows: &str, memory: &LockedMemory) -> Result<(usize, Vec<usize>), Refusal> {
    let key = master.as_legacy(memory)?;
    let rows: Vec<(usize, &str)> =
        rows.lines().enumerate().map(|(i, row)| (i + 1, row.trim())).filter(|(_, row)| !row.is_empty()).collect();
    let opens = |row: &str| base64ct::Base64::decode_vec(row).is_ok_and(|value| legacy::open(&key, &value).is_ok());
    let refused = rows.iter().filter(|(_, row)| !opens(row)).map(|(line, _)| *line).collect();
    Ok((rows.len(), refused))
}
