//! The whole way once: a store is made, a secret sealed and opened, the daemon stopped.
//!
//! Must never hold what a module of its own is for. Run by `cargo test`.

use crate::harness::{Installation, block_on, cell, name};

#[test]
fn a_fresh_installation_seals_and_opens_and_stops() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let client = daemon.component();
        let sealed = client.encrypt(&name("ssh-keys"), b"a secret", &cell("1")).await.unwrap();
        let opened = client.decrypt(&name("ssh-keys"), &sealed.ciphertext, &cell("1")).await.unwrap();
        assert_eq!(opened.plaintext.as_slice(), b"a secret");
        let store = daemon.admin().status().await.unwrap().store.unwrap();
        assert_eq!(store.generation, 1);
    });
    let stopped = daemon.stop().expect(0);
    assert!(stopped.was_ready);
}
