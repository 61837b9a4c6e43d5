//! What a text holds that came from paper: shares, as they were typed, scanned or saved, or the key itself.
//!
//! Must never copy the text out of locked memory, nor guess: what is neither is refused.
//! Called by `paper`, for files, standard input and each line at the terminal.

use super::collected::Found;
use super::refusal;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::custody::keys::{KeyError, MasterKey};
use crate::custody::shares::{Malformed, SHARE_WORDS, Share, ShareError};
use crate::sys::locked::LockedMemory;

/// Lines between which a kit's text has the words of a share.
pub const BEGIN_SHARE: &str = "----- BEGIN SHARE";
/// The line behind the words.
pub const END_SHARE: &str = "----- END SHARE";

/// A text of so many words cannot be a key, however it was broken into groups.
const MORE_THAN_GROUPS: usize = 24;

/// Reads all that a text holds.
///
/// # Errors
/// 65 for what is no share, 78 for what is nearly a key.
pub(super) fn read(text: &[u8], place: &str, memory: &LockedMemory) -> Result<Found, Failure> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let is_page = text.trim_ascii_start().get(..1).is_some_and(|first| first == b"<");
    if is_page {
        let failure = Failure::say(exit::DATA, format!("{place} is a page, not the text of a share"));
        return Err(failure.with_hint("give the words alone, what a QR code says, or the kit's text"));
    }
    if text.trim_ascii().is_empty() {
        return Err(Failure::say(exit::DATA, format!("{place} is empty")));
    }
    let blocks = blocks(text);
    if blocks.is_empty() {
        return match is_key(text) {
            true => key(text, memory).map(Found::Key),
            false => shares(text, place, memory).map(Found::Shares),
        };
    }
    let read = blocks.into_iter().map(|block| shares(block, place, memory));
    Ok(Found::Shares(read.collect::<Result<Vec<_>, Failure>>()?.into_iter().flatten().collect()))
}

/// What stands between the lines of a kit's text.
fn blocks(text: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(begin) = position(rest, BEGIN_SHARE) {
        let behind = rest.get(begin..).unwrap_or_default();
        let line_end = behind.iter().position(|byte| *byte == b'\n').unwrap_or(behind.len());
        let words = behind.get(line_end..).unwrap_or_default();
        let end = position(words, END_SHARE).unwrap_or(words.len());
        let (block, after) = words.split_at_checked(end).unwrap_or((words, &[]));
        found.push(block);
        rest = after;
    }
    found
}

fn position(text: &[u8], mark: &str) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark.as_bytes())
}

/// The words of a text, without their numbers and what a scanner says in front of them.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let is_around = |byte: &u8| byte.is_ascii_digit() || b".):#-,;*".contains(byte);
    let parts = text.split(|byte| byte.is_ascii_whitespace() || b",;".contains(byte));
    parts.filter_map(move |part| {
        let part = part.strip_prefix(b"QR-Code:").unwrap_or(part);
        let start = part.iter().position(|byte| !is_around(byte))?;
        let end = part.iter().rposition(|byte| !is_around(byte))?;
        part.get(start..=end)
    })
}

/// Whether a text is a key rather than words: something in it no word has.
pub(super) fn is_key(text: &[u8]) -> bool {
    let mut parts = text.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    let is_wordless = |word: &[u8]| !word.iter().all(u8::is_ascii_alphabetic);
    words(text).count() < MORE_THAN_GROUPS
        && (words(text).any(is_wordless) || parts.any(|part| part.ends_with(b"=") || part.len() > 40))
}

/// The key itself; a kit has it in groups.
fn key(text: &[u8], memory: &LockedMemory) -> Result<MasterKey, Failure> {
    let mut joined = memory.buffer(text.len()).map_err(KeyError::from)?;
    for part in text.split(u8::is_ascii_whitespace) {
        joined.append(part);
    }
    Ok(MasterKey::parse(joined.expose_bytes(), memory)?)
}

/// One share, or several one behind the other.
fn shares(text: &[u8], place: &str, memory: &LockedMemory) -> Result<Vec<Share>, Failure> {
    let count = words(text).count();
    if count <= SHARE_WORDS || !count.is_multiple_of(SHARE_WORDS) {
        return Ok(vec![share(words(text), place, memory)?]);
    }
    let starts = (0..count).step_by(SHARE_WORDS);
    let read = (1..).zip(starts).map(|(number, start)| {
        let place = format!("{place}, at place {number},");
        share(words(text).skip(start).take(SHARE_WORDS), &place, memory)
    });
    read.collect()
}

fn share<'w>(
    words: impl Iterator<Item = &'w [u8]> + Clone,
    place: &str,
    memory: &LockedMemory,
) -> Result<Share, Failure> {
    // A word that is missing or doubled is better told than the one that then seems unknown.
    Share::parse(words.clone(), memory).map_err(|error| {
        let count = words.clone().count();
        let error = match error {
            ShareError::Malformed(Malformed::UnknownWord { .. }) if count == 0 => Malformed::Length { words: 0 }.into(),
            error => error,
        };
        refusal::of_share(&error, place, |position| text_of(words.clone().nth(position.checked_sub(1)?)?))
    })
}

/// A word as text, to look for those that are like it.
pub(super) fn text_of(word: &[u8]) -> Option<String> {
    std::str::from_utf8(word).ok().filter(|word| word.len() <= 16).map(str::to_owned)
}
