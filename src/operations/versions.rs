//! The versions of one key in order of number, in as little memory as they take.
//!
//! Must never hold two versions of one number.
//! Called by `keyring`, and by whoever looks through a key's versions.

use super::version::Version;
use std::sync::Arc;

/// Versions in ascending order of number. Most keys have one or a few, so a tree's nodes would cost more than they hold.
#[derive(Clone, Default)]
pub struct Versions(Vec<Arc<Version>>);

impl Versions {
    /// Puts a version in its place; answers the one that had its number.
    pub fn insert(&mut self, version: Arc<Version>) -> Option<Arc<Version>> {
        match self.place(version.number) {
            Ok(at) => self.0.get_mut(at).map(|there| std::mem::replace(there, version)),
            Err(at) => {
                self.0.insert(at, version);
                None
            }
        }
    }

    /// Takes versions in whatever order they come, faster by far than one at a time; answers those whose number another
    /// one had, or has.
    pub fn extend(&mut self, versions: Vec<Arc<Version>>) -> Vec<Arc<Version>> {
        self.0.extend(versions);
        // The order of those with one number does not change: the first of them stays.
        self.0.sort_by_key(|version| version.number);
        let mut doubles = Vec::new();
        let mut last = None;
        self.0.retain(|version| {
            let is_double = last.replace(version.number) == Some(version.number);
            if is_double {
                doubles.push(Arc::clone(version));
            }
            !is_double
        });
        self.0.shrink_to_fit();
        doubles
    }

    /// The version of a number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Arc<Version>> {
        self.place(number).ok().and_then(|at| self.0.get(at))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the newest; 0 if there is none.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.0.last().map_or(0, |version| version.number)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Version>> {
        self.0.iter()
    }

    /// All of them, oldest first, to be replaced by others of the same number.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Arc<Version>> {
        self.0.iter_mut()
    }

    /// Those with a number under `number`, oldest first.
    #[must_use]
    pub fn below(&self, number: u32) -> &[Arc<Version>] {
        let end = self.0.partition_point(|version| version.number < number);
        self.0.get(..end).unwrap_or_default()
    }

    fn place(&self, number: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |version| version.number)
    }
}

impl FromIterator<Arc<Version>> for Versions {
    fn from_iter<I: IntoIterator<Item = Arc<Version>>>(versions: I) -> Self {
        let mut all = Self::default();
        all.extend(versions.into_iter().collect());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_rig::{Rig, name};
    use super::*;

    #[test]
    fn versions_stand_in_order_whatever_order_they_come_in_and_one_number_is_one_version() {
        let rig = Rig::new();
        let model = Arc::clone(rig.keyring().primary(&name("default")).unwrap());
        let numbered = |number: u32| Arc::new(Version { number, ..(*model).clone() });
        let mut versions: Versions = [3, 1, 4, 2].map(numbered).into_iter().collect();
        assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((versions.len(), versions.newest(), versions.below(3).len()), (4, 4, 2));
        assert_eq!(versions.get(2).map(|version| version.number), Some(2));
        assert!(versions.get(0).is_none() && versions.get(5).is_none());
        assert!(versions.insert(numbered(3)).is_some(), "the one that had the number");
        assert_eq!(versions.len(), 4);
        assert!(Versions::default().is_empty() && Versions::default().newest() == 0);
    }
}
