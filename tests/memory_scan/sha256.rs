//! SHA-256's compression alone, for what it holds of an HMAC key: the two states behind the first block.
//!
//! Must never be used to authenticate anything. Called by `forms`.

/// Source: FIPS 180-4, section 4.2.2.
pub const ROUND_CONSTANTS: [u32; 64] = roots(3, 64);
const START: [u32; 8] = {
    let all = roots(2, 8);
    [all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7]]
};

/// The first 32 bits of the fractional parts of the square or cube roots of the first primes.
#[allow(clippy::cast_possible_truncation, reason = "the fractional part is what is wanted")]
const fn roots(degree: u32, count: usize) -> [u32; 64] {
    let mut out = [0; 64];
    let (mut found, mut number) = (0, 2_u128);
    while found < count {
        let mut divisor = 2;
        while number % divisor != 0 {
            divisor += 1;
        }
        if divisor == number {
            // The root of number * 2^(32 degree), by bisection.
            let target = number << (32 * degree);
            let (mut low, mut high) = (0_u128, 1 << 37);
            while high - low > 1 {
                let middle = (low + high) / 2;
                let power = if degree == 2 { middle * middle } else { middle * middle * middle };
                if power <= target { low = middle } else { high = middle }
            }
            out[found] = low as u32;
            found += 1;
        }
        number += 1;
    }
    out
}

/// Source: FIPS 180-4, section 6.2.2.
pub fn compress(state: &mut [u32; 8], block: &[u8; 64]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for t in 16..64 {
        let (two, fifteen) = (words[t - 2], words[t - 15]);
        let one = two.rotate_right(17) ^ two.rotate_right(19) ^ two >> 10;
        let zero = fifteen.rotate_right(7) ^ fifteen.rotate_right(18) ^ fifteen >> 3;
        words[t] = one.wrapping_add(words[t - 7]).wrapping_add(zero).wrapping_add(words[t - 16]);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (constant, word) in ROUND_CONSTANTS.iter().zip(words) {
        let choice = e & f ^ !e & g;
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let one = h.wrapping_add(sum).wrapping_add(choice).wrapping_add(*constant).wrapping_add(word);
        let majority = a & b ^ a & c ^ b & c;
        let two = (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22)).wrapping_add(majority);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(one), c, b, a, one.wrapping_add(two));
    }
    for (sum, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *sum = sum.wrapping_add(add);
    }
}

/// The state behind the first block of HMAC, which is the key exclusive-or `pad` (0x36 inner, 0x5c outer), as ring keeps
/// it: eight words in the processor's order.
///
/// Source: RFC 2104, section 2.
pub fn keyed_state(key: &[u8; 32], pad: u8) -> [u8; 32] {
    let mut block = [pad; 64];
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
    let mut state = START;
    compress(&mut state, &block);
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(4).zip(state).for_each(|(out, word)| out.copy_from_slice(&word.to_ne_bytes()));
    bytes
}
