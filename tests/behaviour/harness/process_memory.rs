//! The memory of another process, as root sees it: its mappings, what can be read of them, and where a key lies.
//!
//! Must never take a mapping that could not be read for one in which nothing was found.
//! Used by tests of memory.

#[path = "../../memory_scan/ending.rs"]
mod ending;
#[path = "../../memory_scan/mapping.rs"]
mod mapping;

pub use ending::run_to_its_end;
pub use mapping::Mapping;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The size of a key.
pub const KEY_BYTES: usize = 32;

/// Every mapping of a process.
pub fn mappings(process: u32) -> Vec<Mapping> {
    mapping::mappings(process).unwrap_or_else(|error| panic!("process {process}: {error}"))
}

/// How much of it is locked, in bytes.
pub fn locked_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What lies in a range, through /proc/PID/mem.
///
/// # Errors
/// EIO where memfd_secret hides it, or nothing is mapped.
pub fn read(process: u32, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    File::open(format!("/proc/{process}/mem"))?.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// The keys in locked pages that root can read: each slot that is in use.
pub fn keys_in_locked_pages(process: u32) -> Vec<Vec<u8>> {
    let locked = mappings(process).into_iter().filter(Mapping::is_locked);
    let bytes = locked.flat_map(|mapping| read(process, &mapping.range).unwrap()).collect::<Vec<u8>>();
    bytes.chunks(KEY_BYTES).filter(|slot| slot.iter().any(|byte| *byte != 0)).map(<[u8]>::to_vec).collect()
}

/// Where any of these keys begins.
pub fn places_of(keys: &[Vec<u8>], bytes: &[u8]) -> Vec<usize> {
    assert!(!keys.is_empty(), "nothing to look for");
    let mut begins = [false; 256];
    keys.iter().for_each(|key| begins[usize::from(key[0])] = true);
    let candidates = bytes.iter().enumerate().filter(|(_, byte)| begins[usize::from(**byte)]).map(|(at, _)| at);
    candidates.filter(|at| keys.iter().any(|key| bytes[*at..].starts_with(key))).collect()
}

/// How many bytes a process has that can be read, and each place where one of these keys begins.
pub fn search(process: u32, keys: &[Vec<u8>]) -> (usize, Vec<String>) {
    let (mut bytes_read, mut found) = (0, Vec::new());
    let readable = mappings(process).into_iter().filter(|mapping| {
        // The kernel's own pages, which hold no memory of the process.
        mapping.access.starts_with('r') && !mapping.name.starts_with("[v") && !mapping.is_secret()
    });
    for mapping in readable {
        let bytes = read(process, &mapping.range).unwrap_or_else(|error| panic!("{mapping:?}: {error}"));
        bytes_read += bytes.len();
        found.extend(places_of(keys, &bytes).iter().map(|at| format!("{at:#x} of {mapping:?}")));
    }
    (bytes_read, found)
}

#[test]
fn a_key_is_found_wherever_it_begins() {
    let keys = vec![vec![7; KEY_BYTES], vec![9; KEY_BYTES]];
    for at in [0, 1, 31, 100 - KEY_BYTES] {
        let mut bytes = vec![0; 100];
        bytes[at..at + KEY_BYTES].fill(9);
        assert_eq!(places_of(&keys, &bytes), [at]);
        bytes[at + 5] = 0;
        assert_eq!(places_of(&keys, &bytes), [0; 0]);
    }
}
