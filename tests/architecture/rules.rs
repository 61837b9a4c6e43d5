//! The rules beside imports: `unsafe`, `async`, headers, names, events, redb, zeroize, binaries and secret types.
//!
//! Must never hold what clippy or rustc hold already.
//! Called by `check`.

use crate::Violation;
use crate::source::{Kind, Source};
use crate::table::Table;
use std::collections::BTreeSet;

/// The most lines of a binary.
const LONGEST_BINARY: usize = 30;

/// Where the events are declared.
const EVENTS: &str = "src/telemetry/events.rs";

/// Names that say nothing.
const EMPTY_NAMES: [&str; 9] =
    ["utils", "util", "common", "helpers", "helper", "manager", "managers", "misc", "miscellaneous"];

/// Types that hold secret bytes: never cloned, and never shown by what a derive would write.
pub const SECRET_TYPES: &[(&str, &str)] = &[
    ("src/sys/locked/slots.rs", "Secret"),
    ("src/sys/locked/slots.rs", "Slab"),
    ("src/sys/locked/region.rs", "Region"),
    ("src/sys/locked/buffer.rs", "LockedBuffer"),
    ("src/sys/wipe.rs", "Wiped"),
    ("src/custody/keys.rs", "MasterKey"),
    ("src/custody/keys.rs", "RootKey"),
    ("src/custody/keys.rs", "IdentityKey"),
    ("src/custody/keys.rs", "LegacyKey"),
    ("src/custody/keys.rs", "VersionKey"),
    ("src/custody/committing.rs", "MessageKey"),
    ("src/custody/shares/share.rs", "Share"),
    ("src/config/key_file.rs", "KeyFile"),
    ("src/config/key_source.rs", "KeySource"),
    ("src/operations/ledger.rs", "Secrets"),
    ("src/operations/ledger.rs", "Ledger"),
    ("src/operations/load.rs", "Authentic"),
    ("src/operations/load.rs", "Loaded"),
    ("src/operations/load.rs", "Rooted"),
    ("src/operations/check/examination.rs", "Examination"),
    ("src/operations/key_choice.rs", "Choice"),
    ("src/operations/rotation/key_sources.rs", "HeldKey"),
    ("src/cli/key.rs", "ChosenKey"),
    ("src/cli/paper/mod.rs", "PaperKey"),
];

/// Everything that breaks one of them.
pub fn check(sources: &[Source], table: &Table) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        found.extend(header(source));
        found.extend(binary(source));
        found.extend(place_of_unsafe(source));
        found.extend(reasons_of_unsafe(source));
        found.extend(place_of_async(source, table));
        found.extend(names(source));
        found.extend(getters(source));
        found.extend(place_of_redb(source));
        found.extend(place_of_zeroize(source));
        found.extend(secrets(source));
        found.extend(unnamed_events(source));
    }
    found.extend(unused_events(sources));
    found
}

fn violation(source: &Source, line: usize, what: impl Into<String>) -> Violation {
    Violation { path: source.path.clone(), line, what: what.into() }
}

/// The lines at which a test of tokens holds.
fn at_each<'s>(source: &'s Source, holds: impl Fn(usize) -> bool + 's) -> impl Iterator<Item = (usize, usize)> + 's {
    (0..source.tokens.len()).filter(move |at| holds(*at)).map(|at| (at, source.tokens[at].line))
}

/// Three lines: what the file is, what it must never do, who calls it.
fn header(source: &Source) -> Option<Violation> {
    let lines: Vec<String> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!(" {} ", line.to_lowercase()))
        .collect();
    let words = lines.concat();
    let has = |ends: &[&str]| ends.iter().any(|word| words.contains(&format!(" {word} ")));
    let missing = if lines.iter().filter(|line| !line.trim().is_empty()).count() < 3 {
        "three lines of //! that say what it is, what it must never do, and who calls it"
    } else if source.module.is_empty() {
        return None;
    } else if !has(&["never"]) {
        "a line that says what it must never do"
    } else if !has(&["called", "run", "used", "named", "made", "read", "installed", "asked", "held"]) {
        "a line that says who calls it"
    } else {
        return None;
    };
    Some(violation(source, 1, format!("the file does not begin with {missing}")))
}

fn binary(source: &Source) -> Option<Violation> {
    let lines = source.text.lines().count();
    (source.room() == "bin" && lines > LONGEST_BINARY)
        .then(|| violation(source, lines, format!("a binary has at most {LONGEST_BINARY} lines, this has {lines}")))
}

fn place_of_unsafe(source: &Source) -> Vec<Violation> {
    if source.room() == "sys" {
        return Vec::new();
    }
    let found = at_each(source, |at| matches!(source.ident(at), Some("unsafe" | "unsafe_code")));
    found.map(|(_, line)| violation(source, line, "unsafe code belongs into sys")).collect()
}

/// Each block says why it is needed, and what keeps it sound.
fn reasons_of_unsafe(source: &Source) -> Vec<Violation> {
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let blocks = at_each(source, |at| {
        source.ident(at) == Some("unsafe")
            && (source.kind(at + 1) == Some(&Kind::Open('{')) || source.ident(at + 1) == Some("impl"))
    });
    let mut found = Vec::new();
    for (_, line) in blocks {
        let mut above = lines[..line - 1].iter().rev().peekable();
        // The statement that the block is part of may begin some lines above it.
        while above
            .next_if(|line| !line.starts_with("//") && !line.ends_with([';', '{', '}']) && !line.is_empty())
            .is_some()
        {}
        let reasons: Vec<&str> =
            above.take_while(|line| line.starts_with("//") || line.starts_with("#[")).copied().collect();
        for word in ["JUSTIFICATION:", "SAFETY:"] {
            if !reasons.iter().any(|reason| reason.starts_with(&format!("// {word}"))) {
                found.push(violation(source, line, format!("unsafe without `// {word}` above it")));
            }
        }
    }
    found
}

fn place_of_async(source: &Source, table: &Table) -> Vec<Violation> {
    if table.is_async(source.room()) {
        return Vec::new();
    }
    let found = at_each(source, |at| matches!(source.ident(at), Some("async" | "await")));
    found.map(|(_, line)| violation(source, line, format!("{} is not asynchronous", source.room()))).collect()
}

fn names(source: &Source) -> Vec<Violation> {
    let is_empty = |name: &str| EMPTY_NAMES.contains(&name);
    let mut found: Vec<Violation> =
        at_each(source, |at| source.ident(at) == Some("mod") && source.ident(at + 1).is_some_and(is_empty))
            .map(|(at, line)| {
                violation(
                    source,
                    line,
                    format!("{} says nothing of what a module is", source.ident(at + 1).unwrap_or_default()),
                )
            })
            .collect();
    if let Some(name) = source.module.iter().find(|name| is_empty(name)) {
        found.push(violation(source, 1, format!("{name} says nothing of what a file is")));
    }
    found
}

/// `get_` says nothing; where a trait of generated code has it, it cannot be helped.
fn getters(source: &Source) -> Vec<Violation> {
    let mut excused = BTreeSet::new();
    for (at, _) in at_each(source, |at| source.ident(at) == Some("impl")) {
        let open =
            (at..source.tokens.len()).find(|at| matches!(source.kind(*at), Some(Kind::Open('{') | Kind::Mark(';'))));
        let Some(open) = open.filter(|open| source.kind(*open) == Some(&Kind::Open('{'))) else { continue };
        let of_a_trait =
            (at..open).any(|at| source.ident(at) == Some("for") && source.kind(at + 1) != Some(&Kind::Mark('<')));
        if of_a_trait {
            excused.extend(open..source.behind(open));
        }
    }
    let is_getter =
        |at| source.ident(at) == Some("fn") && source.ident(at + 1).is_some_and(|name| name.starts_with("get_"));
    let found = at_each(source, is_getter).filter(|(at, _)| !excused.contains(at));
    found.map(|(_, line)| violation(source, line, "a function whose name begins with get_")).collect()
}

/// Another adapter must be possible without a change above the port.
fn place_of_redb(source: &Source) -> Vec<Violation> {
    if source.path.starts_with("src/store/redb_") || source.path == "src/store/overlay.rs" {
        return Vec::new();
    }
    names_of_crate(source, "redb", "redb is named in store's adapter files alone")
}

/// What the daemon wipes it wipes through one file, so that the cost of all of it can be measured.
fn place_of_zeroize(source: &Source) -> Vec<Violation> {
    let elsewhere = ["src/sys/wipe.rs", "src/client/", "src/cli/keyctl/"];
    if elsewhere.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    names_of_crate(source, "zeroize", "in the daemon, zeroize is named by sys::wipe alone")
}

/// Where a crate is named as the beginning of a path.
fn names_of_crate(source: &Source, name: &str, what: &'static str) -> Vec<Violation> {
    let is_crate = |at: usize| {
        source.ident(at) == Some(name)
            && (source.kind(at + 1) == Some(&Kind::PathSep)
                || at > 0 && matches!(source.ident(at - 1), Some("use" | "crate")))
            && source.begins_path(at)
    };
    at_each(source, is_crate).map(|(_, line)| violation(source, line, what)).collect()
}

fn secrets(source: &Source) -> Vec<Violation> {
    let names: Vec<&str> =
        SECRET_TYPES.iter().filter(|(path, _)| *path == source.path).map(|(_, name)| *name).collect();
    let mut found = Vec::new();
    for (at, line) in at_each(source, |at| source.ident(at) == Some("derive")) {
        let end = source.behind(at + 1);
        let derived =
            (at + 1..end).find_map(|at| source.ident(at).filter(|name| matches!(*name, "Clone" | "Copy" | "Debug")));
        // The item lies behind this attribute, others and its visibility.
        let item = (end..source.tokens.len()).find(|at| matches!(source.ident(*at), Some("struct" | "enum" | "union")));
        let name = item.and_then(|at| source.ident(at + 1)).unwrap_or_default();
        if let Some(derived) = derived.filter(|_| names.contains(&name)) {
            found.push(violation(source, line, format!("{name} holds a secret and derives {derived}")));
        }
    }
    for (at, line) in
        at_each(source, |at| matches!(source.ident(at), Some("Clone" | "Copy")) && source.ident(at + 1) == Some("for"))
    {
        if let Some(name) = source.ident(at + 2).filter(|name| names.contains(name)) {
            found.push(violation(source, line, format!("{name} holds a secret and can be cloned")));
        }
    }
    found
}

/// Whatever is logged names its event, by a constant of the list: one that is written out is in no list.
fn unnamed_events(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let is_log = |at: usize| {
        matches!(source.ident(at), Some("error" | "warn" | "info" | "debug" | "trace"))
            && source.kind(at + 1) == Some(&Kind::Mark('!'))
            && matches!(source.kind(at + 2), Some(Kind::Open(_)))
            && !source.is_test_at(at)
    };
    for (at, line) in at_each(source, is_log) {
        let named = (at + 3..source.behind(at + 2))
            .find(|at| source.ident(*at) == Some("event") && source.kind(at + 1) == Some(&Kind::Mark('=')));
        let is_text = named.is_some_and(|at| matches!(source.kind(at + 2), Some(Kind::Literal(_))));
        match named {
            None => found.push(violation(source, line, "what is logged names no event of telemetry::events")),
            Some(at) if is_text => {
                let line = source.tokens[at].line;
                found.push(violation(source, line, "an event that telemetry::events does not list"));
            }
            Some(_) => {}
        }
    }
    found
}

fn unused_events(sources: &[Source]) -> Vec<Violation> {
    let Some(list) = sources.iter().find(|source| source.path == EVENTS) else { return Vec::new() };
    let declared = at_each(list, |at| {
        list.ident(at).is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            && list.kind(at + 1) == Some(&Kind::Mark('='))
            && matches!(list.kind(at + 2), Some(Kind::Literal(_)))
    });
    let used: BTreeSet<&str> = sources
        .iter()
        .filter(|source| source.path != EVENTS)
        .flat_map(|source| {
            (0..source.tokens.len()).filter(|at| !source.is_test_at(*at)).filter_map(|at| source.ident(at))
        })
        .collect();
    declared
        .filter(|(at, _)| !list.ident(*at).is_some_and(|name| used.contains(name)))
        .map(|(at, line)| {
            violation(list, line, format!("the event {} is never logged", list.ident(at).unwrap_or_default()))
        })
        .collect()
}
