//! Tests of `config::key_source`: which sources are found, in which order, and every content that is no key.
//!
//! Must never touch the process's own environment: other tests run beside it.
//! Run as `config::key_source::tests`.

use std::os::unix::fs::OpenOptionsExt;

use tempfile::TempDir;

use super::super::key_file::tests::on_disk;
use super::super::key_source_error::FaultClass;
use super::*;

const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const BASE64: &str = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";

fn write(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, content.as_ref()).unwrap();
    path
}

fn sources(key_files: Vec<PathBuf>, credentials_directory: Option<&TempDir>) -> Sources {
    let trust = Trust {
        credentials_directory: credentials_directory.map(|directory| directory.path().to_owned()),
        allow_readable: false,
        daemon_uid: nix::unistd::geteuid().as_raw(),
        daemon_gid: nix::unistd::getegid().as_raw(),
    };
    Sources { key_files, environment_key: Vec::new(), trust }
}

fn in_memory(text: &str, memory: &LockedMemory) -> LockedBuffer {
    let mut buffer = memory.buffer(text.len()).unwrap();
    buffer.expose_spare_mut().copy_from_slice(text.as_bytes());
    buffer.advance(text.len());
    buffer
}

fn text(source: &KeySource) -> &str {
    std::str::from_utf8(source.text.expose_bytes()).unwrap()
}

/// Reads one file with `content`; the name and text of each source, or the fault.
fn read(content: impl AsRef<[u8]>) -> Result<Vec<(Option<&'static str>, String)>, KeySourceError> {
    let (directory, memory) = (on_disk(), LockedMemory::new().unwrap());
    let path = write(&directory, "key", content);
    let read = sources(vec![path], None).read(&memory)?;
    Ok(read.iter().map(|source| (source.variable, text(source).to_owned())).collect())
}

#[test]
fn a_key_alone_in_a_file_is_read_without_what_surrounds_it() {
    for key in [HEX, BASE64, "n4bQgYhMfWWaLAqgxVrQFaOATxsrC4Is0V1sFbDwCgg="] {
        for content in [key.to_owned(), format!("{key}\n"), format!("{key}\r\n"), format!("\n \t{key} \r\n\n")] {
            assert_eq!(read(&content).unwrap(), [(None, key.to_owned())], "{content:?}");
        }
    }
}

#[test]
fn one_word_that_is_no_key_is_left_to_the_parser_of_keys() {
    for word in [format!("\"{HEX}\""), format!("\"{BASE64}\""), "short".to_owned(), "1234=".to_owned()] {
        assert_eq!(read(&word).unwrap(), [(None, word.clone())]);
    }
}

#[test]
fn an_env_file_yields_the_value_of_either_name() {
    for (content, variable) in [
        (format!("SERVOS_MASTER_KEY={HEX}"), "SERVOS_MASTER_KEY"),
        (format!("PORT=80\r\nexport SERVOS_MASTER_KEY=\"{HEX}\" \r\n"), "SERVOS_MASTER_KEY"),
        (format!("# key\nACT_MASTER_KEY='{HEX}'\n"), "ACT_MASTER_KEY"),
        (format!("SERVOS_MASTER_KEY=\" {HEX} \"\n"), "SERVOS_MASTER_KEY"),
    ] {
        assert_eq!(read(&content).unwrap(), [(Some(variable), HEX.to_owned())], "{content:?}");
    }
    assert_eq!(read(format!("SERVOS_MASTER_KEY={BASE64}")).unwrap()[0].1, BASE64);
}

#[test]
fn both_names_in_one_file_are_two_sources() {
    let read = read(format!("ACT_MASTER_KEY={HEX}\nSERVOS_MASTER_KEY={BASE64}\n")).unwrap();
    assert_eq!(read, [(Some("SERVOS_MASTER_KEY"), BASE64.to_owned()), (Some("ACT_MASTER_KEY"), HEX.to_owned())]);
}

#[test]
fn contents_that_hold_no_key_have_their_own_words_and_never_show_themselves() {
    for (content, words) in [
        (b"".to_vec(), "is empty"),
        (b" \r\n\t\n".to_vec(), "is empty"),
        (b"SERVOS_MASTER_KEY=".to_vec(), "line 1 leaves SERVOS_MASTER_KEY empty"),
        (b"X=1\nSERVOS_MASTER_KEY=\"\"\n".to_vec(), "line 2 leaves SERVOS_MASTER_KEY empty"),
        (b"X=1\nSERVOS_MASTER_KEY=\" \"\n".to_vec(), "line 2 leaves SERVOS_MASTER_KEY empty"),
        (format!("ACT_MASTER_KEY=\nSERVOS_MASTER_KEY={HEX}").into_bytes(), "line 1 leaves ACT_MASTER_KEY empty"),
        (format!("OTHER={HEX}\n").into_bytes(), "neither a key alone nor a line SERVOS_MASTER_KEY="),
        (format!("# only\n{HEX}\n").into_bytes(), "neither a key alone"),
        (format!("{HEX} {HEX}").into_bytes(), "neither a key alone"),
        (format!("SERVOS_MASTER_KEY={HEX}\0").into_bytes(), "a NUL byte"),
        (HEX.bytes().flat_map(|byte| [byte, 0]).collect(), "a NUL byte"),
        (vec![0; 32], "a NUL byte"),
        (format!("\u{feff}{HEX}").into_bytes(), "a byte order mark"),
        (format!("SERVOS_MASTER_KEY=\"{HEX}\n").into_bytes(), "the quote opened on line 1 is never closed"),
    ] {
        let fault = read(&content).expect_err(words);
        let told = format!("{fault} {fault:?}");
        assert!(told.contains(words), "{told}");
        assert!(!told.contains(&HEX[..8]), "the key is shown: {told}");
        assert_eq!(fault.class(), FaultClass::Malformed);
    }
}

#[test]
fn sources_are_read_in_their_order_each_with_its_name() {
    let (credentials, files, memory) = (on_disk(), on_disk(), LockedMemory::new().unwrap());
    for (name, content) in [
        ("act.env", format!("ACT_MASTER_KEY={HEX}")),
        ("servos.env", format!("SERVOS_MASTER_KEY={HEX}")),
        ("act_master_key", HEX.to_owned()),
        ("servos_master_key", HEX.to_owned()),
        ("another", "not asked for".to_owned()),
    ] {
        write(&credentials, name, content);
    }
    let bare = write(&files, "master.key", HEX);
    let env = write(&files, "servos.env", format!("SERVOS_MASTER_KEY={HEX}"));
    let mut sources = sources(vec![bare.clone(), env.clone()], Some(&credentials));
    sources.environment_key.push(("SERVOS_MASTER_KEY", in_memory(HEX, &memory)));

    let read = sources.read(&memory).unwrap();
    let names: Vec<&str> = read.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "credential servos_master_key",
            "credential act_master_key",
            "credential servos.env (SERVOS_MASTER_KEY)",
            "credential act.env (ACT_MASTER_KEY)",
            &bare.display().to_string(),
            &format!("{} (SERVOS_MASTER_KEY)", env.display()),
            "environment SERVOS_MASTER_KEY",
        ]
    );
    let kinds: Vec<SourceKind> = read.iter().map(|source| source.kind).collect();
    assert_eq!(kinds[..4], [SourceKind::Credential; 4]);
    assert_eq!(kinds[4..], [SourceKind::File, SourceKind::File, SourceKind::Environment]);
    assert!(read.iter().all(|source| text(source) == HEX));
    assert_eq!(read[4].path, Some(bare));
}

#[test]
fn a_variable_that_names_a_credential_adds_no_second_source() {
    let (credentials, memory) = (on_disk(), LockedMemory::new().unwrap());
    let path = write(&credentials, "servos_master_key", HEX);
    let read = sources(vec![path.clone(), path], Some(&credentials)).read(&memory).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].kind, SourceKind::Credential);
}

#[test]
fn a_credential_under_a_name_of_its_own_is_known_as_one() {
    let (credentials, memory) = (on_disk(), LockedMemory::new().unwrap());
    let path = write(&credentials, "my-key", HEX);
    let read = sources(vec![path], Some(&credentials)).read(&memory).unwrap();
    assert_eq!(read[0].kind, SourceKind::Credential);
}

#[test]
fn the_environment_can_be_read_again_and_says_who_else_holds_the_key() {
    let memory = LockedMemory::new().unwrap();
    let mut sources = sources(Vec::new(), None);
    sources.environment_key.push(("ACT_MASTER_KEY", in_memory(&format!(" {HEX}\r\n"), &memory)));
    for _ in 0..2 {
        let read = sources.read(&memory).unwrap();
        assert_eq!((read[0].name.as_str(), text(&read[0])), ("environment ACT_MASTER_KEY", HEX));
        assert!(read[0].warnings[0].to_string().contains("still holds the key"));
    }
    sources.environment_key.push(("SERVOS_MASTER_KEY", in_memory(" ", &memory)));
    assert!(matches!(sources.read(&memory), Err(KeySourceError::Empty { .. })));
}

#[test]
fn without_any_source_there_is_no_key() {
    let (credentials, memory) = (on_disk(), LockedMemory::new().unwrap());
    for sources in [sources(Vec::new(), None), sources(Vec::new(), Some(&credentials))] {
        let fault = sources.read(&memory).unwrap_err();
        assert!(matches!(fault, KeySourceError::NoSource));
        assert_eq!(fault.class(), FaultClass::NotFound);
    }
}

#[test]
fn a_credential_that_systemd_did_not_find_is_told_only_where_nothing_else_brings_a_key() {
    let (credentials, memory) = (on_disk(), LockedMemory::new().unwrap());
    write(&credentials, "servos.env", NOT_FOUND);
    let fault = sources(Vec::new(), Some(&credentials)).read(&memory).unwrap_err();
    assert!(matches!(fault, KeySourceError::NotDelivered { .. }), "{fault}");
    assert_eq!(fault.class(), FaultClass::NotFound);
    assert!(fault.to_string().starts_with("credential servos.env: ") && fault.to_string().contains("LoadCredential="));
    let elsewhere = on_disk();
    let file = write(&elsewhere, "master.key", HEX);
    assert_eq!(sources(vec![file], Some(&credentials)).read(&memory).unwrap().len(), 1);
    // The words mean it in a credential alone.
    let other = write(&elsewhere, "other.key", NOT_FOUND);
    let fault = sources(vec![other], None).read(&memory).unwrap_err();
    assert!(matches!(fault, KeySourceError::NoKeyInside { .. }), "{fault}");
}

#[test]
fn every_credential_that_the_units_load_may_be_missing() {
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd/");
    for unit in ["servos-keyd.service", "drop-ins/key-file.conf", "drop-ins/encrypted-credential.conf"] {
        let text = std::fs::read_to_string(format!("{packaging}{unit}")).unwrap();
        let assigned = |key: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            lines.filter_map(|value| value.split_once(':')).collect::<Vec<_>>()
        };
        let mut loaded = assigned("LoadCredential");
        loaded.extend(assigned("LoadCredentialEncrypted"));
        let names: Vec<_> = loaded.iter().map(|(name, _)| (*name, NOT_FOUND)).collect();
        assert!(!names.is_empty() && names == assigned("SetCredential"), "{unit}: {names:?}");
        assert!(names.iter().all(|(name, _)| CREDENTIALS.contains(name)), "{unit}");
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error_even_beside_a_good_source() {
    let (credentials, memory) = (on_disk(), LockedMemory::new().unwrap());
    write(&credentials, "servos_master_key", HEX);
    let missing = credentials.path().join("gone").join("master.key");
    let fault = sources(vec![missing], Some(&credentials)).read(&memory).unwrap_err();
    assert!(matches!(fault, KeySourceError::Missing { .. }), "{fault}");
}

#[test]
fn a_key_in_place_of_a_path_is_not_repeated() {
    for planted in [HEX, BASE64, BASE64.trim_end_matches('=')] {
        let fault = path_in("SERVOS_MASTER_KEY_FILE", Some(planted.into())).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains(&planted[..8]), "{fault}");
    }
    for path in ["/etc/servos/servos.env", "key", "/run/credentials/servos-keyd.service/servos_master_key"] {
        assert_eq!(path_in("SERVOS_MASTER_KEY_FILE", Some(path.into())).unwrap(), Some(PathBuf::from(path)));
    }
    assert_eq!(path_in("SERVOS_MASTER_KEY_FILE", Some(OsString::new())).unwrap(), None);
    assert_eq!(path_in("SERVOS_MASTER_KEY_FILE", None).unwrap(), None);
}

#[test]
fn debug_shows_no_text() {
    let memory = LockedMemory::new().unwrap();
    let mut sources = sources(Vec::new(), None);
    sources.environment_key.push(("SERVOS_MASTER_KEY", in_memory(HEX, &memory)));
    let read = sources.read(&memory).unwrap();
    assert!(!format!("{sources:?} {read:?}").contains(&HEX[..8]));
}

#[test]
fn a_variable_with_two_values_is_warned_of_and_the_last_one_counts() {
    let directory = tempfile::tempdir().unwrap();
    let memory = LockedMemory::new().unwrap();
    let cases = [
        ("SERVOS_MASTER_KEY=first\n\nSERVOS_MASTER_KEY=second\n", Some("lines 1 and 3")),
        ("SERVOS_MASTER_KEY=second\nSERVOS_MASTER_KEY=\"second\"\n", None),
        ("SERVOS_MASTER_KEY=a\nSERVOS_MASTER_KEY=second\nSERVOS_MASTER_KEY=second\n", Some("lines 1 and 3")),
    ];
    for (content, words) in cases {
        let path = write(&directory, "servos.env", content);
        let found = sources(vec![path], None).read(&memory).unwrap();
        assert_eq!(text(&found[0]), "second");
        let is_twice = |warning: &&Warning| matches!(warning, Warning::DefinedTwice(_));
        let warned: Vec<String> = found[0].warnings.iter().filter(is_twice).map(ToString::to_string).collect();
        assert_eq!(warned.len(), usize::from(words.is_some()), "{content}");
        assert!(warned.iter().all(|warning| warning.contains(words.unwrap_or_default())), "{warned:?}");
    }
}

#[test]
fn words_of_a_recovery_kit_are_told_from_a_key_and_from_an_env_file() {
    let words = "gallery duckling academic romp learn deadline ".repeat(5) + "again flash pupal";
    let numbered: String = (1..).zip(words.split(' ')).map(|(at, word)| format!("  {at:2} {word}\n")).collect();
    let sheet = format!("RECOVERY KIT\n\n----- BEGIN SHARE 1 of 1, 1 needed -----\n{numbered}----- END SHARE\nA=1\n");
    for content in [words.as_str(), &numbered, &sheet] {
        let refused = read(content).unwrap_err();
        assert!(matches!(refused, KeySourceError::Words { .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("servos-keyctl recover --share") && !said.contains("duckling"), "{said}");
    }
    // The words of a comment are not all that an env file holds.
    let comment = format!("# {words}\nSERVOS_MASTER_KEY={HEX}\n");
    assert_eq!(read(comment).unwrap(), [(Some("SERVOS_MASTER_KEY"), HEX.to_owned())]);
    assert!(matches!(read("a few words only").unwrap_err(), KeySourceError::NoKeyInside { .. }));
}
