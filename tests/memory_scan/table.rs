//! The table that the scan ends with, every finding, and one line for machines.
//!
//! Must never show a byte of what was found, nor hide a finding behind a sum. Printed by `program`.

use crate::caller::LAST;
use crate::control::Control;
use crate::known::Class;
use crate::watch::{Kept, Moment, Seens};
use std::collections::BTreeMap;

/// Fewer bytes than a daemon has: the look has gone wrong.
const LEAST_BYTES: usize = 1 << 20;
/// What of the table is the moment's name.
const WIDTH: usize = 96;

/// Everything that keeps the test from passing; printed as it is found.
pub fn show(control: &Control, seens: &Seens, seconds: u64) -> Vec<String> {
    let mut problems = Vec::new();
    println!(
        "\n{:<WIDTH$}{:>10}{:>6}{:>14}{:>11}{:>16}{:>7}{:>11}{:>9}",
        "moment", "connected", "maps", "bytes", "EIO pages", "in locked pages", "keys", "schedules", "markers"
    );
    for moment in &seens.moments {
        let scan = &moment.scan;
        println!(
            "{:<WIDTH$}{:>10}{:>6}{:>14}{:>11}{:>16}{:>7}{:>11}{:>9}{}",
            moment.name,
            moment.connections,
            scan.maps,
            scan.bytes,
            scan.secret_pages,
            scan.count_in_locked_pages(),
            scan.count(Class::Key),
            scan.count(Class::Schedule),
            scan.count(Class::Marker),
            if moment.idle { "" } else { "  (not idle: markers are told, not judged)" }
        );
        judge(moment, &mut problems);
    }
    println!("in locked pages: keys where memfd_secret is refused; there they belong, and are found");
    let calls: Vec<String> = seens.calls.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("\ncalls answered: {}", calls.join(", "));
    println!("calls that broke off by a planted panic: {}", seens.panics);
    println!(
        "looked for: {} secrets in {} forms, AES-128 and AES-256 schedules in 5 layouts; keys of {} messages, each of \
         which commits to its own",
        seens.secrets.0, seens.secrets.1, seens.messages
    );
    if seens.messages < LAST {
        problems.push(format!("the keys of {} messages alone were looked for", seens.messages));
    }
    println!(
        "control: {} of {} planted items found in {} bytes of {} maps of a process that holds them",
        control.planted - control.missed.len(),
        control.planted,
        control.scan.bytes,
        control.scan.maps
    );
    problems.extend(control.missed.iter().map(|missed| format!("the control does not find {missed}")));
    if control.scan.bytes < LEAST_BYTES {
        problems.push(format!("the control read {} bytes alone", control.scan.bytes));
    }
    println!("{}", machine_readable(control, seens, &problems, seconds));
    problems
}

fn judge(moment: &Moment, problems: &mut Vec<String>) {
    let name = &moment.name;
    let scan = &moment.scan;
    let judged = scan.findings.iter().filter(|found| moment.idle || found.class != Class::Marker).count();
    if judged > 0 {
        problems.push(format!("{name}: {judged} findings"));
    }
    if scan.bytes < LEAST_BYTES {
        problems.push(format!("{name}: {} bytes alone were read", scan.bytes));
    }
    if !moment.idle && moment.connections == 0 {
        problems.push(format!("{name}: no connection was open any more"));
    }
    if scan.secret_pages_read > 0 {
        problems.push(format!("{name}: {} pages of memfd_secret could be read", scan.secret_pages_read));
    }
    let in_locked_pages = scan.count_in_locked_pages();
    let found_out = scan.secret_pages == 0 && in_locked_pages > 0;
    let is_right = match moment.kept {
        // Beside memfd_secret nothing is locked: what was, would not be searched for keys.
        Kept::InSecretPages => scan.secret_pages > 0 && scan.plainly_locked == 0,
        Kept::InLockedPages | Kept::EachInLockedPages => found_out,
        Kept::Nowhere => scan.secret_pages == 0 && in_locked_pages == 0,
    };
    if !is_right {
        problems.push(format!(
            "{name}: {} pages of memfd_secret, {} locked bytes and {} keys in them: not where they are to be",
            scan.secret_pages, scan.plainly_locked, in_locked_pages
        ));
    }
    let missing = moment.owed.iter().filter(|key| !scan.has_in_locked_pages(key));
    problems.extend(missing.map(|key| format!("{name}: the {key} is not found in locked pages")));
    problems.extend(scan.unread.iter().map(|unread| format!("{name}: not read: {unread}")));
}

/// Tells at once what a look found: each kind of it in each place, with how often and where first.
pub fn findings(moment: &Moment) {
    let mut kinds: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for finding in &moment.scan.findings {
        kinds.entry((&finding.what, &finding.place)).or_default().push(finding.address);
    }
    let judged = if moment.idle { "" } else { ", of which plaintexts are told, not judged: it is not at rest" };
    println!("{}: {} findings{judged}", moment.name, moment.scan.findings.len());
    for ((what, place), addresses) in kinds {
        println!("    {what}: {} times, at {:#x}, in {place}", addresses.len(), addresses[0]);
    }
}

fn machine_readable(control: &Control, seens: &Seens, problems: &[String], seconds: u64) -> String {
    let moments: Vec<serde_json::Value> = seens
        .moments
        .iter()
        .map(|moment| {
            let scan = &moment.scan;
            serde_json::json!({
                "moment": moment.name,
                "idle": moment.idle,
                "connections": moment.connections,
                "maps": scan.maps,
                "bytes": scan.bytes,
                "eio_pages": scan.secret_pages,
                "in_locked_pages": scan.count_in_locked_pages(),
                "keys": scan.count(Class::Key),
                "schedules": scan.count(Class::Schedule),
                "markers": scan.count(Class::Marker),
            })
        })
        .collect();
    let line = serde_json::json!({
        "harness": "memory_scan",
        "calls": seens.calls.iter().map(|(_, count)| count).sum::<usize>(),
        "messages": seens.messages,
        "panics": seens.panics,
        "moments": moments,
        "control": { "planted": control.planted, "missed": control.missed.len() },
        "problems": problems.len(),
        "seconds": seconds,
    });
    format!("memory_scan: {line}")
}
