//! Tests of Backup: what it tells, what it writes, and what it refuses to make a backup of.
//!
//! Must never take a file for a good backup that was not read again.
//! Run as `operations::backup::tests`.

use super::super::test_rig::{BEGIN, DAY, Rig};
use super::*;

fn backed_up(rig: &mut Rig) -> Result<Made, Refusal> {
    back_up(&rig.whole(), &mut rig.ledger)
}

fn fetched(rig: &mut Rig) -> Result<(Made, Vec<u8>), Refusal> {
    let (made, pieces) = contents(&rig.whole(), &mut rig.ledger)?;
    Ok((made, pieces.collect::<Vec<_>>().concat()))
}

#[test]
fn a_backup_is_durable_in_the_directory_and_told_as_it_is() {
    let mut rig = Rig::new();
    rig.create("later", None).unwrap();
    rig.create("gone", None).unwrap();
    rig.delete("gone", None).unwrap();
    let made = backed_up(&mut rig).unwrap();
    let path = made.path.clone().unwrap();
    let kept = backup_file::read(&path).unwrap();
    let snapshot = rig.snapshot();
    assert_eq!((kept.generation, made.generation), (snapshot.generation, snapshot.generation));
    assert!(kept.records == snapshot.records);
    assert_eq!((made.written, made.bytes), (BEGIN, path.metadata().unwrap().len()));
    assert_eq!(
        (made.keys, made.versions),
        (9, 10),
        "eight that are there from the start, one more, and a deleted one's"
    );
    assert_eq!(made.opened_by, [rig.keyring().master.fingerprint]);
    assert_eq!(rig.engine.progress.backup(), (made.generation, BEGIN));
}

#[test]
fn the_contents_are_those_of_the_file_and_need_no_directory() {
    let mut rig = Rig::new();
    let made = backed_up(&mut rig).unwrap();
    let file = std::fs::read(made.path.as_ref().unwrap()).unwrap();
    rig.create("later", None).unwrap();
    rig.delete("later", None).unwrap();
    let made = backed_up(&mut rig).unwrap();
    let (told, bytes) = fetched(&mut rig).unwrap();
    assert!(bytes == std::fs::read(made.path.as_ref().unwrap()).unwrap() && bytes != file);
    assert_eq!(told, Made { path: None, ..made.clone() });
    rig.create("latest", None).unwrap();
    let before = backup_file::list(&rig.backups()).unwrap();
    fetched(&mut rig).unwrap();
    assert_eq!(backup_file::list(&rig.backups()).unwrap(), before, "nothing is written");
    rig.break_backups();
    let progress = rig.engine.progress.backup();
    assert!(matches!(backed_up(&mut rig), Err(Refusal::Backup(_))));
    let (told, bytes) = fetched(&mut rig).unwrap();
    assert_eq!(backup_file::decode(&bytes).unwrap().generation, told.generation);
    assert_eq!(told.bytes, u64::try_from(bytes.len()).unwrap());
    assert!(told.generation > made.generation);
    assert_eq!(rig.engine.progress.backup(), progress, "what the caller keeps is not told as kept here");
}

#[test]
fn a_backup_of_the_same_generation_is_the_same_file_with_its_own_time() {
    let mut rig = Rig::new();
    let first = backed_up(&mut rig).unwrap();
    let bytes = std::fs::read(first.path.as_ref().unwrap()).unwrap();
    rig.pass(DAY);
    assert_eq!(backed_up(&mut rig).unwrap(), first);
    assert_eq!(std::fs::read(first.path.as_ref().unwrap()).unwrap(), bytes);
    assert_eq!(rig.engine.progress.backup(), (first.generation, BEGIN), "status tells when it was written");
    let (told, _) = fetched(&mut rig).unwrap();
    assert_eq!(told.written, BEGIN + DAY);
}

#[test]
fn no_backup_is_made_of_records_that_are_not_those_that_were_committed() {
    for name in ["version/", "key/", "meta", "master", "mac", "identity", "history/"] {
        let mut rig = Rig::new();
        rig.create("later", None).unwrap();
        let good = fetched(&mut rig).unwrap().1;
        let before = backup_file::list(&rig.backups()).unwrap();
        {
            let mut medium = rig.medium.lock().unwrap();
            let (_, value) = medium.snapshot.records.iter_mut().find(|(there, _)| there.starts_with(name)).unwrap();
            *value.last_mut().unwrap() ^= 1;
        }
        assert!(matches!(backed_up(&mut rig), Err(Refusal::Damaged(_))), "{name}");
        assert!(matches!(fetched(&mut rig), Err(Refusal::Damaged(_))), "{name}");
        assert_eq!(backup_file::list(&rig.backups()).unwrap(), before);
        // The disk gives the right bytes again.
        rig.medium.lock().unwrap().snapshot.records = backup_file::decode(&good).unwrap().records;
        assert!(backed_up(&mut rig).is_ok(), "{name}");
    }
    let mut rig = Rig::new();
    let lost = rig.snapshot().records.keys().find(|name| name.starts_with("version/")).cloned().unwrap();
    rig.medium.lock().unwrap().snapshot.records.remove(&lost);
    assert!(matches!(fetched(&mut rig), Err(Refusal::Damaged(_))));
}

#[test]
fn a_store_that_cannot_be_read_gives_no_backup_and_the_next_call_does() {
    let mut rig = Rig::new();
    rig.medium.lock().unwrap().unreadable = true;
    assert!(matches!(fetched(&mut rig), Err(Refusal::Store(_))));
    assert!(matches!(backed_up(&mut rig), Err(Refusal::Store(_))));
    rig.medium.lock().unwrap().unreadable = false;
    assert!(fetched(&mut rig).is_ok() && backed_up(&mut rig).is_ok());
}
