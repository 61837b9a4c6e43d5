//! `servos-keyctl rotate finish`: the new key alone opens the store from here on.
//!
//! Must never remove `.next` before the daemon has decided and the key file holds the same key.
//! Called by `rotate`.

use super::console::Console;
use super::output::{fields, push_list};
use super::rotate_end::{EndArguments, under_way};
use super::rotate_key_file::{Cleared, KeyPlace, check_key_file};
use super::{rotate_show, rotate_wait};
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::client::key_admin::AdminClient;
use crate::proto::v1::{FinishRotationResponse, GetStatusResponse, Rotation, RotationState};
use crate::sys::locked::LockedMemory;
use serde_json::json;

/// What is told at the end.
struct Told<'t> {
    answer: &'t FinishRotationResponse,
    rotation: Rotation,
    place: Option<&'t KeyPlace>,
    cleared: Option<Cleared>,
    /// Legacy keys that were held before.
    legacy: bool,
}

/// Finishes a rotation.
pub(super) async fn run(console: &mut Console, admin: &AdminClient, arguments: &EndArguments) -> Result<(), Failure> {
    check_key_file(arguments.key_file.as_deref())?;
    let status = admin.status().await?;
    let place = KeyPlace::find(&status, arguments.key_file.as_deref())?;
    let memory = key::memory()?;
    let rotation = match under_way(&status) {
        Ok(rotation) => rotation,
        Err(failure) if arguments.dry_run => return Err(failure),
        Err(failure) => return tidy(console, &status, place.as_ref(), failure, &memory),
    };
    let (new, legacy) = (rotation.new_fingerprint.as_str(), !status.legacy_keys.is_empty());
    let told = |answer, rotation, cleared| Told { answer, rotation, place: place.as_ref(), cleared, legacy };
    if arguments.dry_run {
        let answer = admin.finish_rotation(new, true).await?;
        let rotation = answer.rotation.clone().unwrap_or_default();
        return show(console, &told(&answer, rotation, None));
    }
    // The daemon is about to rest on what an operator has just written there.
    place.iter().for_each(KeyPlace::settle);
    if rotation.state() == RotationState::Pending && !arguments.yes {
        console.check_confirmable(false)?;
        // What the daemon refuses is not asked about.
        let answer = admin.finish_rotation(new, true).await?;
        console.confirm(&question(&answer, rotation), "yes", false)?;
    }
    let answer = admin.finish_rotation(new, false).await?;
    let mut rotation = answer.rotation.clone().unwrap_or_default();
    let is_decided = matches!(rotation.state(), RotationState::Finishing | RotationState::Finished);
    if is_decided {
        console.hint(&format!("The key {new} alone opens the store now."));
    }
    let cleared = place.as_ref().filter(|_| is_decided).map(|place| place.clear_next(new, &memory));
    if let (Some(Cleared::Removed), Some(place)) = (&cleared, &place) {
        console.hint(&format!("Removed {}: {} holds the same key.", place.next.display(), place.file.display()));
    }
    if !arguments.no_wait {
        rotate_wait::wait(console, admin, new, new).await?;
        rotation = rotate_wait::ended(rotation);
    }
    show(console, &told(&answer, rotation, cleared))
}

/// A start of the daemon may have finished the rotation: then only `.next` is left.
fn tidy(
    console: &mut Console,
    status: &GetStatusResponse,
    place: Option<&KeyPlace>,
    failure: Failure,
    memory: &LockedMemory,
) -> Result<(), Failure> {
    let in_use = status.master_key.as_ref().map(|master| master.fingerprint.as_str()).unwrap_or_default();
    let Some(place) = place else { return Err(failure) };
    match place.clear_next(in_use, memory) {
        Cleared::Removed => {}
        Cleared::Absent => return Err(failure),
        Cleared::Kept(why) => {
            let hint = failure.hint.clone().map_or(why.clone(), |before| format!("{before}; {why}"));
            return Err(failure.with_hint(hint));
        }
    }
    let next = place.next.display().to_string();
    let value = json!({
        "dry_run": false,
        "rotation": null,
        "fingerprint": in_use,
        "new_key_file": next,
        "new_key_file_removed": true,
    });
    let rows = [
        ("rotation", "none is under way; a start of the daemon finished it".to_owned()),
        ("master key", format!("{in_use}, in {}", place.file.display())),
        ("removed", next),
    ];
    console.result(&value, &fields(&rows))
}

fn question(answer: &FinishRotationResponse, rotation: &Rotation) -> String {
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    let mut text = format!(
        "Finishing the rotation from {old} to {new}: from then on {new} alone opens the store, and nothing takes that \
         back.\n  \
         - {new} must be kept on another machine by now, apart from the store and its backups.\n  \
         - {old} opens nothing any more but backups from before: keep it as long as one of them may be needed.\n"
    );
    push_list(&mut text, "Backups here that only the old key opens:", &answer.old_key_backups);
    text
}

fn show(console: &mut Console, told: &Told<'_>) -> Result<(), Failure> {
    let (answer, rotation) = (told.answer, &told.rotation);
    let (next, risks) = (next_steps(told), risks(told));
    let is_removed = matches!(told.cleared, Some(Cleared::Removed));
    let next_file = told.place.map(|place| place.next.display().to_string());
    let value = json!({
        "dry_run": answer.dry_run,
        "rotation": rotate_show::value(rotation),
        "new_key_file": next_file,
        "new_key_file_removed": is_removed,
        "sources": rotate_show::sources_value(&answer.sources),
        "old_key_backups": answer.old_key_backups,
        "other_uses": answer.other_uses,
        "next": next,
        "risks": risks,
    });
    let mut rows = rotate_show::answer_rows(rotation, answer.dry_run);
    rows.extend(rotate_show::source_rows(&answer.sources, rotation));
    rows.push(("data keys", rotate_show::data_keys(rotation, None)));
    rows.extend(next_file.filter(|_| is_removed).map(|next| ("removed", next)));
    let mut text = fields(&rows);
    push_list(&mut text, "Backups that the old key still opens:", &answer.old_key_backups);
    push_list(&mut text, "What else the old key may be used for:", &answer.other_uses);
    push_list(&mut text, "What could still go wrong:", &risks);
    push_list(&mut text, "Next:", &next);
    console.result(&value, &text)
}

fn next_steps(told: &Told<'_>) -> Vec<String> {
    let mut next = told.rotation.next.clone();
    if let Some(Cleared::Kept(why)) = &told.cleared {
        next.push(why.clone());
    }
    if told.rotation.new_data_keys {
        next.push(
            "What was sealed before opens as before. If someone may have the old key and a copy of the store, have every \
             value re-encrypted: ReEncrypt moves it to the new version of its key."
                .to_owned(),
        );
    }
    if told.legacy {
        next.push(
            "Values from before servos-keyd open with legacy keys, and the old key may be one now: re-encrypt those values, \
             then `servos-keyctl legacy retire FINGERPRINT` for each key that `servos-keyctl status` shows."
                .to_owned(),
        );
    }
    next
}

fn risks(told: &Told<'_>) -> Vec<String> {
    let rotation = &told.rotation;
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    let mut risks = vec![format!("Without {new} nothing opens: see that a copy is on another machine.")];
    if !told.answer.old_key_backups.is_empty() {
        risks.push(format!("Without {old} the backups above open no more: keep it as long as they are kept."));
    }
    if !rotation.new_data_keys {
        risks.push(format!(
            "The data keys kept their versions: someone with {old} and a copy of the store from before goes on opening what \
             they seal. `servos-keyctl keys rotate NAME` gives one a new version."
        ));
    }
    risks
}
