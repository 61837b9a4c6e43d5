//! A line that somebody types and nobody sees.
//!
//! Must never leave a terminal without its echo, nor keep a byte of the line outside of locked memory.
//! Called by `typed`.

use crate::sys::locked::LockedBuffer;
use crate::sys::signals::Held;
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// With the key for it.
    Entered,
    /// There is no more to come.
    Ended,
    /// By ^C.
    Interrupted,
    /// It is longer than any line that makes sense.
    TooLong,
}

/// A terminal without its echo, for as long as somebody types: between two lines too, where what is pasted goes on. What
/// it was before comes back at the end.
pub(super) struct Unseen<'t> {
    terminal: BorrowedFd<'t>,
    before: Termios,
    /// Let go when the echo is back: a process that is ended before would leave none.
    held: Held,
}

impl<'t> Unseen<'t> {
    /// Byte by byte, and with ^C as one of them: a process that is ended by it would leave no echo behind.
    ///
    /// # Errors
    /// What the kernel says; and where the echo stays on.
    pub(super) fn begin(terminal: BorrowedFd<'t>) -> io::Result<Self> {
        let held = Held::begin()?;
        let before = termios::tcgetattr(terminal)?;
        let mut unseen = before.clone();
        unseen.local_flags &=
            !(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN);
        for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
            if let Some(place) = unseen.control_chars.get_mut(index as usize) {
                *place = value;
            }
        }
        termios::tcsetattr(terminal, SetArg::TCSADRAIN, &unseen)?;
        let begun = Self { terminal, before, held };
        // It succeeds if any of what was asked for is done.
        if termios::tcgetattr(terminal)?.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ISIG) {
            return Err(io::Error::other("its echo stays on"));
        }
        Ok(begun)
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = termios::tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// What is typed, up to a signal that ends the process: then there is no more.
struct Typed<'u, 't> {
    unseen: &'u Unseen<'t>,
    input: &'u mut dyn Read,
}

impl Read for Typed<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.unseen.held.wait_for(self.unseen.terminal)? { self.input.read(bytes) } else { Ok(0) }
    }
}

/// Asks for a line, and reads it from a terminal that does not show it.
///
/// # Errors
/// What the kernel says.
pub(super) fn line(
    unseen: &Unseen<'_>,
    prompt: &str,
    input: &mut dyn Read,
    errors: &mut dyn Write,
    line: &mut LockedBuffer,
) -> io::Result<LineEnd> {
    errors.write_all(prompt.as_bytes())?;
    errors.flush()?;
    let end = edited(&mut Typed { unseen, input }, line);
    let _ = errors.write_all(b"\n");
    end
}

/// Reads bytes as keys: those that take back what was typed do so.
fn edited(input: &mut dyn Read, line: &mut LockedBuffer) -> io::Result<LineEnd> {
    line.keep(0..0);
    let mut is_too_long = false;
    loop {
        match key(input)? {
            None | Some(0x04) if line.is_empty() => return Ok(LineEnd::Ended),
            None | Some(b'\n' | b'\r') if is_too_long => return Ok(LineEnd::TooLong),
            None | Some(b'\n' | b'\r') => return Ok(LineEnd::Entered),
            Some(0x03) => return Ok(LineEnd::Interrupted),
            Some(0x08 | 0x7f) => line.keep(0..line.len().saturating_sub(1)),
            Some(0x15) => line.keep(0..0),
            Some(0x17) => line.keep(0..before_last_word(line.expose_bytes())),
            Some(0x1b) => skip_sequence(input)?,
            Some(byte) if byte == b'\t' || byte >= b' ' => match line.expose_spare_mut().first_mut() {
                Some(place) => {
                    *place = byte;
                    line.advance(1);
                }
                None => is_too_long = true,
            },
            Some(_) => {}
        }
    }
}

fn key(input: &mut dyn Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                let [key] = byte;
                return Ok(Some(key));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn before_last_word(line: &[u8]) -> usize {
    let end = line.trim_ascii_end();
    end.iter().rposition(u8::is_ascii_whitespace).map_or(0, |space| space.saturating_add(1))
}

/// What an arrow or a function key sends.
fn skip_sequence(input: &mut dyn Read) -> io::Result<()> {
    if !matches!(key(input)?, Some(b'[' | b'O')) {
        return Ok(());
    }
    while !matches!(key(input)?, None | Some(0x40..=0x7e)) {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::key;

    fn typed(keys: &[u8]) -> (LineEnd, Vec<u8>) {
        let mut line = key::memory().unwrap().buffer(24).unwrap();
        let end = edited(&mut &*keys, &mut line).unwrap();
        (end, line.expose_bytes().to_vec())
    }

    #[test]
    fn a_line_is_what_was_typed_and_not_taken_back() {
        for (keys, end, line) in [
            (b"acid acne\nrest".as_slice(), LineEnd::Entered, b"acid acne".as_slice()),
            (b"acit\x7fd\r", LineEnd::Entered, b"acid"),
            (b"\x08\x7facid\n", LineEnd::Entered, b"acid"),
            (b"acid acno\x17acne\n", LineEnd::Entered, b"acid acne"),
            (b"wrong\x15acid\n", LineEnd::Entered, b"acid"),
            (b"\x17acid\x1b[A\x1bOP\x1b[200~\x00\x1a\n", LineEnd::Entered, b"acid"),
            (b"acid\x03acne\n", LineEnd::Interrupted, b"acid"),
            (b"\x04", LineEnd::Ended, b""),
            (b"", LineEnd::Ended, b""),
            (b"acid\x04\n", LineEnd::Entered, b"acid"),
            (b"acid", LineEnd::Entered, b"acid"),
            (&[b'a'; 30], LineEnd::TooLong, &[b'a'; 24]),
        ] {
            assert_eq!(typed(keys), (end, line.to_vec()), "{:?}", String::from_utf8_lossy(keys));
        }
    }
}
