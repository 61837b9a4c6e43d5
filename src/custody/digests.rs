//! The digests of a store's records in order of name, laid out as the snapshot's MAC covers them.
//!
//! Must never hold a name twice, nor a value: only its digest.
//! Called by operations, which brings it up to each commit, and by `snapshot`, which hashes it as it lies.

use super::context::length_prefix;

const DIGEST_BYTES: usize = 32;
const PREFIX_BYTES: usize = 4;

/// SHA-256 of each record's value, by the record's name.
///
/// A commit hashes all of it, so it lies in one piece: following the pointers of a tree takes longer than the hashing. A
/// new name in the middle moves what is behind it, which is done once for a record and not at each commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// `u32 len, name, digest` of each record, in name order.
    covered: Vec<u8>,
    /// Where each of them begins.
    starts: Vec<usize>,
}

impl Digests {
    /// Puts the digest of a record; answers the one that was there.
    pub fn insert(&mut self, name: &str, digest: [u8; DIGEST_BYTES]) -> Option<[u8; DIGEST_BYTES]> {
        match self.place(name) {
            Ok(at) => {
                let before = self.digest(at);
                let (start, length) = (self.start(at), entry_bytes(name));
                let there = self.covered.get_mut(start..start + length).unwrap_or_default();
                if let Some(there) = there.last_chunk_mut() {
                    *there = digest;
                }
                before
            }
            Err(at) => {
                let (start, length) = (self.start(at), entry_bytes(name));
                let entry = length_prefix(name.len()).into_iter().chain(name.bytes()).chain(digest);
                self.covered.splice(start..start, entry.collect::<Vec<u8>>());
                self.starts.insert(at, start);
                self.starts.iter_mut().skip(at + 1).for_each(|later| *later += length);
                None
            }
        }
    }

    /// Drops a record; answers its digest.
    pub fn remove(&mut self, name: &str) -> Option<[u8; DIGEST_BYTES]> {
        let at = self.place(name).ok()?;
        let before = self.digest(at);
        let (start, length) = (self.start(at), entry_bytes(name));
        self.covered.drain(start..start + length);
        self.starts.remove(at);
        self.starts.iter_mut().skip(at).for_each(|later| *later -= length);
        before
    }

    /// The digest of a record.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<[u8; DIGEST_BYTES]> {
        self.digest(self.place(name).ok()?)
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Every name and digest, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], [u8; DIGEST_BYTES])> {
        let entry = |(at, start): (usize, &usize)| Some((self.name(*start), self.digest(at)?));
        self.starts.iter().enumerate().filter_map(entry)
    }

    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names_after("")
    }

    /// The names that come after `name`, in order.
    pub fn names_after(&self, name: &str) -> impl Iterator<Item = &str> {
        let from = self.place(name).map_or_else(|at| at, |at| at + 1);
        let starts = self.starts.get(from..).unwrap_or_default();
        starts.iter().map(|start| std::str::from_utf8(self.name(*start)).unwrap_or_default())
    }

    /// What a MAC covers of every record but one: how many they are, and their bytes in two pieces.
    pub(super) fn covered_without(&self, name: &str) -> (usize, [&[u8]; 2]) {
        match self.place(name) {
            Ok(at) => {
                let start = self.start(at);
                let before = self.covered.get(..start).unwrap_or_default();
                let after = self.covered.get(start + entry_bytes(name)..).unwrap_or_default();
                (self.len() - 1, [before, after])
            }
            Err(_) => (self.len(), [&self.covered, &[]]),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        // Where they come in order, each is behind the last.
        if self.starts.last().is_none_or(|last| self.name(*last) < name.as_bytes()) {
            return Err(self.starts.len());
        }
        self.starts.binary_search_by(|start| self.name(*start).cmp(name.as_bytes()))
    }

    /// Where the record at a place begins; the end, where there is none.
    fn start(&self, at: usize) -> usize {
        self.starts.get(at).copied().unwrap_or(self.covered.len())
    }

    fn name(&self, start: usize) -> &[u8] {
        let entry = self.covered.get(start..).unwrap_or_default();
        let Some((length, rest)) = entry.split_first_chunk::<PREFIX_BYTES>() else { return &[] };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        rest.get(..length).unwrap_or_default()
    }

    fn digest(&self, at: usize) -> Option<[u8; DIGEST_BYTES]> {
        self.covered.get(self.start(at)..self.start(at + 1))?.last_chunk().copied()
    }
}

fn entry_bytes(name: &str) -> usize {
    PREFIX_BYTES + name.len() + DIGEST_BYTES
}

impl FromIterator<(String, [u8; DIGEST_BYTES])> for Digests {
    fn from_iter<I: IntoIterator<Item = (String, [u8; DIGEST_BYTES])>>(records: I) -> Self {
        let mut digests = Self::default();
        for (name, digest) in records {
            digests.insert(&name, digest);
        }
        digests.covered.shrink_to_fit();
        digests.starts.shrink_to_fit();
        digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn agree(digests: &Digests, model: &BTreeMap<String, [u8; DIGEST_BYTES]>) {
        assert_eq!((digests.len(), digests.is_empty()), (model.len(), model.is_empty()));
        assert!(digests.names().eq(model.keys()));
        assert!(digests.iter().eq(model.iter().map(|(name, digest)| (name.as_bytes(), *digest))));
        assert!(model.iter().all(|(name, digest)| digests.get(name) == Some(*digest)));
        let covered: Vec<u8> = model
            .iter()
            .flat_map(|(name, digest)| [&length_prefix(name.len())[..], name.as_bytes(), digest].concat())
            .collect();
        assert_eq!(digests.covered_without("not there"), (model.len(), [&covered[..], &[]]));
        assert_eq!(*digests, model.clone().into_iter().collect());
    }

    #[test]
    fn it_behaves_as_a_map_does_and_lies_in_order() {
        let (mut digests, mut model) = (Digests::default(), BTreeMap::new());
        let mut state = 7_u64;
        for round in 0..2000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Names of different lengths, some of them the beginning of others.
            let name = format!("{:x}", (state >> 40) % 200);
            let digest = [u8::try_from(round % 251).unwrap(); DIGEST_BYTES];
            if round % 3 == 0 {
                assert_eq!(digests.remove(&name), model.remove(&name), "round {round}");
            } else {
                assert_eq!(digests.insert(&name, digest), model.insert(name, digest), "round {round}");
            }
            if round % 50 == 0 {
                agree(&digests, &model);
            }
        }
        agree(&digests, &model);
        assert_eq!((digests.get("no"), digests.remove("no")), (None, None));
    }

    #[test]
    fn the_names_after_one_begin_behind_it_whether_it_is_there_or_not() {
        let digests: Digests = ["a", "c", "e"].map(|name| (name.to_owned(), [1; DIGEST_BYTES])).into_iter().collect();
        let after = |name| digests.names_after(name).collect::<String>();
        assert_eq!(["", "a", "b", "c", "e", "f"].map(after), ["ace", "ce", "ce", "e", "", ""]);
    }

    #[test]
    fn one_record_can_be_left_out_wherever_it_stands() {
        let all: Digests = ["a", "b", "c"].map(|name| (name.to_owned(), [1; DIGEST_BYTES])).into_iter().collect();
        for name in ["a", "b", "c"] {
            let mut without = all.clone();
            without.remove(name);
            let (count, pieces) = all.covered_without(name);
            assert_eq!((count, pieces.concat()), (2, without.covered_without(name).1.concat()));
        }
    }
}
