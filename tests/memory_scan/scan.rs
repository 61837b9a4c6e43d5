//! One look at all of a process's memory: what was read, and what was found in it.
//!
//! Must never pass over a map that it could not read without counting it. Called by `watch`, `twin` and `control`.

use crate::aes;
use crate::known::{Class, Known};
use crate::mapping::{Mapping, mappings};
use crate::process::Process;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Something that must not be there.
#[derive(Clone, Debug)]
pub struct Finding {
    pub class: Class,
    pub what: String,
    pub address: u64,
    /// The map, and the thread whose stack it is.
    pub place: String,
}

/// What one look saw.
#[derive(Default)]
pub struct Scan {
    pub maps: usize,
    pub bytes: usize,
    /// Pages of memfd_secret that answered EIO, of how many; and those that could be read, which must be none.
    pub secret_pages: usize,
    pub secret_pages_read: usize,
    /// Bytes of locked memory without memfd_secret, where keys may lie, and how often each form of one is found there:
    /// those are no others.
    pub plainly_locked: usize,
    pub in_locked_pages: BTreeMap<String, usize>,
    /// Maps of the kernel that nobody can read: `[vvar]` and its like.
    pub kernel_maps: usize,
    /// What could not be read though it should.
    pub unread: Vec<String>,
    pub findings: Vec<Finding>,
}

impl Scan {
    pub fn count(&self, class: Class) -> usize {
        self.findings.iter().filter(|finding| finding.class == class).count()
    }

    /// How many keys, or forms and parts of them, were found in locked pages.
    pub fn count_in_locked_pages(&self) -> usize {
        self.in_locked_pages.values().sum()
    }

    /// Whether both halves of a key lie in locked pages as they are.
    pub fn has_in_locked_pages(&self, key: &str) -> bool {
        self.in_locked_pages.get(&format!("{key}, raw")).is_some_and(|halves| *halves >= 2)
    }
}

/// What was searched for schedules once is not searched again while it is the same, in whichever process it is mapped: most of it
/// never changes.
#[derive(Default)]
struct Seen(HashMap<u64, Vec<aes::Schedule>>);

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

/// How much is searched as one: what is the same is told by so much.
const PIECE_BYTES: usize = 16 << 10;

impl Seen {
    fn schedules(&mut self, bytes: &[u8]) -> Vec<aes::Schedule> {
        let mut found = Vec::new();
        for start in (0..bytes.len()).step_by(PIECE_BYTES) {
            // As far as a schedule reaches that begins in this piece.
            let end = bytes.len().min(start + PIECE_BYTES + aes::LONGEST_BYTES);
            let piece = &bytes[start..end];
            let mut hasher = DefaultHasher::new();
            piece.hash(&mut hasher);
            let here = self.0.entry(hasher.finish()).or_insert_with(|| aes::schedules(piece));
            let begin_here = here.iter().filter(|schedule| schedule.offset < PIECE_BYTES);
            found.extend(
                begin_here.map(|schedule| aes::Schedule { offset: start + schedule.offset, ..schedule.clone() }),
            );
        }
        found
    }
}

/// Reads all that can be read of a process, also what it could not read itself: a debugger can. Looks for schedules and for
/// what is known.
///
/// # Errors
/// It has ended, or may not be read.
pub fn scan(id: u32, known: &Known) -> io::Result<Scan> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let process = Process::open(id)?;
    let threads = process.threads();
    let mut scan = Scan::default();
    for map in &mappings(id)? {
        let content = process.read(map);
        let pages = content.bytes.len() / 4096;
        if map.is_secret() {
            scan.secret_pages += content.refused;
            scan.secret_pages_read += pages - content.refused;
        } else if ["[vvar]", "[vvar_vclock]", "[vsyscall]"].contains(&map.name.as_str())
            && content.refused + content.failed.len() == pages
        {
            scan.kernel_maps += 1;
            continue;
        } else if content.refused > 0 || !content.failed.is_empty() {
            let failed = content.failed.first().map(|error| format!(", {error}")).unwrap_or_default();
            scan.unread.push(format!("{} at {:#x}: {} pages EIO{failed}", map.name, map.range.start, content.refused));
        }
        scan.maps += 1;
        scan.bytes += content.bytes.len() - 4096 * (content.refused + content.failed.len());
        // Locked memory that root may read: keys may lie there, where memfd_secret is not to be had.
        let is_plainly_locked = map.is_locked() && !map.is_secret();
        if is_plainly_locked {
            scan.plainly_locked += content.bytes.len();
        }
        // Reserved and never used, mostly: nothing is in it.
        if !map.access.starts_with('r') && content.bytes.chunks(4096).all(|page| page == &[0; 4096][..page.len()]) {
            continue;
        }
        let place = |offset: usize| place(map, map.range.start + offset as u64, &threads);
        for found in seen.schedules(&content.bytes) {
            let part = if found.part { "part of an " } else { "" };
            let what = format!("{part}{}, {}", found.size.name, found.layout.name());
            let address = map.range.start + found.offset as u64;
            scan.findings.push(Finding { class: Class::Schedule, what, address, place: place(found.offset) });
        }
        for (offset, class, name) in known.find(&content.bytes) {
            // Keys alone have their place there.
            if is_plainly_locked && class == Class::Key {
                *scan.in_locked_pages.entry(name.to_owned()).or_default() += 1;
                continue;
            }
            let address = map.range.start + offset as u64;
            scan.findings.push(Finding { class, what: name.to_owned(), address, place: place(offset) });
        }
    }
    Ok(scan)
}

/// The map's name, and what the stack of a thread has there.
fn place(map: &Mapping, address: u64, threads: &[(String, Option<u64>)]) -> String {
    let base = format!("{} {:x}-{:x} {}", map.name, map.range.start, map.range.end, map.access);
    let owner = threads.iter().find(|(_, pointer)| pointer.is_some_and(|at| map.range.contains(&at)));
    match owner {
        Some((thread, Some(pointer))) if address < *pointer => format!("{base}, a dead frame on the stack of {thread}"),
        Some((thread, _)) => format!("{base}, a live frame on the stack of {thread}"),
        _ => base,
    }
}
