//! The records' values, as messages that this program fully understands.
//!
//! Must never pass on a record of a newer schema or with an unknown state: acting on half of it could destroy data.
//! Called by `operations`, for every name and value that goes into or comes out of the store.

pub use super::record_name::{CANARY, IDENTITY, MAC, MASTER, META, RecordName, history, key, legacy, request, version};
pub use crate::proto::records::*;

use prost::Message;

/// The schema that this program writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// Most entries of one [`History`].
pub const MAX_HISTORY_ENTRIES: usize = 1000;

/// Why a record's value was not taken. Names the record, never shows its bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The value is not what belongs under the name.
    #[error("record {name} is malformed: {detail}")]
    Malformed {
        /// The record's name.
        name: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// Written by a newer servos-keyd.
    #[error("record {name} has schema {found}; this program reads {SCHEMA}")]
    NewerSchema {
        /// The record's name.
        name: String,
        /// The schema it names.
        found: u32,
    },
}

/// A message that is a record's value. Field 1 of each is its schema, in every version to come.
pub trait Record: Message + Default + Clone {
    /// Whether a record of this name holds such a message.
    fn fits(name: &RecordName) -> bool;

    /// Sets the schema's field.
    fn set_schema(&mut self, schema: u32);

    /// Finds a field that this program does not understand.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

#[derive(Clone, PartialEq, Message)]
struct SchemaAlone {
    #[prost(uint32, tag = "1")]
    schema: u32,
}

/// Reads the value of record `name` as hostile bytes.
///
/// # Errors
/// [`RecordError::NewerSchema`] before anything else; [`RecordError::Malformed`] for bytes that are no such message, a
/// name that does not hold it, an id of another length, or an enum value that is unknown or unspecified.
pub fn decode<T: Record>(name: &str, bytes: &[u8]) -> Result<T, RecordError> {
    let malformed = |detail| RecordError::Malformed { name: name.to_owned(), detail };
    if !RecordName::parse(name).is_some_and(|name| T::fits(&name)) {
        return Err(malformed("its name is not of this kind"));
    }
    match SchemaAlone::decode(bytes).map_err(|_| malformed("it is not a message"))?.schema {
        0 => return Err(malformed("it has no schema")),
        SCHEMA => {}
        found => return Err(RecordError::NewerSchema { name: name.to_owned(), found }),
    }
    let record = T::decode(bytes).map_err(|_| malformed("it is not this message"))?;
    record.check().map_err(malformed)?;
    Ok(record)
}

/// The value of a record, with [`SCHEMA`] as its schema whatever the message says.
#[must_use]
pub fn encode<T: Record>(record: &T) -> Vec<u8> {
    let mut record = record.clone();
    record.set_schema(SCHEMA);
    record.encode_to_vec()
}

/// A rotation as the answer of the request that brought it to where it is.
#[must_use]
pub fn encode_rotation(rotation: &Rotation) -> Vec<u8> {
    rotation.encode_to_vec()
}

/// What [`encode_rotation`] made; `None` if it is something else.
#[must_use]
pub fn decode_rotation(bytes: &[u8]) -> Option<Rotation> {
    Rotation::decode(bytes).ok().filter(|rotation| rotation.step() != RotationStep::Unspecified)
}

macro_rules! record {
    ($message:ty, $name:pat $(, $check:expr)?) => {
        impl Record for $message {
            fn fits(name: &RecordName) -> bool {
                matches!(name, $name)
            }

            fn set_schema(&mut self, schema: u32) {
                self.schema = schema;
            }

            $(fn check(&self) -> Result<(), &'static str> {
                let check: fn(&Self) -> Result<(), &'static str> = $check;
                check(self)
            })?
        }
    };
}

record!(Master, RecordName::Master, |master| {
    require(master.store_id.len() == 16, "its store id is not 16 bytes")?;
    require(master.current.is_some(), "it holds no root")?;
    let Some(rotation) = &master.rotation else {
        return require(master.pending.is_none(), "a key to come belongs to no rotation");
    };
    known(rotation.step() != RotationStep::Unspecified)?;
    let is_pending = rotation.step() == RotationStep::Pending;
    require(is_pending == master.pending.is_some(), "its rotation is at another step than its keys")?;
    require(rotation.old_fingerprint.len() == 8 && rotation.new_fingerprint.len() == 8, "a fingerprint is not 8 bytes")
});
record!(Canary, RecordName::Canary);
record!(Meta, RecordName::Meta, |meta| {
    meta.drills.iter().try_for_each(|drill| {
        require(drill.fingerprint.len() == 8, "a fingerprint is not 8 bytes")?;
        known(drill.kind() != DrillKind::Unspecified)
    })
});
record!(Identity, RecordName::Identity);
record!(Legacy, RecordName::Legacy(_));
record!(Key, RecordName::Key(_), |key| known(key.purpose() != Purpose::Unspecified));
record!(Version, RecordName::Version(_), |version| {
    require(version.key_id.len() == 8, "its key id is not 8 bytes")?;
    require(version.number > 0, "its number is 0")?;
    known(version.state() != VersionState::Unspecified)
});
record!(Request, RecordName::Request(_));
record!(History, RecordName::History(_), |history| {
    require(history.entries.len() <= MAX_HISTORY_ENTRIES, "it has more than 1000 entries")?;
    history.entries.iter().try_for_each(|entry| {
        require(entry.fingerprint.len() == 8, "a fingerprint is not 8 bytes")?;
        known(entry.kind() != HistoryKind::Unspecified)
    })
});

fn require(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// The generated accessors answer "unspecified" for an unknown number too.
fn known(specified: bool) -> Result<(), &'static str> {
    require(specified, "it holds an unknown or unspecified enum value")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "version/00000000000000bb";

    fn version_record() -> Version {
        Version {
            key_id: vec![1; 8],
            number: 1,
            state: VersionState::Enabled.into(),
            seal: vec![9],
            ..Default::default()
        }
    }

    #[test]
    fn a_record_is_read_back_and_always_carries_the_schema() {
        let bytes = encode(&version_record());
        let read: Version = decode(VERSION, &bytes).unwrap();
        assert_eq!((read.schema, read.number, read.seal), (SCHEMA, 1, vec![9]));
    }

    #[test]
    fn a_newer_schema_is_named_even_where_nothing_else_is_understood() {
        let newer = |found| Err(RecordError::NewerSchema { name: VERSION.into(), found });
        let message = Version { schema: 2, state: 99, ..Default::default() };
        assert_eq!(decode::<Version>(VERSION, &message.encode_to_vec()).map(drop), newer(2));
        // Field 2, bytes here, is a number there.
        assert_eq!(decode::<Version>(VERSION, &[0x08, 0x07, 0x10, 0x01]).map(drop), newer(7));
    }

    #[test]
    fn a_malformed_record_is_refused() {
        let refused =
            |name: &str, bytes: &[u8]| matches!(decode::<Version>(name, bytes), Err(RecordError::Malformed { .. }));
        let with = |change: fn(&mut Version)| {
            let mut record = version_record();
            change(&mut record);
            encode(&record)
        };
        let good = encode(&version_record());
        assert!(refused("key/00000000000000bb", &good), "a name of another kind");
        assert!(refused("version/bb", &good), "a name that is none");
        assert!(refused(VERSION, b""), "nothing");
        assert!(refused(VERSION, &version_record().encode_to_vec()), "no schema");
        assert!(refused(VERSION, b"\xff\xff\xff"), "no message");
        assert!(refused(VERSION, &good[..good.len() - 1]), "a message cut short");
        assert!(refused(VERSION, &with(|version| version.state = 0)), "no state");
        assert!(refused(VERSION, &with(|version| version.state = 3)), "an unknown state");
        assert!(refused(VERSION, &with(|version| version.number = 0)), "no number");
        assert!(refused(VERSION, &with(|version| version.key_id.push(0))), "a long key id");
    }

    #[test]
    fn a_history_with_too_many_entries_or_a_short_fingerprint_is_refused() {
        let entry = HistoryEntry { fingerprint: vec![1; 8], at: 0, kind: HistoryKind::First.into() };
        let of = |entries| encode(&History { schema: 1, entries });
        assert!(decode::<History>("history/0", &of(vec![entry.clone(); 1000])).is_ok());
        assert!(decode::<History>("history/0", &of(vec![entry.clone(); 1001])).is_err());
        let short = HistoryEntry { fingerprint: vec![1; 7], ..entry };
        assert!(decode::<History>("history/0", &of(vec![short])).is_err());
    }

    #[test]
    fn a_master_record_without_a_root_is_refused() {
        let master = Master { store_id: vec![0; 16], ..Default::default() };
        assert!(decode::<Master>(MASTER, &encode(&master)).is_err());
        let master = Master { current: Some(MasterSeal::default()), ..master };
        assert!(decode::<Master>(MASTER, &encode(&master)).is_ok());
    }
}
