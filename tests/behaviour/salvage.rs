//! Salvage: what still opens of a damaged store, and not a byte written.
//!
//! Must never let a salvaging daemon seal. Run by `cargo test`.

use crate::harness::{Daemon, Installation, block_on, cell, name};
use servos_keyd::client::error::Error;

/// Values under two keys, sealed before the damage.
struct Values {
    default: Vec<u8>,
    ssh: Vec<u8>,
}

fn sealed_before() -> (Installation, Values) {
    let installation = Installation::made();
    let daemon = installation.serve();
    let values = block_on(async {
        let client = daemon.component();
        let default = client.encrypt(&name("default"), b"default", &cell("1")).await.unwrap().ciphertext;
        let ssh = client.encrypt(&name("ssh-keys"), b"ssh", &cell("1")).await.unwrap().ciphertext;
        Values { default, ssh }
    });
    daemon.stop().expect(0);
    (installation, values)
}

fn opens(daemon: &Daemon, key: &str, ciphertext: &[u8], plaintext: &[u8]) {
    let opened = block_on(async { daemon.component().decrypt(&name(key), ciphertext, &cell("1")).await.unwrap() });
    assert_eq!(opened.plaintext.as_slice(), plaintext);
}

/// The name of the record of the version that a message names.
fn version_of(ciphertext: &[u8]) -> String {
    format!("version/{}", crate::harness::hex(&ciphertext[4..12]))
}

#[test]
fn what_opens_is_opened_what_does_not_is_listed_and_nothing_is_written() {
    type Damage = fn(&Installation, &Values);
    let cases: [(&str, Damage); 4] = [
        ("a seal", |installation, values| {
            let name = version_of(&values.default);
            installation.change_records(|s| *s.records.get_mut(&name).unwrap().last_mut().unwrap() ^= 1);
        }),
        ("a record that is gone", |installation, values| {
            let name = version_of(&values.default);
            installation.change_records(|s| drop(s.records.remove(&name)));
        }),
        ("a record that is no message", |installation, values| {
            let name = version_of(&values.default);
            installation.change_records(|s| drop(s.records.insert(name, vec![0xff; 30])));
        }),
        ("a record that is too new", |installation, values| {
            let name = version_of(&values.default);
            installation.change_records_and_mac(|s| s.records.get_mut(&name).unwrap().extend([8, 2]));
        }),
    ];
    for (case, damage) in cases {
        let (installation, values) = sealed_before();
        damage(&installation, &values);
        assert_ne!(installation.serve_refused().code, Some(0), "{case}");
        let before = installation.files();
        let daemon = installation.serve_salvage();
        opens(&daemon, "ssh-keys", &values.ssh, b"ssh");
        block_on(async {
            let (client, admin) = (daemon.component(), daemon.admin());
            let refused = client.decrypt(&name("default"), &values.default, &cell("1")).await.unwrap_err();
            assert!(matches!(refused, Error::Precondition { .. }), "{case}: {refused:?}");
            for refused in [
                client.encrypt(&name("ssh-keys"), b"x", &cell("1")).await.map(drop),
                client.reencrypt(&name("ssh-keys"), &values.ssh, &cell("1")).await.map(drop),
                client.export_keyring().await.map(drop),
                client.issue_canary().await.map(drop),
            ] {
                assert!(matches!(refused, Err(Error::Precondition { .. })), "{case}: {refused:?}");
            }
            if crate::harness::is_root() {
                let refused = admin.rotate_key(&name("ssh-keys")).await.map(drop).unwrap_err();
                assert!(matches!(refused, Error::Precondition { .. }), "{case}: {refused:?}");
            } else {
                crate::harness::not_run("a change under --salvage: only root administers on the admin socket");
            }
        });
        let stopped = daemon.stop().expect(0);
        let record = if case == "a record that is gone" { "mac".to_owned() } else { version_of(&values.default) };
        stopped.saying(&["does not open", &record]);
        assert_eq!(installation.files(), before, "{case}");
    }
}

#[test]
fn a_lost_canary_or_mac_or_mark_does_not_keep_values_from_opening() {
    type Damage = fn(&Installation);
    let cases: [(&str, Damage); 3] = [
        ("canary", |i| {
            i.change_records(|s| *s.records.get_mut("canary").unwrap().last_mut().unwrap() ^= 1);
        }),
        ("mac", |i| i.change_records(|s| drop(s.records.remove("mac")))),
        ("mark", |i| std::fs::remove_file(i.mark()).unwrap()),
    ];
    for (case, damage) in cases {
        let (installation, values) = sealed_before();
        damage(&installation);
        installation.serve_refused().expect(74);
        let before = installation.files();
        let daemon = installation.serve_salvage();
        opens(&daemon, "default", &values.default, b"default");
        opens(&daemon, "ssh-keys", &values.ssh, b"ssh");
        daemon.stop().expect(0);
        assert_eq!(installation.files(), before, "{case}");
    }
}

#[test]
fn a_damaged_file_gives_back_what_it_can_or_is_refused_untouched() {
    let (installation, values) = sealed_before();
    let good = std::fs::read(installation.store()).unwrap();
    // Bytes inside of records: each is in exactly one leaf of the file's trees.
    let place = |word: &[u8]| good.windows(word.len()).position(|window| window == word);
    let seals: Vec<usize> =
        [b"version/".as_slice(), b"identity", b"history/0", b"SKR1"].into_iter().filter_map(place).collect();
    assert!(!seals.is_empty());
    let mut salvaged = 0;
    for at in seals {
        let mut bytes = good.clone();
        bytes[at + 40] ^= 0x55;
        std::fs::write(installation.store(), &bytes).unwrap();
        installation.serve_refused().expect(74);
        let before = installation.files();
        match Daemon::try_start(&installation.command("serve", &["--salvage"]), &installation) {
            Ok(daemon) => {
                let opened = block_on(async {
                    let client = daemon.component();
                    let one = client.decrypt(&name("default"), &values.default, &cell("1")).await;
                    let other = client.decrypt(&name("ssh-keys"), &values.ssh, &cell("1")).await;
                    [one, other].into_iter().flatten().count()
                });
                salvaged += opened;
                daemon.stop().expect(0).saying(&["the file is damaged"]);
            }
            Err(refused) => drop(refused.expect(74)),
        }
        assert_eq!(installation.files(), before, "byte {at}");
    }
    assert!(salvaged > 0, "nothing was ever opened");
}

#[test]
fn a_store_that_was_not_closed_is_salvaged_without_a_repair_in_its_file() {
    let (installation, values) = sealed_before();
    installation.serve().kill();
    let before = installation.files();
    let daemon = installation.serve_salvage();
    opens(&daemon, "default", &values.default, b"default");
    daemon.kill();
    assert_eq!(installation.files(), before);
}

#[test]
fn nothing_is_made_where_there_is_no_store() {
    let mut installation = Installation::new();
    installation.create = true;
    let before = installation.files();
    let refused = Daemon::refused(&installation.command("serve", &["--salvage"]));
    refused.expect(66).saying(&["no store at"]);
    assert_eq!(installation.files(), before);
    std::fs::remove_file(installation.path("master.key")).unwrap();
    let before = installation.files();
    let dev = ["serve", "--dev", installation.directory().to_str().unwrap(), "--salvage"];
    Daemon::refused(&crate::harness::Invocation::new(dev)).expect(66);
    assert_eq!(installation.files(), before);
}

#[test]
fn a_file_that_is_no_store_has_the_remedy_of_damage_and_salvage_never_advises_itself() {
    let installation = Installation::made();
    let whole = std::fs::read(installation.store()).unwrap();
    for bytes in [&b""[..], b"not a store", &whole[..whole.len() / 2], &whole[..100]] {
        installation.write_private("keyd.redb", bytes);
        let before = installation.files();
        let remedies = ["`servos-keyd restore --config ", "`servos-keyd serve --config ", "--salvage`"];
        installation.serve_refused().expect(74).saying(&remedies);
        let run = installation.command("serve", &["--salvage"]);
        let refused = Daemon::refused(&run).expect(74).not_saying(&["--salvage`"]);
        refused.saying(&["Only a backup helps", "`servos-keyd restore --config "]);
        assert_eq!(installation.files(), before);
    }
}

#[test]
fn a_record_that_does_not_open_is_listed_without_advice() {
    let (installation, values) = sealed_before();
    let name = version_of(&values.default);
    installation.change_records(|s| *s.records.get_mut(&name).unwrap().last_mut().unwrap() ^= 1);
    installation.serve_salvage().stop().expect(0).saying(&["salvage.unopened"]).not_saying(&["--salvage`"]);
}
