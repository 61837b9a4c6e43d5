//! The text of a key file or env file with another key in the old one's place, and every other byte as it was.
//!
//! Must never change a value that is not the old key, nor hold a byte of the file outside locked memory.
//! Called by `cli` for `servos-keyctl rotate run`.

use std::ops::Range;

use super::env_file::{self, Place};
use super::key_source::{Form, VARIABLES, env_file_fault, form_of, no_memory};
use super::key_source_error::KeySourceError;
use crate::sys::locked::{LockedBuffer, LockedMemory};

/// A text with another key in it.
pub struct Replacement {
    /// The whole text.
    pub content: LockedBuffer,
    /// How many times the old key stood in it as a value.
    pub replaced: usize,
}

/// Puts `new` where `content` assigns, or is, a key that `is_old` knows. Quotes, blanks, comments, the order and the line
/// ends stay.
///
/// # Errors
/// Those of [`KeySourceError`] that concern what is in a file; [`KeySourceError::NoKeyInside`] if the old key is not there.
pub fn replace(
    content: &[u8],
    place: &str,
    is_old: &dyn Fn(&[u8]) -> bool,
    new: &[u8],
    memory: &LockedMemory,
) -> Result<Replacement, KeySourceError> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    match form_of(content, place)? {
        Form::Bare => {
            let start = content.len() - content.trim_ascii_start().len();
            let span = start..start + content.trim_ascii().len();
            let text = content.get(span.clone()).unwrap_or_default();
            if is_old(text) {
                spans.push(span);
            }
        }
        Form::EnvFile => {
            let mut tell = |Place { raw, value, .. }: Place| {
                if is_old(value.expose_bytes().trim_ascii()) {
                    spans.push(key_within(content, raw, value.expose_bytes().trim_ascii()));
                }
            };
            env_file::each(content, &VARIABLES, memory, &mut tell).map_err(|fault| env_file_fault(fault, place))?;
        }
    }
    if spans.is_empty() {
        return Err(KeySourceError::NoKeyInside { place: place.to_owned() });
    }
    let replaced = spans.len();
    let length = content.len() + replaced * new.len();
    let mut written = memory.buffer(length).map_err(|fault| no_memory(place.to_owned(), fault))?;
    let mut from = 0;
    for span in &spans {
        written.append(content.get(from..span.start).unwrap_or_default());
        written.append(new);
        from = span.end;
    }
    written.append(content.get(from..).unwrap_or_default());
    Ok(Replacement { content: written, replaced })
}

/// The key alone where it stands there once as it is; else, where it is escaped or in pieces, all that was written for it.
fn key_within(content: &[u8], raw: Range<usize>, value: &[u8]) -> Range<usize> {
    let text = content.get(raw.clone()).unwrap_or_default();
    let mut found = text.windows(value.len().max(1)).enumerate().filter(|(_, window)| *window == value);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => raw.start + at..raw.start + at + value.len(),
        _ => raw,
    }
}

/// The lines on which a key's text stands, from 1: in comments, or under other names.
pub fn lines_with(content: &[u8], text: &[u8]) -> Vec<usize> {
    let holds = |line: &[u8]| line.windows(text.len().max(1)).any(|window| window == text);
    let lines = content.split(|byte| *byte == b'\n').enumerate();
    lines.filter(|(_, line)| holds(line)).map(|(at, _)| at + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

    fn replaced(content: &str) -> Result<(String, usize, Vec<usize>), KeySourceError> {
        let memory = LockedMemory::new().unwrap();
        let is_old = |text: &[u8]| text == OLD.as_bytes();
        let found = replace(content.as_bytes(), "f", &is_old, NEW.as_bytes(), &memory)?;
        let text = String::from_utf8(found.content.expose_bytes().to_vec()).unwrap();
        let left = lines_with(text.as_bytes(), OLD.as_bytes());
        Ok((text, found.replaced, left))
    }

    /// @ stands for the old key, % for the new one.
    fn with_keys(text: &str) -> String {
        text.replace('@', OLD).replace('%', NEW)
    }

    #[test]
    fn the_key_changes_and_not_one_other_byte() {
        for (before, after, times) in [
            ("@", "%", 1),
            ("@\n", "%\n", 1),
            (" \t@ \r\n\n", " \t% \r\n\n", 1),
            ("SERVOS_MASTER_KEY=@", "SERVOS_MASTER_KEY=%", 1),
            ("# a\n; b\nX=1\nSERVOS_MASTER_KEY=@\nY='2'", "# a\n; b\nX=1\nSERVOS_MASTER_KEY=%\nY='2'", 1),
            ("export ACT_MASTER_KEY = \"@\"  \r\nX=1\r\n", "export ACT_MASTER_KEY = \"%\"  \r\nX=1\r\n", 1),
            ("ACT_MASTER_KEY='@'\nSERVOS_MASTER_KEY=@\n", "ACT_MASTER_KEY='%'\nSERVOS_MASTER_KEY=%\n", 2),
            ("SERVOS_MASTER_KEY=@\nX=\nSERVOS_MASTER_KEY=@\n", "SERVOS_MASTER_KEY=%\nX=\nSERVOS_MASTER_KEY=%\n", 2),
            ("SERVOS_MASTER_KEY=x\nSERVOS_MASTER_KEY=@\n", "SERVOS_MASTER_KEY=x\nSERVOS_MASTER_KEY=%\n", 1),
        ] {
            let (text, replaced, left) = replaced(&with_keys(before)).unwrap();
            assert_eq!((text, replaced, left), (with_keys(after), times, vec![]), "{before:?}");
        }
    }

    #[test]
    fn a_key_that_is_written_in_pieces_is_written_whole() {
        let (first, rest) = OLD.split_at(10);
        for before in [format!("\\{OLD}"), format!("'{first}'\"{rest}\""), format!("\"{first}\\\n{rest}\"")] {
            let (text, ..) = replaced(&format!("A=1\nSERVOS_MASTER_KEY={before}\nB=2\n")).unwrap();
            assert!(text.ends_with("\nB=2\n") && text.starts_with("A=1\nSERVOS_MASTER_KEY="), "{before}");
            let memory = LockedMemory::new().unwrap();
            let found = env_file::parse(text.as_bytes(), &VARIABLES, &memory).unwrap();
            assert_eq!(found[0].value.expose_bytes(), NEW.as_bytes(), "{before}");
        }
    }

    #[test]
    fn where_the_old_key_still_stands_is_told_by_line() {
        let text = with_keys("# was @\nSERVOS_MASTER_KEY=@\nRESTIC_PASSWORD=@\nSERVOS_MASTER_KEY_OLD=@\n");
        let (after, times, left) = replaced(&text).unwrap();
        assert_eq!((times, left), (1, vec![1, 3, 4]));
        assert_eq!(after, with_keys("# was @\nSERVOS_MASTER_KEY=%\nRESTIC_PASSWORD=@\nSERVOS_MASTER_KEY_OLD=@\n"));
    }

    #[test]
    fn a_text_without_the_old_key_is_refused() {
        for text in ["%", "SERVOS_MASTER_KEY=%\n", "X=@\n", "# SERVOS_MASTER_KEY=@\nX=1\n"] {
            assert!(matches!(replaced(&with_keys(text)), Err(KeySourceError::NoKeyInside { .. })), "{text}");
        }
        assert!(matches!(replaced(&with_keys("SERVOS_MASTER_KEY='@")), Err(KeySourceError::UnclosedQuote { .. })));
        assert!(matches!(replaced(""), Err(KeySourceError::Empty { .. })));
    }
}
