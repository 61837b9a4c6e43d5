//! Text that came from somewhere else, as a terminal may be given it.
//!
//! Must never let through what a terminal obeys.
//! Called by what prints, in both binaries.

/// Text that came from somewhere else, so that a terminal shows it and obeys nothing in it.
pub(super) fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if is_obeyed(c) { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// The same for text of several lines.
pub(super) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON, which means the same afterwards: what a terminal obeys can stand in its strings only.
pub(super) fn plain_json(value: &impl std::fmt::Display) -> String {
    plain_strings(&format!("{value:#}"))
}

/// The same in one line.
pub(super) fn plain_json_line(value: &impl std::fmt::Display) -> String {
    plain_strings(&value.to_string())
}

fn plain_strings(json: &str) -> String {
    let one = |c: char| match c {
        '\n' => c.to_string(),
        c if is_obeyed(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json.chars().map(one).collect()
}

fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_lines_end_where_they_are_meant_to() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}");
        assert_eq!(plain_lines("a\x1b[2J\nb\r"), "a\\u{1b}[2J\nb\\u{d}");
        let value = serde_json::json!({"name": "a\x1b\u{7f}\u{9b}2J\u{202e}\n"});
        let shown = plain_json(&value);
        assert!(shown.chars().all(|c| c == '\n' || !is_obeyed(c)), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        let line = plain_json_line(&value);
        assert!(shown.contains('\n') && !line.chars().any(is_obeyed), "{line:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }
}
