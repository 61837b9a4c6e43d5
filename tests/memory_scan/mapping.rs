//! What another process has mapped, as the kernel tells root.
//!
//! Must never leave out a mapping. Shared by the memory scan and by the behaviour tests of memory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;

/// One mapping, with the kernel's flags of it. Source: proc_pid_smaps(5).
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Where it lies.
    pub range: Range<u64>,
    /// As in `rw-p`.
    pub access: String,
    /// A file, or what the kernel calls it; `anonymous` if it has no name.
    pub name: String,
    /// As in `lo`, `dd`, `dc`.
    pub flags: BTreeSet<String>,
}

impl Mapping {
    /// Whether it may not be swapped.
    pub fn is_locked(&self) -> bool {
        self.flags.contains("lo")
    }

    /// Whether memfd_secret made it: not even root may read it.
    pub fn is_secret(&self) -> bool {
        self.name.starts_with("/secretmem")
    }
}

/// Every mapping of a process.
///
/// # Errors
/// It has ended, may not be looked at, or the kernel says something else than it should.
pub fn mappings(process: u32) -> io::Result<Vec<Mapping>> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string(format!("/proc/{process}/smaps"))?.lines() {
        if let Some(mapping) = header(line) {
            found.push(mapping);
        } else if let (Some(flags), Some(mapping)) = (line.strip_prefix("VmFlags:"), found.last_mut()) {
            mapping.flags = flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    if found.is_empty() { Err(io::Error::other("a process without memory")) } else { Ok(found) }
}

/// `start-end access offset device inode   name`
fn header(line: &str) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let (range, access) = (hex(start)?..hex(end)?, words.next()?.to_owned());
    let name = words.skip(3).collect::<Vec<_>>().join(" ");
    let name = if name.is_empty() { "anonymous".to_owned() } else { name };
    Some(Mapping { range, access, name, flags: BTreeSet::new() })
}
