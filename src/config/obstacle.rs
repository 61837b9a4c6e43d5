//! What keeps a user from reading a file: the modes of the directories on the way, and its own.
//!
//! Must never take a file for readable because it is for whoever looks.
//! Called by `config::file` for the daemon's own user, and by `config check` and `doctor` for the service's.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::key_source_error::shell_quoted;

/// Whom a mode is judged for.
pub struct Reader<'r> {
    /// The user.
    pub uid: u32,
    /// Its groups.
    pub gids: &'r [u32],
}

/// What keeps a user from a configuration.
#[derive(Debug)]
pub enum Obstacle {
    /// Modes, and the command that opens it.
    Modes(String),
    /// What is not opened to others: a user's own directory, or a file that is none of configuration by its name and may
    /// hold a key.
    Private(PathBuf),
}

impl Reader<'_> {
    /// What keeps the user from reading the configuration at `path`, if its modes or those of a directory on the way do.
    /// Lists of access are not looked at: one may let it through all the same.
    #[must_use]
    pub fn obstacle(&self, path: &Path) -> Option<Obstacle> {
        let mut commands = Vec::new();
        let mut ways: Vec<&Path> = path.ancestors().skip(1).filter(|way| !way.as_os_str().is_empty()).collect();
        ways.reverse();
        for (way, bit, right) in ways.into_iter().map(|way| (way, 0o1, "o+x")).chain([(path, 0o4, "o+r")]) {
            match way.metadata() {
                Ok(found) if self.may(&found, bit) => {}
                Ok(found) if is_home(way, found.uid()) || (way == path && !is_configuration(path)) => {
                    return Some(Obstacle::Private(way.to_owned()));
                }
                Ok(_) => commands.push(format!("chmod {right} {}", shell_quoted(way))),
                // What lies below a closed directory cannot be seen from outside.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
                Err(_) => return None,
            }
        }
        (!commands.is_empty()).then(|| Obstacle::Modes(commands.join(" && ")))
    }

    /// Whether it has all of these rights (4 to read, 2 to write, 1 to go through) by owner and mode. Source:
    /// path_resolution(7). Of owner, group and others, the first that fits counts alone.
    #[must_use]
    pub fn may(&self, found: &Metadata, bits: u32) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if found.uid() == self.uid => 6,
            () if self.gids.contains(&found.gid()) => 3,
            () => 0,
        };
        (found.mode() >> shift) & bits == bits
    }
}

/// Whether a directory is a user's own: root's, one below /home, or the one that is its owner's by the list of users.
#[must_use]
pub fn is_home(directory: &Path, owner: u32) -> bool {
    let is_owners =
        || User::from_uid(Uid::from_raw(owner)).is_ok_and(|user| user.is_some_and(|its| its.dir == directory));
    directory == Path::new("/root") || directory.parent() == Some(Path::new("/home")) || is_owners()
}

/// By its name, and that of what it is a link to: whoever mistypes may name the file of the key.
fn is_configuration(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    [path, &real].into_iter().all(|name| name.extension().is_some_and(|end| end == "toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    const STRANGER: Reader<'_> = Reader { uid: 4712, gids: &[4712] };

    #[test]
    fn each_mode_on_the_way_that_closes_a_file_to_a_user_is_in_the_command_that_opens_it() {
        let place = tempfile::tempdir().unwrap();
        let (directory, file) = (place.path().join("etc"), place.path().join("etc/keyd.toml"));
        create_dir(&directory).unwrap();
        write(&file, "").unwrap();
        let set = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let (open_directory, open_file) =
            (format!("chmod o+x {}", directory.display()), format!("chmod o+r {}", file.display()));
        for (above, below, says) in [
            (0o755, 0o600, vec![&open_file]),
            (0o700, 0o644, vec![&open_directory]),
            (0o700, 0o600, vec![&open_directory, &open_file]),
            (0o711, 0o644, vec![]),
        ] {
            set(place.path(), 0o755);
            set(&directory, above);
            set(&file, below);
            let mend = match STRANGER.obstacle(&file) {
                Some(Obstacle::Modes(mend)) => mend,
                other => format!("{other:?}"),
            };
            for command in [&open_directory, &open_file] {
                assert_eq!(mend.contains(command.as_str()), says.contains(&command), "{above:o} {below:o}: {mend}");
            }
        }
        set(&file, 0o640);
        let found = file.metadata().unwrap();
        assert!(Reader { uid: 4712, gids: &[found.gid()] }.may(&found, 4) && !STRANGER.may(&found, 4));
        set(&file, 0o040);
        let (uid, gid) = (file.metadata().unwrap().uid(), file.metadata().unwrap().gid());
        assert!(uid == 0 || Reader { uid, gids: &[gid] }.obstacle(&file).is_some(), "the owner's bits count alone");
        assert!(Reader { uid: 0, gids: &[] }.obstacle(&file).is_none(), "root reads everything");
    }

    #[test]
    fn what_may_hold_a_key_and_a_users_own_directory_are_never_opened() {
        let place = tempfile::tempdir().unwrap();
        set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let file = place.path().join("servos.env");
        write(&file, "").unwrap();
        set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let link = place.path().join("keyd.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let found = STRANGER.obstacle(path);
            assert!(matches!(&found, Some(Obstacle::Private(place)) if place == path), "{found:?}");
        }
        for (directory, is_own) in
            [("/root", true), ("/home/a", true), ("/home", false), ("/etc/servos", false), ("/srv/a", false)]
        {
            assert_eq!(is_home(Path::new(directory), 4712), is_own, "{directory}");
        }
        let own = User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
        assert!(is_home(&own.dir, own.uid.as_raw()), "{}", own.dir.display());
        if Path::new("/root").metadata().is_ok_and(|found| !STRANGER.may(&found, 1)) {
            let found = STRANGER.obstacle(Path::new("/root/keyd.toml"));
            assert!(matches!(&found, Some(Obstacle::Private(place)) if place == Path::new("/root")), "{found:?}");
        }
    }
}
