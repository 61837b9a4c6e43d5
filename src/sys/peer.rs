//! Who is at the other end of a Unix socket, in the kernel's own word.
//!
//! Must never guess: credentials that the kernel cannot name are an error, which is a denial.
//! Called by `server` for each accepted connection; `auth` judges what it says.

use std::{fs, io, os::fd::AsFd, sync::OnceLock};

use nix::sys::socket::{getsockopt, sockopt};

/// What Linux shows for users and groups that this process's user namespace does not hold.
const DEFAULT_OVERFLOW_ID: u32 = 65_534;

/// Where this kernel tells which user it shows instead.
const OVERFLOW_FILE: &str = "/proc/sys/kernel/overflowuid";

/// That user, read once.
static OVERFLOW_UID: OnceLock<u32> = OnceLock::new();

/// The user, group and process that connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The effective user when it connected.
    pub uid: u32,
    /// The effective group when it connected; supplementary groups are not in it.
    pub gid: u32,
    /// The process that connected: a hint for the log, since it may be gone and its number used again.
    /// 0 if it runs in another pid namespace (a container of its own).
    pub pid: i32,
}

/// Nobody knows who is at the other end.
#[derive(Debug, thiserror::Error)]
pub enum PeerUnknown {
    /// The kernel did not answer.
    #[error("the kernel does not name the peer (SO_PEERCRED)")]
    Unanswered(#[source] io::Error),
    /// The socket has no peer: not connected, or not a Unix socket.
    #[error("the socket has no peer with credentials (SO_PEERCRED)")]
    NoPeer,
    /// The peer's user is not mapped here.
    #[error(
        "the peer arrives as uid {uid}, gid {gid}, of which {overflow} stands for everybody this user namespace does not map: \
         run the daemon without PrivateUsers=yes, in the peers' user namespace"
    )]
    Unmapped {
        /// The user as seen from here.
        uid: u32,
        /// The group as seen from here.
        gid: u32,
        /// The number that means nobody in particular.
        overflow: u32,
    },
}

/// Asks the kernel who connected `socket`.
///
/// # Errors
/// [`PeerUnknown`]; the caller must then deny.
pub fn of(socket: impl AsFd) -> Result<PeerCredentials, PeerUnknown> {
    let named =
        getsockopt(&socket, sockopt::PeerCredentials).map_err(|refused| PeerUnknown::Unanswered(refused.into()))?;
    let seen = PeerCredentials { uid: named.uid(), gid: named.gid(), pid: named.pid() };
    judge(seen, overflow_user())
}

/// Reads now what the kernel shows for users it cannot name, which a sandbox hides later.
pub fn learn_overflow_user() {
    overflow_user();
}

fn overflow_user() -> u32 {
    *OVERFLOW_UID.get_or_init(|| overflow_id(OVERFLOW_FILE))
}

/// The group is not judged: rights follow the user, and real users have the group `nogroup`.
fn judge(seen: PeerCredentials, overflow_uid: u32) -> Result<PeerCredentials, PeerUnknown> {
    let PeerCredentials { uid, gid, pid } = seen;
    if uid == u32::MAX || gid == u32::MAX || pid < 0 {
        return Err(PeerUnknown::NoPeer);
    }
    match [overflow_uid, DEFAULT_OVERFLOW_ID].into_iter().find(|overflow| uid == *overflow) {
        Some(overflow) => Err(PeerUnknown::Unmapped { uid, gid, overflow }),
        None => Ok(seen),
    }
}

/// The number the kernel was told to show; the usual one if that cannot be read (a sandbox hides /proc/sys).
fn overflow_id(path: &str) -> u32 {
    fs::read_to_string(path).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(DEFAULT_OVERFLOW_ID)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn the_peer_of_a_connected_pair_is_this_process() {
        let (one, _two) = UnixStream::pair().unwrap();
        let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let seen = of(&one).unwrap();
        assert_eq!((seen.uid, seen.gid), own);
        assert_eq!(seen.pid, nix::unistd::getpid().as_raw());
    }

    #[test]
    fn a_socket_without_a_peer_and_a_file_are_unknown() {
        assert!(matches!(of(UnixDatagram::unbound().unwrap()), Err(PeerUnknown::NoPeer)));
        assert!(matches!(of(std::net::TcpListener::bind("127.0.0.1:0").unwrap()), Err(PeerUnknown::NoPeer)));
        assert!(matches!(of(fs::File::open("/dev/null").unwrap()), Err(PeerUnknown::Unanswered(_))));
    }

    #[test]
    fn unmapped_users_are_unknown_and_a_process_out_of_sight_is_not() {
        let judged = |uid, gid, pid| judge(PeerCredentials { uid, gid, pid }, 4_000);
        for (uid, gid) in [(65_534, 1), (4_000, 1), (65_534, 65_534)] {
            assert!(matches!(judged(uid, gid, 1), Err(PeerUnknown::Unmapped { .. })), "{uid} {gid}");
        }
        for (uid, gid, pid) in [(u32::MAX, 1, 1), (1, u32::MAX, 1), (1, 1, -1)] {
            assert!(matches!(judged(uid, gid, pid), Err(PeerUnknown::NoPeer)), "{uid} {gid} {pid}");
        }
        for (uid, gid, pid) in [(0, 0, 1), (5_000, 4_000, 7), (1_000, 65_534, 7), (1_000, 1_000, 0)] {
            assert_eq!(judged(uid, gid, pid).unwrap(), PeerCredentials { uid, gid, pid });
        }
    }
}
