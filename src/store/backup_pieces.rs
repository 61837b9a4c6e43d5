//! The bytes of a backup piece by piece, made while they are taken: nothing holds a second copy of the whole.
//!
//! Must never begin with what could not be ended: lengths are judged before the first piece.
//! Called by `operations` for Backup and ExportKeyring, whose answers are streams, and by `backup_file` for files.

use super::backup_format::{self, Backup, BackupError, MAX_NAME_BYTES};
use super::packed::{PIECE_BYTES, Packed};
use ring::digest::{Context, SHA256};
use std::vec::IntoIter;

/// The largest piece, in bytes.
pub const MAX_PIECE_BYTES: usize = PIECE_BYTES;

/// A backup that is to be written.
#[derive(Debug)]
pub struct Image {
    /// Version of the records' format.
    pub schema: u32,
    /// Whose records they are.
    pub store_id: [u8; 16],
    /// When the backup was made: Unix seconds.
    pub unix_seconds: u64,
    /// Every record, the MAC's too, and their generation.
    pub records: Packed,
}

impl Image {
    /// What a backup that was read, or was made of a snapshot, is to be written as.
    #[must_use]
    pub fn of(backup: &Backup) -> Self {
        let mut records = Packed::new(backup.generation);
        backup.records.iter().for_each(|(name, value)| records.push(name, value));
        Self { schema: backup.schema, store_id: backup.store_id, unix_seconds: backup.unix_seconds, records }
    }

    /// The length of its file.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`] for a name or value that the format cannot hold.
    pub fn bytes(&self) -> Result<u64, BackupError> {
        if !self.records.is_whole(MAX_NAME_BYTES) {
            return Err(BackupError::TooLarge);
        }
        let bytes = backup_format::FRAME_BYTES.saturating_add(self.records.bytes());
        u64::try_from(bytes).map_err(|_| BackupError::TooLarge)
    }

    pub(super) fn holds_the_same(&self, there: &Backup) -> bool {
        self.schema == there.schema
            && self.store_id == there.store_id
            && self.records.generation == there.generation
            && self.records.iter().eq(there.records.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())))
    }
}

/// The pieces of one backup, each of [`MAX_PIECE_BYTES`] but for the last.
pub struct Pieces {
    records: IntoIter<Vec<u8>>,
    made: Vec<u8>,
    sum: Option<Context>,
    bytes: u64,
}

impl Pieces {
    /// Begins with a backup, and uses it up.
    ///
    /// # Errors
    /// As [`Image::bytes`]; what is taken later does not fail.
    pub fn of(image: Image) -> Result<Self, BackupError> {
        let bytes = image.bytes()?;
        let Image { schema, store_id, unix_seconds, records } = image;
        let header = backup_format::header(schema, &store_id, records.generation, unix_seconds, records.len())?;
        let mut sum = Context::new(&SHA256);
        sum.update(&header);
        Ok(Self { records: records.into_pieces(), made: header, sum: Some(sum), bytes })
    }

    /// The length of all pieces together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes enough for a piece, or all that is left.
    fn make(&mut self) {
        while self.made.len() < MAX_PIECE_BYTES {
            let Some(sum) = &mut self.sum else { return };
            match self.records.next() {
                Some(records) => {
                    sum.update(&records);
                    self.made.extend(records);
                }
                None => {
                    if let Some(sum) = self.sum.take() {
                        self.made.extend(sum.finish().as_ref());
                    }
                }
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.make();
        if self.made.is_empty() {
            return None;
        }
        let rest = self.made.split_off(self.made.len().min(MAX_PIECE_BYTES));
        Some(std::mem::replace(&mut self.made, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::port::Snapshot;

    fn backup(values: &[usize]) -> Backup {
        let value = |(number, length): (usize, &usize)| (format!("{number:04}"), vec![7; *length]);
        let records = values.iter().enumerate().map(value).collect();
        Backup::of([1; 16], 5, Snapshot { generation: 3, records })
    }

    #[test]
    fn the_pieces_are_the_bytes_of_the_file_and_none_is_too_long_or_empty() {
        // Header 44, digest 32, and 12 beside each value: about the borders of a piece.
        let whole = MAX_PIECE_BYTES;
        let one = whole - 44 - 32 - 12;
        let many = [300; 2000];
        for values in [&[][..], &[0], &[5, 0, 9], &[one - 1], &[one], &[one + 1], &[one + 32], &[3 * whole], &many] {
            let backup = backup(values);
            let pieces = Pieces::of(Image::of(&backup)).unwrap();
            let bytes = pieces.bytes();
            let pieces: Vec<Vec<u8>> = pieces.collect();
            let (last, full) = pieces.split_last().unwrap();
            assert!(full.iter().all(|piece| piece.len() == whole) && (1..=whole).contains(&last.len()));
            let file = pieces.concat();
            assert_eq!(u64::try_from(file.len()).unwrap(), bytes, "{} values", values.len());
            assert!(backup_format::decode(&file).unwrap() == backup, "{} values", values.len());
        }
    }

    #[test]
    fn a_name_that_could_not_be_read_again_is_refused_before_the_first_piece() {
        let mut bad = backup(&[1]);
        bad.records.insert("n".repeat(513), Vec::new());
        assert!(matches!(Pieces::of(Image::of(&bad)), Err(BackupError::TooLarge)));
    }
}
