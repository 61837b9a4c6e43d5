//! Files that are named on a command line and read whole: regular ones, and what a shell's `<(...)` makes.
//!
//! Must never wait for a FIFO that nobody writes to.
//! Called by whatever takes backups, exports or paper in files.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A FIFO without a writer does not block: it is empty. One that has a writer, as `<(...)` of a shell, is waited for.
///
/// # Errors
/// What the kernel says.
pub fn opened(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))?;
    Ok(file)
}
