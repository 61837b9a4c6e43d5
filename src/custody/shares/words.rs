//! The 1,024 words of SLIP-0039: from a number to its word, and from what somebody typed to its number.
//!
//! Must never find a word faster or slower for which one it is: each search goes through the whole list.
//! Called by `shares`; `cli` asks for the words that are like a wrong one.

use crate::custody::primitives::with_clean_stack;
use crate::sys::locked::LockedBuffer;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

/// In alphabetical order, none longer than eight letters; the first four letters are those of one word alone.
/// Source: SLIP-0039, wordlist.txt.
const LIST: &str = include_str!("words.txt");

/// The letters that tell a word from every other, and the most that one has.
pub const LEAST_LETTERS: usize = 4;
/// The longest word's letters.
pub const MOST_LETTERS: usize = 8;

/// All words, in the order of their numbers.
pub fn all() -> impl Iterator<Item = &'static str> {
    LIST.lines()
}

fn numbered() -> impl Iterator<Item = (u16, u64)> {
    (0..).zip(all().map(|word| packed(word.as_bytes())))
}

/// The letters of a word side by side, in lower case, with zeros behind them.
fn packed(letters: &[u8]) -> u64 {
    let mut bytes = [0; MOST_LETTERS];
    bytes.iter_mut().zip(letters).for_each(|(byte, letter)| *byte = letter.to_ascii_lowercase());
    u64::from_be_bytes(bytes)
}

/// The number of a word that is written out, or begun with at least four of its letters, in any case.
pub(super) fn find(typed: &[u8]) -> Option<u16> {
    if !(LEAST_LETTERS..=MOST_LETTERS).contains(&typed.len()) || !typed.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let mask = u64::MAX << (8 * (MOST_LETTERS - typed.len()));
    let (mut found, mut number) = (0u8, 0u16);
    for (at, word) in numbered() {
        let hit = (word & mask).ct_eq(&packed(typed));
        number.conditional_assign(&at, hit);
        found |= hit.unwrap_u8();
    }
    (found == 1).then_some(number)
}

/// Whether somebody typed a word, or enough of its beginning.
#[must_use]
pub fn is_word(typed: &[u8]) -> bool {
    with_clean_stack(|| find(typed).is_some())
}

/// Appends the word of a number. False if there is no room.
pub(super) fn write(number: u16, to: &mut LockedBuffer) -> bool {
    let mut chosen = 0u64;
    for (at, word) in numbered() {
        chosen.conditional_assign(&word, at.ct_eq(&number));
    }
    let letters = chosen.to_be_bytes();
    let count = letters.iter().take_while(|letter| **letter != 0).count();
    let Some(room) = to.expose_spare_mut().get_mut(..count) else { return false };
    room.iter_mut().zip(letters).for_each(|(place, letter)| *place = letter);
    to.advance(count);
    true
}

/// The words that somebody may have meant who wrote one that is not in the list: at most three, the nearest first.
#[must_use]
pub fn like(typed: &str) -> Vec<&'static str> {
    let typed = typed.to_ascii_lowercase();
    let distance = |word: &str| match word.starts_with(&typed) {
        true => 0,
        false => strsim::damerau_levenshtein(word, &typed),
    };
    let mut near: Vec<(usize, &str)> = all().map(|word| (distance(word), word)).filter(|(far, _)| *far <= 2).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures::memory;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_is_what_the_standard_says_of_it() {
        let words: Vec<&str> = all().collect();
        assert_eq!((words.len(), words[0], words[1023]), (1024, "academic", "zero"));
        assert!(words.is_sorted());
        assert!(words.iter().all(|word| (LEAST_LETTERS..=MOST_LETTERS).contains(&word.len())));
        assert!(words.iter().all(|word| word.bytes().all(|letter| letter.is_ascii_lowercase())));
        assert_eq!(words.iter().map(|word| &word[..4]).collect::<BTreeSet<_>>().len(), 1024);
    }

    #[test]
    fn every_word_is_found_whole_in_capitals_and_by_each_beginning_of_four_letters_and_more() {
        for (number, word) in (0..).zip(all()) {
            for letters in LEAST_LETTERS..=word.len() {
                assert_eq!(find(&word.as_bytes()[..letters]), Some(number), "{word}");
            }
            assert_eq!(find(word.to_uppercase().as_bytes()), Some(number));
            let mut written = memory().buffer(8).unwrap();
            assert!(write(number, &mut written));
            assert_eq!(written.expose_bytes(), word.as_bytes());
        }
    }

    #[test]
    fn what_is_no_word_is_not_found() {
        for typed in ["", "aca", "academics", "academi1", "acadmic", "acidy", "zerox", "acad ", "\u{e9}acid", "ACI"] {
            assert_eq!(find(typed.as_bytes()), None, "{typed}");
        }
        let mut short = memory().buffer(3).unwrap();
        assert!(!write(0, &mut short) && short.is_empty());
    }

    #[test]
    fn a_wrong_word_is_near_the_one_that_was_meant_and_a_key_is_near_none() {
        assert_eq!(like("acadmic").first(), Some(&"academic"));
        assert_eq!(like("Zer").first(), Some(&"zero"));
        assert!(like("7b1d3eca22fa84bee47e3d1cac2d688f").is_empty());
    }
}
