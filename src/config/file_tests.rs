//! Tests of `config::file`: every key, every kind of fault, and that no error repeats the file's text.
//!
//! Must never depend on a file of the machine it runs on.
//! Run as `config::file::tests`.

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text.as_bytes(), Path::new("keyd.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

const EVERY_KEY: &str = r#"
[socket]
path = "/run/a.sock"
admin_path = "/run/b.sock"
group = "keys"

[store]
path = "/srv/keys.redb"
create = true
mark = "/mnt/mark"
self_check = "90m"

[backup]
dir = "/srv/backup"
keep = 3
keep_for = "36h"
interval = "14d"

[drill]
interval = "365d"

[master_key]
file = "/etc/servos/servos.env"
allow_readable = true

[memory]
require_memfd_secret = true

[legacy]
adopt = true

[other_uses]
restic-volumes = "365d"
"7.zip_archives" = "1d"

[limits]
connections = 10
streams = 20
request_timeout = "5s"
idle_connection = "500ms"

[log]
level = "debug"
format = "json"

[sandbox]
landlock = false
seccomp = false

[metrics]
socket = "/run/c.sock"
group = "monitors"
"#;

#[test]
fn every_key_is_read() {
    let config = parse(EVERY_KEY).unwrap();
    assert_eq!(config.socket.admin_path.as_deref(), Some(Path::new("/run/b.sock")));
    assert_eq!(config.store.mark, Path::new("/mnt/mark"));
    assert_eq!(config.store.self_check, Duration::from_secs(90 * 60));
    assert_eq!(config.backup.interval, Duration::from_secs(14 * 24 * 60 * 60));
    assert_eq!(config.drill.interval, Duration::from_secs(365 * 24 * 60 * 60));
    assert_eq!(config.limits.idle_connection, Duration::from_millis(500));
    let uses: Vec<(&str, u64)> =
        config.other_uses.iter().map(|(name, kept)| (name.as_str(), kept.as_secs() / 86_400)).collect();
    assert_eq!(uses, [("7.zip_archives", 1), ("restic-volumes", 365)]);
    assert!(!config.sandbox.landlock && !config.sandbox.seccomp);
    assert!(config.describe().iter().all(|setting| !setting.is_default));
}

#[test]
fn what_describe_lists_is_what_the_file_may_say() {
    let known: Vec<String> =
        SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}"))).collect();
    let listed: Vec<&str> = Config::default().describe().iter().map(|setting| setting.key).collect();
    assert_eq!(known, listed);
}

#[test]
fn another_use_has_a_name_that_is_no_key_and_a_time_that_its_text_is_kept() {
    let of = |name: &str| parse(&format!("[other_uses]\n{name:?} = \"30d\"\n"));
    let (hex, longest) = ("8c1f0ad2".repeat(8), format!("a{}", "-b".repeat(31)));
    for name in ["a", "0", "restic-volumes", "a.b_c-d", &longest] {
        assert_eq!(of(name).unwrap().other_uses.len(), 1, "{name}");
    }
    let too_long = format!("{longest}-");
    let base64 = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
    let hostile = [
        "",
        "-a",
        ".a",
        "_a",
        "A",
        "a b",
        "a/b",
        "ä",
        "a\tb",
        &too_long,
        &hex,
        &hex[..40],
        &hex[..63],
        base64,
        &base64.to_lowercase(),
        &base64.to_lowercase()[..43],
    ];
    for name in hostile {
        let said = of(name).expect_err(name).to_string();
        assert!(said.starts_with("keyd.toml:2: other_uses: a name there must be 1 to 63 of a-z"), "{said}");
        assert!(name.len() < 8 || !said.contains(name.get(..8).unwrap()), "{said}");
    }
    for (value, problem) in [
        ("\"23h\"", "must be from \"1d\" to \"3650d\""),
        ("\"3651d\"", "must be from \"1d\" to \"3650d\""),
        ("\"0d\"", "must be from \"1d\" to \"3650d\""),
        ("365", "a bare number has no unit"),
        ("\"for ever\"", "a duration is one whole number"),
        ("true", "a duration such as"),
    ] {
        let said = refusal(&format!("[other_uses]\nrestic = {value}\n"));
        assert!(said.starts_with(&format!("keyd.toml:2: other_uses.restic: {problem}")), "{said}");
    }
    assert_eq!(
        refusal("[other_uses]\nrestic.volumes = \"30d\""),
        "keyd.toml:2: other_uses.restic: a name with a point in it must stand in quotes"
    );
    let many: String = (0..101).map(|n| format!("use-{n} = \"1d\"\n")).collect();
    assert!(refusal(&format!("[other_uses]\n{many}")).contains("other_uses: must have at most 100 names"));
    assert!(refusal("other_uses = 1").contains("is a section: write [other_uses]"));
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("# nothing\n[store]\n").unwrap(), Config::default());
}

#[test]
fn the_mark_follows_the_store_unless_it_is_named() {
    assert_eq!(parse("[store]\npath = \"/srv/k.redb\"").unwrap().store.mark, Path::new("/srv/k.redb.mark"));
}

#[test]
fn an_empty_group_is_the_daemons_own() {
    assert_eq!(parse("[socket]\ngroup = \"\"").unwrap().socket.group, None);
}

#[test]
fn dotted_and_inline_keys_are_the_same_as_sections() {
    assert_eq!(parse("limits.streams = 5").unwrap(), parse("limits = { streams = 5 }").unwrap());
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest() {
    assert_eq!(
        refusal("[limits]\nstreams = 1\nconections = 4"),
        "keyd.toml:3: unknown key limits.conections: did you mean connections?"
    );
    assert_eq!(refusal("\n[limit]\n"), "keyd.toml:2: unknown key limit: did you mean [limits]?");
    assert_eq!(
        refusal("[store]\nkeep_for = \"1d\""),
        "keyd.toml:2: unknown key store.keep_for: it belongs under [backup]"
    );
    assert_eq!(
        refusal("[store]\nzzz = 1"),
        "keyd.toml:2: unknown key store.zzz: the keys of [store] are path, create, mark, self_check"
    );
    assert_eq!(refusal("adopt = true"), "keyd.toml:1: unknown key adopt: it belongs under a section, such as [legacy]");
    assert!(refusal("[qqqqqq]").contains("the sections are socket, store"));
}

#[test]
fn values_out_of_range_or_of_another_type_name_the_key() {
    for (text, problem) in [
        ("[limits]\nconnections = 0", "limits.connections: must be from 1 to 10000"),
        ("[limits]\nconnections = -1", "limits.connections: must be from 1 to 10000"),
        ("[limits]\nstreams = 99999999999999999999999", "limits.streams: must be from 1 to 10000"),
        ("[limits]\nstreams = \"5\"", "limits.streams: a whole number is expected, not a text"),
        ("[limits]\nstreams = 5.0", "limits.streams: a whole number is expected, not a number with a point"),
        ("[backup]\nkeep = 0", "backup.keep: must be from 1 to 10000"),
        ("[backup]\nkeep_for = \"0d\"", "backup.keep_for: must be from \"1m\" to \"3650d\""),
        ("[limits]\nrequest_timeout = \"0s\"", "must be from \"100ms\" to \"1h\""),
        ("[limits]\nrequest_timeout = 30", "a bare number has no unit: write \"30s\" for seconds"),
        ("[limits]\nrequest_timeout = \"30\"", "a bare number has no unit: write \"30s\" for seconds"),
        ("[limits]\nidle_connection = \"10 s\"", "the unit is unknown"),
        ("[limits]\nidle_connection = true", "a duration such as \"30s\" is expected, not true or false"),
        ("[store]\ncreate = \"yes\"", "store.create: true or false is expected, not a text"),
        ("[store]\npath = \"keyd.redb\"", "store.path: must be an absolute path"),
        ("[store]\npath = \"\"", "store.path: must be an absolute path"),
        ("[store]\npath = \"/srv/\"", "store.path: must not end with /"),
        ("[store]\npath = \"/srv/a\\u0000b\"", "store.path: must not hold a NUL"),
        ("[socket]\ngroup = \"a:b\"", "socket.group: must be a group's name"),
        ("[log]\nlevel = \"loud\"", "log.level: must be one of error, warn, info, debug, trace"),
        ("[log]\nformat = \"xml\"", "log.format: must be one of text, json"),
        ("store = \"/srv/keyd.redb\"", "store: is a section: write [store]"),
    ] {
        let message = refusal(text);
        assert!(message.contains(problem), "{text:?}: {message}");
    }
}

#[test]
fn a_socket_path_that_no_address_holds_is_refused() {
    let long = format!("[socket]\npath = \"/{}\"", "x".repeat(107));
    assert!(refusal(&long).contains("at most 107 bytes"));
    assert!(parse(&format!("[socket]\npath = \"/{}\"", "x".repeat(106))).is_ok());
}

#[test]
fn two_keys_that_name_one_file_are_refused() {
    for text in [
        "[store]\nmark = \"/var/lib/servos-keyd/keyd.redb\"",
        "[store]\nmark = \"/var/lib//servos-keyd/keyd.redb.new\"",
        "[socket]\npath = \"/run/servos/./keyd-admin.sock\"",
        "[master_key]\nfile = \"/var/lib/servos-keyd/keyd.redb.mark\"",
    ] {
        assert!(refusal(text).contains("name the same file"), "{text}");
    }
}

#[test]
fn no_error_shows_a_key_that_was_pasted_into_the_file() {
    let planted = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for text in [
        format!("[master_key]\nfile = \"{planted}\""),
        format!("[master_key]\nfile = \"/{planted}\""),
        format!("[backup]\ndir = \"/var/{planted}\""),
        format!("[master_key]\nkey = \"{planted}\""),
        format!("[master_key]\n{planted}\n"),
        format!("[master_key]\n{planted} = 1\n"),
        format!("SERVOS_MASTER_KEY={planted}"),
        format!("[master_key]\nfile = {planted}"),
        format!("[master_key]\nfile = \"{planted}"),
        format!("[log]\nlevel = \"{planted}\""),
        format!("[socket]\ngroup = \"{planted}\""),
        format!("[limits]\nrequest_timeout = \"{planted}\""),
    ] {
        let fault = parse(&text).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains(&planted[..12]), "{fault}");
    }
    // One base64 key in 64 begins like an absolute path.
    let planted = "/4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=".to_owned();
    assert_eq!(planted.len(), 44);
    let fault = parse(&format!("[master_key]\nfile = \"{planted}\"")).unwrap_err();
    assert!(!format!("{fault} {fault:?}").contains(&planted[..12]), "{fault}");
}

#[test]
fn what_is_no_toml_names_its_line() {
    assert!(refusal("[log]\nlevel = \n").starts_with("keyd.toml:2: not TOML"));
    assert!(refusal("[log]\n[log]\n").starts_with("keyd.toml:2: not TOML"));
    let fault = Config::parse(b"[log]\n\xff", Path::new("keyd.toml")).unwrap_err();
    assert!(matches!(fault, ConfigError::NotText { line: 2, .. }), "{fault}");
}

#[test]
fn a_file_that_was_named_must_be_there_and_be_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("keyd.toml");
    assert!(matches!(Config::load(Some(&missing)), Err(ConfigError::NotFound { .. })));
    assert!(matches!(Config::load(Some(dir.path())), Err(ConfigError::NotAFile { .. })));
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Config::load(Some(&fifo)), Err(ConfigError::NotAFile { .. })));
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.toml");
    std::fs::write(&path, EVERY_KEY).unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap(), parse(EVERY_KEY).unwrap());
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(Config::load(Some(&path)), Err(ConfigError::TooLarge { .. })));
    std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
    assert!(Config::load(Some(&path)).is_ok());
}
