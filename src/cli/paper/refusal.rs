//! What is said of shares that give no key: which one is wrong, why, and what to do.
//!
//! Must never repeat what was given: a word of the list that is like a wrong one is the most that is told.
//! Called by `paper`.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::custody::shares::{CombineError, Malformed, Share, ShareError, words};

/// Why a share is none; `typed` is the word at a position from 1, if there is one.
pub(super) fn of_share(error: &ShareError, place: &str, typed: impl FnOnce(usize) -> Option<String>) -> Failure {
    let ShareError::Malformed(malformed) = error else { return Failure::new(exit::CONFIG, error) };
    let failure = Failure::say(exit::DATA, format!("the share in {place} is wrong: {malformed}"));
    match malformed {
        Malformed::UnknownWord { position } => {
            failure.with_hint(like(typed(*position)).unwrap_or_else(|| "look at that word on the paper".to_owned()))
        }
        Malformed::Checksum => failure.with_hint(
            "compare each word with the paper: four letters of each are enough, and the numbers give the order",
        ),
        Malformed::Length { .. } => failure.with_hint("compare it with the paper: is a line missing, or there twice?"),
        _ => failure,
    }
}

/// The words that may be meant.
pub(super) fn like(typed: Option<String>) -> Option<String> {
    let near = words::like(&typed?);
    match near.as_slice() {
        [] => None,
        near => Some(format!("words of the list that are like it: {}", near.join(", "))),
    }
}

/// Why shares give no key.
pub(super) fn of_shares(error: CombineError, shares: &[Share], places: &[String]) -> Failure {
    let named = |at: usize| named(shares, places, at);
    let rejected = |message: String, hint: &str| Failure::say(exit::DATA, message).with_hint(hint);
    match error {
        CombineError::TooFew { needed: 0, .. } => Failure::say(exit::MISSING, "no share was given")
            .with_hint("name the files of shares with --share, or type them with --typed"),
        CombineError::TooFew { needed, given } => {
            let more = usize::from(needed).saturating_sub(given);
            let message = format!("{} not enough: the kit needs {needed}, so {more} more", are(given));
            Failure::say(exit::MISSING, message).with_hint("bring other shares of the same kit, in any order")
        }
        CombineError::OtherKit { share, most } => rejected(
            format!("{} is of another kit than {}", named(share), named(most)),
            "the first two words of a share name its kit: bring shares of one kit",
        ),
        CombineError::Twice { share, first } => rejected(
            format!("{} was given twice: it is {} again", named(share), named(first)),
            "bring another share in its place",
        ),
        CombineError::SameNumber { share, first } => rejected(
            format!("{} and {} have the same number, but differ: one is not of this kit", named(share), named(first)),
            "give each alone with other shares to see which one is wrong",
        ),
        CombineError::DoNotFit => rejected(
            "each checksum fits, but the shares do not belong together: at least one is of another kit or forged"
                .to_owned(),
            "give one share more, if there is one: then it can be told which is wrong",
        ),
        CombineError::Odd { shares } => {
            let odd: Vec<String> = shares.into_iter().map(named).collect();
            let verb = if odd.len() == 1 { "does" } else { "do" };
            rejected(
                format!("{} {verb} not belong to the others, though the checksum fits", odd.join(" and ")),
                "leave that out: the others are enough",
            )
        }
        CombineError::Key(error) => error.into(),
    }
}

fn are(given: usize) -> String {
    if given == 1 { "one share is".to_owned() } else { format!("{given} shares are") }
}

fn named(shares: &[Share], places: &[String], at: usize) -> String {
    let place = places.get(at).map_or("?", String::as_str);
    match shares.get(at) {
        Some(share) => format!("share {} of kit \"{}\" ({place})", share.number(), share.kit()),
        None => place.to_owned(),
    }
}
