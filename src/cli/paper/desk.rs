//! Where somebody sits who has a key on paper.
//!
//! Must never hold what is typed: it passes through.
//! Made by the commands that read paper, and used by `paper`.

use std::io::{Read, Write};

/// Where somebody types, and where they are spoken to.
pub struct Desk<'d> {
    /// Standard input, without a buffer that is never wiped.
    pub input: &'d mut dyn Read,
    /// Standard error.
    pub errors: &'d mut dyn Write,
    /// Whether a person sits at the input.
    pub input_is_terminal: bool,
}
