//! What the calls of a rotation answer: where it stands, what the sources yield, and what comes next.
//!
//! Must never show more of a key than its fingerprint, nor promise what the next step has not done.
//! Called by the operations of a rotation, and by `status`, which says the same at any time.

use super::super::ledger::Ledger;
use super::super::rfc3339;
use super::key_sources::{Renewal, SourceView, views};
use super::refusal::RotationRefusal;
use super::{Rotation, State};
use crate::custody::id::Fingerprint;
use crate::custody::record_seal;
use crate::store::{backup_file, backup_peek, record};
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::cell::Cell;
use std::error::Error;
use std::path::Path;

/// What a call of a rotation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The rotation.
    pub rotation: Rotation,
    /// The keys that open the store now; with `dry_run`, that would.
    pub opens: Vec<Fingerprint>,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The backup that was written before it began; with `dry_run`, the directory.
    pub backup: String,
    /// Every source.
    pub sources: Vec<SourceView>,
    /// Seals that the end makes anew.
    pub seals: usize,
    /// Data keys that get a new version.
    pub data_keys: usize,
    /// Backups that the key which goes out of use opens: paths.
    pub old_key_backups: Vec<String>,
    /// What else that key's text may be used for.
    pub other_uses: Vec<String>,
    /// What comes next.
    pub next: Vec<String>,
}

impl Ledger {
    /// What every source yields now.
    ///
    /// # Errors
    /// [`RotationRefusal::Source`].
    pub(super) fn source_views(&self) -> Result<Vec<SourceView>, RotationRefusal> {
        Ok(views(&self.sources.read()?))
    }

    /// The report on a rotation.
    pub(super) fn report(&self, rotation: Rotation, sources: Vec<SourceView>, dry_run: bool) -> Report {
        let keyring = self.engine.keyring();
        let outgoing = if rotation.aborting { rotation.new } else { rotation.old };
        let seals = self.digests.names().filter(|name| super::reseal::is_sealed(name)).count();
        let live = keyring.names.len();
        let backup = self.sealed.rotation.as_ref().filter(|record| !record.backup.is_empty());
        // Joined with nothing, the directory would end in a slash that status does not show.
        let backup = backup.map_or(self.places.backups.clone(), |record| self.places.backups.join(&record.backup));
        let is_over = keyring.rotation.is_none() && !dry_run;
        let mut next = if is_over && rotation.state() == State::Pending {
            vec!["This rotation is over: servos-keyctl status tells which key opens the store now.".to_owned()]
        } else {
            next(&rotation, &sources, &self.sources.restart_command())
        };
        let opens = match &keyring.rotation {
            Some(under_way) if !dry_run => under_way.opens(),
            None if !dry_run => vec![keyring.master.fingerprint],
            _ => rotation.opens(),
        };
        let (old_key_backups, unseen) = backups_opened_by(outgoing, &self.places.backups, self.store_id.as_bytes());
        if unseen > 0 {
            next.push(format!(
                "Look yourself at what lies in {}: {unseen} there could not be looked at, to tell whether {outgoing} opens \
                 it; the daemon's log says why.",
                self.places.backups.display()
            ));
        }
        Report {
            opens,
            dry_run,
            backup: backup.display().to_string(),
            sources,
            seals,
            data_keys: if rotation.new_data_keys { live } else { 0 },
            old_key_backups,
            other_uses: if rotation.aborting {
                Vec::new()
            } else {
                let mut uses = other_uses(&rotation, !keyring.legacy.is_empty());
                uses.extend(declared_uses(rotation.old, &self.engine.upkeep().other_uses, (self.engine.clock)()));
                uses
            },
            next,
            rotation,
        }
    }
}

/// The backups of a store that a master key opens, in their own word: the canary is the first record of each. And how
/// many could not be looked at.
fn backups_opened_by(key: Fingerprint, directory: &Path, store_id: &[u8; 16]) -> (Vec<String>, usize) {
    let unseen = Cell::new(0);
    let unreadable = |error: &dyn Error| {
        unseen.set(unseen.get() + 1);
        tracing::warn!(event = events::BACKUP_UNREADABLE, error = %chain(error), "a backup could not be looked at");
    };
    let paths = backup_file::list(directory).inspect_err(|error| unreadable(error)).unwrap_or_default();
    let canary = |path: &Path| -> Option<record::Canary> {
        let found = backup_peek::first_record(path, store_id, record::CANARY).inspect_err(|error| unreadable(error));
        record::decode(record::CANARY, &found.ok()??).inspect_err(|error| unreadable(error)).ok()
    };
    let names_key = |seal: &Vec<u8>| record_seal::header_owner(seal) == Some(*key.as_bytes());
    let opened = paths.iter().filter(|path| canary(path).is_some_and(|canary| canary.seals.iter().any(names_key)));
    let opened = opened.map(|path| path.display().to_string()).collect();
    (opened, unseen.get())
}

/// What else a shared key's text is used for.
fn other_uses(rotation: &Rotation, legacy_opens: bool) -> Vec<String> {
    if !rotation.old_shared {
        return Vec::new();
    }
    let components = if legacy_opens {
        "Components that read the key themselves: values that they sealed under it open as legacy values until they are \
         re-encrypted and the legacy key is retired."
    } else {
        "Components that read the key themselves: values that they sealed under it are none of this daemon's. If there are \
         any, keep the old key: servos-keyctl legacy adopt lets them open."
    };
    vec![
        "Restic repositories of volume backups that were made with the old key's text as their password: keep that text \
         as long as you keep their snapshots."
            .to_owned(),
        components.to_owned(),
    ]
}

/// What the configuration declares of it, whether the key is shared or not.
fn declared_uses(old: Fingerprint, uses: &[(String, i64)], now: i64) -> impl Iterator<Item = String> {
    uses.iter().map(move |(name, kept)| {
        let until = rfc3339(now.saturating_add(*kept));
        format!("{name}: keep the text of {old} for it until {until}, as the configuration declares in [other_uses].")
    })
}

/// What an operator does next, sentence by sentence. A source that yields the new key needs nothing.
#[must_use]
pub fn next(rotation: &Rotation, sources: &[SourceView], restart: &str) -> Vec<String> {
    let Rotation { old, new, .. } = rotation;
    match rotation.state() {
        State::Pending => pending(rotation, sources, restart),
        State::Finishing => vec![format!(
            "Nothing: {new} alone opens the store, and the rest goes on by itself, after a restart too. Keep {old} for the \
             backups that it opens."
        )],
        State::Aborting => vec![format!(
            "Nothing: {old} alone opens the store, and the rest goes on by itself, after a restart too. If {new} leaked, \
             begin a new rotation now."
        )],
        State::Finished => finished(rotation),
        State::Aborted => {
            vec![format!("If {new} leaked, begin a new rotation now: until its abortion it could open the store.")]
        }
    }
}

fn pending(rotation: &Rotation, sources: &[SourceView], restart: &str) -> Vec<String> {
    let Rotation { old, new, .. } = rotation;
    let lagging: Vec<&SourceView> = sources.iter().filter(|source| source.fingerprint != *new).collect();
    let mut next: Vec<String> = lagging
        .iter()
        .map(|SourceView { name, renewal, .. }| match renewal {
            Renewal::Reread => format!("Put the new key {new} into {name}, in the place of {old}."),
            Renewal::Restart => format!("Put the new key {new} where {name} comes from, in the place of {old}."),
            Renewal::Environment => format!("Put the new key {new} where {name} is set, in the place of {old}."),
        })
        .collect();
    if lagging.iter().any(|source| source.renewal != Renewal::Reread) {
        next.push(format!("Then let the daemon see it: {restart}."));
    }
    next.push(match lagging.is_empty() {
        true => "Run: servos-keyctl rotate finish".to_owned(),
        false if sources.iter().all(|source| source.renewal == Renewal::Restart) => {
            "The start finishes the rotation by itself; servos-keyctl rotate finish --key-file FILE then removes FILE.next."
                .to_owned()
        }
        false => "Then run: servos-keyctl rotate finish".to_owned(),
    });
    next.push(format!(
        "Until then both keys open the store: keep both. To go back to {old} instead: servos-keyctl rotate abort, with \
         {old} again wherever {new} was put already"
    ));
    next
}

fn finished(rotation: &Rotation) -> Vec<String> {
    let Rotation { old, new, .. } = rotation;
    let mut next = vec![format!("Keep a copy of {new} on another machine, and {old} for the backups that it opens.")];
    if rotation.begun == 0 {
        // Of one that ended a while ago, the history keeps no more than its keys.
        return next;
    }
    if rotation.new_data_keys {
        next.push(format!(
            "If {old} may have leaked together with a copy of the store: let the components re-encrypt their values, and \
             retire legacy keys."
        ));
    } else {
        next.push(format!(
            "The data keys kept their versions: if {old} may have leaked together with a copy of the store, run \
             servos-keyctl keys rotate for each, and let the components re-encrypt their values."
        ));
    }
    next
}
