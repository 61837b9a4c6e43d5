//! gRPC in, gRPC out: requests become operations, their outcomes become answers.
//!
//! Must never decide anything: checks are `auth`'s, work is `operations`', and only `status` knows codes.
//! Called by `server`, which hands in requests with their connection's peer.

mod answer;
mod backup;
pub mod budget;
pub mod connection;
mod convert;
pub mod key_admin;
pub mod key_service;
pub mod metrics;
pub mod received;
mod refusals;
mod request;
mod rotation;
pub mod status;
mod traffic;
pub mod turned_away;
