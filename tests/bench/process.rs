//! What the kernel says of a process: the memory it has, and the processor time it took.
//!
//! Must never ask the process itself. Called by the measurements.

use std::fs;
use std::io::{Error, Result};

/// Resident memory in KiB. Source: proc_pid_status(5), `VmRSS`.
pub fn resident_kib(pid: u32) -> Result<u64> {
    of_status(pid, "VmRSS:")
}

/// Locked memory in KiB. Source: proc_pid_status(5), `VmLck`.
pub fn locked_kib(pid: u32) -> Result<u64> {
    of_status(pid, "VmLck:")
}

fn of_status(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| Error::other(format!("no {field}")))
}

/// How the resident memory is made up: what each mapping has, most first.
pub fn resident_by_mapping(pid: u32) -> Result<Vec<(u64, String)>> {
    let mut found: Vec<(u64, String)> = Vec::new();
    let mut mapping = String::new();
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") => {
                let kib = words.next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
                match found.iter_mut().find(|(_, name)| *name == mapping) {
                    Some((sum, _)) => *sum += kib,
                    None => found.push((kib, mapping.clone())),
                }
            }
            Some(word) if !word.ends_with(':') => {
                mapping = words.nth(4).unwrap_or("anonymous").to_owned();
            }
            _ => {}
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// Processor time of all living threads, in nanoseconds.
///
/// Source: the kernel's sched-stats, `/proc/PID/task/TID/schedstat`, first field. Finer than the ticks of `stat`.
/// The threads of the servers measured here live as long as they do.
pub fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let ran = text.split_whitespace().next().and_then(|ran| ran.parse::<u64>().ok());
        sum += ran.ok_or_else(|| Error::other("no schedstat"))?;
    }
    Ok(sum)
}

/// Processor time of all threads, those that have ended too, in milliseconds; in steps of a tick, which is 10.
///
/// Source: proc(5), `/proc/PID/stat`, utime and stime.
pub fn cpu_milliseconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<u64> = behind_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    if ticks.len() == 2 { Ok(ticks.iter().sum::<u64>() as f64 * 10.0) } else { Err(Error::other("no times")) }
}
