//! A key that somebody typed on a command line.
//!
//! Must never let a text that holds one be repeated: what a command prints ends in logs and on screens.
//! Called by both binaries, before they print what the parser says, and by what takes files and fingerprints.

use super::exit;
use super::failure::Failure;
use crate::config::key_text::{holds_base64_key, holds_hex_key, holds_key_for_path};
use crate::custody::shares::words::is_word;
use clap::{ArgMatches, Parser};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What to do about a key that was typed.
pub const IN_HISTORY: &str = "what you typed stands in the shell's history now: delete it there";

/// Whether a text is, by its form, a key.
pub fn looks_like_key(text: &str) -> bool {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex || (text.len() == 44 && text.ends_with('='))
}

/// Refuses a text of the parser that repeats a key, alone or behind a variable's name, or a share.
///
/// # Errors
/// 64, with no word of the text.
pub fn refuse_shown(text: &str) -> Result<(), Failure> {
    let what = match (shows_key(text), holds_share(text)) {
        (true, _) => "a key",
        (_, true) => "a share",
        _ => return Ok(()),
    };
    let message = format!("{what} was typed as an argument, and none is taken so");
    Err(Failure::say(exit::USAGE, message).with_hint(IN_HISTORY))
}

fn shows_key(text: &str) -> bool {
    holds_hex_key(text) || holds_base64_key(text)
}

/// Parses a command line, and says whether a key stands in the place of a path: whatever is done with it would repeat it.
///
/// # Errors
/// What clap says of it.
pub fn parsed<A: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(A, Result<(), Failure>), clap::Error> {
    let matches = A::command().try_get_matches_from(arguments)?;
    Ok((A::from_arg_matches(&matches)?, refuse_in_paths(&matches)))
}

fn refuse_in_paths(matches: &ArgMatches) -> Result<(), Failure> {
    let paths = matches.ids().filter_map(|id| matches.try_get_many::<PathBuf>(id.as_str()).ok().flatten());
    paths.flatten().try_for_each(|path| refuse_as_path(path))?;
    matches.subcommand().map_or(Ok(()), |(_, matches)| refuse_in_paths(matches))
}

/// Refuses a key that somebody typed in place of a file's name.
///
/// # Errors
/// 64, with no word of it.
pub fn refuse_as_path(file: &Path) -> Result<(), Failure> {
    if holds_share(&file.to_string_lossy()) && !file.exists() {
        let message = "a share was typed where the name of a file belongs, not the share itself";
        return Err(Failure::say(exit::USAGE, message).with_hint(IN_HISTORY));
    }
    if !holds_key_for_path(file) {
        return Ok(());
    }
    let failure = Failure::say(exit::USAGE, "a key was typed where the name of a file belongs, not the key itself");
    Err(failure.with_hint(IN_HISTORY))
}

/// Some words of a share one behind the other, numbered or not, which nobody writes by chance.
fn holds_share(text: &str) -> bool {
    const TOO_MANY: usize = 6;
    let mut run = 0;
    text.split(|one: char| !one.is_ascii_alphabetic()).filter(|part| !part.is_empty()).any(|part| {
        run = if is_word(part.as_bytes()) { run + 1 } else { 0 };
        run == TOO_MANY
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_what_is_said_of_an_argument() {
        let keys = ["0123456789abcdef".repeat(4), format!("{}=", "aB3/".repeat(10) + "aB3")];
        for key in &keys {
            for text in
                [format!("unexpected argument '{key}' found"), format!("'SERVOS_MASTER_KEY={key}'"), key.clone()]
            {
                assert!(shows_key(&text), "{text}");
            }
            for text in [format!("'x{key}'"), format!("0x{key}"), format!("{key}.next"), format!("é{key}é")] {
                assert!(shows_key(&text), "{text}");
            }
            assert!(!shows_key(&key[1..]));
        }
        assert!(!shows_key("unexpected argument '--generat' found"));
        assert!(!shows_key("servos-keyctl rotate begin --fingerprint 0123456789abcdef"));
    }

    #[test]
    fn a_key_in_the_place_of_a_file_s_name_is_refused_and_not_repeated() {
        let key = "0123456789abcdef".repeat(4);
        let failure = refuse_as_path(Path::new(&key)).unwrap_err();
        assert_eq!((failure.exit, failure.hint.as_deref()), (exit::USAGE, Some(IN_HISTORY)));
        assert!(!failure.message.contains("0123"), "{}", failure.message);
        assert!(refuse_as_path(Path::new("/etc/servos/master.key")).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let base64 = format!("{}=", "aB3/".repeat(10) + "aB3");
        for typed in [&key, &base64] {
            for name in [format!("x{typed}"), format!("0x{typed}"), format!("{typed}.next"), format!("{typed}/key")] {
                assert!(
                    refuse_as_path(Path::new(&name)).is_err() && refuse_as_path(&dir.path().join(&name)).is_err(),
                    "{name}"
                );
            }
        }
        let named_by_hash = dir.path().join(format!("x{key}"));
        std::fs::create_dir(&named_by_hash).unwrap();
        assert!(refuse_as_path(&named_by_hash.join("missing.key")).is_ok(), "a directory that is there is one");
        let deep = dir.path().join("backups/of/production/machines/in/the/cellar");
        std::fs::create_dir_all(&deep).unwrap();
        assert!(refuse_as_path(&deep.join("day=20261129.skb1")).is_ok(), "nor is it with what is to lie in it");
        let like_a_path = format!("/{}aB=", "aB3/".repeat(10));
        assert_eq!(like_a_path.len(), 44);
        assert!(refuse_as_path(Path::new(&like_a_path)).is_err(), "a key that begins with the root's name");
        std::fs::write(dir.path().join(&key), b"").unwrap();
        assert!(refuse_as_path(&dir.path().join(&key)).is_ok(), "a file that is there is a file");
    }

    #[test]
    fn a_share_in_the_place_of_a_file_s_name_is_refused_and_not_repeated() {
        let share = "duckling enlarge academic academic agency result length";
        let numbered: String = (1..).zip(share.split(' ')).map(|(number, word)| format!("{number}. {word} ")).collect();
        let together = numbered.replace(". ", "");
        for typed in [share.to_owned(), share.to_uppercase(), share.replace(' ', "-"), numbered, together] {
            let failure = refuse_as_path(Path::new(&typed)).unwrap_err();
            assert_eq!((failure.exit, failure.hint.as_deref()), (exit::USAGE, Some(IN_HISTORY)));
            assert!(!failure.message.contains("agency"), "{}", failure.message);
            let told = refuse_shown(&format!("unexpected argument '{typed}' found")).unwrap_err();
            assert!(told.message.starts_with("a share was typed") && !told.message.contains("agency"));
        }
        assert!(refuse_shown("unexpected argument 'academic' found: agency result").is_ok());
        assert!(refuse_as_path(Path::new("/mnt/usb/share of the academic agency.txt")).is_ok());
    }
}
