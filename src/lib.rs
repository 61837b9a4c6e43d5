//! servos-keyd: a daemon that alone holds a ServOS installation's master key, and seals and opens its secrets for
//! the components over a Unix socket.
//!
//! This page is the map of the house, for whoever works on the daemon. Who only wants to call it reads [`client`]; who
//! runs it reads the README and `docs/`.
//!
//! # The rooms
//!
//! One package, one library, two thin binaries. Nothing imports upwards, no two rooms import each other, and everything
//! that can hurt is in two of them, `sys` and `custody`.
//!
//! - `proto` is the contract as code: the services, the store's records, and a codec whose errors say nothing.
//! - `telemetry` is the log, with every event's name in one list, and the panic hook that never shows a message.
//! - `sys` is the only `unsafe` code: locked memory, hardening, the sandbox, peers, sockets, the environment,
//!   wiping.
//! - `custody` is the key core: bytes in, bytes out; no I/O, no clock, no log; no other room can name a raw key.
//! - `store` is what survives a restart: the port, the records, the redb adapter, the mark, the backups.
//! - `auth` is who may do what: from peer and policy to a permit that only the check can build.
//! - `config` is what the operator said, valid when it exists, and the places the master key is read from.
//! - `operations` is what the daemon does: one file for each RPC, each a plain function that demands a permit.
//! - `rpc` is proto in and proto out; in it, `status` alone turns a refusal into a gRPC code.
//! - `server` is the process on its sockets: accept, limits, deadlines, idle connections, drain.
//! - `client` is the typed client, for components, the tool and the tests; it builds alone with the feature `client`.
//! - `cli` is the commands of both binaries, and the one place where all rooms meet.
//!
//! # Who may name whom
//!
//! The table that the code is held to. A room may always name itself.
//!
//! | room | may name | async |
//! |---|---|---|
//! | `proto` | nothing | - |
//! | `telemetry` | nothing | - |
//! | `sys` | nothing | no |
//! | `custody` | `sys` | no |
//! | `store` | `proto` | no |
//! | `auth` | `sys` | no |
//! | `config` | `sys`, `telemetry` | no |
//! | `operations` | `custody`, `store`, `auth`, `telemetry` | no |
//! | `rpc` | `operations`, `auth`, `proto`, `telemetry` | yes |
//! | `server` | `rpc`, `sys`, `telemetry` | yes |
//! | `client` | `proto` | yes |
//! | `cli` | everything | yes |
//!
//! Key sources, clock and randomness come into `operations` as arguments from `cli`. What waits for the disk runs on
//! one thread, the writer's, and is awaited; sealing and opening happen in memory and never wait for the disk. What takes
//! long on a large store (a backup, an export, the reading of a self-check) the writer has done on a thread that gives way
//! to those that serve calls, and waits for it: `sys::background`.
//!
//! # A call
//!
//! The kernel names the peer when it connects (`sys::peer`). `server` carries the call, within its limits, to the
//! handler in `rpc`, which parses the fields once. `auth` admits the peer to the operation, and, when the name or the
//! ciphertext's header has been resolved, gives the permit for the key. `operations` does the work on the keyring of the
//! moment, an immutable value: `custody` derives the message key, seals or opens, and wipes. A change is a job for the
//! writer: commit, then publish a new keyring, then the mark. What went wrong is a `Refusal`, logged once with its
//! cause, and mapped by `rpc::status`.
//!
//! # What the writer does unasked
//!
//! Between its jobs: a look whether store, mark and backups are still where they were (`operations::ledger_files`), and one
//! whether what failed works again; the next step of a rotation; some records of a self-check.
//!
//! *The store or its mark refuses a change.* `operations::ledger_trouble` tells why, and the writer tries again at the intervals
//! of `operations::probes`: the store opened anew and checked, then a commit that changes nothing but the MAC. Whether a
//! change is there may not be known: then `operations::phase` holds all that it would mean, and no other is taken until
//! the store shows it or the state before. A store that shows neither takes no change until a restart.
//! `operations::health` has what is so, for status, the health service and the service manager.
//!
//! *The self-check*, `operations::check`, reads the store on the disk, its mark and its newest backup, and opens every seal.
//! It writes a new backup or mark where one is not good; a damaged store takes no change until a later check finds it
//! whole. `servos-keyd fsck` looks at the same offline, and writes nothing.
//!
//! # What the daemon tells unasked
//!
//! *The log* (`telemetry::log`) is lines on standard error, or, where that is systemd's journal, entries with fields
//! (`telemetry::journal`). What a peer can have refused without end takes some lines a minute (`rpc::refusals`).
//!
//! *Metrics* (`rpc::metrics`, named in `telemetry::metrics`) are the numbers of GetStatus as OpenMetrics text, on a socket of
//! their own that speaks HTTP/1.1 (`server::metrics`).
//!
//! *The service manager* (`server::notify`) hears READY, one line on how things are, and, from `cli::keyd::watchdog`, that the
//! self-test was good: never that time has passed.
//!
//! *A reload*, at SIGHUP (`cli::keyd::reload`): the configuration read again, what takes no restart put in force, the rest
//! named; what is not valid changes nothing.
//!
//! # A start
//!
//! Harden the process, while it has one thread and no secret → take inherited sockets → configuration → log → locked
//! memory, and the environment's key out of the environment → judge the places of the store's files, and lock its
//! directory → bind → close what is not needed, files and system calls, to this thread and all to come → see that threads
//! are to be had → look at the store without changing a byte → read the key → root, MAC, mark, canary → open the store for
//! writing → finish a rotation that is pending, where the key's sources allow it → self-test → threads → READY → signal →
//! drain → wipe. `cli::keyd::serve` reads as these lines.
//!
//! A start that fails on sockets of the service manager answers whoever waits in them, for a moment, with UNAVAILABLE, and root
//! with the cause: `cli::keyd::turn_away`.
//!
//! # The life of a key
//!
//! ```text
//! master key          32 bytes, the operator's; only ever HKDF input; seals the root and the canary
//!   root key          random; only ever HKDF input; seals all below, and keys the snapshot's MAC
//!     identity        random, made with the store, never changed; authenticates clients' canaries
//!     legacy key      a former master key, used raw, only to open values from before this daemon
//!     data key        a name ("ssh-keys") with versions
//!       version       random; primary, enabled or disabled; messages are sealed under the primary
//!         message key derived for one message; lives for one call
//! ```
//!
//! A *master key* goes from its source straight into locked memory. It is never made but by `--dev` where nothing is
//! yet, and is proved by the root, the MAC and the canary before anything is served.
//!
//! It is replaced in two phases. *Begin*: a backup, then one commit that adds the root under the new key and a second
//! canary; both keys open the store. *Finish*, once every source yields the new key, or *abort*, while none does: one
//! commit with a new root under that key alone, which keeps the old root sealed under the new one; then, step by step and
//! resumed at every start, every seal made anew, the old root dropped once the mark names the new one, the file written
//! anew, and, unless told otherwise, a new version of every data key behind one backup. `operations::rotation` has it.
//!
//! A *version* is made in place from the kernel's randomness, sealed under the root, and committed. Only when a backup
//! that holds it is durable does a second commit make it primary: so nothing is ever sealed under a version that is in
//! no backup. When a newer one takes its place it goes on opening. When its key is deleted, the name goes in one commit,
//! and its versions are disabled; their seals stay in the store.
//!
//! A *legacy key* is held from the adoption on purpose until it is retired; while one is, a rotation adds the old and the
//! new master key, for components that read the key themselves. When it is retired, its record is dropped and the
//! store is written into a new file, so that no freed page keeps the seal.
//!
//! In memory, every key that outlives a call is in `sys::locked`; one that does not is on a stack that is cleared. When
//! the daemon ends, all are wiped. How keys are used and wiped is told on the page of `custody`.
#![doc = include_str!("../docs/formats.md")]

#[cfg(feature = "daemon")]
pub mod auth;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod custody;
#[cfg(feature = "daemon")]
pub mod operations;
pub mod proto;
#[cfg(feature = "daemon")]
pub mod rpc;
#[cfg(feature = "daemon")]
pub mod server;
#[cfg(feature = "daemon")]
pub mod store;
#[cfg(feature = "daemon")]
pub mod sys;
#[cfg(feature = "daemon")]
pub mod telemetry;
