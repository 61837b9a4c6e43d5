//! The positive control: this binary again, as a process that holds one of each, and is found out by the same search.
//!
//! Must never count a copy that lies somewhere else than where it was planted. Called by `program`.

use crate::aes::{self, LAYOUTS};
use crate::forms;
use crate::keys::Outcome;
use crate::known::{Class, Known};
use crate::scan::{Scan, scan};
use ring::{aead, hkdf, hmac};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

/// The argument that makes this binary the helper.
pub const HOLD: &str = "--hold";

/// What is planted: the same bytes for every process that is given the same seed.
struct Planted {
    key: [u8; 32],
    marker: [u8; 16],
    schedule: [u8; 32],
}

impl Planted {
    fn of(seed: &[u8; 80]) -> Self {
        let mut planted = Self { key: [0; 32], marker: [0; 16], schedule: [0; 32] };
        planted.key.copy_from_slice(&seed[..32]);
        planted.marker.copy_from_slice(&seed[32..48]);
        planted.schedule.copy_from_slice(&seed[48..]);
        planted
    }

    /// What the search is told.
    fn known(&self) -> Known {
        let mut known = Known::default();
        known.add_key("the planted key", &self.key);
        known.add_marker("the planted marker", &self.marker);
        known
    }

    /// Every item that is held: its class, how a finding names it, and its bytes.
    fn items(&self) -> Vec<(Class, String, Vec<u8>)> {
        let named =
            |class, name: &'static str| move |(form, bytes): forms::Form| (class, format!("{name}, {form}"), bytes);
        let mut items: Vec<_> =
            forms::of_key(&self.key).into_iter().map(named(Class::Key, "the planted key")).collect();
        items.extend(forms::of_value(&self.marker).into_iter().map(named(Class::Marker, "the planted marker")));
        for layout in LAYOUTS {
            for (key, size) in [(&self.schedule[..16], aes::AES_128), (&self.schedule[..], aes::AES_256)] {
                let name = format!("{}, {}", size.name, layout.name());
                items.push((Class::Schedule, name, aes::laid_out(key, layout)));
            }
        }
        let whole = aes::expand(&self.schedule);
        items.push((Class::Schedule, "part of an AES-256 schedule, plain".to_owned(), whole[64..112].to_vec()));
        items
    }
}

/// What ring's own objects leave, by a part of the name that a finding must have.
const OBJECTS: [(Class, &str); 4] = [
    (Class::Schedule, "AES-256 schedule"),
    (Class::Schedule, "AES-128 schedule"),
    (Class::Key, "HMAC inner state"),
    (Class::Key, "HMAC outer state"),
];

/// The helper: holds everything until its input ends, and tells where.
pub fn hold() -> Outcome<()> {
    let mut seed = [0; 80];
    std::io::stdin().read_exact(&mut seed)?;
    let planted = Planted::of(&seed);
    let mut out = std::io::stdout().lock();
    for (_, _, bytes) in planted.items() {
        // Aligned, as keys are; and with a page of its own behind it, so that nothing that follows is taken for it.
        let mut held = vec![0_u64; bytes.len().div_ceil(8) + 64];
        held.iter_mut().zip(bytes.chunks(8)).for_each(|(word, bytes)| {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        });
        let held = held.leak();
        writeln!(out, "{:x} {:x}", held.as_ptr().addr(), bytes.len())?;
    }
    let unbound = |algorithm, key: &[u8]| aead::UnboundKey::new(algorithm, key).map_err(|_| "ring refuses a key");
    let long = Box::leak(Box::new(aead::LessSafeKey::new(unbound(&aead::AES_256_GCM, &planted.schedule)?)));
    let short = Box::leak(Box::new(aead::LessSafeKey::new(unbound(&aead::AES_128_GCM, &planted.schedule[..16])?)));
    let derived = Box::leak(Box::new(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &planted.key)));
    let signing = Box::leak(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &planted.key)));
    writeln!(out, "{:x} {:x}", std::ptr::from_ref(long).addr(), size_of_val(long))?;
    writeln!(out, "{:x} {:x}", std::ptr::from_ref(short).addr(), size_of_val(short))?;
    writeln!(out, "{:x} {:x}", std::ptr::from_ref(derived).addr(), size_of_val(derived))?;
    writeln!(out, "{:x} {:x}", std::ptr::from_ref(signing).addr(), size_of_val(signing))?;
    writeln!(out, "ready")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// What the control showed.
pub struct Control {
    pub planted: usize,
    pub scan: Scan,
    /// What was planted and not found.
    pub missed: Vec<String>,
}

/// Starts the helper, and looks for what it holds.
pub fn control() -> Outcome<Control> {
    let mut seed = [0; 80];
    servos_keyd::sys::random::fill(&mut seed)?;
    let planted = Planted::of(&seed);
    let mut child =
        Command::new(std::env::current_exe()?).arg(HOLD).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let places = places(&mut child, &seed);
    let looked = places.and_then(|places| Ok((places, scan(child.id(), &planted.known())?)));
    // It ends by itself when its input does; whichever way it ends is good.
    let _ = child.kill();
    let _ = child.wait();
    let (places, scan) = looked?;
    let mut expected: Vec<(Class, String)> =
        planted.items().into_iter().map(|(class, name, _)| (class, name)).collect();
    expected.extend(OBJECTS.map(|(class, name)| (class, name.to_owned())));
    if places.len() != expected.len() {
        return Err(format!("{} places for {} items", places.len(), expected.len()).into());
    }
    let is_found = |class: Class, name: &str, (start, length): (u64, u64)| {
        scan.findings.iter().any(|finding| {
            finding.class == class && finding.what.contains(name) && (start..start + length).contains(&finding.address)
        })
    };
    let missed = expected.iter().zip(&places).filter(|((class, name), place)| !is_found(*class, name, **place));
    let missed = missed.map(|((class, name), _)| format!("{class:?}: {name}")).collect();
    Ok(Control { planted: expected.len(), missed, scan })
}

/// Where the helper says that everything is: address and length.
fn places(child: &mut Child, seed: &[u8; 80]) -> Outcome<Vec<(u64, u64)>> {
    let input = child.stdin.as_mut().ok_or("the helper has no input")?;
    input.write_all(seed)?;
    input.flush()?;
    let mut places = Vec::new();
    for line in BufReader::new(child.stdout.take().ok_or("the helper has no output")?).lines() {
        let line = line?;
        if line == "ready" {
            return Ok(places);
        }
        let (start, length) = line.split_once(' ').ok_or("the helper says something else")?;
        places.push((u64::from_str_radix(start, 16)?, u64::from_str_radix(length, 16)?));
    }
    Err("the helper ended".into())
}
