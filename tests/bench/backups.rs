//! What a backup of a large store takes, and what Encrypt meets while backups are made one after the other.
//!
//! Must never compare rounds that did not follow each other, nor count a backup that did not arrive whole.
//! Called by `measure`.

use super::admin::Admin;
use super::installation::{Contents, Installation};
use super::load::{self, Client, connect_all};
use super::process::{cpu_milliseconds, resident_kib};
use super::server::Server;
use super::{Outcome, Settings, table};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const BACKUP_MS: f64 = 500.0;
/// Encrypt beside backups to Encrypt alone, each the median of its round.
const RATIO: f64 = 1.10;
const ROUND: Duration = Duration::from_secs(3);
/// Of a modest rate: when a connection's next call begins. 8 connections make 2,000 calls a second.
const PERIOD: Duration = Duration::from_millis(4);

/// How a backup is asked for.
#[derive(Clone, Copy)]
enum Kind {
    File,
    Contents,
}

/// Measures backups alone, and then beside Encrypt.
pub fn measure(settings: &Settings) -> Outcome<()> {
    let (keys, versions) = (settings.keys, settings.rotated_versions);
    println!("a store of {versions} versions of {keys} keys");
    let installation = Installation::make(Contents::Spread { keys, versions })?;
    let runtime = Runtime::new()?;
    let daemon = Server::daemon(&settings.daemon, &installation)?;
    drop(runtime.block_on(daemon.first_answer())?);
    let (before, admin) = (resident_kib(daemon.pid())?, Admin::new(installation.admin_socket()));
    let (mut file, mut again, mut contents, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.repeats {
        let spent = cpu_milliseconds(daemon.pid())?;
        file.push(runtime.block_on(one(&admin, Kind::File, &installation.backups()))?);
        cpu.push(cpu_milliseconds(daemon.pid())? - spent);
        let begun = Instant::now();
        runtime.block_on(admin.back_up(false))?;
        again.push(begun.elapsed().as_secs_f64() * 1e3);
        contents.push(runtime.block_on(one(&admin, Kind::Contents, &installation.backups()))?);
    }
    table::row("backup, a file in the directory", &file, "ms", 0, Some(BACKUP_MS));
    // On a machine that does other work too, this is what can be compared.
    table::row("  of it the daemon's processor time", &cpu, "ms", 0, None);
    table::row("backup, the same file again", &again, "ms", 0, Some(BACKUP_MS));
    table::row("backup, with contents", &contents, "ms", 0, Some(BACKUP_MS));
    table::row("resident before", &[before as f64], "KiB", 0, None);
    table::row("resident after", &[resident_kib(daemon.pid())? as f64], "KiB", 0, None);
    for modest in [true, false] {
        for kind in [Kind::File, Kind::Contents] {
            beside(&runtime, settings, &installation, &daemon, kind, modest)?;
        }
    }
    daemon.stop()
}

/// Milliseconds of one backup. A file is written anew: one of the same generation is taken away before.
async fn one(admin: &Admin, kind: Kind, directory: &PathBuf) -> Outcome<f64> {
    if matches!(kind, Kind::File) {
        for entry in std::fs::read_dir(directory)? {
            std::fs::remove_file(entry?.path())?;
        }
    }
    let begun = Instant::now();
    admin.back_up(matches!(kind, Kind::Contents)).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Rounds of Encrypt, alone and beside backups, in turns.
fn beside(
    runtime: &Runtime,
    settings: &Settings,
    installation: &Installation,
    daemon: &Server,
    kind: Kind,
    modest: bool,
) -> Outcome<()> {
    let of = match kind {
        Kind::File => "files",
        Kind::Contents => "contents",
    };
    let rate = if modest { "2,000 calls a second" } else { "flat out" };
    let (mut alone, mut with, mut made) = (Vec::new(), Vec::new(), 0);
    let clients = runtime.block_on(connect_all(daemon.socket()))?;
    for _ in 0..settings.rounds {
        alone.push(runtime.block_on(round(&clients, modest))?);
        let over = Arc::new(AtomicBool::new(false));
        let backups = in_a_row(installation, kind, Arc::clone(&over));
        let met = runtime.block_on(round(&clients, modest));
        over.store(true, Ordering::Relaxed);
        made += backups.join().map_err(|_| "the backups broke off")??;
        with.push(met?);
    }
    let column = |rounds: &[Met], value: fn(&Met) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let ratios = |value: fn(&Met) -> f64| -> Vec<f64> {
        with.iter().zip(&alone).map(|(with, alone)| value(with) / value(alone)).collect()
    };
    println!("{rate}, {made} backups ({of}) meanwhile");
    table::row("  half of the calls, alone", &column(&alone, |met| met.half), "us", 0, None);
    table::row("  half of the calls, beside backups", &column(&with, |met| met.half), "us", 0, None);
    table::row("  99 % of the calls, alone", &column(&alone, |met| met.most), "us", 0, None);
    table::row("  99 % of the calls, beside backups", &column(&with, |met| met.most), "us", 0, None);
    table::row("  latency, beside to alone", &ratios(|met| met.half), "", 3, Some(RATIO));
    if !modest {
        table::row("  calls a second, alone", &column(&alone, |met| met.rate), "", 0, None);
        table::row("  calls a second, beside backups", &column(&with, |met| met.rate), "", 0, None);
        table::row("  time for each call, beside to alone", &ratios(|met| 1.0 / met.rate), "", 3, Some(RATIO));
    }
    Ok(())
}

/// Makes backups one after the other, on a thread of its own; answers how many.
fn in_a_row(installation: &Installation, kind: Kind, over: Arc<AtomicBool>) -> std::thread::JoinHandle<Outcome<usize>> {
    let (admin, directory) = (Admin::new(installation.admin_socket()), installation.backups());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut made = 0;
        while !over.load(Ordering::Relaxed) {
            runtime.block_on(one(&admin, kind, &directory))?;
            made += 1;
        }
        Ok(made)
    })
}

/// What the calls of a round met: microseconds of half and of 99 % of them, and calls a second.
struct Met {
    half: f64,
    most: f64,
    rate: f64,
}

async fn round(clients: &[Client], modest: bool) -> Outcome<Met> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for client in clients {
        if modest {
            callers.spawn(paced(client.clone(), begun));
        } else {
            for _ in 0..load::IN_FLIGHT / load::CONNECTIONS {
                callers.spawn(flat_out(client.clone(), begun));
            }
        }
    }
    let mut latencies = Vec::new();
    while let Some(of_one) = callers.join_next().await {
        latencies.append(&mut of_one??);
    }
    let took = begun.elapsed();
    latencies.sort_unstable();
    let rate = latencies.len() as f64 / took.as_secs_f64();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    Ok(Met { half: at(50).as_secs_f64() * 1e6, most: at(99).as_secs_f64() * 1e6, rate })
}

async fn flat_out(mut client: Client, begun: Instant) -> Result<Vec<Duration>, tonic::Status> {
    let mut latencies = Vec::new();
    while begun.elapsed() < ROUND {
        let called = Instant::now();
        client.encrypt(load::message()).await?;
        latencies.push(called.elapsed());
    }
    Ok(latencies)
}

/// Begins a call in every period, whatever became of those before.
async fn paced(client: Client, begun: Instant) -> Result<Vec<Duration>, tonic::Status> {
    let mut ticks = tokio::time::interval(PERIOD);
    let mut calls = JoinSet::new();
    while begun.elapsed() < ROUND {
        ticks.tick().await;
        let mut client = client.clone();
        calls.spawn(async move {
            let called = Instant::now();
            client.encrypt(load::message()).await.map(|_| called.elapsed())
        });
    }
    let mut latencies = Vec::new();
    while let Some(call) = calls.join_next().await {
        latencies.push(call.map_err(|_| tonic::Status::internal("a call broke off"))??);
    }
    Ok(latencies)
}
