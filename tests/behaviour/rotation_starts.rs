//! Every start: what the key sources hold, at each point of a rotation, and what comes of it. The tables are the contract.
//!
//! Must never count a refused start as one that changed nothing without looking at every byte. Run by `cargo test`.

mod words;

use crate::harness::{
    Daemon, Installation, Invocation, KeyFile, block_on, cell, fingerprint, hex, legacy_value, name, random_key,
    rotation_complete,
};
use servos_keyd::store::record::RotationStep;
use std::sync::atomic::{AtomicUsize, Ordering};

use Held::{New, Old, Third};
use Kind::{Credential, Environment, File, OtherFile};
use Start::{BothKeys, Disagrees, Finishes, GoesOn, NoKey, Serves, Waits, WrongKey};

/// What a source holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Old,
    New,
    Third,
}

/// What comes of a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// It serves; no rotation is under way.
    Serves,
    /// It serves, and a rotation stays pending: nobody told it to finish, or not every source yields the new key.
    Waits,
    /// The same, and it says that the sources hold both keys.
    BothKeys,
    /// It finishes a pending rotation by itself, before it is ready, and does the rest behind it.
    Finishes,
    /// It does the rest of a rotation that was decided.
    GoesOn,
    /// Exit code 78: another key than the store's.
    WrongKey,
    /// Exit code 78: two sources hold different keys.
    Disagrees,
    /// Exit code 66: no source.
    NoKey,
}

/// Where a key comes from, in the order in which sources count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Credential,
    /// `SERVOS_MASTER_KEY_FILE`
    OtherFile,
    /// `[master_key] file`
    File,
    Environment,
}

/// The points of a rotation, in the order of the tables' columns.
const STAGES: [&str; 6] =
    ["before begin", "pending", "after finish", "after abort", "finishing, killed", "aborting, killed"];

/// How a source behaves that is there when the process is gone: a file, or a credential.
const ONE: [(Held, [Start; 6]); 3] = [
    //        before    pending   finished  aborted   finishing aborting
    (Old, [Serves, Waits, WrongKey, Serves, WrongKey, GoesOn]),
    (New, [WrongKey, Finishes, Serves, WrongKey, GoesOn, WrongKey]),
    (Third, [WrongKey, WrongKey, WrongKey, WrongKey, WrongKey, WrongKey]),
];

/// The environment alone: what a start read there may be gone with the process, so it does not finish by itself.
const ENVIRONMENT_ALONE: [(Held, [Start; 6]); 3] = [
    (Old, [Serves, Waits, WrongKey, Serves, WrongKey, GoesOn]),
    (New, [WrongKey, Waits, Serves, WrongKey, GoesOn, WrongKey]),
    (Third, [WrongKey, WrongKey, WrongKey, WrongKey, WrongKey, WrongKey]),
];

/// Two sources of any kinds of which one at least stays.
const TWO: [([Held; 2], [Start; 6]); 9] = [
    ([Old, Old], [Serves, Waits, WrongKey, Serves, WrongKey, GoesOn]),
    ([Old, New], [Disagrees, BothKeys, Disagrees, Disagrees, Disagrees, Disagrees]),
    ([Old, Third], [Disagrees, Disagrees, Disagrees, Disagrees, Disagrees, Disagrees]),
    ([New, Old], [Disagrees, BothKeys, Disagrees, Disagrees, Disagrees, Disagrees]),
    ([New, New], [WrongKey, Finishes, Serves, WrongKey, GoesOn, WrongKey]),
    ([New, Third], [Disagrees, Disagrees, Disagrees, Disagrees, Disagrees, Disagrees]),
    ([Third, Old], [Disagrees, Disagrees, Disagrees, Disagrees, Disagrees, Disagrees]),
    ([Third, New], [Disagrees, Disagrees, Disagrees, Disagrees, Disagrees, Disagrees]),
    ([Third, Third], [WrongKey, WrongKey, WrongKey, WrongKey, WrongKey, WrongKey]),
];

/// One start.
struct Row {
    stage: usize,
    sources: Vec<(Kind, Held)>,
    start: Start,
}

/// Sources, and what comes of a start with them at each stage.
type Combination = (Vec<(Kind, Held)>, [Start; 6]);

/// Every combination of sources, what they hold, and stages.
fn rows() -> Vec<Row> {
    let mut all: Vec<Combination> = vec![(Vec::new(), [NoKey; 6])];
    for (kind, table) in [(File, &ONE), (Credential, &ONE), (Environment, &ENVIRONMENT_ALONE)] {
        all.extend(table.iter().map(|(held, starts)| (vec![(kind, *held)], *starts)));
    }
    for (first, second) in [(File, Environment), (Credential, File), (OtherFile, File)] {
        all.extend(TWO.iter().map(|([one, other], starts)| (vec![(first, *one), (second, *other)], *starts)));
    }
    let row = |(sources, starts): Combination| {
        starts.into_iter().enumerate().map(move |(stage, start)| Row { stage, sources: sources.clone(), start })
    };
    all.into_iter().flat_map(row).collect()
}

/// The three keys, each stage of a rotation from the first to the second, and what was sealed before it.
struct World {
    old: [u8; 32],
    new: [u8; 32],
    third: [u8; 32],
    stages: Vec<Installation>,
    sealed: Vec<u8>,
    legacy: bool,
}

impl World {
    /// Makes each stage, with legacy values open or not.
    fn made(legacy: bool) -> Self {
        let before = Installation::new();
        before.init(if legacy { &["--adopt-legacy"] } else { &[] }).expect(0);
        let (old, new, third) = (before.key, random_key(), random_key());
        let daemon = before.serve();
        let sealed = block_on(async {
            daemon.component().encrypt(&name("ssh-keys"), b"sealed before", &cell("1")).await.unwrap().ciphertext
        });
        daemon.stop().expect(0);
        let mut world = Self { old, new, third, stages: Vec::new(), sealed, legacy };

        // What opens in a daemon that goes on from one point to the next: the old key's values; the new key's.
        let pending = before.copy();
        let daemon = pending.serve_for_admin();
        assert_eq!(world.legacy_opens(&daemon), legacy.then_some((true, false)));
        pending.begin_rotation(&daemon, new);
        assert_eq!(world.legacy_opens(&daemon), legacy.then_some((true, true)));
        daemon.stop().expect(0);

        let finished = pending.copy();
        let daemon = finished.serve_for_admin();
        finished.finish_rotation(&daemon, new);
        assert_eq!(world.legacy_opens(&daemon), legacy.then_some((true, true)));
        daemon.stop().expect(0);

        let aborted = before.copy();
        let daemon = aborted.serve_for_admin();
        aborted.begin_rotation(&daemon, new);
        aborted.abort_rotation(&daemon);
        assert_eq!(world.legacy_opens(&daemon), legacy.then_some((true, false)));
        daemon.stop().expect(0);

        let (finishing, aborting) = (pending.interrupted(new, false), pending.interrupted(new, true));
        world.stages = vec![before, pending, finished, aborted, finishing, aborting];
        world
    }

    fn key(&self, held: Held) -> [u8; 32] {
        match held {
            Old => self.old,
            New => self.new,
            Third => self.third,
        }
    }

    fn fingerprint(&self, held: Held) -> String {
        fingerprint(self.key(held))
    }

    /// Whether legacy values under the old key open, and under the new; `None` if none does. Those under a key that was
    /// never here do not, and none does unless it is allowed.
    fn legacy_opens(&self, daemon: &Daemon) -> Option<(bool, bool)> {
        block_on(async {
            let (client, key) = (daemon.component(), name("env-vars"));
            let mut opens = Vec::new();
            for held in [Old, New, Third] {
                let row = legacy_value(self.key(held), b"a legacy row");
                assert!(client.decrypt(&key, &row, &cell("1")).await.is_err());
                let opened = client.danger_decrypt_legacy(&key, &row, &cell("1")).await;
                assert!(
                    opened.as_ref().is_ok_and(|opened| opened.plaintext.as_slice() == b"a legacy row")
                        || opened.is_err()
                );
                opens.push(opened.is_ok());
            }
            assert!(!opens[2]);
            (opens[0] || opens[1]).then_some((opens[0], opens[1]))
        })
    }

    /// Puts the sources of a row in place.
    fn invocation(&self, place: &mut Installation, row: &Row) -> Invocation {
        std::fs::remove_file(place.path("master.key")).unwrap();
        place.key_file = KeyFile::None;
        let mut variables = Vec::new();
        for (kind, held) in &row.sources {
            let text = hex(&self.key(*held));
            match kind {
                File => place.key_file = KeyFile::At(place.write_private("file.key", text.as_bytes())),
                OtherFile => {
                    let path = place.write_private("other.key", text.as_bytes());
                    variables.push(("SERVOS_MASTER_KEY_FILE", path.into_os_string()));
                }
                Credential => {
                    std::fs::create_dir(place.path("credentials")).unwrap();
                    place.write_private("credentials/servos_master_key", text.as_bytes());
                    variables.push(("CREDENTIALS_DIRECTORY", place.path("credentials").into_os_string()));
                }
                Environment => variables.push(("SERVOS_MASTER_KEY", text.into())),
            }
        }
        let run = place.command("serve", &[]);
        variables.into_iter().fold(run, |run, (name, value)| run.variable(name, value))
    }

    /// Starts it, and holds what comes of it to the row.
    fn check(&self, row: &Row) {
        let mut place = self.stages[row.stage].copy();
        let run = self.invocation(&mut place, row);
        if matches!(row.start, WrongKey | Disagrees | NoKey) {
            let before = place.files();
            self.check_refusal(row, &place, Daemon::refused(&run));
            assert!(place.files() == before, "a refused start changed something");
            return;
        }
        let daemon = place.serve_with(&run);
        let ready = daemon.said();
        for (event, starts) in [
            ("rotation.finished", &[Finishes][..]),
            ("rotation.pending", &[Waits, BothKeys]),
            ("rotation.resumed", &[GoesOn]),
            ("a rotation of the master key is pending, and the sources differ", &[BothKeys]),
        ] {
            assert_eq!(ready.contains(event), starts.contains(&row.start), "{event}: {ready}");
        }
        self.check_values(row, &daemon);
        if matches!(row.start, Finishes | GoesOn) {
            rotation_complete(&daemon);
        }
        let stopped = daemon.stop().expect(0).not_saying(&["rotation.stopped"]);
        self.check_pending(row, &place, &stopped);
        assert_eq!(place.opened_by(&[self.old, self.new, self.third]), self.opens(row));
        let pending = matches!(row.start, Waits | BothKeys).then_some(RotationStep::Pending);
        assert!(place.rotation_step() == pending, "another step than the row says");
    }

    /// The keys that open the store after a start.
    fn opens(&self, row: &Row) -> Vec<[u8; 32]> {
        match (row.start, STAGES[row.stage]) {
            (Waits | BothKeys, _) => vec![self.old, self.new],
            (Finishes, _) | (_, "after finish" | "finishing, killed") => vec![self.new],
            _ => vec![self.old],
        }
    }

    /// What was sealed before opens, a new value too, and legacy values as far as the start knows their keys.
    fn check_values(&self, row: &Row, daemon: &Daemon) {
        block_on(async {
            let (client, key) = (daemon.component(), name("ssh-keys"));
            let opened = client.decrypt(&key, &self.sealed, &cell("1")).await.unwrap();
            assert_eq!(opened.plaintext.as_slice(), b"sealed before");
            let sealed = client.encrypt(&key, b"now", &cell("1")).await.unwrap().ciphertext;
            assert_eq!(client.decrypt(&key, &sealed, &cell("1")).await.unwrap().plaintext.as_slice(), b"now");
        });
        // While a rotation is pending, the new key is known to a start that a source gave it to, and to no other.
        let new_is_known = match row.start {
            Waits | BothKeys => row.sources.iter().any(|(_, held)| *held == New),
            _ => self.opens(row) == [self.new],
        };
        assert_eq!(self.legacy_opens(daemon), self.legacy.then_some((true, new_is_known)));
    }
}

/// Names the row that a panic comes from.
struct Named<'r>(&'r Row, bool);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Row { stage, sources, start } = self.0;
            eprintln!("in the row: {}, sources {sources:?}, legacy {}: {start:?}", STAGES[*stage], self.1);
        }
    }
}

/// Runs the rows, a few at a time.
fn check_all(world: &World, rows: &[Row]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _named = Named(row, world.legacy);
                    world.check(row);
                }
            });
        }
    });
}

#[test]
fn every_start_is_what_the_tables_say() {
    let rows = rows();
    // Ten ways to have one source or none, three kinds of pairs; six stages.
    assert_eq!(rows.len(), (10 + 27) * 6);
    check_all(&World::made(false), &rows);
}

#[test]
fn legacy_values_open_under_the_keys_that_a_start_knows() {
    let mut rows = rows();
    rows.retain(|row| !matches!(row.start, WrongKey | Disagrees | NoKey));
    assert_eq!(rows.len(), 5 * 6 + 18);
    check_all(&World::made(true), &rows);
}
