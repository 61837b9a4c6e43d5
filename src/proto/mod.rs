//! The generated code: the services' messages and stubs, and the store's records.
//!
//! Must never name another room, and holds nothing written by hand but the codec.
//! Called by `rpc` and `client` (services), and by `store` (records).
#![allow(missing_docs, reason = "generated; the documentation is in proto/")]
#![allow(clippy::all, clippy::pedantic, reason = "generated")]

pub mod codec;

/// `servos.keyd.v1`: what the daemon serves.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/servos.keyd.v1.rs"));
}

/// `servos.keyd.store.v1`: what the store keeps.
#[cfg(feature = "daemon")]
pub mod records {
    include!(concat!(env!("OUT_DIR"), "/servos.keyd.store.v1.rs"));
}

/// The encoded file descriptor of `KeyService` alone, for reflection where nothing else is served.
#[cfg(feature = "daemon")]
pub const KEY_SERVICE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/key_service.bin"));

/// The encoded file descriptors of all of `servos.keyd.v1`, for reflection.
#[cfg(feature = "daemon")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/services.bin"));
