//! The command that makes a key of what is nearly one, or a file that holds one safe.
//!
//! Must never keep a byte of the key, nor have one printed: it is changed where it stands.
//! Called by `key_sources`.

use crate::config::key_source_error::{KeySourceError, chown, chown_name, shell_quoted};
use crate::custody::keys::{Malformed, MasterKey};
use crate::sys::locked::LockedMemory;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What nobody but a file's owner needs of a key.
pub(super) const EXPOSED_BITS: u32 = 0o066;

/// More than a key has with a blank between any two of its characters.
const MOST_BROKEN_BYTES: usize = 512;

/// For a file of whose owner and mode a start complains. One that systemd reads is root's.
pub(super) fn owner_and_mode(path: &Path, daemon_uid: u32, by_systemd: bool) -> String {
    let quoted = shell_quoted(path);
    let owner = if by_systemd { "root:root".to_owned() } else { chown_name(daemon_uid) };
    let mut commands = Vec::new();
    if let Ok(found) = path.metadata() {
        if found.uid() != 0 && found.uid() != daemon_uid {
            commands.push(chown(&owner, path));
        }
        // Root's file of mode 600 is closed to a daemon that opens it itself.
        if found.uid() == 0 && daemon_uid != 0 && !by_systemd {
            commands.push(chown(&owner, path));
        }
        if found.mode() & EXPOSED_BITS != 0 {
            commands.push(format!("chmod 600 {quoted}"));
        }
    }
    if commands.is_empty() { format!("ls -l {quoted}") } else { commands.join(" && ") }
}

/// For a file that holds neither a key nor an env file with one.
pub(super) fn of_file(error: &KeySourceError, path: &Path, memory: &LockedMemory) -> String {
    let file = shell_quoted(path);
    match error {
        KeySourceError::ByteOrderMark { .. } => format!("sed -i '1s/^\\xEF\\xBB\\xBF//' {file}"),
        KeySourceError::Words { .. } => format!(
            "servos-keyctl recover --share {file} --out {file}.key # once more --share for each other share that is needed"
        ),
        // An env file holds other things, which no command of ours may touch.
        _ if is_env_file(path) => line_of("SERVOS_MASTER_KEY", path),
        KeySourceError::NoKeyInside { .. } if is_broken_key(path, memory) => {
            format!(
                "sed -i -z 's/[[:space:]]//g' {file} # it holds the key alone, broken over lines or with blanks in it"
            )
        }
        KeySourceError::NoKeyInside { .. }
        | KeySourceError::UnclosedQuote { .. }
        | KeySourceError::EmptyValue { .. } => line_of("SERVOS_MASTER_KEY", path),
        _ => back(path),
    }
}

/// For a text that is no key; `variable` is that of an env file.
pub(super) fn of_text(problem: Malformed, variable: Option<&str>, path: Option<&Path>) -> String {
    let Some(path) = path else {
        return format!("unset {}", variable.unwrap_or("SERVOS_MASTER_KEY"));
    };
    let file = shell_quoted(path);
    let on = |bare: &str, assigned: &str| match variable {
        None => format!("sed -i '{bare}' {file}"),
        Some(variable) => format!("sed -i '/{variable}=/{assigned}' {file}"),
    };
    match problem {
        Malformed::Quoted => on("s/[\"'\\'']//g", "s/[\"'\\'']//g"),
        Malformed::Blanks => on("s/[[:space:]]//g", "s/=[[:space:]]*/=/"),
        Malformed::HexPrefix => on("s/0[xX]//", "s/=0[xX]/=/"),
        Malformed::Unpadded => on("s/$/=/", "s/[[:space:]]*$/=/"),
        Malformed::UrlAlphabet => on("y,-_,+/,", "{s/=/\\n/;h;s/.*\\n//;y,-_,+/,;x;s/\\n.*//;G;s/\\n/=/}"),
        Malformed::Raw { bytes: 32 } if variable.is_none() => format!(
            "(umask 077; set -C; od -An -v -tx1 {file} | tr -d ' \\n' > {file}.hex) && chown --reference={file} {file}.hex && mv {file}.hex {file}"
        ),
        _ => variable.map_or_else(|| back(path), |variable| line_of(variable, path)),
    }
}

/// Whether what a file holds is a key, and nothing else, but for its blanks and line ends.
fn is_broken_key(path: &Path, memory: &LockedMemory) -> bool {
    let (Ok(mut file), Ok(mut content)) = (File::open(path), memory.buffer(MOST_BROKEN_BYTES)) else { return false };
    if !content.read_from(&mut file).unwrap_or(false) {
        return false;
    }
    let Ok(mut joined) = memory.buffer(content.len()) else { return false };
    for word in content.expose_bytes().split(u8::is_ascii_whitespace) {
        joined.append(word);
    }
    MasterKey::parse(joined.expose_bytes(), memory).is_ok()
}

/// Known by its name, as nothing of it may be read here.
fn is_env_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "env") || path.file_name().is_some_and(|name| name == ".env")
}

/// One line of a file whose others are somebody else's.
fn line_of(variable: &str, path: &Path) -> String {
    let file = shell_quoted(path);
    format!(
        "\"${{EDITOR:-vi}}\" {file} # put the key that is kept elsewhere into its line {variable}=, leave every other line, and \
         try it: servos-keyctl check-key --key-file {file}"
    )
}

/// For a file that holds a key, and not the right one.
pub(super) fn of_wrong(path: &Path) -> String {
    if is_env_file(path) { line_of("SERVOS_MASTER_KEY", path) } else { back(path) }
}

/// What was lost no command finds again: from paper, or from where a copy is kept.
fn back(path: &Path) -> String {
    let file = shell_quoted(path);
    format!(
        "mv --backup=numbered {file} {file}.wrong && servos-keyctl recover --typed --out {file} # or bring back the copy that \
         is kept, and try it: servos-keyctl check-key --key-file {file}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const HEX: &str = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";
    const BASE64: &str = "ex0+yiL6hL7kfj0crC1oj0uNNtNz3H6HSn8rZ59hhss=";

    /// What a file holds after the command that mends it was run on it.
    fn mended(problem: Malformed, variable: Option<&str>, before: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("the key's file");
        std::fs::write(&file, before).unwrap();
        let command = of_text(problem, variable, Some(&file));
        let done = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}");
        std::fs::read_to_string(&file).unwrap()
    }

    #[test]
    fn each_command_makes_of_a_near_miss_the_key_that_was_meant_and_touches_nothing_else() {
        let url = BASE64.replace('+', "-").replace('/', "_");
        for (problem, text, key) in [
            (Malformed::Quoted, format!("\"{HEX}\""), HEX),
            (Malformed::Quoted, format!("'{BASE64}'"), BASE64),
            (Malformed::HexPrefix, format!("0x{HEX}"), HEX),
            (Malformed::Unpadded, BASE64.trim_end_matches('=').to_owned(), BASE64),
            (Malformed::UrlAlphabet, url, BASE64),
        ] {
            assert_eq!(mended(problem, None, format!("{text}\n").as_bytes()), format!("{key}\n"), "{problem:?}");
            let around = |text: &str| format!("A_B=\"c d-e\"\nSERVOS_MASTER_KEY={text}\nF-G_H='0x1'\n");
            let env = mended(problem, Some("SERVOS_MASTER_KEY"), around(&text).as_bytes());
            assert_eq!(env, around(key), "{problem:?}");
        }
        let raw: Vec<u8> = (129..161).collect();
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(mended(Malformed::Raw { bytes: 32 }, None, &raw), hex);
    }

    #[test]
    fn a_key_that_is_broken_over_lines_is_put_together() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let (first, second) = HEX.split_at(30);
        std::fs::write(&file, format!("{first}\n{second} \n")).unwrap();
        let (memory, error) = (LockedMemory::new().unwrap(), KeySourceError::NoKeyInside { place: String::new() });
        let command = of_file(&error, &file, &memory);
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), HEX);
        // An env file of any name has other lines, which are left alone.
        for text in ["DATABASE_URL=x\nPORT=1\n".to_owned(), format!("{first}\n{second}\nPORT=1\n"), "a b\n".to_owned()]
        {
            std::fs::write(&file, &text).unwrap();
            let command = of_file(&error, &file, &memory);
            assert!(command.starts_with("\"${EDITOR:-vi}\" ") && !command.contains(first), "{command}");
        }
    }

    #[test]
    fn what_no_command_can_find_again_is_brought_back_beside_what_is_there() {
        for problem in [Malformed::HexDigits { digits: 63 }, Malformed::Base64Of { bytes: 33 }, Malformed::AllEqual] {
            let said = of_text(problem, None, Some(Path::new("/k")));
            assert!(
                said.starts_with("mv --backup=numbered /k /k.wrong && servos-keyctl recover --typed --out /k"),
                "{said}"
            );
        }
        assert_eq!(of_text(Malformed::Quoted, Some("ACT_MASTER_KEY"), None), "unset ACT_MASTER_KEY");
    }
}
