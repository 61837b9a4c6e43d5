//! Tests of the settings: what is told of each, and what is a default.
//!
//! Must never hold a default in its own words: the documents and the shipped file are compared elsewhere.
//! Run by `cargo test`.

use super::*;

#[test]
fn the_defaults_are_the_names_that_users_meet() {
    let shown: Vec<String> =
        Config::default().describe().into_iter().map(|setting| format!("{}={}", setting.key, setting.value)).collect();
    assert_eq!(
        shown,
        [
            "socket.path=/run/servos/keyd.sock",
            "socket.admin_path=/run/servos/keyd-admin.sock",
            "socket.group=servos",
            "store.path=/var/lib/servos-keyd/keyd.redb",
            "store.create=false",
            "store.mark=/var/lib/servos-keyd/keyd.redb.mark",
            "store.self_check=1d",
            "backup.dir=/var/lib/servos/keyd-backup",
            "backup.keep=30",
            "backup.keep_for=90d",
            "backup.interval=30d",
            "drill.interval=180d",
            "master_key.file=",
            "master_key.allow_readable=false",
            "memory.require_memfd_secret=false",
            "legacy.adopt=false",
            "limits.connections=256",
            "limits.streams=128",
            "limits.request_timeout=30s",
            "limits.idle_connection=10s",
            "log.level=info",
            "log.format=text",
            "sandbox.landlock=true",
            "sandbox.seccomp=true",
            "metrics.socket=",
            "metrics.group=",
        ]
    );
    assert!(Config::default().describe().iter().all(|setting| setting.is_default));
}

#[test]
fn what_differs_from_the_default_is_marked() {
    let mut config = Config::default();
    config.limits.streams = 7;
    let changed: Vec<&str> =
        config.describe().into_iter().filter(|setting| !setting.is_default).map(|setting| setting.key).collect();
    assert_eq!(changed, ["limits.streams"]);
}

#[test]
fn a_mark_beside_a_store_elsewhere_is_still_the_default() {
    let mut config = Config::default();
    config.store.path = "/srv/keyd.redb".into();
    config.store.mark = mark_beside(&config.store.path);
    let changed: Vec<&str> =
        config.describe().into_iter().filter(|setting| !setting.is_default).map(|setting| setting.key).collect();
    assert_eq!(changed, ["store.path"]);
}

#[test]
fn dev_keeps_everything_under_its_directory() {
    let config = Config::dev(Path::new("/tmp/try"));
    assert_eq!(config.socket.path, Path::new("/tmp/try/keyd.sock"));
    assert_eq!(config.socket.admin_path, None);
    assert_eq!(config.socket.group, None);
    assert_eq!(config.store.path, Path::new("/tmp/try/keyd.redb"));
    assert_eq!(config.store.mark, Path::new("/tmp/try/keyd.redb.mark"));
    assert_eq!(config.backup.dir, Path::new("/tmp/try/backup"));
    assert_eq!(config.master_key.file.as_deref(), Some(Path::new("/tmp/try/master.key")));
    assert!(config.store.create && !config.legacy.adopt && !config.master_key.allow_readable);
}
