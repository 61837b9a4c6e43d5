//! The tool where it touches keys and files itself: hardening, generate-key, check-key and config check.
//!
//! Must never leave a daemon behind, or show a key that a test made.
//! Run by `cargo test`.

use crate::harness::{
    Installation, Invocation, KEYCTL, NOBODY, Outcome, base64, eventually, fingerprint, hex, is_root, json, random_key,
};
use serde_json::Value;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The exit code that a failure told in JSON holds.
fn exit_in(outcome: &Outcome) -> Value {
    json(&outcome.stderr)["error"]["exit"].clone()
}

fn path(place: &Installation, name: &str) -> String {
    place.path(name).display().to_string()
}

/// `check-key` on the store's file, with the key of a file.
fn check(place: &Installation, key_file: &str) -> Outcome {
    let (store, file) = (path(place, "keyd.redb"), path(place, key_file));
    place.keyctl(&["check-key", "--store", &store, "--key-file", &file, "--json"])
}

/// `check-key` as the configuration says.
fn check_configured(place: &Installation) -> Outcome {
    let configuration = place.write_configuration().display().to_string();
    place.keyctl(&["check-key", "--config", &configuration, "--json"])
}

fn owner_of_memory(child: &Child) -> Option<u32> {
    std::fs::metadata(format!("/proc/{}/mem", child.id())).ok().map(|metadata| metadata.uid())
}

/// A child that is killed at the end.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `binary` as a user who is not root, so that it waits for its input.
fn waiting(place: &Installation, binary: &str, arguments: &[&str]) -> Waiting {
    let program = if is_root() { copy_for_all(place, binary) } else { binary.into() };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = None;
    // While another test forks, its child holds the copy open for writing.
    eventually("the copy can be run", || match command.spawn() {
        Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => false,
        spawned => child.insert(Waiting(spawned.unwrap())).0.id() > 0,
    });
    child.unwrap()
}

/// A copy that any user may run: the build's directory may be closed to others.
fn copy_for_all(place: &Installation, binary: &str) -> PathBuf {
    let copy = place.path(Path::new(binary).file_name().unwrap().to_str().unwrap());
    std::fs::copy(binary, &copy).unwrap();
    for made in [copy.as_path(), place.directory()] {
        std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}

fn status_has(child: &Child, line: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/status", child.id())).is_ok_and(|text| text.lines().any(|l| l == line))
}

/// What /proc shows of an undumpable process belongs to root, whoever runs it. Source: proc(5), PR_SET_DUMPABLE.
#[test]
fn a_running_tool_cannot_be_looked_into_nor_dumped_before_it_reads_a_byte() {
    let place = Installation::new();
    let own = if is_root() { NOBODY } else { nix::unistd::geteuid().as_raw() };
    let control = waiting(&place, "/bin/cat", &[]);
    eventually("the control belongs to its user", || owner_of_memory(&control.0) == Some(own));

    let mut tool = waiting(&place, KEYCTL, &["encrypt", "--key", "default", "--no-context"]);
    eventually("the tool is undumpable", || owner_of_memory(&tool.0) == Some(0));
    eventually("the tool gave up new privileges", || status_has(&tool.0, "NoNewPrivs:\t1"));
    assert!(tool.0.try_wait().unwrap().is_none(), "it did not wait for its input");
    if !is_root() {
        assert!(std::fs::read(format!("/proc/{}/environ", tool.0.id())).is_err());
    }
}

#[test]
fn a_new_key_is_its_owners_alone_is_never_shown_and_opens_what_it_made() {
    let place = Installation::new();
    std::fs::remove_file(place.path("master.key")).unwrap();
    for (name, encoding, length) in [("master.key", None, 64), ("base64.key", Some("--base64"), 44)] {
        let file = path(&place, name);
        let arguments: Vec<&str> = ["generate-key", &file, "--json"].into_iter().chain(encoding).collect();
        let made = place.keyctl(&arguments).expect(0);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!((text.trim_end().len(), text.len()), (length, length + 1));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(!made.said().contains(text.trim_end()));
        assert_eq!(json(&made.stdout)["fingerprint"].as_str().unwrap().len(), 16);
        if name == "master.key" {
            place.init(&[]).expect(0);
            let checked = json(&check_configured(&place).expect(0).stdout);
            assert_eq!(checked["given"]["fingerprint"], json(&made.stdout)["fingerprint"]);
        }
    }
    let hidden = std::fs::read_dir(place.directory()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(hidden.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "a temporary file was left");
}

#[test]
fn a_new_key_is_never_written_over_anything_or_to_a_stream() {
    let place = Installation::new();
    place.write_private("there", b"old");
    std::os::unix::fs::symlink("nowhere", place.path("dangling")).unwrap();
    let files = ["there", "dangling", "missing/key"].map(|name| path(&place, name));
    for file in files.iter().map(String::as_str).chain(["/dev/stdout", "/dev/null"]) {
        place.keyctl(&["generate-key", file]).expect(73);
    }
    assert_eq!(std::fs::read(place.path("there")).unwrap(), b"old");
    assert!(!place.path("nowhere").exists());
    place.keyctl(&["generate-key", "-"]).expect(64);
    place.keyctl(&["generate-key"]).expect(64);
}

#[test]
fn the_right_key_is_told_from_another_by_the_file_which_is_not_changed() {
    let place = Installation::made();
    let (key, other) = (hex(&place.key), random_key());
    place.write_private("other.key", base64(&other).as_bytes());
    place.write_private("act.env", format!("# ACT\nexport ACT_MASTER_KEY=\"{key}\"\r\nACT_PORT=1\n").as_bytes());
    place.write_private("short.key", &key.as_bytes()[1..]);
    let before = place.files();

    let right = json(&check(&place, "master.key").expect(0).stdout);
    assert_eq!((&right["opens"], &right["verified"]), (&true.into(), &true.into()));
    assert_eq!(
        (&right["given"]["fingerprint"], &right["expected"][0]),
        (&fingerprint(place.key).into(), &fingerprint(place.key).into())
    );
    assert_eq!(json(&check(&place, "act.env").expect(0).stdout)["opens"], true);

    let wrong = check(&place, "other.key").expect(1);
    let said = json(&wrong.stdout);
    assert_eq!((&said["opens"], &said["verified"]), (&false.into(), &false.into()));
    assert_eq!((&said["expected"], &said["since"]), (&right["expected"], &right["since"]));
    assert_eq!((&said["given"]["fingerprint"], exit_in(&wrong)), (&fingerprint(other).into(), 1.into()));
    let (store, file) = (path(&place, "keyd.redb"), path(&place, "other.key"));
    let told = place.keyctl(&["check-key", "--store", &store, "--key-file", &file]).expect(1);
    assert!(told.stdout.contains("the store's own word, not verified"), "{}", told.stdout);

    check(&place, "short.key").expect(78).not_saying(&[&key[1..]]);
    check(&place, "missing.key").expect(66);
    assert_eq!(place.files(), before, "a look changed something");
}

#[test]
fn without_a_key_the_store_says_which_one_opens_it_and_the_end_is_not_success() {
    let place = Installation::made();
    std::fs::remove_file(place.path("master.key")).unwrap();
    check_configured(&place).expect(66);
    let none = json(&place.keyctl(&["check-key", "--store", &path(&place, "keyd.redb"), "--json"]).expect(66).stdout);
    assert_eq!(none["expected"][0], fingerprint(place.key));
    assert_eq!((&none["opens"], &none["given"], &none["verified"]), (&Value::Null, &Value::Null, &false.into()));
}

#[test]
fn a_key_in_the_environment_is_a_source_as_for_the_daemon() {
    let place = Installation::made();
    let store = path(&place, "keyd.redb");
    let alone = Invocation::new(["check-key", "--store", &store, "--json"]);
    let right = alone.clone().variable("SERVOS_MASTER_KEY", hex(&place.key)).run(KEYCTL).expect(0);
    assert_eq!(json(&right.stdout)["given"]["source"], "environment SERVOS_MASTER_KEY");
    alone.variable("SERVOS_MASTER_KEY", hex(&random_key())).run(KEYCTL).expect(1);
    let configuration = path(&place, "keyd.toml");
    let both = Invocation::new(["check-key", "--config", &configuration]);
    both.variable("SERVOS_MASTER_KEY", hex(&random_key())).run(KEYCTL).expect(78);
}

#[test]
fn a_store_that_is_missing_foreign_or_damaged_is_said_to_be_so() {
    let place = Installation::made();
    let whole = std::fs::read(place.store()).unwrap();
    place.write_private("empty.redb", b"");
    place.write_private("torn.redb", &whole[..whole.len() / 2]);
    let rows = [("nowhere.redb", 66), ("nowhere/x.redb", 66), ("keyd.toml", 74), ("empty.redb", 74), ("torn.redb", 74)];
    for (store, code) in rows {
        let (store, file) = (path(&place, store), path(&place, "master.key"));
        place.keyctl(&["check-key", "--store", &store, "--key-file", &file]).expect(code);
    }
    place.change_records(|snapshot| drop(snapshot.records.insert("meta".into(), Vec::new())));
    check(&place, "master.key").expect(74);
}

#[test]
fn a_running_daemon_is_asked_and_answers_for_its_own_store_alone() {
    let place = Installation::made();
    place.write_private("other.key", hex(&random_key()).as_bytes());
    let offline = json(&check_configured(&place).expect(0).stdout);
    let daemon = place.serve_for_admin();
    let configured = json(&check_configured(&place).expect(0).stdout);
    assert!(configured["asked"].as_str().unwrap().contains("the daemon on"), "{configured}");
    for same in ["expected", "since", "store_id", "opens", "verified"] {
        assert_eq!(configured[same], offline[same]);
    }
    let component = daemon.component_socket.display().to_string();
    let other_key = path(&place, "other.key");
    let told = place.keyctl(&["check-key", "--socket", &component, "--key-file", &other_key, "--json"]).expect(1);
    let told = json(&told.stdout);
    assert_eq!((&told["expected"], &told["verified"]), (&offline["expected"], &true.into()));

    let (admin, key) = (daemon.admin_socket.display().to_string(), path(&place, "master.key"));
    let ask = |socket: &str, store: &str, key: &str| {
        place.keyctl(&["check-key", "--socket", socket, "--store", store, "--key-file", key])
    };
    ask(&admin, &path(&place, "keyd.redb"), &key).expect(0).saying(&["the daemon on"]);
    let elsewhere = Installation::made();
    ask(&admin, &path(&elsewhere, "keyd.redb"), &key).expect(1).saying(&["the store's file"]);
    ask(&path(&place, "no.sock"), &path(&place, "keyd.redb"), &key).expect(75);

    drop(daemon);
    place.keyctl(&["check-key", "--socket", &admin, "--key-file", &key]).expect(69).saying(&["--store"]);
    ask(&admin, &path(&place, "keyd.redb"), &key).expect(0);
}

/// The variable is set in a shell for other commands; who names a configuration or a store means that one.
#[test]
fn a_configuration_or_store_that_was_named_goes_before_the_variable_that_names_a_socket() {
    let (place, elsewhere) = (Installation::made(), Installation::made());
    let daemon = elsewhere.serve_for_admin();
    let (socket, key) = (daemon.admin_socket.display().to_string(), path(&place, "master.key"));
    let (configuration, store) = (place.write_configuration().display().to_string(), path(&place, "keyd.redb"));
    let check = |arguments: &[&str]| {
        let run = Invocation::new([&["check-key", "--key-file", &key], arguments].concat());
        run.variable("SERVOS_KEYD_SOCKET", &socket).run(KEYCTL)
    };
    check(&["--config", &configuration]).expect(0).saying(&["the store's file", "SERVOS_KEYD_SOCKET", "is not used"]);
    check(&["--store", &store]).expect(0).saying(&["the store's file", "is not used"]);
    let its = elsewhere.store().display().to_string();
    let asked = check(&["--store", &its]).expect(1).saying(&["the daemon on"]);
    assert!(!asked.said().contains("is not used"), "{}", asked.said());
    check(&[]).expect(1).saying(&["the daemon on"]);
    check(&["--config", &configuration, "--socket", &socket]).expect(1).saying(&["the daemon on"]);
}

#[test]
fn a_configuration_is_shown_value_by_value_with_what_to_mend() {
    let place = Installation::new();
    std::fs::remove_file(place.path("master.key")).unwrap();
    let configuration = place.write_configuration().display().to_string();
    let said = json(&place.keyctl(&["config", "check", "--config", &configuration, "--json"]).expect(0).stdout);
    let settings = said["settings"].as_array().unwrap();
    let setting = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    assert_eq!(setting("limits.streams")["default"], true);
    assert_eq!(setting("store.path")["value"], path(&place, "keyd.redb"));
    assert_eq!(setting("store.path")["default"], false);
    let warnings = said["warnings"].to_string();
    assert!(warnings.contains("master_key.file") && warnings.contains("there is no store"), "{warnings}");

    let made = Installation::made();
    let text = made.keyctl(&["config", "check", "--config", &path(&made, "keyd.toml")]).expect(0).stdout;
    assert!(text.ends_with("Nothing to mend.\n"), "{text}");
    let column = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().find("default");
    assert_eq!(column("limits.streams "), column("log.level "));
}

#[test]
fn a_configuration_that_is_not_valid_ends_with_78_and_the_line_at_fault() {
    let place = Installation::new();
    place.write_private("bad.toml", b"[store]\npaht = \"/x\"\n");
    let bad = path(&place, "bad.toml");
    place.keyctl(&["config", "check", "--config", &bad]).expect(78).saying(&["bad.toml:2", "did you mean path?"]);
    let said = place.keyctl(&["config", "check", "--config", &bad, "--json"]).expect(78);
    assert_eq!(exit_in(&said), 78);
}

#[test]
fn mistakes_in_the_arguments_are_json_too_where_json_was_asked_for() {
    let place = Installation::new();
    let said = place.keyctl(&["encrypt", "--json", "--no-such-thing"]).expect(64);
    assert_eq!((exit_in(&said), said.stdout.as_str()), (64.into(), ""));
    let said = place.keyctl(&["--json"]).expect(64);
    assert_eq!(exit_in(&said), 64);
    place.keyctl(&[]).expect(64).saying(&["Commands:", "no command was given"]);
    place.keyctl(&["--help"]).expect(0).saying(&["78  wrong configuration"]);
}
