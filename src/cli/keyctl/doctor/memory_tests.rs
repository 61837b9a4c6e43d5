//! Tests of `memory`.
//!
//! Must never depend on the kernel that they run on.
//! Run by `cargo test`.

use super::*;
use crate::cli::keyctl::doctor::planted::Planted;

#[test]
fn a_limit_that_is_too_low_is_told_with_the_one_that_is_enough() {
    for (value, expected) in [
        ("64K", Some(Severity::Problem)),
        ("0", Some(Severity::Problem)),
        ("65536:infinity", Some(Severity::Problem)),
        ("4M", Some(Severity::Advice)),
        ("8M", None),
        ("infinity", None),
    ] {
        let planted = Planted::well().unit(&format!("LimitMEMLOCK={value}\n"));
        match expected {
            Some(severity) => {
                assert_eq!(planted.sees("memlock-limit", "LimitMEMLOCK=8M").severity, severity, "{value}")
            }
            None => assert!(planted.ids().is_empty(), "{value}"),
        }
    }
    let odd = Planted::well().unit("LimitMEMLOCK=much\n");
    assert!(odd.not_made().contains("LimitMEMLOCK=much is not understood"));
}

#[test]
fn the_limit_of_the_shell_counts_where_a_daemon_would_be_started_from_it() {
    let mut planted = Planted::silent();
    (planted.case.machine.memlock_bytes, planted.case.machine.euid) = (Some(65536), 4242);
    planted.sees("memlock-limit", "ulimit -l 8192");
    planted.case.machine.memlock_bytes = None;
    assert!(!planted.ids().contains(&"memlock-limit"));
}

#[test]
fn a_kernel_without_memfd_secret_is_told_with_how_it_is_booted() {
    let mut planted = Planted::well();
    planted.status().memory_protection = MemoryProtection::Mlock.into();
    planted.status().warnings = vec![NO_MEMFD_SECRET.to_owned()];
    planted.case.machine.memfd_secret = Err("memfd_secret: ENOSYS".to_owned());
    let found = planted.sees("memfd-secret-missing", "secretmem.enable=1");
    assert_eq!(found.severity, Severity::Advice);
    assert!(found.text.contains("ENOSYS"), "{}", found.text);
    assert_eq!(planted.ids(), ["memfd-secret-missing"]);
    planted.case.machine.memfd_secret = Ok(());
    let found = planted.sees("memfd-secret-missing", "uname -r");
    assert!(found.text.contains("the daemon is not"), "{}", found.text);
    // A start that requires it is refused.
    let mut planted = Planted::silent();
    planted.write("proc/cmdline", "ro secretmem.enable=0 quiet");
    planted.config().memory.require_memfd_secret = true;
    let found = planted.sees("memfd-secret-missing", "s/ *secretmem.enable=0//");
    assert_eq!(found.severity, Severity::Problem);
    assert!(found.text.contains("booted with secretmem.enable=0"), "{}", found.text);
}

#[test]
fn limits_are_read_as_systemd_reads_them() {
    for (text, expected) in [
        ("8M", Some(Limit::Bytes(8 << 20))),
        ("64K", Some(Limit::Bytes(65536))),
        ("1G:2G", Some(Limit::Bytes(1 << 30))),
        ("65536", Some(Limit::Bytes(65536))),
        ("infinity", Some(Limit::None)),
        ("", None),
        ("M", None),
        ("8Q", None),
    ] {
        assert_eq!(bytes(text), expected, "{text}");
    }
}
