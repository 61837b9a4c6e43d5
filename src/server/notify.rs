//! Word to the service manager: READY, STOPPING, STATUS, over the datagram socket it names.
//!
//! Must never block a start or a stop, nor put anything but these words on the socket.
//! Called by `cli`, which takes the address from `NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a full queue of the service manager may hold us up.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// One word to the service manager. Source: sd_notify(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification<'a> {
    /// Start-up is finished.
    Ready,
    /// The configuration is being read again; [`Self::Ready`] is to follow. With the time of CLOCK_MONOTONIC, by which the
    /// service manager knows that it is not the word of a reload before.
    Reloading(Duration),
    /// The daemon has begun to stop.
    Stopping,
    /// The self-test was good.
    Watchdog,
    /// One line for people. A line break in it becomes a space: on the wire it would begin another word.
    Status(&'a str),
}

impl fmt::Display for Notification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading(at) => write!(f, "RELOADING=1\nMONOTONIC_USEC={}", at.as_micros()),
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            Self::Status(text) => write!(f, "STATUS={}", text.replace(['\n', '\r'], " ")),
        }
    }
}

/// Sends `words` in one datagram to `address`: an absolute path, or `@` and an abstract name. Without an address
/// (nothing supervises us) or with an empty one nothing is done. Returns whether a datagram was sent.
///
/// # Errors
/// `InvalidInput` for an address of another kind; else what the socket answered. Neither is a reason to stop.
pub fn notify(address: Option<&OsStr>, words: &[Notification<'_>]) -> io::Result<bool> {
    let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(false) };
    let address = parse(address.as_bytes())?;
    let text = words.iter().map(Notification::to_string).collect::<Vec<_>>().join("\n");
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.send_to_addr(text.as_bytes(), &address)?;
    Ok(true)
}

/// The same to the service manager of this process, if there is one. Whoever supervises the daemon notices by itself if it
/// does not hear from it.
pub fn tell_manager(words: &[Notification<'_>]) {
    let _ = notify(std::env::var_os("NOTIFY_SOCKET").as_deref(), words);
}

fn parse(address: &[u8]) -> io::Result<SocketAddr> {
    match address {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(address)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn words_arrive_in_one_datagram_at_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let words = [Notification::Ready, Notification::Status("serving\nREADY=0")];
        assert!(notify(Some(path.as_os_str()), &words).unwrap());
        assert_eq!(received(&socket), "READY=1\nSTATUS=serving READY=0");
        assert!(notify(Some(path.as_os_str()), &[Notification::Stopping]).unwrap());
        assert_eq!(received(&socket), "STOPPING=1");
        assert!(notify(Some(path.as_os_str()), &[Notification::Reloading(Duration::from_millis(7))]).unwrap());
        assert_eq!(received(&socket), "RELOADING=1\nMONOTONIC_USEC=7000");
    }

    #[test]
    fn words_arrive_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("abstract");
        let address = SocketAddr::from_abstract_name(name.as_os_str().as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let mut text = std::ffi::OsString::from("@");
        text.push(&name);
        assert!(notify(Some(&text), &[Notification::Stopping]).unwrap());
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn nobody_to_tell_is_no_error() {
        assert!(!notify(None, &[Notification::Ready]).unwrap());
        assert!(!notify(Some(OsStr::new("")), &[Notification::Ready]).unwrap());
    }

    #[test]
    fn addresses_of_other_kinds_and_dead_sockets_are_errors() {
        for address in ["relative/path", "vsock:2:1", "@"] {
            let refused = notify(Some(OsStr::new(address)), &[Notification::Ready]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{address}");
        }
        let directory = tempfile::tempdir().unwrap();
        let nobody = directory.path().join("nobody");
        assert!(notify(Some(nobody.as_os_str()), &[Notification::Ready]).is_err());
        let long = format!("/{}", "x".repeat(300));
        assert!(notify(Some(OsStr::new(&long)), &[Notification::Ready]).is_err());
    }
}
