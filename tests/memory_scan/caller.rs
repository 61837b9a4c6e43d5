//! One caller of the load: it makes one call after the other, of kinds that it draws or of one alone.
//!
//! Must never count a call that was not answered as it must be. Called by `load`.

use crate::keys::Outcome;
use crate::load::{LEGACY_BYTES, Markers, Older, context, filled, is_bug};
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::key_service::Client;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Messages whose keys are looked for: the last ones, and a part of all.
pub const LAST: usize = 256;
const ONE_OF: usize = 500;
/// What of a message tells its key.
pub const HEADER_BYTES: usize = 76;

/// A kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Encrypt,
    Decrypt,
    ReEncrypt,
    VerifyCanary,
    IssueCanary,
    LegacyDecrypt,
    LegacyReEncrypt,
    WhoAmI,
    ExportKeyring,
    DecryptOlder,
}

/// Each kind of call, and how many they are of a hundred.
pub const KINDS: [(Kind, &str, u64); 10] = [
    (Kind::Encrypt, "Encrypt", 36),
    (Kind::Decrypt, "Decrypt", 26),
    (Kind::ReEncrypt, "ReEncrypt", 14),
    (Kind::VerifyCanary, "VerifyCanary", 5),
    (Kind::IssueCanary, "IssueCanary", 4),
    (Kind::LegacyDecrypt, "legacy Decrypt", 3),
    (Kind::LegacyReEncrypt, "legacy ReEncrypt", 2),
    (Kind::WhoAmI, "WhoAmI", 3),
    (Kind::ExportKeyring, "ExportKeyring", 1),
    (Kind::DecryptOlder, "Decrypt of older", 6),
];

/// One caller, which waits for each answer.
pub struct Caller {
    pub client: Client,
    pub key: KeyName,
    pub draw: u64,
    pub markers: Markers,
    pub legacy: Vec<u8>,
    pub older: Arc<Vec<Older>>,
    pub broken: Option<Arc<AtomicUsize>>,
    pub sealed: Vec<(Vec<u8>, usize, [u8; 16])>,
    pub canary: Vec<u8>,
    pub messages: Arc<Mutex<VecDeque<Vec<u8>>>>,
    pub sampled: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Has callers make so many calls together, all of one kind if one is given; gives how many of each kind were answered.
pub async fn work(callers: Vec<Caller>, alone: Option<Kind>, calls: usize) -> Outcome<Vec<(&'static str, usize)>> {
    let left = Arc::new(AtomicUsize::new(calls));
    let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..KINDS.len()).map(|_| AtomicUsize::new(0)).collect());
    let work = |caller: Caller| tokio::spawn(caller.work(alone, Arc::clone(&left), Arc::clone(&counts)));
    let working: Vec<_> = callers.into_iter().map(work).collect();
    for caller in working {
        caller.await??;
    }
    Ok(KINDS.iter().zip(counts.iter()).map(|(kind, count)| (kind.1, count.load(Ordering::Relaxed))).collect())
}

impl Caller {
    /// Makes what a call of this kind works on.
    pub async fn prepare(&mut self, kind: Kind) -> Outcome<()> {
        match kind {
            Kind::Decrypt | Kind::ReEncrypt => self.call(Kind::Encrypt).await,
            Kind::VerifyCanary => self.call(Kind::IssueCanary).await,
            _ => Ok(()),
        }
    }

    async fn work(mut self, alone: Option<Kind>, left: Arc<AtomicUsize>, counts: Arc<Vec<AtomicUsize>>) -> Outcome<()> {
        let one_less = |left: usize| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let kind = alone.unwrap_or_else(|| self.kind());
            match (self.call(kind).await, &self.broken) {
                (Ok(()), _) => counts[kind as usize].fetch_add(1, Ordering::Relaxed),
                (Err(error), Some(broken)) if is_bug(&*error) => broken.fetch_add(1, Ordering::Relaxed),
                (Err(error), _) => return Err(format!("{kind:?}: {error}").into()),
            };
        }
        Ok(())
    }

    /// What is asked next; what has nothing to work on yet is an Encrypt.
    fn kind(&mut self) -> Kind {
        let mut drawn = self.below(100);
        for (kind, _, of_hundred) in KINDS {
            if drawn < of_hundred {
                let lacking = match kind {
                    Kind::Decrypt | Kind::ReEncrypt => self.sealed.is_empty(),
                    Kind::VerifyCanary => self.canary.is_empty(),
                    Kind::DecryptOlder => self.older.is_empty(),
                    _ => false,
                };
                return if lacking { Kind::Encrypt } else { kind };
            }
            drawn -= of_hundred;
        }
        Kind::Encrypt
    }

    async fn call(&mut self, kind: Kind) -> Outcome<()> {
        let context = context();
        match kind {
            Kind::Encrypt => {
                let length = self.length();
                let plaintext = filled(&self.markers.load, length);
                let sealed = self.client.encrypt(&self.key, &plaintext, &context).await?.ciphertext;
                self.keep(sealed, length, self.markers.load);
            }
            Kind::Decrypt => {
                let at = self.below(self.sealed.len() as u64) as usize;
                let (sealed, length, marker) = &self.sealed[at];
                let opened = self.client.decrypt(&self.key, sealed, &context).await?;
                if *opened.plaintext != filled(marker, *length) {
                    return Err("it opens to something else".into());
                }
            }
            Kind::ReEncrypt => {
                let at = self.below(self.sealed.len() as u64) as usize;
                let (sealed, length, marker) = self.sealed.swap_remove(at);
                let moved = self.client.reencrypt(&self.key, &sealed, &context).await?.sealed.ciphertext;
                self.keep(moved, length, marker);
            }
            Kind::VerifyCanary => drop(self.client.verify_canary(&self.canary).await?),
            Kind::IssueCanary => self.canary = self.client.issue_canary().await?,
            Kind::LegacyDecrypt => {
                drop(self.client.danger_decrypt_legacy(&self.key, &self.legacy, &context).await?);
            }
            Kind::LegacyReEncrypt => {
                let (key, client) = (&self.key, &self.client);
                let moved = client.danger_reencrypt_legacy(key, &self.legacy, &context, key, &context).await?;
                self.keep(moved.sealed.ciphertext, LEGACY_BYTES, self.markers.legacy);
            }
            Kind::WhoAmI => drop(self.client.who_am_i().await?),
            Kind::ExportKeyring => drop(self.client.export_keyring().await?),
            Kind::DecryptOlder => self.open_older().await?,
        }
        Ok(())
    }

    async fn open_older(&mut self) -> Outcome<()> {
        let at = self.below(self.older.len() as u64) as usize;
        let Older { key, sealed, length } = &self.older[at];
        let opened = self.client.decrypt(key, sealed, &context()).await?;
        if *opened.plaintext == filled(&self.markers.load, *length) {
            Ok(())
        } else {
            Err("it opens to something else".into())
        }
    }

    fn keep(&mut self, sealed: Vec<u8>, length: usize, marker: [u8; 16]) {
        let header = sealed[..HEADER_BYTES].to_vec();
        if self.below(ONE_OF as u64) == 0
            && let Ok(mut sampled) = self.sampled.lock()
        {
            sampled.push(header.clone());
        }
        if let Ok(mut messages) = self.messages.lock() {
            messages.push_back(header);
            if messages.len() > LAST {
                messages.pop_front();
            }
        }
        if self.sealed.len() >= 16 {
            self.sealed.remove(0);
        }
        self.sealed.push((sealed, length, marker));
    }

    /// The length of a secret: mostly short, now and then a megabyte.
    fn length(&mut self) -> usize {
        match self.below(2_000) {
            0 => 1 << 20,
            1..=20 => 65_536,
            21..=100 => 16_384,
            _ => usize::try_from(32 + self.below(2_000)).unwrap_or(32),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw ^= self.draw << 13;
        self.draw ^= self.draw >> 7;
        self.draw ^= self.draw << 17;
        self.draw % bound
    }
}
