//! Rotations of the master key on a ledger in this process: begun, ended, and done to the last step.
//!
//! Must never leave a step undone without saying so.
//! Called by the measurements of rotations.

use super::Outcome;
use super::installation::administrator;
use super::master_keys::KeyFile;
use servos_keyd::auth::operation::{AbortRotation, FinishRotation, Rotate};
use servos_keyd::auth::peer::Peer;
use servos_keyd::auth::policy::Policy;
use servos_keyd::custody::id::Fingerprint;
use servos_keyd::operations::ledger::Ledger;
use servos_keyd::operations::rotation::Step;
use servos_keyd::operations::rotation::abort_rotation::abort_rotation;
use servos_keyd::operations::rotation::finish_rotation::{Request as Ending, finish_rotation};
use servos_keyd::operations::rotation::rotate::{Request as Beginning, rotate};
use servos_keyd::operations::rotation::steps::{Advance, advance};
use std::time::{Duration, Instant};

/// Who rotates: each call has a request id of its own.
pub struct Rotating {
    policy: Policy,
    peer: Peer,
    key_file: KeyFile,
    requests: u64,
}

impl Rotating {
    /// Rotates to keys that it makes beside `key_file`.
    pub fn new(key_file: KeyFile) -> Self {
        let (policy, peer) = administrator();
        Self { policy, peer, key_file, requests: 0 }
    }

    fn request_id(&mut self) -> Option<String> {
        self.requests += 1;
        Some(format!("00000000-0000-4000-8000-{:012x}", self.requests))
    }

    /// Begins with a new key.
    pub fn begin(&mut self, ledger: &mut Ledger, keep_data_keys: bool) -> Outcome<(Fingerprint, Duration)> {
        let (fingerprint, id) = (self.key_file.make_next()?, self.request_id());
        let permit = self.policy.admit::<Rotate>(self.peer)?.permit();
        let begun = Instant::now();
        rotate(&permit, ledger, Beginning { fingerprint, new_key: &[], keep_data_keys, dry_run: false, id })?;
        Ok((fingerprint, begun.elapsed()))
    }

    /// Puts the new key in its place and finishes, to the commit that decides.
    pub fn finish(&mut self, ledger: &mut Ledger, fingerprint: Fingerprint) -> Outcome<Duration> {
        self.key_file.take_next()?;
        let permit = self.policy.admit::<FinishRotation>(self.peer)?.permit();
        let asked = Ending { fingerprint, dry_run: false, id: self.request_id() };
        let begun = Instant::now();
        finish_rotation(&permit, ledger, asked)?;
        Ok(begun.elapsed())
    }

    /// Aborts, to the commit that decides; new versions of the data keys follow, as they do behind a finish.
    pub fn abort(&mut self, ledger: &mut Ledger, fingerprint: Fingerprint) -> Outcome<Duration> {
        let permit = self.policy.admit::<AbortRotation>(self.peer)?.permit();
        let asked = Ending { fingerprint, dry_run: false, id: self.request_id() };
        let begun = Instant::now();
        abort_rotation(&permit, ledger, asked, true)?;
        Ok(begun.elapsed())
    }
}

/// Does everything that follows the commit that decides; answers what each kind of step took.
pub fn rest(ledger: &mut Ledger) -> Outcome<Vec<(Step, Duration)>> {
    let mut took: Vec<(Step, Duration)> = Vec::new();
    loop {
        let step = ledger.engine().keyring().rotation.as_ref().map_or(Step::Done, |rotation| rotation.step);
        let begun = Instant::now();
        let next = advance(ledger);
        match took.iter_mut().find(|(of, _)| *of == step) {
            Some((_, sum)) => *sum += begun.elapsed(),
            None => took.push((step, begun.elapsed())),
        }
        match next {
            Advance::More => {}
            Advance::Idle => return Ok(took),
            Advance::Later => return Err(ledger.engine().progress.rotation().2.into()),
        }
    }
}
