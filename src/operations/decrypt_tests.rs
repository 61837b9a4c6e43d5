//! Decrypt: every kind of value, with and without legacy allowed and held, for every key that may be expected.
//!
//! Must never be derived from the code: the rules are written down here a second time.
//! Run by `cargo test`.

use super::{Format, Request, decrypt};
use crate::auth::operation::Decrypt;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::refusal::{Refusal, Rejection};
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::test_rig::{MASTER_KEY, Rig, context, legacy_value, name};
use base64ct::{Base64, Base64Url, Encoding as _};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A message under the key `default` with the right context.
    Sound,
    /// A message under the key `default` that does not open.
    Unsound,
    /// A message under a version of the key `gone`, which was deleted.
    Deleted,
    /// The header of a stream under the key `default`.
    Stream,
    /// The header of a stream under the key `gone`.
    DeletedStream,
    /// A message or stream under a version that this store never had.
    Unknown,
    /// A magic of a later format.
    Newer,
    /// Base64 text of a message.
    Text,
    /// A magic and too little behind it.
    Truncated,
    /// Too little for anything.
    Short,
    /// 28 bytes or more without a mark.
    Unmarked,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Opens(Format),
    NotAMessage,
    Base64Text,
    Stream,
    Newer,
    Unknown,
    Disabled,
    LegacyNotAllowed,
    Rejected,
}

struct Value {
    what: &'static str,
    kind: Kind,
    bytes: Vec<u8>,
    /// Whether it is at the same time a genuine legacy value.
    legacy: bool,
}

/// The rules, as the design gives them.
fn expected(value: &Value, allow: bool, held: bool, key: Option<&str>) -> Answer {
    let is_known = matches!(key, None | Some("default" | "ssh-keys" | "legacy"));
    let may_be = |name| key.is_none() || key == Some(name);
    let or_legacy = |otherwise| {
        if value.legacy && allow && held && is_known { Answer::Opens(Format::Legacy) } else { otherwise }
    };
    match value.kind {
        Kind::Sound if may_be("default") => Answer::Opens(Format::Skd1),
        Kind::Stream if may_be("default") => Answer::Stream,
        Kind::Deleted | Kind::DeletedStream if may_be("gone") => Answer::Disabled,
        Kind::Sound | Kind::Unsound | Kind::Deleted | Kind::Stream | Kind::DeletedStream => Answer::Rejected,
        Kind::Unknown => or_legacy(Answer::Unknown),
        Kind::Newer => or_legacy(Answer::Newer),
        Kind::Text => or_legacy(Answer::Base64Text),
        Kind::Truncated => or_legacy(Answer::NotAMessage),
        Kind::Short => Answer::NotAMessage,
        Kind::Unmarked if !held => Answer::NotAMessage,
        Kind::Unmarked if !allow => Answer::LegacyNotAllowed,
        Kind::Unmarked => or_legacy(Answer::Rejected),
    }
}

fn answer(rig: &Rig, bytes: &[u8], allow_legacy: bool, expected_key: Option<&str>) -> Answer {
    let context = context("1");
    let request = Request { expected_key, ciphertext: bytes, context: &context, allow_legacy };
    match decrypt(&rig.admit::<Decrypt>(), &rig.engine, &request) {
        Ok(opened) => {
            assert_eq!(opened.plaintext.as_slice(), b"secret");
            match opened.format {
                Format::Skd1 => assert_eq!((opened.key, opened.version, opened.primary), (name("default"), 1, true)),
                Format::Legacy => {
                    assert_eq!((opened.key.as_str(), opened.version, opened.primary), ("legacy", 0, false));
                }
            }
            Answer::Opens(opened.format)
        }
        Err(Refusal::NotAMessage) => Answer::NotAMessage,
        Err(Refusal::Base64Text) => Answer::Base64Text,
        Err(Refusal::Stream) => Answer::Stream,
        Err(Refusal::NewerFormat) => Answer::Newer,
        Err(Refusal::VersionUnknown(_)) => Answer::Unknown,
        Err(Refusal::VersionDisabled(_)) => Answer::Disabled,
        Err(Refusal::LegacyNotAllowed) => Answer::LegacyNotAllowed,
        Err(Refusal::Rejected(_)) => Answer::Rejected,
        Err(other) => panic!("{other:?}"),
    }
}

fn values(rig: &mut Rig) -> Vec<Value> {
    rig.create("gone", None).unwrap();
    let gone = rig.encrypt("gone", b"secret").unwrap().ciphertext;
    rig.delete("gone", None).unwrap();
    let sound = rig.encrypt("default", b"secret").unwrap().ciphertext;
    let stranger = Rig::new().encrypt("default", b"secret").unwrap().ciphertext;
    let another = {
        let request = crate::operations::encrypt::Request {
            key: &name("default"),
            plaintext: b"secret",
            context: &context("2"),
            allow_nested: false,
        };
        crate::operations::encrypt::encrypt(&rig.admit(), &rig.engine, &request).unwrap().ciphertext
    };
    let with = |mut bytes: Vec<u8>, at: usize, to: &[u8]| {
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let flipped = |at: usize| with(sound.clone(), at, &[sound[at] ^ 1]);
    let legacy = |magic: &[u8], plaintext: &[u8]| {
        let mut nonce = [0x90; 12];
        nonce[..magic.len()].copy_from_slice(magic);
        legacy_value(MASTER_KEY, nonce, plaintext)
    };
    let long: Vec<u8> = vec![b'x'; 100];
    let claim = &sound[..12];
    let mut values = vec![];
    let mut add = |what, kind, bytes: Vec<u8>| values.push(Value { what, kind, bytes, legacy: false });
    add("a message", Kind::Sound, sound.clone());
    add("another context", Kind::Unsound, another);
    add("salt", Kind::Unsound, flipped(12));
    add("commitment", Kind::Unsound, flipped(44));
    add("ciphertext", Kind::Unsound, flipped(76));
    add("tag", Kind::Unsound, flipped(sound.len() - 1));
    add("a byte more", Kind::Unsound, [sound.as_slice(), b"x"].concat());
    add("a byte less", Kind::Unsound, sound[..sound.len() - 1].to_vec());
    add("the header and a tag", Kind::Unsound, sound[..92].to_vec());
    add("deleted", Kind::Deleted, gone.clone());
    add("deleted and damaged", Kind::Deleted, with(gone.clone(), 80, &[0, 0]));
    add("a stream", Kind::Stream, with(sound.clone(), 0, b"SKS1"));
    add("a deleted stream", Kind::DeletedStream, with(gone.clone(), 0, b"SKS1"));
    add("of another store", Kind::Unknown, stranger.clone());
    add("a stream of another store", Kind::Unknown, with(stranger.clone(), 0, b"SKS1"));
    add("a version id with a flipped bit", Kind::Unknown, flipped(11));
    add("SKD2", Kind::Newer, with(sound.clone(), 0, b"SKD2"));
    add("SKS9", Kind::Newer, with(sound.clone(), 0, b"SKS9"));
    add("SKD5 alone", Kind::Newer, b"SKD5".to_vec());
    add("base64", Kind::Text, Base64::encode_string(&sound).into_bytes());
    add("base64 with a line end", Kind::Text, format!("{}\n", Base64::encode_string(&stranger)).into_bytes());
    add("base64url", Kind::Text, Base64Url::encode_string(&gone).into_bytes());
    add("the magic alone", Kind::Truncated, b"SKD1".to_vec());
    add("27 bytes of a message", Kind::Truncated, sound[..27].to_vec());
    add("28 bytes of a message", Kind::Truncated, sound[..28].to_vec());
    add("91 bytes of a message", Kind::Truncated, sound[..91].to_vec());
    add("nothing", Kind::Short, vec![]);
    add("27 bytes", Kind::Short, vec![0x80; 27]);
    add("28 bytes", Kind::Unmarked, vec![0x80; 28]);
    add("a secret in the clear", Kind::Unmarked, b"postgres://servos:hunter2@db:5432/servos".to_vec());
    add("SKR1", Kind::Unmarked, with(sound.clone(), 0, b"SKR1"));
    add("a damaged legacy value", Kind::Unmarked, {
        let mut value = legacy(b"", b"secret");
        value[20] ^= 1;
        value
    });
    add(
        "a legacy value of another key",
        Kind::Unmarked,
        legacy_value(&MASTER_KEY.replace('8', "9"), [0x90; 12], b"secret"),
    );
    let mut add = |what, kind, bytes: Vec<u8>| values.push(Value { what, kind, bytes, legacy: true });
    add("legacy", Kind::Unmarked, legacy(b"", b"secret"));
    add("legacy that begins with the magic", Kind::Truncated, legacy(b"SKD1", b"secret"));
    add("legacy that begins with the stream's magic", Kind::Truncated, legacy(b"SKS1", b"secret"));
    add("legacy that begins with a later magic", Kind::Newer, legacy(b"SKS3", b"secret"));
    // These hold another plaintext and so are not opened here but as refusals.
    let mut add = |what, kind, bytes: Vec<u8>| values.push(Value { what, kind, bytes, legacy: false });
    add("legacy that begins with a message of this store", Kind::Unsound, legacy(claim, &long));
    values
}

#[test]
fn every_value_gets_the_answer_that_the_rules_give_it() {
    let mut rig = Rig::with_legacy();
    let values = values(&mut rig);
    let mut rows = 0;
    for held in [true, false] {
        for value in &values {
            for allow in [false, true] {
                for key in [None, Some("default"), Some("ssh-keys"), Some("nobody"), Some("gone"), Some("legacy")] {
                    let said = answer(&rig, &value.bytes, allow, key);
                    let what = value.what;
                    assert_eq!(
                        said,
                        expected(value, allow, held, key),
                        "{what}: allow_legacy {allow}, held {held}, expected {key:?}"
                    );
                    rows += 1;
                }
            }
        }
        if held {
            let fingerprint = rig.keyring().legacy[0].fingerprint;
            let permit = rig.whole();
            retire_legacy_key(&permit, &mut rig.ledger, fingerprint, None).unwrap();
        }
    }
    assert_eq!(rows, values.len() * 24);
}

#[test]
fn a_long_legacy_value_that_claims_an_unknown_version_opens_and_else_stays_unknown() {
    let rig = Rig::with_legacy();
    let nonce = *b"SKD1\x01\x02\x03\x04\x05\x06\x07\x08";
    let value = legacy_value(MASTER_KEY, nonce, &[b'x'; 100]);
    let open = |bytes: &[u8], allow_legacy| {
        let context = context("1");
        let request = Request { expected_key: None, ciphertext: bytes, context: &context, allow_legacy };
        decrypt(&rig.admit::<Decrypt>(), &rig.engine, &request)
    };
    assert_eq!(open(&value, true).unwrap().plaintext.as_slice(), [b'x'; 100]);
    assert!(matches!(open(&value, false).err(), Some(Refusal::VersionUnknown(_))));
    let mut damaged = value;
    damaged[50] ^= 1;
    assert!(matches!(open(&damaged, true).err(), Some(Refusal::VersionUnknown(_))));
}

#[test]
fn each_legacy_key_that_is_held_opens_its_own_values_whatever_context_is_given() {
    let mut rig = Rig::with_legacy();
    let former = "0011223344556677889900aabbccddeeff0123456789abcdef0123456789abcd";
    let permit = rig.whole();
    adopt_legacy_key(&permit, &mut rig.ledger, former.as_bytes(), None).unwrap();
    for key in [MASTER_KEY, former] {
        let value = legacy_value(key, [0x90; 12], b"secret");
        assert_eq!(answer(&rig, &value, true, None), Answer::Opens(Format::Legacy));
        assert_eq!(answer(&rig, &value, false, None), Answer::LegacyNotAllowed);
    }
    let empty = legacy_value(former, [0x90; 12], b"");
    let context = context("whatever");
    let request = Request { expected_key: None, ciphertext: &empty, context: &context, allow_legacy: true };
    assert!(decrypt(&rig.admit::<Decrypt>(), &rig.engine, &request).unwrap().plaintext.is_empty());
}

#[test]
fn an_older_version_opens_and_says_that_it_is_not_primary() {
    let mut rig = Rig::new();
    let sealed = rig.encrypt("default", b"x").unwrap().ciphertext;
    assert!(rig.decrypt(&sealed).unwrap().primary);
    rig.rotate("default", None).unwrap();
    let opened = rig.decrypt(&sealed).unwrap();
    assert_eq!((opened.version, opened.primary), (1, false));
}

#[test]
fn a_ciphertext_at_the_limit_opens_and_one_above_names_field_and_limit() {
    let rig = Rig::new();
    let sealed = rig.encrypt("default", &vec![7; super::MAX_PLAINTEXT_BYTES]).unwrap().ciphertext;
    assert_eq!(sealed.len(), super::MAX_CIPHERTEXT_BYTES);
    assert_eq!(rig.decrypt(&sealed).unwrap().plaintext.len(), super::MAX_PLAINTEXT_BYTES);
    let refusal = rig.decrypt(&[sealed.as_slice(), b"x"].concat()).err().unwrap();
    assert_eq!(refusal.to_string(), "ciphertext: must have at most 1048668 bytes, has 1048669");
}

#[test]
fn a_version_does_not_open_or_seal_with_a_permit_for_another_key() {
    let rig = Rig::new();
    let keyring = rig.keyring();
    let version = keyring.primary(&name("default")).unwrap();
    let sealed = rig.encrypt("default", b"x").unwrap().ciphertext;
    let context = context("1");
    assert!(version.open(&rig.permit("default"), &context, &sealed).is_ok());
    let refused = version.open(&rig.permit("ssh-keys"), &context, &sealed);
    assert!(matches!(refused, Err(Refusal::Rejected(Rejection::OtherKey))));
    let sealed_before = version.usage.sealed();
    let refused = version.seal(&rig.permit("ssh-keys"), &context, b"x", &*rig.engine.random);
    assert!(matches!(refused, Err(Refusal::NoSuchKey)));
    assert_eq!(version.usage.sealed(), sealed_before);
}
