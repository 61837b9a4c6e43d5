//! Encrypt: what it refuses to seal, and what it counts.
//!
//! Must never take a plaintext of another store for sealed.
//! Run by `cargo test`.

use super::{MAX_PLAINTEXT_BYTES, Request, Sealed, encrypt};
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, context, name};
use base64ct::{Base64, Base64Unpadded, Base64Url, Encoding as _};

fn nested(rig: &Rig, plaintext: &[u8]) -> Result<Sealed, Refusal> {
    let key = name("default");
    let request = Request { key: &key, plaintext, context: &context("1"), allow_nested: true };
    encrypt(&rig.admit(), &rig.engine, &request)
}

/// The forms in which a message may come back as a plaintext.
fn forms(message: &[u8]) -> Vec<Vec<u8>> {
    let stream = [b"SKS1", &message[4..]].concat();
    let mut forms = vec![message.to_vec(), stream.clone(), message[..12].to_vec()];
    for bytes in [message, &stream] {
        forms.push(Base64::encode_string(bytes).into_bytes());
        forms.push(Base64Url::encode_string(bytes).into_bytes());
        forms.push(Base64Unpadded::encode_string(bytes).into_bytes());
        forms.push(Base64::encode_string(bytes).into_bytes()[..16].to_vec());
        forms.push([Base64::encode_string(bytes).as_bytes(), b"\r\nand more"].concat());
    }
    forms
}

/// A message whose claim differs between the two alphabets of base64.
fn telling_message() -> (Rig, Vec<u8>) {
    loop {
        let rig = Rig::new();
        for key in super::super::create::FIRST_KEYS {
            let message = rig.encrypt(key, b"secret").unwrap().ciphertext;
            if Base64::encode_string(&message)[..16].contains(['+', '/']) {
                return (rig, message);
            }
        }
    }
}

#[test]
fn what_is_sealed_already_is_refused_in_every_form_unless_that_is_meant() {
    let (rig, message) = telling_message();
    for (n, form) in forms(&message).iter().enumerate() {
        assert!(matches!(rig.encrypt("default", form).err(), Some(Refusal::AlreadySealed)), "form {n}");
        let sealed = nested(&rig, form).unwrap().ciphertext;
        assert!(rig.decrypt(&sealed).unwrap().plaintext.as_slice() == form, "form {n}");
    }
}

#[test]
fn what_a_deleted_key_sealed_is_sealed_all_the_same() {
    let mut rig = Rig::new();
    let message = rig.encrypt("ssh-keys", b"secret").unwrap().ciphertext;
    rig.delete("ssh-keys", None).unwrap();
    assert!(matches!(rig.encrypt("default", &message).err(), Some(Refusal::AlreadySealed)));
}

#[test]
fn messages_of_another_store_and_what_only_looks_like_one_are_sealed() {
    let (rig, message) = telling_message();
    let (_, stranger) = telling_message();
    for form in forms(&stranger) {
        assert!(rig.encrypt("default", &form).is_ok());
    }
    let text = Base64::encode_string(&message);
    for plaintext in [
        &b""[..],
        b"SKD1",
        &message[..11],
        &message[1..],
        &text.as_bytes()[..15],
        format!(" {text}").as_bytes(),
        format!("\"{text}\"").as_bytes(),
        base16ct::lower::encode_string(&message).as_bytes(),
    ] {
        assert!(rig.encrypt("default", plaintext).is_ok());
    }
}

#[test]
fn a_plaintext_at_the_limit_is_sealed_and_one_above_names_field_and_limit() {
    let rig = Rig::new();
    assert!(rig.encrypt("default", &vec![0; MAX_PLAINTEXT_BYTES]).is_ok());
    let refusal = rig.encrypt("default", &vec![0; MAX_PLAINTEXT_BYTES + 1]).err().unwrap();
    assert_eq!(refusal.to_string(), "plaintext: must have at most 1048576 bytes, has 1048577");
    assert_eq!(rig.decrypt(&rig.encrypt("default", b"").unwrap().ciphertext).unwrap().plaintext.len(), 0);
}

#[test]
fn messages_and_bytes_are_counted_and_a_refusal_counts_nothing() {
    let mut rig = Rig::new();
    rig.encrypt("default", b"12345").unwrap();
    rig.encrypt("default", b"").unwrap();
    assert!(rig.encrypt("nobody", b"x").is_err());
    let sealed = |rig: &Rig| rig.keyring().primary(&name("default")).unwrap().usage.sealed();
    assert_eq!(sealed(&rig), (2, 5));
    // A commit that replaces the keyring keeps the counts.
    rig.create("mine", None).unwrap();
    assert_eq!(sealed(&rig), (2, 5));
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let rig = Rig::new();
    let failing = |_: &mut [u8]| Err(crate::custody::random::RandomUnavailable);
    let engine = super::Engine::new(
        (*rig.keyring()).clone(),
        Box::new(failing),
        Box::new(|| 0),
        crate::operations::engine::Facts::default(),
    );
    let key = name("default");
    let request = Request { key: &key, plaintext: b"x", context: &context("1"), allow_nested: false };
    assert!(matches!(encrypt(&rig.admit(), &engine, &request).err(), Some(Refusal::Random)));
}

#[test]
fn a_version_that_does_not_open_does_not_seal() {
    let rig = Rig::new();
    let mut keyring = (*rig.keyring()).clone();
    let mut key = (**keyring.key(&name("default")).unwrap()).clone();
    for version in key.versions.iter_mut() {
        let state = crate::operations::version::VersionState::Disabled;
        *version = std::sync::Arc::new(crate::operations::version::Version { state, ..(**version).clone() });
    }
    keyring.replace_key(key);
    rig.engine.publish(keyring);
    assert!(matches!(rig.encrypt("default", b"x").err(), Some(Refusal::NoPrimary)));
}
