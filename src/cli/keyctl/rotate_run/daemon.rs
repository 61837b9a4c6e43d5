//! The daemon as a run sees it: how far it is, what its sources yield, and its restart.
//!
//! Must never take a daemon that uses a third key, or rotates to another one, for one that is on its way.
//! Called by the steps and by the undoing.

use super::run::Run;
use super::waiting::Waiting;
use super::ways::Ways;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::program;
use crate::client::rotation::BeginRotation;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{GetStatusResponse, KeySource, RotationState};
use std::time::Duration;

/// How long a daemon that is started may take until it answers.
const START: Duration = Duration::from_secs(60);

/// After so long, the daemon that answers is the one that was to be started.
const SETTLED: Duration = Duration::from_secs(3);

/// How far the daemon is, as seen from the rotation that this run is about.
pub(super) enum Stage {
    /// Not begun, or aborted: the old key alone opens the store.
    Old,
    /// Both keys open the store.
    Pending,
    /// The new key alone opens the store, and something is left to be done.
    Finishing,
    /// Aborting.
    Aborting,
    /// The new key alone opens the store.
    New,
}

/// Where the daemon stands.
///
/// # Errors
/// 65 if it is about another rotation, or uses a third key.
pub(super) fn stage(run: &Run<'_>, status: &GetStatusResponse) -> Result<Stage, Failure> {
    let (old, new) = (run.journal.intent.old.as_str(), run.journal.new.as_deref().unwrap_or_default());
    if let Some(rotation) = &status.rotation {
        if (rotation.old_fingerprint.as_str(), rotation.new_fingerprint.as_str()) != (old, new) {
            let (from, to) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
            let text = format!("another rotation is under way, from {from} to {to}");
            return Err(Failure::say(exit::DATA, text).with_hint("`servos-keyctl rotate status` shows how to end it"));
        }
        return Ok(match rotation.state() {
            RotationState::Pending => Stage::Pending,
            RotationState::Aborting | RotationState::Aborted => Stage::Aborting,
            _ => Stage::Finishing,
        });
    }
    let in_use = status.master_key.as_ref().map(|master| master.fingerprint.as_str()).unwrap_or_default();
    match in_use {
        key if key == new => Ok(Stage::New),
        key if key == old => Ok(Stage::Old),
        third => {
            run.ways.set(Ways::Neither);
            let (text, journal) =
                (format!("the daemon uses the key {third}, neither {old} nor {new}"), run.journal.path());
            let quoted = shell_quoted(journal);
            Err(Failure::say(exit::DATA, text).with_hint(format!(
                "another rotation has overtaken this one: `mv {quoted} {quoted}.unknown` gives it up, and leaves every key \
                 where it is"
            )))
        }
    }
}

/// What the daemon's sources yield while the rotation is pending.
pub(super) async fn sources(run: &Run<'_>, status: &GetStatusResponse, new: &str) -> Result<Vec<KeySource>, Failure> {
    // A rotation that is pending already needs no key to be asked about.
    let keep_data_keys = status.rotation.as_ref().is_some_and(|rotation| !rotation.new_data_keys);
    let request = BeginRotation { new_key_fingerprint: new, new_key: None, keep_data_keys, dry_run: true };
    Ok(run.admin.rotate(&request).await?.sources)
}

/// Restarts the daemon, and waits until it answers.
pub(super) async fn restart_with(
    run: &mut Run<'_>,
    command: &str,
    before: Option<&GetStatusResponse>,
) -> Result<(), Failure> {
    run.say(&format!("Restarting the daemon: {command}"));
    program::shell(command)?;
    for_start(run, before).await
}

/// Waits until the daemon answers after a restart.
///
/// # Errors
/// 75 if it does not in time; what it answers but that it is not there.
async fn for_start(run: &mut Run<'_>, before: Option<&GetStatusResponse>) -> Result<(), Failure> {
    let mut waiting = Waiting::new();
    loop {
        match run.status().await {
            Ok(now) if before.is_none_or(|before| is_another_start(before, &now)) => return Ok(()),
            // Two starts within a second look alike; whether the new key is seen is looked at next.
            Ok(_) if waiting.since.elapsed() >= SETTLED => return Ok(()),
            Err(failure) if !matches!(failure.exit, exit::NO_DAEMON | exit::TRY_AGAIN) => return Err(failure),
            _ => waiting.moment(START, "the daemon answers after its restart; its log says why it does not").await?,
        }
    }
}

fn is_another_start(before: &GetStatusResponse, now: &GetStatusResponse) -> bool {
    now.started != before.started || now.rotation != before.rotation
}
