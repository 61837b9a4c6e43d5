//! The memory that keys lie in: the limit on it, and whether the kernel closes it to root.
//!
//! Must never call memory protected that the daemon does not have.
//! Called by `doctor`.

use super::case::Case;
use super::finding::{self, Report, Severity};
use crate::cli::service;
use crate::operations::status::NO_MEMFD_SECRET;
use crate::proto::v1::MemoryProtection;

/// What the daemon's messages advise.
const ADVISED_BYTES: u64 = 8 << 20;
/// 10,000 keys, and what a start needs beside them.
const NEEDED_BYTES: u64 = 1 << 20;

/// Looks at the limit and at memfd_secret.
pub(super) fn check(case: &Case, report: &mut Report) {
    limit(case, report);
    let is_required = case.config().is_some_and(|config| config.memory.require_memfd_secret);
    if is_closed_to_root(case) {
        return;
    }
    let reason = match &case.machine.memfd_secret {
        _ if case.machine.is_booted_with("secretmem.enable=0") => {
            "the kernel was booted with secretmem.enable=0".to_owned()
        }
        Err(reason) => reason.clone(),
        Ok(()) => "this process is given it, and the daemon is not: see SystemCallFilter= of its unit".to_owned(),
    };
    let severity = if is_required && case.status().is_none() { Severity::Problem } else { Severity::Advice };
    let text = format!("{NO_MEMFD_SECRET} ({reason})");
    report.add(finding::MEMFD_SECRET_MISSING, severity, text, Some(secretmem(case)));
}

/// Whether root is kept out of the memory of keys: by the daemon's own word, else as it would be for one started here.
pub(super) fn is_closed_to_root(case: &Case) -> bool {
    match case.status().map(|status| status.memory_protection()) {
        Some(MemoryProtection::MemfdSecret) => true,
        Some(MemoryProtection::Mlock) => false,
        Some(MemoryProtection::Unspecified) | None => {
            case.machine.memfd_secret.is_ok() && !case.machine.is_booted_with("secretmem.enable=0")
        }
    }
}

fn secretmem(case: &Case) -> String {
    let off = case.machine.is_booted_with("secretmem.enable=0");
    let remove = if off { "s/ *secretmem.enable=0//; " } else { "" };
    format!(
        "uname -r; sed -i '{remove}s/^GRUB_CMDLINE_LINUX=\"/&secretmem.enable=1 /' /etc/default/grub && update-grub # and \
         then reboot, when that does no harm"
    )
}

fn limit(case: &Case, report: &mut Report) {
    if let Err(reason) = &case.memory {
        report.problem(finding::MEMLOCK_LIMIT, reason.clone(), "ulimit -l 8192");
    }
    match &case.unit {
        Ok(unit) => match unit.memory_lock.as_deref() {
            None => {}
            Some(value) => match bytes(value) {
                Some(Limit::Bytes(limit)) if limit < ADVISED_BYTES => {
                    let text = format!(
                        "The daemon's unit sets LimitMEMLOCK={value}; 8M is enough for every key there can be."
                    );
                    let severity = if limit < NEEDED_BYTES { Severity::Problem } else { Severity::Advice };
                    report.add(
                        finding::MEMLOCK_LIMIT,
                        severity,
                        text,
                        Some(service::drop_in("memlock", "LimitMEMLOCK=8M")),
                    );
                }
                Some(_) => {}
                None => report.not_made(format!("the limit of locked memory: LimitMEMLOCK={value} is not understood")),
            },
        },
        // Whoever starts the daemon from this shell gives it this shell's limit; root has none.
        Err(_) if case.status().is_none() && case.machine.euid != 0 => {
            if let Some(limit) = case.machine.memlock_bytes.filter(|limit| *limit < NEEDED_BYTES) {
                let text = format!("A daemon that is started from this shell may lock {limit} bytes of memory.");
                report.problem(finding::MEMLOCK_LIMIT, text, "ulimit -l 8192");
            }
        }
        Err(_) => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Limit {
    Bytes(u64),
    None,
}

/// Source: systemd.exec(5): `soft:hard`, with units of 1024.
fn bytes(value: &str) -> Option<Limit> {
    let soft = value.split(':').next()?.trim();
    if soft == "infinity" {
        return Some(Limit::None);
    }
    let digits = soft.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match soft.get(digits.len()..)? {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    Some(Limit::Bytes(digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)?))
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
