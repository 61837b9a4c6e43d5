//! The search for what is known: many patterns at once, at every address.
//!
//! Must never show the bytes it looks for. Called by `scan`, with the forms of keys and markers.

use crate::forms;
use std::collections::{BTreeSet, HashMap};

/// What a finding is counted as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    Key,
    Schedule,
    Marker,
}

struct Pattern {
    bytes: Vec<u8>,
    class: Class,
    /// Which secret, and in which form.
    name: String,
}

/// Everything that is looked for.
#[derive(Default)]
pub struct Known {
    patterns: Vec<Pattern>,
    by_first: HashMap<[u8; 8], Vec<usize>>,
    filter: Vec<u64>,
    secrets: BTreeSet<(Vec<u8>, String)>,
}

const FILTER_BITS: u32 = 20;

/// Where nothing that is looked for begins with zeros, none of it begins in these but at their end.
const ZEROS: [u8; 4096] = [0; 4096];

impl Known {
    /// Looks for a key in every form from now on; tells whether it is a new one.
    pub fn add_key(&mut self, name: &str, key: &[u8; 32]) -> bool {
        let is_new = self.secrets.insert((key.to_vec(), name.to_owned()));
        if is_new {
            self.add_all(Class::Key, name, forms::of_key(key));
        }
        is_new
    }

    /// Looks for a plaintext that repeats 16 random bytes: in every form, and for any 16 bytes of it as they are.
    pub fn add_marker(&mut self, name: &str, marker: &[u8; 16]) {
        self.add_all(Class::Marker, name, forms::of_value(marker));
        for from in 1..forms::HALF {
            let mut turned = *marker;
            turned.rotate_left(from);
            self.add_all(Class::Marker, name, vec![("raw", turned.to_vec())]);
        }
    }

    /// How many secrets are looked for, and in how many forms.
    pub fn size(&self) -> (usize, usize) {
        (self.secrets.len(), self.patterns.len())
    }

    fn add_all(&mut self, class: Class, name: &str, forms: Vec<forms::Form>) {
        self.filter.resize(1 << (FILTER_BITS - 6), 0);
        for (form, bytes) in forms {
            let Some(first) = bytes.first_chunk::<8>().copied() else { continue };
            let bit = bit(&bytes);
            self.filter[bit / 64] |= 1 << (bit % 64);
            self.by_first.entry(first).or_default().push(self.patterns.len());
            self.patterns.push(Pattern { bytes, class, name: format!("{name}, {form}") });
        }
    }

    /// Every place where one of them stands; a plaintext that goes on is one finding.
    pub fn find(&self, bytes: &[u8]) -> Vec<(usize, Class, &str)> {
        let mut found: Vec<(usize, Class, &str)> = Vec::new();
        let mut last: HashMap<&str, usize> = HashMap::new();
        if self.patterns.is_empty() {
            return found;
        }
        let skips_zeros = !self.by_first.contains_key(&[0; 8]);
        let mut next = 0;
        while let Some(window) = bytes.get(next..next + forms::HALF) {
            let offset = next;
            // Most of what is mapped was never used. Up to the last 7 of so many zeros, 8 of them follow.
            if skips_zeros && bytes[offset..].starts_with(&ZEROS) {
                next += ZEROS.len() - 7;
                continue;
            }
            next += 1;
            let bit = bit(window);
            if self.filter[bit / 64] >> (bit % 64) & 1 == 0 {
                continue;
            }
            let Some(candidates) = window.first_chunk::<8>().and_then(|first| self.by_first.get(first)) else {
                continue;
            };
            for pattern in candidates.iter().map(|at| &self.patterns[*at]) {
                if !bytes[offset..].starts_with(&pattern.bytes) {
                    continue;
                }
                let name = pattern.name.as_str();
                let goes_on = last.insert(name, offset).is_some_and(|before| offset - before <= pattern.bytes.len());
                if pattern.class != Class::Marker || !goes_on {
                    found.push((offset, pattern.class, name));
                }
            }
        }
        found
    }
}

fn bit(bytes: &[u8]) -> usize {
    let first = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    usize::try_from(first.wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS)).unwrap_or_default()
}
