//! The one construction behind SKD1 and SKR1: key, nonce and commitment derived for each message.
//!
//! Must never touch the AEAD before the commitment has matched, nor try a second key: a ciphertext has exactly one.
//! Called by the message and the record seal, which say whose key it is and where the bytes lie.

use subtle::ConstantTimeEq as _;

use crate::custody::context::Context;
use crate::custody::random::RandomUnavailable;
use crate::custody::{labels, primitives};
use crate::sys::wipe::Zeroizing;

/// Magic, owner id, salt, commitment.
pub(super) const HEADER_BYTES: usize = 76;
pub(super) const SALT_BYTES: usize = 32;
pub(super) const TAG_BYTES: usize = 16;
/// What sealing adds to a plaintext.
pub(super) const OVERHEAD: usize = HEADER_BYTES + TAG_BYTES;

/// Why a value was not opened, for the log: whoever asked is told only that it was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Fewer bytes than the smallest value of this format.
    #[error("shorter than any value of its format")]
    Length,
    /// It does not begin with the magic of this format.
    #[error("another format's magic")]
    Magic,
    /// Its header names another key than the one it was to be opened with.
    #[error("sealed under another key, by its header")]
    Owner,
    /// Another key, another context, or a changed header.
    #[error("the commitment does not match: another key or context, or a changed header")]
    Commitment,
    /// A changed ciphertext or tag; for a legacy value also another key.
    #[error("the authentication tag does not match")]
    Body,
}

/// Why nothing was sealed. Nothing of the plaintext or of a key is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No salt, because the random source failed.
    #[error("sealing needs random bytes")]
    Random(#[from] RandomUnavailable),
    /// More bytes than AES-GCM takes in one message: 2^36 - 32.
    #[error("the plaintext is too long for one message")]
    TooLong,
}

/// A format that is made in this way: its magic and the label under which its keys are derived.
pub(super) struct Format {
    pub(super) magic: &'static [u8; 4],
    label: &'static [u8],
}

pub(super) const SKD1: Format = Format { magic: b"SKD1", label: labels::MESSAGE };
pub(super) const SKR1: Format = Format { magic: b"SKR1", label: labels::RECORD_SEAL };

/// Whose message it is: the key, and the id that stands for it in the header.
pub(super) struct Owner<'a> {
    pub(super) format: Format,
    pub(super) key: &'a [u8; 32],
    pub(super) id: [u8; 8],
}

/// A sealed value, cut into its fields; nothing in it is verified.
pub(super) struct Fields<'a> {
    pub(super) magic: &'a [u8; 4],
    pub(super) owner_id: &'a [u8; 8],
    salt: &'a [u8; SALT_BYTES],
    commitment: &'a [u8; 32],
    header: &'a [u8; HEADER_BYTES],
    pub(super) body: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

/// What is derived for one message. It lives on the stack, for one call.
struct MessageKey {
    key: Zeroizing<[u8; 32]>,
    nonce: [u8; 12],
    commitment: [u8; 32],
}

impl<'a> Fields<'a> {
    /// Cuts a value of at least [`OVERHEAD`] bytes.
    pub(super) fn cut(sealed: &'a [u8]) -> Option<Self> {
        let (header, rest) = sealed.split_first_chunk::<HEADER_BYTES>()?;
        let (body, tag) = rest.split_last_chunk()?;
        let (magic, rest) = header.split_first_chunk()?;
        let (owner_id, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let commitment = rest.first_chunk()?;
        Some(Self { magic, owner_id, salt, commitment, header, body, tag })
    }
}

/// Seals `body` in place; gives the header and the tag that go before and after it.
///
/// # Errors
/// [`SealError::TooLong`]; the caller wipes the body.
pub(super) fn seal_in_place(
    owner: &Owner<'_>,
    context: &Context,
    salt: &[u8; SALT_BYTES],
    body: &mut [u8],
) -> Result<([u8; HEADER_BYTES], [u8; TAG_BYTES]), SealError> {
    let derived = derive(owner, context, salt);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(owner.format.magic);
    header[4..12].copy_from_slice(&owner.id);
    header[12..44].copy_from_slice(salt);
    header[44..].copy_from_slice(&derived.commitment);
    let tag = primitives::seal_in_place(&derived.key, &derived.nonce, &header, body)
        .map_err(|primitives::Refused| SealError::TooLong)?;
    Ok((header, tag))
}

/// Opens `body`, a copy of the fields' body that the caller wipes, in place.
///
/// # Errors
/// The first check that failed, in the order magic, owner, commitment, tag.
pub(super) fn open_in_place(
    owner: &Owner<'_>,
    context: &Context,
    fields: &Fields<'_>,
    body: &mut [u8],
) -> Result<(), Rejected> {
    if fields.magic != owner.format.magic {
        return Err(Rejected::Magic);
    }
    if *fields.owner_id != owner.id {
        return Err(Rejected::Owner);
    }
    let derived = derive(owner, context, fields.salt);
    if !bool::from(derived.commitment.ct_eq(fields.commitment)) {
        return Err(Rejected::Commitment);
    }
    primitives::open_in_place(&derived.key, &derived.nonce, fields.header, body, fields.tag)
        .map_err(|primitives::Refused| Rejected::Body)
}

/// okm = E(owner, label || owner id || salt || SHA-256(context), 76); key, nonce and commitment are its parts in that
/// order.
fn derive(owner: &Owner<'_>, context: &Context, salt: &[u8; SALT_BYTES]) -> MessageKey {
    let context_hash = primitives::sha256(context.encoded());
    let mut okm = Zeroizing::new([0; 76]);
    primitives::expand(owner.key, &[owner.format.label, &owner.id, salt, &context_hash], &mut okm);
    let okm: &[u8; 76] = &okm;
    let mut derived = MessageKey { key: Zeroizing::new([0; 32]), nonce: [0; 12], commitment: [0; 32] };
    derived.key.copy_from_slice(&okm[..32]);
    derived.nonce.copy_from_slice(&okm[32..44]);
    derived.commitment.copy_from_slice(&okm[44..]);
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_format_ends_in_its_magic() {
        for format in [SKD1, SKR1] {
            assert_eq!(format.label, [b"servos-keyd/".as_slice(), format.magic].concat());
        }
    }

    #[test]
    fn a_message_never_opens_as_a_record_seal_of_the_same_key() {
        let owner = |format| Owner { format, key: &[1; 32], id: [2; 8] };
        let mut body = *b"secret";
        let (header, tag) = seal_in_place(&owner(SKD1), &Context::empty(), &[3; 32], &mut body).unwrap();
        let mut sealed = [&header[..], &body, &tag].concat();
        assert_eq!(open(&owner(SKD1), &sealed), Ok(b"secret".to_vec()));
        assert_eq!(open(&owner(SKR1), &sealed), Err(Rejected::Magic));
        sealed[2] = b'R';
        assert_eq!(open(&owner(SKR1), &sealed), Err(Rejected::Commitment));
    }

    #[test]
    fn the_first_check_that_fails_is_the_one_named() {
        let owner = Owner { format: SKD1, key: &[1; 32], id: [2; 8] };
        let mut body = [7; 5];
        let (header, tag) = seal_in_place(&owner, &Context::empty(), &[3; 32], &mut body).unwrap();
        let sealed = [&header[..], &body, &tag].concat();
        for (at, reason) in [
            (0, Rejected::Magic),
            (4, Rejected::Owner),
            (12, Rejected::Commitment),
            (44, Rejected::Commitment),
            (76, Rejected::Body),
            (96, Rejected::Body),
        ] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&owner, &damaged), Err(reason), "byte {at}");
        }
    }

    fn open(owner: &Owner<'_>, sealed: &[u8]) -> Result<Vec<u8>, Rejected> {
        let fields = Fields::cut(sealed).ok_or(Rejected::Length)?;
        let mut body = fields.body.to_vec();
        open_in_place(owner, &Context::empty(), &fields, &mut body).map(|()| body)
    }
}
