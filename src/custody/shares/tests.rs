//! Keys that are split and put together again, and everything that can be wrong with what is put together.
//!
//! Must never test what the vectors of the standard do.
//! Run by `cargo test`.

use super::agreement::choices;
use super::*;
use crate::custody::fixtures::{failing, giving, master_key, memory, random};
use crate::sys::dead_stack::{BEYOND_REACH, WITHIN_REACH, leave_marks};

const KEY: [u8; 32] = *b"\x7b\x1d\x3e\xca\x22\xfa\x84\xbe\xe4\x7e\x3d\x1c\xac\x2d\x68\x8f\
                         \x4b\x8d\x36\xd3\x73\xdc\x7e\x87\x4a\x7f\x2b\x67\x9f\x61\x86\xcb";

fn kit(needed: u8, count: u8) -> Vec<Share> {
    split(&master_key(&KEY), Plan::new(needed, count).unwrap(), &memory(), &random).unwrap()
}

fn text(share: &Share) -> String {
    let mut text = memory().buffer(SHARE_TEXT_BYTES).unwrap();
    share.write_words(b' ', &mut text).unwrap();
    String::from_utf8(text.expose_bytes().to_vec()).unwrap()
}

fn parsed(text: &str) -> Result<Share, ShareError> {
    Share::parse(text.split_whitespace().map(str::as_bytes), &memory())
}

fn copies(shares: &[Share], chosen: &[usize]) -> Vec<Share> {
    chosen.iter().map(|at| parsed(&text(&shares[*at])).unwrap()).collect()
}

/// The same share with another value, and a checksum that fits.
fn forged(share: &Share) -> Share {
    let mut value = *share.value.expose_bytes();
    value[7] ^= 1;
    let value = memory().secret(|to| {
        *to = value;
        Ok::<(), LockedMemoryError>(())
    });
    Share { header: share.header, value: value.unwrap() }
}

#[test]
fn any_choice_of_enough_shares_gives_the_key_and_no_fewer_do() {
    for (needed, count) in [(1, 1), (2, 2), (2, 3), (3, 5), (4, 6), (16, 16)] {
        let shares = kit(needed, count);
        assert_eq!(shares.len(), usize::from(count));
        for choice in choices(usize::from(count), usize::from(needed)) {
            let mut chosen = copies(&shares, &choice);
            chosen.reverse();
            assert!(combine(&chosen, &memory()).unwrap().same_as(&master_key(&KEY)), "{choice:?} of {count}");
            chosen.pop();
            let fewer = combine(&chosen, &memory()).unwrap_err();
            assert!(matches!(fewer, CombineError::TooFew { given, .. } if given == chosen.len()), "{fewer}");
        }
        assert!(combine(&shares, &memory()).unwrap().same_as(&master_key(&KEY)), "all {count}");
    }
}

#[test]
fn the_standard_s_plans_are_the_only_ones() {
    for (needed, count) in [(0, 0), (0, 1), (1, 0), (1, 2), (1, 16), (3, 2), (17, 17), (2, 17), (255, 255)] {
        assert_eq!(Plan::new(needed, count), None, "{needed} of {count}");
    }
    assert_eq!(Plan::new(1, 1), Some(Plan::WHOLE));
}

#[test]
fn a_share_tells_its_kit_number_and_what_is_needed_and_is_read_from_what_it_writes() {
    let shares = kit(2, 3);
    for (number, share) in (1..).zip(&shares) {
        let text = text(share);
        assert_eq!(text.split(' ').count(), SHARE_WORDS);
        assert!(text.len() < SHARE_TEXT_BYTES);
        assert!(text.starts_with(&format!("{} academic ", share.kit())), "the kit is the first two words");
        for typed in [text.to_uppercase(), text.split(' ').map(|word| word[..4].to_owned() + "\n").collect()] {
            let read = parsed(&typed).unwrap();
            assert_eq!((read.kit(), read.number(), read.needed()), (shares[0].kit(), number, 2));
            assert_eq!(read.value.expose_bytes(), share.value.expose_bytes());
        }
        assert!(!format!("{share:?}").contains(&text[text.len() - 20..]));
    }
    let mut small = memory().buffer(20).unwrap();
    assert!(matches!(shares[0].write_words(b' ', &mut small), Err(KeyError::NoRoom { .. })));
}

#[test]
fn two_kits_of_one_key_do_not_mix() {
    let (one, other) = (kit(2, 3), kit(2, 3));
    assert_ne!(one[0].kit(), other[0].kit());
    let mixed = [&one[0], &other[1]].map(|share| parsed(&text(share)).unwrap());
    assert!(matches!(combine(&mixed, &memory()), Err(CombineError::OtherKit { share: 1, most: 0 })));
    let mixed = [&other[0], &one[1], &one[2]].map(|share| parsed(&text(share)).unwrap());
    assert!(matches!(combine(&mixed, &memory()), Err(CombineError::OtherKit { share: 0, most: 1 })));
    // Where their identifiers are the same by chance, the digest tells.
    let alike = |at: usize| Share { header: Header { member_index: 1, ..one[0].header }, ..forged(&other[at]) };
    let mixed = [parsed(&text(&one[0])).unwrap(), alike(1)];
    assert!(matches!(combine(&mixed, &memory()), Err(CombineError::DoNotFit)));
    let other_plan = kit(3, 3);
    let header = Header { member_index: 2, member_threshold: 3, ..one[0].header };
    let mixed = [parsed(&text(&one[0])).unwrap(), Share { header, ..forged(&other_plan[2]) }];
    assert!(matches!(combine(&mixed, &memory()), Err(CombineError::OtherKit { share: 1, most: 0 })));
}

#[test]
fn a_share_that_is_there_twice_and_one_that_took_a_number_are_named() {
    let shares = kit(3, 4);
    let twice = copies(&shares, &[2, 0, 2]);
    assert!(matches!(combine(&twice, &memory()), Err(CombineError::Twice { share: 2, first: 0 })));
    let mut taken = copies(&shares, &[1, 0]);
    taken.push(forged(&shares[0]));
    assert!(matches!(combine(&taken, &memory()), Err(CombineError::SameNumber { share: 2, first: 1 })));
}

#[test]
fn with_one_share_more_the_wrong_one_is_told_and_without_it_is_said_that_one_is() {
    let shares = kit(3, 6);
    for wrong in 0..4 {
        let mut given = copies(&shares, &[5, 1, 3, 0]);
        given[wrong] = forged(&given[wrong]);
        match combine(&given, &memory()).unwrap_err() {
            CombineError::Odd { shares } => assert_eq!(shares, [wrong]),
            error => panic!("{error}"),
        }
    }
    let mut given = copies(&shares, &[5, 1, 3]);
    given[1] = forged(&given[1]);
    assert!(matches!(combine(&given, &memory()), Err(CombineError::DoNotFit)));
    let mut given = copies(&shares, &[0, 1, 2, 3, 4, 5]);
    given[0] = forged(&given[0]);
    given[4] = forged(&given[4]);
    assert!(matches!(combine(&given, &memory()), Err(CombineError::Odd { shares }) if shares == [0, 4]));
    let mut given = copies(&shares, &[0, 1, 2, 3]);
    given[0] = forged(&given[0]);
    given[3] = forged(&given[3]);
    assert!(matches!(combine(&given, &memory()), Err(CombineError::DoNotFit)), "no three fit");
}

#[test]
fn of_two_kits_with_one_identifier_the_one_with_fewer_shares_is_told_and_none_where_both_have_as_many() {
    let (one, other) = (kit(2, 5), kit(2, 5));
    let given = |ours: &[usize], theirs: &[usize]| {
        let mut given = copies(&one, ours);
        let alike = copies(&other, theirs).into_iter().map(|share| {
            let Share { header, value } = share;
            Share { header: Header { identifier: one[0].header.identifier, ..header }, value }
        });
        given.extend(alike);
        combine(&given, &memory()).unwrap_err()
    };
    for (ours, theirs, expected) in [
        ([0, 1].as_slice(), [2, 3, 4].as_slice(), [0, 1].as_slice()),
        (&[0, 1, 2], &[3, 4], &[3, 4]),
        (&[0], &[1, 2, 3], &[0]),
    ] {
        let told = given(ours, theirs);
        assert!(matches!(&told, CombineError::Odd { shares } if shares == expected), "{ours:?}, {theirs:?}: {told:?}");
    }
    let told = given(&[0, 1], &[2, 3]);
    assert!(matches!(told, CombineError::DoNotFit), "neither is to be blamed: {told:?}");
    // One share of a kit of which one is enough has no digest.
    let whole = kit(1, 1);
    let second = Share { header: Header { member_index: 1, ..whole[0].header }, ..forged(&whole[0]) };
    let told = combine(&[copies(&whole, &[0]).remove(0), second], &memory()).unwrap_err();
    assert!(matches!(told, CombineError::DoNotFit), "{told:?}");
}

#[test]
fn every_wrong_word_is_found_by_the_checksum() {
    let text = text(&kit(2, 2)[1]);
    let words: Vec<&str> = text.split(' ').collect();
    for at in 0..words.len() {
        let other = if words[at] == "zero" { "yoga" } else { "zero" };
        let wrong: Vec<&str> = words.iter().enumerate().map(|(i, word)| if i == at { other } else { word }).collect();
        let error = parsed(&wrong.join(" ")).unwrap_err();
        assert!(matches!(error, ShareError::Malformed(Malformed::Checksum)), "{at}: {error}");
    }
}

#[test]
fn what_is_no_share_is_refused_by_name() {
    let text = text(&kit(1, 1)[0]);
    let words: Vec<&str> = text.split(' ').collect();
    let with = |change: &dyn Fn(&mut Header)| {
        let mut header = kit(2, 2)[0].header;
        change(&mut header);
        let numbers = format::encode(&header, &KEY);
        let words: Vec<&str> = numbers.iter().map(|at| words::all().nth(usize::from(*at)).unwrap()).collect();
        words.join(" ")
    };
    for (text, expected) in [
        (String::new(), Malformed::Length { words: 0 }),
        (words[..32].join(" "), Malformed::Length { words: 32 }),
        (format!("{text} zero"), Malformed::Length { words: 34 }),
        (words[..20].join(" "), Malformed::Length { words: 20 }),
        (text.replacen(words[32], "zeroes", 1), Malformed::UnknownWord { position: 33 }),
        (format!("xxxx {text}"), Malformed::UnknownWord { position: 1 }),
        (with(&|header| header.group_count = 2), Malformed::Grouped),
        (with(&|header| header.group_threshold = 2), Malformed::Impossible),
        (with(&|header| header.iteration_exponent = 6), Malformed::Slow),
        (with(&|header| header.iteration_exponent = 15), Malformed::Slow),
    ] {
        match parsed(&text).unwrap_err() {
            ShareError::Malformed(found) => assert_eq!(found, expected),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn bits_before_the_value_that_are_not_zero_are_no_share() {
    let mut numbers = format::encode(&kit(1, 1)[0].header, &KEY);
    numbers[4] |= 1 << 9;
    let (data, sum) = numbers.split_at_mut(30);
    sum.copy_from_slice(&checksum::of(data, true));
    assert_eq!(format::decode(&numbers, &mut [0; 32]), Err(Malformed::Impossible));
}

#[test]
fn shares_of_what_no_key_is_give_none() {
    let header = new_header(Plan::WHOLE, &random).unwrap();
    for secret in [[7; 32], *b"correct horse battery staple ~!?"] {
        let value = memory().secret(|value| {
            *value = secret;
            cipher::encrypt(value, b"", &header);
            Ok::<(), LockedMemoryError>(())
        });
        let share = Share { header, value: value.unwrap() };
        let refused = combine(&[share], &memory()).unwrap_err();
        assert!(matches!(refused, CombineError::Key(KeyError::Malformed(_))), "{refused}");
    }
}

#[test]
fn without_randomness_there_is_no_share() {
    for plan in [Plan::WHOLE, Plan::new(2, 3).unwrap()] {
        assert!(matches!(split(&master_key(&KEY), plan, &memory(), &failing), Err(KeyError::Random(_))));
    }
    let once = giving([0x12, 0x34]);
    assert!(split(&master_key(&KEY), Plan::WHOLE, &memory(), &once).is_ok(), "a whole kit draws its identifier alone");
}

#[test]
fn splitting_and_combining_use_no_more_stack_than_is_cleared() {
    // What marks a frame's half as within reach is half of what is cleared.
    const CLEARED_BYTES: usize = 2 * WITHIN_REACH * size_of::<u64>();
    /// The frames above what is cleared, the caller's and those of calls that clear below themselves.
    const FRAMES_BYTES: usize = 8 * 1024;
    let (key, memory, plan) = (master_key(&KEY), memory(), Plan::new(16, 16).unwrap());
    let all = || {
        let shares = split(&key, plan, &memory, &random).unwrap();
        let mut text = memory.buffer(SHARE_TEXT_BYTES).unwrap();
        shares[0].write_words(b' ', &mut text).unwrap();
        let words = text.expose_bytes().split(|byte| *byte == b' ');
        Share::parse(words, &memory).unwrap();
        combine(&shares, &memory).unwrap();
    };
    // Whatever runs only once has run.
    all();
    let painted = leave_marks::<BEYOND_REACH>();
    all();
    let used = painted.bytes_used_since();
    assert!((CLEARED_BYTES..=CLEARED_BYTES + FRAMES_BYTES).contains(&used), "{used} bytes");
}
