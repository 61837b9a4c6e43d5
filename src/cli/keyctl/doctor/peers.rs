//! Who can reach the daemon: the group's members, the users that were named, and users that are not mapped.
//!
//! Must never take a user for one that can connect because it could not be looked up.
//! Called by `doctor`.

use super::case::Case;
use super::finding::{self, Report};
use crate::cli::service::{self, USER as SERVICE_USER};
use std::os::unix::fs::MetadataExt as _;

/// Source: `user_namespaces(7)`. The map of a process in the first namespace.
const WHOLE_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// Looks at the group, the users, and the map of users.
pub(super) fn check(case: &Case, report: &mut Report) {
    unmapped(case, report);
    let Some(config) = case.config() else {
        return report.not_made(format!("who is in the socket's group: {}", case.unconfigured()));
    };
    let Some((name, _)) = case.socket_group() else {
        if !case.users.is_empty() {
            report.not_made("whether the users can connect: socket.group names no group");
        }
        return;
    };
    let group = match (case.machine.group)(name) {
        Ok(Some(group)) => group,
        // That it is missing is told with the socket.
        Ok(None) => return,
        Err(reason) => return report.not_made(format!("who is in the group {name}: {reason}")),
    };
    if !has_members(case, &group.members) && case.users.is_empty() && !has_it_for_their_own(case, group.gid) {
        let text = format!("No user is in the group {name}, which may open the components' socket.");
        report.advice(finding::GROUP_EMPTY, text, format!("usermod -aG {name} USER"));
    }
    let gid = config.socket.path.symlink_metadata().map_or(group.gid, |socket| socket.gid());
    for user in &case.users {
        match (case.machine.user)(user) {
            Ok(Some(found)) if found.uid == 0 => {}
            Ok(Some(found)) if found.gids.contains(&gid) || found.gids.contains(&group.gid) => {
                if let Some(process) = without_group(case, found.uid, [gid, group.gid]) {
                    let text = format!(
                        "{user} is in the group {name}, and its process {process} is not: it began before the user was added."
                    );
                    let mend = format!("systemctl status {process} # names the unit to restart");
                    report.advice(finding::USER_NOT_IN_GROUP, text, mend);
                }
            }
            Ok(Some(_)) => {
                let text = format!(
                    "The user {user} is not in the group {name}, and cannot open {}. A process that runs already must be \
                     started anew after it was added.",
                    config.socket.path.display()
                );
                report.problem(finding::USER_NOT_IN_GROUP, text, format!("usermod -aG {name} {user}"));
            }
            Ok(None) => {
                let text = format!("There is no user {user}.");
                let mend = format!(
                    "getent passwd # if it is to be one of these, name that; if it is to be made: useradd --system --groups {name} \
                     {user}"
                );
                report.problem(finding::USER_NOT_IN_GROUP, text, mend);
            }
            Err(reason) => report.not_made(format!("which groups {user} is in: {reason}")),
        }
    }
}

/// Whether a user is in the group but the daemon's own, which the package puts there.
fn has_members(case: &Case, members: &[String]) -> bool {
    let daemon = case.daemon_ids().map(|(uid, _)| uid).filter(|uid| *uid != 0);
    let is_daemon = |name: &String| {
        name == SERVICE_USER || (case.machine.user)(name).ok().flatten().is_some_and(|user| Some(user.uid) == daemon)
    };
    members.iter().any(|name| !is_daemon(name))
}

/// Whether a user has the group for its own, but the daemon's user, who has it too.
fn has_it_for_their_own(case: &Case, gid: u32) -> bool {
    let daemon = case.daemon_ids().map(|(uid, _)| uid);
    case.machine.text("/etc/passwd").lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, its, ..] = fields.as_slice() else { return false };
        its.parse() == Ok(gid) && *name != SERVICE_USER && uid.parse().ok() != daemon
    })
}

/// A process of this user that has none of the groups. Source: `proc_pid_status(5)`.
fn without_group(case: &Case, uid: u32, gids: [u32; 2]) -> Option<u32> {
    let processes = std::fs::read_dir(case.machine.at("/proc")).ok()?;
    let mut ids: Vec<u32> = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter().find(|id| {
        let status = case.machine.text(&format!("/proc/{id}/status"));
        let numbers = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        // The second is the effective one.
        let is_theirs = numbers("Uid:").get(1) == Some(&uid);
        is_theirs && !numbers("Groups:").iter().chain(&numbers("Gid:")).any(|its| gids.contains(its))
    })
}

fn unmapped(case: &Case, report: &mut Report) {
    if let Ok(unit) = &case.unit
        && let Some(value) = &unit.private_users
    {
        let text = format!(
            "The daemon's unit sets PrivateUsers={value}: the users of components are not mapped there, and arrive as 65534."
        );
        report.problem(finding::PEERS_UNMAPPED, text, service::drop_in("users", "PrivateUsers=no"));
    }
    let map = match case.machine.read("/proc/self/uid_map") {
        Ok(map) => map,
        Err(error) => return report.not_made(format!("whether users are mapped: /proc/self/uid_map: {error}")),
    };
    let is_whole = map.lines().any(|line| line.split_ascii_whitespace().eq(WHOLE_MAP));
    if !is_whole {
        let text = "This runs in a user namespace that does not map every user (/proc/self/uid_map). A daemon that runs in it \
                    sees components from outside as 65534, and refuses them: run it where they run, or map their users.";
        report.advice(finding::PEERS_UNMAPPED, text, "cat /proc/self/uid_map");
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
