//! The words of a start: those that leave a rotation pending, and those of a refusal.
//!
//! Must never hold a start to words that name no key or no way out. Used by the tables of `rotation_starts`.

use super::Held::{New, Old};
use super::Kind::{self, Credential, Environment, File, OtherFile};
use super::Start::{BothKeys, Disagrees, NoKey, Waits};
use super::{Row, STAGES, World};
use crate::harness::{Installation, Outcome};

impl World {
    /// What a start says that leaves a rotation pending.
    pub(super) fn check_pending(&self, row: &Row, place: &Installation, stopped: &Outcome) {
        if !matches!(row.start, Waits | BothKeys) {
            return;
        }
        let (old, new) = (self.fingerprint(Old), self.fingerprint(New));
        let abort = format!("To go back to {old} instead: servos-keyctl rotate abort");
        let finish = match row.sources.iter().all(|(_, held)| *held == New) {
            true => "Run: servos-keyctl rotate finish",
            false if row.sources.iter().all(|(kind, _)| *kind == Credential) => {
                "The start finishes the rotation by itself"
            }
            false => "Then run: servos-keyctl rotate finish",
        };
        let stopped = stopped.clone().saying(&[&old, &new, "both keys open the store", &abort, finish]);
        for (kind, held) in &row.sources {
            let name = source_name(*kind, place);
            let put = match kind {
                Credential => format!("Put the new key {new} where {name} comes from"),
                File | OtherFile => format!("Put the new key {new} into {name},"),
                Environment => format!("Put the new key {new} where {name} is set"),
            };
            assert_eq!(stopped.said().contains(&put), *held == Old, "{put}: {stopped:#?}");
        }
        if row.start == BothKeys {
            let role = |held| if held == Old { "in use" } else { "to come" };
            let each = row.sources.iter().map(|(kind, held)| {
                format!("{} holds {} ({})", source_name(*kind, place), self.fingerprint(*held), role(*held))
            });
            let each: Vec<String> = each.collect();
            stopped.saying(&[&each.join(", "), "`servos-keyctl rotate finish`", "`servos-keyctl rotate abort`"]);
        }
    }

    /// How a start is refused: code, words and fingerprints.
    pub(super) fn check_refusal(&self, row: &Row, place: &Installation, refused: Outcome) {
        match row.start {
            NoKey => drop(refused.expect(66).saying(&["no master key is given"])),
            Disagrees => {
                let each = row.sources.iter();
                let each = each.map(|(kind, held)| (source_name(*kind, place), self.fingerprint(*held)));
                let each: Vec<String> = each.map(|(name, fingerprint)| format!("{name} has {fingerprint}")).collect();
                refused.expect(78).saying(&[
                    "two sources hold different master keys",
                    &each.join(", "),
                    "Remove the wrong one",
                ]);
            }
            _ => self.check_wrong_key(row, refused.expect(78)),
        }
    }

    fn check_wrong_key(&self, row: &Row, refused: Outcome) {
        let given = row.sources[0].1;
        let (stage, given_text) = (STAGES[row.stage], format!("the key given is {}", self.fingerprint(given)));
        let expected = if matches!(stage, "after finish" | "finishing, killed") { New } else { Old };
        let expected = format!("sealed under master key {}", self.fingerprint(expected));
        let refused = refused.saying(&[
            "MASTER KEY INTEGRITY CHECK FAILED",
            "master_key.integrity_failed",
            "Nothing was written",
            &given_text,
            &expected,
        ]);
        let refused = refused.not_saying(&["master_key.verified"]);
        let to_come = format!("a rotation to master key {} is pending", self.fingerprint(New));
        let refused = match stage {
            "pending" => refused.saying(&[&to_come, "Bring back either of the two"]),
            _ => refused.saying(&["Bring back the right key"]).not_saying(&["is pending"]),
        };
        match (stage, given) {
            ("after finish" | "finishing, killed", Old) => refused.saying(&["a rotation replaced it"]),
            ("after abort" | "aborting, killed", New) => refused.saying(&["its rotation was aborted"]),
            _ => refused.not_saying(&["of which it says"]),
        };
    }
}

/// How people know a source.
fn source_name(kind: Kind, place: &Installation) -> String {
    match kind {
        Credential => "credential servos_master_key".to_owned(),
        OtherFile => place.path("other.key").display().to_string(),
        File => place.path("file.key").display().to_string(),
        Environment => "environment SERVOS_MASTER_KEY".to_owned(),
    }
}
