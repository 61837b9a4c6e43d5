//! ReEncrypt: which rights and labels it demands.
//!
//! Must never let a change of label pass for a move.
//! Run by `cargo test`.

use super::{Label, Rights, reencrypt};
use crate::auth::policy::Denied;
use crate::custody::context::Context;
use crate::operations::decrypt::{self, Format};
use crate::operations::encrypt::Sealed;
use crate::operations::refusal::{Refusal, Rejection};
use crate::operations::test_rig::{MASTER_KEY, Rig, context, legacy_value, name};

const DENIED: Denied = Denied { operation: "Relabel", uid: 7 };

struct Call<'c> {
    ciphertext: &'c [u8],
    context: &'c str,
    label: Option<(&'c str, &'c str)>,
    may_relabel: bool,
    allow_legacy: bool,
}

impl<'c> Call<'c> {
    fn of(ciphertext: &'c [u8]) -> Self {
        Self { ciphertext, context: "1", label: None, may_relabel: true, allow_legacy: false }
    }

    fn to(self, key: &'c str, context: &'c str) -> Self {
        Self { label: Some((key, context)), ..self }
    }

    fn legacy(self) -> Self {
        Self { allow_legacy: true, ..self }
    }

    fn without_the_right(self) -> Self {
        Self { may_relabel: false, ..self }
    }

    fn make(&self, rig: &Rig) -> Result<(Sealed, Format), Refusal> {
        let rights = Rights {
            reencrypt: rig.admit(),
            decrypt: rig.admit(),
            encrypt: rig.admit(),
            relabel: if self.may_relabel { Ok(rig.admit()) } else { Err(DENIED) },
        };
        let label = self.label.map(|(key, id)| Label { key: name(key), context: context(id) });
        let from = context(self.context);
        let request = decrypt::Request {
            expected_key: None,
            ciphertext: self.ciphertext,
            context: &from,
            allow_legacy: self.allow_legacy,
        };
        reencrypt(&rights, &rig.engine, &request, label.as_ref())
    }
}

fn opens(rig: &Rig, ciphertext: &[u8], key: &str, context: &Context) -> bool {
    let request = decrypt::Request { expected_key: Some(key), ciphertext, context, allow_legacy: false };
    decrypt::decrypt(&rig.admit(), &rig.engine, &request).is_ok_and(|opened| opened.plaintext.as_slice() == b"secret")
}

#[test]
fn a_message_moves_to_the_primary_version_and_keeps_key_and_context() {
    let mut rig = Rig::new();
    let old = rig.encrypt("default", b"secret").unwrap().ciphertext;
    rig.rotate("default", None).unwrap();
    let (moved, format) = Call::of(&old).without_the_right().make(&rig).unwrap();
    assert_eq!((moved.key.as_str(), moved.version, moved.keyring, format), ("default", 2, 2, Format::Skd1));
    assert!(opens(&rig, &moved.ciphertext, "default", &context("1")));
    assert!(opens(&rig, &old, "default", &context("1")), "the old one is the caller's to drop");
}

#[test]
fn another_key_or_context_takes_the_right_to_relabel_and_the_same_label_does_not() {
    let rig = Rig::new();
    let message = rig.encrypt("default", b"secret").unwrap().ciphertext;
    assert!(Call::of(&message).to("default", "1").without_the_right().make(&rig).is_ok());
    for (key, id) in [("ssh-keys", "1"), ("default", "2"), ("ssh-keys", "2")] {
        let denied = Call::of(&message).to(key, id).without_the_right().make(&rig).err();
        assert!(matches!(denied, Some(Refusal::Denied(DENIED))), "{key} {id}");
        let (moved, _) = Call::of(&message).to(key, id).make(&rig).unwrap();
        assert!(opens(&rig, &moved.ciphertext, key, &context(id)));
        assert!(!opens(&rig, &moved.ciphertext, "default", &context("1")));
    }
}

#[test]
fn a_legacy_value_takes_a_label_and_no_right_to_relabel() {
    let rig = Rig::with_legacy();
    let value = legacy_value(MASTER_KEY, [0x90; 12], b"secret");
    assert!(matches!(Call::of(&value).to("default", "1").make(&rig).err(), Some(Refusal::LegacyNotAllowed)));
    let refusal = Call::of(&value).legacy().make(&rig).err();
    assert!(matches!(refusal, Some(Refusal::Invalid { field: "relabel", .. })));
    let (moved, format) = Call::of(&value).legacy().to("default", "9").without_the_right().make(&rig).unwrap();
    assert_eq!(format, Format::Legacy);
    assert!(opens(&rig, &moved.ciphertext, "default", &context("9")));
}

#[test]
fn a_legacy_value_that_holds_more_than_decrypt_would_ever_give_back_is_not_moved() {
    let rig = Rig::with_legacy();
    let most = super::MAX_PLAINTEXT_BYTES;
    let value = legacy_value(MASTER_KEY, [0x90; 12], &vec![1; most]);
    let (moved, _) = Call::of(&value).legacy().to("default", "1").make(&rig).unwrap();
    assert_eq!(rig.decrypt(&moved.ciphertext).unwrap().plaintext.len(), most);
    let value = legacy_value(MASTER_KEY, [0x90; 12], &vec![1; most + 1]);
    let refusal = Call::of(&value).legacy().to("default", "1").make(&rig).err();
    assert!(matches!(refusal, Some(Refusal::Invalid { field: "ciphertext", .. })));
}

#[test]
fn what_does_not_open_or_has_no_place_to_go_is_refused() {
    let mut rig = Rig::new();
    let message = rig.encrypt("default", b"secret").unwrap().ciphertext;
    let wrong = Call { context: "2", ..Call::of(&message) };
    assert!(matches!(wrong.make(&rig).err(), Some(Refusal::Rejected(Rejection::DoesNotOpen))));
    assert!(matches!(Call::of(&message).to("nobody", "1").make(&rig).err(), Some(Refusal::NoSuchKey)));
    rig.delete("ssh-keys", None).unwrap();
    assert!(matches!(Call::of(&message).to("ssh-keys", "1").make(&rig).err(), Some(Refusal::NoSuchKey)));
    rig.delete("default", None).unwrap();
    assert!(matches!(Call::of(&message).make(&rig).err(), Some(Refusal::VersionDisabled(_))));
    rig.create("default", None).unwrap();
    assert!(matches!(Call::of(&message).make(&rig).err(), Some(Refusal::VersionDisabled(_))), "not by its name");
}

#[test]
fn salvage_opens_and_neither_seals_nor_moves_nor_issues() {
    let mut rig = Rig::new();
    let message = rig.encrypt("default", b"secret").unwrap().ciphertext;
    rig.engine = std::sync::Arc::new(rig.salvaged());
    assert_eq!(rig.decrypt(&message).unwrap().plaintext.as_slice(), b"secret");
    assert!(matches!(rig.encrypt("default", b"x").err(), Some(Refusal::Salvage)));
    assert!(matches!(Call::of(&message).make(&rig).err(), Some(Refusal::Salvage)));
    let issued = crate::operations::issue_canary::issue_canary(&rig.whole(), &rig.engine);
    assert!(matches!(issued, Err(Refusal::Salvage)));
}
