//! A recovery kit: the shares of one key, and what stands on each sheet beside them.
//!
//! Must never hold more of the key than the shares do, but where one share is the whole of it.
//! Called by `recovery_kit`, which makes one, and by `kit_text` and `kit_page`, which lay it out.

use super::output::time;
use crate::custody::id::Fingerprint;
use crate::custody::keys::{HEX_CHARACTERS, KeyError};
use crate::custody::shares::{Plan, SHARE_TEXT_BYTES, Share};
use crate::sys::locked::{LockedBuffer, LockedMemory};

/// How a key's file has it. The shares hold its 32 bytes only, and something else may use the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// 64 digits, a to f in lower case.
    Hex,
    /// 64 digits, A to F in upper case.
    UpperHex,
    /// 64 digits in both cases, which cannot be told from the bytes.
    MixedHex,
    /// 44 characters.
    Base64,
}

impl Form {
    /// Of the text of a key.
    pub(super) fn of(text: &[u8]) -> Self {
        if text.len() != HEX_CHARACTERS {
            return Self::Base64;
        }
        match (text.iter().any(u8::is_ascii_lowercase), text.iter().any(u8::is_ascii_uppercase)) {
            (true, true) => Self::MixedHex,
            (false, true) => Self::UpperHex,
            _ => Self::Hex,
        }
    }

    /// In words.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Hex => "64 hex digits",
            Self::UpperHex => "64 hex digits, A to F in upper case",
            Self::MixedHex => "64 hex digits, in both cases",
            Self::Base64 => "base64, 44 characters",
        }
    }

    /// What `recover` is told, so that it writes the key like that.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Hex | Self::MixedHex => "",
            Self::UpperHex => " --upper-case",
            Self::Base64 => " --base64",
        }
    }

    /// For JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::UpperHex => "upper-case hex",
            Self::MixedHex => "mixed-case hex",
            Self::Base64 => "base64",
        }
    }
}

/// Everything that is printed.
pub(super) struct Kit {
    pub(super) plan: Plan,
    /// In the order of their numbers.
    pub(super) shares: Vec<Share>,
    /// The key's text as its file has it; of a whole kit alone.
    pub(super) exact: Option<LockedBuffer>,
    pub(super) fingerprint: Fingerprint,
    /// Of the store that the key opens, if it was checked.
    pub(super) store_id: Option<String>,
    /// Unix seconds.
    pub(super) made: i64,
    pub(super) form: Form,
}

impl Kit {
    /// The first two words of each of its shares.
    pub(super) fn id(&self) -> String {
        self.shares.first().map(|share| share.kit().to_string()).unwrap_or_default()
    }

    /// The day it was made, in UTC.
    pub(super) fn day(&self) -> String {
        time(self.made).split('T').next().unwrap_or_default().to_owned()
    }

    /// The store's id, or that there is none.
    pub(super) fn store(&self) -> &str {
        self.store_id.as_deref().unwrap_or("not known: this key was not checked")
    }

    /// What each sheet begins with: what it is worth.
    pub(super) fn worth(&self) -> String {
        match (self.plan.needed(), self.plan.count()) {
            (1, 1) => "This sheet alone is the master key of a ServOS installation: whoever reads it can open every \
                       secret there, given the store or a backup."
                .to_owned(),
            (needed, count) => {
                let any = if needed == count { format!("All {count}") } else { format!("Any {needed}") };
                format!(
                    "{any} of the {count} shares of this kit give back the master key of a ServOS installation, and \
                     with it every secret there. Fewer tell nothing of it."
                )
            }
        }
    }

    /// What whoever has the sheets runs, with what it is for.
    pub(super) fn commands(&self) -> [(&'static str, String); 3] {
        let option = self.form.option();
        let with =
            |name: &str| format!("servos-keyctl recover --typed --against {name}{option} --out /root/master.key");
        [
            ("To get the key back, with a backup of the store (*.skb1, or the store itself):", with("BACKUP")),
            (
                "With no backup at hand: the fingerprint above is a weaker check.",
                format!(
                    "servos-keyctl recover --typed --fingerprint {}{option} --out /root/master.key",
                    self.fingerprint
                ),
            ),
            (
                "To try this paper on the running daemon, twice a year, loading it nowhere:",
                "servos-keyctl check-key --typed".to_owned(),
            ),
        ]
    }

    /// How to do without servos-keyd.
    pub(super) fn otherwise(&self) -> String {
        let words = if self.plan.count() == 1 { "the words are" } else { "the words of each sheet are" };
        let form = match self.form {
            Form::Hex => "It gives the key as its file has it: 64 hex digits.".to_owned(),
            form => format!("It gives 64 hex digits; the key's file has {}, of the same 32 bytes.", form.told()),
        };
        format!(
            "Without servos-keyd: {words} a share after SLIP-0039, without a passphrase, and any program for that \
             standard gives back the key: for instance `shamir recover` of the Python package shamir-mnemonic[cli]. \
             {form}"
        )
    }

    /// Where a sheet must not be.
    pub(super) fn not_here(&self) -> &'static str {
        if self.plan.count() == 1 {
            "Keep it in a safe, and not beside the store or its backups, in a photo, in a mail, in a cloud, or on a \
             computer or printer that keeps what it printed."
        } else {
            "Keep each share in another place, with another person; none beside the store or its backups, in a photo, \
             in a mail, in a cloud, or on a computer or printer that keeps what it printed."
        }
    }

    /// What is to be known of the text of the key.
    pub(super) fn note_on_form(&self) -> Option<&'static str> {
        (self.form == Form::MixedHex && self.exact.is_none()).then_some(
            "The key's file has hex digits in both cases, and no share keeps that. What uses the text of the key \
             itself (a Restic repository) needs it as it is: keep it too.",
        )
    }
}

/// The words of a share, for as long as they are laid out.
///
/// # Errors
/// [`KeyError`] if there is no locked memory.
pub(super) fn words(share: &Share, memory: &LockedMemory) -> Result<LockedBuffer, KeyError> {
    let mut words = memory.buffer(SHARE_TEXT_BYTES)?;
    share.write_words(b' ', &mut words)?;
    Ok(words)
}

/// The text in locked memory; it is ASCII.
pub(super) fn text(buffer: &LockedBuffer) -> &str {
    std::str::from_utf8(buffer.expose_bytes()).unwrap_or_default()
}

/// A copy of the text of a key as its file has it.
///
/// # Errors
/// [`KeyError`] if there is no locked memory.
pub(super) fn exact(text: &[u8], memory: &LockedMemory) -> Result<LockedBuffer, KeyError> {
    let mut copy = memory.buffer(text.len())?;
    copy.append(text);
    Ok(copy)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::key;
    use crate::custody::keys::MasterKey;
    use crate::custody::shares::split;

    pub(in crate::cli::keyctl) const KEY: &str = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";

    /// A kit of a key that is known.
    pub(in crate::cli::keyctl) fn kit(needed: u8, count: u8, form: Form) -> Kit {
        let memory = key::memory().unwrap();
        let key = MasterKey::parse(KEY.as_bytes(), &memory).unwrap();
        let plan = Plan::new(needed, count).unwrap();
        Kit {
            plan,
            shares: split(&key, plan, &memory, &key::random).unwrap(),
            exact: (count == 1).then(|| exact(KEY.as_bytes(), &memory).unwrap()),
            fingerprint: key.fingerprint(),
            store_id: Some("00112233445566778899aabbccddeeff".to_owned()),
            made: 1_795_446_000,
            form,
        }
    }

    #[test]
    fn the_form_of_a_key_is_told_from_its_text() {
        for (text, form) in [
            ("7b1d", Form::Base64),
            (KEY, Form::Hex),
            (&"0123456789".repeat(7)[..64], Form::Hex),
            (&KEY.to_uppercase(), Form::UpperHex),
            (&KEY.replacen('b', "B", 1), Form::MixedHex),
        ] {
            assert_eq!(Form::of(text.as_bytes()), form, "{text}");
        }
    }

    #[test]
    fn the_commands_write_the_key_as_its_file_has_it() {
        for (form, option) in
            [(Form::Base64, "--base64"), (Form::UpperHex, "--upper-case"), (Form::Hex, "BACKUP --out")]
        {
            let [(_, recover), ..] = kit(2, 3, form).commands();
            assert!(recover.contains(option), "{recover}");
        }
        assert!(kit(2, 3, Form::MixedHex).note_on_form().is_some());
        assert!(kit(1, 1, Form::MixedHex).note_on_form().is_none(), "its exact text is on the sheet");
    }
}
