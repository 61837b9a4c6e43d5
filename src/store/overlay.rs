//! A file seen through a copy in memory: what is written to it is kept here, the file stays as it is.
//!
//! Must never write to the file, nor show bytes of it that were cut off or written over.
//! Called by the redb adapter, whose database changes a file by merely opening it.

use super::disk::{self, Operation};
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: usize = 4096;
const PAGE_U64: u64 = 4096;

/// The file, and the pages that differ from it.
pub(super) struct Overlay {
    path: PathBuf,
    file: File,
    changed: Mutex<Changed>,
}

struct Changed {
    length: u64,
    /// Bytes of the file from here on are not shown: they never were, or they were cut off since.
    shown: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Overlay {
    /// Shows `file`, which was opened at `path` and need only be readable.
    pub(super) fn over(path: &Path, file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            changed: Mutex::new(Changed { length, shown: length, pages: BTreeMap::new() }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One page as the file has it, zeros where it shows nothing.
    fn original(&self, shown: u64, page: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut bytes = Box::new([0; PAGE]);
        let start = page.saturating_mul(PAGE_U64);
        let there = usize::try_from(shown.saturating_sub(start).min(PAGE_U64)).unwrap_or(PAGE);
        if let Some(there) = bytes.get_mut(..there) {
            let read = || self.file.read_exact_at(there, start);
            disk::perform(Operation::Read(&self.path), Some(&self.file), read)?;
        }
        Ok(bytes)
    }
}

/// The pieces of `length` bytes from `offset`, page by page: the page, where in it, and how many bytes.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let mut left = length;
    std::iter::from_fn(move || {
        let within = usize::try_from(at % PAGE_U64).ok()?;
        let (page, count) = (at / PAGE_U64, left.min(PAGE - within));
        at = at.checked_add(u64::try_from(count).ok()?)?;
        left -= count;
        (count > 0).then_some((page, within, count))
    })
}

fn past_the_end() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

impl Changed {
    fn holds(&self, offset: u64, length: usize) -> io::Result<()> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if end.is_some_and(|end| end <= self.length) { Ok(()) } else { Err(past_the_end()) }
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.lock();
        changed.holds(offset, out.len())?;
        let mut rest = out;
        for (page, within, count) in pieces(offset, rest.len()) {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut_checked(count).ok_or_else(past_the_end)?;
            let original;
            let bytes = match changed.pages.get(&page) {
                Some(bytes) => bytes,
                None => {
                    original = self.original(changed.shown, page)?;
                    &original
                }
            };
            piece.copy_from_slice(bytes.get(within..within + count).ok_or_else(past_the_end)?);
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changed = self.lock();
        if length < changed.length {
            changed.shown = changed.shown.min(length);
            changed.pages.retain(|page, _| page.saturating_mul(PAGE_U64) < length);
            // A page that is cut in its middle is zero there when the file grows again.
            if let (Some(bytes), Ok(within)) =
                (changed.pages.get_mut(&(length / PAGE_U64)), usize::try_from(length % PAGE_U64))
            {
                bytes.iter_mut().skip(within).for_each(|byte| *byte = 0);
            }
        }
        changed.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.lock();
        changed.holds(offset, data.len())?;
        let mut rest = data;
        for (page, within, count) in pieces(offset, data.len()) {
            let (piece, after) = rest.split_at_checked(count).ok_or_else(past_the_end)?;
            let mut bytes = match changed.pages.remove(&page) {
                Some(bytes) => bytes,
                None => self.original(changed.shown, page)?,
            };
            bytes.get_mut(within..within + count).ok_or_else(past_the_end)?.copy_from_slice(piece);
            changed.pages.insert(page, bytes);
            rest = after;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("length", &self.lock().length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn over(content: &[u8]) -> (Overlay, tempfile::NamedTempFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        (Overlay::over(file.path(), File::open(file.path()).unwrap()).unwrap(), file)
    }

    fn all(overlay: &Overlay) -> Vec<u8> {
        let mut out = vec![0xee; usize::try_from(overlay.len().unwrap()).unwrap()];
        overlay.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn it_behaves_as_a_file_does_and_leaves_the_file_alone() {
        let content: Vec<u8> = (0..3 * PAGE + 100).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (overlay, file) = over(&content);
        let mut model = content.clone();
        let mut state = 7_u64;
        for round in 0..2000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).unwrap();
            if round % 10 == 0 {
                let length = at % (6 * PAGE);
                overlay.set_len(u64::try_from(length).unwrap()).unwrap();
                model.resize(length, 0);
            } else if !model.is_empty() {
                let start = at % model.len();
                let data = vec![u8::try_from(round % 256).unwrap(); (at / 7 % (2 * PAGE)).min(model.len() - start)];
                overlay.write(u64::try_from(start).unwrap(), &data).unwrap();
                model[start..start + data.len()].copy_from_slice(&data);
            }
            assert!(all(&overlay) == model, "round {round}");
        }
        assert!(std::fs::read(file.path()).unwrap() == content);
    }

    #[test]
    fn what_lies_past_the_end_is_refused() {
        let (overlay, _file) = over(b"12345");
        assert!(overlay.read(3, &mut [0; 3]).is_err());
        assert!(overlay.read(u64::MAX, &mut [0; 1]).is_err());
        assert!(overlay.write(5, b"6").is_err());
        assert!(overlay.read(5, &mut []).is_ok());
    }

    #[test]
    fn bytes_cut_off_do_not_come_back() {
        let (overlay, _file) = over(&[1; PAGE]);
        overlay.set_len(10).unwrap();
        overlay.set_len(PAGE_U64).unwrap();
        assert_eq!(all(&overlay)[9..12], [1, 0, 0]);
    }
}
