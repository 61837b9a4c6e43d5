//! The store's files removed under the running daemon: it tells, and what it holds is saved before it ends.
//!
//! Must never wait for a time to pass, but for what must be seen. Run by `cargo test`.

use crate::harness::{Installation, KEYCTL, KEYD, block_on, cell, eventually, name};
use std::fs;

#[test]
fn a_store_that_is_removed_with_its_backups_is_told_of_everywhere_and_saved_by_the_command_that_is_named() {
    let mut installation = Installation::made();
    // A self-check that runs meanwhile stands in nobody's way.
    installation.self_check = Some("1s");
    let daemon = installation.serve_for_admin();
    let sealed = block_on(async {
        // In no backup but those that are removed.
        daemon.admin().rotate_key(&name("default")).await.unwrap();
        daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap().ciphertext
    });
    fs::remove_dir_all(installation.path("backup")).unwrap();
    fs::remove_file(installation.mark()).unwrap();
    fs::remove_file(installation.store()).unwrap();
    let status = || daemon.keyctl(&["status"]).run(KEYCTL).expect(0).stdout;
    eventually("status tells", || status().contains("the open store was moved away or removed"));
    let told = status();
    assert!(told.contains("servos-keyctl backup /root/keyd-saved.skb1"), "{told}");
    assert!(told.contains("servos-keyd restore /root/keyd-saved.skb1"), "{told}");
    let metrics = || daemon.keyctl(&["metrics"]).run(KEYCTL).expect(0).stdout;
    eventually("metrics tell", || metrics().contains("\nservos_keyd_store_writable 0\n"));
    assert!(daemon.said().contains("event=\"store.failing\""), "{}", daemon.said());
    // A change, which is refused, and its consequences stand in nobody's way either.
    assert!(block_on(async { daemon.admin().rotate_key(&name("default")).await.is_err() }));
    let saved = installation.path("saved.skb1");
    daemon.keyctl(&["backup", saved.to_str().unwrap()]).run(KEYCTL).expect(0);
    daemon.stop().expect(0);
    installation.command("restore", &[saved.to_str().unwrap()]).run(KEYD).expect(0);
    let daemon = installation.serve_for_admin();
    let opened = block_on(daemon.component().decrypt(&name("default"), &sealed, &cell("1"))).unwrap();
    assert_eq!(opened.plaintext.as_slice(), b"x");
    daemon.stop().expect(0);
}

#[test]
fn backups_that_are_removed_are_noticed_at_once_and_a_store_that_is_put_back_is_gone_on_with() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let status = || daemon.keyctl(&["status"]).run(KEYCTL).expect(0).stdout;
    let away = installation.path("away");
    // Both are looked at together: when the one is noticed, the daemon has seen the other.
    fs::rename(installation.store(), &away).unwrap();
    eventually("status tells", || status().contains("moved away or removed"));
    fs::rename(&away, installation.store()).unwrap();
    eventually("the store is well", || !status().contains("moved away or removed"));
    fs::remove_dir_all(installation.path("backup")).unwrap();
    eventually("a self-check mends it", || daemon.said().contains("event=\"self_check."));
    assert!(daemon.said().contains("a new backup was written"), "{}", daemon.said());
    assert_eq!(installation.backups().len(), 1);
    daemon.stop().expect(0);
}
