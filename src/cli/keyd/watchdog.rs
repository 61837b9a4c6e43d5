//! The service manager's watchdog, fed with the self-test alone.
//!
//! Must never feed it because time has passed: a daemon whose keys do not open or whose store does not answer is to be killed.
//! Called by `runtime`.

use crate::operations::engine::Engine;
use crate::operations::refusal::Refusal;
use crate::operations::writer::Writer;
use crate::operations::{liveness, self_test};
use crate::server::notify::{Notification, tell_manager};
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// So many self-tests in the time that the service manager waits: two may come late.
const TESTS: u32 = 4;

/// Begins to feed it, if the service manager waits for this process.
pub fn feed(engine: Arc<Engine>, writer: Option<Writer>) -> Option<JoinHandle<()>> {
    let variable = |name: &str| std::env::var(name).ok();
    let every =
        interval(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id())?;
    Some(tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            match tokio::time::timeout(every, examined(&engine, writer.as_ref())).await {
                Ok(Ok(())) => tell_manager(&[Notification::Watchdog]),
                Ok(Err(problem)) => not_fed(&problem),
                // A backup that takes long, or a directory of backups that does not answer, is no reason to end what needs
                // memory alone.
                Err(_) if engine.is_in_background() => match in_memory(&engine) {
                    Ok(()) => tell_manager(&[Notification::Watchdog]),
                    Err(problem) => not_fed(&problem),
                },
                Err(_) => not_fed("the store does not answer"),
            }
        }
    }))
}

fn not_fed(problem: &str) {
    let said = "the self-test was not good: the service manager is not told that the daemon is well";
    tracing::error!(event = events::WATCHDOG_NOT_FED, problem, "{said}");
}

async fn examined(engine: &Engine, writer: Option<&Writer>) -> Result<(), String> {
    let said = |refusal: Refusal| chain(&refusal);
    let Some(writer) = writer else { return in_memory(engine) };
    let (answer, answered) = oneshot::channel();
    let job = Box::new(move |ledger: &mut _| {
        // Whoever asked may have waited long enough.
        let _ = answer.send(liveness::examine(ledger));
    });
    writer.submit_own_look(job).map_err(said)?;
    answered.await.map_err(|_| "the self-test broke off".to_owned())?.map_err(said)
}

/// The part of it that needs no store.
fn in_memory(engine: &Engine) -> Result<(), String> {
    self_test::run(&engine.keyring(), &*engine.random).map_err(|refusal| chain(&refusal))
}

/// How often it is to be fed; none where nobody waits for it. Source: sd_watchdog_enabled(3).
fn interval(microseconds: Option<&str>, of: Option<&str>, own_pid: u32) -> Option<Duration> {
    if of.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let every = Duration::from_micros(microseconds?.parse().ok()?) / TESTS;
    (!every.is_zero()).then_some(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_well_within_its_time_and_only_where_it_is_this_process_that_is_watched() {
        assert_eq!(interval(Some("60000000"), None, 7), Some(Duration::from_secs(15)));
        assert_eq!(interval(Some("60000000"), Some("7"), 7), Some(Duration::from_secs(15)));
        for (microseconds, of) in [
            (None, None),
            (Some("60000000"), Some("8")),
            (Some("60000000"), Some("x")),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("soon"), None),
        ] {
            assert_eq!(interval(microseconds, of, 7), None, "{microseconds:?} {of:?}");
        }
    }
}
