//! How large the terminal is that is written to.
//!
//! Must never change it.
//! Called by `cli` for what is drawn over.
#![allow(unsafe_code, reason = "the size comes from a system call that fills a structure")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of the terminal at standard output; none if there is no terminal, or it does not know.
#[must_use]
pub fn size_of_output() -> Option<Size> {
    let output = std::io::stdout();
    size_of(std::os::fd::AsFd::as_fd(&output))
}

fn size_of(terminal: BorrowedFd<'_>) -> Option<Size> {
    let mut found = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // JUSTIFICATION: no safe function of the dependencies asks for it.
    // SAFETY: the descriptor is open, and the structure that is filled is the one that this request fills.
    let answer = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut found) };
    let size = Size { rows: found.ws_row, columns: found.ws_col };
    (answer == 0 && size.rows > 0 && size.columns > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{Winsize, openpty};
    use std::os::fd::AsFd as _;

    #[test]
    fn a_terminal_tells_its_size_and_what_is_none_has_none() {
        let size = Winsize { ws_row: 40, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        assert_eq!(size_of(pair.slave.as_fd()), Some(Size { rows: 40, columns: 80 }));
        let unknown = openpty(None, None).unwrap();
        assert_eq!(size_of(unknown.slave.as_fd()), None);
        assert_eq!(size_of(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
    }
}
