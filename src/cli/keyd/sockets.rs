//! The daemon's sockets: those it inherits, else those it binds, each with what it serves.
//!
//! Must never serve on a socket that it cannot tell the purpose of.
//! Called by `serve` and `turn_away`.

use crate::auth::peer::Socket;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::settings::{self, Config};
use crate::sys::sockets::bound::{SocketFile, SocketMode, bind};
use crate::sys::sockets::inherited::{self, Inherited, path_of};
use crate::telemetry::events;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A listening socket with its purpose.
pub struct Listening {
    /// What it serves.
    pub socket: Socket,
    /// The socket.
    pub listener: UnixListener,
    /// Its file, if this process made it: removed when dropped.
    pub file: Option<SocketFile>,
}

/// Takes what the service manager hands over. To be called before anything else opens a descriptor.
///
/// # Errors
/// 78, naming the variable at fault.
pub fn take_inherited() -> Result<Vec<Inherited>, Failure> {
    inherited::take().map_err(|error| Failure::new(exit::CONFIG, &error))
}

/// Uses inherited sockets, or binds those of the configuration. The socket of the metrics is bound where it alone was not
/// handed over.
///
/// # Errors
/// 73, 75, 77 or 78, as `sys` says.
pub fn open(handed_over: Vec<Inherited>, config: &Config, dev: bool) -> Result<Vec<Listening>, Failure> {
    let mut sockets = if handed_over.is_empty() {
        bind_all(&config.socket, dev)?
    } else {
        let sockets = handed_over.into_iter().map(|one| recognise(one, config)).collect::<Result<Vec<_>, _>>()?;
        refuse_twins(&sockets)?;
        sockets
    };
    if let Some(path) =
        config.metrics.socket.as_ref().filter(|_| sockets.iter().all(|one| one.socket != Socket::Metrics))
    {
        let group = config.metrics.group.as_deref().and_then(group_id);
        sockets.push(bind_one(path, Socket::Metrics, SocketMode::OwnerAndGroup, group)?);
    }
    for one in &sockets {
        let path = path_of(&one.listener).map(|path| path.display().to_string());
        tracing::info!(
            event = events::SOCKET_LISTENING,
            path = path.unwrap_or_default(),
            serves = ?one.socket,
            inherited = one.file.is_none(),
            "listening"
        );
    }
    Ok(sockets)
}

fn bind_all(configured: &settings::Socket, dev: bool) -> Result<Vec<Listening>, Failure> {
    if dev {
        return Ok(vec![bind_one(&configured.path, Socket::Dev, SocketMode::Owner, None)?]);
    }
    let group = configured.group.as_deref().and_then(group_id);
    let mut sockets = vec![bind_one(&configured.path, Socket::Component, SocketMode::OwnerAndGroup, group)?];
    if let Some(path) = &configured.admin_path {
        sockets.push(bind_one(path, Socket::Admin, SocketMode::Owner, None)?);
    }
    Ok(sockets)
}

fn bind_one(path: &Path, socket: Socket, mode: SocketMode, group: Option<u32>) -> Result<Listening, Failure> {
    let bound = bind(path, mode, group)?;
    Ok(Listening { socket, listener: bound.listener, file: Some(bound.file) })
}

/// The group that owns a socket; without it the socket keeps the daemon's primary group.
fn group_id(name: &str) -> Option<u32> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Some(group.gid.as_raw()),
        Ok(None) | Err(_) => {
            tracing::warn!(
                event = events::SOCKET_GROUP_MISSING,
                group = name,
                "no such group: the socket keeps the daemon's primary group. Make it with: groupadd --system {name}"
            );
            None
        }
    }
}

/// Whether an inherited socket is the operators'.
pub fn is_admin(name: &str, path: Option<&Path>, config: &Config) -> bool {
    name == "admin" || path.is_some() && path == config.socket.admin_path.as_deref()
}

/// An inherited socket is known by its path, else by its name.
fn recognise(one: Inherited, config: &Config) -> Result<Listening, Failure> {
    let configured = &config.socket;
    let path = path_of(&one.listener);
    let is_admin = is_admin(&one.name, path.as_deref(), config);
    let is_component = path.as_ref() == Some(&configured.path) || one.name == "component";
    let is_metrics = path.is_some() && path == config.metrics.socket || one.name == "metrics";
    let refused = |problem: &str| {
        let shown = path.as_deref().map(|path| format!(" on {}", path.display())).unwrap_or_default();
        Err(Failure::say(exit::CONFIG, format!("LISTEN_FDNAMES: the inherited socket {:?}{shown} {problem}", one.name)))
    };
    let socket = match (is_component, is_admin, is_metrics) {
        (true, false, false) => Socket::Component,
        (false, true, false) => Socket::Admin,
        (false, false, true) => Socket::Metrics,
        (false, false, false) => {
            return refused(
                "is neither [socket] path nor admin_path, nor [metrics] socket: set FileDescriptorName=component, admin or \
                 metrics, or correct the paths",
            );
        }
        _ => {
            return refused(
                "is for more than one purpose, by its name and by its path: correct FileDescriptorName= or the paths",
            );
        }
    };
    Ok(Listening { socket, listener: one.listener, file: None })
}

/// What to mend where the service manager's sockets are not where the configuration has them: the unit is what counts.
#[must_use]
pub fn elsewhere(sockets: &[Listening], config: &Config) -> Vec<String> {
    let inherited = sockets.iter().filter(|one| one.file.is_none());
    let told = inherited.filter_map(|one| {
        let (key, configured, unit) = match one.socket {
            Socket::Component => ("path", Some(&config.socket.path), "servos-keyd.socket"),
            Socket::Admin => ("admin_path", config.socket.admin_path.as_ref(), "servos-keyd-admin.socket"),
            Socket::Metrics | Socket::Dev => return None,
        };
        let (configured, path) = (configured?, path_of(&one.listener)?);
        (path != *configured).then(|| {
            format!(
                "[socket] {key} is {configured}, and the socket is at {path}, where its unit has it: change ListenStream= with \
                 systemctl edit {unit}, then run systemctl restart servos-keyd.socket servos-keyd-admin.socket; or correct \
                 [socket] {key}",
                configured = configured.display(),
                path = path.display()
            )
        })
    });
    told.collect()
}

/// Two for one purpose: one of them is not what its unit means it to be.
fn refuse_twins(sockets: &[Listening]) -> Result<(), Failure> {
    for (purpose, shown) in [(Socket::Component, "component"), (Socket::Admin, "admin"), (Socket::Metrics, "metrics")] {
        if sockets.iter().filter(|one| one.socket == purpose).count() > 1 {
            let problem = format!(
                "LISTEN_FDNAMES: more than one inherited socket is {shown}: FileDescriptorName= of one is wrong"
            );
            return Err(Failure::say(exit::CONFIG, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_is_known_by_its_name_or_its_path_and_by_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.metrics.socket = Some(directory.path().join("configured"));
        let inherited = |file: &str, name: &str| Inherited {
            name: name.to_owned(),
            listener: UnixListener::bind(directory.path().join(file)).unwrap(),
        };
        for (file, name, socket) in [
            ("a", "metrics", Some(Socket::Metrics)),
            ("b", "component", Some(Socket::Component)),
            ("c", "admin", Some(Socket::Admin)),
            ("configured", "servos-keyd.socket", Some(Socket::Metrics)),
            ("d", "servos-keyd.socket", None),
            ("e", "metric", None),
        ] {
            let found = recognise(inherited(file, name), &config);
            assert_eq!(found.as_ref().ok().map(|one| one.socket), socket, "{file} {name}");
            assert!(found.err().is_none_or(|failure| failure.exit == exit::CONFIG && failure.message.contains(name)));
        }
        std::fs::remove_file(directory.path().join("configured")).unwrap();
        assert!(recognise(inherited("configured", "admin"), &config).is_err(), "its name and its path disagree");
    }

    #[test]
    fn a_socket_of_the_service_manager_s_that_the_configuration_has_elsewhere_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.socket.path = directory.path().join("configured");
        let at = |file: &str| {
            let listener = UnixListener::bind(directory.path().join(file)).unwrap();
            [Listening { socket: Socket::Component, listener, file: None }]
        };
        assert_eq!(elsewhere(&at("configured"), &config), Vec::<String>::new());
        let told = elsewhere(&at("unit"), &config);
        assert!(told.len() == 1 && told[0].contains("systemctl restart servos-keyd.socket"), "{told:?}");
        assert!(told[0].contains("/configured, and the socket is at ") && told[0].contains("/unit, "), "{told:?}");
    }

    #[test]
    fn the_socket_of_the_metrics_is_bound_where_it_alone_was_not_handed_over() {
        let directory = tempfile::tempdir().unwrap();
        let bind = |name: &str| UnixListener::bind(directory.path().join(name)).unwrap();
        let component = || Inherited { name: "component".to_owned(), listener: bind("component") };
        let mut config = Config::default();
        assert_eq!(open(vec![component()], &config, false).unwrap().len(), 1);
        config.metrics.socket = Some(directory.path().join("metrics"));
        let handed = Inherited { name: "metrics".to_owned(), listener: bind("elsewhere") };
        let sockets = open(vec![handed], &config, false).unwrap();
        assert!(sockets.len() == 1 && sockets[0].file.is_none());
        std::fs::remove_file(directory.path().join("component")).unwrap();
        let sockets = open(vec![component()], &config, false).unwrap();
        assert_eq!(sockets.iter().map(|one| one.socket).collect::<Vec<_>>(), [Socket::Component, Socket::Metrics]);
        assert!(sockets[1].file.is_some() && directory.path().join("metrics").exists());
    }
}
