//! Salvage: what still opens of a damaged store, to read secrets out of it.
//!
//! Must never write, nor seal: what it holds is not known to be whole or new.
//! Called by `cli` for `serve --salvage`.

use super::keyring::Keyring;
use super::load;
use super::start_failure::StartFailure;
use super::stored;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::port::Snapshot;
use crate::store::record;

/// What salvage found.
pub struct Salvaged {
    /// What opens.
    pub keyring: Keyring,
    /// What does not, record by record, with the reason.
    pub unopened: Vec<(String, String)>,
}

/// Opens what opens. Each record stands for itself: its seal tells whether it is the daemon's own.
///
/// # Errors
/// [`StartFailure::WrongKey`]; [`StartFailure::Damaged`] if the root is lost, for then nothing opens.
pub fn salvage(snapshot: Snapshot, master: MasterKey, memory: &LockedMemory) -> Result<Salvaged, StartFailure> {
    let (authentic, lost) = load::open_root(snapshot, master, memory)?;
    let mut unopened: Vec<_> = lost.map(|failure| (record::MASTER.to_owned(), failure)).into_iter().collect();
    if !authentic.mac_fits() {
        unopened.push(("mac".to_owned(), stored::damaged("the records do not fit the snapshot's MAC")));
    }
    let loaded = load::open_records(authentic, memory, &mut unopened)?;
    let unopened = unopened.into_iter().map(|(name, failure)| (name, reason(failure))).collect();
    Ok(Salvaged { keyring: loaded.keyring, unopened })
}

/// What is wrong with one record, without what a start that met it would advise.
pub(super) fn reason(failure: StartFailure) -> String {
    match failure {
        StartFailure::Damaged(detail) => detail,
        failure => failure.to_string(),
    }
}
