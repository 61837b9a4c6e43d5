//! A file system that is full from one step of a rotation on: what is refused, what waits, and that it goes on with room.
//!
//! Must never fill a file system that others use: it is a small one in a mount namespace of its own. Run by `cargo test`.

use crate::calls::{Answer, Call, status};
use crate::harness::{Daemon, Installation, block_on, eventually, in_a_small_place, small_place};
use crate::stage::{Case, Operation, Stage, served};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tonic::{Code, Status};

/// Runs one of the ignored tests below, and passes on what it counted.
fn with_little_room(test: &str) {
    let said = in_a_small_place(&format!("room::{test}"));
    for line in said.lines().filter(|line| line.starts_with("no room ")) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// The small file system with one store.
struct Place {
    root: PathBuf,
}

impl Place {
    fn here() -> Self {
        Self { root: small_place() }
    }

    /// A stage whose store and backups lie here, and what they are like then.
    fn set(&self, case: Case) -> Stage {
        let now = self.root.join("now");
        fs::create_dir(&now).unwrap();
        let stage = Stage::set_in(case, |installation| {
            installation.store_path = Some(now.join("keyd.redb"));
            installation.backup_path = Some(now.join("backup"));
        });
        copy(&now, &self.root.join("before"));
        stage
    }

    /// Puts back what it was like.
    fn reset(&self) {
        self.make_room();
        fs::remove_dir_all(self.root.join("now")).unwrap();
        copy(&self.root.join("before"), &self.root.join("now"));
    }

    /// Leaves no room, not even for a page.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.root.join("ballast")).unwrap();
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![7; size]).is_ok() {}
        }
        assert_eq!(fs::write(self.root.join("more"), b"more").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        fs::remove_file(self.root.join("more")).unwrap();
    }

    fn make_room(&self) {
        let _ = fs::remove_file(self.root.join("ballast"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Starts a daemon that waits at a point, and calls; once it is there, the place is full when it goes on.
fn without_room_from(stage: &Stage, place: &Place, point: &str) -> (Daemon, Result<Answer, Status>) {
    let installation = stage.installation();
    installation.write_key(stage.old);
    // Where the daemon may write: its sandbox closes the rest.
    let waits = installation.store().with_file_name("waits");
    let invocation = served(installation).variable("SERVOS_KEYD_WAIT_AT", format!("{point}:{}", waits.display()));
    let daemon = installation.serve_with(&invocation);
    installation.write_key(stage.key_after());
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| block_on(Call::of(stage, "").send(&daemon)));
        eventually(point, || waits.exists());
        place.fill();
        fs::remove_file(&waits).unwrap();
        call.join().unwrap()
    });
    (daemon, answer)
}

/// Passes one that opens and seals as ever.
fn check_service(stage: &Stage, daemon: &Daemon) {
    stage.check_values(daemon, &[]);
    let sealed = crate::stage::seal_some(daemon, "without room");
    stage.check_values(daemon, &sealed);
}

/// With room again: the same is asked again, goes on at once and to its end; and the end is what the next start finds.
fn check_rest(stage: &Stage, place: &Place, daemon: Daemon) {
    let installation = stage.installation();
    place.make_room();
    block_on(Call::of(stage, "").send(&daemon)).map(drop).unwrap();
    if stage.case.operation == Operation::Begin {
        installation.write_key(stage.new);
        let finish = Call { operation: Operation::Finish, ..Call::of(stage, "") };
        block_on(finish.send(&daemon)).map(drop).unwrap();
    }
    eventually("it is over", || block_on(status(&daemon)).unwrap().rotation.is_none());
    daemon.kill();
    check_end(stage, installation);
}

fn check_end(stage: &Stage, installation: &Installation) {
    let (stays, goes) =
        if stage.key_at_the_end() == stage.new { (stage.new, stage.old) } else { (stage.old, stage.new) };
    installation.write_key(goes);
    installation.serve_refused().expect(78);
    installation.write_key(stays);
    let daemon = installation.serve();
    stage.check_end(&daemon, installation, &[]);
    daemon.stop().expect(0);
}

#[test]
#[ignore = "run by a_begin_without_room_changes_nothing, in a namespace of its own"]
fn begin() {
    let place = Place::here();
    let stage = place.set(Case { operation: Operation::Begin, new_data_keys: true, legacy: true });
    let daemon = stage.installation().serve();
    place.fill();
    for _ in 0..2 {
        let refused = block_on(Call::of(&stage, "").send(&daemon)).map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(block_on(status(&daemon)).unwrap().rotation.is_none());
        check_service(&stage, &daemon);
    }
    check_rest(&stage, &place, daemon);

    for point in ["backup#1", "commit#1", "mark#1"] {
        place.reset();
        let (daemon, answer) = without_room_from(&stage, &place, point);
        let begun = block_on(status(&daemon)).unwrap().rotation.is_some();
        assert_eq!(answer.is_ok(), begun, "{point}");
        assert!(begun || point == "backup#1", "{point}: {:?}", answer.map(drop).err());
        check_service(&stage, &daemon);
        println!("no room from {point} of a begin on: {}", if begun { "begun" } else { "refused" });
        check_rest(&stage, &place, daemon);
    }
}

#[test]
fn a_begin_without_room_changes_nothing() {
    with_little_room("begin");
}

/// Without room from each step of an end on.
fn end(operation: Operation, steps: u32) {
    let place = Place::here();
    let stage = place.set(Case { operation, new_data_keys: true, legacy: true });
    let mut waited = 0;
    let points = (1..=steps).flat_map(|n| [format!("commit#{n}"), format!("mark#{n}")]);
    for point in points.chain(["backup#1".to_owned()]) {
        place.reset();
        let (daemon, answer) = without_room_from(&stage, &place, &point);
        assert!(answer.is_ok(), "{point}: it was decided");
        let mut waits = false;
        eventually(&point, || match block_on(status(&daemon)).unwrap().rotation {
            Some(rotation) => {
                waits = !rotation.problem.is_empty();
                waits
            }
            None => true,
        });
        waited += u32::from(waits);
        check_service(&stage, &daemon);
        check_rest(&stage, &place, daemon);
    }
    // The file has room within itself for a small change; a new file, a mark and a backup have none.
    assert!(waited >= steps, "only {waited} waited");
    println!("no room from one of {} steps of {operation:?} on: {waited} waited for it", 2 * steps + 1);
}

#[test]
#[ignore = "run by a_finish_without_room_waits_for_it, in a namespace of its own"]
fn finish() {
    end(Operation::Finish, 6);
}

#[test]
fn a_finish_without_room_waits_for_it() {
    with_little_room("finish");
}

#[test]
#[ignore = "run by an_abort_without_room_waits_for_it, in a namespace of its own"]
fn abort() {
    end(Operation::Abort, 6);
}

#[test]
fn an_abort_without_room_waits_for_it() {
    with_little_room("abort");
}

#[test]
#[ignore = "run by a_start_without_room_serves, in a namespace of its own"]
fn start() {
    let place = Place::here();
    let stage = place.set(Case { operation: Operation::FinishAtStart, new_data_keys: true, legacy: true });
    let installation = stage.installation();
    installation.write_key(stage.new);
    place.fill();
    // It may find room within the file for the one commit that decides, and none for its mark, or none at all.
    let daemon = installation.serve();
    check_service(&stage, &daemon);
    assert!(block_on(status(&daemon)).unwrap().rotation.is_some());
    daemon.kill();
    // Nor does the next start of one that was killed without room.
    let daemon = installation.serve();
    check_service(&stage, &daemon);
    check_rest(&stage, &place, daemon);
}

#[test]
fn a_start_without_room_serves() {
    with_little_room("start");
}
