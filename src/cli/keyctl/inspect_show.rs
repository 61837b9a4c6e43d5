//! How `servos-keyctl inspect` shows a backup, and the backups of a directory.
//!
//! Must never show the backup's own word as if it were proved, nor a name out of it that a terminal obeys.
//! Called by `inspect`.

use super::output::{count, fields, plain, push_list, table, time, time_value};
use crate::cli::failure::Failure;
use crate::custody::id::Fingerprint;
use crate::operations::inspect::{Proof, Told, ToldKey};
use crate::operations::rotation::State;
use serde_json::{Value, json};

/// A backup that was looked at.
pub(super) struct Report {
    pub(super) file: String,
    pub(super) told: Told,
    /// The key that was given, and where.
    pub(super) given: Option<(Fingerprint, String)>,
    /// What came of it; none without a key, and where the backup does not tell which key opens it.
    pub(super) proof: Option<Proof>,
}

/// `1 record does`, `2 records do`.
pub(super) fn records(number: usize) -> String {
    if number == 1 { "1 record does".to_owned() } else { format!("{number} records do") }
}

pub(super) fn joined(fingerprints: &[Fingerprint]) -> String {
    fingerprints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

impl Report {
    /// By store, then by generation and time.
    pub(super) fn order(&self) -> (String, u64, i64) {
        (self.told.store_id.to_string(), self.told.generation, self.told.made)
    }

    fn live_keys(&self) -> usize {
        self.told.keys.iter().filter(|key| !key.is_deleted).count()
    }

    /// Whether the key opens it: all of it, some of it, or nothing.
    fn opens(&self) -> &'static str {
        match &self.proof {
            Some(Proof::Opens { unopened, .. }) if unopened.is_empty() => "yes",
            Some(Proof::Opens { .. }) => "not all",
            Some(Proof::Other { .. }) => "NO",
            None => "-",
        }
    }

    fn is_proved(&self) -> bool {
        matches!(&self.proof, Some(Proof::Opens { unopened, .. }) if unopened.is_empty())
    }

    fn opened_by(&self) -> String {
        if self.told.opened_by.is_empty() { "-".to_owned() } else { joined(&self.told.opened_by) }
    }

    fn holds(&self) -> String {
        let deleted = self.told.keys.len() - self.live_keys();
        let deleted = if deleted == 0 { String::new() } else { format!(" ({deleted} deleted besides)") };
        format!(
            "{}{deleted}, {}, {}",
            count(number(self.live_keys()), "key"),
            count(number(self.told.versions), "version"),
            count(number(self.told.records), "record")
        )
    }

    fn rotation(&self) -> String {
        let Some(rotation) = &self.told.rotation else { return "none was under way".to_owned() };
        let (old, new) = (rotation.old, rotation.new);
        match rotation.state() {
            State::Pending => format!("pending from {old} to {new}: both keys open it"),
            State::Finishing | State::Finished => format!("from {old} to {new}, being finished"),
            State::Aborting | State::Aborted => format!("from {old} to {new}, being aborted"),
        }
    }

    pub(super) fn text(&self) -> String {
        let told = &self.told;
        let word = if self.is_proved() { "" } else { " (the backup's own word, not verified)" };
        let mut rows = vec![
            ("backup", format!("{}, its digest fits", self.file)),
            ("store id", told.store_id.to_string()),
            ("generation", told.generation.to_string()),
            ("made", time(told.made)),
            ("holds", self.holds()),
            ("opened by", format!("master key {}{word}", self.opened_by())),
            ("rotation", self.rotation()),
        ];
        if !told.legacy.is_empty() {
            rows.push(("legacy keys", told.legacy.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        }
        if let Some((fingerprint, source)) = &self.given {
            rows.push(("key", format!("{fingerprint} from {source}")));
            rows.push(("opens", self.proof_text()));
        }
        let mut text = fields(&rows);
        if !told.keys.is_empty() {
            text.push('\n');
            text.push_str(&table(&self.key_rows()));
        }
        let lines = |list: &[(String, String)]| -> Vec<String> {
            list.iter().map(|(name, problem)| plain(&format!("{name}: {problem}"))).collect()
        };
        push_list(&mut text, "Not what their names say:", &lines(&told.problems));
        if let Some(Proof::Opens { unopened, .. }) = &self.proof {
            push_list(&mut text, "Does not open:", &lines(unopened));
        }
        text
    }

    fn proof_text(&self) -> String {
        match &self.proof {
            Some(Proof::Opens { versions, unopened }) if unopened.is_empty() => {
                format!("yes: root, MAC, canary, identity and {}", count(number(*versions), "version"))
            }
            Some(Proof::Opens { versions, .. }) => format!("NOT ALL: {} do", count(number(*versions), "version")),
            Some(Proof::Other { held_as_legacy: true }) => "NO; it is held as a legacy key".to_owned(),
            Some(Proof::Other { .. }) => "NO".to_owned(),
            None => "was not tried".to_owned(),
        }
    }

    fn key_rows(&self) -> Vec<Vec<String>> {
        let head = ["KEY", "VERSIONS", "PRIMARY", "MADE", "STATE"].map(str::to_owned).to_vec();
        let row = |key: &ToldKey| {
            let primary = if key.primary == 0 { "-".to_owned() } else { key.primary.to_string() };
            let state = if key.is_deleted { "deleted" } else { "active" };
            vec![key.name.to_string(), key.versions.len().to_string(), primary, time(key.created), state.to_owned()]
        };
        std::iter::once(head).chain(self.told.keys.iter().map(row)).collect()
    }

    pub(super) fn value(&self) -> Value {
        let told = &self.told;
        let list = |list: &[(String, String)]| -> Vec<Value> {
            list.iter().map(|(record, problem)| json!({"record": record, "problem": problem})).collect()
        };
        let (opens, unopened, legacy) = match &self.proof {
            Some(Proof::Opens { unopened, .. }) => (Some(unopened.is_empty()), list(unopened), false),
            Some(Proof::Other { held_as_legacy }) => (Some(false), Vec::new(), *held_as_legacy),
            None => (None, Vec::new(), false),
        };
        json!({
            "file": self.file,
            "store_id": told.store_id.to_string(),
            "generation": told.generation,
            "made": time_value(told.made),
            "schema": told.schema,
            "records": told.records,
            "keys": told.keys.iter().map(key_value).collect::<Vec<_>>(),
            "versions": told.versions,
            "opened_by": told.opened_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "since": time_value(told.since),
            "rotation": told.rotation.as_ref().map(|rotation| json!({
                "state": format!("{:?}", rotation.state()).to_lowercase(),
                "old": rotation.old.to_string(),
                "new": rotation.new.to_string(),
            })),
            "legacy_keys": told.legacy.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "problems": list(&told.problems),
            "given": self.given.as_ref().map(|(fingerprint, source)| json!({
                "fingerprint": fingerprint.to_string(),
                "source": source,
            })),
            "opens": opens,
            "unopened": unopened,
            "held_as_legacy": legacy,
            "verified": self.is_proved(),
        })
    }
}

fn key_value(key: &ToldKey) -> Value {
    let versions = key.versions.iter().map(|(number, version)| {
        json!({
            "number": number,
            "id": version.id.to_string(),
            "enabled": version.is_enabled,
            "created": time_value(version.created),
        })
    });
    json!({
        "name": key.name.as_str(),
        "id": key.id.to_string(),
        "deleted": key.is_deleted,
        "created": time_value(key.created),
        "primary": key.primary,
        "versions": versions.collect::<Vec<_>>(),
    })
}

/// The backups of a directory in their order, as a value and as a table.
pub(super) fn table_of(rows: &[(String, Result<Report, Failure>)], with_key: bool) -> (Value, String) {
    let head = ["FILE", "STORE ID", "GENERATION", "MADE", "KEYS", "VERSIONS", "OPENED BY", "OPENS"];
    let columns = if with_key { head.len() } else { head.len() - 1 };
    let mut lines = vec![head.iter().take(columns).map(ToString::to_string).collect::<Vec<_>>()];
    let mut values = Vec::new();
    for (name, report) in rows {
        lines.push(match report {
            Ok(report) => line(name, report).into_iter().take(columns).collect(),
            Err(failure) => vec![plain(name), format!("NOT GOOD: {}", plain(without(&failure.message, name)))],
        });
        values.push(match report {
            Ok(report) => report.value(),
            Err(failure) => json!({"file": name, "error": failure.message, "exit": failure.exit.code}),
        });
    }
    (json!({"backups": values}), aligned(lines, columns))
}

fn line(name: &str, report: &Report) -> Vec<String> {
    let told = &report.told;
    let opened_by = if told.problems.is_empty() { report.opened_by() } else { "NOT GOOD: damaged".to_owned() };
    vec![
        plain(name),
        told.store_id.to_string(),
        told.generation.to_string(),
        time(told.made),
        report.live_keys().to_string(),
        told.versions.to_string(),
        opened_by,
        report.opens().to_owned(),
    ]
}

/// A line of words takes no part in the alignment of columns.
fn aligned(lines: Vec<Vec<String>>, columns: usize) -> String {
    let full: Vec<Vec<String>> = lines
        .iter()
        .map(|line| if line.len() == columns { line.clone() } else { line.iter().take(1).cloned().collect() })
        .collect();
    let mut text = String::new();
    for (line, shown) in lines.iter().zip(table(&full).lines()) {
        let words = line.get(1).filter(|_| line.len() != columns);
        text.push_str(&words.map_or_else(|| shown.to_owned(), |words| format!("{shown}  {words}")));
        text.push('\n');
    }
    text
}

/// A message without the file's name that it begins with: the row has it.
fn without<'m>(message: &'m str, name: &str) -> &'m str {
    message.split_once(&format!("{name}: ")).map_or(message, |(_, rest)| rest)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
