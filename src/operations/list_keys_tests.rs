//! ListKeys: pages that together hold every version once.
//!
//! Must never trust a token.
//! Run by `cargo test`.

use super::{MAX_PAGE, Position, Request, Row, list_keys};
use crate::auth::operation::ListKeys;
use crate::custody::id::{KeyId, VersionId};
use crate::operations::keyring::DataKey;
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, name, random};
use crate::operations::version::Version;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A rig with `keys` keys more, of `versions` versions each.
fn crowded(keys: usize, versions: u32) -> Rig {
    let rig = Rig::new();
    let mut keyring = (*rig.keyring()).clone();
    let model = Arc::clone(keyring.primary(&name("default")).unwrap());
    for n in 0..keys {
        let key_id = KeyId::generate(&random).unwrap();
        let key = name(&format!("key-{n}"));
        let made = (1..=versions).map(|number| {
            let id = VersionId::generate(&random).unwrap();
            Arc::new(Version { id, key_id, key: key.clone(), number, ..(*model).clone() })
        });
        let key = DataKey {
            id: key_id,
            name: key.clone(),
            created: 1,
            primary: versions,
            promoting: 0,
            deleted: 0,
            versions: made.collect(),
        };
        keyring.replace_key(key);
    }
    rig.engine.publish(keyring);
    rig
}

fn ask(page_size: usize) -> Request {
    Request { key: None, page_size, from: None, include_deleted: false }
}

fn page(rig: &Rig, request: &Request) -> (Vec<Row>, Option<Position>) {
    list_keys(&rig.whole::<ListKeys>(), &rig.engine, request).unwrap()
}

/// Every page, each token taken through its text.
fn pages(rig: &Rig, mut request: Request) -> Vec<Vec<Row>> {
    let mut pages = Vec::new();
    loop {
        let (rows, next) = page(rig, &request);
        pages.push(rows);
        assert!(pages.len() < 10_000, "it never ends");
        match next {
            None => return pages,
            Some(position) => request.from = Some(Position::parse(&position.token()).unwrap()),
        }
    }
}

fn size(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.versions.len().max(1)).sum()
}

#[test]
fn pages_hold_every_version_exactly_once_in_order_of_name_the_newest_first() {
    let rig = crowded(100, 30);
    for page_size in [7, 1, 30, 31, 999, MAX_PAGE] {
        let pages = pages(&rig, ask(page_size));
        let (last, full) = pages.split_last().unwrap();
        assert!(full.iter().all(|rows| size(rows) == page_size), "every page but the last is full");
        assert!((1..=page_size).contains(&size(last)));
        let listed: Vec<(String, u32)> = pages
            .iter()
            .flatten()
            .flat_map(|row| row.versions.iter().map(|version| (row.key.name.to_string(), version.number)))
            .collect();
        let mut ordered = listed.clone();
        ordered.sort_by(|a, b| (&a.0, std::cmp::Reverse(a.1)).cmp(&(&b.0, std::cmp::Reverse(b.1))));
        assert!(listed == ordered);
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "none twice");
        assert_eq!(listed.len(), rig.keyring().versions.len(), "none left out");
    }
}

#[test]
fn a_change_between_pages_repeats_no_version_and_loses_none_that_was_there() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        rig.rotate("env-vars", None).unwrap();
    }
    let (first, next) = page(&rig, &ask(9));
    rig.rotate("env-vars", None).unwrap();
    rig.delete("db-passwords", None).unwrap();
    let rest = pages(&rig, Request { from: next, ..ask(9) });
    let listed: Vec<(String, u32)> = std::iter::once(first)
        .chain(rest)
        .flatten()
        .flat_map(|row| row.versions.iter().map(|v| (row.key.name.to_string(), v.number)).collect::<Vec<_>>())
        .collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
    for number in 1..=6 {
        assert!(listed.contains(&("env-vars".to_owned(), number)), "version {number}");
    }
}

#[test]
fn deleted_keys_are_listed_on_demand_beside_the_one_that_has_the_name_now() {
    let mut rig = Rig::new();
    rig.delete("default", None).unwrap();
    rig.create("default", None).unwrap();
    let named_default = |rows: &[Row]| rows.iter().filter(|row| row.key.name == name("default")).count();
    assert_eq!(named_default(&page(&rig, &ask(100)).0), 1);
    for page_size in [1, 2, 100] {
        let all = pages(&rig, Request { include_deleted: true, ..ask(page_size) });
        let rows: Vec<Row> = all.into_iter().flatten().collect();
        assert_eq!((named_default(&rows), rows.len()), (2, 9));
    }
}

#[test]
fn one_key_is_listed_by_its_name_and_an_unknown_one_is_refused() {
    let mut rig = Rig::new();
    rig.rotate("default", None).unwrap();
    let only = |key| Request { key: Some(name(key)), ..ask(1) };
    let rows: Vec<Row> = pages(&rig, only("default")).into_iter().flatten().collect();
    let numbers: Vec<u32> = rows.iter().flat_map(|row| row.versions.iter().map(|v| v.number)).collect();
    assert_eq!(numbers, [2, 1]);
    let refused = list_keys(&rig.whole::<ListKeys>(), &rig.engine, &only("nobody"));
    assert!(matches!(refused.err(), Some(Refusal::NoSuchKey)));
}

#[test]
fn a_name_lists_its_tombstones_only_where_deleted_keys_are_asked_for() {
    let mut rig = Rig::new();
    let gone = rig.delete("default", None).unwrap().id;
    let first = rig.delete("ssh-keys", None).unwrap().id;
    let second = rig.create("ssh-keys", None).unwrap().key.id;
    let listed = |key: &str, include_deleted| {
        let request = Request { key: Some(name(key)), include_deleted, ..ask(10) };
        let (rows, _) = list_keys(&rig.whole::<ListKeys>(), &rig.engine, &request).ok()?;
        Some(rows.iter().map(|row| row.key.id).collect::<BTreeSet<_>>())
    };
    assert_eq!(listed("default", false), None);
    assert_eq!(listed("default", true), Some([gone].into()));
    assert_eq!(listed("ssh-keys", false), Some([second].into()));
    assert_eq!(listed("ssh-keys", true), Some([first, second].into()));
    assert_eq!(listed("never", true), None);
}

#[test]
fn a_token_that_is_none_of_ours_is_refused_and_none_is_repeated_in_the_text() {
    let id = "00112233aabbccdd";
    let bad = [
        "",
        "/",
        "//",
        "///",
        "default",
        "default/",
        &format!("default/{id}"),
        &format!("default/{id}/"),
        &format!("default/{id}/x"),
        &format!("default/{id}/-1"),
        &format!("default/{id}/4294967296"),
        &format!("default/{id}/1/"),
        &format!("default/{id}0/1"),
        &format!("Default/{id}/1"),
        &format!("legacy/{id}/1"),
        &format!("../{id}/1"),
        &"a".repeat(1 << 20),
        "\0/\0/\0",
        "schlüssel/é/1",
    ];
    for token in bad {
        let refusal = Position::parse(token).err().unwrap();
        assert_eq!(refusal.to_string(), "page_token: must be the next_page_token of an answer", "{token:.40}");
    }
}

#[test]
fn a_token_from_nowhere_gives_a_page_and_an_end() {
    let rig = crowded(3, 5);
    for token in [
        "0/0000000000000000/0",
        "key-1/ffffffffffffffff/4294967295",
        "zzz/0000000000000000/3",
        "key-1/0000000000000000/1",
    ] {
        let from = Some(Position::parse(token).unwrap());
        let rows: usize = pages(&rig, Request { from, ..ask(2) }).iter().map(|rows| size(rows)).sum();
        assert!(rows <= rig.keyring().versions.len(), "{token}");
    }
    // A page size of none, or of more than there may be, is held to its limits.
    assert_eq!(size(&page(&rig, &ask(0)).0), 1);
    assert_eq!(size(&page(&crowded(60, 30), &ask(usize::MAX)).0), MAX_PAGE);
}
