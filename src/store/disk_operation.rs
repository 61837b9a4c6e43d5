//! The operations of the store on the disk, as those who look on are told of them.
//!
//! Must never hold more than names and the bytes that are written: whoever looks on does nothing by itself.
//! Made by `disk`, and read by its watchers.

use std::path::Path;

/// One operation on a path. A file is told by its inode too, for it can be written under a name that is another's by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'o> {
    /// A new, empty file.
    Create(&'o Path),
    /// Bytes of a file, or the names in a directory, are read.
    Read(&'o Path),
    /// Bytes of a file are written, from an offset on.
    Write(&'o Path, u64, &'o [u8]),
    /// A file is cut off, or grows by zeros.
    SetLength(&'o Path, u64),
    /// What was written to a file reaches the disk.
    Sync(&'o Path),
    /// An entry gets another name; what had that name has none.
    Rename(&'o Path, &'o Path),
    /// A file has a second name.
    Link(&'o Path, &'o Path),
    /// A name goes.
    Remove(&'o Path),
    /// A new, empty directory.
    MakeDirectory(&'o Path),
    /// What became of the names in a directory reaches the disk.
    SyncDirectory(&'o Path),
}
