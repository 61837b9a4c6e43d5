//! Damaged, foreign and misplaced files: each is refused or served as designed, and mended by the command it is met with.
//!
//! Must never take a fault for mended before every value that was sealed has opened. Run by `cargo test`.

mod files;
mod kinds;
mod mend;
mod places;
mod records;
mod room;
mod sampled;

use crate::harness::{Daemon, Installation, Outcome, block_on, cell, name};
use std::path::PathBuf;

/// An installation with a history: values under several versions and keys, some newer than its first backup.
pub struct Scene {
    pub installation: Installation,
    pub values: Vec<Value>,
}

/// A value with what it was.
#[derive(Clone)]
pub struct Value {
    pub key: &'static str,
    pub ciphertext: Vec<u8>,
    pub plaintext: Vec<u8>,
}

impl Scene {
    pub fn made() -> Self {
        let installation = Installation::made();
        let daemon = installation.serve_for_admin();
        let mut values = Vec::new();
        for key in ["default", "ssh-keys"] {
            values.push(seal(&daemon, key));
        }
        block_on(async { daemon.admin().rotate_key(&name("default")).await.map(drop).unwrap() });
        values.push(seal(&daemon, "default"));
        daemon.stop().expect(0);
        Self { installation, values }
    }

    /// The same again in a directory of its own.
    pub fn copy(&self) -> Self {
        Self { installation: self.installation.copy(), values: self.values.clone() }
    }

    pub fn newest_backup(&self) -> PathBuf {
        self.installation.backups().pop().unwrap()
    }

    /// Every value opens as what it was, and a new one is sealed.
    #[track_caller]
    pub fn check(&self, daemon: &Daemon, case: &str) {
        for value in &self.values {
            assert_eq!(opened(daemon, value).as_deref(), Some(value.plaintext.as_slice()), "{case}: {}", value.key);
        }
        seal(daemon, "default");
    }
}

fn seal(daemon: &Daemon, key: &'static str) -> Value {
    let plaintext = format!("a value under {key}").into_bytes();
    let sealed = block_on(async { daemon.component().encrypt(&name(key), &plaintext, &cell("1")).await.unwrap() });
    Value { key, ciphertext: sealed.ciphertext, plaintext }
}

/// What a value opens as, if it opens.
pub fn opened(daemon: &Daemon, value: &Value) -> Option<Vec<u8>> {
    let opened = block_on(async { daemon.component().decrypt(&name(value.key), &value.ciphertext, &cell("1")).await });
    opened.ok().map(|opened| opened.plaintext.as_slice().to_vec())
}

/// What a fault is met with.
pub enum End {
    /// Refused with this exit code.
    Code(i32),
    /// Served, with everything that was sealed.
    Serves,
}

/// One fault: what is done, who meets it, what is said, and how it is mended.
pub struct Fault {
    pub name: &'static str,
    pub harm: fn(&mut Scene),
    pub met_by: fn(&Scene) -> Outcome,
    pub end: End,
    pub says: &'static [&'static str],
    pub mend: mend::Mend,
}

/// A start that is refused.
pub fn serve(scene: &Scene) -> Outcome {
    scene.installation.serve_refused()
}

/// A start that serves, checked, and its stop.
pub fn serves(scene: &Scene) -> Outcome {
    let daemon = scene.installation.serve();
    scene.check(&daemon, "in spite of it");
    daemon.stop()
}

/// Plays every row on a copy of one installation.
pub fn play(rows: &[Fault]) {
    let whole = Scene::made();
    for row in rows {
        eprintln!("{}", row.name);
        let mut scene = whole.copy();
        (row.harm)(&mut scene);
        let before = scene.installation.files();
        let outcome = (row.met_by)(&scene);
        let code = match row.end {
            End::Code(code) => code,
            End::Serves => 0,
        };
        assert_eq!(outcome.code, Some(code), "{}: {outcome:#?}", row.name);
        assert!(!outcome.said().contains("panicked"), "{}: {outcome:#?}", row.name);
        for word in row.says {
            assert!(outcome.said().contains(word), "{}: {word:?} is not in {outcome:#?}", row.name);
        }
        if code != 0 {
            assert_eq!(scene.installation.files(), before, "{}: something was written", row.name);
        }
        mend::mend(&row.mend, &scene, &whole, &outcome, row.name);
        let daemon = scene.installation.serve();
        scene.check(&daemon, row.name);
        daemon.stop().expect(0);
    }
}
