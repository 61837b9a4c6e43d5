//! A daemon under watch: what is known of its keys, and every look at its memory.
//!
//! Must never call a moment idle before the time of idle connections has passed. Called by `moments` and the other lives.

use crate::installation::{Daemon, Installation};
use crate::keys::{Keys, Outcome};
use crate::known::Known;
use crate::load::{CONTEXT, Load, admin, is_bug};
use crate::process::Process;
use crate::scan::{Scan, scan};
use crate::table;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::store::{backup_file, redb_adapter};
use std::time::{Duration, Instant};

/// So long after its time a connection without a call is closed.
const BEHIND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the keys are to be, at a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// In memory of memfd_secret, which the kernel gives: nothing else is locked.
    InSecretPages,
    /// In locked pages, as memfd_secret is refused: there some are found, and nowhere else.
    InLockedPages,
    /// The same in a life that drops no key: each is found there, whole.
    EachInLockedPages,
    /// Nowhere: the process ends.
    Nowhere,
}

/// One look.
pub struct Moment {
    pub name: String,
    /// Whether nothing may be found: it is idle. Else plaintexts, which buffers in use hold, are only told.
    pub idle: bool,
    /// Connections that were open.
    pub connections: usize,
    pub kept: Kept,
    /// Keys that must be found in locked pages.
    pub owed: Vec<String>,
    pub scan: Scan,
}

/// All that was seen.
#[derive(Default)]
pub struct Seens {
    pub moments: Vec<Moment>,
    pub calls: Vec<(&'static str, usize)>,
    /// Secrets, and forms of them, that were looked for at the end of a life; the most of all lives.
    pub secrets: (usize, usize),
    /// Messages whose keys were looked for.
    pub messages: usize,
    /// Calls that broke off where panics were planted.
    pub panics: usize,
}

impl Seens {
    /// Adds what another life saw.
    pub fn add(&mut self, other: Self) {
        self.moments.extend(other.moments);
        self.count(other.calls);
        self.secrets = self.secrets.max(other.secrets);
        self.messages += other.messages;
        self.panics += other.panics;
    }

    /// Adds calls that were answered.
    pub fn count(&mut self, calls: Vec<(&'static str, usize)>) {
        for (kind, count) in calls {
            match self.calls.iter_mut().find(|(known, _)| *known == kind) {
                Some(sum) => sum.1 += count,
                None => self.calls.push((kind, count)),
            }
        }
    }
}

/// A daemon, and what is known of it.
pub struct Watch {
    pub installation: Installation,
    pub daemon: Daemon,
    /// What it has where nobody is connected.
    sockets: usize,
    pub keys: Keys,
    pub known: Known,
    kept: Kept,
    pub seens: Seens,
}

impl Watch {
    /// Watches a daemon to which nobody is connected yet.
    ///
    /// # Errors
    /// A record of the installation that does not open.
    pub fn new(
        installation: Installation,
        daemon: Daemon,
        kept: Kept,
        mut keys: Keys,
        mut known: Known,
    ) -> Outcome<Self> {
        keys.add_all(&redb_adapter::view(&installation.path("keyd.redb"))?.records, &mut known)?;
        let sockets = Process::sockets(daemon.id());
        Ok(Self { installation, daemon, sockets, keys, known, kept, seens: Seens::default() })
    }

    pub fn operator(&self) -> AdminClient {
        admin(&self.installation.path("admin.sock"))
    }

    /// Learns the keys that came to be, from a backup, and those of the messages that were sealed.
    pub async fn learn(&mut self, load: &Load) -> Outcome<()> {
        let fetched = loop {
            match answered(self.operator().fetch_backup().await)? {
                Some(fetched) => break fetched,
                None if load.may_break() => {}
                None => return Err("a backup broke off by a bug".into()),
            }
        };
        let backup = backup_file::decode(&fetched.bytes)?;
        self.keys.add_all(&backup.records, &mut self.known)?;
        self.learn_messages(load)
    }

    /// Learns the keys of the messages that were sealed, under versions that are known already.
    pub fn learn_messages(&mut self, load: &Load) -> Outcome<()> {
        for sealed in load.sample() {
            self.learn_message("key of a message", &sealed)?;
        }
        Ok(())
    }

    /// Learns the key of one message.
    ///
    /// # Errors
    /// It is sealed under a version that is not known, or does not commit to the key that is derived for it.
    pub fn learn_message(&mut self, name: &str, sealed: &[u8]) -> Outcome<()> {
        let key = self.keys.message_key(sealed, &CONTEXT)?;
        if self.known.add_key(name, &key) {
            self.seens.messages += 1;
        }
        Ok(())
    }

    /// Looks once the daemon has closed every connection that it has, by itself.
    pub async fn idle(&mut self, name: &str) -> Outcome<()> {
        tokio::time::sleep(self.installation.idle_connection + BEHIND).await;
        let began = Instant::now();
        while Process::sockets(self.daemon.id()) > self.sockets {
            if began.elapsed() > PATIENCE {
                return Err(format!("{name}: the daemon does not close connections without a call").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.look(name, true)
    }

    pub fn look(&mut self, name: &str, idle: bool) -> Outcome<()> {
        let connections = Process::sockets(self.daemon.id()).saturating_sub(self.sockets);
        let scan = scan(self.daemon.id(), &self.known)?;
        let owed = match self.kept {
            Kept::EachInLockedPages => self.keys.held().map(str::to_owned).collect(),
            Kept::InSecretPages | Kept::InLockedPages | Kept::Nowhere => Vec::new(),
        };
        let moment = Moment { name: name.to_owned(), idle, connections, kept: self.kept, owed, scan };
        table::findings(&moment);
        self.seens.moments.push(moment);
        Ok(())
    }

    /// What was seen of a daemon that still lives.
    pub fn end(mut self) -> Outcome<Seens> {
        if !self.daemon.lives() {
            return Err(format!("the daemon has ended: {}", self.daemon.said()).into());
        }
        self.seens.secrets = self.known.size();
        Ok(self.seens)
    }

    /// Waits until the last step of a rotation is done.
    pub async fn rotated(&self) -> Outcome<()> {
        let (began, operator) = (Instant::now(), self.operator());
        while operator.status().await?.rotation.is_some() {
            if began.elapsed() > PATIENCE {
                return Err("the rotation does not end".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Whether a call was answered; a bug in the daemon is none of the errors that may be.
pub fn answered<T>(told: Result<T, servos_keyd::client::error::Error>) -> Outcome<Option<T>> {
    match told {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_bug(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A key that nobody would take for a placeholder.
pub fn key() -> Outcome<[u8; 32]> {
    let mut key = [0; 32];
    servos_keyd::sys::random::fill(&mut key)?;
    key[0] |= 0x80;
    Ok(key)
}

pub fn marker() -> Outcome<[u8; 16]> {
    let mut marker = [0; 16];
    servos_keyd::sys::random::fill(&mut marker)?;
    // Never by chance the magic of a message.
    marker[0] |= 0x80;
    Ok(marker)
}
