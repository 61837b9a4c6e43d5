//! A daemon in a container: one whose start may wait for its own secrets, and one whose store goes with it.
//!
//! Must never take a container for a mistake by itself: it is one only where something in it waits for the daemon.
//! Called by `doctor`.

use super::case::Case;
use super::finding::{self, Report, Severity};
use super::machine::Machine;
use crate::config::key_source_error::shell_quoted;
use crate::store::durable::directory_of;
use std::io::ErrorKind;
use std::path::Path;

/// Sockets by which a container starts other containers.
const RUNTIME_SOCKETS: [&str; 5] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
];

/// Looks whether this is a container, and what it waits for.
pub(super) fn check(case: &Case, report: &mut Report) {
    let machine = &case.machine;
    let Some(container) = container(machine, report) else { return };
    let run_on_the_host = "install -d -m 750 -g servos /run/servos && systemctl enable --now servos-keyd # on the host; give \
                           the containers the file /run/servos/keyd.sock, and not its directory, in which the operators' socket lies";
    match RUNTIME_SOCKETS.into_iter().find(|socket| machine.has(socket)) {
        Some(socket) => {
            let text = format!(
                "This is a container ({container}) that is given the socket of a container runtime ({socket}): what starts \
                 containers with it asks the daemon for their secrets. If the daemon runs in a container too, each waits for \
                 the other after a reboot, and neither starts."
            );
            report.problem(finding::IN_CONTAINER, text, run_on_the_host);
        }
        None => {
            let text = format!(
                "This is a container ({container}). If the daemon runs in it, nothing that this container's start needs (the \
                 key of a volume, a registry's password, a compose secret) may be a secret that the daemon holds."
            );
            report.advice(finding::IN_CONTAINER, text, run_on_the_host);
        }
    }
    if let Some(places) = case.places()
        && (machine.mount)(directory_of(&places.store)).is_some_and(|mount| mount.is_overlay)
    {
        let directory = directory_of(&places.store);
        let text = format!(
            "The store's directory {} lies in the container's own layer, not in a volume or a directory of the host.",
            directory.display()
        );
        report.add(finding::STORE_IN_CONTAINER, Severity::Problem, text, keep_outside(&container, directory));
    }
}

/// The command that gives a container of this kind a place that outlives it; none of a kind that has no one command.
fn keep_outside(container: &str, directory: &Path) -> Option<String> {
    let directory = shell_quoted(directory);
    match container {
        "docker" | "podman" => Some(format!(
            "{container} volume create servos-keyd # on the host; then {container} run --volume servos-keyd:{directory}, or \
             volumes: in compose.yaml"
        )),
        "systemd-nspawn" => Some(format!(
            "mkdir -p /srv/servos-keyd # on the host; then systemd-nspawn --bind=/srv/servos-keyd:{directory}, or Bind= in \
             the machine's .nspawn file"
        )),
        _ => None,
    }
}

/// The kind of container that this is, if it is one.
fn container(machine: &Machine, report: &mut Report) -> Option<String> {
    if machine.has("/.dockerenv") {
        return Some("docker".to_owned());
    }
    if machine.has("/run/.containerenv") {
        return Some("podman".to_owned());
    }
    // What systemd found at its own start.
    if let Ok(name) = machine.read("/run/systemd/container") {
        return Some(name.trim().to_owned());
    }
    let environment = match machine.read("/proc/1/environ") {
        Ok(environment) => environment,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            report.not_made(format!("whether this is a container: /proc/1/environ: {error}"));
            return None;
        }
    };
    environment.split('\0').find_map(|variable| variable.strip_prefix("container=")).map(str::to_owned)
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
