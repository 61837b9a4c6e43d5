//! Where memory goes to a disk: swap, and hibernation.
//!
//! Must never take swap for encrypted because what lies below it is not known.
//! Called by `doctor`.

use super::case::Case;
use super::finding::{self, Report, Severity};
use super::machine::Machine;
use super::memory::is_closed_to_root;
use crate::cli::service;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// dm-crypt below LVM below RAID, and some to spare.
const DEEPEST: u32 = 6;

/// The targets that end in hibernation. Source: systemd.special(7).
const TARGETS: [&str; 3] = ["hibernate.target", "hybrid-sleep.target", "suspend-then-hibernate.target"];

/// Looks at both.
pub(super) fn check(case: &Case, report: &mut Report) {
    let machine = &case.machine;
    let table = match machine.read("/proc/swaps") {
        Ok(table) => table,
        Err(error) => return report.not_made(format!("swap and hibernation: /proc/swaps: {error}")),
    };
    // Source: proc_swaps(5); blanks in a name stand there as \040.
    let swaps: Vec<String> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().next())
        .map(|name| name.replace("\\040", " "))
        .collect();
    let on_disk: Vec<&String> = swaps.iter().filter(|name| !name.starts_with("/dev/zram")).collect();
    let open: Vec<&str> =
        on_disk.iter().filter(|name| !is_encrypted(machine, name)).map(|name| name.as_str()).collect();
    let is_kept_out = case.unit.as_ref().is_ok_and(|unit| unit.memory_swap_max.as_deref() == Some("0"));
    if !open.is_empty() && !is_kept_out {
        let text =
            format!("Swap is on, not encrypted as far as can be seen, and open to the daemon: {}.", open.join(", "));
        let mend = match &case.unit {
            Ok(_) => service::drop_in("swap", "MemorySwapMax=0"),
            Err(_) => format!("swapoff {} # and encrypt it, or take it out of /etc/fstab", open.join(" ")),
        };
        report.advice(finding::SWAP_UNPROTECTED, text, mend);
    }
    hibernation(case, !on_disk.is_empty(), report);
}

fn hibernation(case: &Case, has_swap: bool, report: &mut Report) {
    let machine = &case.machine;
    let can = machine.text("/sys/power/state").split_ascii_whitespace().any(|state| state == "disk");
    let is_masked = TARGETS.iter().all(|target| {
        let file = machine.at(&format!("/etc/systemd/system/{target}"));
        std::fs::read_link(file).is_ok_and(|to| to == Path::new("/dev/null"))
    });
    // Memory of memfd_secret that is in use forbids hibernation: the kernel refuses it.
    if !can || !has_swap || is_masked || is_closed_to_root(case) {
        return;
    }
    let command_line = machine.text("/proc/cmdline");
    let is_set_up = command_line.split_ascii_whitespace().any(|word| word.starts_with("resume="));
    let (severity, so) = match is_set_up {
        true => (Severity::Problem, "is set up (resume= on the kernel's command line)"),
        false => (Severity::Advice, "is possible"),
    };
    let text = format!(
        "Hibernation {so}, and keys do not lie in memory of memfd_secret, which would forbid it while it is in use."
    );
    report.add(finding::HIBERNATION, severity, text, Some(format!("systemctl mask {}", TARGETS.join(" "))));
}

/// Whether a swap device, or the file system of a swap file, lies on dm-crypt.
fn is_encrypted(machine: &Machine, name: &str) -> bool {
    let Ok(found) = machine.at(name).metadata() else { return false };
    let device = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    lies_on_crypt(&machine.at(&format!("/sys/dev/block/{major}:{minor}")), DEEPEST)
}

fn lies_on_crypt(device: &Path, depth: u32) -> bool {
    let uuid = std::fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
    if uuid.starts_with("CRYPT-") {
        return true;
    }
    let Ok(below) = std::fs::read_dir(device.join("slaves")) else { return false };
    let below: Vec<_> = below.filter_map(Result::ok).map(|entry| entry.path()).collect();
    depth > 0 && !below.is_empty() && below.iter().all(|device| lies_on_crypt(device, depth - 1))
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
