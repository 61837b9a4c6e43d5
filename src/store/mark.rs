//! The high-water mark beside the store: the generation and root id that the store had last.
//!
//! Must never be guessed at: what is not exactly in the format is damaged, and damaged is not absent.
//! Called by `cli` at start, creation, restore and acceptance, and by the writer after each commit.

use super::durable;
use super::fixed_hex::fixed;
use super::port::StoreError;
use base16ct::lower as hex;
use std::path::{Path, PathBuf};

/// Most bytes that a mark's file is read to.
const MAX_BYTES: u64 = 4096;
const MAGIC: &str = "SKH1";

/// A state of the store: which one, how far, under which root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whose state it is.
    pub store_id: [u8; 16],
    /// The generation reached.
    pub generation: u64,
    /// The id of the root key at that generation.
    pub root_id: [u8; 32],
}

/// What the mark's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The state reached; `None` while the first store is being made.
    pub now: Option<State>,
    /// The state that a creation, restore or acceptance is about to reach.
    pub to_come: Option<State>,
}

/// Why there is no answer from the mark.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The file is there and says nothing that could be relied on.
    #[error("the mark at {path} is damaged: {detail}", path = path.display())]
    Damaged {
        /// The mark's file.
        path: PathBuf,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] StoreError),
}

/// Reads the mark; `None` if there is no file.
///
/// # Errors
/// [`MarkError::Damaged`] for anything but the exact format, [`MarkError::File`] for what the system said.
pub fn read(path: &Path) -> Result<Option<Mark>, MarkError> {
    let damaged = |detail| MarkError::Damaged { path: path.to_owned(), detail };
    match durable::read_regular(path, MAX_BYTES) {
        Ok(Some(bytes)) => Mark::parse(&bytes).map(Some).map_err(damaged),
        Ok(None) => Err(damaged("it is longer than 4096 bytes")),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(StoreError::Foreign { .. }) => Err(damaged("it is not a file")),
        Err(e) => Err(e.into()),
    }
}

/// Replaces the mark, whole or not at all, durably, with mode 0600.
///
/// # Errors
/// [`MarkError::Damaged`] for a mark without any state, which nobody could read; [`MarkError::File`].
pub fn write(path: &Path, mark: &Mark) -> Result<(), MarkError> {
    if mark.now.is_none() && mark.to_come.is_none() {
        return Err(MarkError::Damaged { path: path.to_owned(), detail: NO_STATE });
    }
    Ok(durable::replace(path, mark.text().as_bytes())?)
}

const NO_STATE: &str = "it names no state";

impl Mark {
    fn text(&self) -> String {
        let now = self.now.map_or_else(|| format!("{MAGIC} none\n"), |state| state.line());
        let to_come = self.to_come.map(|state| state.line()).unwrap_or_default();
        now + &to_come
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).ok_or("it is not ASCII text")?;
        let text = text.strip_suffix('\n').ok_or("its last line does not end")?;
        let mut lines = text.split('\n');
        let now = match lines.next() {
            Some("SKH1 none") => None,
            line => Some(State::parse(line.unwrap_or_default())?),
        };
        let to_come = lines.next().map(State::parse).transpose()?;
        if lines.next().is_some() {
            return Err("it has more than two lines");
        }
        if now.is_none() && to_come.is_none() {
            return Err(NO_STATE);
        }
        Ok(Self { now, to_come })
    }
}

impl State {
    fn line(&self) -> String {
        let (store, root) = (hex::encode_string(&self.store_id), hex::encode_string(&self.root_id));
        format!("{MAGIC} {store} {} {root}\n", self.generation)
    }

    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut fields = line.split(' ');
        let mut next = || fields.next().ok_or("a line has too few fields");
        if next()? != MAGIC {
            return Err("a line does not begin with SKH1");
        }
        let state = Self {
            store_id: fixed(next()?).ok_or("a store id is not 32 lower-case hex digits")?,
            generation: decimal(next()?).ok_or("a generation is not a plain number")?,
            root_id: fixed(next()?).ok_or("a root id is not 64 lower-case hex digits")?,
        };
        if fields.next().is_some() {
            return Err("a line has too many fields");
        }
        Ok(state)
    }
}

/// A number written in the one way it is written: no sign, no leading zero.
fn decimal(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn state(generation: u64) -> State {
        State { store_id: [0xab; 16], generation, root_id: [0x0c; 32] }
    }

    fn line(generation: &str) -> String {
        format!("SKH1 {} {generation} {}\n", "ab".repeat(16), "0c".repeat(32))
    }

    #[test]
    fn a_mark_is_written_in_the_exact_format_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.redb.mark");
        assert_eq!(read(&path).unwrap(), None);
        for (mark, text) in [
            (Mark { now: Some(state(41)), to_come: None }, line("41")),
            (Mark { now: Some(state(0)), to_come: Some(state(u64::MAX)) }, line("0") + &line("18446744073709551615")),
            (Mark { now: None, to_come: Some(state(1)) }, "SKH1 none\n".to_owned() + &line("1")),
        ] {
            write(&path, &mark).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(read(&path).unwrap(), Some(mark));
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn anything_but_the_exact_format_is_damaged_and_never_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let (good, upper) = (line("7"), line("7").replace("ab", "AB"));
        let mut bad: Vec<Vec<u8>> = [
            "",
            "\n",
            "SKH1 none\n",
            "SKH1 none",
            "SKH1 none\n\n",
            "SKH1\n",
            "SKH2 none\n",
            upper.as_str(),
            &line("07"),
            &line("+7"),
            &line("-1"),
            &line(""),
            &line("18446744073709551616"),
            &line("0x7"),
            &format!("{good}{good}{good}"),
            &format!("{good}\n"),
            &format!(" {good}"),
            &format!("\n{good}"),
            &format!("{good}SKH1 none\n"),
            &good.replace(' ', "  "),
            &good.replace(' ', "\t"),
            &good.replace('\n', " \n"),
            &good.replace('\n', " x\n"),
            &good.replace('\n', "\r\n"),
            &good.replace("SKH1", "SKH2"),
            &good.replacen("ab", "", 1),
            &good.replacen("0c", "0c0c", 1),
        ]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
        bad.extend((0..good.len()).map(|length| good.as_bytes()[..length].to_vec()));
        bad.push(b"SKH1 \xff\n".to_vec());
        bad.push(vec![b'a'; 5000]);
        for text in bad {
            fs::write(&path, &text).unwrap();
            let answer = read(&path);
            assert!(matches!(answer, Err(MarkError::Damaged { .. })), "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_link_or_a_directory_in_the_marks_place_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, line("1")).unwrap();
        symlink(&target, &link).unwrap();
        assert!(matches!(read(&link), Err(MarkError::File(StoreError::NotPermitted { .. }))));
        assert!(matches!(read(dir.path()), Err(MarkError::Damaged { .. })));
    }

    #[test]
    fn a_mark_without_a_state_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert!(write(&path, &Mark { now: None, to_come: None }).is_err());
        assert!(!path.exists());
    }
}
