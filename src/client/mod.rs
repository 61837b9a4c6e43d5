//! The typed Rust client: what a component of ServOS, the operator's tool and the tests speak to the daemon with.
//!
//! Must never turn a refusal into an absent or empty value, and never put a secret into an error.
//! Called by applications (cargo feature `client`), by `cli` and by the tests.
//!
//! Every call demands what makes a mistake visible: the key that is expected, and a [`Context`](context::Context) that
//! says which cell a value belongs to. Every failure is an [`Error`](error::Error); none of them may be treated as "there
//! is no secret". A client is cheap to clone, connects when it is first used, and connects anew by itself when the daemon
//! was restarted or has closed an idle connection. It belongs to the tokio runtime of its first call.
//!
//! What is opened is wiped when it is dropped. What passes through the transport's buffers on its way is not: a process
//! that holds many secrets should use an allocator that zeroizes what is freed.
//!
//! ```no_run
//! use servos_keyd::client::context::Context;
//! use servos_keyd::client::error::Error;
//! use servos_keyd::client::key_name::KeyName;
//! use servos_keyd::client::key_service::Client;
//!
//! struct Servers {
//!     keys: Client,
//!     key: KeyName,
//! }
//!
//! impl Servers {
//!     /// At the start of the component: `canary` is the value kept in the component's own database.
//!     async fn open(canary: &[u8]) -> Result<Self, Error> {
//!         let keys = Client::new(servos_keyd::client::COMPONENT_SOCKET);
//!         // Anything but "this database belongs to this keyring" is an error here, before a value is touched.
//!         keys.verify_canary(canary).await?;
//!         Ok(Self { keys, key: KeyName::new("ssh-keys")? })
//!     }
//!
//!     /// An id the application makes itself: a row number does not exist before the INSERT.
//!     fn cell(id: &str) -> Context {
//!         Context::new("table", "servers").with("id", id).with("column", "ssh_private_key")
//!     }
//!
//!     /// Stores a private key, and in the same transaction the sealed keyring that opens it, if it is not there yet.
//!     async fn store(&self, id: &str, private_key: &[u8], database: &mut Database) -> Result<(), Error> {
//!         let held = database.keyring_generation();
//!         let sealed = self
//!             .keys
//!             .encrypt_keeping_keyring(&self.key, private_key, &Self::cell(id), held, |export, generation| {
//!                 database.store_keyring(export, generation)
//!             })
//!             .await?;
//!         database.store_value(id, &sealed.to_base64()).map_err(Error::not_kept)
//!     }
//!
//!     /// Loads a private key; the column holds base64 text.
//!     async fn load(&self, id: &str, column: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
//!         Ok(self.keys.decrypt_base64(&self.key, column, &Self::cell(id)).await?.plaintext)
//!     }
//! }
//! # struct Database;
//! # impl Database {
//! #     fn keyring_generation(&self) -> u64 { 0 }
//! #     fn store_keyring(&mut self, _: &[u8], _: u64) -> Result<(), std::io::Error> { Ok(()) }
//! #     fn store_value(&mut self, _: &str, _: &str) -> Result<(), std::io::Error> { Ok(()) }
//! # }
//! ```

pub mod backup;
pub mod canary;
pub mod connection;
pub mod context;
pub mod error;
#[cfg(feature = "daemon")]
pub mod health;
pub mod key_admin;
pub mod key_name;
pub mod key_service;
pub mod keyring;
pub mod rotation;
pub mod value;

#[cfg(test)]
#[cfg(feature = "daemon")]
mod behaviour;
#[cfg(test)]
#[cfg(feature = "daemon")]
pub(crate) mod fake_daemon;
#[cfg(test)]
#[cfg(feature = "daemon")]
pub(crate) mod fake_rotation;

/// Where components find the daemon.
pub const COMPONENT_SOCKET: &str = "/run/servos/keyd.sock";

/// Where operators find the daemon.
pub const ADMIN_SOCKET: &str = "/run/servos/keyd-admin.sock";
