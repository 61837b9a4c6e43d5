//! A recovery kit as plain text of 80 columns, one sheet for each share.
//!
//! Must never hold the words elsewhere than in a text that is wiped.
//! Called by `recovery_kit`.

use super::kit::{self, Kit};
use crate::cli::paper::{BEGIN_SHARE, END_SHARE};
use crate::custody::keys::KeyError;
use crate::custody::shares::{SHARE_WORDS, Share};
use crate::sys::locked::LockedMemory;
use std::fmt::Write as _;
use zeroize::Zeroizing;

const COLUMNS: usize = 80;
const WORDS_A_LINE: usize = 5;
/// More than a sheet takes, so that it grows in place.
const SHEET_BYTES: usize = 8 * 1024;

/// The sheets of some shares of the kit, each behind a form feed but the first.
pub(super) fn sheets(kit: &Kit, shares: &[Share], memory: &LockedMemory) -> Result<Zeroizing<String>, KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(SHEET_BYTES * shares.len()));
    for (at, share) in shares.iter().enumerate() {
        if at > 0 {
            text.push('\u{c}');
        }
        sheet(kit, share, memory, &mut text)?;
    }
    Ok(text)
}

fn sheet(kit: &Kit, share: &Share, memory: &LockedMemory, text: &mut String) -> Result<(), KeyError> {
    let (number, count) = (share.number(), kit.plan.count());
    let title = "SERVOS-KEYD RECOVERY KIT";
    let which = if count == 1 { "THE WHOLE KEY".to_owned() } else { format!("SHARE {number} OF {count}") };
    let line = "=".repeat(COLUMNS);
    let _ = writeln!(text, "{line}\n{title}{which:>0$}\n{line}\n", COLUMNS - title.len());
    paragraph(text, "", &kit.worth());
    text.push('\n');
    for (name, value) in facts(kit) {
        let _ = writeln!(text, "{name:13}{value}");
    }
    let needed = kit.plan.needed();
    let _ = writeln!(text, "\n{BEGIN_SHARE} {number} of {count}, {needed} needed -----");
    let words = kit::words(share, memory)?;
    for (at, word) in (1usize..).zip(kit::text(&words).split(' ')) {
        let _ = match at.is_multiple_of(WORDS_A_LINE) || at == SHARE_WORDS {
            true => writeln!(text, "  {at:2} {word}"),
            false => write!(text, "  {at:2} {word:10}"),
        };
    }
    let _ = writeln!(text, "{END_SHARE} {number} of {count} -----\n");
    if let Some(exact) = &kit.exact {
        text.push_str("The key itself, as its file has it (without the spaces):\n\n");
        for (at, character) in kit::text(exact).chars().enumerate() {
            match at {
                _ if at.is_multiple_of(32) && at > 0 => text.push_str("\n  "),
                _ if at.is_multiple_of(4) => text.push_str("  "),
                _ => {}
            }
            text.push(character);
        }
        text.push_str("\n\n");
    }
    for (what, command) in kit.commands() {
        paragraph(text, "", what);
        let _ = writeln!(text, "    {}", command.replacen(" --out", " \\\n        --out", 1));
    }
    text.push('\n');
    let note = kit.note_on_form().map(str::to_owned);
    for told in [Some(kit.otherwise()), note, Some(kit.not_here().to_owned())].into_iter().flatten() {
        paragraph(text, "", &told);
        text.push('\n');
    }
    text.push_str("Kept by ______________________  where ______________________  since ____________\n");
    Ok(())
}

/// What identifies the sheet.
pub(super) fn facts(kit: &Kit) -> [(&'static str, String); 5] {
    [
        (
            "Kit",
            format!("{}{}", kit.id(), if kit.plan.count() == 1 { "" } else { ": words 1 and 2 of each of its shares" }),
        ),
        ("Fingerprint", format!("{}, of the master key", kit.fingerprint)),
        ("Store", kit.store().to_owned()),
        ("Made", kit.day()),
        ("Key file", kit.form.told().to_owned()),
    ]
}

fn paragraph(text: &mut String, indent: &str, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width == 0 {
            text.push_str(indent);
            width = indent.len();
        } else if width + 1 + length > COLUMNS {
            text.push('\n');
            text.push_str(indent);
            width = indent.len();
        } else {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::kit::Form;
    use super::super::kit::tests::{KEY, kit};
    use super::*;
    use crate::cli::key;
    use crate::cli::paper::{self, Desk, PaperArguments};
    use crate::custody::keys::MasterKey;

    fn text(kit: &Kit) -> Zeroizing<String> {
        sheets(kit, &kit.shares, &key::memory().unwrap()).unwrap()
    }

    #[test]
    fn every_sheet_fits_into_80_columns_and_a_page_and_says_what_it_is() {
        for (needed, count) in [(1, 1), (2, 3), (16, 16)] {
            for form in [Form::Hex, Form::UpperHex, Form::MixedHex, Form::Base64] {
                let kit = kit(needed, count, form);
                let text = text(&kit);
                assert!(
                    text.lines().all(|line| line.trim_start_matches('\u{c}').chars().count() <= COLUMNS),
                    "{}",
                    *text
                );
                assert_eq!(text.split('\u{c}').count(), usize::from(count));
                for sheet in text.split('\u{c}') {
                    assert!(sheet.lines().count() <= 60, "{} lines", sheet.lines().count());
                    for said in [&kit.id(), &kit.fingerprint.to_string(), kit.store(), "2026-11-23", form.told()] {
                        assert!(sheet.contains(said), "{said}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_whole_kit_has_the_text_of_the_key_too_and_a_share_has_not() {
        let groups: Vec<&str> = KEY.as_bytes().chunks(4).map(|four| str::from_utf8(four).unwrap()).collect();
        assert!(text(&kit(1, 1, Form::Hex)).contains(&groups[..8].join("  ")));
        assert!(!text(&kit(2, 2, Form::Hex)).contains(groups[0]));
    }

    #[test]
    fn the_text_of_a_kit_is_paper_as_it_stands() {
        for (needed, count) in [(1, 1), (2, 3), (5, 9)] {
            let (text, memory) = (text(&kit(needed, count, Form::Hex)), key::memory().unwrap());
            let mut input = text.as_bytes();
            let mut desk = Desk { input: &mut input, errors: &mut std::io::sink(), input_is_terminal: false };
            let arguments = PaperArguments { files: Vec::new(), typed: true };
            let read = paper::read(&arguments, &mut desk, &memory).unwrap();
            assert!(read.key.same_as(&MasterKey::parse(KEY.as_bytes(), &memory).unwrap()));
        }
    }
}
