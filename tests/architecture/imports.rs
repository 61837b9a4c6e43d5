//! Who names whom: every path that leaves its room, in `use`, in code and in macros, against the table.
//!
//! Must never miss a path because of how it is written: `crate::`, `super::super::`, `self::super::`, groups, macros.
//! Called by `check`.

use crate::Violation;
use crate::source::{Kind, Source};
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};

/// What the binaries may name beside `cli`: the allocator that both install.
const FOR_BINARIES: [&str; 2] = ["cli", "sys"];

/// Every path against the table, and circles among the rooms.
pub fn check(sources: &[Source], table: &Table) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        for Named { at, path, .. } in paths(source) {
            let (from, to) = (source.room(), path.first().map_or("", String::as_str));
            let line = source.tokens[at].line;
            let violation = |what: String| Violation { path: source.path.clone(), line, what };
            match (from, to) {
                (_, "" | "*") => found.push(violation("names the whole crate: name the room".to_owned())),
                ("bin", to) if !FOR_BINARIES.contains(&to) => {
                    found.push(violation(format!("a binary names {to}: its work belongs into cli")));
                }
                ("bin" | "", _) => {}
                (from, to) if from == to => {}
                (from, to) if !table.has(to) => found.push(violation(format!("{from} names {to}, which is no room"))),
                (from, to) => {
                    edges.entry(from.to_owned()).or_default().insert(to.to_owned());
                    if !table.allows(from, to) {
                        found.push(violation(format!("{from} may not name {to}: see the table in src/lib.rs")));
                    }
                }
            }
        }
    }
    found.extend(circles(&edges));
    found
}

/// Rooms that name each other, directly or around.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Violation> {
    let reaches = |from: &String, to: &String| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(room) = waiting.pop() {
            for next in edges.get(room).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        false
    };
    let rooms = edges.keys().filter(|room| reaches(room, room));
    rooms
        .map(|room| Violation { path: format!("src/{room}"), line: 1, what: format!("{room} is in a circle of rooms") })
        .collect()
}

/// A path that a file names.
pub struct Named {
    /// The token it begins with.
    pub at: usize,
    /// From the crate's root on.
    pub path: Vec<String>,
    /// The name that a `use` gives to what it names.
    pub used_as: Option<String>,
}

/// Every path of a file that begins at the crate, a parent, itself or a file below it.
pub fn paths(source: &Source) -> Vec<Named> {
    let mut found = Vec::new();
    let mut module = source.module.clone();
    let mut inline = Vec::new();
    let mut depth = 0_usize;
    let children: BTreeSet<&str> = source.child_files().collect();
    for at in 0..source.tokens.len() {
        match source.kind(at) {
            Some(Kind::Open(_)) => {
                depth += 1;
                if at >= 2 && source.ident(at - 2) == Some("mod") && source.kind(at) == Some(&Kind::Open('{')) {
                    module.extend(source.ident(at - 1).map(str::to_owned));
                    inline.push(depth);
                }
            }
            Some(Kind::Close(_)) => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
                depth -= 1;
            }
            Some(Kind::Ident(name)) if source.begins_path(at) => {
                let (base, first) = match name.as_str() {
                    "crate" | "servos_keyd" => (Vec::new(), at + 2),
                    "super" => (module.split_last().map_or(Vec::new(), |(_, parent)| parent.to_vec()), at + 2),
                    "self" => (module.clone(), at + 2),
                    name if children.contains(name) => (source.module.clone(), at),
                    _ => continue,
                };
                let is_use = at > 0 && source.ident(at - 1) == Some("use");
                if source.kind(at + 1) == Some(&Kind::PathSep) {
                    let mut ends = Vec::new();
                    follow(source, first, base, &mut ends);
                    found.extend(ends.into_iter().map(|(path, name)| Named {
                        at,
                        path,
                        used_as: name.filter(|_| is_use),
                    }));
                } else if is_use && base.is_empty() {
                    found.push(Named { at, path: base, used_as: None });
                }
            }
            _ => {}
        }
    }
    found
}

/// A path, and what a `use` would name it.
type End = (Vec<String>, Option<String>);

/// Follows a path to each of its ends, through the groups of a `use`.
fn follow(source: &Source, mut at: usize, mut path: Vec<String>, ends: &mut Vec<End>) {
    loop {
        match source.kind(at) {
            Some(Kind::Ident(name)) if name == "super" => drop(path.pop()),
            Some(Kind::Ident(name)) if name == "self" => {}
            Some(Kind::Ident(name)) => path.push(name.clone()),
            Some(Kind::Mark('*')) => {
                path.push("*".to_owned());
                return ends.push((path, None));
            }
            Some(Kind::Open('{')) => return follow_group(source, at, &path, ends),
            // A macro's own name for a module: nobody can say where it leads.
            _ => return ends.push((path, None)),
        }
        if source.kind(at + 1) != Some(&Kind::PathSep) {
            let is_renamed = source.ident(at + 1) == Some("as");
            let name = if is_renamed { source.ident(at + 2).map(str::to_owned) } else { path.last().cloned() };
            return ends.push((path, name));
        }
        at += 2;
    }
}

fn follow_group(source: &Source, open: usize, path: &[String], ends: &mut Vec<End>) {
    let end = source.behind(open) - 1;
    let mut at = open + 1;
    while at < end {
        follow(source, at, path.to_vec(), ends);
        // On to the next comma of this group.
        while at < end && source.kind(at) != Some(&Kind::Mark(',')) {
            at = if matches!(source.kind(at), Some(Kind::Open(_))) { source.behind(at) } else { at + 1 };
        }
        at += 1;
    }
}
