//! `servos-keyctl rotate run`: what it refuses, what it keeps of a file, and what it waits for. That it survives being killed
//! is shown by `tests/rotate_run`.
//!
//! Must never pass a refusal that changed something. Run by `cargo test`.

mod kept;
mod refused;
mod waited;
