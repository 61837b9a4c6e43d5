//! Another process as root sees it: its maps, the bytes in them, and which of its threads a stack belongs to.
//!
//! Must never write to it, nor take a page that could not be read for one that holds nothing. Called by `scan`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

const PAGE_BYTES: usize = 4096;
/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// One map. Source: proc_pid_smaps(5).
#[derive(Clone, Debug, Default)]
pub struct Map {
    pub start: u64,
    pub end: u64,
    pub access: String,
    pub name: String,
    /// The kernel's flags: `lo` is locked.
    pub flags: Vec<String>,
}

impl Map {
    pub fn is_readable(&self) -> bool {
        self.access.starts_with('r')
    }

    /// Memory of memfd_secret(2), which not even root may read.
    pub fn is_secret(&self) -> bool {
        self.name.starts_with("/secretmem")
    }

    /// Locked memory that root may read: keys may lie there, where memfd_secret is not to be had.
    pub fn is_plainly_locked(&self) -> bool {
        !self.is_secret() && self.flags.iter().any(|flag| flag == "lo")
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.end - self.start).unwrap_or(usize::MAX)
    }
}

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

    /// # Errors
    /// It has ended.
    pub fn maps(&self) -> io::Result<Vec<Map>> {
        let mut maps: Vec<Map> = Vec::new();
        for line in fs::read_to_string(format!("/proc/{}/smaps", self.id))?.lines() {
            if let Some(map) = header(line) {
                maps.push(map);
            } else if let (Some(flags), Some(map)) = (line.strip_prefix("VmFlags:"), maps.last_mut()) {
                map.flags = flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(maps)
    }

    /// All that can be read of a map.
    pub fn read(&self, map: &Map) -> Content {
        let mut content = Content { bytes: vec![0; map.bytes()], refused: 0, failed: Vec::new() };
        let mut address = map.start;
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

/// `start-end access offset device inode   name`
fn header(line: &str) -> Option<Map> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let (start, end, access) = (hex(start)?, hex(end)?, words.next()?.to_owned());
    let name = words.skip(3).collect::<Vec<_>>().join(" ");
    let name = if name.is_empty() { "anonymous".to_owned() } else { name };
    Some(Map { start, end, access, name, flags: Vec::new() })
}
