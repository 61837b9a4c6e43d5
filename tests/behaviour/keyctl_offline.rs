//! The tool where it touches keys and files itself: hardening, generate-key, check-key and config check.
//!
//! Must never leave a daemon behind, or show a key that a test made.
//! Run by `cargo test`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const KEYD: &str = env!("CARGO_BIN_EXE_servos-keyd");
const KEYCTL: &str = env!("CARGO_BIN_EXE_servos-keyctl");

/// The machine may be slow.
const DEADLINE: Duration = Duration::from_secs(30);

const KEY: &str = "3b0c5e8f9a1d2746b8e3f05c7a9182d4e6f7081928374655aabbccddeeff0123";
const OTHER_KEY: &str = "Pn+gkbLD1OX2BxgpOktcbX6PkKGyw9Tl9gcYKTpLXG0=";

/// A directory with a configuration; everything it names lies in it.
struct Place(tempfile::TempDir);

struct Said {
    code: i32,
    output: String,
    errors: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|_| panic!("no JSON: {}{}", self.output, self.errors))
    }

    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.output, self.errors);
        self
    }
}

fn ended(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), output: text(output.stdout), errors: text(output.stderr) }
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let path = |name: &str| place.path(name).display().to_string();
        let text = format!(
            "[socket]\npath = \"{}\"\nadmin_path = \"{}\"\ngroup = \"\"\n[store]\npath = \"{}\"\n[backup]\ndir = \"{}\"\n\
             [master_key]\nfile = \"{}\"\n",
            path("keyd.sock"),
            path("admin.sock"),
            path("keyd.redb"),
            path("backup"),
            path("master.key")
        );
        place.keep("keyd.toml", &text);
        place
    }

    /// With a store under [`KEY`].
    fn with_store() -> Self {
        let place = Self::new();
        place.keep("master.key", KEY);
        ended(place.command(KEYD, &["init", "--config", "keyd.toml"]).output().unwrap()).expect(0);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keep(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, binary: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(self.0.path()).env_clear().stdin(Stdio::null());
        command
    }

    fn keyctl(&self, arguments: &[&str]) -> Said {
        ended(self.command(KEYCTL, arguments).output().unwrap())
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }

    fn serve(&self) -> Served {
        let mut command = self.command(KEYD, &["serve", "--config", "keyd.toml"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let words = BufReader::new(child.stderr.take().unwrap());
        let served = Served(child);
        let mut lines = words.lines().map(Result::unwrap);
        assert!(lines.by_ref().any(|line| line.contains("daemon.ready")), "the daemon did not start");
        // Its log goes on into a pipe that must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        served
    }
}

/// A daemon, killed at the end.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(what: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn owner_of_memory(child: &Child) -> Option<u32> {
    std::fs::metadata(format!("/proc/{}/mem", child.id())).ok().map(|metadata| metadata.uid())
}

/// Starts a copy of `binary` that waits for its input, as a user who is not root.
fn waiting_as_nobody(place: &Place, binary: &str, arguments: &[&str]) -> Served {
    let copy = place.path(Path::new(binary).file_name().unwrap().to_str().unwrap());
    std::fs::copy(binary, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(place.0.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.command(copy.to_str().unwrap(), arguments);
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    Served(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// What /proc shows of an undumpable process belongs to root, whoever runs it. Source: proc(5), PR_SET_DUMPABLE.
#[test]
fn a_running_tool_cannot_be_looked_into_nor_dumped_before_it_reads_a_byte() {
    let place = Place::new();
    let control = waiting_as_nobody(&place, "/bin/cat", &[]);
    let own = if nix::unistd::geteuid().is_root() { 65_534 } else { nix::unistd::geteuid().as_raw() };
    assert!(eventually(|| owner_of_memory(&control.0) == Some(own)), "the control");

    let mut tool = waiting_as_nobody(&place, KEYCTL, &["encrypt", "--key", "default", "--no-context"]);
    assert!(eventually(|| owner_of_memory(&tool.0) == Some(0)), "the tool can be looked into");
    let status = std::fs::read_to_string(format!("/proc/{}/status", tool.0.id())).unwrap();
    assert!(eventually(|| status_has(&tool.0, "NoNewPrivs:\t1")), "{status}");
    assert!(tool.0.try_wait().unwrap().is_none(), "it did not wait for its input");
    if !nix::unistd::geteuid().is_root() {
        assert!(std::fs::read(format!("/proc/{}/environ", tool.0.id())).is_err());
    }
}

fn status_has(child: &Child, line: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/status", child.id())).is_ok_and(|text| text.lines().any(|l| l == line))
}

#[test]
fn a_new_key_is_its_owners_alone_is_never_shown_and_opens_what_it_made() {
    let place = Place::new();
    for (file, arguments, length) in [("hex.key", &["--json"][..], 64), ("b64.key", &["--json", "--base64"][..], 44)] {
        let said = place.keyctl(&[&["generate-key", file], arguments].concat()).expect(0);
        let text = std::fs::read_to_string(place.path(file)).unwrap();
        assert_eq!((text.trim_end().len(), text.len()), (length, length + 1));
        assert_eq!(std::fs::metadata(place.path(file)).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(!said.output.contains(text.trim_end()) && !said.errors.contains(text.trim_end()));
        assert_eq!(said.json()["fingerprint"].as_str().unwrap().len(), 16);
    }
    assert_eq!(place.files().len(), 3, "something was left beside the files");

    let said = place.keyctl(&["generate-key", "master.key"]).expect(0);
    ended(place.command(KEYD, &["init", "--config", "keyd.toml"]).output().unwrap()).expect(0);
    let fingerprint = said.output.lines().find_map(|line| line.strip_prefix("fingerprint  ")).unwrap();
    let checked = place.keyctl(&["check-key", "--config", "keyd.toml", "--json"]).expect(0);
    assert_eq!(checked.json()["given"]["fingerprint"], fingerprint);
}

#[test]
fn a_new_key_is_never_written_over_anything_or_to_a_stream() {
    let place = Place::new();
    place.keep("there", "old");
    std::os::unix::fs::symlink("nowhere", place.path("dangling")).unwrap();
    for there in ["there", "dangling", "/dev/stdout", "/dev/null", "missing/key"] {
        place.keyctl(&["generate-key", there]).expect(73);
    }
    assert_eq!(std::fs::read(place.path("there")).unwrap(), b"old");
    assert!(!place.path("nowhere").exists());
    place.keyctl(&["generate-key", "-"]).expect(64);
    place.keyctl(&["generate-key"]).expect(64);
}

#[test]
fn the_right_key_is_told_from_another_by_the_file_which_is_not_changed() {
    let place = Place::with_store();
    place.keep("other.key", OTHER_KEY);
    place.keep("act.env", &format!("# ACT\nexport ACT_MASTER_KEY=\"{KEY}\"\r\nACT_PORT=1\n"));
    place.keep("short.key", &KEY[1..]);
    let before = place.files();
    let check = |file: &str| place.keyctl(&["check-key", "--store", "keyd.redb", "--key-file", file, "--json"]);

    let right = check("master.key").expect(0).json();
    assert_eq!((&right["opens"], &right["verified"]), (&true.into(), &true.into()));
    assert_eq!(right["given"]["fingerprint"], right["expected"][0]);
    assert_eq!(check("act.env").expect(0).json()["opens"], true);

    let wrong = check("other.key").expect(1);
    assert_eq!((&wrong.json()["opens"], &wrong.json()["verified"]), (&false.into(), &false.into()));
    assert_eq!(wrong.json()["expected"], right["expected"]);
    assert_eq!(wrong.json()["since"], right["since"]);
    let failure: Value = serde_json::from_str(&wrong.errors).unwrap();
    assert_eq!(failure["error"]["exit"], 1);
    let told = place.keyctl(&["check-key", "--store", "keyd.redb", "--key-file", "other.key"]).expect(1);
    assert!(told.output.contains("the store's own word, not verified"), "{}", told.output);

    check("short.key").expect(78);
    check("missing.key").expect(66);
    assert_eq!(place.files(), before, "a look changed something");
}

#[test]
fn without_a_key_the_store_says_which_one_opens_it_and_the_end_is_not_success() {
    let place = Place::with_store();
    let right = place.keyctl(&["check-key", "--config", "keyd.toml", "--json"]).expect(0).json();
    std::fs::remove_file(place.path("master.key")).unwrap();
    place.keyctl(&["check-key", "--config", "keyd.toml"]).expect(66);
    let none = place.keyctl(&["check-key", "--store", "keyd.redb", "--json"]).expect(66).json();
    assert_eq!(none["expected"], right["expected"]);
    assert_eq!((&none["opens"], &none["given"], &none["verified"]), (&Value::Null, &Value::Null, &false.into()));
}

#[test]
fn a_key_in_the_environment_is_a_source_as_for_the_daemon() {
    let place = Place::with_store();
    let run = |key: &str| {
        let mut command = place.command(KEYCTL, &["check-key", "--store", "keyd.redb", "--json"]);
        ended(command.env("SERVOS_MASTER_KEY", key).output().unwrap())
    };
    assert_eq!(run(KEY).expect(0).json()["given"]["source"], "environment SERVOS_MASTER_KEY");
    run(OTHER_KEY).expect(1);
    let mut both = place.command(KEYCTL, &["check-key", "--config", "keyd.toml"]);
    ended(both.env("SERVOS_MASTER_KEY", OTHER_KEY).output().unwrap()).expect(78);
}

#[test]
fn a_store_that_is_missing_foreign_or_damaged_is_said_to_be_so() {
    let place = Place::with_store();
    let check = |store: &str| place.keyctl(&["check-key", "--store", store, "--key-file", "master.key"]);
    check("nowhere.redb").expect(66);
    check("nowhere/keyd.redb").expect(66);
    check("keyd.toml").expect(74);
    place.keep("empty.redb", "");
    check("empty.redb").expect(74);
    let whole = std::fs::read(place.path("keyd.redb")).unwrap();
    std::fs::write(place.path("torn.redb"), &whole[..whole.len() / 2]).unwrap();
    check("torn.redb").expect(74);
}

#[test]
fn a_running_daemon_is_asked_and_no_file_is_needed() {
    let place = Place::with_store();
    place.keep("other.key", OTHER_KEY);
    let offline = place.keyctl(&["check-key", "--config", "keyd.toml", "--json"]).expect(0).json();
    let served = place.serve();
    let configured = place.keyctl(&["check-key", "--config", "keyd.toml", "--json"]).expect(0).json();
    assert!(configured["asked"].as_str().unwrap().contains("admin.sock"), "{configured}");
    for same in ["expected", "since", "store_id", "opens", "verified"] {
        assert_eq!(configured[same], offline[same]);
    }
    let component = ["check-key", "--socket", "keyd.sock", "--key-file", "other.key", "--json"];
    let told = place.keyctl(&component).expect(1).json();
    assert_eq!((&told["expected"], &told["verified"]), (&offline["expected"], &true.into()));

    // The daemon on a socket answers for its own store alone, and keeps the file to itself.
    let store = ["check-key", "--socket", "admin.sock", "--key-file", "master.key", "--store"];
    let same = place.keyctl(&[store.as_slice(), &["keyd.redb"]].concat()).expect(0);
    assert!(same.output.contains("the daemon on admin.sock"), "{}", same.output);
    let other = Place::with_store();
    let other_store = other.path("keyd.redb").display().to_string();
    let told = place.keyctl(&[store.as_slice(), &[&other_store]].concat()).expect(0);
    assert!(told.output.contains("the store's file"), "{}", told.output);
    place
        .keyctl(&["check-key", "--socket", "keyd.sock", "--store", "keyd.redb", "--key-file", "master.key"])
        .expect(75);

    drop(served);
    let gone = place.keyctl(&["check-key", "--socket", "admin.sock", "--key-file", "master.key"]).expect(69);
    assert!(gone.errors.contains("--store"), "{}", gone.errors);
    let both = ["check-key", "--socket", "admin.sock", "--config", "keyd.toml", "--json"];
    assert_eq!(place.keyctl(&both).expect(0).json()["opens"], true);
}

#[test]
fn a_configuration_is_shown_value_by_value_with_what_to_mend() {
    let place = Place::new();
    let said = place.keyctl(&["config", "check", "--config", "keyd.toml", "--json"]).expect(0).json();
    let settings = said["settings"].as_array().unwrap();
    let setting = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    assert_eq!(setting("limits.streams")["default"], true);
    assert_eq!(setting("store.path")["value"], place.path("keyd.redb").display().to_string());
    assert_eq!(setting("store.path")["default"], false);
    let warnings = said["warnings"].to_string();
    assert!(warnings.contains("master_key.file") && warnings.contains("there is no store"), "{warnings}");

    let made = Place::with_store();
    let text = made.keyctl(&["config", "check", "--config", "keyd.toml"]).expect(0).output;
    assert!(text.ends_with("Nothing to mend.\n"), "{text}");
    let column = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().find("default");
    assert_eq!(column("limits.streams "), column("log.level "));
}

#[test]
fn a_configuration_that_is_not_valid_ends_with_78_and_the_line_at_fault() {
    let place = Place::new();
    place.keep("bad.toml", "[store]\npaht = \"/x\"\n");
    let said = place.keyctl(&["config", "check", "--config", "bad.toml"]).expect(78);
    assert!(said.errors.contains("bad.toml:2") && said.errors.contains("path"), "{}", said.errors);
    let said = place.keyctl(&["config", "check", "--config", "bad.toml", "--json"]).expect(78);
    let failure: Value = serde_json::from_str(&said.errors).unwrap();
    assert_eq!(failure["error"]["exit"], 78);
}

#[test]
fn mistakes_in_the_arguments_are_json_too_where_json_was_asked_for() {
    let place = Place::new();
    let said = place.keyctl(&["encrypt", "--json", "--no-such-thing"]).expect(64);
    let failure: Value = serde_json::from_str(&said.errors).unwrap();
    assert_eq!((&failure["error"]["exit"], said.output.as_str()), (&64.into(), ""));
    assert!(place.keyctl(&["--help"]).expect(0).output.contains("78  wrong configuration"));
    assert!(place.keyctl(&[]).expect(64).errors.ends_with("no command was given\n"));
    let failure: Value = serde_json::from_str(&place.keyctl(&["--json"]).expect(64).errors).unwrap();
    assert_eq!(failure["error"]["message"], "no command was given");
}
