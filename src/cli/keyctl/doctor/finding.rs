//! What doctor can find: one stable id for each kind of mistake, with why it matters; and the list of what was found.
//!
//! Must never hold a byte of a key, nor take a check that could not be made for one that found nothing.
//! Called by every family of checks; docs/doctor.md has the same table, held by a test.

/// A kind of mistake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// How programs know it.
    pub(super) id: &'static str,
    /// Why it matters.
    pub(super) why: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $id:literal: $why:literal;)*) => {
        $(pub(super) const $name: &Kind = &Kind { id: $id, why: $why };)*

        /// Every kind, in the order of the document.
        #[cfg(test)]
        pub(super) const ALL: &[&Kind] = &[$($name),*];
    };
}

kinds! {
    NO_DAEMON = "no-daemon": "Components get no secret while no daemon answers.";
    DAEMON_NOT_ASKED = "daemon-not-asked": "What the daemon alone knows stays unknown.";
    DAEMON_WARNING = "daemon-warning": "The daemon warns of it.";
    SALVAGE = "salvage": "The daemon only opens, and seals nothing.";
    STORE_NOT_WRITABLE = "store-not-writable": "No key can be made, rotated or retired until the store takes changes.";
    SELF_CHECK = "self-check": "What is not good on the disk is missing when it is needed.";
    RECORDS_UNOPENED = "records-unopened": "What was sealed under these records does not open.";
    SOCKET_GONE = "socket-gone": "Who connects now does not reach the daemon.";
    SANDBOX = "sandbox": "A fault in the daemon reaches further than it should.";
    ROTATION_PENDING = "rotation-pending": "Two keys open the store, and the old one protects nothing less than before.";
    LEGACY_OPEN = "legacy-open": "Values of the old format can be moved from one row to another, and forged with the old key.";
    KEY_SHARED = "key-shared": "Whoever ever held the adopted key can open the keyring.";
    BACKUP_OVERDUE = "backup-overdue": "A store that is lost takes what changed since the last backup with it.";
    DRILL_OVERDUE = "drill-overdue": "A copy of the key that nobody tried may be none.";
    CONFIGURATION = "configuration": "The daemon does not start with a configuration that it cannot read, or serves what an older one said.";
    KEY_MISSING = "key-missing": "The next start has no key, and makes none.";
    KEY_MALFORMED = "key-malformed": "The next start refuses a text that is no key.";
    KEY_UNREADABLE = "key-unreadable": "The next start cannot read the key.";
    KEY_EXPOSED = "key-exposed": "Whoever can read the key opens everything; whoever can change it stops the next start.";
    KEY_IN_ENVIRONMENT = "key-in-environment": "An environment is inherited, shown and logged; a file or credential is not.";
    KEY_IN_UNIT = "key-in-unit": "Every user of the machine can read a unit: systemctl cat shows it.";
    KEY_DEFINED_TWICE = "key-defined-twice": "The last line counts for the daemon, and another may for other readers of the file.";
    KEYS_DISAGREE = "keys-disagree": "The next start refuses to choose between two keys.";
    KEY_NOT_IN_USE = "key-not-in-use": "The next start refuses a key that does not open the store.";
    KEY_COPY_DIFFERS = "key-copy-differs": "Whoever brings back this copy brings back a key that opens nothing here.";
    NEXT_KEY_LEFT = "next-key-left": "A key that nobody minds is a key that leaks.";
    ROTATION_INTERRUPTED = "rotation-interrupted": "The old key stays in use until the run is ended.";
    SOCKET_DIRECTORY = "socket-directory": "Who can change the directory can put a socket of their own there, and is sent the secrets.";
    SOCKET_MODE = "socket-mode": "The socket's mode says who may ask for secrets: too many, or not those who must.";
    GROUP_MISSING = "group-missing": "Components of other users cannot connect.";
    GROUP_EMPTY = "group-empty": "No component can connect but those of root and of the daemon's own user.";
    USER_NOT_IN_GROUP = "user-not-in-group": "This user's component cannot connect.";
    PEERS_UNMAPPED = "peers-unmapped": "The daemon sees everybody as user 65534, and refuses whom it cannot tell.";
    MEMLOCK_LIMIT = "memlock-limit": "Keys lie in locked memory only: without room for it there is no start.";
    MEMFD_SECRET_MISSING = "memfd-secret-missing": "Root can read the keys out of the daemon's memory.";
    SWAP_UNPROTECTED = "swap-unprotected": "Keys are never swapped, but plaintexts of calls can be, to a disk that keeps them.";
    HIBERNATION = "hibernation": "Hibernation writes all memory to the disk, locked pages too: the keys with it.";
    IN_CONTAINER = "in-container": "What needs a secret of the daemon to start the daemon never starts after a reboot.";
    STORE_IN_CONTAINER = "store-in-container": "What lies in a container's own layer is gone when the container is made anew.";
    CLOCK_BEHIND = "clock-behind": "Ages of backups, drills and keys are counted by the clock.";
    CLOCK_AHEAD = "clock-ahead": "What is dated far ahead makes every backup and drill after it look old.";
    STORE_MISSING = "store-missing": "Without its store the daemon does not start, and nothing opens.";
    STORE_DAMAGED = "store-damaged": "The next start refuses a store that is damaged.";
    STORE_MODES = "store-modes": "Who can change the store's files can put older ones there, or stop the next start.";
    STORE_NETWORK = "store-network-file-system": "Two daemons could write one store, and what was acknowledged may be lost.";
    STORE_READ_ONLY = "store-read-only": "Nothing can be changed, and a start is refused.";
    STORE_FULL = "store-full": "A change that finds no room is refused.";
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// To be mended: doctor ends with 1.
    Problem,
    /// To be known: doctor ends with 0.
    Advice,
}

/// One mistake.
#[derive(Debug)]
pub(super) struct Finding {
    /// The family of checks.
    pub(super) check: &'static str,
    pub(super) kind: &'static Kind,
    pub(super) severity: Severity,
    /// What is wrong.
    pub(super) text: String,
    /// The command that mends it; none where the text alone has it.
    pub(super) mend: Option<String>,
}

/// What a family of checks could not look at.
#[derive(Debug)]
pub(super) struct NotMade {
    pub(super) check: &'static str,
    pub(super) reason: String,
}

/// What was found, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) found: Vec<Finding>,
    pub(super) not_made: Vec<NotMade>,
    /// The family that is at work.
    pub(super) check: &'static str,
}

impl Report {
    /// Something to be mended, by this command.
    pub(super) fn problem(&mut self, kind: &'static Kind, text: impl Into<String>, mend: impl Into<String>) {
        self.add(kind, Severity::Problem, text.into(), Some(mend.into()));
    }

    /// Something to be known, with the command that changes it.
    pub(super) fn advice(&mut self, kind: &'static Kind, text: impl Into<String>, mend: impl Into<String>) {
        self.add(kind, Severity::Advice, text.into(), Some(mend.into()));
    }

    /// The same text from two places is one mistake.
    pub(super) fn add(&mut self, kind: &'static Kind, severity: Severity, text: String, mend: Option<String>) {
        if !self.found.iter().any(|finding| finding.text == text) {
            self.found.push(Finding { check: self.check, kind, severity, text, mend });
        }
    }

    /// Something could not be looked at, and why.
    pub(super) fn not_made(&mut self, reason: impl Into<String>) {
        self.not_made.push(NotMade { check: self.check, reason: reason.into() });
    }

    /// What is of this severity.
    pub(super) fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.found.iter().filter(move |finding| finding.severity == severity)
    }
}
