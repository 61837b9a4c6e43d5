//! Something that was sealed, kept with what it must open as.
//!
//! Must never take another plaintext for the right one: each opening is held to what was sealed.
//! Called by the tests of this room alone.

use crate::operations::decrypt::{self, Opened};
use crate::operations::encrypt::Sealed;
use crate::operations::engine::Engine;
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, context, legacy_value};

/// Something that was sealed, with what it must open as.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) sealed: Vec<u8>,
    plaintext: Vec<u8>,
}

impl Value {
    /// Seals under a key of the daemon's.
    #[track_caller]
    pub(super) fn sealed(rig: &Rig, key: &str, plaintext: &str) -> Self {
        let Sealed { ciphertext, .. } = rig.encrypt(key, plaintext.as_bytes()).unwrap();
        Self { sealed: ciphertext, plaintext: plaintext.as_bytes().to_vec() }
    }

    /// What a component sealed that holds this key itself.
    pub(super) fn legacy(key: &str, plaintext: &str) -> Self {
        let sealed = legacy_value(key, [7; 12], plaintext.as_bytes());
        Self { sealed, plaintext: plaintext.as_bytes().to_vec() }
    }

    pub(super) fn open(&self, rig: &Rig, engine: &Engine) -> Result<Opened, Refusal> {
        let context = &context("1");
        let request = decrypt::Request { expected_key: None, ciphertext: &self.sealed, context, allow_legacy: true };
        let opened = decrypt::decrypt(&rig.admit(), engine, &request)?;
        assert_eq!(opened.plaintext.as_slice(), self.plaintext);
        Ok(opened)
    }

    /// Whether it opens in the running daemon.
    pub(super) fn opens(&self, rig: &Rig) -> bool {
        self.open(rig, &rig.engine).is_ok()
    }

    /// Whether it opens in a daemon that were started now with this key.
    pub(super) fn opens_after_a_start(&self, rig: &Rig, key: &str) -> bool {
        rig.engine_of(key).is_ok_and(|engine| self.open(rig, &engine).is_ok())
    }
}
