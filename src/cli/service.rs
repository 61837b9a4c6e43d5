//! The machine's own service as commands name it: its user, the files of its key, its units and their drop-ins.
//!
//! Must never read a key, nor change what it names.
//! Called by what tells an operator which command comes next, and by `drill`.

use crate::cli::unit::{self, UNIT};
use crate::config::key_source::FILE_VARIABLES;
use crate::sys::locked::LockedMemory;
use crate::telemetry::shell::shell_quoted;
use std::path::{Path, PathBuf};

/// Whom its daemon runs as.
pub const USER: &str = "servos-keyd";

/// The file that the unit takes the key from: that of an installation which had one before servos-keyd.
pub const ENV_FILE: &str = "/etc/servos/servos.env";

/// The file of an installation that began with `servos-keyctl generate-key`.
pub const KEY_FILE: &str = "/etc/servos/master.key";

/// The sockets that systemd makes for it.
pub const SOCKETS: &str = "servos-keyd.socket servos-keyd-admin.socket";

/// Makes the sockets' directory and the sockets anew, those that are in use, and the daemon with them, which would go on with
/// sockets that nobody reaches.
pub const SOCKETS_ANEW: &str =
    "systemd-tmpfiles --create servos-keyd.conf; systemctl try-restart 'servos-keyd*.socket' servos-keyd";

/// Tells the unit that the key lies in [`KEY_FILE`]; `packaging/next-command` says the same.
pub const KEY_FILE_DROP_IN: &str = "install -D -m 644 -t /etc/systemd/system/servos-keyd.service.d \
                                    /usr/share/doc/servos-keyd/drop-ins/key-file.conf && systemctl daemon-reload";

/// Where systemd looks for a unit of the system. Source: systemd.unit(5).
const UNITS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The command that gives the service a setting of its own, in a drop-in of this name. Of several that set the same, the last
/// by name counts: one that does harm is overruled.
#[must_use]
pub fn drop_in(name: &str, setting: &str) -> String {
    let directory = "/etc/systemd/system/servos-keyd.service.d";
    format!(
        "mkdir -p {directory} && printf '[Service]\\n{setting}\\n' > {directory}/zzz-{name}.conf && systemctl daemon-reload && \
         systemctl restart servos-keyd"
    )
}

/// Whether systemd runs this machine, and knows the daemon's unit.
#[must_use]
pub fn unit_is_installed(root: &Path) -> bool {
    let has = |path: &str| root.join(path).exists();
    has("run/systemd/system") && UNITS.iter().any(|directory| has(&format!("{directory}/servos-keyd.service")))
}

/// The file below `root` that the service's key most likely lies in: what systemd hands to it is in nobody's shell.
#[must_use]
pub fn key_file(root: &Path) -> Option<PathBuf> {
    let at = |path: &str| Some(root.join(path.trim_start_matches('/'))).filter(|path| path.exists());
    let drop_in = at("/etc/systemd/system/servos-keyd.service.d/key-file.conf");
    match (at(ENV_FILE), at(KEY_FILE)) {
        (Some(_), Some(key)) if drop_in.is_some() => Some(key),
        (Some(env), _) => Some(env),
        (None, key) => key,
    }
}

/// The command that opens a configuration at the line of a setting, with what is to stand there.
#[must_use]
pub fn edit(file: &Path, line: Option<usize>, setting: &str, wanted: &str) -> String {
    let at = line.map(|line| format!(" +{line}")).unwrap_or_default();
    format!("\"${{EDITOR:-vi}}\"{at} {} # under {setting} = {wanted}", shell_quoted(file))
}

/// A command that is to have the key in this file.
#[must_use]
pub fn with_key_file(file: &Path, command: &str) -> String {
    let [variable, _] = FILE_VARIABLES;
    format!("{variable}={} {command}", shell_quoted(file))
}

/// The files that the service's unit names as places of the key; none where systemd knows no such unit.
#[must_use]
pub fn files_of_unit(memory: &LockedMemory) -> Vec<PathBuf> {
    let Ok(text) = unit::text(UNIT, memory) else { return Vec::new() };
    let Ok(text) = std::str::from_utf8(text.expose_bytes()) else { return Vec::new() };
    files_in(text)
}

fn files_in(text: &str) -> Vec<PathBuf> {
    let credentials = unit::credentials_in(text).into_iter().map(|credential| credential.file);
    let environment = unit::assigned(text, "EnvironmentFile").into_iter();
    credentials.chain(environment.map(|(_, file)| PathBuf::from(file.trim_start_matches('-')))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_unit_is_there_where_systemd_runs_and_knows_it() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(root.path().join(path)).unwrap();
        make("lib/systemd/system/servos-keyd.service");
        assert!(!unit_is_installed(root.path()), "a container without systemd");
        make("run/systemd/system");
        assert!(unit_is_installed(root.path()));
        std::fs::remove_dir(root.path().join("lib/systemd/system/servos-keyd.service")).unwrap();
        assert!(!unit_is_installed(root.path()));
    }

    #[test]
    fn the_key_is_looked_for_where_the_unit_and_its_drop_in_name_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let found =
            || key_file(root.path()).map(|path| format!("/{}", path.strip_prefix(root.path()).unwrap().display()));
        assert_eq!(found(), None);
        write(KEY_FILE);
        assert_eq!(found().as_deref(), Some(KEY_FILE));
        write(ENV_FILE);
        assert_eq!(found().as_deref(), Some(ENV_FILE));
        write("/etc/systemd/system/servos-keyd.service.d/key-file.conf");
        assert_eq!(found().as_deref(), Some(KEY_FILE));
    }

    #[test]
    fn the_units_of_the_package_name_the_files_that_are_taken_for_the_services() {
        let unit = include_str!("../../packaging/systemd/servos-keyd.service");
        assert_eq!(files_in(unit), [Path::new(ENV_FILE)]);
        let drop_in = include_str!("../../packaging/systemd/drop-ins/key-file.conf");
        assert_eq!(files_in(&format!("{unit}\n{drop_in}")), [Path::new(KEY_FILE)]);
        assert_eq!(files_in("[Service]\nEnvironmentFile=-/a\n"), [Path::new("/a")]);
    }

    #[test]
    fn the_next_command_of_the_package_tells_the_unit_of_the_key_file_alike() {
        assert!(include_str!("../../packaging/next-command").contains(KEY_FILE_DROP_IN));
    }

    #[test]
    fn a_command_has_the_file_in_front_of_it_as_one_word() {
        assert_eq!(with_key_file(Path::new("/k"), "servos-keyd init"), "SERVOS_MASTER_KEY_FILE=/k servos-keyd init");
        assert!(with_key_file(Path::new("/a b"), "x").starts_with("SERVOS_MASTER_KEY_FILE='/a b' x"));
        let command = drop_in("swap", "MemorySwapMax=0");
        assert!(
            command
                .contains("'[Service]\\nMemorySwapMax=0\\n' > /etc/systemd/system/servos-keyd.service.d/zzz-swap.conf")
        );
    }
}
