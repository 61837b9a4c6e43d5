//! A value of the configuration file that stands without its quotes: told with the line as it is to be.
//!
//! Must never show a value that could be part of a key: only words, durations and numbers of some characters.
//! Called by `config::file` for what is no TOML.

/// The longest value that is shown: a word of this file, or a duration.
const SHOWN_CHARACTERS: usize = 12;

/// What to say of a line of the file, if the value of one of these keys lacks its quotes there.
pub fn missing_quotes(line: &str, is_key: impl Fn(&str) -> bool) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.split('#').next()?.trim());
    let key = name.rsplit('.').next()?;
    let begins = value.chars().next()?;
    let is_word = begins.is_ascii_alphabetic() || begins == '/';
    let has_unit = begins.is_ascii_digit() && value.ends_with(|last: char| last.is_ascii_alphabetic());
    if !is_key(key) || !(is_word || has_unit) || value.contains(['"', '\'']) || matches!(value, "true" | "false") {
        return None;
    }
    let is_shown = value.len() <= SHOWN_CHARACTERS && value.chars().all(|c| c.is_ascii_alphanumeric());
    let shown = if is_shown { value } else { "…" };
    Some(format!("the value of {key} stands without quotes; write: {name} = \"{shown}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<String> {
        missing_quotes(line, |key| ["level", "path", "interval", "file"].contains(&key))
    }

    #[test]
    fn a_word_a_duration_or_a_path_without_quotes_is_told_with_the_line_as_it_is_to_be() {
        for (line, right) in [
            ("level = info", "level = \"info\""),
            ("  log.level=warn # loud", "log.level = \"warn\""),
            ("interval = 30d", "interval = \"30d\""),
            ("path = /var/lib/servos-keyd/keyd.redb", "path = \"…\""),
        ] {
            let said = said(line).unwrap();
            assert!(said.ends_with(&format!("write: {right}")), "{said}");
        }
    }

    #[test]
    fn what_may_be_a_key_is_not_shown_and_what_lacks_no_quotes_is_left_to_the_parser() {
        let key = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";
        assert!(said(&format!("file = {key}")).is_none_or(|said| !said.contains("7b1d3e")));
        assert!(said(&format!("level = {key}")).is_none_or(|said| !said.contains("7b1d3e")));
        for line in ["level = \"info", "level = true", "other = info", "level =", "[log", "level = 30", "level = 'x"] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
