//! Waiting for a person: what is to be done is said once, and looked for until it is there.
//!
//! Must never take silence for done, nor wait longer than it was told to.
//! Called by the steps and by the undoing.

use super::run::Run;
use super::ways::again;
use crate::cli::exit;
use crate::cli::failure::Failure;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A wait that is under way.
pub(super) struct Waiting {
    pub(super) since: Instant,
    pause: Duration,
    told: String,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), pause: FIRST_PAUSE, told: String::new() }
    }

    /// Says what is to be done, unless it was said, and waits a moment.
    ///
    /// # Errors
    /// 75 if it was waited for as long as it may be.
    pub(super) async fn for_person(&mut self, run: &mut Run<'_>, what: &str) -> Result<(), Failure> {
        if self.told != what {
            // A program that asked for JSON needs to know what it waits for, too.
            let way = if run.journal.undoing { "--undo" } else { "--resume" };
            let resume = again(&run.journal, run.said(), way);
            run.console.note(&format!(
                "To be done by you now:\n  {what}\nWaiting for it ... (Ctrl-C loses nothing: `{resume}` goes on)"
            ));
            what.clone_into(&mut self.told);
        }
        self.moment(run.arguments.wait, what).await
    }

    /// Waits a moment for what comes by itself.
    ///
    /// # Errors
    /// 75 if it was waited for as long as it may be.
    pub(super) async fn moment(&mut self, limit: Duration, what: &str) -> Result<(), Failure> {
        if self.since.elapsed() >= limit {
            let text = format!("waited for {} seconds, and this is still to be done: {what}", limit.as_secs());
            return Err(Failure::say(exit::TRY_AGAIN, text));
        }
        tokio::time::sleep(self.pause.min(limit)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
