//! The layout of a share in words of ten bits: what stands in clear, the value, the checksum.
//!
//! Must never take a share whose checksum does not fit, nor tell what of its value is wrong.
//! Called by `shares`.

use super::checksum;

/// Words of a share of a key of 32 bytes.
pub const SHARE_WORDS: usize = 33;

/// Words before the value: identifier, flags and exponent in two, the places and thresholds in two.
const HEADER_WORDS: usize = 4;

/// Words of a share of the shortest secret that the standard knows, 16 bytes.
const LEAST_WORDS: usize = 20;

/// The highest iteration exponent that is taken: a third of a million iterations. Beyond it somebody wants us to wait.
const GREATEST_EXPONENT: u8 = 5;

/// What a share says of itself in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// 15 random bits, the same in all shares of a kit.
    pub(super) identifier: u16,
    /// Whether other shares can be made of the same secret under another identifier.
    pub(super) extendable: bool,
    /// PBKDF2 does 10,000 * 2^this.
    pub(super) iteration_exponent: u8,
    /// From 0.
    pub(super) group_index: u8,
    /// Of the groups that are needed: 1 and more.
    pub(super) group_threshold: u8,
    /// Of the groups there are: 1 and more.
    pub(super) group_count: u8,
    /// From 0.
    pub(super) member_index: u8,
    /// Of the shares that are needed: 1 and more.
    pub(super) member_threshold: u8,
}

/// Why words are no share. Nothing tells any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not 33 words.
    #[error("it has {words} words, and a share of a master key has 33")]
    Length {
        /// How many there are.
        words: usize,
    },
    /// A word that is not in the list.
    #[error("word {position} is none of the list")]
    UnknownWord {
        /// Which, from 1.
        position: usize,
    },
    /// The checksum does not fit: a word is wrong, missing, or in another's place.
    #[error("its checksum does not fit: a word is wrong, or two have changed places")]
    Checksum,
    /// Bits that are always zero are not, or a threshold is above its count.
    #[error("its checksum fits, but it says what no share can say: it was not made as a share")]
    Impossible,
    /// It belongs to a backup with several groups.
    #[error("it belongs to a backup in several groups, which servos-keyd does not make: put that together elsewhere")]
    Grouped,
    /// Its iterations would take minutes.
    #[error("it asks for more iterations than a share of ours: put its backup together elsewhere")]
    Slow,
}

/// The words of a share.
pub(super) fn encode(header: &Header, value: &[u8; 32]) -> [u16; SHARE_WORDS] {
    let flags = u64::from(header.extendable) << 4 | u64::from(header.iteration_exponent);
    let places = [
        header.group_index,
        header.group_threshold.wrapping_sub(1),
        header.group_count.wrapping_sub(1),
        header.member_index,
        header.member_threshold.wrapping_sub(1),
    ];
    let clear = places.iter().fold(u64::from(header.identifier) << 5 | flags, |all, four| all << 4 | u64::from(*four));
    let mut words = [0; SHARE_WORDS];
    let (head, rest) = words.split_at_mut(HEADER_WORDS);
    for (word, shift) in head.iter_mut().zip([30, 20, 10, 0]) {
        *word = ten_bits(clear >> shift);
    }
    let (body, _) = rest.split_at_mut(rest.len().saturating_sub(checksum::WORDS));
    // The value stands at the end of its words, behind bits of zero.
    let (mut bits, mut held) = (body.len() * 10 - value.len() * 8, 0u64);
    let mut body = body.iter_mut();
    for byte in value {
        held = held << 8 | u64::from(*byte);
        bits += 8;
        if bits >= 10 {
            bits -= 10;
            if let Some(word) = body.next() {
                *word = ten_bits(held >> bits);
            }
            held &= (1 << bits) - 1;
        }
    }
    let (data, sum) = words.split_at_mut(SHARE_WORDS - checksum::WORDS);
    sum.copy_from_slice(&checksum::of(data, header.extendable));
    words
}

/// What the words of a share say, and how many bytes of `value` are its value.
///
/// # Errors
/// [`Malformed`]; `value` may then hold part of it.
pub(super) fn decode(words: &[u16], value: &mut [u8; 32]) -> Result<(Header, usize), Malformed> {
    let length = Malformed::Length { words: words.len() };
    if !(LEAST_WORDS..=SHARE_WORDS).contains(&words.len()) {
        return Err(length);
    }
    let (head, rest) = words.split_at_checked(HEADER_WORDS).ok_or(length)?;
    let (body, _) = rest.split_at_checked(rest.len().saturating_sub(checksum::WORDS)).ok_or(length)?;
    let padding = body.len() * 10 % 16;
    if padding > 8 {
        return Err(length);
    }
    let clear = head.iter().fold(0, |all, word| all << 10 | u64::from(*word));
    let header = Header {
        identifier: u16::try_from(clear >> 25).unwrap_or_default(),
        extendable: clear >> 24 & 1 == 1,
        iteration_exponent: four_bits(clear >> 20),
        group_index: four_bits(clear >> 16),
        group_threshold: four_bits(clear >> 12) + 1,
        group_count: four_bits(clear >> 8) + 1,
        member_index: four_bits(clear >> 4),
        member_threshold: four_bits(clear) + 1,
    };
    if !checksum::fits(words, header.extendable) {
        return Err(Malformed::Checksum);
    }
    if header.group_threshold > header.group_count {
        return Err(Malformed::Impossible);
    }
    Ok((header, decode_value(body, padding, value)?))
}

fn decode_value(body: &[u16], padding: usize, value: &mut [u8; 32]) -> Result<usize, Malformed> {
    let (mut bits, mut held, mut bytes) = (0usize, 0u32, value.iter_mut());
    for (at, word) in body.iter().enumerate() {
        held = held << 10 | u32::from(*word);
        bits += 10;
        if at == 0 {
            bits -= padding;
            if held >> bits != 0 {
                return Err(Malformed::Impossible);
            }
        }
        while bits >= 8 {
            bits -= 8;
            if let Some(byte) = bytes.next() {
                *byte = u8::try_from(held >> bits & 0xff).unwrap_or_default();
            }
            held &= (1 << bits) - 1;
        }
    }
    Ok(value.len().min((body.len() * 10 - padding) / 8))
}

/// What only shares of one kit of ours can be.
///
/// # Errors
/// [`Malformed::Grouped`], [`Malformed::Slow`].
pub(super) fn judge(header: &Header) -> Result<(), Malformed> {
    if header.group_count != 1 || header.group_index != 0 {
        return Err(Malformed::Grouped);
    }
    if header.iteration_exponent > GREATEST_EXPONENT {
        return Err(Malformed::Slow);
    }
    Ok(())
}

fn ten_bits(value: u64) -> u16 {
    u16::try_from(value & 0x3ff).unwrap_or_default()
}

fn four_bits(value: u64) -> u8 {
    u8::try_from(value & 0xf).unwrap_or_default()
}
