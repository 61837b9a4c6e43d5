//! What `rotate run` will do, step by step, and what is to be known before it is agreed to.
//!
//! Must never leave out a step that changes something outside of the daemon.
//! Made by `prepare`, and shown by `rotate_run`.

use super::found::{Found, is_elsewhere};
use super::journal::Intent;
use super::place::Place;
use crate::cli::keyctl::output::{count, fields, push_list};
use crate::cli::keyctl::rotate_key_file::lies_in_memory;
use crate::cli::keyctl::{old_text, rotate_show};
use crate::proto::v1::RotateResponse;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A plan that can be carried out.
pub(super) struct Plan {
    pub(super) intent: Intent,
    /// Whether components may read the file too that is changed.
    pub(super) is_env_file: bool,
    /// What the daemon says it would do.
    answer: RotateResponse,
    steps: Vec<String>,
    risks: Vec<String>,
}

impl Plan {
    /// The plan for these files; `variables` names those that are env files, each with the variable of the key.
    pub(super) fn of(
        intent: Intent,
        found: &Found,
        variables: &[(PathBuf, &'static str)],
        answer: RotateResponse,
        is_shared: bool,
    ) -> Self {
        let steps = steps(&intent, found, variables, &answer);
        let risks = risks(&intent, found, &answer, is_shared);
        Self { intent, is_env_file: !variables.is_empty(), answer, steps, risks }
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let old = &self.intent.old;
        let mut rows = vec![("master key", format!("{old} is in use, and will be replaced by a new one"))];
        rows.extend(self.answer.sources.iter().map(|source| {
            let restart = if source.needs_restart { "; a change there needs a restart of the daemon" } else { "" };
            ("key source", format!("{}{restart}", source.name))
        }));
        let rotation = self.answer.rotation.clone().unwrap_or_default();
        rows.push(("data keys", rotate_show::data_keys(&rotation, Some(self.answer.data_keys))));
        rows.push(("seals", format!("{} made anew", count(self.answer.seals, "seal"))));
        let mut text = fields(&rows);
        text.push_str("\nWhat will be done:\n");
        for (at, step) in self.steps.iter().enumerate() {
            text.push_str(&format!("  {}. {step}\n", at + 1));
        }
        push_list(&mut text, "Backups that the old key opens, and goes on opening:", &self.answer.old_key_backups);
        push_list(&mut text, "What else the old key may be used for:", &self.answer.other_uses);
        push_list(&mut text, "What to know:", &self.risks);
        text
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        let path = |path: &PathBuf| path.display().to_string();
        json!({
            "dry_run": true,
            "old_fingerprint": self.intent.old,
            "store_id": self.intent.store_id,
            "files": self.intent.files.iter().map(path).collect::<Vec<_>>(),
            "new_key_file": path(&self.intent.next),
            "restart": self.intent.restart,
            "components_must_be_migrated": self.is_env_file,
            "sources": rotate_show::sources_value(&self.answer.sources),
            "seals": self.answer.seals,
            "data_keys": self.answer.data_keys,
            "old_key_backups": self.answer.old_key_backups,
            "other_uses": self.answer.other_uses,
            "steps": self.steps,
            "risks": self.risks,
        })
    }
}

fn steps(
    intent: &Intent,
    found: &Found,
    variables: &[(PathBuf, &'static str)],
    answer: &RotateResponse,
) -> Vec<String> {
    let next = intent.next.display();
    let mut steps = vec![format!("Make a new key in {next}, for those who may read the old one.")];
    if intent.seal_old_text {
        let sealed = old_text::file(&found.main, &intent.old);
        steps.push(format!(
            "Seal the old key's exact text, which is Restic's repository password, under the key {} in {}.",
            old_text::KEY,
            sealed.display()
        ));
    }
    if let Some(first) = found.places.first() {
        steps.push(format!(
            "Keep the old key in {}: backups from before open with it alone.",
            first.kept(&intent.old).display()
        ));
    }
    steps.push(format!("Write a backup to {}.", answer.backup));
    steps.push("Begin: from there on both keys open the store.".to_owned());
    steps.extend(found.places.iter().map(|place| put(place, variables)));
    let elsewhere: Vec<&str> = answer
        .sources
        .iter()
        .filter(|source| is_elsewhere(source, &intent.files))
        .map(|source| source.name.as_str())
        .collect();
    if !elsewhere.is_empty() {
        steps.push(format!("Tell you to put the new key where {} comes from, and wait.", elsewhere.join(", ")));
    }
    if answer.sources.iter().any(|source| source.needs_restart) {
        steps.push(match &intent.restart {
            Some(command) => format!("Restart the daemon: {command}"),
            None => "Tell you to restart the daemon, and wait.".to_owned(),
        });
    }
    steps.push("Finish: from there on the new key alone opens the store.".to_owned());
    steps.push("See that the canary opens under the new key.".to_owned());
    if !found.places.is_empty() {
        steps.push(format!("Remove {next}."));
    }
    steps
}

/// How the new key comes into a file.
fn put(place: &Place, variables: &[(PathBuf, &'static str)]) -> String {
    let file = place.file.display();
    let names: Vec<&str> =
        variables.iter().filter(|(of, _)| *of == place.file).map(|(_, variable)| *variable).collect();
    match (&place.credential, names.as_slice()) {
        (Some(name), _) => format!("Put the new key, encrypted as {name}, into {file}."),
        (None, []) => format!("Put the new key into {file}."),
        (None, names) => format!("Put the new key into {file}, as {}; every other byte stays.", names.join(", ")),
    }
}

fn risks(intent: &Intent, found: &Found, answer: &RotateResponse, is_shared: bool) -> Vec<String> {
    let old = &intent.old;
    let mut risks = vec![
        "Until the new key is put into its place, --undo goes back without a trace; after the finish nothing does."
            .to_owned(),
    ];
    risks.extend(found.places.iter().filter(|place| lies_in_memory(&place.file)).map(|place| {
        format!(
            "{} lies in memory: the new key is gone when the machine stops; keep a copy on a disk.",
            place.file.display()
        )
    }));
    if found.places.is_empty() {
        risks.push(format!("The old key {old} is not kept by this command: keep it for the backups that it opens."));
        if is_shared {
            risks.push(
                "Nor is its text sealed, which Restic's repositories may have as their password: keep that too."
                    .to_owned(),
            );
        }
    }
    if intent.keep_data_keys {
        risks.push(format!(
            "The data keys keep their versions: who has {old} and a copy of the store opens what they seal."
        ));
    }
    if answer.sources.iter().any(|source| source.needs_restart) && intent.restart.is_none() {
        risks.push("The daemon must be restarted by you; --restart COMMAND has it done.".to_owned());
    }
    risks
}
