//! Ten million messages, sealed by several threads at once: no salt comes twice.
//!
//! Must never make the salts itself: they are those of messages that the daemon's own function sealed. Called by the program.

use crate::at_least;
use crate::checks::random;
use servos_keyd::custody::context::Context;
use servos_keyd::custody::keys::{LockedMemory, VersionKey};
use servos_keyd::custody::message;
use std::time::Instant;

const SALTS: usize = 10_000_000;
const THREADS: usize = 4;
/// The first half of the 32 bytes: salts that agree agree there too, and two halves agree by chance once in 10^24 such runs.
const HALF: std::ops::Range<usize> = 12..28;

/// Whether `wanted` messages have as many salts.
pub fn no_salt_of_ten_million_comes_twice() -> bool {
    let wanted = at_least(SALTS, "--salts");
    let begun = Instant::now();
    let version = VersionKey::generate(&LockedMemory::new().unwrap(), &random).unwrap();
    let mut salts: Vec<u128> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (version, many) = (&version, wanted / THREADS + usize::from(thread < wanted % THREADS));
                scope.spawn(move || (0..many).map(|_| salt(version)).collect::<Vec<u128>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let again = repeats(&mut salts);
    // The control: one that is put in a second time is found.
    salts.push(salts[salts.len() / 2]);
    let found = repeats(&mut salts) == again + 1;
    let (made, seconds) = (salts.len() - 1, begun.elapsed().as_secs_f64());
    println!("salts of {made} messages, {THREADS} threads: {again} repeated, {seconds:.0} s");
    println!("{}", serde_json::json!({ "salts": made, "repeated": again, "control_found": found }));
    again == 0 && found && made == wanted
}

fn salt(version: &VersionKey) -> u128 {
    let sealed = message::seal(version, &Context::empty(), b"", &random).unwrap();
    u128::from_le_bytes(sealed[HALF].try_into().unwrap())
}

fn repeats(salts: &mut [u128]) -> usize {
    salts.sort_unstable();
    salts.windows(2).filter(|pair| pair[0] == pair[1]).count()
}
