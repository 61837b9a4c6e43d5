//! Tests of `rotation`.
//!
//! Must never leave it open which command is for whom.
//! Run by `cargo test`.

use crate::cli::keyctl::doctor::case::Claimed;
use crate::cli::keyctl::doctor::planted::{KEY, OTHER, Planted, chmod, fingerprint};
use crate::proto::v1::Rotation;

#[test]
fn a_new_key_is_left_over_only_where_no_rotation_is_under_way() {
    let mut planted = Planted::well();
    let next = planted.write("master.key.next", OTHER);
    let aside = format!("mv --backup=numbered {0} {0}.unused", next.display());
    let found = planted.sees("next-key-left", "mv --backup=numbered ");
    assert!(found.text.contains("set it aside: mv ") && found.text.contains("servos-keyctl rotate begin"));
    // Where it is the one in use, and the key file holds another, it may be the only one.
    planted.write("master.key.next", KEY);
    planted.write("master.key", OTHER);
    let mend = planted.sees("next-key-left", "cp -p ").mend.unwrap();
    assert!(!mend.contains("rm "), "{mend}");
    planted.write("master.key", KEY);
    assert_eq!(planted.sees("next-key-left", "").mend.unwrap(), aside);
    // A key in quotes is one all the same, and may be the only copy.
    planted.write("master.key", OTHER);
    planted.write("master.key.next", format!("\"{KEY}\"\n"));
    assert_eq!(planted.sees("next-key-left", "").mend.unwrap(), aside);
    planted.write("master.key", KEY);
    planted.write("master.key.next", OTHER);
    let opens = vec![fingerprint(KEY), fingerprint(OTHER)];
    planted.status().rotation = Some(Rotation { opens, ..Rotation::default() });
    assert_eq!(planted.ids(), ["rotation-pending"]);
    chmod(&next, 0o644);
    planted.sees("key-exposed", "chmod 600 ");
}

#[test]
fn the_new_key_of_a_run_that_was_interrupted_is_not_removed_by_hand() {
    let planted = Planted::well();
    for name in ["master.key.next", "master.key.rotation"] {
        planted.write(name, "x");
    }
    let found = planted.sees("rotation-interrupted", "servos-keyctl rotate run --resume --key-file ");
    assert!(found.text.contains("--undo") && !found.text.contains("rm "), "{}", found.text);
    assert_eq!(planted.ids(), ["rotation-interrupted"]);
}

#[test]
fn a_rotation_that_is_pending_is_seen_in_the_store_while_no_daemon_answers() {
    let mut planted = Planted::silent();
    let fingerprints = vec![fingerprint(KEY), fingerprint(OTHER)];
    planted.case.claimed = Claimed::Keys { fingerprints, generation: 0 };
    planted.write("master.key.next", OTHER);
    planted.sees("rotation-pending", "servos-keyctl rotate status");
    assert_eq!(planted.ids(), ["no-daemon", "rotation-pending"]);
}
