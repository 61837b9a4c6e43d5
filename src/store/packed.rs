//! Every record of a store at one generation, packed as a backup holds them: for what goes through all of them once.
//!
//! Must never be trusted before its records were compared with what was committed.
//! Called by `port` and the redb adapter, which fill it, and by `backup_pieces` and `operations`, which read it.

/// About as many bytes lie in one piece; a record lies in one whole.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Records in order of name, each `u32 len, name, u32 len, value`, big endian.
///
/// A tree of 100,000 records is 200,000 blocks of memory, which takes longer than to read them.
#[derive(Default)]
pub struct Packed {
    /// The generation they are of.
    pub generation: u64,
    pieces: Vec<Vec<u8>>,
    count: usize,
    longest_name: usize,
    left_out: bool,
}

impl Packed {
    /// Nothing yet, of a generation.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Puts a record behind the others, whose names come before its own. One of 4 GiB is left out, which
    /// [`Packed::is_whole`] tells.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let (Ok(name_bytes), Ok(value_bytes)) = (u32::try_from(name.len()), u32::try_from(value.len())) else {
            self.left_out = true;
            return;
        };
        let bytes = 2 * size_of::<u32>() + name.len() + value.len();
        if self.pieces.last().is_none_or(|piece| piece.len() + bytes > PIECE_BYTES) {
            self.pieces.push(Vec::with_capacity(bytes.max(PIECE_BYTES)));
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.extend(name_bytes.to_be_bytes());
            piece.extend(name.as_bytes());
            piece.extend(value_bytes.to_be_bytes());
            piece.extend(value);
        }
        self.count += 1;
        self.longest_name = self.longest_name.max(name.len());
    }

    /// Every name and value, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pieces.iter().flat_map(|piece| Records { rest: piece })
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// Whether every record is in it, and none has a name of more bytes.
    #[must_use]
    pub fn is_whole(&self, longest_name: usize) -> bool {
        !self.left_out && self.longest_name <= longest_name
    }

    pub(super) fn into_pieces(self) -> std::vec::IntoIter<Vec<u8>> {
        self.pieces.into_iter()
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed")
            .field("generation", &self.generation)
            .field("records", &self.count)
            .finish_non_exhaustive()
    }
}

struct Records<'p> {
    rest: &'p [u8],
}

impl<'p> Records<'p> {
    fn counted(&mut self) -> Option<&'p [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (counted, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.rest = rest;
        Some(counted)
    }
}

impl<'p> Iterator for Records<'p> {
    type Item = (&'p [u8], &'p [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.counted()?, self.counted()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::port::Snapshot;

    #[test]
    fn what_was_packed_is_read_as_it_was_whatever_its_lengths() {
        let lengths =
            [0, 1, 100, PIECE_BYTES - 13, PIECE_BYTES - 12, PIECE_BYTES, 3 * PIECE_BYTES, 5, 0, 40_000, 40_000];
        let records = lengths.iter().enumerate().map(|(at, length)| (format!("{at:04}"), vec![7; *length])).collect();
        let snapshot = Snapshot { generation: 3, records };
        let packed = snapshot.packed();
        assert!(packed.iter().eq(snapshot.records.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))));
        assert_eq!((packed.generation, packed.len(), packed.is_empty()), (3, lengths.len(), false));
        assert_eq!(packed.bytes(), lengths.iter().map(|length| 12 + length).sum::<usize>());
        assert!(packed.is_whole(4) && !packed.is_whole(3));
        assert!(Packed::new(1).is_empty() && Packed::new(1).is_whole(0));
    }
}
