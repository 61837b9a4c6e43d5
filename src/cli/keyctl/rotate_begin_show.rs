//! What `rotate begin` asks and shows: what will change, what could go wrong, and what comes next.
//!
//! Must never keep a risk to itself that the operator takes.
//! Called by `rotate_begin`.

use super::console::Console;
use super::output::{count, fields, push_list};
use super::rotate_end::push_end_commands;
use super::rotate_key_file::KeyPlace;
use super::rotate_show;
use crate::cli::failure::Failure;
use crate::proto::v1::{RotateResponse, Rotation};
use serde_json::json;

/// What is asked before a rotation is begun.
pub(super) fn question(answer: &RotateResponse, place: &KeyPlace) -> String {
    let rotation = answer.rotation.clone().unwrap_or_default();
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    let data_keys = rotate_show::data_keys(&rotation, Some(answer.data_keys));
    format!(
        "Beginning to rotate the master key from {old} to {new}:\n  \
         - First keep {new} on another machine, apart from the store and its backups: it is in {}.\n  \
         - A backup is written; then both keys open the store, until you finish or abort. Nothing stops working.\n  \
         - At the finish {} made anew; data keys: {data_keys}.\n  \
         - Until then no key is made, rotated or deleted, and no legacy key adopted or retired.",
        place.next.display(),
        if answer.seals == 1 { "1 seal is".to_owned() } else { format!("{} are", count(answer.seals, "seal")) },
    )
}

/// Shows what was begun, or would be.
pub(super) fn show(console: &mut Console, answer: &RotateResponse, place: &KeyPlace) -> Result<(), Failure> {
    let rotation = answer.rotation.clone().unwrap_or_default();
    let mut next = rotation.next.clone();
    push_end_commands(&mut next, &rotation);
    let risks = risks(&rotation, place);
    let next_file = place.next.display().to_string();
    let value = json!({
        "dry_run": answer.dry_run,
        "rotation": rotate_show::value(&rotation),
        "new_key_file": next_file,
        "backup": answer.backup,
        "sources": rotate_show::sources_value(&answer.sources),
        "seals": answer.seals,
        "data_keys": answer.data_keys,
        "old_key_backups": answer.old_key_backups,
        "other_uses": answer.other_uses,
        "next": next,
        "risks": risks,
    });
    let mut rows = rotate_show::answer_rows(&rotation, answer.dry_run);
    rows.push(("new key in", next_file));
    rows.push(("backup", answer.backup.clone()));
    rows.extend(rotate_show::source_rows(&answer.sources, &rotation));
    rows.push(("data keys", rotate_show::data_keys(&rotation, Some(answer.data_keys))));
    let mut text = fields(&rows);
    push_list(&mut text, "Backups that the old key opens, and goes on opening:", &answer.old_key_backups);
    push_list(&mut text, "What else the old key may be used for:", &answer.other_uses);
    push_list(&mut text, "What could still go wrong:", &risks);
    push_list(&mut text, "Next:", &next);
    console.result(&value, &text)
}

fn risks(rotation: &Rotation, place: &KeyPlace) -> Vec<String> {
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    let mut risks = vec![
        format!("After the finish nothing but {new} opens the store: a copy of it must be on another machine by then."),
        format!(
            "{old} is still needed: until the finish by every start, and afterwards by the backups from before it."
        ),
        "A key source that holds neither of the two keys keeps the daemon from starting.".to_owned(),
    ];
    if let Some(file) = place.in_memory() {
        risks.push(format!(
            "{} lies in memory: the new key is gone when the machine stops; have a copy on a disk before the finish.",
            file.display()
        ));
    }
    if !rotation.new_data_keys {
        risks.push(format!(
            "The data keys keep their versions: someone with {old} and a copy of the store from before the finish goes on \
             opening what they seal."
        ));
    }
    risks
}
