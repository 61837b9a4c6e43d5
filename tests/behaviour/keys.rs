//! Where the master key comes from: what is taken, what is refused, and how it is said.
//!
//! Must never pass a run that prints a byte of what it was given. Run by `cargo test`.

use crate::harness::{Daemon, Installation, Invocation, KeyFile, Outcome, base64, fingerprint, hex, random_key};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// Changes an installation or the run on it.
type Arrange = Box<dyn Fn(&mut Installation, Invocation) -> Invocation>;

/// The key file holds these bytes.
fn file(bytes: impl Into<Vec<u8>>) -> Arrange {
    let bytes = bytes.into();
    Box::new(move |installation, run| {
        installation.write_private("master.key", &bytes);
        run
    })
}

/// The environment alone brings the key.
fn variable(name: &'static str, value: impl Into<String>) -> Arrange {
    let value = value.into();
    Box::new(move |_, run| run.variable(name, value.clone()))
}

/// A credential of systemd brings these bytes.
fn credential(name: &'static str, bytes: impl Into<Vec<u8>>) -> Arrange {
    let bytes = bytes.into();
    Box::new(move |installation, run| {
        let directory = installation.path("credentials");
        let _ = std::fs::create_dir(&directory);
        let path = directory.join(name);
        std::fs::write(&path, &bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
        run.variable("CREDENTIALS_DIRECTORY", directory)
    })
}

/// Nothing but what `arrange` brings: the configuration names no file.
fn alone(arrange: Arrange) -> Arrange {
    Box::new(move |installation, run| {
        installation.key_file = KeyFile::None;
        arrange(installation, run)
    })
}

fn serve(installation: &mut Installation, arrange: &Arrange) -> Invocation {
    let more = arrange(installation, Invocation::default());
    Invocation { environment: more.environment, ..installation.command("serve", &[]) }
}

#[test]
fn every_good_spelling_in_every_place_opens_the_store() {
    let key = random_key();
    let (hexed, based) = (hex(&key), base64(&key));
    let cases: Vec<(&str, Arrange, &str, bool)> = vec![
        ("hex", file(hexed.clone()), "master.key", false),
        ("hex in capitals", file(hexed.to_uppercase()), "master.key", false),
        ("hex with a line end", file(format!("{hexed}\n")), "master.key", false),
        ("hex with CRLF", file(format!("{hexed}\r\n")), "master.key", false),
        ("base64", file(based.clone()), "master.key", false),
        ("base64 with a line end", file(format!("{based}\n")), "master.key", false),
        ("env file", file(format!("DATABASE=x\nSERVOS_MASTER_KEY={hexed}\n")), "(SERVOS_MASTER_KEY)", false),
        ("env file, quotes", file(format!("SERVOS_MASTER_KEY=\"{based}\"\r\n")), "(SERVOS_MASTER_KEY)", false),
        ("env file, export", file(format!("# k\nexport SERVOS_MASTER_KEY='{based}'")), "(SERVOS_MASTER_KEY)", false),
        ("env file, the old name", file(format!("ACT_MASTER_KEY={hexed}\n")), "(ACT_MASTER_KEY)", false),
        ("credential", alone(credential("servos_master_key", hexed.clone())), "credential servos_master_key", false),
        ("old credential", alone(credential("act_master_key", based.clone())), "credential act_master_key", false),
        (
            "env file as credential",
            alone(credential("servos.env", format!("SERVOS_MASTER_KEY={hexed}"))),
            "credential servos.env (SERVOS_MASTER_KEY)",
            false,
        ),
        ("environment", alone(variable("SERVOS_MASTER_KEY", &*hexed)), "environment SERVOS_MASTER_KEY", true),
        ("old environment", alone(variable("ACT_MASTER_KEY", &*based)), "environment ACT_MASTER_KEY", true),
        ("file and environment agree", variable("SERVOS_MASTER_KEY", &*based), "master.key", true),
        ("named by a variable", alone(named_by("SERVOS_MASTER_KEY_FILE")), "master.key", false),
        ("named by the old variable", alone(named_by("ACT_MASTER_KEY_FILE")), "master.key", false),
        ("a link to the file", linked(), "link.key", false),
    ];
    for (case, arrange, source, warns) in cases {
        let mut installation = Installation::with_key(key);
        installation.init(&[]).expect(0);
        let run = serve(&mut installation, &arrange);
        let stopped = installation.serve_with(&run).stop().expect(0);
        let names_it = stopped.stderr.lines().any(|line| line.contains("opens the store") && line.contains(source));
        assert!(names_it, "{case}: {stopped:#?}");
        assert_eq!(stopped.stderr.contains("WARN"), warns, "{case}: {stopped:#?}");
        assert_silent(&stopped, &[&hexed, &based, &hexed.to_uppercase()]);
    }
}

fn named_by(variable: &'static str) -> Arrange {
    Box::new(move |installation, run| run.variable(variable, installation.path("master.key")))
}

fn linked() -> Arrange {
    Box::new(|installation, run| {
        let link = installation.path("link.key");
        symlink(installation.path("master.key"), &link).unwrap();
        installation.key_file = KeyFile::At(link);
        run
    })
}

/// Neither text, nor twelve characters on end of it, is in what was said.
#[track_caller]
fn assert_silent(said: &Outcome, texts: &[&str]) {
    let all = said.said();
    for text in texts {
        let characters: Vec<char> = text.chars().collect();
        for part in characters.windows(12) {
            let part: String = part.iter().collect();
            assert!(!all.contains(&part), "{part:?} of what was given is in {said:#?}");
        }
    }
}

#[test]
fn every_bad_key_is_refused_by_name_and_leaves_the_store_alone() {
    let key = random_key();
    let (hexed, based) = (hex(&key), base64(&key));
    // Bytes that no text has, and none of them NUL.
    let raw: Vec<u8> = (0..40_u8).map(|i| 0xc0 | i).collect();
    let utf16: Vec<u8> = hexed.bytes().flat_map(|byte| [byte, 0]).collect();
    let printable = b"correct horse battery staple 123";
    let place = "master.key";
    let cases: Vec<(&str, Arrange, i32, Vec<String>)> = vec![
        ("0 bytes", file(""), 78, words(&[place, "is empty"])),
        ("blanks", file(" \n\n"), 78, words(&[place, "is empty"])),
        ("31 raw bytes", file(&raw[..31]), 78, words(&[place, "31 bytes"])),
        ("32 raw bytes", file(&raw[..32]), 78, words(&[place, "32 bytes"])),
        ("33 raw bytes", file(&raw[..33]), 78, words(&[place, "33 bytes"])),
        ("32 raw bytes with NUL", file([0x80, 0, 9].repeat(11)), 78, words(&[place, "NUL"])),
        ("31 bytes in hex", file(&hexed[..62]), 78, words(&[place, "62 hex digits"])),
        ("33 bytes in hex", file(format!("{hexed}5a")), 78, words(&[place, "66 hex digits"])),
        ("31 bytes in base64", file(base64(&key[..31])), 78, words(&[place, "31"])),
        ("33 bytes in base64", file(base64(&raw[..33])), 78, words(&[place, "33"])),
        ("base64 without padding", file(&based[..43]), 78, words(&[place, "padding"])),
        ("a letter that is no digit", file(format!("{}g", &hexed[..63])), 78, words(&[place, "hex"])),
        ("hex with 0x", file(format!("0x{hexed}")), 78, words(&[place, "0x"])),
        ("quotes", file(format!("\"{hexed}\"")), 78, words(&[place, "quotes"])),
        ("UTF-16", file(utf16), 78, words(&[place, "NUL", "UTF-16"])),
        ("byte order mark", file(format!("\u{feff}{hexed}")), 78, words(&[place, "byte order mark"])),
        ("all zero", file("00".repeat(32)), 78, words(&[place, "placeholder"])),
        ("all 0xff", file("ff".repeat(32)), 78, words(&[place, "placeholder"])),
        ("printable in hex", file(hex(printable)), 78, words(&[place, "passphrase"])),
        ("printable in base64", file(base64(printable)), 78, words(&[place, "passphrase"])),
        ("two keys", file(format!("{hexed}\n{based}\n")), 78, words(&[place])),
        ("env file without it", file(format!("OTHER={hexed}\n")), 78, words(&[place, "SERVOS_MASTER_KEY="])),
        ("env file, empty", file("A=b\nSERVOS_MASTER_KEY=\n"), 78, words(&[place, "line 2", "empty"])),
        ("env file, open quote", file(format!("SERVOS_MASTER_KEY=\"{hexed}\n")), 78, words(&[place, "line 1"])),
        ("too large", file("#".repeat(65 * 1024)), 78, words(&[place, "larger"])),
        ("missing", Box::new(|i, run| without_key(i, run, |_| {})), 66, words(&[place, "no such file"])),
        ("no source", alone(Box::new(|_, run| run)), 66, words(&["no master key is given", "SERVOS_MASTER_KEY_FILE"])),
        ("a link to nothing", Box::new(link_to_nothing), 66, words(&[place, "no such file"])),
        ("a directory", Box::new(|i, run| without_key(i, run, directory_at)), 78, words(&[place, "a directory"])),
        ("a FIFO that never writes", Box::new(|i, run| without_key(i, run, fifo_at)), 78, words(&[place, "a FIFO"])),
        ("a socket", Box::new(|i, run| without_key(i, run, socket_at)), 78, words(&[place, "socket"])),
        (
            "credential of 31 bytes",
            alone(credential("servos_master_key", &hexed[..62])),
            78,
            words(&["credential servos_master_key", "62 hex digits"]),
        ),
        ("environment of 31 bytes", alone(variable("ACT_MASTER_KEY", &hexed[..62])), 78, words(&["ACT_MASTER_KEY"])),
        ("environment, quoted", alone(variable("SERVOS_MASTER_KEY", format!("'{hexed}'"))), 78, words(&["quotes"])),
        ("empty environment", alone(variable("SERVOS_MASTER_KEY", "")), 78, words(&["SERVOS_MASTER_KEY", "empty"])),
        (
            "a key where a path belongs",
            alone(variable("SERVOS_MASTER_KEY_FILE", &*hexed)),
            78,
            words(&["SERVOS_MASTER_KEY_FILE", "path"]),
        ),
    ];
    for (case, arrange, code, said) in cases {
        let mut installation = Installation::with_key(key);
        installation.init(&[]).expect(0);
        let run = serve(&mut installation, &arrange);
        let before = installation.files();
        let refused = Daemon::refused(&run);
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        assert_eq!(refused.code, Some(code), "{case}: {refused:#?}");
        let refused = refused.saying(&said).not_saying(&["panicked"]);
        assert_silent(&refused, &[&hexed, &based, std::str::from_utf8(printable).unwrap()]);
        assert_eq!(installation.files(), before, "{case}");
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn without_key(installation: &Installation, run: Invocation, put: fn(&PathBuf)) -> Invocation {
    let path = installation.path("master.key");
    std::fs::remove_file(&path).unwrap();
    put(&path);
    run
}

fn link_to_nothing(installation: &mut Installation, run: Invocation) -> Invocation {
    without_key(installation, run, |path| symlink("/nowhere/at/all", path).unwrap())
}

fn directory_at(path: &PathBuf) {
    std::fs::create_dir(path).unwrap();
}

fn fifo_at(path: &PathBuf) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
}

fn socket_at(path: &PathBuf) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}

#[test]
fn sources_that_disagree_are_named_by_fingerprint() {
    let mut installation = Installation::made();
    let other = random_key();
    let given = [hex(&installation.key), base64(&other)];
    let expected = [fingerprint(installation.key), fingerprint(other)];
    let arrangements: [(Arrange, &str); 3] = [
        (variable("SERVOS_MASTER_KEY", &*given[1]), "environment SERVOS_MASTER_KEY"),
        (credential("servos_master_key", &*given[1]), "credential servos_master_key"),
        (file(format!("SERVOS_MASTER_KEY={}\nACT_MASTER_KEY={}\n", given[0], given[1])), "(ACT_MASTER_KEY)"),
    ];
    for (arrange, source) in arrangements {
        let run = serve(&mut installation, &arrange);
        let before = installation.files();
        let refused = Daemon::refused(&run).expect(78);
        let refused = refused.saying(&["two sources", "master.key", source, &expected[0], &expected[1]]);
        assert_silent(&refused, &[&given[0], &given[1]]);
        assert_eq!(installation.files(), before);
        installation.write_key(installation.key);
    }
}
