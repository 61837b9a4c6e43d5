//! Who may open one more connection: a total, and an equal share for each user; and what a user's calls are charged to.
//!
//! Must never let one user take the connections of all others, nor leak a seat when a connection ends in any way.
//! Called by `serve` for each connection it accepts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rpc::budget::{Budget, Share};

/// The seats of one endpoint.
#[derive(Debug)]
pub(super) struct Admission {
    total: usize,
    per_user: usize,
    budget: Arc<Budget>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// `None` stands for all peers whose credentials are unknown. No entry is 0, so the map never outgrows `total`.
    by_user: HashMap<Option<u32>, User>,
}

/// A user who has connections.
#[derive(Debug)]
struct User {
    connections: usize,
    share: Arc<Share>,
}

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Endpoint,
    User,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    admission: Arc<Admission>,
    user: Option<u32>,
    share: Arc<Share>,
}

impl Seat {
    /// What the user's calls are charged to, over all its connections.
    pub(super) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.share)
    }
}

impl Admission {
    pub(super) fn new(total: usize, per_user: usize, call_bytes: usize) -> Arc<Self> {
        Arc::new(Self { total, per_user, budget: Budget::new(call_bytes), taken: Mutex::default() })
    }

    /// A seat for a connection of `user`.
    ///
    /// # Errors
    /// `Full`, saying which bound was met.
    pub(super) fn admit(self: &Arc<Self>, user: Option<u32>) -> Result<Seat, Full> {
        let mut taken = self.taken();
        if taken.total >= self.total {
            return Err(Full::Endpoint);
        }
        if taken.by_user.get(&user).map_or(0, |user| user.connections) >= self.per_user {
            return Err(Full::User);
        }
        taken.total += 1;
        let begins = || User { connections: 0, share: self.budget.share(user) };
        let by_user = taken.by_user.entry(user).or_insert_with(begins);
        by_user.connections += 1;
        Ok(Seat { admission: Arc::clone(self), user, share: Arc::clone(&by_user.share) })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing in here panics half-way; a poisoned lock still guards consistent counts.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.admission.taken();
        taken.total = taken.total.saturating_sub(1);
        if let Some(user) = taken.by_user.get_mut(&self.user) {
            user.connections = user.connections.saturating_sub(1);
            if user.connections == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_fills_only_his_share() {
        let admission = Admission::new(3, 2, 1);
        let _first = admission.admit(Some(1000)).unwrap();
        let second = admission.admit(Some(1000)).unwrap();
        assert_eq!(admission.admit(Some(1000)).unwrap_err(), Full::User);
        let _other = admission.admit(Some(1001)).unwrap();
        assert_eq!(admission.admit(Some(1002)).unwrap_err(), Full::Endpoint);
        drop(second);
        assert!(admission.admit(Some(1000)).is_ok());
    }

    #[test]
    fn peers_without_credentials_share_one_users_part() {
        let admission = Admission::new(9, 1, 1);
        let _unknown = admission.admit(None).unwrap();
        assert_eq!(admission.admit(None).unwrap_err(), Full::User);
        assert!(admission.admit(Some(0)).is_ok());
    }

    #[test]
    fn nothing_is_kept_of_users_who_left() {
        let admission = Admission::new(2, 2, 1);
        for user in 0..100 {
            drop(admission.admit(Some(user)).unwrap());
        }
        assert!(admission.taken().by_user.is_empty());
        assert_eq!(admission.taken().total, 0);
    }
}
