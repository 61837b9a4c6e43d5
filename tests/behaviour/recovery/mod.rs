//! Paper: a kit is made, tried, and put together again, by the real tool, with everything that can be wrong on the way.
//!
//! Must never show a word of a share or a byte of a key that a test made.
//! Run by `cargo test`.

mod kits;
mod shares;
mod terminal;

use crate::harness::{Installation, json};
use std::path::{Path, PathBuf};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A kit of the key in `master.key`, a file of text for each share, in the order of their numbers.
fn kit(place: &Installation, shares: &str, directory: &str) -> Vec<PathBuf> {
    let directory = place.path(directory);
    std::fs::create_dir(&directory).unwrap();
    let (out, store, key) = (text(&directory), text(&place.store()), text(&place.path("master.key")));
    let kit = ["recovery-kit", "--shares", shares, "--out", &out, "--store", &store, "--key-file", &key, "--json"];
    let made = json(&place.keyctl(&kit).expect(0).stdout);
    let files = made["files"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap()));
    files.collect()
}

/// The words of a share out of the text of a kit.
fn words(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let block = text.split("BEGIN SHARE").nth(1).unwrap().split("-----\n").nth(1).unwrap();
    let words = block.split("----- END").next().unwrap().split_whitespace();
    words.filter(|word| word.bytes().all(|letter| letter.is_ascii_lowercase())).collect::<Vec<_>>().join(" ")
}

/// What must never be said: any words that follow each other and do not name the kit.
fn secrets(files: &[PathBuf]) -> Vec<String> {
    let of = |file: &PathBuf| {
        let words = words(file);
        words.split(' ').skip(3).collect::<Vec<_>>().windows(2).map(|pair| pair.join(" ")).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}
