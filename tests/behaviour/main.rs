//! What people meet: the real binaries on real files and sockets, one module for each behaviour.
//!
//! Must never reach behind the binaries but to make a state that only a fault leaves. Run by `cargo test`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stderr,
    reason = "a test that meets what it does not expect ends there"
)]

mod backup;
mod calls;
mod canary;
mod crash;
mod creation;
mod damage;
mod dev;
mod doctor;
mod drills;
mod exit_codes;
mod faults;
mod field_limits;
mod fsck;
mod full_disk;
mod handed_over;
mod harness;
mod key_files;
mod keyctl_offline;
mod keyctl_rotate;
mod keyctl_rotate_sources;
mod keys;
mod many_users;
mod mark;
mod memory_faults;
mod memory_pressure;
mod memory_wiped;
mod metrics;
mod other_uses;
mod ownership;
mod panics;
mod pending_sources;
mod recovery;
mod removed_files;
mod restore;
mod restore_drill;
mod restore_export;
mod restore_kept;
mod restore_missing;
mod rotate_run;
mod rotate_run_meddled;
mod rotation_calls;
mod rotation_file;
mod rotation_log;
mod rotation_repeats;
mod rotation_restore;
mod rotation_starts;
mod salvage;
mod sandbox;
mod secrecy;
mod self_check;
mod service_manager;
mod slips;
mod smoke;
mod sockets;
mod strangers;
mod threads;
#[cfg(target_arch = "x86_64")]
mod traced;
mod watching;

/// What cannot run elsewhere says so.
#[cfg(not(target_arch = "x86_64"))]
mod traced {
    #[test]
    fn every_thread_of_the_daemon_is_refused_what_it_has_no_need_of() {
        crate::harness::not_run("system calls of another process are only made on x86_64");
    }
}
