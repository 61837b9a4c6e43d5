//! The proof that a master key is the one that sealed real rows, before a store is made with it.
//!
//! Must never keep or show what a row holds.
//! Called by `cli` for `init --check-legacy`.

use super::refusal::Refusal;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::legacy;
use base64ct::Encoding as _;

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
