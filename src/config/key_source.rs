//! Gathers the master key's text from every place that holds it, in the order in which they count.
//!
//! Must never judge whether a text is a key or two agree (that needs `custody`), nor keep one outside locked memory.
//! Called by `cli` for every command that needs the key.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::env_file::{self, EnvFileFault};
use super::key_file::{self, KeyFile};
use super::key_source_error::KeySourceError;
use super::key_text::holds_key_for_path;
use super::mount;
use super::settings;
use crate::sys::environment;
use crate::sys::locked::{LockedBuffer, LockedMemory, LockedMemoryError};

pub use super::key_file::{Trust, is_in_memory};

/// The variables that hold the key, in a file or in the environment; the second is from when ServOS was called ACT.
pub(super) const VARIABLES: [&str; 2] = ["SERVOS_MASTER_KEY", "ACT_MASTER_KEY"];

/// The variables that name a file.
pub const FILE_VARIABLES: [&str; 2] = ["SERVOS_MASTER_KEY_FILE", "ACT_MASTER_KEY_FILE"];

/// The names under which systemd may hand the key over, in the order in which they count.
pub const CREDENTIALS: [&str; 4] = ["servos_master_key", "act_master_key", "servos.env", "act.env"];

/// What the unit has systemd put in the place of a credential whose file is missing (`SetCredential=`): the daemon then says
/// so itself, where systemd would end the start with a number.
pub const NOT_FOUND: &str = "not found";

/// What should be mended about a source, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Others can read it, which was let pass.
    Exposed(String),
    /// It gives the key twice, and not alike.
    DefinedTwice(String),
    /// It is the environment.
    InEnvironment(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Exposed(text) | Self::DefinedTwice(text) | Self::InEnvironment(text)) = self;
        f.write_str(text)
    }
}

/// How a source behaves when the key changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A file under `$CREDENTIALS_DIRECTORY`: keeps its old bytes until the unit restarts.
    Credential,
    /// A file the daemon opens itself: can be read again at any time.
    File,
    /// A file that is mounted by itself: one renamed into its place outside is seen after a restart only.
    Mounted,
    /// A variable of the process: what the start read is all there is.
    Environment,
}

/// One place that holds a master key, with the key's text.
pub struct KeySource {
    /// How people know it: a path, a credential's or a variable's name.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// The file, if it is one.
    pub path: Option<PathBuf>,
    /// The variable, if the text is the value of one; `None` for a file that holds the key alone.
    pub variable: Option<&'static str>,
    /// Exactly the key's text, without blanks around it; not checked to be a key, but never empty.
    pub text: LockedBuffer,
    /// What should be mended about the place, for the log at each start.
    pub warnings: Vec<Warning>,
}

/// Where to look. Everything that can make a difference is a field.
#[derive(Debug)]
pub struct Sources {
    /// Files that hold the key, in the order in which they count.
    pub key_files: Vec<PathBuf>,
    /// Values that were in the process's environment, with their variables.
    pub environment_key: Vec<(&'static str, LockedBuffer)>,
    /// Whose files are good, and where the credentials lie.
    pub trust: Trust,
}

impl Sources {
    /// Takes what the process was given: its environment (which holds no key afterwards), its user and group, and
    /// `[master_key]`.
    ///
    /// Must run while the process has one thread, because it changes the environment.
    ///
    /// # Errors
    /// [`KeySourceError::PathLooksLikeKey`], or [`KeySourceError::Memory`].
    pub fn from_process(configured: &settings::MasterKey, memory: &LockedMemory) -> Result<Self, KeySourceError> {
        let mut environment_key = Vec::new();
        for variable in VARIABLES {
            let taken =
                environment::take(variable, memory).map_err(|fault| no_memory(in_environment(variable), fault))?;
            environment_key.extend(taken.map(|value| (variable, value)));
        }
        let mut key_files = Vec::new();
        for variable in FILE_VARIABLES {
            key_files.extend(path_in(variable, std::env::var_os(variable))?);
        }
        key_files.extend(configured.file.clone());
        let trust = Trust {
            credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY")
                .filter(|v| !v.is_empty())
                .map(PathBuf::from),
            allow_readable: configured.allow_readable,
            daemon_uid: nix::unistd::geteuid().as_raw(),
            daemon_gid: nix::unistd::getegid().as_raw(),
        };
        Ok(Self { key_files, environment_key, trust })
    }

    /// Reads every source that is present: credentials, then files, then the environment. At least one, or an error.
    ///
    /// # Errors
    /// [`KeySourceError`], for the first source that cannot be read; [`KeySourceError::NoSource`] if there is none, or
    /// [`KeySourceError::NotDelivered`].
    pub fn read(&self, memory: &LockedMemory) -> Result<Vec<KeySource>, KeySourceError> {
        let (mut found, not_delivered) = self.credentials(memory)?;
        for path in &self.key_files {
            // One file named twice is one source.
            if !found.iter().any(|source: &KeySource| source.path.as_ref() == Some(path)) {
                found.extend(self.read_file(path, memory)?);
            }
        }
        for (variable, value) in &self.environment_key {
            found.push(environment_source(variable, value, memory)?);
        }
        match not_delivered {
            _ if !found.is_empty() => Ok(found),
            Some(error) => Err(error),
            None => Err(KeySourceError::NoSource),
        }
    }

    /// Reads one file as [`Self::read`] reads those it knows: two sources if it assigns both variables, at least one.
    ///
    /// # Errors
    /// [`KeySourceError`].
    pub fn read_file(&self, path: &Path, memory: &LockedMemory) -> Result<Vec<KeySource>, KeySourceError> {
        self.file(path, &path.display().to_string(), memory)
    }

    /// The credentials that hold a key, and what is to be said of one that systemd did not find, if there is nothing else.
    fn credentials(&self, memory: &LockedMemory) -> Result<(Vec<KeySource>, Option<KeySourceError>), KeySourceError> {
        let (mut found, mut not_delivered) = (Vec::new(), None);
        let Some(directory) = &self.trust.credentials_directory else { return Ok((found, None)) };
        for name in CREDENTIALS {
            match self.file(&directory.join(name), &format!("credential {name}"), memory) {
                Err(KeySourceError::Missing { .. }) => {}
                Err(error @ KeySourceError::NotDelivered { .. }) => not_delivered = not_delivered.or(Some(error)),
                read => found.extend(read?),
            }
        }
        Ok((found, not_delivered))
    }

    fn file(&self, path: &Path, place: &str, memory: &LockedMemory) -> Result<Vec<KeySource>, KeySourceError> {
        let KeyFile { mut content, is_credential, warnings } = key_file::read(path, place, &self.trust, memory)?;
        let mut warnings: Vec<Warning> = warnings.into_iter().map(Warning::Exposed).collect();
        if is_credential && content.expose_bytes().trim_ascii() == NOT_FOUND.as_bytes() {
            return Err(KeySourceError::NotDelivered { place: place.to_owned() });
        }
        let kind = match is_credential {
            true => SourceKind::Credential,
            false if mount::is_mount_point(path) => SourceKind::Mounted,
            false => SourceKind::File,
        };
        let source = |name: String, variable, text, warnings| KeySource {
            name,
            kind,
            path: Some(path.to_owned()),
            variable,
            text,
            warnings,
        };
        match form_of(content.expose_bytes(), place)? {
            Form::Bare => {
                trim(&mut content);
                Ok(vec![source(place.to_owned(), None, content, warnings)])
            }
            Form::EnvFile => {
                let found = env_file::parse(content.expose_bytes(), &VARIABLES, memory);
                let found = found.map_err(|fault| env_file_fault(fault, place))?;
                let mut sources = Vec::with_capacity(found.len());
                for env_file::Assignment { variable, line, mut value, overridden } in found {
                    trim(&mut value);
                    if value.is_empty() {
                        return Err(KeySourceError::EmptyValue { place: place.to_owned(), variable, line });
                    }
                    // A file's faults are said once, with the first key in it.
                    let mut warnings = std::mem::take(&mut warnings);
                    warnings.extend(overridden.map(|before| Warning::DefinedTwice(format!(
                        "{place}: lines {before} and {line} give {variable} different values; the last one counts, as with \
                         systemd: remove the wrong one"
                    ))));
                    sources.push(source(format!("{place} ({variable})"), Some(variable), value, warnings));
                }
                if sources.is_empty() {
                    return Err(KeySourceError::NoKeyInside { place: place.to_owned() });
                }
                Ok(sources)
            }
        }
    }
}

pub(super) enum Form {
    /// The key alone.
    Bare,
    /// Assignments.
    EnvFile,
}

/// One word that assigns nothing is a key, or was meant to be; all else is an env file.
pub(super) fn form_of(content: &[u8], place: &str) -> Result<Form, KeySourceError> {
    let place = || place.to_owned();
    let word = content.trim_ascii();
    if content.contains(&0) {
        return Err(KeySourceError::Nul { place: place() });
    }
    if content.starts_with(b"\xef\xbb\xbf") {
        return Err(KeySourceError::ByteOrderMark { place: place() });
    }
    if word.is_empty() {
        return Err(KeySourceError::Empty { place: place() });
    }
    if holds_words(word) {
        return Err(KeySourceError::Words { place: place() });
    }
    let is_bare = !word.iter().any(u8::is_ascii_whitespace) && !is_assignment(word);
    Ok(if is_bare { Form::Bare } else { Form::EnvFile })
}

/// Words of SLIP-0039, known by their form alone, for they are the key: nothing but words of four to eight small letters and
/// their numbers, more than anybody writes by chance; or a sheet, which has words around them, by the line above them.
fn holds_words(content: &[u8]) -> bool {
    const ENOUGH: usize = 20;
    const SHEET: &[u8] = b"----- BEGIN SHARE";
    let tokens = || content.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty());
    let is_word = |token: &&[u8]| matches!(token.len(), 4..=8) && token.iter().all(u8::is_ascii_lowercase);
    let is_number = |token: &&[u8]| token.len() <= 3 && token.iter().all(u8::is_ascii_digit);
    let is_sheet = content.windows(SHEET.len()).any(|window| window == SHEET);
    is_sheet
        || (tokens().filter(is_word).count() >= ENOUGH && tokens().all(|token| is_word(&token) || is_number(&token)))
}

/// The padding of base64 is no assignment, unless what stands before it is one of our variables.
fn is_assignment(word: &[u8]) -> bool {
    let Some(end) = word.iter().position(|byte| *byte == b'=') else { return false };
    let (name, value) = word.split_at(end);
    let ours = VARIABLES.iter().any(|variable| variable.as_bytes() == name);
    ours || (env_file::is_name(name) && value.iter().any(|byte| *byte != b'='))
}

fn environment_source(
    variable: &'static str,
    value: &LockedBuffer,
    memory: &LockedMemory,
) -> Result<KeySource, KeySourceError> {
    let name = in_environment(variable);
    // The value stays for the next reading: the environment it came from is wiped.
    let bytes = value.expose_bytes().trim_ascii();
    let mut text = memory.buffer(bytes.len()).map_err(|fault| no_memory(name.clone(), fault))?;
    text.append(bytes);
    if text.is_empty() {
        return Err(KeySourceError::Empty { place: name });
    }
    let warning = format!(
        "{name}: this process's own copy is wiped, but whatever set it still holds the key (a unit, compose or env file, \
         `docker inspect`, a shell's history, the environment of parent processes); a credential or a key file does not"
    );
    let kind = SourceKind::Environment;
    Ok(KeySource {
        name,
        kind,
        path: None,
        variable: Some(variable),
        text,
        warnings: vec![Warning::InEnvironment(warning)],
    })
}

fn in_environment(variable: &str) -> String {
    format!("environment {variable}")
}

/// A path from the environment; an empty variable is none, as compose files leave it.
fn path_in(variable: &'static str, value: Option<OsString>) -> Result<Option<PathBuf>, KeySourceError> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) if looks_like_key(value.as_encoded_bytes()) || holds_key_for_path(Path::new(&value)) => {
            Err(KeySourceError::PathLooksLikeKey { variable })
        }
        value => Ok(value.map(PathBuf::from)),
    }
}

/// 64 hex digits, or 43 or 44 characters of base64, with or without padding, of either alphabet.
fn looks_like_key(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let digits = text.strip_suffix(b"=").unwrap_or(text);
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    (text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit)) || (digits.len() == 43 && digits.iter().all(base64))
}

fn trim(buffer: &mut LockedBuffer) {
    let bytes = buffer.expose_bytes();
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let end = bytes.trim_ascii_end().len();
    buffer.keep(start..end);
}

pub(super) fn env_file_fault(fault: EnvFileFault, place: &str) -> KeySourceError {
    let place = place.to_owned();
    match fault {
        EnvFileFault::UnclosedQuote { line } => KeySourceError::UnclosedQuote { place, line },
        EnvFileFault::Memory(source) => KeySourceError::Memory { place, source },
    }
}

pub(super) fn no_memory(place: String, source: LockedMemoryError) -> KeySourceError {
    KeySourceError::Memory { place, source }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "key_source_tests.rs"]
mod tests;
