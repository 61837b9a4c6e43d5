//! A secret that is searched for in everything that was said, in every form that text can have.
//!
//! Must never be trusted before a planted one was found in each form.
//! Used by the tests of secrecy.

use super::{base64, hex};

/// Bytes in a row that count as the secret: fewer could be there by chance.
const WINDOW: usize = 12;

/// A secret to search for.
pub struct Marker {
    /// What it is, for the one who reads of a find.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Marker {
    /// A secret of so many random bytes.
    pub fn random(name: &'static str, length: usize) -> Self {
        let mut bytes = vec![0; length];
        servos_keyd::sys::random::fill(&mut bytes).unwrap();
        Self { name, bytes }
    }

    /// The first find of any part of it in `text`.
    pub fn found_in(&self, text: &[u8]) -> Option<String> {
        let text = latin(text);
        let found = |(form, pattern): (&'static str, String)| text.contains(&pattern).then_some((form, pattern));
        let find = self.bytes.windows(WINDOW).flat_map(forms).find_map(found);
        find.map(|(form, pattern)| format!("{} as {form}: {pattern:?}", self.name))
    }
}

/// Every form of some bytes, each with its name.
pub fn forms(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let each = |one: fn(&u8) -> String, between: &str| bytes.iter().map(one).collect::<Vec<_>>().join(between);
    let mut forms = vec![
        ("raw", latin(bytes)),
        ("hex", hex(bytes)),
        ("hex in capitals", hex(bytes).to_uppercase()),
        ("a list of numbers", each(|byte| byte.to_string(), ", ")),
        ("escapes", each(|byte| format!("\\x{byte:02x}"), "")),
        ("escaped text", bytes.escape_ascii().to_string()),
    ];
    for (shift, name) in ["base64", "base64 shifted by 1", "base64 shifted by 2"].into_iter().enumerate() {
        let text = at_alignment(bytes, shift);
        forms.push((name, text.replace('+', "-").replace('/', "_")));
        forms.push((name, text));
    }
    forms
}

/// The characters of base64 that `bytes` alone decide, where `shift` bytes of something else come before them.
fn at_alignment(bytes: &[u8], shift: usize) -> String {
    let text = base64(&[&vec![0; shift], bytes].concat());
    let (first, last) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
    text[first..last].to_owned()
}

/// Bytes as characters, one for one: text search over what may be no text.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn a_planted_marker_is_found_in_every_form_and_at_every_alignment() {
    let marker = Marker::random("planted", 32);
    let text = b"2026-01-01 INFO something was said event=\"x.y\" detail=".to_vec();
    assert_eq!(marker.found_in(&text), None);
    for part in [&marker.bytes[..], &marker.bytes[7..7 + WINDOW + 3]] {
        for (form, planted) in forms(part) {
            let planted: Vec<u8> = planted.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            assert!(marker.found_in(&[&text[..], &planted, b" more"].concat()).is_some(), "{form}");
        }
    }
    // In the middle of something longer that is encoded as one.
    for before in 0..6 {
        let message = [&vec![b'.'; before], &marker.bytes[..], b"..."].concat();
        assert!(marker.found_in(base64(&message).as_bytes()).is_some(), "{before} bytes before");
        assert!(marker.found_in(hex(&message).as_bytes()).is_some(), "{before} bytes before");
        assert!(marker.found_in(format!("{message:?}").as_bytes()).is_some(), "{before} bytes before");
    }
    let other = Marker::random("another", 32);
    assert_eq!(other.found_in(&marker.bytes), None);
    assert_eq!(other.found_in(hex(&marker.bytes).as_bytes()), None);
}
