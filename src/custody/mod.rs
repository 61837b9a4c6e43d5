//! The key core: keys, and what is sealed, opened and authenticated with them. Bytes in, bytes out.
//!
//! Must never do I/O, look at a clock, log, or be async; must never hand a raw key to another room.
//! Called by `operations`, and by `cli` where it makes a master key, or one comes from paper; of ours it imports `sys`
//! alone.
//!
//! # The keys
//!
//! Every key is 32 bytes in locked memory behind a type of its own ([`keys`]), so that a root cannot be passed where a
//! version is meant, and no other room can name the bytes. They form a tree; each one is sealed by the one above it:
//!
//! ```text
//! master key            the operator's; seals the root and the canary, and opens nothing else
//!   root key            random; a new one at the end of each rotation
//!     identity          random, made with the store, never changed; authenticates clients' canaries
//!     legacy key        a former master key, as long as old values are about
//!     version           random; components' messages are sealed under it
//!       message key     derived for one message; lives for one call, on a stack that is cleared
//!     previous root     until the high-water mark names the root that replaced it
//! ```
//!
//! No key is used for two things. Except for a legacy key, which must open what was sealed under it raw, a key is only
//! the input of HKDF-Expand (RFC 5869; every input is 32 uniform bytes, so there is no extract step), and each use has
//! a label of its own. All labels stand in one file, `labels.rs`; none begins with another, so no variable part that
//! follows one can make it equal to another.
//!
//! # The life of a key
//!
//! A key is *made* in place: the random source fills its slot of locked memory ([`keys::VersionKey::generate`] and its
//! like), or the operator's text is decoded into it ([`keys::MasterKey::parse`]). What is public of it is derived at
//! once and kept beside it: the fingerprint of a master or legacy key, the id of a root. A version's id is random.
//!
//! A key *rests* as an SKR1 message in a record of the store ([`record_seal`]). The seal is bound to its place (which
//! store, which record, which data key and number, for what purpose), so a seal that is moved to another record does
//! not open there. It names who sealed it, so that a wrong master key is told from a damaged store before anything is
//! tried.
//!
//! A key is *used* inside one synchronous call. ring's key objects hold the key inline, wipe nothing and are returned
//! by value, so three things keep copies from staying behind: the objects are held in [`crate::sys::wipe::Wiped`];
//! derived bytes are held in `Zeroizing` arrays; and every public function that touches a key runs its work through
//! `primitives::with_clean_stack`, which zeroes the stack below it on return and on panic. Who adds a function here
//! that touches a key does the same.
//!
//! A key *ends* when its owner drops it: the slot is wiped and used again. At the end of the process every slot is
//! wiped.
//!
//! # The formats
//!
//! Byte for byte they stand in `docs/formats.md`, which is part of the crate's page and held to the code. SKD1, a message
//! ([`message`]), and SKR1, a secret in a record, are one construction (`committing.rs`), with a key that is derived for
//! each message from the owner's key, a random salt and the context. Three things follow:
//!
//! - *No budget.* Each message has its own key, so no number of messages makes a nonce repeat under one.
//! - *Commitment.* AES-GCM alone lets somebody build a ciphertext that opens under two keys. Here the commitment fixes
//!   key, context and salt; it is compared, in constant time, before the AEAD is touched.
//! - *No trial.* The header names the one key there is to try. A failure is a failure, never a reason to try another.
//!
//! A context ([`context`]) is bound to the message and not stored in it: whoever opens must know it. Legacy values
//! ([`legacy`]) are bound to nothing; they are opened, never written. The others are SKC1, a client's canary
//! ([`client_canary`]), the snapshot's MAC ([`snapshot`]), and shares for paper after SLIP-0039 ([`shares`]), a published
//! standard, whose other programs put the key together too.
//!
//! What a value *claims* to be is told from its first bytes ([`envelope`]); what it *is*, only opening it tells.
//!
//! # Failure
//!
//! Opening returns a plaintext or an error, and never an empty plaintext in an error's place. The reasons in
//! [`message::Rejected`] are for the daemon's log; whoever sent the value is told only that it was rejected. No error
//! holds a byte of a key, of a plaintext or of the text that a key was read from.

pub mod client_canary;
pub mod committing;
pub mod context;
pub mod digests;
pub mod envelope;
#[cfg(test)]
mod fixtures;
pub mod id;
pub mod keys;
mod labels;
pub mod legacy;
mod master_text;
pub mod message;
mod primitives;
pub mod random;
pub mod record_seal;
mod sealer;
pub mod shares;
pub mod snapshot;
