//! Waiting for a person: what is to be done is said once, and looked for until it is there.
//!
//! Must never take silence for done, nor wait longer than it was told to.
//! Called by the steps and by the undoing.

use super::Run;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::proto::v1::GetStatusResponse;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a daemon that is started may take until it answers.
const START: Duration = Duration::from_secs(60);

/// After so long, the daemon that answers is the one that was to be started.
const SETTLED: Duration = Duration::from_secs(3);

/// A wait that is under way.
pub(super) struct Waiting {
    since: Instant,
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
            let resume = super::again(&run.journal, run.said(), way);
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
    async fn moment(&mut self, limit: Duration, what: &str) -> Result<(), Failure> {
        if self.since.elapsed() >= limit {
            let text = format!("waited for {} seconds, and this is still to be done: {what}", limit.as_secs());
            return Err(Failure::say(exit::TRY_AGAIN, text));
        }
        tokio::time::sleep(self.pause.min(limit)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Waits until the daemon answers after a restart.
///
/// # Errors
/// 75 if it does not in time; what it answers but that it is not there.
pub(super) async fn for_start(run: &mut Run<'_>, before: Option<&GetStatusResponse>) -> Result<(), Failure> {
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
