//! Another process as root sees it: the bytes in its mappings, and which of its threads a stack belongs to.
//!
//! Must never write to it, nor take a page that could not be read for one that holds nothing. Called by `scan`.

use crate::mapping::Mapping;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

const PAGE_BYTES: usize = 4096;
/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What was read of a map. A page that was refused is zeros here, and counted.
pub struct Content {
    pub bytes: Vec<u8>,
    /// Pages that were refused with EIO, and with any other error.
    pub refused: usize,
    pub failed: Vec<io::Error>,
}

/// A process.
pub struct Process {
    pub id: u32,
    memory: File,
}

impl Process {
    /// # Errors
    /// Its memory may not be opened: whoever asks is not root, or it has ended.
    pub fn open(id: u32) -> io::Result<Self> {
        Ok(Self { id, memory: File::open(format!("/proc/{id}/mem"))? })
    }

    /// All that can be read of a map.
    pub fn read(&self, map: &Mapping) -> Content {
        let mut content = Content {
            bytes: vec![0; usize::try_from(map.range.end - map.range.start).unwrap_or(usize::MAX)],
            refused: 0,
            failed: Vec::new(),
        };
        let mut address = map.range.start;
        for piece in content.bytes.chunks_mut(PIECE_BYTES) {
            if self.memory.read_exact_at(piece, address).is_err() {
                // Which page it is that refuses, and whether all do.
                for (page, at) in piece.chunks_mut(PAGE_BYTES).zip((address..).step_by(PAGE_BYTES)) {
                    match self.memory.read_exact_at(page, at) {
                        Ok(()) => {}
                        Err(error) if error.raw_os_error() == Some(libc::EIO) => content.refused += 1,
                        Err(error) => content.failed.push(error),
                    }
                }
            }
            address += piece.len() as u64;
        }
        content
    }

    /// How many of its descriptors are sockets.
    pub fn sockets(id: u32) -> usize {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return 0 };
        let links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// The name of each thread, with its stack pointer; none for one that runs at this moment.
    pub fn threads(&self) -> Vec<(String, Option<u64>)> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.id)) else { return Vec::new() };
        let of = |path: std::path::PathBuf| {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned();
            let call = fs::read_to_string(path.join("syscall")).unwrap_or_default();
            let mut words = call.split_whitespace().rev().skip(1);
            let pointer = words.next().and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
            (name, pointer)
        };
        tasks.flatten().map(|task| of(task.path())).collect()
    }
}
