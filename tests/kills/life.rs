//! One installation from init on, killed again and again at moments that a seed draws.
//!
//! Must never start anew because something is wrong: damage is to add up, and to be seen. Used by `main`.

use crate::check::{Done, pass, pass_backup};
use crate::draw::Draw;
use crate::harness::Installation;
use crate::load::kill_under_load;
use crate::model::Model;
use crate::offline::Offline;
use crate::place::kill_after;
use crate::table::{self, START};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a death that hits no change counts for.
pub const SEALING: &str = "seal and open";

/// Lives until it was killed so often, and answers how often that was. `round` tells how far it is, whoever asks.
pub fn live(seed: u64, number: u64, kills: u64, round: &AtomicU64) -> u64 {
    let mut draw = Draw::of(&[seed, number]);
    let installation = Installation::new();
    let init = Offline::Init { adopt: draw.one_in(2) };
    let (mut model, mut killed) = (Model::new(installation.key, init == Offline::Init { adopt: true }), 0);
    for _ in 0..3 {
        killed += kill_offline(init, &installation, &mut draw);
    }
    let mut done = Done::default();
    init.complete(&installation, &mut done);
    while killed < kills {
        round.fetch_add(1, Ordering::SeqCst);
        let daemon = pass(&installation, &mut model, &mut draw, &mut done);
        let delay = if draw.one_in(2) { draw.within(20) } else { draw.within(160) };
        model = kill_under_load(daemon, model, installation.path("master.key"), &mut draw, delay);
        let rows: Vec<_> = model.doubts.iter().map(|doubt| doubt.change.row()).collect();
        let row = table::least_killed(&rows).unwrap_or(SEALING);
        table::add(row, |row| row.random += 1);
        killed += 1;
        if draw.one_in(3) {
            pass_backup(&installation, &model, &mut done);
        }
        killed += count(row, std::mem::take(&mut done));
        if draw.one_in(12) {
            pass(&installation, &mut model, &mut draw, &mut done).kill();
            let offline = if draw.one_in(2) { Offline::Restore } else { Offline::Accept };
            offline.prepare(&installation);
            killed += kill_offline(offline, &installation, &mut draw);
            offline.complete(&installation, &mut done);
            killed += count(offline.row(), std::mem::take(&mut done));
        }
    }
    pass(&installation, &mut model, &mut draw, &mut done).stop().expect(0);
    pass_backup(&installation, &model, &mut done);
    killed + count(START, done)
}

/// Kills a command; answers 1, or 0 if it was through before.
fn kill_offline(offline: Offline, installation: &Installation, draw: &mut Draw) -> u64 {
    if matches!(offline, Offline::Init { .. }) && installation.store().exists() {
        return 0;
    }
    match kill_after(&offline.command(installation), draw.within(25)) {
        Some(outcome) => {
            outcome.expect(0);
            0
        }
        None => {
            table::add(offline.row(), |row| row.random += 1);
            1
        }
    }
}

/// Answers how many starts were killed.
fn count(row: &'static str, done: Done) -> u64 {
    table::add(row, |row| (row.starts, row.values) = (row.starts + done.starts, row.values + done.values));
    table::add(START, |row| row.random += done.start_kills);
    done.start_kills
}
