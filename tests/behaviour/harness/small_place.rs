//! A small file system of the test's own, which it may fill up or mount read-only.
//!
//! Must never mount but in a mount namespace of its own.
//! Used by tests of a disk without room, and of one that takes no writes.

use super::not_run;
use std::path::PathBuf;
use std::process::Command;

/// The variable that says where it is mounted.
const PLACE: &str = "SMALL_PLACE";

/// Mounts it and becomes the program behind the two arguments.
const MOUNT: &str = r#"mount -t tmpfs -o size=24m,mode=0700 none "$1" && shift && exec "$@""#;

/// What makes a mount namespace: as root, or as one who is root in a namespace of users.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Runs an ignored test of this binary in a namespace where a small file system is mounted. Answers what it said; where
/// nothing can be mounted, says that this test did not run.
pub fn in_a_small_place(test: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let within = |namespace: &[&str], program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["/bin/sh", "-c", MOUNT, "sh"]).arg(place.path()).args(program);
        command.env(PLACE, place.path()).output()
    };
    let possible = |namespace: &&&[&str]| within(namespace, &["true"]).is_ok_and(|output| output.status.success());
    let Some(namespace) = NAMESPACES.iter().find(possible) else {
        not_run("this process can mount nothing, not even in a namespace of its own");
        return String::new();
    };
    let this = std::env::current_exe().unwrap();
    let run = [this.to_str().unwrap(), "--exact", test, "--ignored", "--nocapture"];
    let output = within(namespace, &run).unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    said
}

/// Where it is mounted, in the test that was run so.
pub fn small_place() -> PathBuf {
    PathBuf::from(std::env::var_os(PLACE).expect("run by another test, which mounts it"))
}
