//! A run that is killed at every step, for each kind of source: the daemon starts, every value opens, and the run goes on or
//! back, to one end or the other.
//!
//! Must never expect less of one source than of another. Run by `cargo test`.

use crate::harness::{Outcome, block_on, is_root, name, not_run};
use crate::service::{Service, fingerprint_of};
use crate::source::Source;
use servos_keyd::client::context::Context;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;

const STEPS: [&str; 10] = [
    "make-key",
    "seal-old-text",
    "keep-old-key",
    "backup",
    "begin",
    "replace",
    "restart",
    "finish",
    "check",
    "tidy-up",
];

/// The points on the way back.
const WAY_BACK: [&str; 4] = ["run-turned-back", "run-put-back", "run-aborted", "run-new-key-away"];

#[test]
fn a_run_over_a_key_file_survives_its_death_at_every_step() {
    every_death(Source::KeyFile);
}

#[test]
fn a_run_over_a_key_file_in_base64_behind_a_link_survives_its_death_at_every_step() {
    every_death(Source::LinkedKeyFile);
}

#[test]
fn a_run_over_an_env_file_of_servos_survives_its_death_at_every_step() {
    every_death(Source::ServosEnv);
}

#[test]
fn a_run_over_an_env_file_of_act_survives_its_death_at_every_step() {
    every_death(Source::ActEnv);
}

#[test]
fn a_run_over_a_credential_survives_its_death_at_every_step() {
    every_death(Source::Credential);
}

#[test]
fn a_run_over_an_env_file_that_is_a_credential_survives_its_death_at_every_step() {
    every_death(Source::CredentialEnv);
}

#[test]
fn a_run_over_an_encrypted_credential_survives_its_death_at_every_step() {
    every_death(Source::EncryptedCredential);
}

#[test]
fn a_run_over_a_compose_files_secret_survives_its_death_at_every_step() {
    every_death(Source::ComposeSecret);
}

#[test]
fn a_run_over_an_environment_file_survives_its_death_at_every_step() {
    every_death(Source::EnvironmentFile);
}

fn every_death(source: Source) {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let mut template = Service::set(source);
    template.daemon.take().unwrap().stop().expect(0);
    let points = points_of_a_whole_run(&template);
    let (mut went_back, mut too_late) = (0, 0);
    for point in &points {
        eprintln!("{source:?}, dead at {point}: resumed");
        resumed(&template, point);
        eprintln!("{source:?}, dead at {point}: undone");
        match undone(&template, point, None, false) {
            true => went_back += 1,
            false => too_late += 1,
        }
    }
    for point in WAY_BACK {
        eprintln!("{source:?}, dead on the way back at {point}");
        assert!(undone(&template, "run-entered-restart", Some(point), false));
        eprintln!("{source:?}, dead on the way back at {point}, and started again");
        // Before the old key is back, a start that reads the file finds the new one, and finishes.
        let is_finished = point == WAY_BACK[0] && source != Source::EnvironmentFile;
        assert_eq!(undone(&template, "run-entered-restart", Some(point), true), !is_finished);
    }
    assert!(went_back >= 13 && too_late >= 4, "{went_back} and {too_late}");
    // Past what the runner of the tests holds back: `tests/survival/run` counts these lines.
    let told = format!(
        "rotate run: {source:?}: dead at {} points; resumed {}, undone {went_back}, too late to undo {too_late}; dead on the \
         way back at {}\n",
        points.len(),
        points.len(),
        WAY_BACK.len()
    );
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

/// Runs one to its end, and returns where it can die.
fn points_of_a_whole_run(template: &Service) -> Vec<String> {
    let mut service = template.again();
    let file = service.installation.path("points");
    let outcome = service.rotate(&["--yes"], &[("SERVOS_KEYD_POINTS_TO", file.to_str().unwrap())]).expect(0);
    shows_no_key(&service, &outcome);
    check_rotated(&mut service);
    let points = std::fs::read_to_string(file).unwrap();
    let points: Vec<String> = points.lines().map(str::to_owned).collect();
    for step in STEPS {
        for kind in ["entered", "done"] {
            assert!(points.contains(&format!("run-{kind}-{step}#1")), "{kind} {step}: {points:?}");
        }
    }
    assert!(points.contains(&"key-file-written#1".to_owned()), "{points:?}");
    points
}

fn die(service: &mut Service, arguments: &[&str], point: &str) {
    let point = if point.contains('#') { point.to_owned() } else { format!("{point}#1") };
    let dead = service.rotate(arguments, &[("SERVOS_KEYD_DIE_AT", &point)]);
    assert_eq!(dead.signal, Some(6), "it did not die at {point}: {dead:#?}");
    shows_no_key(service, &dead);
}

/// Dead at a point; the daemon is started as the machine would; then the run goes on.
fn resumed(template: &Service, point: &str) {
    let mut service = template.again();
    die(&mut service, &["--yes"], point);
    service.daemon.take().unwrap().kill();
    service.start();
    service.check_values();
    let again = service.rotate(&["--yes"], &[]).expect(75);
    again.saying(&["was interrupted", "--resume", "--undo"]);
    let outcome = service.rotate(&["--resume", "--yes"], &[]).expect(0);
    shows_no_key(&service, &outcome);
    check_rotated(&mut service);
}

/// Dead at a point, while the daemon goes on; then the run goes back, and perhaps dies on the way.
///
/// Answers whether it could go back: else the new key alone opened the store already, and it went on.
fn undone(template: &Service, point: &str, dies_again: Option<&str>, starts_again: bool) -> bool {
    let mut service = template.again();
    die(&mut service, &["--yes"], point);
    service.check_values();
    if is_over(&service) {
        assert_eq!(dies_again, None);
        only_goes_on(&mut service);
        return false;
    }
    let journal = std::fs::read_to_string(service.beside(".rotation")).unwrap();
    if let Some(point) = dies_again {
        die(&mut service, &["--undo"], point);
        service.check_values();
        if starts_again {
            service.daemon.take().unwrap().kill();
            service.start();
            service.check_values();
            if is_over(&service) {
                only_goes_on(&mut service);
                return false;
            }
        }
        let wrong_way = service.rotate(&["--resume", "--yes"], &[]).expect(65);
        wrong_way.saying(&["is being undone", "--undo"]);
    }
    let outcome = service.rotate(&["--undo"], &[]).expect(0);
    shows_no_key(&service, &outcome);
    // What was in the old key's place may have sealed something.
    let is_kept = service.left().iter().any(|left| left.contains(".next.aborted-"));
    assert_eq!(is_kept, journal.contains(r#"{"step":"replace"}"#), "{journal}");
    check_undone(&mut service, template);
    true
}

/// Too late to go back: that is refused, and the run goes on to its end.
fn only_goes_on(service: &mut Service) {
    let refused = service.rotate(&["--undo"], &[]).expect(65);
    refused.saying(&["nothing takes that back", "--resume"]);
    service.rotate(&["--resume", "--yes"], &[]).expect(0);
    check_rotated(service);
}

/// Whether the new key alone opens the store.
fn is_over(service: &Service) -> bool {
    let status = block_on(service.daemon.as_ref().unwrap().admin().status()).unwrap();
    let opens = status.rotation.map(|rotation| rotation.opens);
    let opens = opens.unwrap_or_else(|| vec![status.master_key.unwrap().fingerprint]);
    !opens.contains(&service.old())
}

/// The new key is everywhere, the old one nowhere but where it is kept.
#[track_caller]
fn check_rotated(service: &mut Service) {
    let (old, new) = (service.old(), service.key_in_use());
    assert_ne!(old, new);
    let text = service.key_text();
    assert_eq!(fingerprint_of(&text), new);
    let is_base64 = service.source == Source::LinkedKeyFile;
    assert_eq!(text.len(), if is_base64 { 44 } else { 64 }, "the form of the key changed");
    let name = service.file().file_name().unwrap().to_str().unwrap().to_owned();
    let mut left = vec![format!("{name}.old-{old}"), format!("former-master-key-{old}.skd1")];
    left.sort();
    assert_eq!(service.left(), left);
    assert_eq!(old_key_kept(service), old);
    check_old_text(service);
    service.check_values();
    service.daemon.take().unwrap().stop().expect(0);
    assert_eq!(service.installation.opened_by(&[service.installation.key]), Vec::<[u8; 32]>::new());
    service.start();
    assert_eq!(service.key_in_use(), new);
    service.check_values();
}

/// The fingerprint of the key that is kept beside the file.
fn old_key_kept(service: &Service) -> String {
    let kept = service.beside(&format!(".old-{}", service.old()));
    let made = kept.metadata().unwrap();
    // What is encrypted is as open as it was, but for others.
    let mode = if service.source == Source::EncryptedCredential { 0o640 } else { 0o600 };
    assert_eq!(made.mode() & 0o7777, mode);
    match service.source {
        Source::EncryptedCredential => fingerprint_of(&service.source.key_text(&kept)),
        _ => {
            let text = std::fs::read_to_string(kept).unwrap();
            let text = text.trim();
            let key = ["SERVOS_MASTER_KEY=", "ACT_MASTER_KEY="].iter().find_map(|name| text.strip_prefix(name));
            fingerprint_of(key.unwrap_or(text))
        }
    }
}

/// The exact text that other things have as a password can be had from the daemon.
#[track_caller]
fn check_old_text(service: &Service) {
    let old = service.old();
    let sealed = service.file().with_file_name(format!("former-master-key-{old}.skd1"));
    let sealed = std::fs::read_to_string(sealed).unwrap();
    let context = Context::new("use", "former-master-key").with("fingerprint", &old);
    let client = service.daemon.as_ref().unwrap().component();
    let opened = block_on(client.decrypt_base64(&name("backups"), sealed.trim(), &context)).unwrap();
    let text = std::str::from_utf8(&opened.plaintext).unwrap();
    assert_eq!(text.len(), if service.source == Source::LinkedKeyFile { 44 } else { 64 });
    assert_eq!(fingerprint_of(text), old);
}

/// The old key is where it was, to the byte.
#[track_caller]
fn check_undone(service: &mut Service, template: &Service) {
    let old = service.old();
    assert_eq!(service.key_in_use(), old);
    assert_eq!(fingerprint_of(&service.key_text()), old);
    assert_eq!(service.key_text(), template.key_text());
    let name = service.file().file_name().unwrap().to_str().unwrap().to_owned();
    let kept = [format!("{name}.next.aborted-"), "former-master-key-".to_owned()];
    for left in service.left() {
        assert!(kept.iter().any(|kept| left.starts_with(kept)), "{left} is left");
    }
    service.check_values();
    service.daemon.take().unwrap().stop().expect(0);
    service.start();
    assert_eq!(service.key_in_use(), old);
    service.check_values();
    // It can be rotated after all.
    service.rotate(&["--yes", "--dry-run"], &[]).expect(0).saying(&["What will be done"]);
}

/// Nothing that was printed holds a key.
#[track_caller]
fn shows_no_key(service: &Service, outcome: &Outcome) {
    let said = outcome.said();
    let words = said.split(|one: char| !one.is_ascii_alphanumeric() && !matches!(one, '+' | '/' | '='));
    for word in words {
        let is_hex = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_base64 = word.len() == 44 && word.ends_with('=');
        assert!(!is_hex && !is_base64, "a key is shown by {:?}", service.source);
    }
}
