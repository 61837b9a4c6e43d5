//! `--context k=v` and `--no-context`.
//!
//! Must never drop a pair that was given.
//! Called by encrypt, decrypt and reencrypt.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::context::{Context, InvalidContext};
use clap::Args;
use std::collections::BTreeSet;

/// What a value belongs to.
#[derive(Args)]
pub(super) struct ContextArguments {
    /// What the value belongs to, e.g. --context table=servers --context id=7f3e; needed again, exactly, to open it
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = pair)]
    pairs: Vec<(String, String)>,

    /// Go without a context on purpose
    #[arg(long, conflicts_with = "pairs")]
    no_context: bool,
}

impl ContextArguments {
    /// The context that was given.
    ///
    /// # Errors
    /// 64 for a key that was given twice.
    pub(super) fn context(&self) -> Result<Context, Failure> {
        context_of(&self.pairs)
    }

    /// Whether a context is missing and nobody said that this is meant.
    pub(super) fn is_forgotten(&self) -> bool {
        self.pairs.is_empty() && !self.no_context
    }
}

/// The context of these pairs.
///
/// # Errors
/// 64 for a key that was given twice: which of its values is meant, nobody knows.
pub(super) fn context_of(pairs: &[(String, String)]) -> Result<Context, Failure> {
    let mut seen = BTreeSet::new();
    if let Some((key, _)) = pairs.iter().find(|(key, _)| !seen.insert(key)) {
        return Err(Failure::say(exit::USAGE, InvalidContext::Repeated { key: key.clone() }.to_string()));
    }
    Ok(pairs.iter().fold(Context::danger_none(), |context, (key, value)| context.with(key, value)))
}

/// Parses `key=value`; the value may hold further `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the key before = is empty".to_owned()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("a context is KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_divides_a_pair() {
        assert_eq!(pair("id=a=b=").unwrap(), ("id".to_owned(), "a=b=".to_owned()));
        assert_eq!(pair("id=").unwrap(), ("id".to_owned(), String::new()));
        assert!(pair("=v").is_err());
        assert!(pair("id").is_err());
        assert!(pair("").is_err());
    }
}
