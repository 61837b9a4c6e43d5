//! A store that is not where the configuration says, while one lies where a slip in that setting would have missed it.
//!
//! Must never take the store of another installation for this one's: only the machine's own configuration has the default place.
//! Called by `keyd::place` before anything is made or brought back, and by `config check`, `check-key` and `doctor`.

use crate::cli::places::group_name;
use crate::cli::service;
use crate::config::file::{DEFAULT_PATH, line_of};
use crate::config::key_source_error::{chown, chown_name, shell_quoted};
use crate::config::settings::{Config, mark_beside};
use crate::operations::start_failure::StartFailure;
use crate::store::durable::directory_of;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What the files of stores end in.
const EXTENSION: &str = "redb";

/// Directories beside a missing one that are looked into.
const MOST_NEIGHBOURS: usize = 1000;

/// A store that is missed, and the one that was found instead.
pub struct Misplaced {
    /// Where the configuration says.
    pub store: PathBuf,
    /// What lies elsewhere.
    pub found: PathBuf,
    /// The configuration's file.
    file: PathBuf,
    /// Where the setting stands in it; none where it does not.
    line: Option<usize>,
}

/// Looks for one, where there is no store at the place that `file`, else the machine's own configuration, says.
#[must_use]
pub fn find(config: &Config, file: Option<&Path>) -> Option<Misplaced> {
    let (store, own) = (&config.store.path, Path::new(DEFAULT_PATH));
    if store.symlink_metadata().is_ok() {
        return None;
    }
    let file = file.unwrap_or(own);
    let default = Config::default().store.path;
    let is_own = file == own && default.is_file();
    let found = is_own.then_some(default).or_else(|| nearest(store))?;
    let line = line_of(file, "store", "path");
    Some(Misplaced { store: store.clone(), found, file: file.to_owned(), line })
}

/// The store in the same directory, or, where that is missing too, of the same name in one beside it, whose name is most like
/// the one that is missed.
fn nearest(store: &Path) -> Option<PathBuf> {
    let directory = directory_of(store);
    let stores: Vec<PathBuf> = match directory.is_dir() {
        true => entries(directory).filter(|path| path.extension().is_some_and(|end| end == EXTENSION)).collect(),
        false => {
            let name = store.file_name()?;
            let beside = entries(directory.parent()?).map(|neighbour| neighbour.join(name));
            beside.filter(|path| mark_beside(path).is_file()).collect()
        }
    };
    let missed = store.to_string_lossy();
    let alike = |path: &PathBuf| strsim::jaro_winkler(&missed, &path.to_string_lossy());
    stores.into_iter().filter(|path| path.is_file()).max_by(|one, other| alike(one).total_cmp(&alike(other)))
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().take(MOST_NEIGHBOURS);
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

impl Misplaced {
    /// Why nothing is to be made or brought back before this is settled.
    #[must_use]
    pub fn failure(&self) -> StartFailure {
        let file = self.file.display();
        let setting = match self.line {
            Some(line) => format!("`path` under [store] (line {line} of {file}) names the wrong place"),
            None => format!("`path` under [store] is missing in {file}"),
        };
        let apart = self.apart().map(|way| format!("; if this is to be an installation of its own, {way}"));
        let ways = format!(
            "If that is this installation's, {setting}: correct it, and make or restore nothing; if that one is needed no more, \
             move it away{}",
            apart.unwrap_or_default()
        );
        StartFailure::StoreElsewhere { store: self.store.clone(), found: self.found.clone(), ways }
    }

    /// What a second installation on the machine needs: a directory that no other store lies in, of the same user. The
    /// machine's own configuration has none beside the store that it made.
    fn apart(&self) -> Option<String> {
        if self.file == Path::new(DEFAULT_PATH) {
            return None;
        }
        let beside = directory_of(&self.store);
        let owner = directory_of(&self.found).metadata().ok()?;
        let of = match owner.uid() {
            0 => None,
            uid => Some(format!("{}:{}", chown_name(uid), group_name(owner.gid()))),
        };
        let make = |directory: &Path| {
            let given = of.as_deref().map(|of| format!(" && {}", chown(of, directory))).unwrap_or_default();
            format!("`mkdir -m 700 {}{given}`", shell_quoted(directory))
        };
        Some(match beside.is_dir() {
            false => format!("give it its directory: {}", make(beside)),
            true => {
                let own = beside.join(self.store.file_stem()?).join(self.store.file_name()?);
                let directory = make(directory_of(&own));
                format!("give it a directory of its own: {directory} and, under [store], path = \"{}\"", own.display())
            }
        })
    }

    /// The command that corrects the setting.
    #[must_use]
    pub fn mend(&self) -> String {
        let file = shell_quoted(&self.file);
        let (wrong, right) = (self.store.to_string_lossy(), self.found.to_string_lossy());
        match self.line {
            Some(line) if is_plain(&wrong) && is_plain(&right) => {
                let wrong = wrong.replace('.', "\\.");
                format!("sed -i '{line}s|{wrong}|{right}|' {file} && servos-keyctl config check --config {file}")
            }
            line => service::edit(&self.file, line, "[store]: path", &format!("\"{right}\"")),
        }
    }
}

/// Whether a path means itself to sed and to a shell.
fn is_plain(path: &str) -> bool {
    path.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '/' | '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    fn configured(text: &str) -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("keyd.toml");
        let at = place.path().display();
        fs::write(&file, text.replace("PLACE", &at.to_string())).unwrap();
        fs::create_dir(place.path().join("state")).unwrap();
        (place, file)
    }

    fn found(file: &Path) -> Option<Misplaced> {
        find(&Config::load(Some(file)).unwrap(), Some(file))
    }

    #[test]
    fn a_slip_in_the_name_or_the_directory_is_told_with_its_line_and_mended_by_the_command() {
        for wrong in ["PLACE/state/stor.redb", "PLACE/stat/keyd.redb"] {
            let (place, file) =
                configured(&format!("# as it was\n[store]\ncreate = false\npath = \"{wrong}\" # here\n"));
            assert!(found(&file).is_none(), "there is none elsewhere");
            let store = place.path().join("state/keyd.redb");
            fs::write(&store, "").unwrap();
            fs::write(mark_beside(&store), "").unwrap();
            let misplaced = found(&file).unwrap();
            let said = misplaced.failure().to_string();
            let line = format!("(line 4 of {}) names the wrong place", file.display());
            assert!(said.contains(&line) && said.contains(&store.display().to_string()), "{said}");
            // The command that follows is of the installed package.
            let command = misplaced.mend();
            let (mend, _) = command.split_once(" && ").unwrap();
            assert!(Command::new("sh").args(["-c", mend]).status().unwrap().success(), "{mend}");
            assert!(found(&file).is_none(), "{mend}");
            assert_eq!(Config::load(Some(&file)).unwrap().store.path, store);
            assert!(fs::read_to_string(&file).unwrap().ends_with("\" # here\n"));
        }
    }

    #[test]
    fn a_second_installation_is_told_how_it_gets_a_directory_of_its_own_and_goes_on_then() {
        for (second, told) in [("PLACE/keyd-b/keyd.redb", "keyd-b"), ("PLACE/state/b.redb", "state/b")] {
            let (place, file) = configured(&format!("[store]\npath = \"{second}\"\n"));
            let first = place.path().join("state/keyd.redb");
            fs::write(&first, "").unwrap();
            fs::write(mark_beside(&first), "").unwrap();
            let said = found(&file).unwrap().failure().to_string();
            let (_, way) = said.split_once("if this is to be an installation of its own, ").unwrap();
            let (_, way) = way.split_once(": ").unwrap();
            let (command, path) = way.split_once(" and, under [store], ").unwrap_or((way, ""));
            let command = command.trim_matches('`');
            assert!(command.starts_with("mkdir -m 700 "), "{said}");
            assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
            assert!(place.path().join(told).is_dir(), "{command}");
            if !path.is_empty() {
                fs::write(&file, format!("[store]\n{path}\n")).unwrap();
            }
            assert!(found(&file).is_none(), "{said}");
        }
    }

    #[test]
    fn a_path_that_a_shell_would_read_otherwise_is_left_to_an_editor() {
        let (place, file) = configured("[store]\npath = \"PLACE/state/it's.redb\"\n");
        fs::write(place.path().join("state/keyd.redb"), "").unwrap();
        let mend = found(&file).unwrap().mend();
        assert!(mend.starts_with("\"${EDITOR:-vi}\" +2 ") && mend.ends_with("state/keyd.redb\""), "{mend}");
    }

    #[test]
    fn a_setting_that_was_lost_is_told_as_missing() {
        let misplaced = Misplaced {
            store: "/var/lib/servos-keyd/keyd.redb".into(),
            found: "/var/lib/servos-keyd/own.redb".into(),
            file: DEFAULT_PATH.into(),
            line: None,
        };
        assert!(misplaced.failure().to_string().contains("`path` under [store] is missing in /etc/servos/keyd.toml"));
        assert!(misplaced.mend().ends_with("# under [store]: path = \"/var/lib/servos-keyd/own.redb\""));
    }
}
