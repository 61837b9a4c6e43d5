//! What a creation leaves on the disk: sealed, all of it.
//!
//! Must never take the daemon's own word for it: bytes are searched.
//! Run by `cargo test`.

use super::super::test_rig::{BEGIN, MASTER_KEY, places, random};
use super::{Creation, create};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::random::RandomUnavailable;
use crate::store::disk::Operation;
use crate::store::disk::watch::{Watcher, watch};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Every file below a directory.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn occurrences<'b>(bytes: &'b [u8], wanted: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}

#[test]
fn no_key_lies_in_the_clear_in_any_file_of_a_new_store() {
    let memory = LockedMemory::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let master = MasterKey::parse(MASTER_KEY.as_bytes(), &memory).unwrap();
    // Everything of 32 bytes that was ever drawn: the keys, and the salts of their seals.
    let drawn: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let spy: &'static Mutex<Vec<Vec<u8>>> = Box::leak(Box::new(drawn));
    let remembering = move |bytes: &mut [u8]| -> Result<(), RandomUnavailable> {
        random(bytes)?;
        spy.lock().unwrap().push(bytes.to_vec());
        Ok(())
    };
    let places = places(&directory);
    create(&Creation {
        places: &places,
        master: &master,
        shared: false,
        adopt_legacy: true,
        memory: &memory,
        random: &remembering,
        now: BEGIN,
    })
    .unwrap();
    let mut raw_master = [0; 32];
    base16ct::lower::decode(MASTER_KEY, &mut raw_master).unwrap();
    let drawn: Vec<Vec<u8>> = spy.lock().unwrap().iter().filter(|bytes| bytes.len() == 32).cloned().collect();
    let files = files(directory.path());
    assert_eq!(files.len(), 3, "store, mark and backup");
    let mut salts = 0;
    for (name, bytes) in &files {
        for secret in [MASTER_KEY.as_bytes(), &raw_master] {
            assert_eq!(occurrences(bytes, secret).count(), 0, "the master key in {name}");
        }
        for value in &drawn {
            for at in occurrences(bytes, value) {
                // Only as a seal's salt, behind its magic and the id of the key that sealed.
                assert_eq!(bytes.get(at - 12..at - 8), Some(&b"SKR1"[..]), "{name} at {at}");
                salts += 1;
            }
        }
    }
    // Root, canary, identity, the legacy key and eight versions, in the store and in the backup: salts are found, and
    // the other half of what was drawn, which are keys, is not.
    assert_eq!(salts, 2 * 12);
    assert_eq!(drawn.len(), 12 + 10);
}

/// Refuses to give a store its name, or writes down what is done to names.
#[derive(Default)]
struct Names {
    refuses_the_store: AtomicBool,
    done: Mutex<Vec<String>>,
}

impl Watcher for Names {
    fn before(&self, operation: Operation<'_>, _: Option<u64>) -> std::io::Result<()> {
        match operation {
            Operation::Rename(_, to) if to.ends_with("keyd.redb") && self.refuses_the_store.load(Ordering::Relaxed) => {
                Err(std::io::Error::from_raw_os_error(libc::EIO))
            }
            _ => Ok(()),
        }
    }

    fn done(&self, operation: Operation<'_>, _: Option<u64>) {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let line = match operation {
            Operation::Remove(path) if path.extension().is_some_and(|end| end == "skb1") => "removed".to_owned(),
            Operation::SyncDirectory(path) => format!("synced {}", name(path)),
            Operation::Rename(_, to) => format!("renamed to {}", name(to)),
            _ => return,
        };
        self.done.lock().unwrap().push(line);
    }
}

/// Were it there again after a power cut, it would pass for the backup of a store that was lost.
#[test]
fn a_creation_begun_again_removes_the_backup_of_the_first_for_good_before_it_announces_another_store() {
    let memory = LockedMemory::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (master, places) = (MasterKey::parse(MASTER_KEY.as_bytes(), &memory).unwrap(), places(&directory));
    let (places, master, memory) = (&places, &master, &memory);
    let creation = Creation { places, master, shared: false, adopt_legacy: false, memory, random: &random, now: BEGIN };
    let names = Arc::new(Names::default());
    let _watch = watch(directory.path(), Arc::clone(&names) as Arc<dyn Watcher>);
    names.refuses_the_store.store(true, Ordering::Relaxed);
    assert!(create(&creation).is_err());
    names.refuses_the_store.store(false, Ordering::Relaxed);
    names.done.lock().unwrap().clear();
    create(&creation).unwrap();
    assert_eq!(names.done.lock().unwrap()[..3], ["removed", "synced backup", "renamed to keyd.redb.mark"]);
}
