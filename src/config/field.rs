//! One value of the configuration file with its place: turned into what its key needs, or refused by name.
//!
//! Must never repeat a value in an error, but a number or a word that cannot be a secret.
//! Called by `config::file` alone.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::duration;
use super::error::ConfigError;
use super::key_text::holds_key_for_path;

/// The longest path that fits a socket's address, in bytes: 108 with the closing NUL.
const SOCKET_PATH_BYTES: usize = 107;

/// A value and where it stands.
pub struct Field<'a> {
    /// The configuration file.
    pub file: &'a Path,
    /// The line, from 1.
    pub line: usize,
    /// Section and key, as in `limits.streams`.
    pub key: &'a str,
    /// What is written there.
    pub value: &'a DeValue<'a>,
}

impl Field<'_> {
    pub fn refused(&self, problem: impl Display) -> ConfigError {
        ConfigError::Invalid {
            path: self.file.to_owned(),
            line: self.line,
            key: self.key.to_owned(),
            problem: problem.to_string(),
        }
    }

    fn wrong_type(&self, wanted: &str) -> ConfigError {
        self.refused(format_args!("{wanted} is expected, not {}", type_name(self.value)))
    }

    pub fn boolean(&self) -> Result<bool, ConfigError> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    pub fn text(&self) -> Result<&str, ConfigError> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_type("a text in quotes")),
        }
    }

    pub fn count(&self, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let DeValue::Integer(integer) = self.value else { return Err(self.wrong_type("a whole number")) };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        value
            .filter(|value| range.contains(value))
            .ok_or_else(|| self.refused(format_args!("must be from {} to {}", range.start(), range.end())))
    }

    pub fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
        let value = match self.value {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(number) => duration::parse(number.as_str()),
            _ => return Err(self.wrong_type("a duration such as \"30s\"")),
        };
        let value = value.map_err(|fault| self.refused(fault))?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (duration::format(*range.start()), duration::format(*range.end()));
        Err(self.refused(format_args!("must be from \"{least}\" to \"{most}\"")))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, ConfigError> {
        let text = self.text()?;
        all.iter().copied().find(|choice| name(*choice) == text).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|choice| name(*choice)).collect();
            self.refused(format_args!("must be one of {}", names.join(", ")))
        })
    }

    /// An absolute path without a NUL or a trailing slash.
    pub fn path(&self) -> Result<PathBuf, ConfigError> {
        let text = self.text()?;
        if !text.starts_with('/') {
            return Err(self.refused("must be an absolute path (it begins with /)"));
        }
        if is_base64_of_32_bytes(text) {
            // A base64 key can begin like a path, and would be shown in every message about the missing file.
            return Err(self.refused("must be a path, and this looks like a key"));
        }
        if text.contains('\0') {
            return Err(self.refused("must not hold a NUL"));
        }
        if holds_key_for_path(Path::new(text)) {
            return Err(self.refused("must be a path, and this holds what looks like a key"));
        }
        if text.ends_with('/') {
            return Err(self.refused("must not end with /"));
        }
        Ok(PathBuf::from(text))
    }

    /// A path that fits a Unix socket's address.
    pub fn socket_path(&self) -> Result<PathBuf, ConfigError> {
        let path = self.path()?;
        if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES {
            return Err(self.refused(format_args!("a socket's path has at most {SOCKET_PATH_BYTES} bytes")));
        }
        Ok(path)
    }

    /// A group's name; the empty text is none.
    pub fn group(&self) -> Result<Option<String>, ConfigError> {
        let text = self.text()?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        match text {
            "" => Ok(None),
            _ if text.len() <= 32 && text.chars().all(allowed) && !text.starts_with('-') => Ok(Some(text.to_owned())),
            _ => Err(self.refused("must be a group's name: at most 32 of a-z, A-Z, 0-9, _, - and .")),
        }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// 44 characters of base64 with their padding: no path that anyone chose.
fn is_base64_of_32_bytes(text: &str) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() == 44 && text.strip_suffix('=').is_some_and(|digits| digits.bytes().all(base64))
}
