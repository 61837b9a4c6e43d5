//! What to do about a socket that did not answer or may not be opened, told from what lies at its path.
//!
//! Must never advise a service manager for a socket that is not a service's.
//! Called by `daemon_failure`.

use crate::cli::service::unit_is_installed;
use crate::client::{ADMIN_SOCKET, COMPONENT_SOCKET};
use nix::unistd::{Gid, Group, Uid, User};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Makes the sockets of the package's units anew. The daemon is restarted with them.
const RESTART: &str =
    "systemd-tmpfiles --create servos-keyd.conf; systemctl restart servos-keyd.socket servos-keyd-admin.socket";

/// Whether something lies at the path that is no socket.
pub(super) fn is_something_else(socket: &Path) -> bool {
    socket.metadata().is_ok_and(|found| !found.file_type().is_socket())
}

/// What to do when connecting met `kind`.
pub(super) fn unanswered(socket: &Path, kind: Option<ErrorKind>) -> String {
    unanswered_on(socket, kind, unit_is_installed(Path::new("/")))
}

/// The same on a machine that has the package's units, or not.
fn unanswered_on(socket: &Path, kind: Option<ErrorKind>, has_units: bool) -> String {
    let start = start(socket, has_units);
    match kind {
        // The service makes no socket, and is not started while there is none to start it.
        Some(ErrorKind::NotFound) if has_units && is_service(socket) => format!(
            "nothing is there: `{RESTART}` makes the sockets anew, with a daemon behind them; if it says that they are masked, \
             `systemctl unmask` them first, and `systemctl enable` them to be there after a boot"
        ),
        Some(ErrorKind::NotFound) => {
            format!("nothing is there: {start}, or name the socket of a running daemon with --socket")
        }
        Some(ErrorKind::ConnectionRefused) if is_service(socket) => {
            format!("the daemon that made this socket is gone: `systemctl status servos-keyd` says why; {start}")
        }
        Some(ErrorKind::ConnectionRefused) => format!("the daemon that made this socket is gone: {start}"),
        _ if is_service(socket) => "`systemctl status servos-keyd` and `journalctl -u servos-keyd` say more".to_owned(),
        _ => "the daemon's log says more".to_owned(),
    }
}

/// Who may open the socket, and how to become one of them.
pub(super) fn closed(socket: &Path) -> String {
    if socket == Path::new(ADMIN_SOCKET) {
        return "administration is for root: run it as root, with sudo for one".to_owned();
    }
    if let Ok(found) = socket.metadata() {
        return whose(socket, &found, 0o020);
    }
    // A directory on the way is closed: the first from below that can be seen.
    let seen = socket.ancestors().skip(1).find_map(|above| above.metadata().ok().map(|found| (above, found)));
    match seen {
        Some((above, found)) => whose(above, &found, 0o010),
        None => "components need the group of the socket (`servos`), administration needs root".to_owned(),
    }
}

/// `group_bit` is what the group needs of the mode.
fn whose(path: &Path, found: &Metadata, group_bit: u32) -> String {
    let (owner, group) = (user(found.uid()), self::group(found.gid()));
    let mode = found.mode() & 0o7777;
    let mend = match mode & group_bit {
        // To be in root's group is more than a socket is worth.
        bits if bits == 0 || found.gid() == 0 => format!("run as {owner}"),
        _ => format!("join the group {group} (`usermod -aG {group} USER`, then log in anew), or run as {owner}"),
    };
    format!("{} belongs to {owner}:{group}, mode {mode:04o}: {mend}", path.display())
}

fn user(id: u32) -> String {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |user| user.name)
}

fn group(id: u32) -> String {
    Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}

fn is_service(socket: &Path) -> bool {
    [COMPONENT_SOCKET, ADMIN_SOCKET].iter().any(|known| socket == Path::new(known))
}

fn start(socket: &Path, has_units: bool) -> String {
    if is_service(socket) && has_units {
        return "start the daemon with `systemctl start servos-keyd`".to_owned();
    }
    if is_service(socket) {
        return "start the daemon with `systemctl start servos-keyd` (`servos-keyd serve --dev` starts one to try out)"
            .to_owned();
    }
    if socket.to_string_lossy().contains("servos-keyd-dev") {
        return "start the daemon to try out with `servos-keyd serve --dev`".to_owned();
    }
    "start its daemon with `servos-keyd serve --config FILE`, FILE being the configuration that names this socket"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_service_manager_is_advised_for_the_sockets_of_the_service_alone() {
        let said = |path: &str| unanswered_on(Path::new(path), Some(ErrorKind::NotFound), false);
        assert!(said(ADMIN_SOCKET).contains("systemctl start servos-keyd"));
        let dev = said("/run/user/7/servos-keyd-dev/keyd.sock");
        assert!(dev.contains("`servos-keyd serve --dev`") && !dev.contains("systemctl"), "{dev}");
        let own = said("/srv/keyd.sock");
        assert!(own.contains("`servos-keyd serve --config FILE`") && !own.contains("systemctl"), "{own}");
        assert!(!unanswered(Path::new("/srv/keyd.sock"), None).contains("systemctl"));
    }

    #[test]
    fn where_the_units_are_a_socket_that_is_gone_is_made_by_them_and_nobody_is_sent_to_try_another() {
        for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused, ErrorKind::Other] {
            let said = unanswered_on(Path::new(COMPONENT_SOCKET), Some(kind), true);
            assert!(said.contains("systemctl") && !said.contains("--dev"), "{said}");
            assert_eq!(said.contains(RESTART), kind == ErrorKind::NotFound, "{said}");
        }
        let own = unanswered_on(Path::new("/srv/keyd.sock"), Some(ErrorKind::NotFound), true);
        assert!(!own.contains("systemctl"), "{own}");
    }

    #[test]
    fn a_closed_socket_is_told_with_its_owner_its_group_and_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        let owner = user(path.metadata().unwrap().uid());
        let said = closed(&path);
        let joins = path.metadata().unwrap().gid() != 0;
        assert!(said.contains("mode 0660: ") && said.contains(&format!("run as {owner}")), "{said}");
        assert_eq!(said.contains("join the group"), joins, "{said}");
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let said = closed(&path);
        assert!(said.ends_with(&format!("mode 0600: run as {owner}")), "{said}");
        let beyond = closed(&dir.path().join("missing/keyd.sock"));
        assert!(beyond.starts_with(dir.path().to_str().unwrap()), "{beyond}");
    }

    #[test]
    fn what_is_no_socket_is_told_apart_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_something_else(dir.path()));
        assert!(!is_something_else(&dir.path().join("missing")));
    }
}
