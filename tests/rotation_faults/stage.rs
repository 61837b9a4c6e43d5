//! An installation just before a call of a rotation, to be copied for each fault, and what must be true of it after.
//!
//! Must never be served itself once it is made: each fault gets a copy. Used by every test of this binary.

use crate::calls::{Call, status};
use crate::harness::{
    Daemon, Installation, Invocation, block_on, cell, eventually, fingerprint, hex, is_root, name, random_key,
    snapshot_of_files,
};
use servos_keyd::client::key_admin::KeyFilter;
use servos_keyd::store::record;
use std::path::Path;

/// What is done to a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Begin,
    Finish,
    /// A start finds the new key in every source.
    FinishAtStart,
    Abort,
}

/// What is done, and how.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub operation: Operation,
    pub new_data_keys: bool,
    /// The daemon holds master keys for values that components sealed themselves.
    pub legacy: bool,
}

/// A ciphertext with what it holds.
#[derive(Clone)]
pub struct Value {
    pub ciphertext: Vec<u8>,
    pub plaintext: Vec<u8>,
}

/// An installation just before the operation.
pub struct Stage {
    pub case: Case,
    installation: Installation,
    pub old: [u8; 32],
    pub new: [u8; 32],
    pub new_fingerprint: String,
    /// Sealed before.
    pub values: Vec<Value>,
    /// Seals that no file may hold once it is over.
    old_seals: Vec<Vec<u8>>,
}

/// The key that all values are under.
pub const KEY: &str = "default";

impl Stage {
    pub fn set(case: Case) -> Self {
        Self::set_in(case, |_| ())
    }

    /// One whose installation is changed before it is made.
    pub fn set_in(case: Case, change: impl FnOnce(&mut Installation)) -> Self {
        let mut installation = Installation::new();
        change(&mut installation);
        installation.init(if case.legacy { &["--adopt-legacy"] } else { &[] }).expect(0);
        let (old, new) = (installation.key, random_key());
        installation.write_private("master.key.next", format!("{}\n", hex(&new)).as_bytes());
        let new_fingerprint = fingerprint(new);
        let mut stage =
            Self { case, installation, old, new, new_fingerprint, values: Vec::new(), old_seals: Vec::new() };
        let daemon = stage.installation.serve_for_admin();
        // No backup holds the store as it is from here on.
        block_on(async { daemon.admin().create_key(&name("one-more")).await }).map(drop).unwrap();
        let mut values = seal_some(&daemon, "before");
        if case.operation != Operation::Begin {
            let begin = Call { operation: Operation::Begin, ..Call::of(&stage, "") };
            block_on(begin.send(&daemon)).unwrap();
            values.extend(seal_some(&daemon, "while it is pending"));
        }
        daemon.stop().expect(0);
        stage.old_seals = seals(&stage.installation);
        stage.values = values;
        stage
    }

    /// A copy of it: what is done to that costs nobody else anything.
    pub fn copy(&self) -> Installation {
        copy_of(&self.installation)
    }

    /// The installation itself, for a test that has one fault.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// What the operation leaves in the key file.
    pub fn key_after(&self) -> [u8; 32] {
        match self.case.operation {
            Operation::Begin | Operation::Abort => self.old,
            Operation::Finish | Operation::FinishAtStart => self.new,
        }
    }

    /// The one key that opens the store when the rotation is over. A begin is gone on with, and finished.
    pub fn key_at_the_end(&self) -> [u8; 32] {
        if self.case.operation == Operation::Abort { self.old } else { self.new }
    }

    /// Passes a daemon that opens everything: values of its own, and those that components sealed themselves.
    #[track_caller]
    pub fn check_values(&self, daemon: &Daemon, more: &[Value]) {
        let row = legacy_row(self.old, b"a row");
        block_on(async {
            let client = daemon.component();
            for value in self.values.iter().chain(more) {
                let opened = client.decrypt(&name(KEY), &value.ciphertext, &cell("1")).await.unwrap();
                assert_eq!(opened.plaintext.as_slice(), value.plaintext);
            }
            let opened = client.danger_decrypt_legacy(&name(KEY), &row, &cell("1")).await;
            assert_eq!(opened.ok().map(|row| row.plaintext.to_vec()), self.case.legacy.then(|| b"a row".to_vec()));
        });
    }

    /// Passes an installation that exactly these keys open.
    #[track_caller]
    pub fn check_keys(&self, installation: &Installation, opens: &[[u8; 32]], more: &[Value]) {
        for key in [self.old, self.new, random_key()] {
            let copy = copy_of(installation);
            copy.write_key(key);
            if opens.contains(&key) {
                let daemon = copy.serve_for_admin();
                self.check_values(&daemon, more);
                daemon.kill();
            } else {
                copy.serve_refused().expect(78).saying(&["MASTER KEY INTEGRITY CHECK FAILED"]);
            }
        }
    }

    /// Waits for the end of the rotation, and passes a daemon that lost nothing, and left nothing behind.
    #[track_caller]
    pub fn check_end(&self, daemon: &Daemon, installation: &Installation, more: &[Value]) {
        eventually("the rotation is over", || block_on(status(daemon)).unwrap().rotation.is_none());
        // Behind the last step: a change's mark is written after everybody can see it.
        let look = Call { dry_run: true, ..Call::of(self, "") };
        let look =
            if look.operation == Operation::Begin { Call { operation: Operation::Finish, ..look } } else { look };
        block_on(look.send(daemon)).unwrap();
        let now = block_on(status(daemon)).unwrap();
        assert_eq!(now.master_key.unwrap().fingerprint, fingerprint(self.key_at_the_end()));
        let store = now.store.unwrap();
        assert_eq!(store.mark_generation, store.generation);
        let primary = 1 + u32::from(self.case.new_data_keys);
        for key in block_on(async { daemon.admin().list_keys(&KeyFilter::default()).await }).unwrap() {
            assert_eq!((key.primary, key.versions.len()), (primary, primary as usize), "{}", key.name);
        }
        self.check_values(daemon, more);
        if self.case.legacy && self.case.operation != Operation::Abort {
            let row = legacy_row(self.new, b"under the new key");
            let opened = async { daemon.component().danger_decrypt_legacy(&name(KEY), &row, &cell("1")).await };
            assert_eq!(block_on(opened).unwrap().plaintext.as_slice(), b"under the new key");
        }
        let bytes = std::fs::read(installation.store()).unwrap();
        for seal in &self.old_seals {
            assert!(!bytes.windows(seal.len()).any(|window| window == seal), "an old seal is left");
        }
        let files = snapshot_of_files(installation.store().parent().unwrap());
        let left: Vec<_> = files.into_keys().filter(|path| is_unfinished(path)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// How this process may administer it.
pub fn served(installation: &Installation) -> Invocation {
    match is_root() {
        true => installation.command("serve", &[]),
        false => Invocation::new(["serve", "--dev", installation.directory().to_str().unwrap()]),
    }
}

/// Seals some values.
pub fn seal_some(daemon: &Daemon, when: &str) -> Vec<Value> {
    block_on(async {
        let client = daemon.component();
        let mut values = Vec::new();
        for number in 0..2 {
            let plaintext = format!("{when}, {number}").into_bytes();
            let ciphertext = client.encrypt(&name(KEY), &plaintext, &cell("1")).await.unwrap().ciphertext;
            values.push(Value { ciphertext, plaintext });
        }
        values
    })
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp" || extension == "new")
}

/// Everything but the sockets and the configuration, which each start writes anew.
fn copy_of(installation: &Installation) -> Installation {
    let copy = Installation::with_key(installation.key);
    for (path, found) in installation.files() {
        let to = copy.path(path.to_str().unwrap());
        match found.kind {
            "directory" => std::fs::create_dir(&to).unwrap(),
            _ => drop(std::fs::copy(installation.directory().join(&path), &to).unwrap()),
        }
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(found.mode)).unwrap();
    }
    copy
}

/// The seals of the store that the end of a rotation makes anew.
fn seals(installation: &Installation) -> Vec<Vec<u8>> {
    let records = installation.records().records;
    let master: record::Master = record::decode(record::MASTER, &records[record::MASTER]).unwrap();
    let identity: record::Identity = record::decode(record::IDENTITY, &records[record::IDENTITY]).unwrap();
    let version = records.iter().find(|(name, _)| name.starts_with("version/")).unwrap();
    let version: record::Version = record::decode(version.0, version.1).unwrap();
    let roots = [master.current, master.pending].into_iter().flatten().map(|seal| seal.root);
    roots.chain([identity.seal, version.seal]).collect()
}

/// A value as components seal it that have the master key themselves: nonce, ciphertext, tag.
fn legacy_row(key: [u8; 32], plaintext: &[u8]) -> Vec<u8> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let mut nonce = [0; 12];
    servos_keyd::sys::random::fill(&mut nonce).unwrap();
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).unwrap();
    [nonce.as_slice(), &sealed].concat()
}
