//! Flips, cuts and garbage at places that a seed chooses, through the real binary: an exit code or everything, in time.
//!
//! Must never pass a daemon that a signal ended, or one that opens a value as another. Run by `cargo test`; with
//! `KEYD_DAMAGE_SEED` at the places of a run before, with `KEYD_DAMAGE_COUNT` at more of them.

use super::{Scene, opened};
use crate::harness::{Daemon, Outcome};

/// What a place of damage may end a start with: wrong key or newer format for what only looks so, no store, damage.
const CODES: [i32; 3] = [66, 74, 78];

/// Numbers that one seed gives. Source: SplitMix64.
struct Places(u64);

impl Places {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(below).unwrap()).unwrap()
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

/// One damage of a file, in words and bytes.
fn damaged(places: &mut Places, good: &[u8]) -> (String, Vec<u8>) {
    let mut bytes = good.to_vec();
    // Half of the places where something is: most of a store's file is zeros.
    let mut at = places.next(good.len());
    for _ in 0..200 {
        if good[at] != 0 {
            break;
        }
        at = places.next(good.len());
    }
    match places.next(5) {
        0 => {
            bytes[at] ^= 0xff;
            (format!("byte {at} inverted"), bytes)
        }
        1 | 2 => {
            let bit = places.next(8);
            bytes[at] ^= 1 << bit;
            (format!("bit {bit} of byte {at} flipped"), bytes)
        }
        3 => {
            bytes.truncate(at);
            (format!("cut to {at}"), bytes)
        }
        _ => {
            bytes.resize(good.len() + 1 + at % 9_000, 0xa5);
            (format!("lengthened to {}", bytes.len()), bytes)
        }
    }
}

#[track_caller]
fn ended_well(outcome: &Outcome, case: &str) {
    assert!(outcome.code.is_some_and(|code| CODES.contains(&code)), "{case}: {outcome:#?}");
    assert!(outcome.stderr.contains("daemon.failed"), "{case}: it does not say why: {outcome:#?}");
}

fn play(scene: &Scene, file: &std::path::Path, places: &mut Places, count: usize) -> (usize, usize) {
    let good = std::fs::read(file).unwrap();
    let store = std::fs::read(scene.installation.store()).unwrap();
    let (mut served, mut salvaged) = (0, 0);
    for _ in 0..count {
        let (what, bytes) = damaged(places, &good);
        let case = format!("{}: {what}", file.display());
        std::fs::write(scene.installation.store(), &store).unwrap();
        std::fs::write(file, bytes).unwrap();
        match Daemon::try_start(&scene.installation.command("serve", &[]), &scene.installation) {
            Ok(daemon) => {
                scene.check(&daemon, &case);
                assert_eq!(daemon.stop().code, Some(0), "{case}");
                served += 1;
            }
            Err(outcome) => {
                ended_well(&outcome, &case);
                let before = scene.installation.files();
                salvaged += usize::from(salvage(scene, &case));
                assert_eq!(scene.installation.files(), before, "{case}");
            }
        }
    }
    std::fs::write(scene.installation.store(), &store).unwrap();
    std::fs::write(file, good).unwrap();
    (served, salvaged)
}

/// Under salvage a value opens as what it was, or not at all. Answers whether one did.
fn salvage(scene: &Scene, case: &str) -> bool {
    match Daemon::try_start(&scene.installation.command("serve", &["--salvage"]), &scene.installation) {
        Ok(daemon) => {
            let mut any = false;
            for value in &scene.values {
                if let Some(found) = opened(&daemon, value) {
                    assert_eq!(found, value.plaintext, "{case}");
                    any = true;
                }
            }
            assert_eq!(daemon.stop().code, Some(0), "{case}");
            any
        }
        Err(outcome) => {
            ended_well(&outcome, case);
            false
        }
    }
}

#[test]
fn damage_at_places_that_a_seed_chooses_ends_a_start_with_a_code_or_does_no_harm() {
    let seed = number("KEYD_DAMAGE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let count = number("KEYD_DAMAGE_COUNT").map_or(16, |count| usize::try_from(count).unwrap());
    eprintln!("KEYD_DAMAGE_SEED={seed} KEYD_DAMAGE_COUNT={count}");
    let (scene, mut places) = (Scene::made(), Places(seed));
    for file in [scene.installation.store(), scene.installation.mark()] {
        let (served, salvaged) = play(&scene, &file, &mut places, count);
        eprintln!("{}: of {count} damages {served} did no harm, {salvaged} were salvaged", file.display());
    }
}
