//! What `rotate finish` and `rotate abort` share: their options, the rotation that they end, and the words that name both.
//!
//! Must never take a rotation that is over for one that can be ended.
//! Called by `rotate` and its subcommands.

use super::output::time;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::proto::v1::{GetStatusResponse, Rotation};
use clap::Args;
use std::path::PathBuf;

/// How to end a rotation, whichever key it ends with.
#[derive(Args)]
pub(super) struct EndArguments {
    /// The key file in use, where it was named at the begin
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,

    /// Check everything and say what would be done; change nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Do not wait for what is left after one key alone opens the store
    #[arg(long)]
    pub(super) no_wait: bool,

    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

/// The commands that end a pending rotation, unless the daemon named them already.
pub(super) fn push_end_commands(next: &mut Vec<String>, rotation: &Rotation) {
    let is_named = |word: &str| next.iter().any(|line| line.contains(word));
    let (finish, abort) = (is_named("rotate finish"), is_named("rotate abort"));
    if !finish {
        let new = &rotation.new_fingerprint;
        next.push(format!("Put the new key {new} into every key source, then `servos-keyctl rotate finish`."));
    }
    if !abort {
        let old = &rotation.old_fingerprint;
        next.push(format!("To go back to the old key {old}: `servos-keyctl rotate abort`."));
    }
}

/// The rotation that is under way.
///
/// # Errors
/// 65 if there is none.
pub(super) fn under_way(status: &GetStatusResponse) -> Result<&Rotation, Failure> {
    status.rotation.as_ref().ok_or_else(|| {
        let master = status.master_key.clone().unwrap_or_default();
        let (key, since) = (&master.fingerprint, time(master.since));
        let text = format!("no rotation of the master key is under way: {key} is in use since {since}");
        Failure::say(exit::DATA, text).with_hint(
            "a start of the daemon finishes a rotation by itself once its key sources hold the new key; \
             `servos-keyctl rotate begin` begins one",
        )
    })
}
