//! A path as one word of a command that a message suggests.
//!
//! Must never let a file's name be more than a word: somebody else may have given it, and root pastes the command.
//! Called wherever a message names a command with a path.

use std::path::Path;

/// A path as a shell takes it, for the commands that errors and examples suggest.
#[must_use]
pub fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | ':');
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_command_is_one_word_for_the_shell() {
        assert_eq!(shell_quoted(Path::new("/etc/servos/servos.env")), "/etc/servos/servos.env");
        assert_eq!(shell_quoted(Path::new("/a b;c")), "'/a b;c'");
        assert_eq!(shell_quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
