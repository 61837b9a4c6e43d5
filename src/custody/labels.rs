//! Every label of HKDF-Expand, one for each use of a key, so that no two uses ever share derived bytes.
//!
//! Must never hold a label that another begins with: what follows the one could make it equal to the other.
//! Called by whatever in custody derives a key.

/// From the master key: its fingerprint. 8 bytes.
pub(super) const MASTER_FINGERPRINT: &[u8] = b"servos-keyd/master/fingerprint";
/// From the master key: the key that seals the root.
pub(super) const MASTER_SEAL: &[u8] = b"servos-keyd/master/seal";
/// From the master key: the key that seals the canary.
pub(super) const MASTER_CANARY: &[u8] = b"servos-keyd/master/canary";
/// From the root key: its id.
pub(super) const ROOT_ID: &[u8] = b"servos-keyd/root/id";
/// From the root key: the key that seals versions, the identity, legacy keys and the previous root.
pub(super) const ROOT_SEAL: &[u8] = b"servos-keyd/root/seal";
/// From the root key: the key of the snapshot MAC.
pub(super) const ROOT_MAC: &[u8] = b"servos-keyd/root/mac";
/// From the identity: the key of clients' canaries.
pub(super) const IDENTITY_CANARY: &[u8] = b"servos-keyd/identity/canary";
/// From a version, followed by version id, salt and context hash: one message's key, nonce and commitment.
pub(super) const MESSAGE: &[u8] = b"servos-keyd/SKD1";
/// From a sealing key, followed by owner id, salt and context hash: one record seal's key, nonce and commitment.
pub(super) const RECORD_SEAL: &[u8] = b"servos-keyd/SKR1";

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, with the two that are spoken for by formats not written here: streams and MACs.
    const TABLE: [&[u8]; 11] = [
        MASTER_FINGERPRINT,
        MASTER_SEAL,
        MASTER_CANARY,
        ROOT_ID,
        ROOT_SEAL,
        ROOT_MAC,
        IDENTITY_CANARY,
        MESSAGE,
        RECORD_SEAL,
        b"servos-keyd/SKS1",
        b"servos-keyd/SKM1",
    ];

    #[test]
    fn no_label_begins_with_another() {
        for (i, one) in TABLE.iter().enumerate() {
            for (j, other) in TABLE.iter().enumerate() {
                assert!(i == j || !one.starts_with(other), "{one:?} begins with {other:?}");
            }
        }
    }

    #[test]
    fn every_constant_of_this_file_is_in_the_table() {
        let declared = include_str!("labels.rs").lines().filter(|line| line.starts_with("pub(super) const ")).count();
        assert_eq!(declared + 2, TABLE.len());
    }
}
