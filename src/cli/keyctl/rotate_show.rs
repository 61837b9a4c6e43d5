//! How a rotation of the master key looks, to people and to programs.
//!
//! Must never say that a key opens the store, or does not, but by the list of those that do.
//! Called by `status` and the subcommands of `rotate`.

use super::output::{count, time, time_value};
use crate::proto::v1::{KeySource, Rotation, RotationState, RotationStep};
use serde_json::{Value, json};

/// The rotation in fields, the first of which names it.
pub(super) fn rows(rotation: &Rotation) -> Vec<(&'static str, String)> {
    let (is_stopped, state) = (needs_restart(&rotation.problem), rotation.state());
    let said = match state {
        RotationState::Pending => "pending: it waits for `servos-keyctl rotate finish`, or `abort`",
        RotationState::Finishing if is_stopped => "finishing: what is left goes on once the daemon is restarted",
        RotationState::Aborting if is_stopped => "aborting: what is left goes on once the daemon is restarted",
        RotationState::Finishing => "finishing: what is left goes on by itself",
        RotationState::Aborting => "aborting: what is left goes on by itself",
        RotationState::Finished => "finished",
        RotationState::Aborted => "aborted",
        RotationState::Unspecified => "unknown to this tool",
    };
    let key = |fingerprint: &str| format!("{fingerprint}, {}", opening(rotation, fingerprint));
    let mut rows = vec![
        ("rotation", said.to_owned()),
        ("  begun", time(rotation.begun)),
        ("  old key", key(&rotation.old_fingerprint)),
        ("  new key", key(&rotation.new_fingerprint)),
    ];
    if state != RotationState::Pending {
        rows.push(("  at", step(rotation)));
    }
    if !rotation.problem.is_empty() {
        let then = match state {
            RotationState::Pending => "the start could not finish the rotation",
            _ if is_stopped => "restart the daemon",
            _ => "it is tried again every minute",
        };
        rows.push(("  PROBLEM", format!("{}; {then}", rotation.problem)));
    }
    rows
}

/// Whether a problem stays until the daemon is restarted, which its words then say.
fn needs_restart(problem: &str) -> bool {
    problem.to_ascii_lowercase().contains("restart")
}

/// What to do about a problem of a rotation that is decided.
pub(super) fn remedy(problem: &str) -> &'static str {
    match needs_restart(problem) {
        true => "restart the daemon: the rest goes on then",
        false => "mend that; the daemon tries again every minute",
    }
}

/// The rotation of an answer in fields, behind the word that nothing was changed if that is so.
pub(super) fn answer_rows(rotation: &Rotation, dry_run: bool) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if dry_run {
        rows.push(("dry run", "nothing was changed; this is how it would be".to_owned()));
    }
    rows.extend(self::rows(rotation));
    rows
}

fn opening(rotation: &Rotation, fingerprint: &str) -> &'static str {
    if rotation.opens.iter().any(|opens| opens == fingerprint) { "opens the store" } else { "opens nothing" }
}

/// What it is at, with how much of that is done.
pub(super) fn step(rotation: &Rotation) -> String {
    match rotation.total {
        0 => step_words(rotation).to_owned(),
        total => format!("{}, {} of {total}", step_words(rotation), rotation.done.min(total)),
    }
}

/// What it is at.
pub(super) fn step_words(rotation: &Rotation) -> &'static str {
    match rotation.step() {
        RotationStep::Waiting => "waiting for finish or abort",
        RotationStep::Resealing => "making seals anew",
        RotationStep::Rewriting => "writing the store's file anew",
        RotationStep::NewVersions => "making new versions of the data keys",
        RotationStep::Backup => "writing a backup",
        RotationStep::Done => "nothing is left",
        RotationStep::Unspecified => "a step that this tool does not know",
    }
}

/// The rotation for programs.
pub(super) fn value(rotation: &Rotation) -> Value {
    let state = match rotation.state() {
        RotationState::Pending => "pending",
        RotationState::Finishing => "finishing",
        RotationState::Aborting => "aborting",
        RotationState::Finished => "finished",
        RotationState::Aborted => "aborted",
        RotationState::Unspecified => "unknown",
    };
    let step = match rotation.step() {
        RotationStep::Waiting => "waiting",
        RotationStep::Resealing => "resealing",
        RotationStep::Rewriting => "rewriting",
        RotationStep::NewVersions => "new_versions",
        RotationStep::Backup => "backup",
        RotationStep::Done => "done",
        RotationStep::Unspecified => "unknown",
    };
    json!({
        "state": state,
        "old_fingerprint": rotation.old_fingerprint,
        "new_fingerprint": rotation.new_fingerprint,
        "begun": time_value(rotation.begun),
        "opens": rotation.opens,
        "new_data_keys": rotation.new_data_keys,
        "step": step,
        "done": rotation.done,
        "total": rotation.total,
        "problem": rotation.problem,
        "next": rotation.next,
    })
}

/// The rotation for programs, with where the daemon looks for the new key.
pub(super) fn status_value(rotation: &Rotation, next_file: Option<&str>) -> Value {
    let mut value = value(rotation);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("next_file".to_owned(), json!(next_file));
    }
    value
}

/// Key sources in fields.
pub(super) fn source_rows(sources: &[KeySource], rotation: &Rotation) -> Vec<(&'static str, String)> {
    let row = |source: &KeySource| {
        let which = match &source.fingerprint {
            key if *key == rotation.old_fingerprint => "the old key",
            key if *key == rotation.new_fingerprint => "the new key",
            _ => "another key",
        };
        let restart = if source.needs_restart { "; a change there needs a restart of the daemon" } else { "" };
        ("key source", format!("{} holds {which}{restart}", source.name))
    };
    sources.iter().map(row).collect()
}

/// Key sources for programs.
pub(super) fn sources_value(sources: &[KeySource]) -> Value {
    let source = |source: &KeySource| json!({"name": source.name, "fingerprint": source.fingerprint, "needs_restart": source.needs_restart});
    sources.iter().map(source).collect()
}

/// What happens to the data keys at the end.
pub(super) fn data_keys(rotation: &Rotation, number: Option<u32>) -> String {
    match (rotation.new_data_keys, number) {
        (true, Some(number)) => format!("{} will get a new version", count(number, "key")),
        (true, None) if matches!(rotation.state(), RotationState::Finished | RotationState::Aborted) => {
            "each has a new version".to_owned()
        }
        (true, None) => "each gets a new version".to_owned(),
        (false, _) => "they keep their versions".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_key_opens_is_told_by_the_list_alone() {
        let rotation = Rotation {
            state: RotationState::Finishing.into(),
            step: RotationStep::Resealing.into(),
            old_fingerprint: "00".into(),
            new_fingerprint: "11".into(),
            opens: vec!["00".into()],
            done: 7,
            total: 5,
            problem: "the disk is full".into(),
            ..Rotation::default()
        };
        let row = |name: &str| rows(&rotation).into_iter().find(|row| row.0.trim() == name).unwrap().1;
        assert_eq!((row("old key").as_str(), row("new key").as_str()), ("00, opens the store", "11, opens nothing"));
        assert_eq!(row("at"), "making seals anew, 5 of 5");
        assert_eq!(row("PROBLEM"), "the disk is full; it is tried again every minute");
        let pending = Rotation { state: RotationState::Pending.into(), ..rotation.clone() };
        let problem = rows(&pending).pop().unwrap().1;
        assert_eq!(problem, "the disk is full; the start could not finish the rotation", "nothing is tried again");
    }

    #[test]
    fn where_a_restart_is_needed_nothing_is_said_to_go_on_by_itself() {
        for (state, name) in [(RotationState::Finishing, "finishing"), (RotationState::Aborting, "aborting")] {
            let problem = "a change broke off half way; a restart of the daemon is needed".to_owned();
            let suspended = Rotation { state: state.into(), problem, ..Rotation::default() };
            let rows = rows(&suspended);
            assert_eq!(rows[0].1, format!("{name}: what is left goes on once the daemon is restarted"));
            assert!(rows.last().unwrap().1.ends_with("is needed; restart the daemon"), "{rows:?}");
            assert!(!rows.iter().any(|row| row.1.contains("every minute") || row.1.contains("by itself")), "{rows:?}");
        }
    }

    #[test]
    fn what_a_newer_daemon_says_is_not_taken_for_something_known() {
        let rotation = Rotation { state: 77, step: 77, ..Rotation::default() };
        assert_eq!((&value(&rotation)["state"], &value(&rotation)["step"]), (&"unknown".into(), &"unknown".into()));
        assert_eq!(step(&rotation), "a step that this tool does not know");
    }
}
