//! A key that somebody typed on a command line.
//!
//! Must never let a text that holds one be repeated: what a command prints ends in logs and on screens.
//! Called by both binaries, before they print what the parser says, and by what takes files and fingerprints.

use super::exit;
use super::failure::Failure;

/// What to do about a key that was typed.
pub const IN_HISTORY: &str = "what you typed stands in the shell's history now: delete it there";

/// Whether a text is, by its form, a key.
pub fn looks_like_key(text: &str) -> bool {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex || (text.len() == 44 && text.ends_with('='))
}

/// Refuses a text of the parser that repeats a key, alone or behind a variable's name.
///
/// # Errors
/// 64, with no word of the text.
pub fn refuse_shown(text: &str) -> Result<(), Failure> {
    if !shows_key(text) {
        return Ok(());
    }
    Err(Failure::say(exit::USAGE, "a key was typed as an argument, and none is taken so").with_hint(IN_HISTORY))
}

fn shows_key(text: &str) -> bool {
    holds_hex_key(text) || holds_base64_key(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_what_is_said_of_an_argument() {
        let keys = ["0123456789abcdef".repeat(4), format!("{}=", "aB3/".repeat(10) + "aB3")];
        for key in &keys {
            for text in
                [format!("unexpected argument '{key}' found"), format!("'SERVOS_MASTER_KEY={key}'"), key.clone()]
            {
                assert!(shows_key(&text), "{text}");
            }
            for text in [format!("'x{key}'"), format!("0x{key}"), format!("{key}.next"), format!("é{key}é")] {
                assert!(shows_key(&text), "{text}");
            }
            assert!(!shows_key(&key[1..]));
        }
        assert!(!shows_key("unexpected argument '--generat' found"));
        assert!(!shows_key("servos-keyctl rotate begin --fingerprint 0123456789abcdef"));
    }
}
