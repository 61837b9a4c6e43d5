//! Tests of `config::next_key`: each defect of a `.next`, which key files have one, and where it is to be made.
//!
//! Must never depend on the machine: files lie beside the test's own program, which is on no tmpfs.
//! Run as `config::next_key::tests`.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::super::key_file::tests::on_disk;
use super::super::key_source::{SourceKind, Trust};
use super::super::key_source_error::FaultClass;
use super::*;

const OLD: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const NEW: &str = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";

fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn sources(key_files: &[&Path], credentials_directory: Option<&Path>) -> Sources {
    let trust = Trust {
        credentials_directory: credentials_directory.map(Path::to_owned),
        allow_readable: false,
        daemon_uid: nix::unistd::geteuid().as_raw(),
        daemon_gid: nix::unistd::getegid().as_raw(),
    };
    let key_files = key_files.iter().map(|path| path.to_path_buf()).collect();
    Sources { key_files, environment_key: Vec::new(), trust }
}

type Found = Vec<(String, SourceKind, String)>;

fn read(sources: &Sources) -> Result<Found, KeySourceError> {
    let found = sources.read_next(&LockedMemory::new().unwrap())?;
    let text = |source: &KeySource| String::from_utf8(source.text.expose_bytes().to_vec()).unwrap();
    Ok(found.iter().map(|source| (source.name.clone(), source.kind, text(source))).collect())
}

/// What is read beside a key file `master.key`, in a directory that `make` puts the `.next` into.
fn beside(make: impl FnOnce(&Path)) -> (TempDir, Result<Found, KeySourceError>) {
    let directory = on_disk();
    let file = directory.path().join("master.key");
    write(&file, OLD, 0o600);
    make(&directory.path().join("master.key.next"));
    let read = read(&sources(&[&file], None));
    (directory, read)
}

#[test]
fn a_bare_key_or_the_lines_of_an_env_file_are_read_as_in_the_key_file() {
    for (content, expected) in [
        (NEW.to_owned(), vec![("", NEW)]),
        (format!(" {NEW}\r\n"), vec![("", NEW)]),
        (format!("SERVOS_MASTER_KEY={NEW}\n"), vec![(" (SERVOS_MASTER_KEY)", NEW)]),
        (format!("PORT=80\r\nexport SERVOS_MASTER_KEY='{OLD}'\r\n"), vec![(" (SERVOS_MASTER_KEY)", OLD)]),
        (
            format!("ACT_MASTER_KEY={OLD}\nSERVOS_MASTER_KEY={NEW}\n"),
            vec![(" (SERVOS_MASTER_KEY)", NEW), (" (ACT_MASTER_KEY)", OLD)],
        ),
        // Whether it is a key is for the parser of keys to say.
        ("short".to_owned(), vec![("", "short")]),
    ] {
        let (directory, read) = beside(|next| write(next, &content, 0o600));
        let place = directory.path().join("master.key.next").display().to_string();
        let name = |part: &str| format!("{place}{part}");
        let expected: Found =
            expected.into_iter().map(|(part, text)| (name(part), SourceKind::File, text.to_owned())).collect();
        assert_eq!(read.unwrap(), expected, "{content:?}");
    }
}

type Make = fn(&Path);

#[test]
fn what_is_wrong_with_it_is_said_of_it_as_of_a_key_file_and_nothing_of_it_is_shown() {
    use FaultClass::{Malformed, NotPermitted};
    let cases: [(Make, FaultClass, &str); 14] = [
        (|next| write(next, "", 0o600), Malformed, "is empty"),
        (|next| write(next, " \r\n", 0o600), Malformed, "is empty"),
        (|next| write(next, NEW, 0o644), NotPermitted, "others can read it (mode 0644): chmod 600"),
        (|next| write(next, NEW, 0o620), NotPermitted, "others can change it (mode 0620): chmod 600"),
        (|next| nix::unistd::mkfifo(next, Mode::from_bits_truncate(0o600)).unwrap(), Malformed, "is a FIFO"),
        (|next| drop(UnixListener::bind(next).unwrap()), Malformed, "is a socket or a device"),
        (|next| std::fs::create_dir(next).unwrap(), Malformed, "is a directory"),
        (|next| symlink("/dev/null", next).unwrap(), Malformed, "is a device"),
        (|next| write(next, vec![b'x'; 65 * 1024], 0o600), Malformed, "is larger than 65536 bytes"),
        (|next| write(next, [0; 32], 0o600), Malformed, "a NUL byte"),
        (|next| write(next, format!("\u{feff}{NEW}"), 0o600), Malformed, "a byte order mark"),
        (|next| write(next, "SERVOS_MASTER_KEY=\n", 0o600), Malformed, "line 1 leaves SERVOS_MASTER_KEY empty"),
        (|next| write(next, format!("OTHER={NEW}\n"), 0o600), Malformed, "neither a key alone nor a line"),
        (|next| write(next, format!("SERVOS_MASTER_KEY=\"{NEW}\n"), 0o600), Malformed, "line 1 is never closed"),
    ];
    for (make, class, words) in cases {
        let (directory, read) = beside(make);
        let fault = read.expect_err(words);
        let told = format!("{fault} {fault:?}");
        assert!(told.contains(words), "{told}");
        assert!(told.contains(&directory.path().join("master.key.next").display().to_string()), "{told}");
        assert!(!told.contains(&NEW[..8]), "the key is shown: {told}");
        assert_eq!(fault.class(), class, "{told}");
    }
}

#[test]
fn one_that_is_not_there_is_left_out_and_the_key_file_itself_is_not_read() {
    let (_directory, read) = beside(|_| ());
    assert_eq!(read.unwrap(), []);
    let (_directory, read) = beside(|next| symlink("gone", next).unwrap());
    assert_eq!(read.unwrap(), []);
    let directory = on_disk();
    let (missing, next) = (directory.path().join("servos.env"), directory.path().join("servos.env.next"));
    write(&next, NEW, 0o600);
    assert_eq!(self::read(&sources(&[&missing], None)).unwrap().len(), 1);
    let nowhere = directory.path().join("none").join("servos.env");
    assert_eq!(self::read(&sources(&[&nowhere], None)).unwrap(), []);
}

#[test]
fn a_symbolic_link_is_followed_and_judged_by_where_it_leads() {
    let (directory, read) = beside(|next| {
        write(&next.with_file_name("elsewhere"), NEW, 0o600);
        symlink("elsewhere", next).unwrap();
    });
    assert_eq!(read.unwrap()[0].2, NEW);
    write(&directory.path().join("elsewhere"), NEW, 0o644);
    let file = directory.path().join("master.key");
    let fault = self::read(&sources(&[&file], None)).unwrap_err();
    assert_eq!(fault.class(), FaultClass::NotPermitted, "{fault}");
}

#[test]
fn each_key_file_has_its_own_and_a_file_named_twice_has_one() {
    let directory = on_disk();
    let (one, two) = (directory.path().join("master.key"), directory.path().join("servos.env"));
    for (path, text) in [(&one, NEW), (&two, OLD)] {
        write(&next_to(path), text, 0o600);
    }
    let found = read(&sources(&[&two, &one, &two], None)).unwrap();
    let texts: Vec<&str> = found.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(texts, [OLD, NEW]);
}

#[test]
fn nothing_is_looked_for_beside_a_credential_however_it_is_named() {
    let (credentials, files) = (on_disk(), on_disk());
    for name in ["servos_master_key", "servos_master_key.next"] {
        write(&credentials.path().join(name), NEW, 0o600);
    }
    let credential = credentials.path().join("servos_master_key");
    let link = files.path().join("link");
    symlink(&credential, &link).unwrap();
    write(&files.path().join("link.next"), NEW, 0o600);
    let missing = credentials.path().join("not-there");
    let sources = sources(&[&credential, &link, &missing], Some(credentials.path()));
    assert_eq!(read(&sources).unwrap(), []);
    assert_eq!(sources.next_file(), None);
}

#[test]
fn it_is_to_be_made_beside_the_first_file_that_is_neither_a_credential_nor_mounted_by_itself() {
    let (credentials, files) = (on_disk(), on_disk());
    let credential = credentials.path().join("servos_master_key");
    let (one, two) = (files.path().join("servos.env"), files.path().join("master.key"));
    // A mount point of every system, in a file's place.
    let mounted = Path::new("/proc");
    let named = sources(&[&credential, mounted, &one, &two], Some(credentials.path()));
    assert_eq!(named.next_file(), Some(files.path().join("servos.env.next")));
    assert_eq!(sources(&[&credential, mounted], Some(credentials.path())).next_file(), None);
    assert_eq!(sources(&[], None).next_file(), None);
}

#[test]
fn what_the_system_does_not_let_the_daemon_open_is_mended_without_systemd() {
    let fault =
        KeySourceError::NextDenied { place: "/k.next".into(), daemon_uid: 0, mend: "chown root /k.next".into() };
    let told = fault.to_string();
    assert!(told.contains("permission denied for root: give it away with `chown root /k.next`"), "{told}");
    assert!(!told.contains("LoadCredential"), "{told}");
}

#[test]
fn sources_can_be_read_from_another_thread_again_and_again() {
    let directory = on_disk();
    let file = directory.path().join("master.key");
    write(&file, OLD, 0o600);
    let sources = std::sync::Arc::new(sources(&[&file], None));
    let (theirs, next) = (std::sync::Arc::clone(&sources), next_to(&file));
    std::thread::spawn(move || {
        assert_eq!(read(&theirs).unwrap(), []);
        write(&next, NEW, 0o600);
        assert_eq!(read(&theirs).unwrap()[0].2, NEW);
    })
    .join()
    .unwrap();
    assert_eq!(read(&sources).unwrap()[0].2, NEW);
}
