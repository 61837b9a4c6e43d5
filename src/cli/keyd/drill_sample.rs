//! Values of an application's database that a restored backup must open: JSON lines, read whole before anything is
//! tried.
//!
//! Must never repeat a line: what is no ciphertext may be a secret.
//! Called by `restore_drill`.

use crate::auth::operation::Decrypt;
use crate::auth::peer::{Peer, PeerCredentials, Socket};
use crate::auth::policy::Policy;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::given;
use crate::operations::Context;
use crate::operations::decrypt::{Format, Request};
use crate::operations::restore::rehearsal::Rehearsed;
use base64ct::{Base64, Encoding as _};
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The most that is read of a file of samples.
const LIMIT_BYTES: u64 = 64 << 20;

/// What a line holds, for whoever wrote another.
const FORM: &str = "{\"key\": \"ssh-keys\", \"context\": {\"table\": \"servers\", \"id\": \"7\"}, \
                    \"ciphertext\": \"<base64>\"}, with \
                    \"legacy\": true for a value from before servos-keyd";

/// The values of a file.
pub(super) struct Samples {
    file: PathBuf,
    values: Vec<Sample>,
}

struct Sample {
    /// From 1.
    line: usize,
    key: Option<String>,
    context: Context,
    ciphertext: Vec<u8>,
    legacy: bool,
}

/// How many opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// Messages of servos-keyd.
    pub(super) messages: usize,
    /// Values from before it.
    pub(super) legacy: usize,
}

/// Reads a file of samples.
///
/// # Errors
/// 66, 74 and 77 for a file that cannot be read, 65 for one that holds anything but samples, or none.
pub(super) fn read(file: &Path) -> Result<Samples, Failure> {
    let mut bytes = Vec::new();
    let read = given::opened(file).and_then(|opened| opened.take(LIMIT_BYTES + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| Failure::reading(file, &error))?;
    let rejected = |problem: &str| Failure::say(exit::DATA, format!("{}: {problem}", file.display()));
    if u64::try_from(length).is_ok_and(|length| length > LIMIT_BYTES) {
        return Err(rejected("is longer than 64 MiB").with_hint("a sample of the values is enough"));
    }
    let text = String::from_utf8(bytes).map_err(|_| rejected("is not text in UTF-8, so no JSON lines"))?;
    let mut values = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let sample = parsed(line, text).map_err(|problem| {
            rejected(&format!("line {line} {problem}")).with_hint(format!("each line holds one value: {FORM}"))
        })?;
        values.push(sample);
    }
    if values.is_empty() {
        return Err(rejected("holds no sample").with_hint(format!("write one value a line: {FORM}")));
    }
    Ok(Samples { file: file.to_owned(), values })
}

fn parsed(line: usize, text: &str) -> Result<Sample, &'static str> {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Err("is no JSON object") };
    if object.keys().any(|name| !["key", "context", "ciphertext", "legacy"].contains(&name.as_str())) {
        return Err("has a field that is none of key, context, ciphertext and legacy");
    }
    let ciphertext = object.get("ciphertext").and_then(Value::as_str).ok_or("has no text as its ciphertext")?;
    let ciphertext = Base64::decode_vec(ciphertext).map_err(|_| "has a ciphertext that is not standard base64")?;
    let legacy = match object.get("legacy") {
        None => false,
        Some(Value::Bool(legacy)) => *legacy,
        Some(_) => return Err("has a legacy that is neither true nor false"),
    };
    let key = match object.get("key") {
        Some(Value::String(key)) => Some(key.clone()),
        None if legacy => None,
        _ => return Err("has no text as its key"),
    };
    let pairs = match object.get("context") {
        None => Vec::new(),
        Some(Value::Object(pairs)) => {
            let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            let pairs: Option<Vec<(String, String)>> = pairs.iter().map(pair).collect();
            pairs.ok_or("has a context whose values are not all texts")?
        }
        Some(_) => return Err("has a context that is no object"),
    };
    let context = Context::new(pairs).map_err(|_| "has a context that is over its limits")?;
    Ok(Sample { line, key, context, ciphertext, legacy })
}

impl Samples {
    /// Opens every one.
    ///
    /// # Errors
    /// 65 if any does not open, with their number, and the first one's line and reason.
    pub(super) fn open(&self, restored: &Rehearsed) -> Result<Opened, Failure> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        // Whoever holds the master key may open everything; the policy is that of a daemon of this user's own.
        let policy = Policy::new(uid);
        let peer = Peer {
            credentials: PeerCredentials { uid, gid, pid: nix::unistd::getpid().as_raw() },
            socket: Socket::Dev,
        };
        let admission = policy.admit::<Decrypt>(peer).map_err(|denied| Failure::new(exit::NOT_PERMITTED, &denied))?;
        let (mut opened, mut refused) = (Opened::default(), Vec::new());
        for Sample { line, key, context, ciphertext, legacy } in &self.values {
            let value = Request { expected_key: key.as_deref(), ciphertext, context, allow_legacy: *legacy };
            match restored.opens(&admission, &value) {
                Ok(Format::Skd1) => opened.messages += 1,
                Ok(Format::Legacy) => opened.legacy += 1,
                Err(refusal) => refused.push((*line, refusal.to_string())),
            }
        }
        let Some((line, reason)) = refused.first() else { return Ok(opened) };
        let (file, all) = (self.file.display(), self.values.len());
        let not = refused.len();
        let do_not = if not == 1 { "1 does not".to_owned() } else { format!("{not} do not") };
        let message = format!("of {all} samples in {file}, {do_not} open from this backup: line {line}: {reason}");
        Err(Failure::say(exit::DATA, message).with_hint(
            "a value that was sealed after the backup needs a newer one: servos-keyctl backup; one that no backup \
             opens, look at in the application: servos-keyctl decrypt",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("samples");
        std::fs::write(&file, text).unwrap();
        (dir, file)
    }

    #[test]
    fn samples_are_read_line_by_line_with_what_each_says_of_itself() {
        let (_dir, file) = kept(
            b"{\"key\": \"default\", \"context\": {\"a\": \"1\"}, \"ciphertext\": \"AAAA\"}\n\n\
              {\"ciphertext\": \"AA==\", \"legacy\": true}\r\n{\"key\":\"k\",\"ciphertext\":\"\",\"legacy\":false}",
        );
        let samples = read(&file).unwrap().values;
        let seen: Vec<_> = samples
            .iter()
            .map(|sample| (sample.line, sample.key.as_deref(), sample.ciphertext.len(), sample.legacy))
            .collect();
        assert_eq!(seen, [(1, Some("default"), 3, false), (3, None, 1, true), (4, Some("k"), 0, false)]);
    }

    #[test]
    fn what_is_no_sample_is_refused_by_its_line_and_not_repeated() {
        for (text, said) in [
            ("hunter2", "is no JSON object"),
            ("\"hunter2\"", "is no JSON object"),
            ("[\"hunter2\"]", "is no JSON object"),
            ("{\"hunter2\": 1, \"ciphertext\": \"AAAA\"}", "has a field that is none of key"),
            ("{\"key\": \"hunter2\"}", "has no text as its ciphertext"),
            ("{\"key\": \"k\", \"ciphertext\": 7}", "has no text as its ciphertext"),
            ("{\"key\": \"k\", \"ciphertext\": \"hunter2\"}", "is not standard base64"),
            ("{\"key\": \"k\", \"ciphertext\": \"AA-_\"}", "is not standard base64"),
            ("{\"ciphertext\": \"AAAA\"}", "has no text as its key"),
            ("{\"key\": 7, \"ciphertext\": \"AAAA\", \"legacy\": true}", "has no text as its key"),
            ("{\"key\": \"k\", \"ciphertext\": \"AAAA\", \"legacy\": \"hunter2\"}", "neither true nor false"),
            ("{\"key\": \"k\", \"ciphertext\": \"AAAA\", \"context\": \"hunter2\"}", "a context that is no object"),
            ("{\"key\": \"k\", \"ciphertext\": \"AAAA\", \"context\": {\"hunter2\": 7}}", "are not all texts"),
            (
                &format!(
                    "{{\"key\": \"k\", \"ciphertext\": \"AAAA\", \"context\": {{\"a\": \"{}\"}}}}",
                    "hunter2".repeat(700)
                ),
                "over its limits",
            ),
        ] {
            let (_dir, file) = kept(format!("{{\"key\": \"k\", \"ciphertext\": \"AAAA\"}}\n{text}\n").as_bytes());
            let failure = read(&file).err().expect(text);
            assert_eq!(failure.exit, exit::DATA, "{text}");
            assert!(failure.message.contains(": line 2 ") && failure.message.contains(said), "{}", failure.message);
            let hint = failure.hint.unwrap();
            assert!(!failure.message.contains("hunter2") && !hint.contains("hunter2") && hint.contains(FORM));
        }
    }

    #[test]
    fn a_file_without_a_sample_proves_nothing_and_is_refused() {
        for (text, said) in [(&b""[..], "holds no sample"), (b"\n \n", "holds no sample"), (b"\xff", "not text")] {
            let (_dir, file) = kept(text);
            let failure = read(&file).err().unwrap();
            assert!(failure.exit == exit::DATA && failure.message.contains(said), "{}", failure.message);
        }
        assert_eq!(read(Path::new("/no/such/samples")).err().unwrap().exit, exit::MISSING);
    }
}
