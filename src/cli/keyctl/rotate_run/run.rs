//! A run that is under way: its journal, its places, its daemon, and what came of it so far.
//!
//! Must never take another daemon for its own: the store is looked at each time.
//! Made by `rotate_run`, and given to each of its steps.

use super::arguments::RunArguments;
use super::journal::Journal;
use super::place::Place;
use super::ways::{Again, Ways};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::console::Console;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::proto::v1::GetStatusResponse;
use crate::sys::locked::LockedMemory;
use std::cell::Cell;
use std::path::PathBuf;

/// A run that is under way.
pub(super) struct Run<'r> {
    pub(super) console: &'r mut Console,
    pub(super) admin: AdminClient,
    pub(super) client: Client,
    pub(super) arguments: &'r RunArguments,
    pub(super) memory: LockedMemory,
    pub(super) places: Vec<Place>,
    pub(super) journal: Journal,
    /// What came of the steps that were done here.
    pub(super) done: Done,
    /// Where it can go if it fails.
    pub(super) ways: Cell<Ways>,
    /// The socket that was named on the command line.
    pub(super) socket: Option<PathBuf>,
}

/// What the report tells of the steps.
#[derive(Default)]
pub(super) struct Done {
    pub(super) backup: String,
    pub(super) old_key_backups: Vec<String>,
    pub(super) other_uses: Vec<String>,
    /// Where the old key's text still stands: file and line.
    pub(super) left_on: Vec<(PathBuf, usize)>,
    /// What is in the place of the new key's file, and was not made there.
    pub(super) stays: Option<String>,
}

impl Run<'_> {
    /// Tells a person what is being done.
    pub(super) fn say(&mut self, text: &str) {
        self.console.hint(text);
    }

    /// The new key's fingerprint.
    pub(super) fn new_key(&self) -> Result<String, Failure> {
        let missing = || Failure::say(exit::DATA, format!("{} names no new key", self.journal.path().display()));
        self.journal.new.clone().ok_or_else(missing)
    }

    /// How the daemon is restarted: as it was said now, or at the beginning; none: by hand.
    pub(super) fn restart_command(&self) -> Option<String> {
        self.arguments.restart.clone().or_else(|| self.journal.intent.restart.clone())
    }

    pub(super) fn said(&self) -> Again<'_> {
        Again { arguments: self.arguments, socket: self.socket.as_ref() }
    }

    pub(super) async fn status(&self) -> Result<GetStatusResponse, Failure> {
        let status = self.admin.status().await?;
        let (intent, store) = (&self.journal.intent, status.store.clone().unwrap_or_default());
        if store.store_id != intent.store_id {
            let text =
                format!("the daemon serves the store {}, and the rotation is of {}", store.store_id, intent.store_id);
            return Err(Failure::say(exit::DATA, text).with_hint("name the right daemon with --socket PATH"));
        }
        Ok(status)
    }
}
