//! The forms in which a known secret can lie in memory: as it is, turned round, sliced, as text, and as HMAC holds it.
//!
//! Must never give a form of fewer than 16 bytes: shorter ones are found by chance. Called by `known`.

use crate::aes;
use crate::sha256::{ROUND_CONSTANTS, keyed_state};
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding as _};

/// What each half of a secret is taken apart to: half a key found is a key found.
pub const HALF: usize = 16;

/// A form's name and its bytes.
pub type Form = (&'static str, Vec<u8>);

/// Every form of a key's 32 bytes, of each half apart.
pub fn of_key(key: &[u8; 32]) -> Vec<Form> {
    let mut forms = of_value(key);
    for (pad, states, block, sums) in [
        (0x36, "HMAC inner state", "HMAC inner block", "SHA-256 rounds of the HMAC inner block"),
        (0x5c, "HMAC outer state", "HMAC outer block", "SHA-256 rounds of the HMAC outer block"),
    ] {
        let state = keyed_state(key, pad);
        for half in state.chunks_exact(HALF) {
            forms.push((states, half.to_vec()));
            forms.push((states, turned(half, 4)));
            forms.push((states, turned(half, 8)));
        }
        let padded = key.map(|byte| byte ^ pad);
        for (number, half) in padded.chunks_exact(HALF).enumerate() {
            forms.push((block, half.to_vec()));
            forms.push((block, turned(half, 4)));
            // What the AVX code of SHA-256 keeps on the stack: each word of the block with its round's constant added.
            let words = half.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
            let constants = &ROUND_CONSTANTS[4 * number..];
            forms
                .push((sums, words.zip(constants).flat_map(|(word, c)| word.wrapping_add(*c).to_ne_bytes()).collect()));
        }
    }
    forms
}

/// Every form of some bytes, by their halves or other parts of 16.
pub fn of_value(value: &[u8]) -> Vec<Form> {
    value.chunks_exact(HALF).flat_map(of_part).collect()
}

fn of_part(part: &[u8]) -> Vec<Form> {
    let mut forms = vec![
        ("raw", part.to_vec()),
        ("turned round by 4", turned(part, 4)),
        ("turned round by 8", turned(part, 8)),
        ("turned round whole", part.iter().rev().copied().collect()),
        ("hex", base16ct::lower::encode_string(part).into_bytes()),
        ("HEX", base16ct::upper::encode_string(part).into_bytes()),
    ];
    if let Ok(block) = part.try_into() {
        forms.push(("bit-sliced, compact", aes::compact(block).to_vec()));
        forms.push(("vpaes", aes::in_vpaes_basis(block).to_vec()));
    }
    for before in 0..3 {
        let bytes = [&[0; 2][..before], part].concat();
        // The characters that these bytes alone decide.
        let (first, behind) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.push(("base64", Base64Unpadded::encode_string(&bytes).as_bytes()[first..behind].to_vec()));
        let url = Base64UrlUnpadded::encode_string(&bytes).as_bytes()[first..behind].to_vec();
        if forms.last().is_some_and(|(_, standard)| *standard != url) {
            forms.push(("base64url", url));
        }
    }
    forms
}

/// The bytes of each word in the other order.
fn turned(bytes: &[u8], word: usize) -> Vec<u8> {
    bytes.chunks(word).flat_map(|word| word.iter().rev().copied()).collect()
}
