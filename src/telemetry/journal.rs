//! Events for systemd's journal with their fields, over its own protocol: `journalctl SERVOS_KEYD_EVENT=...` finds them.
//!
//! Must never lose an event that the journal does not take: it goes to standard error then, which the journal reads too.
//! Called by `log`, where standard error is the journal's.
//!
//! An entry is one datagram. One that is too large for that is not handed over in a file of memory, as the protocol has it:
//! the sandbox lets the daemon make none.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{DefaultFields, FormatFields, Writer};
use tracing_subscriber::layer::Context;

/// Where the journal listens. Source: systemd's "Native Journal Protocol".
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// What the names of the fields begin with, so that they are nobody else's.
const PREFIX: &str = "SERVOS_KEYD_";
/// What `journalctl -t` and each line are told by.
const IDENTIFIER: &str = "servos-keyd";
/// Source: systemd.journal-fields(7) and journald: a longer name is dropped.
const LONGEST_NAME: usize = 64;

/// How long a journal that takes nothing is waited for, at each event.
const PATIENCE: Duration = Duration::from_secs(1);

/// The importance as syslog has it. Source: syslog(3).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Sends each event to the journal; `fallback` is written where that cannot be.
pub(super) struct Journal<W> {
    path: PathBuf,
    socket: UnixDatagram,
    fallback: W,
}

impl<W> Journal<W> {
    /// Connects, which the sandbox could make harder later.
    ///
    /// # Errors
    /// There is no journal at `path`, or it does not listen.
    pub(super) fn connect(path: &Path, fallback: W) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect(path)?;
        Ok(Self { path: path.to_owned(), socket, fallback })
    }

    /// A journal whose socket was made anew is connected to again, once.
    fn send(&self, entry: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(entry).or_else(|_| {
            self.socket.connect(&self.path)?;
            self.socket.send(entry)
        });
        sent.map(|_| ())
    }
}

impl<S, W> Layer<S> for Journal<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut message = String::new();
        // Message and fields, as standard error has them: whoever reads the journal sees the message alone.
        if DefaultFields::new().format_fields(Writer::new(&mut message), event).is_err() {
            return;
        }
        let priority = priority(*event.metadata().level());
        let mut entry = Entry(Vec::with_capacity(512));
        entry.field("MESSAGE", &message);
        entry.field("PRIORITY", &priority.to_string());
        entry.field("SYSLOG_IDENTIFIER", IDENTIFIER);
        event.record(&mut entry);
        if self.send(&entry.0).is_err() {
            // One line, whatever the message holds; nowhere is left to tell that even this failed.
            let line = format!("<{priority}>{}\n", message.replace('\n', " "));
            let _ = self.fallback.make_writer_for(event.metadata()).write_all(line.as_bytes());
        }
    }
}

/// An entry as the protocol has it.
struct Entry(Vec<u8>);

impl Entry {
    /// A value of one line stands behind its name; any other with its length, so that nothing in it can begin a field.
    fn field(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn own_field(&mut self, field: &Field, value: impl fmt::Display) {
        // Part of MESSAGE.
        if field.name() != "message" {
            let mut text = String::new();
            let _ = write!(text, "{value}");
            self.field(&name_of(field.name()), &text);
        }
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.own_field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.own_field(field, format_args!("{value:?}"));
    }
}

/// A field's name as the journal takes it: capitals, digits and underscores.
fn name_of(field: &str) -> String {
    let plain = field.trim_start_matches("r#").chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    });
    PREFIX.chars().chain(plain).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::log::tests::{Captured, text_of};
    use std::collections::BTreeMap;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Reads an entry as the journal does.
    fn read(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| matches!(byte, b'=' | b'\n')).unwrap();
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let (length, value) = match entry[end] {
                b'=' => (entry[end..].iter().position(|byte| *byte == b'\n').unwrap() - 1, &entry[end + 1..]),
                _ => {
                    let (length, value) = entry[end + 1..].split_at(8);
                    (usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap(), value)
                }
            };
            assert_eq!(value[length], b'\n');
            assert!(fields.insert(name, String::from_utf8(value[..length].to_vec()).unwrap()).is_none());
            entry = &value[length + 1..];
        }
        fields
    }

    struct Listener {
        directory: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Listener {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(directory.path().join("socket")).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { directory, socket }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("socket")
        }

        fn next(&self) -> BTreeMap<String, String> {
            let mut entry = vec![0; 1 << 16];
            let length = self.socket.recv(&mut entry).unwrap();
            read(&entry[..length])
        }
    }

    fn journal(path: &Path, captured: &Captured) -> impl Subscriber + Send + Sync {
        let captured = captured.clone();
        tracing_subscriber::registry().with(Journal::connect(path, move || captured.clone()).unwrap())
    }

    #[test]
    fn an_event_reaches_the_journal_with_its_importance_and_every_field() {
        let (listener, captured) = (Listener::new(), Captured::default());
        tracing::subscriber::with_default(journal(&listener.path(), &captured), || {
            tracing::warn!(event = "call.refused", rpc = "Encrypt", uid = 7, code = ?io::ErrorKind::NotFound, "call refused");
            tracing::error!("a");
        });
        let entry = listener.next();
        let expected = [
            ("MESSAGE", "call refused event=\"call.refused\" rpc=\"Encrypt\" uid=7 code=NotFound"),
            ("PRIORITY", "4"),
            ("SERVOS_KEYD_CODE", "NotFound"),
            ("SERVOS_KEYD_EVENT", "call.refused"),
            ("SERVOS_KEYD_RPC", "Encrypt"),
            ("SERVOS_KEYD_UID", "7"),
            ("SYSLOG_IDENTIFIER", "servos-keyd"),
        ];
        assert_eq!(entry.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), expected);
        assert_eq!(listener.next()["PRIORITY"], "3");
        assert_eq!(text_of(&captured), "");
    }

    #[test]
    fn nothing_in_a_value_of_more_lines_begins_a_field_of_its_own() {
        let listener = Listener::new();
        tracing::subscriber::with_default(journal(&listener.path(), &Captured::default()), || {
            tracing::info!(cause = "one\nPRIORITY=0\n", "two\nSERVOS_KEYD_EVENT=daemon.ready");
        });
        let entry = listener.next();
        assert_eq!((entry["PRIORITY"].as_str(), entry["SERVOS_KEYD_CAUSE"].as_str()), ("6", "one\nPRIORITY=0\n"));
        assert!(!entry.contains_key("SERVOS_KEYD_EVENT") && entry["MESSAGE"].starts_with("two\n"), "{entry:?}");
    }

    #[test]
    fn a_journal_that_is_made_anew_is_found_again_and_without_one_standard_error_has_the_line() {
        let (listener, captured) = (Listener::new(), Captured::default());
        let path = listener.path();
        tracing::subscriber::with_default(journal(&path, &captured), || {
            drop(listener.socket);
            tracing::warn!(event = "x.y", "nobody\nlistens");
            assert_eq!(text_of(&captured), "<4>nobody listens event=\"x.y\"\n");
            std::fs::remove_file(&path).unwrap();
            let again = UnixDatagram::bind(&path).unwrap();
            again.set_nonblocking(true).unwrap();
            tracing::warn!("back");
            let mut entry = [0; 256];
            let length = again.recv(&mut entry).unwrap();
            assert_eq!(read(&entry[..length])["MESSAGE"], "back");
            tracing::info!("{}", "x".repeat(1 << 22));
            assert!(text_of(&captured).lines().last().unwrap().starts_with("<6>xxx"), "too large for a datagram");
        });
    }

    #[test]
    fn names_are_those_that_the_journal_takes() {
        assert_eq!(name_of("event"), "SERVOS_KEYD_EVENT");
        assert_eq!(name_of("r#type"), "SERVOS_KEYD_TYPE");
        assert_eq!(name_of("a.b-c\u{e9}"), "SERVOS_KEYD_A_B_C_");
        assert_eq!(name_of(&"x".repeat(100)).len(), LONGEST_NAME);
    }
}
