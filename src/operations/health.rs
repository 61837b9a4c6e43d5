//! What the daemon knows to be wrong with itself, one condition beside the other, and who is told when one changes.
//!
//! Must never say anything secret: what is wrong is a path and a cause; nor wait for whoever is told.
//! Called by the writer's side, which sets it; read by `status`; `cli` tells it to the health service and the manager.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Whether the store takes changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreState {
    /// It does.
    #[default]
    Healthy,
    /// It refused what a change needs: changes are refused, and it is tried again without anybody's asking.
    Failing,
    /// Changes are refused until a restart.
    Suspended,
    /// Salvage: nothing is ever written.
    ReadOnly,
}

/// The conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the store takes changes.
    pub store: StoreState,
    /// What is wrong with it: path and cause; empty if nothing is.
    pub store_problem: String,
    /// The last self-check found damage.
    pub damage_found: bool,
}

impl Health {
    /// Whether an operator has nothing to mend before `KeyAdmin` can do what it is asked.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.store, StoreState::Healthy | StoreState::ReadOnly) && !self.damage_found
    }
}

/// Is told what is so from now on. It runs on the thread that found out, and must not wait.
pub type Observer = dyn Fn(&Health) + Send + Sync;

/// The conditions of the moment.
#[derive(Default)]
pub struct HealthWatch {
    now: Mutex<Health>,
    observer: OnceLock<Box<Observer>>,
}

impl HealthWatch {
    /// Conditions that begin so.
    #[must_use]
    pub fn new(store: StoreState) -> Self {
        Self { now: Mutex::new(Health { store, ..Health::default() }), observer: OnceLock::new() }
    }

    /// What is so now.
    #[must_use]
    pub fn now(&self) -> Health {
        self.lock().clone()
    }

    /// Has somebody told, at once and whenever a condition changes. The first one stays.
    pub fn observe(&self, observer: Box<Observer>) {
        let now = self.lock();
        self.observer.get_or_init(|| observer)(&now);
    }

    /// Changes conditions, and tells of it if they are others then.
    pub fn change(&self, change: impl FnOnce(&mut Health)) {
        // Told under the lock, so that nobody hears of the older ones last.
        let mut now = self.lock();
        let before = now.clone();
        change(&mut now);
        if *now != before
            && let Some(observer) = self.observer.get()
        {
            observer(&now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_observer_hears_what_is_so_and_then_of_each_change_alone() {
        let watch = HealthWatch::new(StoreState::Healthy);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        watch.observe(Box::new(move |health| hears.lock().unwrap().push(health.is_well())));
        watch.change(|health| health.store_problem.clear());
        watch.change(|health| health.store = StoreState::Failing);
        watch.change(|health| health.store = StoreState::Failing);
        watch.change(|health| health.damage_found = true);
        watch.change(|health| health.store = StoreState::Healthy);
        watch.change(|health| health.damage_found = false);
        assert_eq!(*heard.lock().unwrap(), [true, false, false, false, true]);
        assert!(watch.now().is_well());
    }

    #[test]
    fn each_condition_alone_is_enough_and_salvage_is_none() {
        let of = |store, damage_found| Health { store, damage_found, ..Health::default() }.is_well();
        assert!(of(StoreState::Healthy, false) && of(StoreState::ReadOnly, false));
        for (store, damage) in
            [(StoreState::Failing, false), (StoreState::Suspended, false), (StoreState::Healthy, true)]
        {
            assert!(!of(store, damage));
        }
    }
}
