//! Request ids: the same id again gives the same answer, for a day.
//!
//! Must never take a repetition for a new call, nor answer one request with another's answer.
//! Called by the operations that change something.

use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use crate::custody::id::KeyId;
use crate::custody::snapshot;
use crate::store::port::MAX_BATCH_RECORDS;
use crate::store::record;

/// How long a request is remembered, in seconds.
const REMEMBERED_FOR: i64 = 24 * 60 * 60;

/// The most requests that one commit forgets: a commit stays bounded.
const FORGOTTEN_AT_ONCE: usize = 20;

/// A request that may be repeated: its id, if it has one, and the digest of its contents.
pub struct RequestId {
    id: Option<String>,
    digest: [u8; 32],
}

impl RequestId {
    /// The identity of a request. `id` is a UUID in its canonical lower-case form, already checked.
    #[must_use]
    pub fn new(id: Option<String>, operation: &str, fields: &[&[u8]]) -> Self {
        let mut encoded = operation.as_bytes().to_vec();
        for field in fields {
            encoded.extend_from_slice(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            encoded.extend_from_slice(field);
        }
        Self { id, digest: snapshot::digest(&encoded) }
    }
}

/// The key that an answer names by its id.
///
/// # Errors
/// [`Refusal::Damaged`].
pub(super) fn answered_key(answer: &[u8]) -> Result<KeyId, Refusal> {
    KeyId::from_slice(answer).ok_or_else(|| Refusal::Damaged("the answer of a request is no key id".to_owned()))
}

fn is_old(request: &record::Request, now: i64) -> bool {
    now.saturating_sub(request.at) > REMEMBERED_FOR
}

impl Ledger {
    /// The answer that was given to this request before, if it was.
    ///
    /// # Errors
    /// [`Refusal::RequestIdReused`] if the id stands for another request.
    pub(super) fn answered(&self, request: &RequestId) -> Result<Option<Vec<u8>>, Refusal> {
        let now = (self.engine.clock)();
        let known = request.id.as_ref().and_then(|id| self.requests.get(id));
        match known {
            // A store where nothing changes forgets nothing: what is too old counts for forgotten all the same.
            Some(known) if is_old(known, now) => Ok(None),
            Some(known) if known.digest != request.digest => Err(Refusal::RequestIdReused),
            Some(known) => Ok(Some(known.answer.clone())),
            None => Ok(None),
        }
    }

    /// Remembers the answer in the commit that it belongs to.
    pub(super) fn remember(&self, change: &mut Change, request: RequestId, answer: Vec<u8>) {
        let RequestId { id, digest } = request;
        let at = (self.engine.clock)();
        change.request =
            id.map(|id| (id, record::Request { schema: record::SCHEMA, digest: digest.to_vec(), answer, at }));
    }

    /// Remembers an answer that took no change: a repetition that comes after one must not be a new call.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub(super) fn remember_alone(&mut self, request: RequestId, answer: Vec<u8>) -> Result<(), Refusal> {
        let mut change = Change::default();
        self.remember(&mut change, request, answer);
        if change.request.is_some() { self.commit(change, |_| ()) } else { Ok(()) }
    }

    /// Adds to a change that requests older than a day go; returns their ids.
    pub(super) fn forget_old_requests(&self, change: &mut Change) -> Vec<String> {
        let now = (self.engine.clock)();
        let room = MAX_BATCH_RECORDS.saturating_sub(change.batch.puts.len() + change.batch.deletes.len() + 3);
        let old: Vec<String> = self
            .requests
            .iter()
            .filter(|(id, request)| is_old(request, now) && change.request.as_ref().is_none_or(|(kept, _)| kept != *id))
            .map(|(id, _)| id.clone())
            .take(FORGOTTEN_AT_ONCE.min(room))
            .collect();
        for id in &old {
            change.delete(record::request(id));
        }
        old
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
