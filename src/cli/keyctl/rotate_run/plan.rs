//! What `rotate run` will do: which files it changes, how the daemon comes to read them, and what must be so before.
//!
//! Must never change anything; what is not as expected is refused here, before the first step.
//! Called by `rotate_run`.

use super::arguments::RunArguments;
use super::journal::Intent;
use super::place::{self, Place};
use super::unit;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::keyctl::output::{count, fields, push_list};
use crate::cli::keyctl::rotate_key_file::{KeyPlace, check_key_file, lies_in_memory, text_of};
use crate::cli::keyctl::{durable_file, old_text, rotate_begin, rotate_show};
use crate::client::key_admin::AdminClient;
use crate::client::rotation::BeginRotation;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{GetStatusResponse, KeySource, RotateResponse};
use crate::sys::locked::LockedMemory;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The files of a run.
pub(super) struct Found {
    /// Those that hold the key; none where all is done by hand.
    pub(super) places: Vec<Place>,
    /// The one that the rest lies beside.
    pub(super) main: PathBuf,
    /// The file of the new key.
    pub(super) next: PathBuf,
}

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

/// The files that are named, that the daemon opens, or that its unit takes the key from.
///
/// # Errors
/// 64 where none of them says it, and for what cannot be a key file.
pub(super) fn find(
    arguments: &RunArguments,
    status: Option<&GetStatusResponse>,
    memory: &LockedMemory,
) -> Result<Found, Failure> {
    if let Some(file) = &arguments.by_hand {
        let next = absolute(file)?;
        return Ok(Found { places: Vec::new(), main: next.clone(), next });
    }
    let credential = arguments.encrypted_credential.clone();
    let mut places = Vec::new();
    for file in &arguments.key_file {
        check_key_file(Some(file))?;
        places.push(Place { file: absolute(file)?, credential: credential.clone() });
    }
    if places.is_empty() {
        let told = match status {
            Some(status) => KeyPlace::find(status, None)?.map(|place| place.file),
            None => None,
        };
        places.extend(match told {
            Some(file) => Some(Place { file: absolute(&file)?, credential: None }),
            None => unit::source(&arguments.unit, memory)
                .map(|source| Place { file: source.file, credential: source.encrypted }),
        });
    }
    let Some(first) = places.first() else {
        let text = "it cannot be told which file the daemon's master key comes from";
        return Err(Failure::say(exit::USAGE, text).with_hint(
            "name it with --key-file FILE, as LoadCredential=, EnvironmentFile= or the compose file does; where no file of \
             this machine holds it: --by-hand FILE makes the new key in FILE, says what to do, and waits",
        ));
    };
    Ok(Found { main: first.file.clone(), next: first.next(), places })
}

/// Sees that everything is as it must be, and what is to be done.
///
/// # Errors
/// 65 if the files do not hold the key in use or a rotation is under way, 73 if something lies where the new key is to be
/// made, and what the daemon refuses.
pub(super) async fn make(
    arguments: &RunArguments,
    admin: &AdminClient,
    status: &GetStatusResponse,
    found: &Found,
    memory: &LockedMemory,
) -> Result<Plan, Failure> {
    if let Some(rotation) = &status.rotation {
        return Err(rotate_begin::busy(rotation));
    }
    let master = status.master_key.clone().unwrap_or_default();
    let old = master.fingerprint.as_str();
    let mut variables = Vec::new();
    for place in &found.places {
        let held = place.held(memory)?;
        if held.fingerprint() != old {
            let (file, held) = (place.file.display(), held.fingerprint());
            let text = format!("{file} holds the key {held}, and the daemon uses {old}");
            return Err(Failure::say(exit::DATA, text).with_hint(
                "name the file that the key in use comes from with --key-file FILE; `servos-keyctl check-key --key-file \
                 FILE` tells which key a file holds",
            ));
        }
        variables.extend(held.variable.map(|variable| (place.file.clone(), variable)));
    }
    check_one_text(&found.places, memory)?;
    check_free(&found.next, arguments)?;
    if let Some(first) = found.places.first() {
        check_kept(first, old, memory)?;
    }
    // The daemon judges everything but the key itself, which is made only once this is agreed to.
    let unused = place::generate(memory)?;
    let text = text_of(&unused, false, memory)?;
    let answer = admin
        .rotate(&BeginRotation {
            new_key_fingerprint: &unused.fingerprint().to_string(),
            new_key: Some(text.expose_bytes()),
            keep_data_keys: arguments.keep_data_keys,
            dry_run: true,
        })
        .await?;
    let intent = Intent {
        begun: key::now(),
        old: old.to_owned(),
        store_id: status.store.as_ref().map(|store| store.store_id.clone()).unwrap_or_default(),
        files: found.places.iter().map(|place| place.file.clone()).collect(),
        credential: found.places.first().and_then(|place| place.credential.clone()),
        next: found.next.clone(),
        restart: restart_of(arguments, &answer.sources, memory),
        keep_data_keys: arguments.keep_data_keys,
        seal_old_text: master.shared && !found.places.is_empty(),
    };
    let steps = steps(&intent, found, &variables, &answer);
    let risks = risks(&intent, found, &answer, master.shared);
    Ok(Plan { intent, is_env_file: !variables.is_empty(), answer, steps, risks })
}

impl Plan {
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

fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(file).map_err(|error| Failure::reading(file, &error))?;
    if absolute.to_str().is_none() {
        let text = format!("the name {} is no UTF-8, and no journal can hold it", file.display());
        return Err(Failure::say(exit::USAGE, text).with_hint("name the file through a link, or change it by hand"));
    }
    Ok(absolute)
}

/// One text is kept, sealed and put back: another one, in which the same key stands too, would be lost.
fn check_one_text(places: &[Place], memory: &LockedMemory) -> Result<(), Failure> {
    let Some(first) = places.first() else { return Ok(()) };
    let text = first.held(memory)?.text;
    for place in places {
        if !place.holds_only(text.expose_bytes(), memory)? {
            let file = place.file.display();
            let text = format!(
                "the key stands in {file} in another text than in {}, and only one is kept",
                first.file.display()
            );
            return Err(Failure::say(exit::DATA, text).with_hint(
                "write it the same way everywhere first (hex or base64, small or capital letters); keep the other text where \
                 anything has it as its password",
            ));
        }
    }
    Ok(())
}

fn check_free(next: &Path, arguments: &RunArguments) -> Result<(), Failure> {
    if next.symlink_metadata().is_err() {
        return Ok(());
    }
    let (shown, quoted) = (next.display(), shell_quoted(next));
    let hint = match arguments.by_hand {
        Some(_) => "name a file that does not exist yet".to_owned(),
        None => format!(
            "if it holds a key that is to be used, `servos-keyctl rotate begin` begins with it; else move it away: \
             `mv {quoted} {quoted}.unused`"
        ),
    };
    Err(Failure::say(exit::CANNOT_CREATE, format!("{shown}, where the new key is to be made, exists already"))
        .with_hint(hint))
}

fn check_kept(place: &Place, old: &str, memory: &LockedMemory) -> Result<(), Failure> {
    let kept = place.kept(old);
    if kept.symlink_metadata().is_err() || place.held_in(&kept, memory).is_ok_and(|held| held.fingerprint() == old) {
        return Ok(());
    }
    let text = format!("{}, where the old key is to be kept, exists already and does not hold it", kept.display());
    Err(Failure::say(exit::CANNOT_CREATE, text).with_hint(durable_file::how_to_move_away(&kept)))
}

/// How the daemon comes to read sources that it cannot read anew by itself.
fn restart_of(arguments: &RunArguments, sources: &[KeySource], memory: &LockedMemory) -> Option<String> {
    let is_needed = sources.iter().any(|source| source.needs_restart);
    let of_unit = || unit::is_active(&arguments.unit, memory).then(|| unit::restart_command(&arguments.unit));
    if is_needed { arguments.restart.clone().or_else(of_unit) } else { None }
}

/// Sources that hold the key in none of the files that are changed: where none is, all of them.
pub(super) fn is_elsewhere(source: &KeySource, files: &[PathBuf]) -> bool {
    let is_of = |file: &PathBuf| {
        let rest = source.name.strip_prefix(&*file.to_string_lossy());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    };
    files.is_empty() || (!source.needs_restart && !files.iter().any(is_of))
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
    for place in &found.places {
        let file = place.file.display();
        let names: Vec<&str> =
            variables.iter().filter(|(of, _)| *of == place.file).map(|(_, variable)| *variable).collect();
        steps.push(match (&place.credential, names.as_slice()) {
            (Some(name), _) => format!("Put the new key, encrypted as {name}, into {file}."),
            (None, []) => format!("Put the new key into {file}."),
            (None, names) => format!("Put the new key into {file}, as {}; every other byte stays.", names.join(", ")),
        });
    }
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
