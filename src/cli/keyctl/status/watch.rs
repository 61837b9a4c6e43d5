//! `servos-keyctl status --watch`: the status again and again, until somebody ends it.
//!
//! Must never end because a daemon is being restarted, nor leave a terminal in another state than it was in.
//! Called by `status`.

use super::text::{Screen, screen};
use super::traffic::Before;
use super::value::value;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::console::Console;
use crate::cli::keyctl::output::time;
use crate::cli::keyctl::socket::SocketArguments;
use crate::client::error::Error;
use crate::proto::v1::GetStatusResponse;
use crate::sys::terminal::{self, Size};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows the status every `interval`, until SIGINT or SIGTERM.
///
/// # Errors
/// What the daemon refuses; that none answers is shown, and is no end.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments, interval: Duration) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::new(exit::BUG, &error));
    let mut ends = Ends { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? };
    let admin = socket.admin_within(PATIENCE);
    let (mut before, mut is_first) = (None, true);
    loop {
        let asked = Instant::now();
        let answer = tokio::select! {
            biased;
            () = ends.told() => return Ok(()),
            answer = admin.status() => answer,
        };
        show(console, &answer, before.as_ref(), interval, is_first)?;
        is_first = false;
        match answer {
            Ok(status) => {
                let calls = status.calls.unwrap_or_default();
                before = Some(Before { asked, started: status.started, calls });
            }
            Err(error) if error.is_transient() => before = None,
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            biased;
            () = ends.told() => return Ok(()),
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// What ends it.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn show(
    console: &mut Console,
    answer: &Result<GetStatusResponse, Error>,
    before: Option<&Before>,
    interval: Duration,
    is_first: bool,
) -> Result<(), Failure> {
    let (value, Screen { state, to_do }) = match answer {
        Ok(status) => (value(status), screen(status, before)),
        Err(error) if error.is_transient() => {
            let text = format!("no daemon answers: {error}");
            (json!({"error": {"message": text}}), Screen { state: format!("{text}\n"), to_do: String::new() })
        }
        Err(_) => return Ok(()),
    };
    if console.json {
        return console.result(&value, "");
    }
    let head = format!("{}, every {} s; Ctrl-C ends it\n\n", time(now()), interval.as_secs());
    let Some(size) = terminal::size_of_output().filter(|_| console.output_is_terminal) else {
        let gap = if is_first { "" } else { "\n" };
        return console.write(format!("{gap}{head}{state}{to_do}").as_bytes());
    };
    console.write(drawn(&format!("{head}{state}"), &to_do, size, is_first).as_bytes())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
}

/// A screen that is drawn over the one before. What needs doing gets its place, up to half of it, before the rest does.
fn drawn(state: &str, to_do: &str, Size { rows, columns }: Size, is_first: bool) -> String {
    // The last row stays free: a line feed there would scroll.
    let rows = usize::from(rows.max(4)) - 1;
    let todo = lines(to_do, columns);
    let most = if lines(state, columns).len() + todo.len() > rows { todo.len().min(rows / 2) } else { todo.len() };
    let shown = cut(lines(state, columns), rows - most).into_iter().chain(cut(todo, most));
    let mut text = String::from(if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in shown {
        text.push_str(&line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

/// The lines as a terminal breaks them.
fn lines(text: &str, columns: u16) -> Vec<String> {
    let columns = usize::from(columns.max(1));
    let broken = |line: &str| {
        let characters: Vec<char> = line.chars().collect();
        match characters.is_empty() {
            true => vec![String::new()],
            false => characters.chunks(columns).map(|part| part.iter().collect()).collect(),
        }
    };
    text.lines().flat_map(broken).collect()
}

/// At most so many lines; the last says how many are left out.
fn cut(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most.saturating_sub(1));
        let left_out = "... more than this screen holds: servos-keyctl status shows all".to_owned();
        lines.extend((most > 0).then_some(left_out));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { rows: 7, columns: 80 };

    #[test]
    fn a_screen_is_drawn_over_and_what_was_below_it_is_cleared() {
        let first = drawn("a\nb\n", "\nTo mend:\n", Size { rows: 24, columns: 80 }, true);
        assert_eq!(first, "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[K\nTo mend:\x1b[K\n\x1b[J");
        assert!(drawn("a\n", "", SMALL, false).starts_with("\x1b[Ha"));
    }

    #[test]
    fn on_a_small_screen_what_needs_doing_is_shown_before_the_rest_is() {
        let state: String = (0..50).map(|line| format!("row {line}\n")).collect();
        let text = drawn(&state, "\nTo mend:\n  - this\n", SMALL, false);
        assert!(text.contains("- this") && text.contains("row 1\x1b") && !text.contains("row 3\x1b"), "{text}");
        assert!(text.contains("... more than this screen holds"));
        assert_eq!(text.matches('\n').count(), 6);
        let wide = drawn(&"x".repeat(500), "y\n", SMALL, false);
        assert!(wide.matches('\n').count() == 6 && wide.contains("y\x1b[K"), "{wide}");
    }
}
