//! `servos-keyctl rotate abort`: the old key alone opens the store from here on.
//!
//! Must never remove a file that holds a key: the aborted one may open a backup.
//! Called by `rotate`.

use super::console::Console;
use super::output::{fields, push_list};
use super::rotate_end::{EndArguments, under_way};
use super::rotate_key_file::{KeyPlace, check_key_file};
use super::{rotate_run, rotate_show, rotate_wait};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::client::key_admin::AdminClient;
use crate::client::rotation::AbortRotation;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{AbortRotationResponse, Rotation, RotationState};
use clap::Args;
use serde_json::json;

#[derive(Args)]
pub(super) struct AbortArguments {
    /// Give every data key a new version all the same: for an aborted key that may have leaked
    #[arg(long)]
    new_data_keys: bool,

    #[command(flatten)]
    end: EndArguments,
}

/// Aborts a rotation.
pub(super) async fn run(console: &mut Console, admin: &AdminClient, arguments: &AbortArguments) -> Result<(), Failure> {
    let (new_data_keys, arguments) = (arguments.new_data_keys, &arguments.end);
    check_key_file(arguments.key_file.as_deref())?;
    let status = admin.status().await?;
    let place = KeyPlace::find(&status, arguments.key_file.as_deref())?;
    let rotation = under_way(&status)?;
    let (old, new) = (rotation.old_fingerprint.as_str(), rotation.new_fingerprint.as_str());
    check_where_the_key_comes_from(place.as_ref(), rotation)?;
    let request = AbortRotation { new_key_fingerprint: new, new_data_keys, dry_run: arguments.dry_run };
    if rotation.state() == RotationState::Pending && !arguments.yes && !arguments.dry_run {
        console.check_confirmable(false)?;
        // What the daemon refuses is not asked about.
        let answer = admin.abort_rotation(&AbortRotation { dry_run: true, ..request }).await?;
        console.confirm(&question(&answer, rotation, new_data_keys), "yes", false)?;
    }
    let answer = admin.abort_rotation(&request).await?;
    let mut ended = answer.rotation.clone().unwrap_or_default();
    if !arguments.dry_run {
        if matches!(ended.state(), RotationState::Aborting | RotationState::Aborted) {
            console.hint(&format!("The key {old} alone opens the store now."));
        }
        if !arguments.no_wait {
            rotate_wait::wait(console, admin, new, old).await?;
            ended = rotate_wait::ended(ended);
        }
    }
    show(console, &answer, &ended, place.as_ref())
}

/// The daemon keeps what it was given at its start, and does not see that the file behind it holds the new key by now: that
/// would open nothing, and the next start would be refused.
fn check_where_the_key_comes_from(place: Option<&KeyPlace>, rotation: &Rotation) -> Result<(), Failure> {
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    let memory = key::memory()?;
    let held = match place {
        // The daemon looks into what it opens itself, and says more.
        Some(place) if place.read_by_daemon => None,
        Some(place) => place.read_file(&memory).ok().map(|held| (place.file.clone(), held.fingerprint())),
        None => rotate_run::file_of_unit(&memory),
    };
    let Some((file, _)) = held.filter(|(_, held)| held == new && rotation.state() == RotationState::Pending) else {
        return Ok(());
    };
    let text = format!("{} holds the new key {new}, which would open nothing after an abort", file.display());
    Err(Failure::say(exit::DATA, text).with_hint(format!(
        "put {old} back there first; what `servos-keyctl rotate run` began, `servos-keyctl rotate run --undo --key-file {}` takes \
         back",
        shell_quoted(&file)
    )))
}

fn question(answer: &AbortRotationResponse, rotation: &Rotation, new_data_keys: bool) -> String {
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    let data_keys =
        if new_data_keys { "Every data key gets a new version." } else { "The data keys keep their versions." };
    let mut text = format!(
        "Aborting the rotation from {old} to {new}: from then on {old} alone opens the store.\n  \
         - Every value and every key stays. {data_keys}\n  \
         - {new} opens nothing any more, but backups that were written since the begin.\n  \
         - Key sources that hold {new} must hold {old} again before.\n"
    );
    push_list(&mut text, "Backups here that the aborted key opens:", &answer.aborted_key_backups);
    text
}

fn show(
    console: &mut Console,
    answer: &AbortRotationResponse,
    rotation: &Rotation,
    place: Option<&KeyPlace>,
) -> Result<(), Failure> {
    let (next, risks) = (next_steps(rotation, place), risks(rotation));
    let next_file = place.map(|place| place.next.display().to_string());
    let value = json!({
        "dry_run": answer.dry_run,
        "rotation": rotate_show::value(rotation),
        "new_key_file": next_file,
        "sources": rotate_show::sources_value(&answer.sources),
        "aborted_key_backups": answer.aborted_key_backups,
        "next": next,
        "risks": risks,
    });
    let mut rows = rotate_show::answer_rows(rotation, answer.dry_run);
    rows.extend(rotate_show::source_rows(&answer.sources, rotation));
    rows.push(("data keys", rotate_show::data_keys(rotation, None)));
    let mut text = fields(&rows);
    push_list(&mut text, "Backups that the aborted key opens:", &answer.aborted_key_backups);
    push_list(&mut text, "What could still go wrong:", &risks);
    push_list(&mut text, "Next:", &next);
    console.result(&value, &text)
}

fn next_steps(rotation: &Rotation, place: Option<&KeyPlace>) -> Vec<String> {
    let mut next = rotation.next.clone();
    if let Some(place) = place.filter(|place| place.next.symlink_metadata().is_ok()) {
        next.push(format!(
            "The aborted key is still in {}. Once it is needed for nothing: `rm {}`.",
            place.next.display(),
            shell_quoted(&place.next)
        ));
    }
    next
}

fn risks(rotation: &Rotation) -> Vec<String> {
    let new = &rotation.new_fingerprint;
    let exposed = match rotation.new_data_keys {
        true => "what was sealed before must be re-encrypted",
        false => "someone with it and a copy of the store from meanwhile opens what the data keys seal",
    };
    vec![format!(
        "If the aborted key {new} leaked, aborting does not mend that: {exposed}. Begin a new rotation, to a third key, now: \
         remove the .next file that holds {new}, then `servos-keyctl rotate begin --generate`."
    )]
}
