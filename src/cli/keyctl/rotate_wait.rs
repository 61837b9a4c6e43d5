//! Waits for what is left of a rotation after its last decision, and shows how far it is.
//!
//! Must never take silence for the end, nor let a person wait for what does not go on.
//! Called by `rotate_finish` and `rotate_abort`.

use super::console::Console;
use super::rotate_show;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::key_admin::AdminClient;
use crate::proto::v1::{Rotation, RotationState, RotationStep};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often in a row the same trouble is seen before it is believed: a retry may be under way.
const TROUBLE_LIMIT: u32 = 6;

/// How long nobody may answer: time for a restart.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// How often a line is printed where nothing can be drawn over.
const LINE_EVERY: Duration = Duration::from_secs(5);

const BAR_WIDTH: u32 = 30;

/// Waits until the daemon tells of no rotation to `new` any more, and uses `expected`.
///
/// # Errors
/// 75 if something keeps it from going on, or nobody answers; the decision itself stands.
pub(super) async fn wait(console: &mut Console, admin: &AdminClient, new: &str, expected: &str) -> Result<(), Failure> {
    let (mut pause, mut trouble, mut heard, mut is_silent) = (FIRST_PAUSE, 0, Instant::now(), false);
    let mut progress = Progress::default();
    loop {
        match admin.status().await {
            Ok(status) => {
                (heard, is_silent) = (Instant::now(), false);
                let Some(rotation) = status.rotation.filter(|rotation| is_left(rotation, new)) else {
                    progress.end(console);
                    return check_key(status.master_key.map(|master| master.fingerprint), expected);
                };
                trouble = if trouble_of(&rotation).is_some() { trouble + 1 } else { 0 };
                progress.show(console, &rotation);
                if let Some(problem) = trouble_of(&rotation).filter(|_| trouble >= TROUBLE_LIMIT) {
                    progress.end(console);
                    return Err(stuck(&problem, expected));
                }
            }
            Err(error) if error.is_transient() && heard.elapsed() < LONGEST_SILENCE => {
                if !is_silent {
                    progress.end(console);
                    console.hint(&format!("{error}; asked again for up to {} seconds", LONGEST_SILENCE.as_secs()));
                }
                is_silent = true;
            }
            Err(error) => {
                progress.end(console);
                let failure = Failure::from(error);
                let hint = goes_on(expected);
                return Err(match failure.hint.clone() {
                    Some(before) => failure.with_hint(format!("{before}; {hint}")),
                    None => failure.with_hint(hint),
                });
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The rotation of an answer as it is once nothing is left.
pub(super) fn ended(rotation: Rotation) -> Rotation {
    let state = match rotation.state() {
        RotationState::Finishing => RotationState::Finished,
        RotationState::Aborting => RotationState::Aborted,
        state => state,
    };
    let (state, step) = (state.into(), RotationStep::Done.into());
    Rotation { state, step, done: 0, total: 0, problem: String::new(), next: Vec::new(), ..rotation }
}

fn is_left(rotation: &Rotation, new: &str) -> bool {
    let is_over = matches!(rotation.state(), RotationState::Finished | RotationState::Aborted)
        || rotation.step() == RotationStep::Done;
    rotation.new_fingerprint == new && !is_over
}

fn trouble_of(rotation: &Rotation) -> Option<String> {
    match (rotation.problem.as_str(), rotation.state()) {
        ("", RotationState::Pending) => Some("the rotation is pending again".to_owned()),
        ("", _) => None,
        (problem, _) => Some(problem.to_owned()),
    }
}

fn stuck(problem: &str, expected: &str) -> Failure {
    Failure::say(exit::TRY_AGAIN, format!("what is left of the rotation does not go on: {problem}")).with_hint(format!(
        "{}. {}",
        rotate_show::remedy(problem),
        goes_on(expected)
    ))
}

fn goes_on(expected: &str) -> String {
    format!("the key {expected} alone opens the store already; `servos-keyctl rotate status` shows what is left")
}

fn check_key(in_use: Option<String>, expected: &str) -> Result<(), Failure> {
    match in_use.filter(|key| key != expected) {
        None => Ok(()),
        Some(key) => {
            let text = format!("the rotation is over, and the daemon uses the key {key}, not {expected}");
            Err(Failure::say(exit::DATA, text).with_hint("was another store put into its place meanwhile?"))
        }
    }
}

/// What was shown so far.
#[derive(Default)]
struct Progress {
    /// Characters of the line that is drawn over.
    width: usize,
    /// The step that was told of last, and when.
    told: Option<(i32, Instant)>,
}

impl Progress {
    fn show(&mut self, console: &mut Console, rotation: &Rotation) {
        if console.json {
            return;
        }
        if console.errors_is_terminal {
            return self.draw(console, &bar(rotation));
        }
        let is_told = self.told.is_some_and(|(step, when)| step == rotation.step && when.elapsed() < LINE_EVERY);
        if !is_told {
            self.told = Some((rotation.step, Instant::now()));
            console.note(&rotate_show::step(rotation));
        }
    }

    fn draw(&mut self, console: &mut Console, line: &str) {
        let width = line.chars().count();
        let rest = " ".repeat(self.width.saturating_sub(width));
        console.draw(&format!("\r{line}{rest}"));
        self.width = width;
    }

    /// Takes the line away that was drawn.
    fn end(&mut self, console: &mut Console) {
        if self.width > 0 {
            console.draw(&format!("\r{}\r", " ".repeat(self.width)));
            self.width = 0;
        }
    }
}

fn bar(rotation: &Rotation) -> String {
    let (words, total) = (rotate_show::step_words(rotation), rotation.total);
    let done = rotation.done.min(total);
    let Some(full) = (u64::from(done) * u64::from(BAR_WIDTH)).checked_div(u64::from(total)) else {
        return format!("{words} ...");
    };
    let cell = |at: u32| if u64::from(at) < full { '#' } else { '.' };
    let cells: String = (0..BAR_WIDTH).map(cell).collect();
    format!("{words} [{cells}] {done} of {total}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_with_what_is_done_and_never_beyond() {
        let bar =
            |done, total| bar(&Rotation { done, total, step: RotationStep::Resealing.into(), ..Rotation::default() });
        assert_eq!(bar(0, 4), format!("making seals anew [{}] 0 of 4", ".".repeat(30)));
        assert!(bar(2, 4).contains(&format!("[{}{}]", "#".repeat(15), ".".repeat(15))));
        assert!(bar(9, 4).ends_with(&format!("[{}] 4 of 4", "#".repeat(30))));
        assert!(bar(u32::MAX, u32::MAX).contains(&"#".repeat(30)));
        assert_eq!(bar(0, 0), "making seals anew ...");
    }

    #[test]
    fn who_is_stuck_is_promised_a_retry_only_where_there_is_one() {
        let hint = |problem: &str| stuck(problem, "00").hint.unwrap();
        assert!(hint("the disk is full").starts_with("mend that; the daemon tries again every minute. "));
        let suspended = hint("a change broke off half way: restart the daemon");
        assert!(suspended.starts_with("restart the daemon: ") && !suspended.contains("every minute"), "{suspended}");
        assert!(suspended.contains("the key 00 alone opens the store already"), "{suspended}");
    }

    #[test]
    fn a_rotation_to_another_key_and_one_that_is_over_are_not_waited_for() {
        let rotation = |state: RotationState, step: RotationStep| Rotation {
            state: state.into(),
            step: step.into(),
            new_fingerprint: "n".into(),
            ..Rotation::default()
        };
        assert!(is_left(&rotation(RotationState::Finishing, RotationStep::Backup), "n"));
        assert!(!is_left(&rotation(RotationState::Finishing, RotationStep::Backup), "m"));
        assert!(!is_left(&rotation(RotationState::Finished, RotationStep::Backup), "n"));
        assert!(!is_left(&rotation(RotationState::Aborting, RotationStep::Done), "n"));
        let ended = ended(rotation(RotationState::Aborting, RotationStep::Backup));
        assert!(ended.state() == RotationState::Aborted && ended.step() == RotationStep::Done);
    }
}
