//! What `restore` tells: what was restored, what is known to be missing, what was kept where, and how to undo it.
//!
//! Must never call something complete that only nobody has refuted.
//! Called by `restore`.

use super::output;
use crate::config::key_source_error::shell_quoted;
use crate::operations::ledger::Places;
use crate::operations::mark_check::OF_ANOTHER_ROOT;
use crate::operations::restore::canary::CanarySeen;
use crate::operations::restore::known::{InPlace, Known};
use crate::operations::restore::missing::{Lost, Missing};
use crate::operations::restore::proof::Proven;
use crate::operations::restore::{Kept, Restored};
use crate::operations::rfc3339;
use crate::operations::start_failure::StartFailure;
use crate::store::{kept, redb_adapter};
use crate::telemetry::chain::chain;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Most missing things that are shown to a person.
const MOST_SHOWN: usize = 20;
/// Most missing things in JSON.
const MOST_LISTED: usize = 1000;

/// What is told of the backup and what was known, once it is restored.
pub(super) struct Told {
    /// The command to go on with.
    pub(super) next: String,
    generation: u64,
    made: i64,
    contents: (usize, usize),
    follow_ups: u64,
    canaries: Vec<CanarySeen>,
    pending: Option<String>,
}

impl Told {
    /// Takes what the report needs before the backup is used up.
    pub(super) fn of(proven: &Proven, known: &Known, canaries: Vec<CanarySeen>, pending: Option<String>) -> Self {
        let is_done = matches!(known.in_place, InPlace::Whole { is_this_backup: true, .. });
        Self {
            next: String::new(),
            generation: proven.generation,
            made: i64::try_from(proven.made).unwrap_or(i64::MAX),
            contents: proven.contents,
            follow_ups: if is_done { 0 } else { proven.follow_ups() },
            canaries,
            pending,
        }
    }

    /// The newest generation that a canary's database had seen.
    pub(super) fn newest_canary(&self) -> Option<u64> {
        self.canaries.iter().map(|canary| canary.generation).max()
    }
}

/// What a backup lacks that is refused for being older.
pub(super) fn lacking(missing: &[Missing], as_json: bool) {
    if !as_json && !missing.is_empty() {
        output::remark(&format!("{}:", headline(missing.len())));
        lines_of(missing).iter().for_each(|line| output::remark(&format!("  {line}")));
    }
}

/// What is given up by going back on purpose, before it is done.
pub(super) fn going_back(older: &StartFailure, missing: &[Missing], as_json: bool) {
    let StartFailure::Older { generation, newer, .. } = older else { return };
    if !as_json {
        output::remark(&format!("going back to generation {generation} on purpose, although {newer}"));
        lacking(missing, as_json);
    }
}

fn headline(count: usize) -> String {
    let (versions, are) = if count == 1 { ("1 key version", "is") } else { (&*format!("{count} key versions"), "are") };
    format!("{versions} that others name {are} not in this backup; what was sealed under such does not open")
}

/// One line each, up to a bound.
fn lines_of(missing: &[Missing]) -> Vec<String> {
    let mut lines: Vec<String> = missing.iter().take(MOST_SHOWN).map(line_of).collect();
    let more = missing.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn line_of(missing: &Missing) -> String {
    let what = match &missing.lost {
        Lost::Legacy(fingerprint) => format!("legacy key {fingerprint}"),
        Lost::Version { key, number, created, of_deleted } => {
            let key = if key.is_empty() { "a key whose name cannot be read," } else { key };
            let deleted = if *of_deleted { ", of a key that was deleted" } else { "" };
            format!("{key} version {number}, made {}{deleted}", rfc3339(*created))
        }
    };
    format!("{what} (seen in {})", missing.seen_in.display())
}

/// Tells the whole.
pub(super) fn restored(places: &Places, restored: &Restored, told: Told, mut known: Known, as_json: bool) {
    let warnings = warnings(restored, &told, &known);
    let undo = undo(places, restored);
    if as_json {
        see_what_was_damaged(restored, &mut known);
        let value = value(places, restored, &told, &known, &warnings, &undo);
        return output::value(&value);
    }
    let row = |name: &str, text: String| output::line(&format!("{name:<12}{text}"));
    row("store", format!("{} ({})", places.store.display(), restored.store_id));
    let (keys, versions) = told.contents;
    let (generation, made) = (told.generation, rfc3339(told.made));
    row("restored", format!("{keys} keys, {versions} versions, as of generation {generation}, backed up {made}"));
    row("generation", restored.generation.to_string());
    if restored.was_done {
        row("before", "this backup was restored already, and nothing was changed since".to_owned());
    }
    kept_rows(restored, &known).into_iter().for_each(|text| row("kept", text));
    if let Ok(path) = &restored.backup {
        row("backup", path.display().to_string());
    }
    for (who, generation) in &known.seen {
        let follows = *generation <= told.generation.saturating_add(told.follow_ups);
        let why = if follows { ", which follows such a backup by itself" } else { "" };
        row("seen", format!("generation {generation}, by {who}{why}"));
    }
    told.canaries.iter().for_each(|canary| row("canary", canary_row(canary)));
    undo.iter().for_each(|command| row("undo", command.clone()));
    row("next", told.next.clone());
    // Last: looking into what is damaged is the one thing that could go wrong from here on.
    see_what_was_damaged(restored, &mut known);
    let missing = known.comparison.missing();
    if !missing.is_empty() {
        row("missing", headline(missing.len()));
        lines_of(&missing).into_iter().for_each(|line| row("", line));
    }
    warnings.iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
}

fn see_what_was_damaged(restored: &Restored, known: &mut Known) {
    if let (Some(kept), InPlace::Unusable { is_damaged: true, .. }) = (&restored.kept.store, &known.in_place) {
        known.comparison.danger_see_damaged_store(kept, &restored.store_id);
    }
}

fn canary_row(canary: &CanarySeen) -> String {
    let word = if canary.opens { "OPENS" } else { "STALE" };
    format!("{word}  {} (of generation {})", canary.file.display(), canary.generation)
}

fn kept_rows(restored: &Restored, known: &Known) -> Vec<String> {
    let Kept { store, mark, unfinished, .. } = &restored.kept;
    let was = match &known.in_place {
        InPlace::Nothing => String::new(),
        InPlace::Whole { generation, .. } => format!("a whole store of generation {generation}"),
        InPlace::Unusable { problem, .. } => problem.clone(),
    };
    let mut rows: Vec<String> = store.iter().map(|path| format!("{} ({was})", path.display())).collect();
    rows.extend(mark.iter().map(|path| format!("{} (the mark as it was)", path.display())));
    rows.extend(unfinished.iter().map(|path| format!("{} (left by an interrupted rewrite)", path.display())));
    rows.extend(known.kept_before.iter().map(|path| format!("{} (by an earlier restore)", path.display())));
    rows
}

fn warnings(restored: &Restored, told: &Told, known: &Known) -> Vec<String> {
    let mut warnings = Vec::new();
    let explained = told.generation.saturating_add(told.follow_ups);
    if let Some(seen) = known.seen.iter().map(|(_, generation)| *generation).max().filter(|seen| *seen > explained) {
        warnings.push(format!(
            "the lost store had reached generation {seen}; what was made after generation {} is not in this backup. Look for a \
             newer one before you go on",
            told.generation
        ));
    }
    warnings.extend(told.canaries.iter().filter(|canary| !canary.opens).map(|canary| {
        format!(
            "the canary in {} is STALE: its database had seen generation {}, and what it sealed after generation {} may not \
             open",
            canary.file.display(),
            canary.generation,
            told.generation
        )
    }));
    if restored.of_another_root {
        warnings.push(OF_ANOTHER_ROOT.to_owned());
    }
    warnings.extend(told.pending.clone());
    if let Err(failure) = &restored.backup {
        warnings.push(format!(
            "no backup of the restored store could be written: {}. Mend that directory, start the daemon, then run \
             `servos-keyctl backup FILE`",
            chain(failure)
        ));
    }
    warnings
}

/// The commands that put back what was there, with the daemon stopped: nothing is removed by them either.
fn undo(places: &Places, restored: &Restored) -> Vec<String> {
    let Kept { stamp, store, mark, unfinished } = &restored.kept;
    if store.is_none() && mark.is_none() && unfinished.is_none() {
        return Vec::new();
    }
    let moved = |from: &Path, to: &Path| format!("mv {} {}", shell_quoted(from), shell_quoted(to));
    let undone = |path: &Path| moved(path, &kept::undone(path, stamp));
    let mut commands = vec![undone(&places.store), undone(&places.mark)];
    commands.extend(restored.backup.as_ref().ok().map(|path| undone(path)));
    commands.extend(unfinished.iter().map(|kept| moved(kept, &redb_adapter::unfinished(&places.store))));
    commands.extend(store.iter().map(|kept| moved(kept, &places.store)));
    commands.extend(mark.iter().map(|kept| moved(kept, &places.mark)));
    commands
}

fn value(
    places: &Places,
    restored: &Restored,
    told: &Told,
    known: &Known,
    warnings: &[String],
    undo: &[String],
) -> Value {
    let shown = |path: &PathBuf| path.display().to_string();
    let missing = known.comparison.missing();
    let listed = missing.iter().take(MOST_LISTED).map(|missing| match &missing.lost {
        Lost::Version { key, number, created, of_deleted } => json!({
            "key": key, "version": number, "made": rfc3339(*created), "deleted": of_deleted,
            "seen_in": shown(&missing.seen_in),
        }),
        Lost::Legacy(fingerprint) => {
            json!({"legacy": fingerprint.to_string(), "seen_in": shown(&missing.seen_in)})
        }
    });
    let canaries = told.canaries.iter().map(|canary| {
        let result = if canary.opens { "OPENS" } else { "STALE" };
        json!({"file": shown(&canary.file), "result": result, "generation": canary.generation})
    });
    let kept = &restored.kept;
    json!({
        "store": shown(&places.store),
        "store_id": restored.store_id.to_string(),
        "keys": told.contents.0,
        "versions": told.contents.1,
        "backup_generation": told.generation,
        "backed_up": rfc3339(told.made),
        "generation": restored.generation,
        "was_done": restored.was_done,
        "seen": known.seen.iter().map(|(who, generation)| json!({"by": who, "generation": generation})).collect::<Value>(),
        "missing_count": missing.len(),
        "missing": listed.collect::<Value>(),
        "canaries": canaries.collect::<Value>(),
        "kept": {
            "store": kept.store.as_ref().map(shown),
            "mark": kept.mark.as_ref().map(shown),
            "unfinished": kept.unfinished.as_ref().map(shown),
            "before": known.kept_before.iter().map(shown).collect::<Value>(),
        },
        "backup": restored.backup.as_ref().ok().map(shown),
        "undo": undo,
        "next": told.next,
        "warnings": warnings,
    })
}
