//! The search for expanded AES keys, whatever the key: any bytes that satisfy the recurrence of the key schedule.
//!
//! Must never need to know a key, nor take zeros or any other constant run for one. Called by `scan`.
//!
//! Source: Halderman et al., "Lest We Remember" (2008), section 6; FIPS 197, section 5.2. The layouts are those of ring
//! 0.17.14 (`src/aead/aes/*`, `crypto/fipsmodule/aes`), which picks by what the processor has:
//! - *AES-NI* (`aes_hw_set_encrypt_key_*`): the round keys as FIPS 197 has them, in order. The same with the bytes of each
//!   word turned round is what other implementations hold.
//! - *vpaes* (`vpaes_set_encrypt_key`, SSSE3 alone): each round key in another basis of the field, all but the first and
//!   the last multiplied by the circulant 0,1,1,1, with their rows shifted.
//! - *nohw* (`aes_nohw_set_encrypt_key`): each round key in "compact" form, a permutation of its bits; and, on the stack of
//!   each call, expanded to four bit-sliced copies of each, where every bit stands four times in a row.

/// The longest schedule: of 15 round keys, each expanded.
pub const LONGEST_BYTES: usize = Layout::Sliced.bytes(AES_256);

/// What is zeros for so long begins no schedule: in none are more than the first two round keys, of 64 bytes at most.
const ZEROS: [u8; 129] = [0; 129];

/// Words of the key, words of the schedule.
pub const AES_128: Size = Size { key_words: 4, words: 44, name: "AES-128 schedule" };
pub const AES_256: Size = Size { key_words: 8, words: 60, name: "AES-256 schedule" };

/// A key's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub key_words: usize,
    pub words: usize,
    pub name: &'static str,
}

/// How the round keys lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    Plain,
    TurnedWords,
    Vpaes,
    Compact,
    Sliced,
}

pub const LAYOUTS: [Layout; 5] = [Layout::Plain, Layout::TurnedWords, Layout::Vpaes, Layout::Compact, Layout::Sliced];

impl Layout {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::TurnedWords => "words turned round",
            Self::Vpaes => "vpaes",
            Self::Compact => "bit-sliced, compact",
            Self::Sliced => "bit-sliced, expanded",
        }
    }

    /// How many bytes one round key takes.
    const fn round_key_bytes(self) -> usize {
        if matches!(self, Self::Sliced) { 64 } else { 16 }
    }

    pub const fn bytes(self, size: Size) -> usize {
        size.words / 4 * self.round_key_bytes()
    }
}

/// A schedule that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    pub offset: usize,
    pub size: Size,
    pub layout: Layout,
    /// Not all of it: so few round keys that a key follows from them all the same.
    pub part: bool,
}

/// Every schedule in `bytes`, at whatever address.
pub fn schedules(bytes: &[u8]) -> Vec<Schedule> {
    let mut found = Vec::new();
    let mut behind = 0;
    for offset in 0..bytes.len() {
        let here = &bytes[offset..];
        // Much of memory is.
        if here.len() < 32 || here.starts_with(&ZEROS) {
            continue;
        }
        for layout in LAYOUTS {
            for size in [AES_128, AES_256] {
                if here.len() >= layout.bytes(size) && is_schedule(here, layout, size) {
                    found.push(Schedule { offset, size, layout, part: false });
                    // Its own parts are no more findings.
                    behind = behind.max(offset + layout.bytes(size));
                }
            }
        }
        if offset >= behind {
            for size in [AES_128, AES_256] {
                if is_part(here, size) {
                    found.push(Schedule { offset, size, layout: Layout::Plain, part: true });
                }
            }
        }
    }
    found
}

/// Whether every word follows from those before it. The first that is looked at settles it but once in 2^32.
fn is_schedule(bytes: &[u8], layout: Layout, size: Size) -> bool {
    let word = |at: usize| word(bytes, layout, size, at);
    (size.key_words..size.words).all(|at| word(at) == word(at - size.key_words) ^ mixed(word(at - 1), at, size))
}

/// Whether two or three round keys in a row follow each other, at any place of a schedule.
fn is_part(bytes: &[u8], size: Size) -> bool {
    let n = size.key_words;
    if bytes.len() < 4 * (n + 4) {
        return false;
    }
    let word = |at: usize| plain_word(bytes, at);
    let fresh = word(n) ^ word(0);
    let with_round = fresh ^ substituted(word(n - 1).rotate_right(8));
    let first = ROUND_CONSTANTS.iter().any(|constant| u32::from(*constant) == with_round)
        || n == 8 && fresh == substituted(word(n - 1));
    first && (n + 1..n + 4).all(|at| word(at) == word(at - n) ^ word(at - 1))
}

/// What goes into the word `at` beside the one that is a key's length before it.
fn mixed(before: u32, at: usize, size: Size) -> u32 {
    if at.is_multiple_of(size.key_words) {
        substituted(before.rotate_right(8)) ^ u32::from(ROUND_CONSTANTS[at / size.key_words - 1])
    } else if size.key_words == 8 && at % 8 == 4 {
        substituted(before)
    } else {
        before
    }
}

/// The schedule of a key as FIPS 197 has it.
pub fn expand(key: &[u8]) -> Vec<u8> {
    let size = if key.len() == 16 { AES_128 } else { AES_256 };
    let mut words: Vec<u32> = (0..size.key_words).map(|at| plain_word(key, at)).collect();
    for at in size.key_words..size.words {
        words.push(words[at - size.key_words] ^ mixed(words[at - 1], at, size));
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The schedule of a key in a layout: what a control plants.
pub fn laid_out(key: &[u8], layout: Layout) -> Vec<u8> {
    let plain = expand(key);
    let last = plain.len() / 16 - 1;
    let round_keys = plain.chunks_exact(16).map(|block| <[u8; 16]>::try_from(block).unwrap_or_default());
    round_keys
        .enumerate()
        .flat_map(|(round, block)| match layout {
            Layout::Plain => block.to_vec(),
            Layout::TurnedWords => block.chunks_exact(4).flat_map(|word| word.iter().rev().copied()).collect(),
            Layout::Vpaes => vpaes_round_key(&block, round, last).to_vec(),
            Layout::Compact => compact(&block).to_vec(),
            Layout::Sliced => sliced(&block),
        })
        .collect()
}

/// The word `at` of a schedule in this layout, in little-endian order as FIPS 197 has its bytes.
fn word(bytes: &[u8], layout: Layout, size: Size, at: usize) -> u32 {
    match layout {
        Layout::Plain => plain_word(bytes, at),
        Layout::TurnedWords => plain_word(bytes, at).swap_bytes(),
        Layout::Vpaes => vpaes_word(&bytes[at / 4 * 16..], at / 4, size.words / 4 - 1, at % 4),
        Layout::Compact => uncompacted_word(double(bytes, at / 4 * 2), double(bytes, at / 4 * 2 + 1), at % 4),
        Layout::Sliced => {
            let block = &bytes[at / 4 * 64..];
            match (unsliced(block, 0), unsliced(block, 4)) {
                (Some(one), Some(other)) => uncompacted_word(one, other, at % 4),
                // Satisfies nothing: two words in a row that differ from what each other asks for.
                _ => u32::try_from(at).unwrap_or(0).wrapping_mul(0x9e37_79b1),
            }
        }
    }
}

fn plain_word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[4 * at], bytes[4 * at + 1], bytes[4 * at + 2], bytes[4 * at + 3]])
}

fn double(bytes: &[u8], at: usize) -> u64 {
    let (low, high) = (plain_word(bytes, 2 * at), plain_word(bytes, 2 * at + 1));
    u64::from(low) | u64::from(high) << 32
}

// ---- nohw, with words of 64 bits

/// A block in compact form. Source: `aes_nohw_compact_block`.
pub fn compact(block: &[u8; 16]) -> [u8; 16] {
    let (one, other) = (compact_word(double(block, 0)), compact_word(double(block, 1)));
    let low = one & 0xffff_ffff | other << 32;
    let high = other & 0xffff_ffff_0000_0000 | one >> 32;
    let mut out = [0; 16];
    out[..8].copy_from_slice(&low.to_le_bytes());
    out[8..].copy_from_slice(&high.to_le_bytes());
    out
}

fn swap(word: u64, mask: u64, shift: u32) -> u64 {
    let differing = (word ^ word >> shift) & mask;
    word ^ differing ^ differing << shift
}

fn compact_word(word: u64) -> u64 {
    swap(swap(swap(word, 0x00f0_00f0_00f0_00f0, 4), 0x0000_ff00_0000_ff00, 8), 0x0000_0000_ffff_0000, 16)
}

fn uncompact_word(word: u64) -> u64 {
    swap(swap(swap(word, 0x0000_0000_ffff_0000, 16), 0x0000_ff00_0000_ff00, 8), 0x00f0_00f0_00f0_00f0, 4)
}

fn uncompacted_word(low: u64, high: u64, column: usize) -> u32 {
    let half = match column {
        0 | 1 => uncompact_word(low & 0xffff_ffff | high << 32),
        _ => uncompact_word(high & 0xffff_ffff_0000_0000 | low >> 32),
    };
    let bytes = half.to_le_bytes();
    plain_word(&bytes, column % 2)
}

/// Four copies of a compact block, bit-sliced. Source: `aes_nohw_expand_round_keys`, `aes_nohw_transpose`.
fn sliced(block: &[u8; 16]) -> Vec<u8> {
    let compact = compact(block);
    let words = [0, 1].map(|at| double(&compact, at));
    words
        .iter()
        .flat_map(|word| (0..4).map(move |bit| (word >> bit & NIBBLE_LOWS) * 0xf))
        .flat_map(u64::to_le_bytes)
        .collect()
}

const NIBBLE_LOWS: u64 = 0x1111_1111_1111_1111;

/// The word that four bit-sliced ones were made of; `None` if they hold no four copies.
fn unsliced(block: &[u8], from: usize) -> Option<u64> {
    (0..4).try_fold(0, |word, bit| {
        let sliced = double(block, from + bit);
        let lows = sliced & NIBBLE_LOWS;
        (lows.wrapping_mul(0xf) == sliced).then_some(word | lows << bit)
    })
}

// ---- vpaes

const SHIFTED_ROWS: [[u8; 16]; 4] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11],
    [0, 9, 2, 11, 4, 13, 6, 15, 8, 1, 10, 3, 12, 5, 14, 7],
    [0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3],
];
/// Source: `.Lk_ipt` and `.Lk_opt`, each for the low and the high half of a byte.
const INPUT: [[u64; 2]; 2] =
    [[0xC2B2_E898_5A2A_7000, 0xCABA_E090_5222_7808], [0x4C01_307D_317C_4D00, 0xCD80_B1FC_B0FD_CC81]];
const OUTPUT: [[u64; 2]; 2] =
    [[0xFF9F_4929_D6B6_6000, 0xF797_4121_DEBE_6808], [0x01ED_BD51_50BC_EC00, 0xE10D_5DB1_B05C_0CE0]];
/// 0x63 in the other basis. Source: `.Lk_s63`.
const SIXTY_THREE: u8 = 0x5b;

static INTO_BASIS: [u8; 256] = table(INPUT);
static OUT_OF_BASIS: [u8; 256] = inverse(&table(INPUT));
static LAST_INTO: [u8; 256] = table(OUTPUT);
static LAST_OUT_OF: [u8; 256] = inverse(&table(OUTPUT));

#[allow(clippy::cast_possible_truncation, reason = "one byte is picked from eight")]
const fn table(halves: [[u64; 2]; 2]) -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (low, high) = (byte & 15, byte >> 4);
        let low = halves[0][low / 8] >> (8 * (low % 8));
        let high = halves[1][high / 8] >> (8 * (high % 8));
        table[byte] = (low ^ high) as u8;
        byte += 1;
    }
    table
}

#[allow(clippy::cast_possible_truncation, reason = "a byte's own number")]
const fn inverse(table: &[u8; 256]) -> [u8; 256] {
    let mut inverse = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        inverse[table[byte] as usize] = byte as u8;
        byte += 1;
    }
    inverse
}

/// A block in the basis of vpaes: what it has of a key's first half.
pub fn in_vpaes_basis(block: &[u8; 16]) -> [u8; 16] {
    block.map(|byte| INTO_BASIS[usize::from(byte)])
}

/// Which of the shifts a round has: they are counted down from the third.
const fn shift_of(round: usize) -> usize {
    (4 - round % 4) % 4
}

fn vpaes_round_key(block: &[u8; 16], round: usize, last: usize) -> [u8; 16] {
    let basis = in_vpaes_basis(block);
    if round == 0 {
        return basis;
    }
    let rows = SHIFTED_ROWS[shift_of(round)];
    if round == last {
        return rows.map(|from| LAST_INTO[usize::from(basis[usize::from(from)] ^ SIXTY_THREE)]);
    }
    let mut mangled = [0; 16];
    for (at, out) in mangled.iter_mut().enumerate() {
        let column = &basis[at / 4 * 4..at / 4 * 4 + 4];
        *out = column.iter().fold(0, |sum, byte| sum ^ byte ^ SIXTY_THREE) ^ basis[at] ^ SIXTY_THREE;
    }
    rows.map(|from| mangled[usize::from(from)])
}

fn vpaes_word(block: &[u8], round: usize, last: usize, column: usize) -> u32 {
    if round == 0 {
        let word = plain_word(block, column).to_le_bytes();
        return u32::from_le_bytes(word.map(|byte| OUT_OF_BASIS[usize::from(byte)]));
    }
    // The place that the byte of each row of this column was shifted to: the shifts are undone by those of the other way.
    let back = SHIFTED_ROWS[(4 - shift_of(round)) % 4];
    let word: [u8; 4] = std::array::from_fn(|row| block[usize::from(back[4 * column + row])]);
    if round == last {
        return u32::from_le_bytes(
            word.map(|byte| OUT_OF_BASIS[usize::from(LAST_OUT_OF[usize::from(byte)] ^ SIXTY_THREE)]),
        );
    }
    // The circulant 0,1,1,1 is its own inverse.
    let sum = word.iter().fold(0, |sum, byte| sum ^ byte);
    u32::from_le_bytes(word.map(|byte| OUT_OF_BASIS[usize::from(byte ^ sum ^ SIXTY_THREE)]))
}

// ---- FIPS 197

const ROUND_CONSTANTS: [u8; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];

static SUBSTITUTION: [u8; 256] = substitution();

fn substituted(word: u32) -> u32 {
    u32::from_le_bytes(word.to_le_bytes().map(|byte| SUBSTITUTION[usize::from(byte)]))
}

const fn times(mut one: u8, mut other: u8) -> u8 {
    let mut product = 0;
    while other != 0 {
        if other & 1 == 1 {
            product ^= one;
        }
        one = (one << 1) ^ if one & 0x80 == 0 { 0 } else { 0x1b };
        other >>= 1;
    }
    product
}

/// Source: FIPS 197, section 5.1.1.
#[allow(clippy::cast_possible_truncation, reason = "a byte's own number")]
const fn substitution() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        // The inverse is the 254th power.
        let (mut inverse, mut power) = (1, 0);
        while power < 254 {
            inverse = times(inverse, byte as u8);
            power += 1;
        }
        let x: u8 = inverse;
        table[byte] = x ^ x.rotate_left(1) ^ x.rotate_left(2) ^ x.rotate_left(3) ^ x.rotate_left(4) ^ 0x63;
        byte += 1;
    }
    table
}
