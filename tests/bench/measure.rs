//! The measurements, one after the other, each printed as soon as it is done.
//!
//! Must never measure two things at once. Called by `footprint`.

use super::installation::{Contents, Installation};
use super::load::{self, Load};
use super::process::{cpu_nanoseconds, resident_by_mapping, resident_kib};
use super::server::Server;
use super::{Outcome, Settings, backups, recovery, rotation, rotations, table, traffic};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const IDLE_KIB: f64 = 8192.0;
const RESTED_KIB: f64 = 14336.0;
const START_MS: f64 = 40.0;
const RATIO: f64 = 1.35;
/// Calls before the first round, which nothing is measured of.
const WARM_UP_CALLS: usize = 20_000;
const SETTLING: Duration = Duration::from_secs(1);

/// Measures what the settings ask for.
pub fn all(settings: &Settings) -> Outcome<()> {
    // One client at a time needs no more; `cpu` makes its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = |part: &str| settings.only.iter().any(|only| only == part);
    let wanted = |part: &str| settings.only.is_empty() || asked(part);
    println!("{}", settings.daemon.display());
    table::head();
    if wanted("start") || wanted("memory") {
        let (of_few, of_many) = (Contents::Versions(settings.versions), Contents::Keys(settings.versions));
        for (name, contents) in [("a new store", Contents::FirstKeys), ("8 keys", of_few), ("1 version a key", of_many)]
        {
            let installation = Installation::make(contents)?;
            let versions = match contents {
                Contents::FirstKeys => String::new(),
                Contents::Versions(versions) | Contents::Keys(versions) | Contents::Spread { versions, .. } => {
                    format!("{versions} versions, ")
                }
            };
            let name = format!("{versions}{name}");
            if wanted("start") {
                starts(&runtime, settings, &installation, &name)?;
            }
            if wanted("memory") {
                idle(&runtime, settings, &installation, &name)?;
            }
        }
    }
    if wanted("memory") {
        rested(settings)?;
    }
    if wanted("cpu") {
        compare(settings)?;
    }
    if asked("rotation") {
        rotation::measure(settings)?;
    }
    if asked("recovery") {
        recovery::measure(settings)?;
    }
    if asked("backup") {
        backups::measure(settings)?;
    }
    if asked("traffic") {
        traffic::measure(settings)?;
    }
    if asked("rotations") {
        rotations::measure(settings)?;
    }
    Ok(())
}

fn starts(runtime: &Runtime, settings: &Settings, installation: &Installation, name: &str) -> Outcome<()> {
    let mut times = Vec::new();
    for _ in 0..settings.starts {
        let begun = Instant::now();
        let daemon = Server::daemon(&settings.daemon, installation)?;
        let client = runtime.block_on(daemon.first_answer())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(client);
        daemon.stop()?;
    }
    table::row(&format!("start to first answer, {name}"), &times, "ms", 1, Some(START_MS));
    Ok(())
}

fn idle(runtime: &Runtime, settings: &Settings, installation: &Installation, name: &str) -> Outcome<()> {
    let daemon = Server::daemon(&settings.daemon, installation)?;
    let client = runtime.block_on(daemon.first_answer())?;
    drop(client);
    std::thread::sleep(SETTLING);
    table::row(&format!("resident, idle, {name}"), &[resident_kib(daemon.pid())? as f64], "KiB", 0, Some(IDLE_KIB));
    show_mappings(&daemon)?;
    daemon.stop()
}

fn rested(settings: &Settings) -> Outcome<()> {
    let runtime = Runtime::new()?;
    let installation = Installation::make(Contents::Versions(settings.versions))?;
    let daemon = Server::daemon(&settings.daemon, &installation)?;
    runtime.block_on(async {
        daemon.first_answer().await?;
        let clients = load::connect_all(daemon.socket()).await?;
        load::run(&clients, settings.load_calls).await?;
        let name = format!("resident after {} calls", settings.load_calls);
        table::row(&format!("{name}, at once"), &[resident_kib(daemon.pid())? as f64], "KiB", 0, None);
        tokio::time::sleep(Duration::from_secs(settings.rest_seconds)).await;
        let what = format!("{name}, {} s later", settings.rest_seconds);
        table::row(&what, &[resident_kib(daemon.pid())? as f64], "KiB", 0, Some(RESTED_KIB));
        show_mappings(&daemon)
    })?;
    daemon.stop()
}

/// With `BENCH_SHOW_MAPPINGS` set: where the memory is.
fn show_mappings(server: &Server) -> Outcome<()> {
    if std::env::var_os("BENCH_SHOW_MAPPINGS").is_some() {
        for (kib, mapping) in resident_by_mapping(server.pid())?.iter().take(8) {
            println!("    {kib:>8} KiB  {mapping}");
        }
    }
    Ok(())
}

/// One round on one server.
struct Round {
    cpu_microseconds: f64,
    load: Load,
}

fn compare(settings: &Settings) -> Outcome<()> {
    let runtime = Runtime::new()?;
    let installation = Installation::make(Contents::FirstKeys)?;
    let echo = Server::echo(installation.socket().with_extension("echo"))?;
    let daemon = Server::daemon(&settings.daemon, &installation)?;
    let (mut of_daemon, mut of_echo) = (Vec::new(), Vec::new());
    for server in [&daemon, &echo] {
        runtime.block_on(server.first_answer())?;
        runtime.block_on(round(server, WARM_UP_CALLS))?;
    }
    for _ in 0..settings.rounds {
        of_daemon.push(runtime.block_on(round(&daemon, settings.round_calls))?);
        of_echo.push(runtime.block_on(round(&echo, settings.round_calls))?);
    }
    let ratios: Vec<f64> =
        of_daemon.iter().zip(&of_echo).map(|(one, other)| one.cpu_microseconds / other.cpu_microseconds).collect();
    for (name, rounds) in [("daemon", &of_daemon), ("echo", &of_echo)] {
        let column = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
        table::row(&format!("CPU for each Encrypt, {name}"), &column(|r| r.cpu_microseconds), "us", 2, None);
        table::row(&format!("calls a second, {name}"), &column(|r| r.load.calls_per_second()), "", 0, None);
        let micros = |r: &Round, percent| r.load.percentile(percent).as_secs_f64() * 1e6;
        let latencies = |percent| rounds.iter().map(|r| micros(r, percent)).collect::<Vec<_>>();
        table::row(&format!("latency, half of the calls, {name}"), &latencies(50), "us", 0, None);
        table::row(&format!("latency, 99 % of the calls, {name}"), &latencies(99), "us", 0, None);
    }
    table::row("CPU for each Encrypt, daemon to echo", &ratios, "", 3, Some(RATIO));
    daemon.stop()
}

async fn round(server: &Server, calls: usize) -> Outcome<Round> {
    let clients = load::connect_all(server.socket()).await?;
    let before = cpu_nanoseconds(server.pid())?;
    let load = load::run(&clients, calls).await?;
    let spent = cpu_nanoseconds(server.pid())? - before;
    Ok(Round { cpu_microseconds: spent as f64 / 1e3 / calls as f64, load })
}
