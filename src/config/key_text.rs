//! The text of a master key where it does not belong: in a path, or in what a program repeats.
//!
//! Must never be asked of a secret in locked memory, nor decide what a key is: `custody` parses keys.
//! Called by `key_source` for variables that name files, by `field` for configured paths, and by `cli` for what was typed.

use std::path::Path;

/// Whether what stands in place of a path holds a key: it would be repeated in every message about the file that is missing.
#[must_use]
pub fn holds_key_for_path(file: &Path) -> bool {
    if file.exists() {
        return false;
    }
    // Directories that are there are no key, whatever they and what is to lie in them look like together. But for the
    // root's: a key in base64 can begin with its name.
    let there = file.ancestors().skip(1).find(|ancestor| ancestor.exists() && ancestor.parent().is_some());
    let named = there.and_then(|there| file.strip_prefix(there).ok()).unwrap_or(file).to_string_lossy();
    holds_hex_key(&named) || holds_base64_key(&named)
}

/// Whether the 64 hex digits of a key stand somewhere in a text, whatever is around them.
pub fn holds_hex_key(text: &str) -> bool {
    text.split(|one: char| !one.is_ascii_hexdigit()).any(|run| run.len() >= 64)
}

/// Whether the 43 characters of a key in base64 stand somewhere in a text, before their padding.
pub fn holds_base64_key(text: &str) -> bool {
    let is_base64 = |one: char| one.is_ascii_alphanumeric() || one == '+' || one == '/';
    // All that stands before a padding, and of that the run at its end.
    text.match_indices('=').any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        before.chars().rev().take_while(|one| is_base64(*one)).take(43).count() == 43
    })
}
