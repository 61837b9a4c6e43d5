//! Deaths behind every step that reaches the disk, of every operation but those of a rotation, which have a binary of their own.
//!
//! Must never name the steps by hand: an operation is watched once, and then dies at everything that it passed.
//! Used by `main`.

use crate::calls::{Asked, Change, Lost};
use crate::check::{Done, pass};
use crate::draw::Draw;
use crate::harness::{
    Daemon, Installation, Invocation, KEYD, Outcome, beside, block_on, cell, eventually, hex, name, random_key,
};
use crate::model::{Model, Value};
use crate::offline::Offline;
use crate::place::{serve, try_serve};
use crate::table::{self, START};

/// What a process ends with that aborts.
const ABORTED: i32 = 6;

/// An installation just before something, to be copied for each death.
struct Stage {
    installation: Installation,
    model: Model,
}

impl Stage {
    /// With a key of three versions, values, and legacy keys.
    fn set() -> Self {
        let installation = Installation::new();
        installation.init(&["--adopt-legacy"]).expect(0);
        let mut model = Model::new(installation.key, true);
        let daemon = serve(&installation);
        let changes = [Change::Create(KEY.into()), Change::Rotate(KEY.into()), Change::Rotate(KEY.into())];
        for (number, change) in changes.into_iter().enumerate() {
            must(&daemon, &mut model, &asked(change, 100 + number));
            seal(&daemon, &mut model, KEY);
        }
        must(&daemon, &mut model, &asked(Change::Adopt(random_key()), 200));
        seal(&daemon, &mut model, "default");
        daemon.stop().expect(0);
        Self { installation, model }
    }

    fn copy(&self) -> (Installation, Model) {
        (self.installation.copy(), self.model.clone())
    }
}

const KEY: &str = "steps";

fn asked(change: Change, number: usize) -> Asked {
    Asked { id: format!("3d2f6a90-7777-4222-8333-{number:012}"), change, answer: None }
}

fn must(daemon: &Daemon, model: &mut Model, asked: &Asked) {
    let answer = block_on(asked.send(&daemon.admin_socket));
    model.settle(asked, answer.unwrap_or_else(|lost| panic!("{}: {lost:?}", asked.change.row())));
}

fn seal(daemon: &Daemon, model: &mut Model, key: &str) {
    let plaintext = format!("under {key}, {}", model.values.len()).into_bytes();
    let sealed = block_on(async { daemon.component().encrypt(&name(key), &plaintext, &cell("1")).await.unwrap() });
    let version_id = hex(&sealed.ciphertext[4..12]);
    model.values.push(Value { name: key.to_owned(), version_id, ciphertext: sealed.ciphertext, plaintext });
}

/// Lets every operation die everywhere; answers how many did.
pub fn die_everywhere(seed: u64) -> u64 {
    let stage = Stage::set();
    let mut draw = Draw::of(&[seed, u64::MAX]);
    let retired = stage.model.legacy[1].fingerprint.clone();
    let changes = [
        Change::Create("new".into()),
        Change::Rotate(KEY.into()),
        Change::Delete(KEY.into()),
        Change::Adopt(random_key()),
        Change::Retire(retired),
    ];
    let mut deaths = 0;
    for change in changes {
        deaths += die_in_change(&stage, &asked(change, 1), &mut draw);
    }
    for offline in [Offline::Init { adopt: true }, Offline::Restore, Offline::Accept] {
        deaths += die_in_command(&stage, offline, &mut draw);
    }
    deaths + die_in_start(&stage, &mut draw)
}

/// The points that are passed between two counts, each with the row that it belongs to.
fn points(file: &std::path::Path, own: &'static str) -> Vec<(String, &'static str)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let _ = std::fs::remove_file(file);
    let mut points: Vec<(String, &'static str)> = Vec::new();
    let mut from = 0;
    for line in text.lines() {
        let (point, _) = line.split_once('#').unwrap();
        points.push((line.to_owned(), own));
        // What a step ends with tells what it was.
        let row = match point {
            "backup" => {
                from = points.iter().rposition(|(at, _)| at.starts_with("written#")).unwrap_or(from).max(from);
                "backup"
            }
            "commit" | "installed" if points[from..].iter().any(|(at, _)| at.starts_with("filled#")) => {
                if own == "retire-legacy" { "rewrite" } else { own }
            }
            "commit" | "mark" | "installed" => own,
            _ => continue,
        };
        points[from..].iter_mut().for_each(|(_, of)| *of = row);
        from = points.len();
    }
    points
}

fn died(outcome: &Outcome, point: &str) {
    assert_eq!(outcome.signal, Some(ABORTED), "{point}: {outcome:#?}");
}

/// Waits for a death.
fn dies(mut daemon: Daemon, point: &str) {
    eventually("the daemon dies", || daemon.ended().inspect(|outcome| died(outcome, point)).is_some());
}

fn count(row: &'static str, done: Done) {
    table::add(row, |row| {
        (row.steps, row.starts, row.values) = (row.steps + 1, row.starts + done.starts, row.values + done.values);
    });
    table::add(START, |row| row.random += done.start_kills);
}

fn die_in_change(stage: &Stage, asked: &Asked, draw: &mut Draw) -> u64 {
    let row = asked.change.row();
    let (installation, mut model) = stage.copy();
    let file = installation.path("points");
    let daemon = try_serve(&installation, &[("SERVOS_KEYD_POINTS_TO", file.to_str().unwrap())]).unwrap();
    let at_start = points(&file, row).len();
    must(&daemon, &mut model, asked);
    daemon.kill();
    let points = points(&file, row);
    assert!(at_start > 0 && points.len() >= 4, "{row} passes {points:?}");
    for (point, row) in &points {
        eprintln!("{}: {point}", asked.change.row());
        let (installation, mut model) = stage.copy();
        let daemon = try_serve(&installation, &[("SERVOS_KEYD_DIE_AT", point)]).unwrap();
        model.doubts.push(asked.clone());
        match block_on(asked.send(&daemon.admin_socket)) {
            Err(Lost::Unanswered(_)) => dies(daemon, point),
            other => panic!("{point}: {other:?} of one that should have died"),
        }
        let mut done = Done::default();
        pass(&installation, &mut model, draw, &mut done).kill();
        assert!(model.requests.iter().any(|known| known.id == asked.id), "asked again, it goes through");
        count(row, done);
    }
    points.len() as u64
}

fn die_in_command(stage: &Stage, offline: Offline, draw: &mut Draw) -> u64 {
    let is_init = matches!(offline, Offline::Init { .. });
    let prepared = || {
        let (installation, model) = if is_init {
            let installation = Installation::new();
            let model = Model::new(installation.key, true);
            (installation, model)
        } else {
            stage.copy()
        };
        offline.prepare(&installation);
        (installation, model)
    };
    let (installation, _) = prepared();
    let file = installation.path("points");
    let run = |invocation: Invocation| invocation.run(KEYD);
    run(offline.command(&installation).variable("SERVOS_KEYD_POINTS_TO", &file)).expect(0);
    let points = points(&file, offline.row());
    assert!(points.len() >= 5, "{} passes {points:?}", offline.row());
    for (point, row) in &points {
        eprintln!("{}: {point}", offline.row());
        let (installation, mut model) = prepared();
        died(&run(offline.command(&installation).variable("SERVOS_KEYD_DIE_AT", point)), point);
        let mut done = Done::default();
        offline.complete(&installation, &mut done);
        offline.acknowledged(&mut model);
        pass(&installation, &mut model, draw, &mut done).kill();
        count(row, done);
    }
    points.len() as u64
}

/// A start that has something to take up: a version that waits, a mark that is behind, what a rewrite and a backup left.
fn die_in_start(stage: &Stage, draw: &mut Draw) -> u64 {
    let (installation, mut model) = stage.copy();
    let rotate = asked(Change::Rotate(KEY.into()), 1);
    let daemon = try_serve(&installation, &[("SERVOS_KEYD_DIE_AT", "commit#1")]).unwrap();
    model.doubts.push(rotate.clone());
    assert!(block_on(rotate.send(&daemon.admin_socket)).is_err());
    dies(daemon, "commit#1");
    let left = Stage { installation, model };
    let take = || {
        let (copy, model) = left.copy();
        for file in [copy.store(), copy.mark(), copy.backups().pop().unwrap()] {
            let end = if file == copy.store() { ".new" } else { ".tmp" };
            std::fs::copy(&file, beside(&file, end)).unwrap();
        }
        (copy, model)
    };
    let (installation, mut model) = take();
    let file = installation.path("points");
    let daemon = try_serve(&installation, &[("SERVOS_KEYD_POINTS_TO", file.to_str().unwrap())]).unwrap();
    // The writer takes it up before it does this: so all of it is behind.
    must(&daemon, &mut model, &rotate);
    daemon.kill();
    let points = points(&file, START);
    assert!(points.len() >= 10, "a start passes {points:?}");
    for (point, _) in &points {
        eprintln!("start: {point}");
        let (installation, mut model) = take();
        match try_serve(&installation, &[("SERVOS_KEYD_DIE_AT", point)]) {
            Ok(daemon) => dies(daemon, point),
            Err(outcome) => died(&outcome, point),
        }
        let mut done = Done::default();
        pass(&installation, &mut model, draw, &mut done).kill();
        assert!(model.requests.iter().any(|known| known.id == rotate.id), "asked again, it goes through");
        count(START, done);
    }
    points.len() as u64
}
