//! Reads an environment file as systemd reads `EnvironmentFile=`, for the variables it is asked for.
//!
//! Must never copy a value, ours or another's, anywhere but into locked memory.
//! Called by `config::key_source` and `config::replacement`, for `servos.env` and files like it.
//!
//! Source: systemd.exec(5), `EnvironmentFile=`, and the behaviour of systemd 254. Two things differ: a leading `export` is
//! accepted, and a quote that is never closed is refused, because a value that swallows the rest of the file is no key.

use std::ops::Range;

use subtle::ConstantTimeEq as _;

use crate::sys::locked::{LockedBuffer, LockedMemory, LockedMemoryError};

/// One of the variables asked for, with its value.
#[derive(Debug)]
pub struct Assignment {
    /// The variable.
    pub variable: &'static str,
    /// The line it stands on, from 1.
    pub line: usize,
    /// Its value, without quotes and escapes; may be empty.
    pub value: LockedBuffer,
    /// The last line before it that gives the variable another value, which counts for nothing.
    pub overridden: Option<usize>,
}

/// Why a file cannot be read as an environment file.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileFault {
    /// A quote in the value of a variable is open at the end of the file.
    #[error("the quote opened on line {line} is never closed")]
    UnclosedQuote {
        /// The line of the quote, from 1.
        line: usize,
    },
    /// No locked memory for a value.
    #[error("no locked memory for a value")]
    Memory(#[from] LockedMemoryError),
}

/// One place in the text where a variable is given a value.
pub struct Place {
    /// The variable.
    pub variable: &'static str,
    /// The line it stands on, from 1.
    pub line: usize,
    /// The bytes behind the `=` up to the end of the line, quotes and escapes as they are.
    pub raw: Range<usize>,
    /// The value, without quotes and escapes; may be empty.
    pub value: LockedBuffer,
}

/// Finds the last assignment to each of `variables`, in their order.
///
/// # Errors
/// [`EnvFileFault`].
pub fn parse(
    content: &[u8],
    variables: &[&'static str],
    memory: &LockedMemory,
) -> Result<Vec<Assignment>, EnvFileFault> {
    let mut found: Vec<Option<Assignment>> = variables.iter().map(|_| None).collect();
    each(content, variables, memory, &mut |Place { variable, line, value, .. }| {
        let slot = variables.iter().zip(&mut found).find(|(known, _)| **known == variable);
        let Some((_, slot)) = slot else { return };
        let overridden = slot.take().and_then(|before: Assignment| {
            let is_same: bool = before.value.expose_bytes().ct_eq(value.expose_bytes()).into();
            if is_same { before.overridden } else { Some(before.line) }
        });
        *slot = Some(Assignment { variable, line, value, overridden });
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Tells every assignment to one of `variables`, in the order of the text.
///
/// # Errors
/// [`EnvFileFault`].
pub fn each(
    content: &[u8],
    variables: &[&'static str],
    memory: &LockedMemory,
    tell: &mut dyn FnMut(Place),
) -> Result<(), EnvFileFault> {
    let mut text = Cursor { content, at: 0, counted: 0, lines: 0 };
    while let Some((name, line)) = text.name() {
        let Some(variable) = variables.iter().find(|variable| variable.as_bytes() == name) else {
            text.value(&mut Sink::Drop(0))?;
            continue;
        };
        let start = text.at;
        let mut value = memory.buffer(content.len())?;
        text.value(&mut Sink::Keep(&mut value))?;
        let ends_line = content.get(start..text.at).and_then(<[u8]>::last).is_some_and(|byte| is_line_end(*byte));
        let end = if ends_line { text.at - 1 } else { text.at };
        tell(Place { variable, line, raw: start..end, value });
    }
    Ok(())
}

/// Whether `word` could be a variable's name.
#[must_use]
pub fn is_name(word: &[u8]) -> bool {
    let head = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    word.first().is_some_and(head) && word.iter().all(|byte| head(byte) || byte.is_ascii_digit())
}

/// Where a value goes; both know its length.
enum Sink<'a> {
    Keep(&'a mut LockedBuffer),
    Drop(usize),
}

impl Sink<'_> {
    fn push(&mut self, byte: u8) {
        match self {
            // The buffer is as large as the file, and no value is longer than the text that writes it.
            Self::Keep(buffer) => {
                if let Some(room) = buffer.expose_spare_mut().first_mut() {
                    *room = byte;
                    buffer.advance(1);
                }
            }
            Self::Drop(length) => *length += 1,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Keep(buffer) => buffer.len(),
            Self::Drop(length) => *length,
        }
    }

    fn truncate(&mut self, length: usize) {
        match self {
            Self::Keep(buffer) => buffer.keep(0..length),
            Self::Drop(kept) => *kept = length,
        }
    }
}

struct Cursor<'c> {
    content: &'c [u8],
    at: usize,
    /// So far line ends were counted, and there were so many.
    counted: usize,
    lines: usize,
}

impl<'c> Cursor<'c> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.content.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn rest(&self) -> &'c [u8] {
        self.content.get(self.at..).unwrap_or_default()
    }

    fn skip_while(&mut self, more: impl Fn(u8) -> bool) -> &'c [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !more(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// The line of the next byte, from 1. Counted on from the last time: a file has as many names as lines.
    fn line(&mut self) -> usize {
        let passed = self.content.get(self.counted..self.at).unwrap_or_default();
        self.lines += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.at;
        self.lines + 1
    }

    /// Goes behind the `=` of the next assignment, over comments and lines that assign nothing.
    fn name(&mut self) -> Option<(&'c [u8], usize)> {
        loop {
            self.skip_while(is_blank);
            let line = self.line();
            if matches!(self.rest().first()?, b'#' | b';') {
                self.skip_while(|byte| !is_line_end(byte));
                continue;
            }
            let name = self.skip_while(|byte| byte != b'=' && !is_line_end(byte));
            if self.next() == Some(b'=') {
                return Some((without_export(name.trim_ascii()), line));
            }
        }
    }

    /// Takes a value up to the end of its line. Quotes count only before the first plain character.
    fn value(&mut self, sink: &mut Sink<'_>) -> Result<(), EnvFileFault> {
        let mut plain = false;
        // Blanks behind this length are dropped at the end: they were neither quoted nor escaped.
        let mut solid = 0;
        while let Some(byte) = self.next() {
            match byte {
                _ if is_line_end(byte) => break,
                b'\'' if !plain => self.single_quoted(sink)?,
                b'"' if !plain => self.double_quoted(sink)?,
                b'\\' => {
                    plain = true;
                    if let Some(escaped) = self.next().filter(|byte| !is_line_end(*byte)) {
                        sink.push(escaped);
                    }
                }
                _ if is_blank(byte) => {
                    if plain {
                        sink.push(byte);
                    }
                    continue;
                }
                _ => {
                    plain = true;
                    sink.push(byte);
                }
            }
            solid = sink.len();
        }
        sink.truncate(solid);
        Ok(())
    }

    fn single_quoted(&mut self, sink: &mut Sink<'_>) -> Result<(), EnvFileFault> {
        let line = self.line();
        loop {
            match self.next().ok_or(EnvFileFault::UnclosedQuote { line })? {
                b'\'' => return Ok(()),
                byte => sink.push(byte),
            }
        }
    }

    fn double_quoted(&mut self, sink: &mut Sink<'_>) -> Result<(), EnvFileFault> {
        let line = self.line();
        loop {
            match self.next().ok_or(EnvFileFault::UnclosedQuote { line })? {
                b'"' => return Ok(()),
                b'\\' => match self.next().ok_or(EnvFileFault::UnclosedQuote { line })? {
                    b'\n' => {}
                    escaped @ (b'"' | b'\\' | b'`' | b'$') => sink.push(escaped),
                    other => {
                        sink.push(b'\\');
                        sink.push(other);
                    }
                },
                byte => sink.push(byte),
            }
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn without_export(name: &[u8]) -> &[u8] {
    match name.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(|byte| is_blank(*byte)) => rest.trim_ascii(),
        _ => name,
    }
}

#[cfg(test)]
#[path = "env_file_tests.rs"]
mod tests;
