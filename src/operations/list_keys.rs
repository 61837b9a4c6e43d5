//! ListKeys: keys and versions in order of name, a bounded number in each answer.
//!
//! Must never grow an answer with the store: a page holds at most 1,000 versions and keys.
//! Called by `rpc::key_admin`.

use super::engine::Engine;
use super::keyring::DataKey;
use super::refusal::Refusal;
use super::version::Version;
use crate::auth::key_name::KeyName;
use crate::auth::operation::ListKeys;
use crate::auth::permit::Permit;
use crate::custody::id::KeyId;
use std::sync::Arc;

/// The most versions and keys in one answer.
pub const MAX_PAGE: usize = 1000;

/// Where a page begins: behind this version of this key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    name: KeyName,
    id: KeyId,
    /// The number of the last version that was listed.
    after: u32,
}

/// Which keys to list.
pub struct Request {
    /// Only this one; with `include_deleted`, every key that ever had the name.
    pub key: Option<KeyName>,
    /// Versions and keys in the answer, 1 to [`MAX_PAGE`].
    pub page_size: usize,
    /// Where to go on.
    pub from: Option<Position>,
    /// Deleted keys too.
    pub include_deleted: bool,
}

/// A key with those of its versions that are on the page, newest first.
pub struct Row {
    /// The key.
    pub key: Arc<DataKey>,
    /// The versions.
    pub versions: Vec<Arc<Version>>,
}

/// Lists one page; the position says where the next begins.
///
/// # Errors
/// [`Refusal::NoSuchKey`] if no key that may be listed has the name that was asked for.
pub fn list_keys(
    _permit: &Permit<ListKeys>,
    engine: &Engine,
    request: &Request,
) -> Result<(Vec<Row>, Option<Position>), Refusal> {
    let keyring = engine.keyring();
    let mut keys: Vec<&Arc<DataKey>> = match &request.key {
        Some(name) if request.include_deleted => {
            let named: Vec<_> = keyring.keys.values().filter(|key| key.name == *name).collect();
            if named.is_empty() {
                return Err(Refusal::NoSuchKey);
            }
            named
        }
        Some(name) => vec![keyring.key(name)?],
        None => keyring.keys.values().filter(|key| request.include_deleted || !key.is_deleted()).collect(),
    };
    keys.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(page(&keys, request))
}

fn page(keys: &[&Arc<DataKey>], request: &Request) -> (Vec<Row>, Option<Position>) {
    let mut rows: Vec<Row> = Vec::new();
    let mut room = request.page_size.clamp(1, MAX_PAGE);
    for key in keys {
        let Some(below) = first_wanted(key, request.from.as_ref()) else { continue };
        if room == 0 {
            return end(rows);
        }
        // A key counts as one, and each of its versions but the first as one more.
        let versions: Vec<Arc<Version>> = key.versions.below(below).iter().rev().take(room).cloned().collect();
        let whole = versions.len() == key.versions.below(below).len();
        room = room.saturating_sub(versions.len().max(1));
        rows.push(Row { key: Arc::clone(key), versions });
        if !whole {
            return end(rows);
        }
    }
    (rows, None)
}

/// The number under which a key's versions are still to be listed; none if all of the key was.
fn first_wanted(key: &DataKey, from: Option<&Position>) -> Option<u32> {
    let Some(from) = from else { return Some(u32::MAX) };
    match (&key.name, key.id).cmp(&(&from.name, from.id)) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => (!key.versions.below(from.after).is_empty()).then_some(from.after),
        std::cmp::Ordering::Greater => Some(u32::MAX),
    }
}

fn end(rows: Vec<Row>) -> (Vec<Row>, Option<Position>) {
    let position = rows.last().map(|row| Position {
        name: row.key.name.clone(),
        id: row.key.id,
        after: row.versions.last().map_or(0, |version| version.number),
    });
    (rows, position)
}

impl Position {
    /// The position as a page token.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}/{}/{}", self.name, self.id, self.after)
    }

    /// Reads a page token.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is none of this daemon's.
    pub fn parse(token: &str) -> Result<Self, Refusal> {
        let invalid = || Refusal::invalid("page_token", "must be the next_page_token of an answer");
        let mut parts = token.split('/');
        let (name, id, after) = (parts.next(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(invalid());
        }
        Ok(Self {
            name: KeyName::parse(name.unwrap_or_default()).map_err(|_| invalid())?,
            id: id.and_then(|id| id.parse().ok()).ok_or_else(invalid)?,
            after: after.and_then(|after| after.parse().ok()).ok_or_else(invalid)?,
        })
    }
}

#[cfg(test)]
#[path = "list_keys_tests.rs"]
mod tests;
