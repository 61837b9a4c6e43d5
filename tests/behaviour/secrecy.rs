//! Nothing secret is said: all output of daemon and tool, at the lowest level, searched for keys and plaintexts.
//!
//! Must never search without having proved that it would find. Run by `cargo test`.

use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KEYD, KeyFile, Marker, Outcome, base64, block_on, cell, hex, is_root,
    name,
};
use servos_keyd::client::context::Context;
use servos_keyd::client::value::from_base64;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

/// What must not be said, and everything that was.
struct Watch {
    key: Marker,
    legacy_key: Marker,
    plaintext: Marker,
    said: Vec<(String, Vec<u8>)>,
}

impl Watch {
    fn new() -> Self {
        Self {
            key: Marker { name: "the master key", bytes: crate::harness::random_key().to_vec() },
            legacy_key: Marker { name: "a legacy key", bytes: crate::harness::random_key().to_vec() },
            plaintext: Marker::random("a plaintext", 48),
            said: Vec::new(),
        }
    }

    fn key(&self) -> [u8; 32] {
        self.key.bytes.clone().try_into().unwrap()
    }

    fn hear(&mut self, what: &str, outcome: &Outcome) {
        self.said.push((what.to_owned(), [&outcome.bytes.stdout[..], b"\n", &outcome.bytes.stderr].concat()));
    }

    /// What a command says that hands out a plaintext on purpose.
    fn hear_errors(&mut self, what: &str, outcome: &Outcome) {
        assert!(self.plaintext.found_in(&outcome.bytes.stdout).is_some(), "the search finds not even what is shown");
        self.said.push((what.to_owned(), outcome.bytes.stderr.clone()));
    }

    fn hear_error(&mut self, what: &str, error: &dyn std::error::Error) {
        let mut text = format!("{error:?}\n{error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!("\n{cause:?}\n{cause}"));
            source = cause.source();
        }
        self.said.push((what.to_owned(), text.into_bytes()));
    }

    #[track_caller]
    fn assert_nothing_was_said(&self) {
        assert!(self.said.iter().map(|(_, text)| text.len()).sum::<usize>() > 4_000, "hardly anything was said");
        for (what, text) in &self.said {
            for marker in [&self.key, &self.legacy_key, &self.plaintext] {
                if let Some(find) = marker.found_in(text) {
                    panic!("{what} says {find} in {}", String::from_utf8_lossy(text));
                }
            }
        }
    }

    /// No file but the key's own holds it, and none a plaintext.
    fn assert_nothing_was_written(&self, installation: &Installation) {
        let mut key_seen = false;
        for path in installation.files().keys() {
            let path = installation.path(path.to_str().unwrap());
            let Ok(bytes) = std::fs::read(&path) else { continue };
            assert_eq!(self.plaintext.found_in(&bytes), None, "{}", path.display());
            let found = self.key.found_in(&bytes);
            key_seen |= found.is_some();
            assert_eq!(found.is_some(), path.ends_with("master.key"), "{}: {found:?}", path.display());
        }
        assert!(key_seen, "the search finds not even the key in its file");
    }
}

fn installation(watch: &Watch, format: &'static str) -> Installation {
    let mut installation = Installation::with_key(watch.key());
    installation.level = "trace";
    installation.format = format;
    installation
}

/// Calls that succeed and calls that are refused, each with a secret in every place that takes bytes.
fn calls(watch: &mut Watch, daemon: &Daemon) {
    let secret = watch.plaintext.bytes.clone();
    let key = name("ssh-keys");
    let errors = block_on(async {
        let (client, admin) = (daemon.component(), daemon.admin());
        let sealed = client.encrypt(&key, &secret, &cell("1")).await.unwrap().ciphertext;
        assert_eq!(client.decrypt(&key, &sealed, &cell("1")).await.unwrap().plaintext.as_slice(), secret);
        client.reencrypt(&key, &sealed, &cell("1")).await.unwrap();
        client.danger_encrypt_nested(&key, &sealed, &cell("1")).await.unwrap();
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let mut foreign = sealed.clone();
        foreign[4..12].copy_from_slice(&[7; 8]);
        let long = secret.repeat((1 << 20) / secret.len() + 1);
        let newer = [b"SKD2".as_slice(), &secret, &secret].concat();
        let legacy_text = hex(&watch.legacy_key.bytes);
        vec![
            client.decrypt(&key, &sealed, &cell("2")).await.map(drop),
            client.decrypt(&name("default"), &sealed, &cell("1")).await.map(drop),
            client.decrypt(&key, &damaged, &cell("1")).await.map(drop),
            client.decrypt(&key, &foreign, &cell("1")).await.map(drop),
            // A secret where a ciphertext belongs: in the clear, as text, under a newer magic.
            client.decrypt(&key, &secret, &cell("1")).await.map(drop),
            client.decrypt(&key, base64(&secret).as_bytes(), &cell("1")).await.map(drop),
            client.decrypt(&key, &newer, &cell("1")).await.map(drop),
            client.danger_decrypt_legacy(&key, &secret, &cell("1")).await.map(drop),
            client.decrypt_base64(&key, &String::from_utf8_lossy(&secret), &cell("1")).await.map(drop),
            from_base64(&format!("{}?", base64(&secret))).map(drop),
            client.encrypt(&key, &long, &cell("1")).await.map(drop),
            client.encrypt(&key, &secret.repeat(100_000), &cell("1")).await.map(drop),
            client.encrypt(&key, &sealed, &cell("1")).await.map(drop),
            client.encrypt(&name("no-such-key"), &secret, &cell("1")).await.map(drop),
            client.encrypt(&key, &secret, &Context::new("a", "b").with("a", "c")).await.map(drop),
            client.verify_canary(&secret).await.map(drop),
            client.verify_canary(&[&secret[..], &secret[..16]].concat()).await.map(drop),
            // Nobody's key but one that was mistyped.
            admin.adopt_legacy_key(&legacy_text.as_bytes()[..62]).await.map(drop),
            admin.adopt_legacy_key(format!("\"{legacy_text}\"").as_bytes()).await.map(drop),
            admin.adopt_legacy_key(&watch.legacy_key.bytes).await.map(drop),
            admin.retire_legacy_key("0011223344556677").await.map(drop),
        ]
    });
    for (number, error) in errors.into_iter().enumerate() {
        watch.hear_error(&format!("refused call {number}"), &error.expect_err("it is refused"));
    }
    if is_root() || daemon.admin_socket == daemon.component_socket {
        let adopted = block_on(async {
            let text = base64(&watch.legacy_key.bytes);
            daemon.admin().adopt_legacy_key(text.as_bytes()).await.unwrap()
        });
        assert_eq!(adopted.len(), 16);
    }
}

/// Secrets that arrive where HTTP/2 belongs.
fn garbage(watch: &Watch, daemon: &Daemon) {
    for bytes in [&watch.plaintext.bytes, &watch.key.bytes] {
        let mut socket = UnixStream::connect(&daemon.component_socket).unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let _ = socket.write_all(&[preface.as_slice(), bytes].concat());
        let mut socket = UnixStream::connect(&daemon.admin_socket).unwrap();
        let _ = socket.write_all(bytes);
    }
}

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command, "--key", "default", "--context", "table=t"], more].concat()
}

/// The tool, with secrets on its standard input and in its files.
fn tool(watch: &mut Watch, installation: &Installation, daemon: &Daemon) {
    let secret = watch.plaintext.bytes.clone();
    let sealed = daemon.keyctl(&with("encrypt", &["--base64"])).input(secret.clone()).run(KEYCTL).expect(0);
    watch.hear("keyctl encrypt", &sealed);
    let opened = daemon.keyctl(&with("decrypt", &["--base64"])).input(sealed.stdout.clone()).run(KEYCTL).expect(0);
    watch.hear_errors("keyctl decrypt", &opened);
    let mistyped = installation.write_private("mistyped.key", &hex(&watch.legacy_key.bytes).as_bytes()[..63]);
    let mistyped = mistyped.to_str().unwrap();
    let refused: [(Vec<&str>, Vec<u8>); 7] = [
        (with("decrypt", &["--base64"]), base64(&secret).into_bytes()),
        (with("decrypt", &["--base64"]), secret.clone()),
        (with("decrypt", &[]), secret.clone()),
        (with("decrypt", &["--json", "--allow-legacy"]), secret.clone()),
        (with("encrypt", &[]), secret.repeat(50_000)),
        (with("reencrypt", &[]), secret.clone()),
        (vec!["legacy", "adopt", mistyped], Vec::new()),
    ];
    for (arguments, input) in refused {
        let refused = daemon.keyctl(&arguments).input(input).run(KEYCTL);
        assert_ne!(refused.code, Some(0), "{refused:#?}");
        watch.hear(&format!("keyctl {}", arguments.join(" ")), &refused);
    }
    for arguments in [&["status"][..], &["status", "--json"], &["keys", "list"], &["whoami"]] {
        watch.hear("keyctl", &daemon.keyctl(arguments).run(KEYCTL).expect(0));
    }
    std::fs::remove_file(mistyped).unwrap();
}

#[test]
fn a_whole_life_of_a_daemon_says_nothing_secret() {
    for format in ["text", "json"] {
        let mut watch = Watch::new();
        let installation = installation(&watch, format);
        watch.hear("init", &installation.init(&["--adopt-legacy"]).expect(0));
        let daemon = installation.serve_for_admin();
        calls(&mut watch, &daemon);
        garbage(&watch, &daemon);
        tool(&mut watch, &installation, &daemon);
        watch.hear("the daemon", &daemon.stop().expect(0));
        watch.hear("a daemon that is killed", &installation.serve().kill());
        watch.assert_nothing_was_said();
        watch.assert_nothing_was_written(&installation);
    }
}

#[test]
fn no_refusal_to_start_says_anything_secret() {
    let mut watch = Watch::new();
    let mut installation = installation(&watch, "text");
    installation.init(&[]).expect(0);
    let (text, other) = (hex(&watch.key.bytes), base64(&watch.legacy_key.bytes));
    // Keys that are malformed, doubled, in the wrong place.
    for content in [
        text[..63].to_owned(),
        format!("{text}0"),
        format!("'{text}'"),
        format!("0x{text}"),
        format!("{text}\n{other}\n"),
        format!("SERVOS_MASTER_KEY=\"{text}\n"),
        format!("SERVOS_MASTER_KEY={text}\nACT_MASTER_KEY={other}\n"),
        format!("OTHER={text}\n"),
        format!("SERVOS_MASTER_KEY={text} {other}\n"),
        other.clone(),
    ] {
        installation.write_private("master.key", content.as_bytes());
        let refused = installation.serve_refused();
        watch.hear("serve with a bad key", &refused);
        watch.hear("init with a bad key", &installation.init(&[]));
        watch.hear("accept with a bad key", &installation.accept(&["--generation", "1", "--yes"]));
        let backup = installation.backups()[0].clone();
        watch.hear("restore with a bad key", &installation.restore(&backup));
    }
    installation.write_key(watch.key());
    for (variable, value) in [
        ("SERVOS_MASTER_KEY", &other),
        ("SERVOS_MASTER_KEY", &text[..60].to_owned()),
        ("ACT_MASTER_KEY", &format!("{text}{text}")),
        ("SERVOS_MASTER_KEY_FILE", &text),
        ("ACT_MASTER_KEY_FILE", &format!(" {other}\n")),
    ] {
        let run = installation.command("serve", &[]).variable(variable, value);
        watch.hear("serve with a bad environment", &Daemon::refused(&run));
    }
    // Keys that were pasted into the configuration.
    for wrong in [
        format!("SERVOS_MASTER_KEY = \"{text}\"\n"),
        format!("SERVOS_MASTER_KEY={text}\n"),
        format!("[master_key]\nkey = \"{text}\"\n"),
        format!("[master_key]\nfile = \"{text}\"\n"),
        format!("[master_key]\nfile = \"{other}\"\n"),
        format!("[master_key]\n{text} = true\n"),
        format!("[master_key]\nallow_readable = \"{other}\"\n"),
        format!("[{text}]\n"),
        format!("{text}\n"),
        format!("[log]\nlevel = \"{text}\"\n"),
    ] {
        let file = installation.write_private("pasted.toml", wrong.as_bytes());
        let run = Invocation::new(["serve", "--config", file.to_str().unwrap()]);
        let refused = Daemon::refused(&run);
        assert_eq!(refused.code, Some(78), "{wrong}: {refused:#?}");
        watch.hear("a key in the configuration", &refused);
    }
    // Damage behind the right key.
    installation.change_records(|snapshot| *snapshot.records.get_mut("canary").unwrap().last_mut().unwrap() ^= 1);
    watch.hear("serve on damage", &installation.serve_refused().expect(74));
    watch.hear("salvage", &installation.serve_with(&installation.command("serve", &["--salvage"])).stop().expect(0));
    installation.key_file = KeyFile::None;
    watch.hear("no key at all", &installation.serve_refused().expect(66));
    watch.hear("help", &Invocation::new(["serve", "--help"]).run(KEYD).expect(0));
    watch.assert_nothing_was_said();
}

#[test]
fn a_key_in_the_place_of_a_path_is_never_repeated() {
    let bytes = crate::harness::random_key();
    let installation = Installation::made();
    let mut tried = 0;
    for text in [hex(&bytes), hex(&bytes).to_uppercase(), format!("0x{}", hex(&bytes)), base64(&bytes)] {
        let text = text.as_str();
        let given = |argument: &str| format!("{argument}={text}");
        let runs = [
            (KEYD, Invocation::new(["serve", "--config", text])),
            (KEYD, Invocation::new(["serve", &given("--config")])),
            (KEYD, Invocation::new(["serve", "--dev", text])),
            (KEYD, Invocation::new(["init", &given("--check-legacy")])),
            (KEYD, installation.command("restore", &[text])),
            (KEYD, installation.command("restore", &["--from-export", text, "--json"])),
            (KEYD, installation.command("fsck", &[]).variable("SERVOS_MASTER_KEY_FILE", text)),
            (KEYCTL, Invocation::new(["status"]).variable("SERVOS_KEYD_SOCKET", text)),
            (KEYCTL, Invocation::new(["status", "--json", "--socket", text])),
            (KEYCTL, Invocation::new(["legacy", "adopt", text])),
            (KEYCTL, Invocation::new(["inspect", text])),
            (KEYCTL, Invocation::new(["backup", text])),
            (KEYCTL, Invocation::new(["config", "check", "--config", text])),
            (KEYCTL, Invocation::new(["generate-key", text])),
        ];
        for (binary, run) in runs {
            let ended = run.run(binary);
            assert!(matches!(ended.code, Some(64 | 78)), "{:?}: {:?}", run.arguments.first(), ended.code);
            // A few characters of it may stand in anything.
            let said = ended.said().to_lowercase();
            let shown = text.to_lowercase();
            let shown = shown.as_bytes().windows(12).any(|part| said.contains(std::str::from_utf8(part).unwrap()));
            assert!(!shown, "{:?} repeats it", run.arguments.first());
            tried += 1;
        }
    }
    assert_eq!(tried, 4 * 14);
}
