//! Tests of `container`.
//!
//! Must never depend on whether they run in one.
//! Run by `cargo test`.

use crate::cli::keyctl::doctor::finding::Severity;
use crate::cli::keyctl::doctor::machine::Mount;
use crate::cli::keyctl::doctor::planted::Planted;

#[test]
fn a_container_is_known_by_each_of_its_signs_and_told_what_must_not_wait_for_the_daemon() {
    for (file, text, kind) in [
        (".dockerenv", "", "(docker)"),
        ("run/.containerenv", "", "(podman)"),
        ("run/systemd/container", "systemd-nspawn\n", "(systemd-nspawn)"),
        ("proc/1/environ", "HOME=/\0container=lxc\0", "(lxc)"),
    ] {
        let planted = Planted::well();
        planted.write(file, text);
        let found = planted.sees("in-container", "on the host");
        assert!(found.severity == Severity::Advice && found.text.contains(kind), "{}", found.text);
    }
}

#[test]
fn a_container_that_starts_containers_waits_for_itself() {
    let planted = Planted::silent();
    planted.write(".dockerenv", "");
    planted.write("var/run/docker.sock", "");
    let found = planted.sees("in-container", "systemctl enable --now servos-keyd");
    assert_eq!(found.severity, Severity::Problem);
    assert!(found.text.contains("after a reboot, and neither starts"), "{}", found.text);
    // On the host that socket is where it belongs.
    std::fs::remove_file(planted.at(".dockerenv")).unwrap();
    assert_eq!(planted.ids(), ["no-daemon"]);
}

#[test]
fn a_store_in_the_containers_own_layer_is_told() {
    let mut planted = Planted::well();
    planted.case.machine.mount =
        Box::new(|_| Some(Mount { is_overlay: true, free_bytes: 1 << 40, ..Mount::default() }));
    assert!(planted.ids().is_empty(), "an overlay that is no container's");
    planted.write("run/systemd/container", "lxc\n");
    let report = planted.examined();
    let told = report.found.iter().find(|finding| finding.kind.id == "store-in-container").unwrap();
    assert!(told.mend.is_none() && told.text.contains("a directory of the host"), "{told:?}");
    for (file, text, command) in [
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn --bind="),
        ("run/.containerenv", "", "podman volume create"),
        (".dockerenv", "", "docker volume create"),
    ] {
        planted.write(file, text);
        planted.sees("store-in-container", command);
    }
}
