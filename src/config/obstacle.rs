//! What keeps a user from reading a file: the modes of the directories on the way, and its own.
//!
//! Must never take a file for readable because it is for whoever looks.
//! Called by `config::file` for the daemon's own user, and by `config check` and `doctor` for the service's.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::key_source_error::shell_quoted;

/// Whom a mode is judged for.
pub struct Reader<'r> {
    /// The user.
    pub uid: u32,
    /// Its groups.
    pub gids: &'r [u32],
}

impl Reader<'_> {
    /// The command after which the user can read the file at `path`, if its modes or those of a directory on the way keep
    /// it from that. Lists of access are not looked at: one may let it through all the same.
    #[must_use]
    pub fn mend(&self, path: &Path) -> Option<String> {
        let mut commands = Vec::new();
        let mut ways: Vec<&Path> = path.ancestors().skip(1).filter(|way| !way.as_os_str().is_empty()).collect();
        ways.reverse();
        for (way, bit, right) in ways.into_iter().map(|way| (way, 0o1, "o+x")).chain([(path, 0o4, "o+r")]) {
            match way.metadata() {
                Ok(found) if self.may(&found, bit) => {}
                Ok(_) => commands.push(format!("chmod {right} {}", shell_quoted(way))),
                // What lies below a closed directory cannot be seen from outside.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
                Err(_) => return None,
            }
        }
        (!commands.is_empty()).then(|| commands.join(" && "))
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
            let mend = STRANGER.mend(&file).unwrap_or_default();
            for command in [&open_directory, &open_file] {
                assert_eq!(mend.contains(command.as_str()), says.contains(&command), "{above:o} {below:o}: {mend}");
            }
        }
        set(&file, 0o640);
        let found = file.metadata().unwrap();
        assert!(Reader { uid: 4712, gids: &[found.gid()] }.may(&found, 4) && !STRANGER.may(&found, 4));
        set(&file, 0o040);
        let (uid, gid) = (file.metadata().unwrap().uid(), file.metadata().unwrap().gid());
        assert!(uid == 0 || Reader { uid, gids: &[gid] }.mend(&file).is_some(), "the owner's bits count alone");
        assert!(Reader { uid: 0, gids: &[] }.mend(&file).is_none(), "root reads everything");
    }
}
