//! The commands of both binaries: the composition root.
//!
//! Must never hold what a room below could hold: it reads arguments, puts rooms together and prints.
//! Called by the binaries.

pub mod keyctl;
