//! Each rule against a house in which it is broken once: the checker finds that place, and nothing else.
//!
//! Must never plant what the compiler itself would refuse to see: the checker reads text.
//! Run by `cargo test`.

use crate::{check, package};

const LIB: &str = "\
//! The map.
//!
//! Who may name whom:
//!
//! | room | may name | async |
//! |---|---|---|
//! | `telemetry` | nothing | - |
//! | `sys` | `telemetry` | no |
//! | `custody` | `sys` | no |
//! | `store`, `auth` | `sys` | no |
//! | `server` | `auth`, `sys` | yes |
//! | `cli` | everything | yes |
";

const HEADER: &str = "//! What it is.\n//! Must never do that.\n//! Called by the test.\n";

/// What the checker says of a house with these files, each under a good header.
fn said_of(files: &[(&str, &str)]) -> Vec<String> {
    let mut house = vec![("src/lib.rs".to_owned(), LIB.to_owned())];
    house.extend(files.iter().map(|(path, text)| ((*path).to_owned(), format!("{HEADER}{text}"))));
    check(&house).iter().map(ToString::to_string).collect()
}

/// The planted text breaks one rule, on the given line behind the header.
#[track_caller]
fn breaks(path: &str, text: &str, line: usize, rule: &str) {
    let said = said_of(&[(path, text)]);
    let place = format!("{path}:{}: ", line + 3);
    assert!(said.len() == 1 && said[0].starts_with(&place) && said[0].contains(rule), "{text}\n{said:#?}");
}

#[track_caller]
fn keeps(path: &str, text: &str) {
    let said = said_of(&[(path, text)]);
    assert!(said.is_empty(), "{text}\n{said:#?}");
}

#[test]
fn a_name_from_a_room_that_the_table_does_not_allow_is_found_however_it_is_written() {
    let rule = "custody may not name telemetry";
    let file = "src/custody/keys.rs";
    breaks(file, "use crate::telemetry::events;", 1, rule);
    breaks(file, "pub use crate::{sys::locked, telemetry::events};", 1, rule);
    breaks(file, "use crate::{sys::{self, locked}, telemetry};", 1, rule);
    breaks(file, "\nuse super::super::telemetry::log;", 2, rule);
    breaks(file, "use super::{super::telemetry as t, random};", 1, rule);
    breaks(file, "use self::super::super::telemetry;", 1, rule);
    breaks(file, "fn f() {\n    crate::telemetry::log::init();\n}", 2, rule);
    breaks(file, "fn f() -> crate :: telemetry :: Log { todo!() }", 1, rule);
    breaks(file, "fn f() {\n    println!(\"{}\", crate::telemetry::name());\n}", 2, rule);
    breaks(file, "macro_rules! m { () => { $crate::telemetry::name() } }", 1, rule);
    breaks(file, "mod tests {\n    use super::super::super::telemetry;\n}", 2, rule);
    breaks(file, "impl From<crate::telemetry::Fault> for u8 {}", 1, rule);
    breaks(file, "#[derive(crate::telemetry::Name)] struct S;", 1, rule);
    breaks("src/custody/mod.rs", "use super::telemetry;", 1, rule);
}

#[test]
fn what_the_table_allows_is_no_violation() {
    keeps("src/custody/keys.rs", "use crate::sys::locked::Secret;\nuse super::random;\nuse crate::custody::id;");
    keeps("src/custody/keys.rs", "mod tests {\n    use super::super::random;\n    use super::*;\n}");
    keeps("src/custody/keys.rs", "// crate::telemetry\nconst T: &str = \"crate::telemetry\"; /* crate::cli */");
    keeps("src/cli/mod.rs", "use crate::{auth, custody, server, store, sys, telemetry};");
    keeps("src/store/x.rs", "pub(crate) fn f() {}\npub(in crate::store) fn g() {}\nuse std::sync::Arc;");
}

#[test]
fn a_file_under_another_name_is_judged_by_the_module_that_declares_it() {
    let declaring = "#[cfg(test)]\n#[path = \"keys_tests.rs\"]\nmod tests;";
    let test = "use super::super::random;\nuse super::super::super::telemetry;";
    let said = said_of(&[("src/custody/keys.rs", declaring), ("src/custody/keys_tests.rs", test)]);
    assert!(said.len() == 1 && said[0].contains("keys_tests.rs:5: custody may not name telemetry"), "{said:#?}");
}

#[test]
fn the_whole_crate_and_a_room_that_is_none_are_not_named() {
    breaks("src/auth/x.rs", "use crate::*;", 1, "names the whole crate");
    breaks("src/auth/x.rs", "use crate as everything;", 1, "names the whole crate");
    breaks("src/auth/x.rs", "use crate::helpful::f;", 1, "which is no room");
    breaks("src/auth/x.rs", "use servos_keyd::cli;", 1, "auth may not name cli");
    breaks("src/auth/x.rs", "use ::servos_keyd::cli;", 1, "auth may not name cli");
}

#[test]
fn rooms_in_a_circle_are_found_even_if_the_table_allows_it() {
    let lib = LIB.replace("| `sys` | `telemetry` |", "| `sys` | `telemetry`, `custody` |");
    let house = [
        ("src/lib.rs", lib),
        ("src/sys/a.rs", format!("{HEADER}use crate::custody::b;")),
        ("src/custody/b.rs", format!("{HEADER}use crate::sys::a;")),
    ];
    let said = check(&house.map(|(path, text)| (path.to_owned(), text)));
    assert_eq!(said.iter().filter(|violation| violation.what.contains("circle")).count(), 2, "{said:#?}");
}

#[test]
fn files_of_one_room_that_name_each_other_in_a_circle_are_found_however_they_do_it() {
    let circle = |files: &[(&str, &str)], way: &str| {
        let said = said_of(files);
        assert!(said.len() == 1 && said[0].ends_with(&format!(" in a circle: {way}")), "{files:?}\n{said:#?}");
    };
    let two = "auth/a.rs -> auth/b.rs -> auth/a.rs";
    circle(&[("src/auth/a.rs", "use super::b::B;"), ("src/auth/b.rs", "use super::a;")], two);
    circle(&[("src/auth/a.rs", "use super::b::B;"), ("src/auth/b.rs", "fn f() { crate::auth::a::f() }")], two);
    circle(&[("src/auth/a.rs", "use super::b::{self, B as C};"), ("src/auth/b.rs", "use super::{a::A, c};")], two);
    let with_parent = "auth/mod.rs -> auth/b.rs -> auth/mod.rs";
    circle(&[("src/auth/mod.rs", "mod b;\npub use b::B;\nstruct A;"), ("src/auth/b.rs", "use super::A;")], with_parent);
    circle(&[("src/auth/mod.rs", "mod b;\nfn f() { b::g() }"), ("src/auth/b.rs", "use super::f;")], with_parent);
    let three =
        [("src/auth/a.rs", "use super::b;"), ("src/auth/b.rs", "use super::c;"), ("src/auth/c.rs", "use super::a;")];
    circle(&three, "auth/a.rs -> auth/b.rs -> auth/c.rs -> auth/a.rs");
    // What another file passes on is still what it was.
    let passed_on = ("src/auth/mod.rs", "mod a;\nmod b;\npub use b::B as C;");
    circle(&[passed_on, ("src/auth/a.rs", "use super::C;"), ("src/auth/b.rs", "use super::a::A;")], two);
}

#[test]
fn files_that_name_each_other_one_way_are_in_no_circle() {
    let passed_on = ("src/auth/mod.rs", "mod a;\nmod b;\npub use b::B;\npub use a::A;");
    let keeps = |files: &[(&str, &str)]| {
        let said = said_of(files);
        assert!(said.is_empty(), "{files:?}\n{said:#?}");
    };
    keeps(&[
        passed_on,
        ("src/auth/a.rs", "use super::B;\npub(in crate::auth) struct A;"),
        ("src/auth/b.rs", "struct B;"),
    ]);
    keeps(&[passed_on, ("src/auth/a.rs", "use super::b;"), ("src/auth/b.rs", "//! See [`super::a`].\nstruct B;")]);
    let test = "#[cfg(test)]\nmod tests {\n    use super::super::a;\n}";
    keeps(&[("src/auth/a.rs", "use super::b;"), ("src/auth/b.rs", test)]);
}

/// Two files of this house that name each other, where one names the other.
#[test]
fn a_circle_planted_in_this_house_is_found() {
    let mut files = package();
    let waiting = files.iter_mut().find(|(path, _)| path == "src/cli/keyctl/rotate_run/waiting.rs").unwrap();
    waiting.1.push_str("\nuse super::steps::perform;\n");
    let said: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
    let way = "steps.rs -> cli/keyctl/rotate_run/waiting.rs -> cli/keyctl/rotate_run/steps.rs";
    assert!(said.len() == 1 && said[0].contains("in a circle") && said[0].ends_with(way), "{said:#?}");
}

#[test]
fn a_binary_is_short_and_names_cli_alone() {
    keeps("src/bin/keyd.rs", "use servos_keyd::sys::allocator::A;\nfn main() { servos_keyd::cli::keyd::run() }");
    breaks("src/bin/keyd.rs", "fn main() { servos_keyd::server::serve() }", 1, "a binary names server");
    breaks("src/bin/keyd.rs", &"// line\n".repeat(28), 28, "at most 30 lines");
}

#[test]
fn asynchronous_code_stands_only_where_the_table_says() {
    keeps("src/server/x.rs", "async fn f() { g().await }");
    breaks("src/store/x.rs", "async fn f() {}", 1, "store is not asynchronous");
    breaks("src/store/x.rs", "fn f() {\n    let g = async move {};\n}", 2, "store is not asynchronous");
    breaks("src/custody/x.rs", "fn f() { h!(g().await) }", 1, "custody is not asynchronous");
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let block = "// JUSTIFICATION: std has none.\n// SAFETY: it is sound.\nlet x = unsafe { f() };";
    keeps("src/sys/x.rs", &format!("fn g() {{\n{block}\n}}"));
    breaks("src/custody/x.rs", &format!("fn g() {{\n{block}\n}}"), 4, "unsafe code belongs into sys");
    breaks("src/cli/x.rs", "unsafe fn f() {}", 1, "unsafe code belongs into sys");
    breaks("src/cli/x.rs", "#[unsafe(no_mangle)] fn f() {}", 1, "unsafe code belongs into sys");
    breaks("src/cli/x.rs", "#![allow(unsafe_code)]", 1, "unsafe code belongs into sys");
}

#[test]
fn each_unsafe_block_says_why_it_is_needed_and_what_keeps_it_sound() {
    let file = "src/sys/x.rs";
    let within = |body: &str| format!("fn g() {{\n{body}\n}}");
    breaks(file, &within("// SAFETY: sound.\nunsafe { f() }"), 3, "// JUSTIFICATION:");
    breaks(file, &within("// JUSTIFICATION: needed.\nunsafe { f() }"), 3, "// SAFETY:");
    breaks(
        file,
        &within("// JUSTIFICATION: a.\n// SAFETY: b.\nunsafe { f() };\nlet y = 1;\n// SAFETY: c.\nunsafe { h() }"),
        7,
        "// JUSTIFICATION:",
    );
    breaks(file, "// SAFETY: sound.\nunsafe impl Send for X {}", 2, "// JUSTIFICATION:");
    let said = said_of(&[(file, &within("// JUSTIFICATION: a.\n// SAFETY: b.\nlet x = 1;\nlet y = unsafe { f() };"))]);
    assert_eq!(said.len(), 2, "reasons of another statement passed: {said:#?}");
    keeps(file, &within("// JUSTIFICATION: a.\n// SAFETY: b,\n// and c.\nassert_eq!(\n    1,\n    unsafe { f() }\n);"));
}

#[test]
fn every_file_begins_with_what_it_is_what_it_must_never_do_and_who_calls_it() {
    let said = |text: &str| {
        let house = [("src/lib.rs", LIB), ("src/auth/x.rs", text)];
        check(&house.map(|(path, text)| (path.to_owned(), text.to_owned()))).len()
    };
    assert_eq!(said("fn f() {}"), 1);
    assert_eq!(said("//! What it is. Must never do that. Called by a test.\nfn f() {}"), 1);
    assert_eq!(said("//! What it is.\n//! It does that.\n//! Called by a test."), 1);
    assert_eq!(said("//! What it is.\n//! Must never do that.\n//! That is all."), 1);
    assert_eq!(said("//! What it is.\n//!\n//! Must never do that. Called by a test."), 1);
    assert_eq!(said("/// What it is.\n/// Must never do that.\n/// Called by a test.\nfn f() {}"), 1);
    assert_eq!(said("//! What it is.\n//!\n//! Must never do that.\n//! Called by a test."), 0);
}

#[test]
fn names_say_something() {
    breaks("src/auth/x.rs", "mod utils {}", 1, "utils says nothing");
    assert!(said_of(&[("src/auth/common.rs", "")])[0].contains("common says nothing"));
    assert!(said_of(&[("src/auth/misc/peer.rs", "")])[0].contains("misc says nothing"));
    breaks("src/auth/x.rs", "pub mod helpers { fn f() {} }", 1, "helpers says nothing");
    breaks("src/auth/x.rs", "impl X {\n    pub fn get_name(&self) {}\n}", 2, "begins with get_");
    breaks("src/auth/x.rs", "fn get_name() -> impl for<'a> Fn(&'a u8) { |_| () }", 1, "begins with get_");
    keeps("src/auth/x.rs", "impl Admin for X {\n    fn get_status(&self) {}\n}\nfn target() {}");
}

#[test]
fn redb_is_named_by_its_adapter_alone() {
    keeps("src/store/redb_adapter.rs", "use redb::Database;");
    keeps("src/auth/x.rs", "const NAME: &str = \"keyd.redb\"; // redb::Database\nfn f(redb: u8) {}");
    keeps("src/store/x.rs", "use super::redb_adapter;\nmod redb_file {}");
    breaks("src/store/port.rs", "use redb::Database;", 1, "redb is named");
    breaks("src/store/port.rs", "use ::redb::Database;", 1, "redb is named");
    breaks("src/store/port.rs", "use redb as database;", 1, "redb is named");
    breaks("src/cli/x.rs", "fn f(_: &redb::Error) {}", 1, "redb is named");
}

#[test]
fn zeroize_is_named_by_wipe_the_client_and_the_tool_alone() {
    keeps("src/sys/wipe.rs", "pub use zeroize::Zeroizing;");
    keeps("src/client/x.rs", "use zeroize::Zeroizing;");
    keeps("src/cli/keyctl/x.rs", "use zeroize::Zeroizing;");
    keeps("src/custody/x.rs", "use crate::sys::wipe::Zeroizing;");
    breaks("src/custody/x.rs", "use zeroize::Zeroizing;", 1, "zeroize is named");
    breaks("src/cli/keyd/x.rs", "fn f(_: zeroize::Zeroizing<u8>) {}", 1, "zeroize is named");
}

#[test]
fn secret_types_are_not_cloned_and_write_their_own_debug() {
    let file = "src/custody/keys.rs";
    keeps(file, "pub struct MasterKey;\n#[derive(Debug, Clone)]\npub struct Claim;");
    keeps("src/config/settings.rs", "#[derive(Debug, Clone)]\npub struct MasterKey;");
    breaks(file, "#[derive(Debug)]\npub struct MasterKey;", 1, "MasterKey holds a secret and derives Debug");
    breaks(file, "#[derive(PartialEq, Clone)]\n#[must_use]\npub(super) struct RootKey(u8);", 1, "derives Clone");
    breaks(file, "#[derive(std::fmt::Debug)]\nstruct VersionKey;", 1, "derives Debug");
    breaks(file, "impl Clone for LegacyKey {}", 1, "can be cloned");
}

#[test]
fn every_event_is_of_the_list_and_every_one_of_the_list_is_logged() {
    let list = ("src/telemetry/events.rs", "events! {\n    /// Ready.\n    READY = \"daemon.ready\";\n}");
    assert!(said_of(&[list, ("src/server/x.rs", "fn f() { info!(event = events::READY, \"x\") }")]).is_empty());
    let said = said_of(&[list]);
    assert!(said.len() == 1 && said[0].contains("events.rs:6: the event READY is never logged"), "{said:#?}");
    let in_a_test = "#[cfg(test)]\nmod tests {\n    fn f() { info!(event = events::READY, \"x\") }\n}";
    assert_eq!(said_of(&[list, ("src/server/x.rs", in_a_test)]).len(), 1);
    breaks("src/server/x.rs", "fn f() {\n    info!(event = \"daemon.x\", \"x\")\n}", 2, "does not list");
    breaks("src/server/x.rs", "fn f() {\n    tracing::warn!(x, \"y\")\n}", 2, "names no event");
}

#[test]
#[should_panic(expected = "holds no import table")]
fn a_house_without_a_table_does_not_pass() {
    check(&[("src/lib.rs".to_owned(), "//! One.\n//! Two.\n//! Three.".to_owned())]);
}

#[test]
#[should_panic(expected = "which is no room")]
fn a_table_that_allows_a_room_that_is_none_does_not_pass() {
    check(&[("src/lib.rs".to_owned(), LIB.replace("| `sys` | no", "| `sis` | no"))]);
}

/// The real files too: a violation planted among them is the only one that is found.
#[test]
fn a_violation_planted_in_this_house_is_found() {
    let mut files = package();
    let keys = files.iter_mut().find(|(path, _)| path == "src/custody/keys.rs").unwrap();
    keys.1.push_str("\nuse crate::operations::load;\n");
    let said = check(&files);
    let new: Vec<_> =
        said.iter().filter(|violation| violation.what.contains("custody may not name operations")).collect();
    assert_eq!(new.len(), 1, "{said:#?}");
}
