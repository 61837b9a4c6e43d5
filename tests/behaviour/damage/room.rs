//! A store on a file system that is mounted read-only: nothing is served from it but by salvage, which needs to write nothing.
//!
//! Must never mount but in a mount namespace of its own. Run by `cargo test`.

use super::Scene;
use crate::harness::not_run;
use std::process::Command;

/// The variable that says where the mount is.
const PLACE: &str = "DAMAGE_ROOM";

/// Mounts a small file system and becomes the program behind the two arguments.
const MOUNT: &str = r#"mount -t tmpfs -o size=24m,mode=0700 none "$1" && shift && exec "$@""#;

/// What makes a mount namespace: as root, or as one who is root in a namespace of users.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

#[test]
#[ignore = "run by a_store_on_a_read_only_mount_is_refused_and_can_be_salvaged, in a namespace of its own"]
fn read_only() {
    let place = std::path::PathBuf::from(std::env::var_os(PLACE).expect("run by another test, which mounts it"));
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
    let place = tempfile::tempdir().unwrap();
    let within = |namespace: &[&str], program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["/bin/sh", "-c", MOUNT, "sh"]).arg(place.path()).args(program);
        command.env(PLACE, place.path()).output()
    };
    let possible = |namespace: &&&[&str]| within(namespace, &["true"]).is_ok_and(|output| output.status.success());
    let Some(namespace) = NAMESPACES.iter().find(possible) else {
        return not_run("this process can mount nothing, not even in a namespace of its own");
    };
    let this = std::env::current_exe().unwrap();
    let run = [this.to_str().unwrap(), "--exact", "damage::room::read_only", "--ignored", "--nocapture"];
    let output = within(namespace, &run).unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
