//! A person at the terminal, line by line, as scripts of what is typed.
//!
//! Must never need a terminal: `tests/behaviour` has one.
//! Run by `cargo test`.

use super::*;
use crate::cli::key;
use crate::cli::paper::tests::{key_of_test, kit};

/// Types the lines; what was said before each, and what came of it.
fn typing(typed: &[&str], before: Vec<Share>) -> (Vec<String>, Result<Option<MasterKey>, Failure>, Collected) {
    let memory = key::memory().unwrap();
    let places = before.iter().map(|_| "a file".to_owned()).collect();
    let mut collected = Collected { shares: before, places };
    let (mut said, mut typed) = (Vec::new(), typed.iter());
    let mut lines = |prompt: &str, line: &mut LockedBuffer| {
        said.push(prompt.to_owned());
        line.keep(0..0);
        let Some(typed) = typed.next() else { return Ok(LineEnd::Interrupted) };
        line.read_from(&mut typed.as_bytes()).unwrap();
        Ok(LineEnd::Entered)
    };
    let outcome = ask(&mut lines, &mut collected, &memory);
    (said, outcome, collected)
}

fn parsed(share: &str) -> Share {
    Share::parse(share.split(' ').map(str::as_bytes), &key::memory().unwrap()).unwrap()
}

#[test]
fn shares_are_asked_for_until_there_are_enough() {
    let kit = kit(2, 3);
    let half = kit[1].match_indices(' ').nth(15).unwrap().0;
    let lines = [&kit[2], "", &kit[1][..half], &kit[1][half..]];
    let (said, outcome, collected) = typing(&lines, Vec::new());
    assert!(outcome.unwrap().is_none());
    let key = shares::combine(&collected.shares, &key::memory().unwrap()).unwrap();
    assert!(key.same_as(&key_of_test()));
    assert_eq!(said[0], "Share 1, word 1 of 33: ");
    assert!(said[1].ends_with("One more is needed.\nShare 2 of 2, word 1 of 33: "), "{said:?}");
    assert!(said[3].ends_with("Share 2 of 2, word 17 of 33: "), "{said:?}");
}

#[test]
fn what_files_gave_is_counted() {
    let kit = kit(2, 2);
    assert!(typing(&[&kit[1]], vec![parsed(&kit[0])]).1.is_ok());
    let (said, outcome, _) = typing(&[], vec![parsed(&kit[0]), parsed(&kit[1])]);
    assert!(outcome.is_ok() && said.is_empty(), "nothing is asked for");
}

#[test]
fn a_word_that_is_none_is_asked_for_again_and_what_stood_before_it_is_kept() {
    let kit = kit(1, 1);
    let words: Vec<&str> = kit[0].split(' ').collect();
    let typo = format!("{} acadmic acid acne", words[..10].join(" "));
    let (said, outcome, _) = typing(&[&typo, &words[10..].join(" ")], Vec::new());
    assert!(outcome.is_ok());
    assert!(said[1].contains("Word 11 is none of the list (words of the list that are like it: academic"), "{said:?}");
    assert!(said[1].ends_with("word 11 of 33: "));
}

#[test]
fn a_share_that_cannot_be_right_is_not_taken_and_typed_again() {
    let (kit, other) = (kit(2, 2), kit(2, 2));
    let words: Vec<&str> = kit[0].split(' ').collect();
    let other_word = if words[20] == "zero" { "yoga" } else { "zero" };
    let wrong: Vec<&str> =
        words.iter().enumerate().map(|(at, word)| if at == 20 { other_word } else { word }).collect();
    let more = format!("{} zero zero", kit[1]);
    let (said, outcome, _) = typing(&[&wrong.join(" "), &kit[0], &kit[0], &other[1], &more], Vec::new());
    assert!(outcome.is_ok());
    for (at, expected) in [(1, "checksum does not fit"), (3, "was given twice"), (4, "is of another kit")] {
        assert!(said[at].contains(expected) && said[at].contains("It was not taken"), "{}", said[at]);
    }
}

#[test]
fn the_key_itself_is_taken_and_a_near_miss_asked_for_again() {
    let hex = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";
    let (said, outcome, _) = typing(&[&hex[1..], hex], Vec::new());
    assert!(outcome.unwrap().unwrap().same_as(&key_of_test()));
    assert!(said[1].contains("63 hex digits") && !said[1].contains(&hex[2..10]), "{said:?}");
}

#[test]
fn who_gives_up_ends_with_nothing() {
    let (_, outcome, _) = typing(&["acid"], Vec::new());
    assert_eq!(outcome.err().unwrap().exit, exit::NO);
}
