//! Shares that a person types at a terminal: word by word, each looked at when its line ends.
//!
//! Must never show what was typed, nor go on with a word or a share that cannot be right.
//! Called by `paper`.

use super::collected::{Collected, Found};
use super::desk::Desk;
use super::terminal::{self, LineEnd, Unseen};
use super::{refusal, text};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::custody::keys::{KeyError, MasterKey};
use crate::custody::shares::{self, SHARE_TEXT_BYTES, SHARE_WORDS, Share, ShareError, words};
use crate::sys::locked::{LockedBuffer, LockedMemory};
use std::io;
use std::os::fd::AsFd as _;

/// The longest line: several shares as a scanner types them.
const LINE_BYTES: usize = 8 * 1024;

/// Asks for a line: what to say before it, and where it goes.
type Lines<'l> = dyn FnMut(&str, &mut LockedBuffer) -> io::Result<LineEnd> + 'l;

/// Asks until there are as many shares as are needed, or a key.
///
/// # Errors
/// 1 for who gives up; 71 where the terminal cannot be kept from showing what is typed.
pub(super) fn at_terminal(
    desk: &mut Desk<'_>,
    collected: &mut Collected,
    memory: &LockedMemory,
) -> Result<Option<MasterKey>, Failure> {
    if !collected.shares.is_empty() && collected.missing() == 0 {
        return Ok(None);
    }
    let Desk { input, errors, .. } = desk;
    let stdin = io::stdin();
    // Before a word is said: who is spoken to may type.
    let unseen = Unseen::begin(stdin.as_fd()).map_err(|error| unseen_refused(&error))?;
    let _ = writeln!(
        errors,
        "Type the words of a share, some on each line, or the key itself. Nothing of it is shown. Four letters of each \
         word are enough; Enter has them checked, ^U takes the line back, ^C ends."
    );
    ask(&mut |prompt, line| terminal::line(&unseen, prompt, &mut **input, &mut **errors, line), collected, memory)
}

fn ask(lines: &mut Lines<'_>, collected: &mut Collected, memory: &LockedMemory) -> Result<Option<MasterKey>, Failure> {
    let mut line = memory.buffer(LINE_BYTES).map_err(KeyError::from)?;
    let mut said = String::new();
    loop {
        let is_first = collected.shares.is_empty();
        if !is_first && collected.missing() == 0 {
            return Ok(None);
        }
        let mut held = memory.buffer(SHARE_TEXT_BYTES).map_err(KeyError::from)?;
        // Until it is whole.
        while text::words(held.expose_bytes()).count() < SHARE_WORDS {
            let next = text::words(held.expose_bytes()).count().saturating_add(1);
            let of = collected.shares.first().map(|share| format!(" of {}", share.needed())).unwrap_or_default();
            let share = collected.shares.len().saturating_add(1);
            let prompt = format!("{said}Share {share}{of}, word {next} of {SHARE_WORDS}: ");
            said.clear();
            match lines(&prompt, &mut line).map_err(|error| unreadable(&error))? {
                LineEnd::Entered => {}
                LineEnd::TooLong => {
                    said = "That line is too long: nothing of it was taken.\n".to_owned();
                    continue;
                }
                LineEnd::Ended | LineEnd::Interrupted => {
                    return Err(Failure::say(exit::NO, "ended before the key was whole; nothing was done with it"));
                }
            }
            if is_first && held.is_empty() && text::is_key(line.expose_bytes()) {
                match text::read(line.expose_bytes(), "what was typed", memory) {
                    Ok(Found::Key(key)) => return Ok(Some(key)),
                    Ok(Found::Shares(_)) => {}
                    Err(failure) => {
                        said = format!("{}\n", failure.message);
                        continue;
                    }
                }
            }
            said = take_words(line.expose_bytes(), &mut held);
        }
        said = match take_share(&held, collected, memory) {
            Ok(told) => told,
            Err(failure) => {
                let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{}{hint}\nIt was not taken: type that share again, or another.\n", failure.message)
            }
        };
    }
}

/// Appends the words of a line up to one that is in no list, or to the end of a share; what is to be said of the rest.
fn take_words(line: &[u8], held: &mut LockedBuffer) -> String {
    for word in text::words(line) {
        let taken = text::words(held.expose_bytes()).count();
        if taken == SHARE_WORDS {
            return "That line had more words than the share: the rest was not taken.\n".to_owned();
        }
        if !words::is_word(word) {
            let like = refusal::like(text::text_of(word)).map(|like| format!(" ({like})")).unwrap_or_default();
            let position = taken.saturating_add(1);
            return format!("Word {position} is none of the list{like}: type it again, and what follows it.\n");
        }
        // A word is at most as long as there is room for each.
        held.append(word);
        held.append(b" ");
    }
    String::new()
}

/// Takes a share that can stand beside those that are there; what is to be said of it.
fn take_share(held: &LockedBuffer, collected: &mut Collected, memory: &LockedMemory) -> Result<String, Failure> {
    let words = text::words(held.expose_bytes());
    let share: Result<Share, ShareError> = Share::parse(words, memory);
    let share = share.map_err(|error| refusal::of_share(&error, "what was typed", |_| None))?;
    let told = format!("Share {} of kit \"{}\" is whole.", share.number(), share.kit());
    collected.shares.push(share);
    collected.places.push("typed".to_owned());
    if let Err(error) = shares::check_kit(&collected.shares) {
        let refused = collected.refused(error);
        collected.shares.pop();
        collected.places.pop();
        return Err(refused);
    }
    Ok(match collected.missing() {
        0 => format!("{told}\n"),
        1 => format!("{told} One more is needed.\n"),
        more => format!("{told} {more} more are needed.\n"),
    })
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::say(exit::DAMAGED, format!("cannot read what is typed: {error}"))
}

fn unseen_refused(error: &io::Error) -> Failure {
    let message = format!("the terminal cannot be kept from showing what is typed: {error}");
    Failure::say(exit::NO_PROTECTION, message)
        .with_hint("give the shares in files with --share, or on standard input without a terminal")
}

#[cfg(test)]
#[path = "typed_tests.rs"]
mod tests;
