//! An installation in a directory of its own, and the binaries run on it with everything they say captured.
//!
//! Must never wait without a deadline, or let a test that could not run look like one that passed.
//! Used by every module of this binary.

mod daemon;
mod files;
mod held_thread;
mod in_process;
mod installation;
mod many_versions;
mod marker;
pub mod process_memory;
mod records;
#[path = "../../memory_scan/refusing.rs"]
mod refusing;
mod restricted;
mod rotating;
pub mod rotation;
mod run;
mod sandboxed;
mod small_place;
mod stub;
pub mod wire;

pub use daemon::{Daemon, eventually, is_there};
pub use files::{Files, snapshot_of_files};
pub use held_thread::Held;
pub use in_process::InProcess;
pub use installation::{Installation, KeyFile, beside};
pub use many_versions::fill_with_versions;
pub use marker::Marker;
pub use records::fingerprint;
pub use refusing::refuse;
pub use restricted::Restricted;
pub use rotating::{legacy_value, rotation_complete, seals, seals_in};
pub use run::{Invocation, KEYCTL, KEYD, Outcome, wait};
pub use sandboxed::{Thread, has_landlock, sandbox, threads};
pub use small_place::{in_a_small_place, small_place};
pub use stub::admin_stub;

use servos_keyd::client::context::Context;
use servos_keyd::client::key_name::KeyName;
use std::future::Future;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long anything may take before it counts as stuck: the machine may be slow.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The user nobody: has no right that others lack, and limits bind it.
pub const NOBODY: u32 = 65_534;

/// How many tests could not run here.
static NOT_RUN: AtomicUsize = AtomicUsize::new(0);

/// What a program printed for programs.
#[track_caller]
pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// Whether this process is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says, past the capture of passing tests, that this one did not run; counts it.
pub fn not_run(reason: &str) {
    let count = NOT_RUN.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "NOT RUN ({count} so far): {test}: {reason}");
}

/// Runs a future to its end. A client belongs to the runtime of its first call: make it inside.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// A key's name.
pub fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

/// The context of one cell.
pub fn cell(id: &str) -> Context {
    Context::new("table", "servers").with("id", id).with("column", "ssh_private_key")
}

/// Lower hex.
pub fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    use base64ct::Encoding as _;
    base64ct::Base64::encode_string(bytes)
}

/// 32 bytes that no test shares: a key nobody would take for a placeholder.
pub fn random_key() -> [u8; 32] {
    let mut bytes = [0; 32];
    servos_keyd::sys::random::fill(&mut bytes).unwrap();
    // Never a byte that prints at the front: a key of printable bytes alone is refused.
    bytes[0] |= 0x80;
    bytes
}
