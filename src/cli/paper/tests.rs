//! Paper as people bring it: words in every shape, in files and on standard input, and all that is wrong with it.
//!
//! Must never show a word of a share in what fails.
//! Run by `cargo test`.

use super::*;
use crate::cli::key;
use crate::custody::shares::{Plan, Share, words};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

const KEY: &str = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";
const BASE64: &str = "ex0+yiL6hL7kfj0crC1oj0uNNtNz3H6HSn8rZ59hhss=";

pub(super) fn key_of_test() -> MasterKey {
    MasterKey::parse(KEY.as_bytes(), &key::memory().unwrap()).unwrap()
}

/// The words of each share of a new kit.
pub(super) fn kit(needed: u8, count: u8) -> Vec<String> {
    let memory = key::memory().unwrap();
    let shares = shares::split(&key_of_test(), Plan::new(needed, count).unwrap(), &memory, &key::random).unwrap();
    let text = |share: &Share| {
        let mut text = memory.buffer(shares::SHARE_TEXT_BYTES).unwrap();
        share.write_words(b' ', &mut text).unwrap();
        String::from_utf8(text.expose_bytes().to_vec()).unwrap()
    };
    shares.iter().map(text).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn read_all(files: Vec<PathBuf>, input: Option<&str>) -> Result<PaperKey, Failure> {
    let arguments = PaperArguments { files, typed: input.is_some() };
    read_as(&arguments, input.unwrap_or_default())
}

fn read_as(arguments: &PaperArguments, mut input: &str) -> Result<PaperKey, Failure> {
    // Strings have no bytes of their own to read from.
    let mut bytes = input.as_bytes();
    input = "";
    assert!(input.is_empty());
    let mut desk = Desk { input: &mut bytes, errors: &mut std::io::sink(), input_is_terminal: false };
    read(arguments, &mut desk, &key::memory().unwrap())
}

fn is_the_key(paper: &PaperKey) -> bool {
    paper.key.same_as(&key_of_test())
}

/// No word of a share stands in what is said.
fn says_nothing_of(failure: &Failure, shares: &[String]) {
    let said = format!("{} {}", failure.message, failure.hint.clone().unwrap_or_default());
    for share in shares {
        // The first two name the kit, in public.
        for pair in share.split(' ').skip(2).collect::<Vec<_>>().windows(2) {
            assert!(!said.contains(&pair.join(" ")), "{said}");
        }
    }
}

#[test]
fn words_are_taken_in_every_shape_in_which_people_and_scanners_write_them() {
    let kit = kit(2, 3);
    let share = &kit[0];
    let each = |shape: &dyn Fn((usize, &str)) -> String| share.split(' ').enumerate().map(shape).collect::<String>();
    for text in [
        share.clone(),
        share.to_uppercase(),
        format!("\u{feff}  {share}\r\n\r\n"),
        each(&|(_, word)| format!("{}\n", &word[..4])),
        each(&|(at, word)| format!("{}. {word}  ", at + 1)),
        each(&|(at, word)| format!("{:2}.{word}\t", at + 1)),
        each(&|(at, word)| format!("({}) {}\r\n", at + 1, word.to_uppercase()).replace('(', "#")),
        each(&|(at, word)| format!("{}:{word},", at + 1)),
        each(&|(_, word)| format!("- {word};\n")),
        format!("QR-Code:{share}\n"),
        format!("Share 1 of 3\n{}, of kit x y\n  1 {share}\n{}\nkeep it\n", text::BEGIN_SHARE, text::END_SHARE),
    ] {
        let place = Place::new();
        let paper = read_all(vec![place.file("a", &text), place.file("b", &kit[2])], None);
        assert!(is_the_key(&paper.unwrap_or_else(|failure| panic!("{failure:?}"))));
    }
}

#[test]
fn several_shares_may_stand_in_one_text_in_any_order_and_more_than_are_needed() {
    let kit = kit(2, 3);
    let block = |share: &String| format!("{} x\n{share}\n{} x\n", text::BEGIN_SHARE, text::END_SHARE);
    for input in [
        format!("{}\n{}", kit[2], kit[0]),
        format!("QR-Code:{}\nQR-Code:{}\nQR-Code:{}\n", kit[1], kit[2], kit[0]),
        kit.iter().map(block).collect(),
    ] {
        let paper = read_all(Vec::new(), Some(&input)).unwrap();
        assert!(is_the_key(&paper));
        assert!(paper.source.contains("shares of kit"), "{}", paper.source);
    }
    let place = Place::new();
    assert!(is_the_key(&read_all(vec![place.file("a", &kit[1])], Some(&kit[0])).unwrap()));
    let arguments = PaperArguments { files: vec![place.file("a", &kit[1]), "-".into()], typed: false };
    assert!(is_the_key(&read_as(&arguments, &kit[0]).unwrap()));
}

#[test]
fn the_key_itself_is_taken_whole_or_in_the_groups_of_a_kit() {
    fn groups(text: &str) -> Vec<&str> {
        text.as_bytes().chunks(4).map(|four| str::from_utf8(four).unwrap()).collect()
    }
    for text in [
        KEY.to_owned(),
        format!(" {KEY}\r\n"),
        groups(KEY).join(" "),
        groups(KEY).chunks(8).map(|line| line.join(" ") + "\n").collect(),
        BASE64.to_owned(),
        groups(BASE64).join(" "),
    ] {
        let paper = read_all(Vec::new(), Some(&text)).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(is_the_key(&paper));
        assert_eq!(paper.source, "standard input");
    }
    let cut = read_all(Vec::new(), Some(&KEY[1..])).err().unwrap();
    assert_eq!(cut.exit, exit::CONFIG);
    assert!(cut.message.contains("63 hex digits") && !cut.message.contains(&KEY[2..10]), "{}", cut.message);
}

/// What is brought, the code, what is said.
fn wrong() -> Vec<(Vec<String>, exit::Exit, &'static str)> {
    let (kit, other) = (kit(2, 3), kit(2, 3));
    let words: Vec<&str> = kit[0].split(' ').collect();
    let with = |at: usize, word: &str| {
        let mut changed = words.clone();
        changed[at] = word;
        changed.join(" ")
    };
    let swapped = if words[20] == "zero" { "yoga" } else { "zero" };
    vec![
        (vec![], exit::MISSING, "no share was given"),
        (vec![String::new()], exit::DATA, "is empty"),
        (vec![" \n\t".to_owned()], exit::DATA, "is empty"),
        (vec!["1. 2. 3.".to_owned()], exit::DATA, "has 0 words"),
        (vec!["<!DOCTYPE html><p>x".to_owned()], exit::DATA, "is a page"),
        (vec!["\u{0}\u{1}\u{fffd}".repeat(50)], exit::CONFIG, "the master key"),
        (vec![with(20, "acadmic")], exit::DATA, "word 21 is none of the list"),
        (vec![with(20, swapped)], exit::DATA, "its checksum does not fit"),
        (vec![words[..32].join(" ")], exit::DATA, "it has 32 words"),
        (vec![format!("{} zero", kit[0])], exit::DATA, "it has 34 words"),
        (vec![kit[0].clone()], exit::MISSING, "the kit needs 2, so 1 more"),
        (vec![kit[0].clone(), kit[0].to_uppercase()], exit::DATA, "was given twice"),
        (vec![kit[0].clone(), other[1].clone()], exit::DATA, "is of another kit"),
        (vec![format!("{}\n{}", kit[0], with(20, swapped))], exit::DATA, "at place 2, is wrong"),
        (vec![kit[0].clone(), KEY.to_owned()], exit::USAGE, "holds a whole key, and shares were given too"),
        (vec![KEY.to_owned(), kit[0].clone()], exit::USAGE, "holds a whole key, and there is more given"),
        (vec!["zero ".repeat(60_000)], exit::DATA, "is longer than a recovery kit"),
    ]
}

#[test]
fn what_is_wrong_is_refused_by_name_and_not_repeated() {
    for (texts, expected, said) in wrong() {
        let place = Place::new();
        let files = texts.iter().enumerate().map(|(at, text)| place.file(&at.to_string(), text)).collect();
        let failure = read_all(files, None).err().unwrap_or_else(|| panic!("{said}: taken"));
        assert!(failure.message.contains(said), "{} instead of {said}", failure.message);
        assert_eq!(failure.exit, expected, "{}", failure.message);
        says_nothing_of(&failure, &texts);
        assert!(!failure.message.contains(&KEY[..8]));
    }
}

#[test]
fn a_wrong_word_is_told_with_those_that_are_like_it() {
    let share = kit(1, 1).remove(0);
    let words: Vec<&str> = share.split(' ').collect();
    let typo = share.replacen(words[2], "acadmic", 1);
    let failure = read_all(Vec::new(), Some(&typo)).err().unwrap();
    let hint = failure.hint.unwrap();
    assert!(hint.contains("academic"), "{hint}");
    assert!(words::is_word(b"academic") && !words::is_word(b"acadmic"));
}

#[test]
fn a_file_that_others_read_is_warned_of_and_one_that_is_missing_is_said_to_be() {
    let place = Place::new();
    let file = place.file("a", &kit(1, 1)[0]);
    assert!(read_all(vec![file.clone()], None).unwrap().warnings.is_empty());
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let warnings = read_all(vec![file.clone()], None).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("0644"), "{warnings:?}");
    assert_eq!(read_all(vec![place.0.path().join("none")], None).err().unwrap().exit, exit::MISSING);
    assert!(read_all(vec![place.0.path().to_owned()], None).is_err(), "a directory");
}

#[test]
fn standard_input_is_read_once() {
    let both = PaperArguments { files: vec!["-".into()], typed: true };
    let twice = PaperArguments { files: vec!["-".into(), "-".into()], typed: false };
    for arguments in [both, twice] {
        assert_eq!(read_as(&arguments, KEY).err().unwrap().exit, exit::USAGE);
    }
    assert!(!PaperArguments::default().is_given());
}
