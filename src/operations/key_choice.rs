//! The master key that a start goes on with: the one that all sources hold, or one of the two of a pending rotation.
//!
//! Must never choose between two keys of which the store does not name both, nor show a byte of one.
//! Called by `cli`, with what `config` read and what the store says of its keys.

use super::claim;
use super::rotation::key_sources::{HeldKey, Renewal};
use super::start_failure::StartFailure;
use crate::custody::id::Fingerprint;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::port::Snapshot;

/// What was chosen.
pub struct Choice {
    /// The key to go on with.
    pub key: MasterKey,
    /// The other key of a pending rotation, if sources hold both.
    pub other: Option<MasterKey>,
    /// The first source that holds the key.
    pub source: String,
    /// Where sources hold both keys: which holds which, and what to do. It rests on the store's own word: to be said once
    /// the store is believed.
    pub pending: Option<String>,
}

/// What a store says of its keys, or why that cannot be told. A store that is yet to be made names none.
pub type ClaimedKeys = Result<Vec<Fingerprint>, StartFailure>;

/// The claim where no store is, or none is asked: sources that differ are refused.
pub fn no_store() -> ClaimedKeys {
    Ok(Vec::new())
}

/// Parses the key of a source; `text` is exactly the key's, in locked memory.
///
/// # Errors
/// [`StartFailure::MalformedKey`].
pub fn held(source: &str, renewal: Renewal, text: &[u8], memory: &LockedMemory) -> Result<HeldKey, StartFailure> {
    let key = MasterKey::parse(text, memory)
        .map_err(|error| StartFailure::MalformedKey { source_name: source.to_owned(), problem: error.to_string() })?;
    Ok(HeldKey { source: source.to_owned(), renewal, key })
}

/// The fingerprints that a snapshot names as those of its keys, unverified: the one in use, and behind it the one to come
/// while a rotation is pending.
///
/// # Errors
/// [`StartFailure::Damaged`], [`StartFailure::NewerSchema`].
pub fn claimed(snapshot: &Snapshot) -> ClaimedKeys {
    claim::claim(snapshot).map(|claim| claim.owners)
}

/// The same of a damaged store: `master` alone is asked.
///
/// # Errors
/// As [`claimed`].
pub fn claimed_in_salvage(snapshot: &Snapshot) -> ClaimedKeys {
    claim::claim_of_master(snapshot).map(|claim| claim.owners)
}

/// Chooses among what the sources hold, in the order in which they count. Only if the store names two keys, and the
/// sources hold exactly those, may they differ.
///
/// # Errors
/// [`StartFailure::SourcesDisagree`]; where they differ and nothing can be told of the store's keys, why not, for then none
/// of them is known to be wrong. [`StartFailure::MalformedKey`] without any source.
pub fn choose(held: Vec<HeldKey>, claimed: ClaimedKeys) -> Result<Choice, StartFailure> {
    let told = claimed.as_ref().ok().and_then(|claimed| sentence(&held, claimed));
    let mut held = held.into_iter();
    let first = held.next().ok_or_else(|| StartFailure::MalformedKey {
        source_name: "master key".to_owned(),
        problem: "no source was given".to_owned(),
    })?;
    let mut differing = held.filter(|held| !held.key.same_as(&first.key));
    let Some(other) = differing.next() else {
        return Ok(Choice { key: first.key, other: None, source: first.source, pending: None });
    };
    if !are_the_two(&first, &other, &claimed?) {
        return Err(disagree(&first, &other));
    }
    // Neither of the first two is the wrong one.
    if let Some(third) = differing.find(|held| !held.key.same_as(&other.key)) {
        return Err(disagree(&first, &third));
    }
    Ok(Choice { key: first.key, other: Some(other.key), source: first.source, pending: told })
}

fn are_the_two(one: &HeldKey, other: &HeldKey, claimed: &[Fingerprint]) -> bool {
    let (one, other) = (one.key.fingerprint(), other.key.fingerprint());
    matches!(claimed, [in_use, to_come] if (one, other) == (*in_use, *to_come) || (one, other) == (*to_come, *in_use))
        && one != other
}

fn sentence(held: &[HeldKey], claimed: &[Fingerprint]) -> Option<String> {
    let [in_use, to_come] = claimed else { return None };
    let each: Vec<String> = held
        .iter()
        .map(|held| {
            let fingerprint = held.key.fingerprint();
            let role = if fingerprint == *in_use { "in use" } else { "to come" };
            format!("{} holds {fingerprint} ({role})", held.source)
        })
        .collect();
    Some(format!(
        "a rotation of the master key is pending, and the sources differ: {}. Make all of them hold {to_come}, then run \
         `servos-keyctl rotate finish`; or all of them {in_use}, then `servos-keyctl rotate abort`",
        each.join(", ")
    ))
}

fn disagree(one: &HeldKey, other: &HeldKey) -> StartFailure {
    StartFailure::SourcesDisagree {
        first: one.source.clone(),
        first_fingerprint: one.key.fingerprint(),
        second: other.source.clone(),
        second_fingerprint: other.key.fingerprint(),
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod pending_tests;

#[cfg(test)]
mod tests {
    use super::*;

    /// The hex digits of four keys, each by one letter.
    fn key(letter: char, memory: &LockedMemory) -> MasterKey {
        let digits = "8c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7";
        MasterKey::parse(format!("{digits}{letter}{letter}").as_bytes(), memory).unwrap()
    }

    fn held_by(letters: &str, memory: &LockedMemory) -> Vec<HeldKey> {
        let each = letters.chars().enumerate();
        each.map(|(at, letter)| HeldKey {
            source: format!("source {at}"),
            renewal: Renewal::Reread,
            key: key(letter, memory),
        })
        .collect()
    }

    /// The letters of the key and of the other one; or the places of the sources that disagree.
    fn chosen(held: &str, claimed: &str) -> Result<(char, Option<char>), (usize, usize)> {
        let memory = LockedMemory::new().unwrap();
        let letter = |wanted: Fingerprint| "abcd".chars().find(|l| key(*l, &memory).fingerprint() == wanted).unwrap();
        let claimed: Vec<Fingerprint> = claimed.chars().map(|letter| key(letter, &memory).fingerprint()).collect();
        match choose(held_by(held, &memory), Ok(claimed)) {
            Ok(choice) => {
                assert_eq!(choice.source, "source 0");
                assert_eq!(choice.pending.is_some(), choice.other.is_some());
                Ok((letter(choice.key.fingerprint()), choice.other.map(|key| letter(key.fingerprint()))))
            }
            Err(StartFailure::SourcesDisagree { first, first_fingerprint, second, second_fingerprint }) => {
                let at = |name: &str| name.strip_prefix("source ").unwrap().parse::<usize>().unwrap();
                assert_eq!(letter(first_fingerprint), held.chars().nth(at(&first)).unwrap());
                assert_eq!(letter(second_fingerprint), held.chars().nth(at(&second)).unwrap());
                Err((at(&first), at(&second)))
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn sources_agree_or_hold_the_two_keys_of_a_pending_rotation_and_nothing_else_goes() {
        // What the sources hold; the keys that the store names, the one in use first; what comes of it.
        for (held, claimed, expected) in [
            ("a", "", Ok(('a', None))),
            ("a", "a", Ok(('a', None))),
            ("aaa", "a", Ok(('a', None))),
            ("a", "ab", Ok(('a', None))),
            ("bb", "ab", Ok(('b', None))),
            // The key is for the store to refuse.
            ("c", "a", Ok(('c', None))),
            ("cc", "ab", Ok(('c', None))),
            // Both keys of a pending rotation: the first source's is taken, whichever it is.
            ("ab", "ab", Ok(('a', Some('b')))),
            ("ba", "ab", Ok(('b', Some('a')))),
            ("aabab", "ab", Ok(('a', Some('b')))),
            ("bbba", "ab", Ok(('b', Some('a')))),
            // No rotation is pending.
            ("ab", "", Err((0, 1))),
            ("ab", "a", Err((0, 1))),
            ("aab", "a", Err((0, 2))),
            ("ba", "a", Err((0, 1))),
            ("abc", "a", Err((0, 1))),
            // A third key.
            ("ac", "ab", Err((0, 1))),
            ("ca", "ab", Err((0, 1))),
            ("cd", "ab", Err((0, 1))),
            ("abc", "ab", Err((0, 2))),
            ("aabbc", "ab", Err((0, 4))),
            ("acb", "ab", Err((0, 1))),
            ("cab", "ab", Err((0, 1))),
            // What no daemon writes.
            ("ab", "aa", Err((0, 1))),
            ("ab", "abc", Err((0, 1))),
        ] {
            assert_eq!(chosen(held, claimed), expected, "{held} on {claimed}");
        }
    }

    #[test]
    fn who_holds_both_keys_is_told_which_source_has_which_and_both_ways_out() {
        let memory = LockedMemory::new().unwrap();
        let (old, new) = (key('a', &memory).fingerprint(), key('b', &memory).fingerprint());
        let told = choose(held_by("ba", &memory), Ok(vec![old, new])).unwrap().pending.unwrap();
        for words in [
            format!("source 0 holds {new} (to come), source 1 holds {old} (in use)"),
            format!("hold {new}, then run `servos-keyctl rotate finish`"),
            format!("{old}, then `servos-keyctl rotate abort`"),
        ] {
            assert!(told.contains(&words), "{told}");
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_said_of_its_source_and_not_shown() {
        let memory = LockedMemory::new().unwrap();
        let failure = held("/k", Renewal::Reread, b"secret", &memory).err().unwrap().to_string();
        assert!(failure.starts_with("/k: ") && !failure.contains("secret"), "{failure}");
        assert!(choose(Vec::new(), no_store()).is_err());
    }
}
