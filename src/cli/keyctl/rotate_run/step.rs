//! The steps of `rotate run`, in their order.
//!
//! Must never be given another order or name: a journal of an interrupted run names them.
//! Called by `rotate_run` and its journal.

/// A step. Each can be done again: where it was done already, it changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    /// A new key, durable in a file of its own.
    MakeKey,
    /// The old key's text, sealed under the key `backups`.
    SealOldText,
    /// The old key, in a file of its own: backups from before open with it alone.
    KeepOldKey,
    /// A backup.
    Backup,
    /// Both keys open the store.
    Begin,
    /// The new key in the old one's place.
    Replace,
    /// The daemon reads its sources anew.
    Restart,
    /// The new key alone opens the store.
    Finish,
    /// The canary opens, under the new key.
    Check,
    /// What was needed only on the way is taken away.
    TidyUp,
}

impl Step {
    /// Every step, in order.
    pub(super) const ALL: [Self; 10] = [
        Self::MakeKey,
        Self::SealOldText,
        Self::KeepOldKey,
        Self::Backup,
        Self::Begin,
        Self::Replace,
        Self::Restart,
        Self::Finish,
        Self::Check,
        Self::TidyUp,
    ];

    pub(super) const FIRST: Self = Self::MakeKey;

    /// Its name in the journal.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::MakeKey => "make-key",
            Self::SealOldText => "seal-old-text",
            Self::KeepOldKey => "keep-old-key",
            Self::Backup => "backup",
            Self::Begin => "begin",
            Self::Replace => "replace",
            Self::Restart => "restart",
            Self::Finish => "finish",
            Self::Check => "check",
            Self::TidyUp => "tidy-up",
        }
    }

    /// The step of that name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// The step behind it; none behind the last.
    pub(super) fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step > self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_known_by_its_name_and_leads_to_the_next() {
        let mut walked = vec![Step::FIRST];
        while let Some(next) = walked.last().and_then(|step| step.next()) {
            walked.push(next);
        }
        assert_eq!(walked, Step::ALL);
        assert!(Step::ALL.into_iter().all(|step| Step::of_name(step.name()) == Some(step)));
        assert_eq!(Step::of_name("dance"), None);
    }
}
