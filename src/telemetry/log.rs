//! Sets up the log: text or JSON lines on standard error, shaped by who reads them, or entries of systemd's journal.
//!
//! Must never let another crate write below a warning: their details may be our callers' bytes.
//! Called once by `cli`, as soon as the configuration says level and format.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// What is written, for [`set_level`].
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

use super::journal::{Journal, SOCKET, priority};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: RFC 3339 time in UTC, level, message, fields.
    Text,
    /// One JSON object a line, always with its time.
    Json,
}

/// Why there is no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// A level that is not one of error, warn, info, debug, trace.
    #[error("the log level must be one of error, warn, info, debug, trace")]
    UnknownLevel,
    /// A log was set up before in this process.
    #[error("the log is set up already")]
    AlreadySet,
}

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A person at a terminal: colours.
    Terminal,
    /// systemd's journal, which knows the time itself and takes the importance from a prefix.
    Journal,
    /// A file or a pipe.
    Plain,
}

/// Starts the log on standard error: this crate's events from `level` on, other crates' warnings and errors.
///
/// # Errors
/// [`LogFault`].
pub fn init(level: &str, format: Format) -> Result<(), LogFault> {
    let level = level_named(level)?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let reader = reader_of_stderr();
    // Where the journal does not listen, its lines are what it has of us.
    let journal = match (format, reader) {
        (Format::Text, Reader::Journal) => Journal::connect(Path::new(SOCKET), std::io::stderr).ok(),
        _ => None,
    };
    match journal {
        Some(journal) => tracing_subscriber::registry().with(filter).with(journal).try_init(),
        None => subscriber(filter, format, reader, std::io::stderr).try_init(),
    }
    .map_err(|_| LogFault::AlreadySet)?;
    // The first one is that of the log.
    let _ = FILTER.set(handle);
    Ok(())
}

/// Writes from `level` on from now on; nothing happens without a log, or for a level that is none.
pub fn set_level(level: &str) {
    if let (Some(handle), Ok(level)) = (FILTER.get(), level_named(level)) {
        // It fails where the log is gone.
        let _ = handle.reload(filter(level));
    }
}

/// This crate's events from `level` on, other crates' warnings and errors.
fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It warns of each frame that is odd, of which a peer can send as many as it likes.
        .with_target("h2", level.min(LevelFilter::ERROR))
        .with_target(env!("CARGO_CRATE_NAME"), level)
}

fn level_named(name: &str) -> Result<LevelFilter, LogFault> {
    match name {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(LogFault::UnknownLevel),
    }
}

/// `JOURNAL_STREAM` is inherited by children whose standard error goes elsewhere, so the stream itself is compared.
/// Source: systemd.exec(5), `$JOURNAL_STREAM`.
fn reader_of_stderr() -> Reader {
    let stderr = std::io::stderr();
    let named = std::env::var("JOURNAL_STREAM").ok();
    let opened = nix::sys::stat::fstat(&stderr).ok().map(|file| format!("{}:{}", file.st_dev, file.st_ino));
    if named.is_some() && named == opened {
        Reader::Journal
    } else if stderr.is_terminal() {
        Reader::Terminal
    } else {
        Reader::Plain
    }
}

fn subscriber<F, W>(filter: F, format: Format, reader: Reader, writer: W) -> impl Subscriber + Send + Sync
where
    F: Layer<Registry> + Send + Sync,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A log that cannot be written must not become a panic, which is what reporting it on the same stream would be.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(reader == Reader::Terminal && format == Format::Text)
        .log_internal_errors(false);
    let lines = match (format, reader) {
        (Format::Json, _) => lines.json().flatten_event(true).with_target(false).boxed(),
        (Format::Text, Reader::Journal) => lines.event_format(JournalLine::new()).boxed(),
        (Format::Text, _) => lines.with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines)
}

/// A line for the journal: `<4>` and the like in front, so that `journalctl -p warning` finds it; no time.
/// Source: sd-daemon(3), "Logging".
struct JournalLine(format::Format<format::Full, ()>);

impl JournalLine {
    fn new() -> Self {
        Self(format::format().without_time().with_target(false).with_level(false))
    }
}

impl<S, N> FormatEvent<S, N> for JournalLine
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(line, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, line, event)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: Format, reader: Reader, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(filter(level_named(level).unwrap()), format, reader, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        text_of(&captured)
    }

    pub(in crate::telemetry) fn text_of(captured: &Captured) -> String {
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_for_people_has_time_level_message_and_fields() {
        let line = logged("info", Format::Text, Reader::Plain, || tracing::warn!(event = "store.opened", "opened"));
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{line}");
        assert_eq!(rest.trim_start(), "WARN opened event=\"store.opened\"\n");
    }

    #[test]
    fn a_terminal_gets_colours_and_nobody_else() {
        let coloured = |reader, format| logged("info", format, reader, || tracing::info!("x")).contains('\u{1b}');
        assert!(coloured(Reader::Terminal, Format::Text));
        assert!(!coloured(Reader::Terminal, Format::Json));
        assert!(!coloured(Reader::Plain, Format::Text));
        assert!(!coloured(Reader::Journal, Format::Text));
    }

    #[test]
    fn the_journal_gets_the_importance_and_no_time() {
        let lines = logged("debug", Format::Text, Reader::Journal, || {
            tracing::error!("a");
            tracing::warn!("b");
            tracing::info!(n = 1, "c");
            tracing::debug!("d");
        });
        assert_eq!(lines, "<3>a\n<4>b\n<6>c n=1\n<7>d\n");
    }

    #[test]
    fn a_json_line_is_an_object_with_its_time() {
        let line = logged("info", Format::Json, Reader::Journal, || tracing::info!(event = "daemon.ready", "serves"));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["event"], "daemon.ready");
        assert_eq!(object["message"], "serves");
        assert!(object["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn the_level_is_ours_and_others_stay_at_warnings() {
        let lines = logged("trace", Format::Text, Reader::Journal, || {
            tracing::trace!("ours");
            tracing::trace!(target: "h2::codec", "theirs in detail");
            tracing::info!(target: "hyper", "theirs");
            tracing::warn!(target: "hyper", "theirs in trouble");
        });
        assert_eq!(lines, "<7>ours\n<4>theirs in trouble\n");
        let lines = logged("error", Format::Text, Reader::Journal, || {
            tracing::warn!("ours");
            tracing::warn!(target: "hyper", "theirs");
        });
        assert_eq!(lines, "");
    }

    #[test]
    fn an_unknown_level_is_refused() {
        for level in ["", "INFO", "warning", "servos_keyd=trace"] {
            assert_eq!(level_named(level), Err(LogFault::UnknownLevel), "{level}");
        }
    }
}
