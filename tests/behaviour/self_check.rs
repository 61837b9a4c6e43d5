//! The daemon's own check of its store and newest backup: what it finds, what it mends, and who is told.
//!
//! Must never wait for a check that is not due within moments. Run by `cargo test`.

use crate::fsck::{flip, flip_in_a_record, newest};
use crate::harness::wire::health_of;
use crate::harness::{Daemon, Installation, KEYD, block_on, cell, eventually, name};
use servos_keyd::client::error::Error;
use servos_keyd::proto::v1::{SelfCheck, SelfCheckResult};

/// One that checks itself all the time.
fn serving() -> (Installation, Daemon) {
    let mut installation = Installation::made();
    installation.self_check = Some("1s");
    let daemon = installation.serve();
    (installation, daemon)
}

fn self_check(daemon: &Daemon) -> SelfCheck {
    block_on(async { daemon.admin().status().await }).unwrap().self_check.unwrap()
}

/// Waits for a check that began after now, and for this result.
#[track_caller]
fn next_check(daemon: &Daemon, what: &str, is_it: impl Fn(&SelfCheck) -> bool) -> SelfCheck {
    eventually(what, || is_it(&self_check(daemon)));
    self_check(daemon)
}

fn is(result: SelfCheckResult) -> impl Fn(&SelfCheck) -> bool {
    move |check| check.result() == result
}
