//! RS1024: the Reed-Solomon code over words that finds any three wrong ones in a share.
//!
//! Must never be taken for a proof of where a share comes from: anybody can compute it.
//! Called by `format`.

/// The words of a checksum.
pub(super) const WORDS: usize = 3;

/// What the code of a share begins with, so that a share of one kind is none of the other.
const fn customization(extendable: bool) -> &'static [u8] {
    if extendable { b"shamir_extendable" } else { b"shamir" }
}

/// The checksum of the words before it.
///
/// Source: SLIP-0039, section "Checksum".
pub(super) fn of(words: &[u16], extendable: bool) -> [u16; WORDS] {
    let sum = polymod(words.iter().chain(&[0; WORDS]), extendable) ^ 1;
    [20, 10, 0].map(|shift| low_ten_bits(sum >> shift))
}

/// Whether all words of a share, the checksum too, are a word of the code.
pub(super) fn fits(words: &[u16], extendable: bool) -> bool {
    polymod(words.iter(), extendable) == 1
}

fn polymod<'w>(words: impl Iterator<Item = &'w u16>, extendable: bool) -> u32 {
    const GENERATOR: [u32; 10] = [
        0x00e0_e040,
        0x01c1_c080,
        0x0383_8100,
        0x0707_0200,
        0x0e0e_0009,
        0x1c0c_2412,
        0x3808_6c24,
        0x3090_fc48,
        0x21b1_f890,
        0x03f3_f120,
    ];
    let before = customization(extendable).iter().map(|byte| u32::from(*byte));
    before.chain(words.map(|word| u32::from(*word))).fold(1, |sum, value| {
        let top = sum >> 20;
        let shifted = ((sum & 0xf_ffff) << 10) ^ value;
        (0..).zip(GENERATOR).fold(shifted, |sum, (bit, term)| sum ^ (term & 0u32.wrapping_sub((top >> bit) & 1)))
    })
}

fn low_ten_bits(sum: u32) -> u16 {
    u16::try_from(sum & 0x3ff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_three_wrong_words_are_always_found() {
        let data: Vec<u16> = (0..30).map(|at| at * 31 % 1024).collect();
        let whole = [&data[..], &of(&data, true)].concat();
        assert!(fits(&whole, true) && !fits(&whole, false));
        for first in 0..whole.len() {
            for (second, third) in [(first, first), ((first + 1) % 33, first), ((first + 5) % 33, (first + 11) % 33)] {
                for by in [1, 0x155, 0x3ff] {
                    let mut wrong = whole.clone();
                    for at in [first, second, third] {
                        wrong[at] = whole[at] ^ by;
                    }
                    assert!(!fits(&wrong, true), "{first}, {second}, {third}");
                }
            }
        }
    }

    #[test]
    fn two_neighbours_that_changed_places_are_found() {
        let data: Vec<u16> = (0..30).map(|at| at * 31 % 1024).collect();
        let whole = [&data[..], &of(&data, true)].concat();
        for at in 1..whole.len() {
            let mut swapped = whole.clone();
            swapped.swap(at - 1, at);
            assert!(!fits(&swapped, true) || whole[at - 1] == whole[at]);
        }
    }
}
