//! The master key's file of an installation, and the new key beside it, for the daemon and for a ledger in this process.
//!
//! Must never keep a key in memory: each question reads the files again, as the daemon does.
//! Called by `installation`, and by the measurements of rotations.

use super::Outcome;
use super::installation::random;
use servos_keyd::custody::id::Fingerprint;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::operations::rotation::key_sources::{HeldKey, KeySources, Renewal, SourceUnreadable};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A key file as the one source.
pub struct KeyFile {
    path: PathBuf,
    memory: LockedMemory,
}

impl KeyFile {
    /// The file at `path`, whose keys live in `memory`.
    pub fn new(path: PathBuf, memory: LockedMemory) -> Self {
        Self { path, memory }
    }

    /// Makes a new key in the file itself.
    pub fn make(&self) -> Outcome<MasterKey> {
        self.generate(&self.path)
    }

    /// Makes a new key beside the file, for a rotation to begin with.
    pub fn make_next(&self) -> Outcome<Fingerprint> {
        Ok(self.generate(&self.next())?.fingerprint())
    }

    /// Puts the new key in the place of the old one.
    pub fn take_next(&self) -> Outcome<()> {
        Ok(fs::rename(self.next(), &self.path)?)
    }

    /// The key in the file.
    pub fn key(&self) -> Outcome<MasterKey> {
        Ok(self.parse(&self.path)?)
    }

    fn next(&self) -> PathBuf {
        self.path.with_extension("key.next")
    }

    fn generate(&self, path: &Path) -> Outcome<MasterKey> {
        let key = MasterKey::generate(&self.memory, &random)?;
        let mut text = self.memory.buffer(128)?;
        key.write_hex(&mut text)?;
        fs::write(path, text.expose_bytes())?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(key)
    }

    fn parse(&self, path: &Path) -> Result<MasterKey, SourceUnreadable> {
        let unreadable = |error: &dyn std::fmt::Display| SourceUnreadable(format!("{}: {error}", path.display()));
        let text = fs::read(path).map_err(|error| unreadable(&error))?;
        MasterKey::parse(&text, &self.memory).map_err(|error| unreadable(&error))
    }

    fn held(&self, path: &Path) -> Result<HeldKey, SourceUnreadable> {
        let key = self.parse(path)?;
        Ok(HeldKey { source: path.display().to_string(), renewal: Renewal::Reread, key })
    }
}

impl KeySources for KeyFile {
    fn read(&self) -> Result<Vec<HeldKey>, SourceUnreadable> {
        Ok(vec![self.held(&self.path)?])
    }

    fn read_next(&self) -> Result<Option<HeldKey>, SourceUnreadable> {
        let next = self.next();
        if next.exists() { self.held(&next).map(Some) } else { Ok(None) }
    }

    /// As the daemon does: what it costs belongs to what is measured.
    fn settle(&self) -> Result<(), SourceUnreadable> {
        let failed = |error: std::io::Error| SourceUnreadable(error.to_string());
        for path in [self.path.clone(), self.next()].into_iter().filter(|path| path.exists()) {
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        let directory = self.path.parent().unwrap_or(&self.path);
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn next_file(&self) -> Option<String> {
        Some(self.next().display().to_string())
    }

    fn restart_command(&self) -> String {
        String::new()
    }
}
