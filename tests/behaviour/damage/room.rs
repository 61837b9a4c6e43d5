//! A store on a file system that is mounted read-only: nothing is served from it but by salvage, which needs to write nothing.
//!
//! Must never mount but in a mount namespace of its own. Run by `cargo test`.

use super::Scene;
use crate::harness::{in_a_small_place, small_place};
use std::process::Command;

#[test]
#[ignore = "run by a_store_on_a_read_only_mount_is_refused_and_can_be_salvaged, in a namespace of its own"]
fn read_only() {
    let place = small_place();
    let mut scene = Scene::made();
    let state = place.join("state");
    std::fs::create_dir(&state).unwrap();
    for file in ["keyd.redb", "keyd.redb.mark"] {
        std::fs::copy(scene.installation.path(file), state.join(file)).unwrap();
    }
    scene.installation.store_path = Some(state.join("keyd.redb"));
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&place).status().unwrap().success());
    };
    remount("ro");
    let refused = scene.installation.serve_refused().expect(77);
    refused.saying(&["mounted read-only: mount it writable", "serve --config ", "--salvage`"]);
    let generation = scene.installation.records().generation.to_string();
    scene.installation.accept(&["--generation", &generation, "--yes"]).expect(77).saying(&["mounted read-only"]);
    let daemon = scene.installation.serve_with(&scene.installation.command("serve", &["--salvage"]));
    for value in &scene.values {
        assert_eq!(super::opened(&daemon, value).as_deref(), Some(value.plaintext.as_slice()));
    }
    daemon.stop().expect(0);
    remount("rw");
    let daemon = scene.installation.serve();
    scene.check(&daemon, "mounted writable again");
    daemon.stop().expect(0);
}

#[test]
fn a_store_on_a_read_only_mount_is_refused_and_can_be_salvaged() {
    in_a_small_place("damage::room::read_only");
}
