//! Declared other uses of the master key's text: listed by each rotation, with the day until which the old text is
//! kept.
//!
//! Must never pass for a shared key alone: that one is told of Restic anyway.
//! Run by `cargo test`.

use crate::harness::{Installation, KEYCTL, fingerprint, is_root, not_run};
use serde_json::Value;

fn uses(shown: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(shown).unwrap();
    value["other_uses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn begin_and_finish_list_what_the_configuration_declares_and_an_abort_does_not() {
    if !is_root() {
        return not_run("other uses are configured, and only root administers on the admin socket");
    }
    let mut installation = Installation::made();
    installation.more = "[other_uses]\nrestic-volumes = \"365d\"\n\"a.b\" = \"1d\"\n".to_owned();
    let old = fingerprint(installation.key);
    let daemon = installation.serve();
    let begin = ["--json", "rotate", "begin", "--generate", "--yes"];
    let shown = daemon.keyctl(&begin).run(KEYCTL).expect(0);
    let told = uses(&shown.stdout);
    assert_eq!(told.len(), 2, "{told:?}");
    for (sentence, name, years) in [(&told[0], "a.b", 0), (&told[1], "restic-volumes", 1)] {
        assert!(sentence.starts_with(&format!("{name}: keep the text of {old} for it until ")), "{sentence}");
        let until: i32 = sentence.split(" until ").nth(1).unwrap()[..4].parse().unwrap();
        let now = time::OffsetDateTime::now_utc().year();
        assert!((now + years..=now + years + 1).contains(&until), "{sentence}");
    }
    daemon.keyctl(&["--json", "rotate", "abort", "--yes"]).run(KEYCTL).expect(0).not_saying(&["restic-volumes"]);
    daemon.keyctl(&["rotate", "begin", "--yes"]).run(KEYCTL).expect(0);
    std::fs::copy(installation.path("master.key.next"), installation.path("master.key")).unwrap();
    let shown = daemon.keyctl(&["rotate", "finish", "--yes"]).run(KEYCTL).expect(0);
    shown.saying(&["What else the old key may be used for:", "restic-volumes: keep the text of ", " in [other_uses]."]);
}

#[test]
fn config_check_shows_what_is_declared() {
    let mut installation = Installation::new();
    installation.more = "[other_uses]\nrestic-volumes = \"365d\"\n".to_owned();
    let path = installation.write_configuration();
    let path = path.to_str().unwrap();
    let shown = installation.keyctl(&["config", "check", "--config", path]).expect(0);
    shown.saying(&["other_uses.restic-volumes", "365d"]);
    let shown = installation.keyctl(&["--json", "config", "check", "--config", path]).expect(0);
    let value: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(value["other_uses"]["restic-volumes"], "365d");
}
