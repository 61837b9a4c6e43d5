//! The table of what can lie in the place of the store or the mark: cut, lengthened, foreign, or no file at all.
//!
//! Must never leave a row without what mends it. Run by `cargo test`.

use super::mend::{Mend, remove};
use super::{End, Fault, Scene, play, serve, serves};
use crate::harness::{Daemon, Installation, is_root, not_run};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;

/// Puts bytes in the place of the store.
fn store_is(scene: &Scene, bytes: &[u8]) {
    remove(&scene.installation.store());
    scene.installation.write_private("keyd.redb", bytes);
}

fn store_of(scene: &Scene) -> Vec<u8> {
    std::fs::read(scene.installation.store()).unwrap()
}

fn cut_to(scene: &Scene, length: usize) {
    let bytes = store_of(scene);
    store_is(scene, &bytes[..length.min(bytes.len())]);
}

fn with_behind(scene: &Scene, more: &[u8]) {
    let bytes = store_of(scene);
    store_is(scene, &[&bytes[..], more].concat());
}

const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

const fn damaged(name: &'static str, harm: fn(&mut Scene), says: &'static [&'static str]) -> Fault {
    Fault { name, harm, met_by: serve, end: End::Code(74), says, mend: Mend::Restore }
}

/// What redb does not look at: its header says where its pages end.
const fn harmless(name: &'static str, harm: fn(&mut Scene)) -> Fault {
    Fault { name, harm, met_by: serves, end: End::Serves, says: &[], mend: Mend::Nothing }
}

const NO_STORE: &[&str] = &["keyd.redb is not a store of servos-keyd", "--salvage`"];
const NOT_WHOLE: &[&str] = &["keyd.redb is damaged: ", "--salvage`"];

const STORE: &[Fault] = &[
    damaged("empty", |s| store_is(s, b""), &["keyd.redb is empty, not a store", "--salvage`"]),
    damaged("cut to one byte", |s| cut_to(s, 1), NOT_WHOLE),
    damaged("cut within redb's magic", |s| cut_to(s, 8), NOT_WHOLE),
    damaged("cut behind it", |s| cut_to(s, 9), NOT_WHOLE),
    damaged("cut within the header", |s| cut_to(s, 200), NOT_WHOLE),
    damaged("cut to its first page", |s| cut_to(s, 4096), NOT_WHOLE),
    damaged("cut to half", |s| cut_to(s, store_of(s).len() / 2), NOT_WHOLE),
    damaged("its last byte missing", |s| cut_to(s, store_of(s).len() - 1), NOT_WHOLE),
    damaged("a byte appended", |s| with_behind(s, b"x"), NOT_WHOLE),
    damaged("garbage appended", |s| with_behind(s, &[0xa5; 10_000]), NOT_WHOLE),
    harmless("whole pages of garbage appended", |s| with_behind(s, &[0xa5; 8192])),
    harmless("twice in one file", |s| with_behind(s, &store_of(s))),
    harmless("lengthened by a hole", |s| lengthen(s, 64 << 20)),
    damaged("an SQLite database", |s| store_is(s, &[b"SQLite format 3\0".as_slice(), &[0; 8192]].concat()), NO_STORE),
    damaged("text", |s| store_is(s, b"SERVOS_MASTER_KEY=\n"), NO_STORE),
    damaged("gzip", |s| store_is(s, b"\x1f\x8b\x08\0\0\0\0\0\0\x03redb\x1a\x0a\xa9\x0d\x0a"), NO_STORE),
    damaged("zeros", |s| store_is(s, &[0; 100_000]), NO_STORE),
    damaged("a backup", |s| store_is(s, &std::fs::read(s.newest_backup()).unwrap()), NO_STORE),
    damaged("redb's magic and text", |s| store_is(s, &[REDB_MAGIC, &[b'x'; 8192]].concat()), NOT_WHOLE),
    damaged("redb's magic and zeros", |s| store_is(s, &[REDB_MAGIC, &[0; 8192]].concat()), NOT_WHOLE),
    damaged("another program's redb file", redb_of_another_program, NO_STORE),
    damaged("a directory", |s| instead_of_store(s, |path| std::fs::create_dir(path).unwrap()), NO_STORE),
    damaged("a FIFO", |s| instead_of_store(s, fifo), NO_STORE),
    damaged("a socket", |s| instead_of_store(s, |path| drop(std::os::unix::net::UnixListener::bind(path))), NO_STORE),
    Fault {
        name: "a symbolic link to it",
        harm: |s| {
            let moved = s.installation.path("elsewhere.redb");
            std::fs::rename(s.installation.store(), &moved).unwrap();
            symlink(moved, s.installation.store()).unwrap();
        },
        met_by: serve,
        end: End::Code(77),
        says: &["it is a symbolic link", "name the file that it leads to"],
        mend: Mend::PutBack,
    },
    Fault {
        name: "a symbolic link to nothing",
        harm: |s| instead_of_store(s, |path| symlink("/nowhere/keyd.redb", path).unwrap()),
        met_by: serve,
        end: End::Code(77),
        says: &["it is a symbolic link"],
        mend: Mend::PutBack,
    },
    Fault {
        name: "a newer format of redb",
        harm: |s| {
            let mut bytes = store_of(s);
            (bytes[64], bytes[192]) = (4, 4);
            store_is(s, &bytes);
        },
        met_by: serve,
        end: End::Code(78),
        says: &["keyd.redb has file format 4", "newer servos-keyd: install that version"],
        mend: Mend::PutBack,
    },
    damaged(
        "one commit slot of a newer format",
        |s| {
            let mut bytes = store_of(s);
            let current = if bytes[9] & 1 == 0 { 64 } else { 192 };
            bytes[current] = 4;
            store_is(s, &bytes);
        },
        NOT_WHOLE,
    ),
    Fault {
        name: "another installation's store",
        harm: |s| store_is(s, &std::fs::read(Installation::made().store()).unwrap()),
        met_by: serve,
        end: End::Code(78),
        says: &["MASTER KEY INTEGRITY CHECK FAILED", "of another store than", "file of another installation"],
        mend: Mend::Restore,
    },
    Fault {
        name: "another installation's store under the same key",
        harm: |s| {
            let other = Installation::with_key(s.installation.key);
            other.init(&[]).expect(0);
            store_is(s, &std::fs::read(other.store()).unwrap());
        },
        met_by: serve,
        end: End::Code(74),
        says: &["it is the mark of another store", "Put the right file back"],
        mend: Mend::PutBack,
    },
    Fault {
        name: "a hard link to it",
        harm: |s| std::fs::hard_link(s.installation.store(), s.installation.path("second name")).unwrap(),
        met_by: serves,
        end: End::Serves,
        says: &["store.place_warning", "has 2 names (hard links)", "find / -xdev -samefile "],
        mend: Mend::Nothing,
    },
];

fn lengthen(scene: &Scene, by: u64) {
    let mut file = std::fs::OpenOptions::new().write(true).open(scene.installation.store()).unwrap();
    let length = file.seek(SeekFrom::End(0)).unwrap();
    file.set_len(length + by).unwrap();
    file.flush().unwrap();
}

fn redb_of_another_program(scene: &mut Scene) {
    remove(&scene.installation.store());
    let theirs = redb::Database::create(scene.installation.store()).unwrap();
    let transaction = theirs.begin_write().unwrap();
    drop(transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap());
    transaction.commit().unwrap();
}

fn instead_of_store(scene: &Scene, put: fn(&std::path::Path)) {
    remove(&scene.installation.store());
    put(&scene.installation.store());
}

fn fifo(path: &std::path::Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn what_lies_in_the_place_of_the_store_is_refused_by_name_and_mended_by_the_command_it_names() {
    play(STORE);
}

const MARK: &[Fault] = &[
    Fault {
        name: "a FIFO for a mark",
        harm: |s| {
            remove(&s.installation.mark());
            fifo(&s.installation.mark());
        },
        met_by: serve,
        end: End::Code(74),
        says: &["it is not a file"],
        mend: Mend::Accept,
    },
    Fault {
        name: "a symbolic link for a mark",
        harm: |s| {
            let moved = s.installation.path("elsewhere.mark");
            std::fs::rename(s.installation.mark(), &moved).unwrap();
            symlink(moved, s.installation.mark()).unwrap();
        },
        met_by: serve,
        end: End::Code(77),
        says: &["keyd.redb.mark", "it is a symbolic link"],
        mend: Mend::PutBack,
    },
    Fault {
        name: "another installation's mark",
        harm: |s| assert!(std::fs::copy(Installation::made().mark(), s.installation.mark()).is_ok()),
        met_by: serve,
        end: End::Code(74),
        says: &["it is the mark of another store"],
        mend: Mend::Accept,
    },
];

#[test]
fn what_lies_in_the_place_of_the_mark_is_refused_by_name_and_mended_by_the_command_it_names() {
    play(MARK);
}

const BACKUP: &[Fault] = &[
    Fault {
        name: "restore of another installation's backup",
        harm: |s| {
            let other = Installation::made();
            std::fs::copy(&other.backups()[0], s.installation.path("other.skb1")).unwrap();
            remove(&s.installation.store());
        },
        met_by: |s| s.installation.restore(&s.installation.path("other.skb1")),
        end: End::Code(78),
        says: &["other.skb1", "the backup says it was sealed under"],
        mend: Mend::PutBack,
    },
    Fault {
        name: "restore of another installation's backup under the same key",
        harm: |s| {
            let other = Installation::with_key(s.installation.key);
            other.init(&[]).expect(0);
            std::fs::copy(&other.backups()[0], s.installation.path("other.skb1")).unwrap();
            remove(&s.installation.store());
        },
        met_by: |s| s.installation.restore(&s.installation.path("other.skb1")),
        end: End::Code(73),
        says: &["keyd.redb.mark"],
        mend: Mend::PutBack,
    },
];

#[test]
fn a_backup_of_another_installation_is_refused_by_name() {
    play(BACKUP);
}

#[test]
fn an_offline_command_beside_a_daemon_is_told_what_to_stop() {
    let scene = Scene::made();
    let generation = scene.installation.marked_state().generation.to_string();
    let daemon = scene.installation.serve();
    for refused in [
        scene.installation.accept(&["--generation", &generation, "--yes"]),
        scene.installation.restore(&scene.newest_backup()),
        scene.installation.serve_refused(),
    ] {
        refused.expect(75).saying(&["Stop it first: `systemctl stop 'servos-keyd*'`"]);
    }
    scene.check(&daemon, "beside it");
    daemon.stop().expect(0);
    scene.installation.accept(&["--generation", &generation, "--yes"]).expect(0);
    scene.check(&scene.installation.serve(), "after it");
}

#[test]
fn a_store_with_a_hole_of_a_terabyte_is_refused_soon_and_one_of_a_gigabyte_does_no_harm() {
    let scene = Scene::made();
    lengthen(&scene, 1 << 30);
    serves(&scene).expect(0);
    lengthen(&scene, 1 << 40);
    scene.installation.serve_refused().expect(74).saying(&["longer than 16 GiB", "--salvage`"]);
    let salvage = scene.installation.command("serve", &["--salvage"]);
    Daemon::refused(&salvage).expect(74).saying(&["longer than 16 GiB", "Only a backup helps"]);
}

#[test]
fn a_device_in_the_place_of_store_or_mark_is_refused() {
    if !is_root() {
        return not_run("only root can make a device");
    }
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    for (at, words) in [("keyd.redb", NO_STORE), ("keyd.redb.mark", &["it is not a file"])] {
        let scene = Scene::made();
        let path = scene.installation.path(at);
        remove(&path);
        // Zeros without an end.
        if mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 5)).is_err() {
            return not_run("this root may not make a device");
        }
        scene.installation.serve_refused().expect(74).saying(words);
    }
}
