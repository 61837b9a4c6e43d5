//! What a check looks at, what it found there, how bad that is, and what mends it.
//!
//! Must never hold a byte of a key or of a record's value.
//! Made by `offline` and `online`; read by `cli` and by status.

/// What is looked at, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The store's file, as the database sees it.
    File,
    /// The root and the one before it, under the master key.
    Root,
    /// The MAC over all records.
    Mac,
    /// The canary, under the master key.
    Canary,
    /// The identity.
    Identity,
    /// Legacy keys.
    LegacyKeys,
    /// Data keys.
    Keys,
    /// Versions of data keys.
    Versions,
    /// Every other record.
    Records,
    /// The high-water mark.
    Mark,
    /// Files that something left which broke off.
    Leftovers,
    /// The newest backup of this store.
    NewestBackup,
    /// Whether every version is in that backup.
    Coverage,
    /// The other files among the backups.
    OtherBackups,
}

impl Check {
    /// Every one, in the order in which they are told.
    pub const ALL: [Self; 14] = [
        Self::File,
        Self::Root,
        Self::Mac,
        Self::Canary,
        Self::Identity,
        Self::LegacyKeys,
        Self::Keys,
        Self::Versions,
        Self::Records,
        Self::Mark,
        Self::Leftovers,
        Self::NewestBackup,
        Self::Coverage,
        Self::OtherBackups,
    ];

    /// Its name, for people and for scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Root => "root",
            Self::Mac => "mac",
            Self::Canary => "canary",
            Self::Identity => "identity",
            Self::LegacyKeys => "legacy keys",
            Self::Keys => "keys",
            Self::Versions => "versions",
            Self::Records => "records",
            Self::Mark => "mark",
            Self::Leftovers => "leftovers",
            Self::NewestBackup => "newest backup",
            Self::Coverage => "in the backup",
            Self::OtherBackups => "other backups",
        }
    }
}

/// How bad a finding is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a word, and no problem.
    Note,
    /// The store is whole, and something beside it should be mended.
    Warning,
    /// Something is of a newer servos-keyd, which this one cannot judge.
    Newer,
    /// The store is damaged, or a start would refuse it.
    Fault,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What it is: a sentence without its end.
    pub text: String,
    /// What mends it, with the command; empty for a note.
    pub remedy: String,
}

/// What was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Where.
    pub check: Check,
    /// What is there.
    pub detail: String,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is good.
    pub passed: Vec<Passed>,
    /// What is not, and what is worth a word.
    pub findings: Vec<Finding>,
    /// Seals that were opened or tried, those of the backup too.
    pub seals: usize,
}

impl Report {
    /// The worst of what was found; [`Severity::Note`] where nothing is wrong.
    #[must_use]
    pub fn verdict(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Note)
    }

    /// What is wrong.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity > Severity::Note)
    }

    pub(super) fn pass(&mut self, check: Check, detail: impl Into<String>) {
        self.passed.push(Passed { check, detail: detail.into() });
    }

    pub(super) fn note(&mut self, check: Check, text: impl Into<String>) {
        self.add(check, Severity::Note, text, "");
    }

    pub(super) fn warn(&mut self, check: Check, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Severity::Warning, text, remedy);
    }

    pub(super) fn add(&mut self, check: Check, severity: Severity, text: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding { check, severity, text: text.into(), remedy: remedy.into() });
    }
}
