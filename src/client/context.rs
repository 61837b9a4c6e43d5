//! What a value belongs to: pairs of names and values that are bound to its message and needed again to open it.
//!
//! Must never become empty by accident, nor drop or overwrite a pair silently.
//! Called by every typed call that seals or opens.

use std::collections::{BTreeMap, HashMap};

/// The most pairs a context has.
pub const PAIRS_LIMIT: usize = 64;
/// The most bytes a key of a context has.
pub const KEY_LIMIT_BYTES: usize = 256;
/// The most bytes a value of a context has.
pub const VALUE_LIMIT_BYTES: usize = 4 << 10;
/// The most bytes a context has as it is encoded: four, and for each pair eight, its key and its value.
pub const ENCODED_LIMIT_BYTES: usize = 8 << 10;

/// The context of a value, such as its table, the application's id of its row, and its column.
///
/// Bytes count as given: nothing is normalised. A pair that goes over a limit, or gives a key a second time, is kept as
/// a fault, and the call that is made with the context is refused with it before anything is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    pairs: BTreeMap<String, String>,
    fault: Option<InvalidContext>,
}

/// Why a context cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidContext {
    /// The same key twice.
    #[error("the context gives {key:?} twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A key over its limit.
    #[error("a key of the context has {bytes} bytes; the limit is {KEY_LIMIT_BYTES}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A value over its limit.
    #[error("the context's value of {key:?} has {bytes} bytes; the limit is {VALUE_LIMIT_BYTES}")]
    ValueTooLong {
        /// The key of the value.
        key: String,
        /// The value's length.
        bytes: usize,
    },
    /// Too many pairs.
    #[error("the context has more than {PAIRS_LIMIT} pairs")]
    TooManyPairs,
    /// Too large as a whole.
    #[error("the context has {bytes} bytes encoded; the limit is {ENCODED_LIMIT_BYTES}")]
    TooLarge {
        /// Its encoded length.
        bytes: usize,
    },
}

impl Context {
    /// A context of one pair; [`Self::with`] adds the others.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::danger_none().with(key, value)
    }

    /// The context without a pair.
    ///
    /// # Security
    /// A value that was sealed without a context opens wherever it is put: whoever can write the application's database
    /// can move it to another row or column, and the application will take it for that one's.
    pub fn danger_none() -> Self {
        Self { pairs: BTreeMap::new(), fault: None }
    }

    /// Adds a pair.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        let fault = fault_of_pair(&key, &value)
            .or_else(|| self.pairs.contains_key(&key).then(|| InvalidContext::Repeated { key: key.clone() }));
        match fault {
            Some(fault) => {
                self.fault.get_or_insert(fault);
            }
            None => {
                self.pairs.insert(key, value);
            }
        }
        self
    }

    /// Whether it has no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The context as requests carry it.
    ///
    /// # Errors
    /// The first fault of the pairs that were given, or of the whole.
    pub(super) fn to_wire(&self) -> Result<HashMap<String, String>, InvalidContext> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if self.pairs.len() > PAIRS_LIMIT {
            return Err(InvalidContext::TooManyPairs);
        }
        let bytes = 4 + self.pairs.iter().map(|(key, value)| 8 + key.len() + value.len()).sum::<usize>();
        if bytes > ENCODED_LIMIT_BYTES {
            return Err(InvalidContext::TooLarge { bytes });
        }
        Ok(self.pairs.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

fn fault_of_pair(key: &str, value: &str) -> Option<InvalidContext> {
    if key.len() > KEY_LIMIT_BYTES {
        return Some(InvalidContext::KeyTooLong { bytes: key.len() });
    }
    let bytes = value.len();
    (bytes > VALUE_LIMIT_BYTES).then(|| InvalidContext::ValueTooLong { key: key.to_owned(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_arrive_as_given() {
        let wire = Context::new("table", "servers").with("id", "7f").with("column", "").to_wire().unwrap();
        assert_eq!(wire.len(), 3);
        assert_eq!(wire["table"], "servers");
        assert_eq!(wire["column"], "");
    }

    #[test]
    fn a_key_given_twice_is_refused_even_with_the_same_value() {
        let context = Context::new("id", "1").with("id", "1");
        assert_eq!(context.to_wire(), Err(InvalidContext::Repeated { key: "id".into() }));
    }

    #[test]
    fn the_limits_are_exact() {
        assert!(Context::new("k".repeat(256), "v".repeat(4096)).to_wire().is_ok());
        assert_eq!(Context::new("k".repeat(257), "").to_wire(), Err(InvalidContext::KeyTooLong { bytes: 257 }));
        let long = Context::new("k", "v".repeat(4097)).to_wire();
        assert_eq!(long, Err(InvalidContext::ValueTooLong { key: "k".into(), bytes: 4097 }));

        let fill = |count: usize| (0..count).fold(Context::danger_none(), |c, i| c.with(format!("{i}"), ""));
        assert!(fill(64).to_wire().is_ok());
        assert_eq!(fill(65).to_wire(), Err(InvalidContext::TooManyPairs));

        // 4 + (8 + 1 + 4096) + (8 + 1 + rest)
        let rest = 8192 - 4 - 8 - 1 - 4096 - 8 - 1;
        assert!(Context::new("a", "v".repeat(4096)).with("b", "v".repeat(rest)).to_wire().is_ok());
        let over = Context::new("a", "v".repeat(4096)).with("b", "v".repeat(rest + 1)).to_wire();
        assert_eq!(over, Err(InvalidContext::TooLarge { bytes: 8193 }));
    }

    #[test]
    fn the_first_fault_is_the_one_reported() {
        let context = Context::new("k".repeat(300), "").with("id", "1").with("id", "2");
        assert_eq!(context.to_wire(), Err(InvalidContext::KeyTooLong { bytes: 300 }));
    }
}
