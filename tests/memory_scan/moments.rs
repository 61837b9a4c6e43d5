//! The life of one daemon, and the moments at which all of its memory is searched.
//!
//! Must never call a moment idle before the time of idle connections has passed. Called by `main`.

use crate::installation::{Daemon, Installation};
use crate::keys::{Keys, Outcome, fingerprint};
use crate::known::Known;
use crate::load::{CONTEXT, Load, Markers, RefusedCall, admin};
use crate::process::Process;
use crate::scan::{Scan, Seen, scan};
use crate::table;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::rotation::{AbortRotation, BeginRotation};
use servos_keyd::store::backup_file;
use servos_keyd::store::redb_adapter;
use std::path::Path;
use std::time::{Duration, Instant};

/// The daemon closes a connection that has been without a call for ten seconds.
const IDLE: Duration = Duration::from_secs(11);
const PATIENCE: Duration = Duration::from_secs(60);
/// How often each kind of call is refused on each connection.
const REFUSALS: usize = 40;

/// One look.
pub struct Moment {
    pub name: String,
    /// Whether nothing may be found: it is idle. Else it is only told.
    pub idle: bool,
    /// Connections that were open.
    pub connections: usize,
    pub scan: Scan,
}

/// All that was seen.
#[derive(Default)]
pub struct Seens {
    pub moments: Vec<Moment>,
    pub calls: Vec<(&'static str, usize)>,
    /// Secrets, and forms of them, that were looked for at the end.
    pub secrets: (usize, usize),
}

struct Watch {
    installation: Installation,
    daemon: Daemon,
    /// What it has where nobody is connected.
    sockets: usize,
    keys: Keys,
    known: Known,
    seen: Seen,
    seens: Seens,
}

/// Leads a daemon through everything, and another through a start with its key in the environment.
pub async fn all(binary: &Path, calls: usize) -> Outcome<Seens> {
    let mut seens = one_life(binary, calls).await?;
    let (master, mut known, mut keys) = (key()?, Known::default(), Keys::default());
    let installation = Installation::make(binary, &master)?;
    keys.add_master("master key", master, &mut known);
    keys.add_all(&redb_adapter::view(&installation.path("keyd.redb"))?.records, &mut known)?;
    let daemon = installation.serve(&[("SERVOS_MASTER_KEY", &base16ct::lower::encode_string(&master))])?;
    let scan = scan(daemon.id(), &known, &mut Seen::default())?;
    seens.moments.push(Moment {
        name: "at start, key in the environment".to_owned(),
        idle: true,
        connections: 0,
        scan,
    });
    Ok(seens)
}

async fn one_life(binary: &Path, calls: usize) -> Outcome<Seens> {
    let [master, next, aborted, legacy] = [key()?, key()?, key()?, key()?];
    let markers = Markers { load: marker()?, refused: marker()?, legacy: marker()? };
    let mut known = Known::default();
    known.add_marker("plaintext of the load", &markers.load);
    known.add_marker("plaintext of refused calls", &markers.refused);
    known.add_marker("plaintext of legacy values", &markers.legacy);
    known.add_key("legacy key", &legacy);
    let mut keys = Keys::default();
    keys.add_master("master key", master, &mut known);
    keys.add_master("master key to come", next, &mut known);
    keys.add_master("master key never taken", aborted, &mut known);
    let installation = Installation::make(binary, &master)?;
    keys.add_all(&redb_adapter::view(&installation.path("keyd.redb"))?.records, &mut known)?;
    let daemon = installation.serve(&[])?;
    let (seen, seens) = (Seen::default(), Seens::default());
    let sockets = Process::sockets(daemon.id());
    let mut watch = Watch { installation, daemon, sockets, keys, known, seen, seens };
    watch.look("at start", true)?;

    let operator = admin(&watch.installation.path("admin.sock"));
    let legacy_text = base16ct::lower::encode_string(&legacy);
    operator.adopt_legacy_key(legacy_text.as_bytes()).await?;
    watch.idle("after a legacy key was adopted").await?;

    let load = Load::new(&watch.installation.path("keyd.sock"), markers, &legacy);
    watch.seens.calls = load.run(calls).await?;
    watch.learn(&load).await?;
    watch.look("right after the calls", false)?;
    watch.idle(&format!("after {calls} calls over 8 connections")).await?;

    for (kind, name) in [
        (RefusedCall::Damaged, "after refused ciphertexts"),
        (RefusedCall::UnknownKey, "after unknown keys"),
        (RefusedCall::WrongContext, "after wrong contexts"),
        (RefusedCall::TooLarge, "after plaintexts too large"),
        (RefusedCall::Malformed, "after malformed requests"),
    ] {
        load.refuse(kind, REFUSALS).await?;
        watch.idle(name).await?;
    }
    let name = KeyName::new("short-lived")?;
    operator.create_key(&name).await?;
    operator.rotate_key(&name).await?;
    watch.learn(&load).await?;
    operator.delete_key(&name).await?;
    watch.idle("after a key was made, rotated and deleted").await?;
    watch.rotate(&load, &operator, next, aborted).await?;
    watch.seens.calls.iter_mut().zip(load.run(calls / 10).await?).for_each(|(sum, more)| sum.1 += more.1);
    watch.learn(&load).await?;
    operator.retire_legacy_key(&base16ct::lower::encode_string(&fingerprint(&legacy))).await?;
    drop((load, operator));
    watch.idle("after all connections were closed").await?;
    if !watch.daemon.lives() {
        return Err(format!("the daemon has ended: {}", watch.daemon.said()).into());
    }
    watch.seens.secrets = watch.known.size();
    Ok(watch.seens)
}

impl Watch {
    /// A rotation that is aborted, whose key came in the call; then one that is finished, whose key came from a file.
    async fn rotate(&mut self, load: &Load, operator: &AdminClient, next: [u8; 32], aborted: [u8; 32]) -> Outcome<()> {
        let text = base16ct::lower::encode_string(&aborted);
        let name = base16ct::lower::encode_string(&fingerprint(&aborted));
        let begin =
            BeginRotation { new_key_fingerprint: &name, new_key: Some(text.as_bytes()), ..BeginRotation::default() };
        operator.rotate(&begin).await?;
        self.learn(load).await?;
        self.idle("after the begin of a rotation").await?;
        operator.abort_rotation(&AbortRotation { new_key_fingerprint: &name, ..AbortRotation::default() }).await?;
        self.rotated(operator).await?;
        self.learn(load).await?;
        self.idle("after its abort").await?;

        let name = base16ct::lower::encode_string(&fingerprint(&next));
        self.installation.write_key("master.key.next", &next)?;
        operator.rotate(&BeginRotation { new_key_fingerprint: &name, ..BeginRotation::default() }).await?;
        self.learn(load).await?;
        self.idle("after the begin of another").await?;
        self.installation.write_key("master.key", &next)?;
        operator.finish_rotation(&name, false).await?;
        self.rotated(operator).await?;
        self.learn(load).await?;
        self.idle("after its finish").await
    }

    /// Waits until the last step of a rotation is done.
    async fn rotated(&self, operator: &AdminClient) -> Outcome<()> {
        let began = Instant::now();
        while operator.status().await?.rotation.is_some() {
            if began.elapsed() > PATIENCE {
                return Err("the rotation does not end".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Learns the keys that came to be, from a backup, and those of the messages that were sealed.
    async fn learn(&mut self, load: &Load) -> Outcome<()> {
        let operator = admin(&self.installation.path("admin.sock"));
        let backup = backup_file::decode(&operator.fetch_backup().await?.bytes)?;
        self.keys.add_all(&backup.records, &mut self.known)?;
        for sealed in load.sample() {
            if let Some(key) = self.keys.message_key(&sealed, &CONTEXT) {
                self.known.add_key("key of a message", &key);
            }
        }
        Ok(())
    }

    /// Looks once the daemon has closed every connection that it has, by itself.
    async fn idle(&mut self, name: &str) -> Outcome<()> {
        tokio::time::sleep(IDLE).await;
        let began = Instant::now();
        while Process::sockets(self.daemon.id()) > self.sockets {
            if began.elapsed() > PATIENCE {
                return Err(format!("{name}: the daemon does not close connections without a call").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.look(name, true)
    }

    fn look(&mut self, name: &str, idle: bool) -> Outcome<()> {
        let scan = scan(self.daemon.id(), &self.known, &mut self.seen)?;
        let connections = Process::sockets(self.daemon.id()).saturating_sub(self.sockets);
        let moment = Moment { name: name.to_owned(), idle, connections, scan };
        table::findings(&moment);
        self.seens.moments.push(moment);
        Ok(())
    }
}

/// A key that nobody would take for a placeholder.
fn key() -> Outcome<[u8; 32]> {
    let mut key = [0; 32];
    servos_keyd::sys::random::fill(&mut key)?;
    key[0] |= 0x80;
    Ok(key)
}

fn marker() -> Outcome<[u8; 16]> {
    let mut marker = [0; 16];
    servos_keyd::sys::random::fill(&mut marker)?;
    // Never by chance the magic of a message.
    marker[0] |= 0x80;
    Ok(marker)
}
