//! What a check leaves behind: first that a peer may do an operation, then that it may do it with a key.
//!
//! Must never be constructible outside this file: an operation that demands a permit cannot forget the check.
//! Called by `rpc`, which asks for them, and by `operations`, which demand them.

use super::key_name::KeyName;
use super::operation::{Keyed, Operation, Whole};
use super::peer::Peer;
use super::policy::{Denied, Policy};
use std::marker::PhantomData;

/// The first step: the peer may do `Op`, with keys that are yet to be named.
pub struct Admission<'p, Op> {
    policy: &'p Policy,
    peer: Peer,
    operation: PhantomData<Op>,
}

impl Policy {
    /// The first step of a permit: may this peer do `Op` at all?
    ///
    /// # Errors
    /// [`Denied`] if not.
    pub fn admit<Op: Operation>(&self, peer: Peer) -> Result<Admission<'_, Op>, Denied> {
        self.check::<Op>(peer)?;
        Ok(Admission { policy: self, peer, operation: PhantomData })
    }
}

impl<Op> Admission<'_, Op> {
    /// The peer that was admitted.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

impl<Op: Keyed> Admission<'_, Op> {
    /// The second step: the peer may do `Op` with this key.
    ///
    /// # Errors
    /// [`Denied`] if policy does not let this peer use the key so.
    pub fn for_key(&self, key: &KeyName) -> Result<Permit<Op>, Denied> {
        self.policy.check_key::<Op>(self.peer, key)?;
        Ok(Permit { key: key.clone() })
    }
}

impl<Op: Whole> Admission<'_, Op> {
    /// The permit of an operation that concerns no one key.
    #[must_use]
    pub fn permit(&self) -> Permit<Op> {
        Permit { key: () }
    }
}

/// Proof that policy lets a peer do `Op`, and with which key, if it concerns one.
pub struct Permit<Op: Operation> {
    key: Op::Key,
}

impl<Op: Keyed> Permit<Op> {
    /// Whether this permit was given for `key`.
    #[must_use]
    pub fn covers(&self, key: &KeyName) -> bool {
        self.key == *key
    }

    /// The key it was given for.
    #[must_use]
    pub fn key(&self) -> &KeyName {
        &self.key
    }
}
