//! Sockets that the service manager opened and handed over, as in sd_listen_fds(3).
//!
//! Must never take a descriptor that is not a listening Unix stream socket, nor guess at variables that do not fit.
//! Called by `cli` at the start, before it opens anything of its own.
#![allow(unsafe_code, reason = "a descriptor becomes ours by its number alone")]

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{SockType, getsockopt, sockopt},
};

/// The first descriptor handed over, SD_LISTEN_FDS_START.
const FIRST: RawFd = 3;
/// More sockets than this are a mistake in the variable.
const MOST: usize = 64;
/// What sd_listen_fds_with_names(3) calls sockets without names.
const NAMELESS: &str = "unknown";

/// A listening socket that was handed over: non-blocking, and closed in programs started from here.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of the socket unit; by default that unit's name, as in `servos-keyd.socket`.
    pub name: String,
    /// The socket.
    pub listener: UnixListener,
}

/// Where a listening socket lies; none for one without a name, or with an abstract one.
#[must_use]
pub fn path_of(listener: &UnixListener) -> Option<PathBuf> {
    Some(listener.local_addr().ok()?.as_pathname()?.to_owned())
}

/// What the service manager's variables say does not fit; each text names the variable.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// LISTEN_PID is no number.
    #[error("LISTEN_PID is not the number of a process: {0:?}")]
    PidMalformed(OsString),
    /// LISTEN_FDS is no number.
    #[error("LISTEN_FDS is not a number of sockets: {0:?}")]
    CountMalformed(OsString),
    /// LISTEN_FDS is 0, or more than anybody means.
    #[error("LISTEN_FDS is {0}; 1 to {MOST} sockets can be handed over")]
    CountOutOfRange(u64),
    /// LISTEN_FDNAMES is not UTF-8.
    #[error("LISTEN_FDNAMES is not text: {0:?}")]
    NamesMalformed(OsString),
    /// Another number of names than of sockets.
    #[error("LISTEN_FDNAMES holds {names} names, and LISTEN_FDS says {sockets} sockets")]
    NamesMismatch {
        /// How many names there are.
        names: usize,
        /// How many sockets there should be.
        sockets: usize,
    },
    /// A descriptor that is not open.
    #[error("LISTEN_FDS counts descriptor {descriptor} ({name}), which is not open")]
    NotOpen {
        /// Its number.
        descriptor: RawFd,
        /// Its name in LISTEN_FDNAMES.
        name: String,
    },
    /// A descriptor that is something else than a listening Unix stream socket.
    #[error(
        "LISTEN_FDS counts descriptor {descriptor} ({name}), which is {found}; \
         what is needed is a listening Unix stream socket (ListenStream= with a path)"
    )]
    Unfit {
        /// Its number.
        descriptor: RawFd,
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// What it is instead.
        found: &'static str,
    },
    /// A descriptor that cannot be set up.
    #[error("descriptor {descriptor} ({name}) of LISTEN_FDS cannot be set up")]
    Refused {
        /// Its number.
        descriptor: RawFd,
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The three variables, as found.
#[derive(Clone, Copy, Debug, Default)]
struct ListenVariables<'a> {
    /// LISTEN_PID
    pid: Option<&'a OsStr>,
    /// LISTEN_FDS
    count: Option<&'a OsStr>,
    /// LISTEN_FDNAMES
    names: Option<&'a OsStr>,
}

/// Takes over the sockets handed to this process, and removes the variables, whatever they held.
///
/// To be called once, with a single thread, before any descriptor is opened.
///
/// # Errors
/// [`InheritError`]. None handed over, or to another process, is an empty list.
pub fn take() -> Result<Vec<Inherited>, InheritError> {
    let [pid, count, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(env::var_os);
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
        // JUSTIFICATION: a program started from here must not take our sockets for its own.
        // SAFETY: the process has a single thread, says the contract of this function.
        unsafe { env::remove_var(name) };
    }
    let variables = ListenVariables { pid: pid.as_deref(), count: count.as_deref(), names: names.as_deref() };
    (FIRST..).zip(parse(std::process::id(), variables)?).map(|(descriptor, name)| adopt(descriptor, name)).collect()
}

/// The names of the sockets handed to process `own_pid`, in the order of their descriptors, which begin at 3.
///
/// # Errors
/// [`InheritError`], by variable. Variables meant for another process are not looked at.
fn parse(own_pid: u32, variables: ListenVariables<'_>) -> Result<Vec<String>, InheritError> {
    let Some(pid) = variables.pid else { return Ok(Vec::new()) };
    let meant = digits(pid).filter(|meant| *meant > 0).ok_or_else(|| InheritError::PidMalformed(pid.to_owned()))?;
    let Some(count) = variables.count.filter(|_| meant == u64::from(own_pid)) else { return Ok(Vec::new()) };
    let count = digits(count).ok_or_else(|| InheritError::CountMalformed(count.to_owned()))?;
    let sockets = usize::try_from(count)
        .ok()
        .filter(|sockets| (1..=MOST).contains(sockets))
        .ok_or(InheritError::CountOutOfRange(count))?;
    let Some(names) = variables.names else { return Ok(vec![NAMELESS.to_owned(); sockets]) };
    let names = names.to_str().ok_or_else(|| InheritError::NamesMalformed(names.to_owned()))?;
    let names: Vec<_> = names.split(':').map(str::to_owned).collect();
    if names.len() == sockets { Ok(names) } else { Err(InheritError::NamesMismatch { names: names.len(), sockets }) }
}

/// A decimal number without sign or space, as the service manager writes it.
fn digits(text: &OsStr) -> Option<u64> {
    text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok())
}

fn adopt(descriptor: RawFd, name: String) -> Result<Inherited, InheritError> {
    let refused = |name: &str, source| InheritError::Refused { descriptor, name: name.to_owned(), source };
    let unfit = |name: &str, found| InheritError::Unfit { descriptor, name: name.to_owned(), found };
    // JUSTIFICATION: the protocol hands descriptors over by number.
    // SAFETY: borrowed for this one question, which is the proof that it is open.
    let flags = fcntl(unsafe { BorrowedFd::borrow_raw(descriptor) }, FcntlArg::F_GETFD);
    if let Err(closed) = flags {
        return Err(match closed {
            Errno::EBADF => InheritError::NotOpen { descriptor, name },
            other => refused(&name, other.into()),
        });
    }
    // JUSTIFICATION: as above.
    // SAFETY: open, as just seen, and given to this process: nothing of ours owns it, because `take` runs before
    // anything is opened.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| refused(&name, errno.into()))?;
    if let Some(found) = misfit(socket.as_fd()).map_err(|errno| refused(&name, errno.into()))? {
        return Err(unfit(&name, found));
    }
    let listener = UnixListener::from(socket);
    // std fails with its own error, not with one of the kernel's, if the address is of another family.
    if let Err(foreign) = listener.local_addr() {
        return Err(match foreign.raw_os_error() {
            None => unfit(&name, "not a Unix socket"),
            Some(_) => refused(&name, foreign),
        });
    }
    listener.set_nonblocking(true).map_err(|source| refused(&name, source))?;
    Ok(Inherited { name, listener })
}

/// What is wrong with a descriptor that should be a listening stream socket.
fn misfit(socket: BorrowedFd<'_>) -> Result<Option<&'static str>, Errno> {
    match getsockopt(&socket, sockopt::SockType) {
        Ok(SockType::Stream) => {}
        Err(Errno::ENOTSOCK) => return Ok(Some("not a socket")),
        // nix knows no others than it names.
        Ok(_) | Err(Errno::EINVAL) => return Ok(Some("not a stream socket")),
        Err(other) => return Err(other),
    }
    Ok(if getsockopt(&socket, sockopt::AcceptConn)? { None } else { Some("not listening (Accept=yes?)") })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::TcpListener,
        os::{
            fd::{AsRawFd, IntoRawFd},
            unix::{ffi::OsStrExt, net::UnixDatagram, net::UnixStream},
        },
    };

    use nix::fcntl::OFlag;

    use super::*;
    use crate::sys::apart;

    fn parsed(pid: Option<&str>, count: Option<&str>, names: Option<&str>) -> Result<Vec<String>, String> {
        let variables =
            ListenVariables { pid: pid.map(OsStr::new), count: count.map(OsStr::new), names: names.map(OsStr::new) };
        parse(42, variables).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_that_fit_give_names_in_order() {
        for (count, names, expected) in [
            ("1", None, vec!["unknown"]),
            ("2", Some("api:admin"), vec!["api", "admin"]),
            ("02", Some(":admin"), vec!["", "admin"]),
            ("1", Some(""), vec![""]),
            ("3", None, vec!["unknown"; 3]),
        ] {
            assert_eq!(parsed(Some("42"), Some(count), names).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_is_inherited_without_variables_or_with_those_of_another_process() {
        for (pid, count, names) in [
            (None, None, None),
            (None, Some("2"), Some("a:b")),
            (Some("42"), None, Some("a")),
            (Some("43"), Some("1"), None),
            (Some("43"), Some("many"), Some("a:b:c")),
            (Some("4294967338"), Some("1"), None),
        ] {
            assert_eq!(parsed(pid, count, names), Ok(Vec::new()), "{pid:?} {count:?}");
        }
    }

    #[test]
    fn each_malformed_variable_is_refused_by_name() {
        for (pid, count, names, said) in [
            ("", "1", None, "LISTEN_PID is not"),
            ("0", "1", None, "LISTEN_PID is not"),
            ("-42", "1", None, "LISTEN_PID is not"),
            ("+42", "1", None, "LISTEN_PID is not"),
            (" 42", "1", None, "LISTEN_PID is not"),
            ("42x", "1", None, "LISTEN_PID is not"),
            ("99999999999999999999", "1", None, "LISTEN_PID is not"),
            ("42", "", None, "LISTEN_FDS is not"),
            ("42", "-1", None, "LISTEN_FDS is not"),
            ("42", "one", None, "LISTEN_FDS is not"),
            ("42", "1.0", None, "LISTEN_FDS is not"),
            ("42", "99999999999999999999", None, "LISTEN_FDS is not"),
            ("42", "0", None, "LISTEN_FDS is 0;"),
            ("42", "65", None, "LISTEN_FDS is 65;"),
            ("42", "18446744073709551615", None, "LISTEN_FDS is 18446744073709551615;"),
            ("42", "1", Some("a:b"), "LISTEN_FDNAMES holds 2 names"),
            ("42", "2", Some("a"), "LISTEN_FDNAMES holds 1 names"),
            ("42", "2", Some(""), "LISTEN_FDNAMES holds 1 names"),
        ] {
            let refused = parsed(Some(pid), Some(count), names).unwrap_err();
            assert!(refused.starts_with(said), "{pid:?} {count:?} {names:?}: {refused}");
        }
        let bytes = OsStr::from_bytes(b"\xFF");
        for variables in [
            ListenVariables { pid: Some(bytes), ..Default::default() },
            ListenVariables { pid: Some(OsStr::new("42")), count: Some(bytes), names: None },
            ListenVariables { pid: Some(OsStr::new("42")), count: Some(OsStr::new("1")), names: Some(bytes) },
        ] {
            parse(42, variables).unwrap_err();
        }
    }

    #[test]
    fn a_listening_unix_socket_is_adopted_nonblocking_and_closed_on_exec() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let handed = UnixListener::bind(&path).unwrap();
        fcntl(&handed, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let taken = adopt(handed.into_raw_fd(), "api".to_owned()).unwrap();
        let socket = taken.listener.as_fd();
        assert_eq!(taken.name, "api");
        assert!(FdFlag::from_bits_truncate(fcntl(socket, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC));
        assert!(OFlag::from_bits_truncate(fcntl(socket, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK));
        let _client = UnixStream::connect(&path).unwrap();
        taken.listener.accept().unwrap();
    }

    #[test]
    fn what_is_no_listening_unix_stream_socket_is_refused_by_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let plain = fs::File::create(directory.path().join("f")).unwrap();
        let (connected, _other) = UnixStream::pair().unwrap();
        for (handed, said) in [
            (plain.into_raw_fd(), "which is not a socket;"),
            (connected.into_raw_fd(), "which is not listening"),
            (UnixDatagram::unbound().unwrap().into_raw_fd(), "which is not a stream socket;"),
            (TcpListener::bind("127.0.0.1:0").unwrap().into_raw_fd(), "which is not a Unix socket;"),
        ] {
            let refused = adopt(handed, "api".to_owned()).unwrap_err().to_string();
            assert!(refused.contains(said) && refused.contains("(api)"), "{refused}");
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        // Above what any process here has open.
        let refused = adopt(1_000_000_000, "api".to_owned()).unwrap_err();
        assert!(matches!(refused, InheritError::NotOpen { descriptor: 1_000_000_000, .. }), "{refused}");
    }

    #[test]
    fn the_variables_are_removed_and_the_sockets_taken_in_order() {
        let name = "the_variables_are_removed_and_the_sockets_taken_in_order";
        apart::in_a_fork_of_its_own(module_path!(), name, || {
            let directory = tempfile::tempdir().unwrap();
            for (target, file) in [(3, "api"), (4, "admin")] {
                let listener = UnixListener::bind(directory.path().join(file)).unwrap();
                // JUSTIFICATION: the sockets must lie at the numbers that the protocol says.
                // SAFETY: this process runs the test alone, and uses nothing that lay at these numbers again.
                assert_eq!(unsafe { libc::dup2(listener.as_raw_fd(), target) }, target);
                if listener.as_raw_fd() == target {
                    let _kept = listener.into_raw_fd();
                }
            }
            let own = std::process::id().to_string();
            for (variable, value) in
                [("LISTEN_PID", own.as_str()), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "api:admin")]
            {
                // JUSTIFICATION: plays the service manager.
                // SAFETY: a fork with a single thread.
                unsafe { env::set_var(variable, value) };
            }
            let taken = take().unwrap();
            assert_eq!(taken.iter().map(|taken| taken.name.as_str()).collect::<Vec<_>>(), ["api", "admin"]);
            for taken in &taken {
                let path = taken.listener.local_addr().unwrap().as_pathname().unwrap().to_owned();
                assert!(path.ends_with(&taken.name));
            }
            assert!(["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].into_iter().all(|name| env::var_os(name).is_none()));
            assert!(take().unwrap().is_empty());
        });
    }
}
