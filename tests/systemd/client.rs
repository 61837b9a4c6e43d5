//! Components at work while the daemon is restarted, and how long each of their calls took.
//!
//! Must never repeat a call that the library has given up, nor pass an answer that it did not compare.
//! Run by `tests/systemd/run`, within the machine that it boots:
//!
//! - `restart-client SOCKET load CONNECTIONS` seals and opens on so many connections, one call after the other on each, until
//!   its standard input closes. For each line that it reads there it says `at work` once every connection has had ten more answers.
//!   It ends with one line of JSON: calls that were answered (`calls`), those that failed for good
//!   (`failed`, with the first one's words), answers that are not what was sealed (`wrong`), and the longest and the 99th
//!   percentile of the calls' times, in milliseconds.
//! - `restart-client SOCKET once` makes one call and prints how long it took from connecting to the answer, in milliseconds.
#![allow(clippy::print_stdout, reason = "it prints its result")]

use servos_keyd::client::context::Context;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::key_service::Client;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What one connection met.
#[derive(Default)]
struct Met {
    times: Vec<Duration>,
    failed: u64,
    first_failure: Option<String>,
    wrong: u64,
}

impl Met {
    fn note<T>(&mut self, begun: Instant, answer: Result<T, Error>) -> Option<T> {
        self.times.push(begun.elapsed());
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| format!("{error} ({error:?})"));
                None
            }
        }
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [socket, "load", connections] => load(Path::new(socket), connections.parse()?).await,
        [socket, "once"] => once(Path::new(socket)).await,
        _ => Err("restart-client SOCKET load CONNECTIONS | once".into()),
    }
}

async fn once(socket: &Path) -> Outcome<()> {
    let begun = Instant::now();
    let client = Client::new(socket);
    client.encrypt(&KeyName::new("default")?, b"first", &Context::danger_none()).await?;
    println!("{:.1}", milliseconds(begun.elapsed()));
    Ok(())
}

async fn load(socket: &Path, connections: usize) -> Outcome<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut lanes = Vec::new();
    let mut answered = Vec::new();
    for _ in 0..connections {
        let count = Arc::new(AtomicU64::new(0));
        answered.push(Arc::clone(&count));
        lanes.push(tokio::spawn(work(Client::new(socket), Arc::clone(&stop), count)));
    }
    tokio::task::spawn_blocking(move || asked(&answered)).await??;
    stop.store(true, Ordering::Relaxed);
    let mut all = Met::default();
    for lane in lanes {
        let met = lane.await??;
        all.times.extend(met.times);
        all.failed += met.failed;
        all.wrong += met.wrong;
        all.first_failure = all.first_failure.or(met.first_failure);
    }
    all.times.sort_unstable();
    let at = |share: usize| all.times.get(all.times.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    println!(
        "{}",
        serde_json::json!({
            "calls": all.times.len(),
            "failed": all.failed,
            "first_failure": all.first_failure,
            "wrong": all.wrong,
            "p99_ms": milliseconds(at(99)),
            "longest_ms": milliseconds(at(100)),
        })
    );
    Ok(())
}

/// Says, for each line of standard input, when every connection has had ten more answers; returns when it is closed.
fn asked(answered: &[Arc<AtomicU64>]) -> std::io::Result<()> {
    for line in std::io::stdin().lock().lines() {
        line?;
        for count in answered {
            let enough = count.load(Ordering::Relaxed) + 10;
            while count.load(Ordering::Relaxed) < enough {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        println!("at work");
    }
    Ok(())
}

/// One connection's calls: each value is opened again, and compared.
async fn work(client: Client, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Outcome<Met> {
    let (key, context) = (KeyName::new("default")?, Context::new("table", "restart"));
    let mut met = Met::default();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let plaintext = number.to_be_bytes();
        let begun = Instant::now();
        let sealed = client.encrypt(&key, &plaintext, &context).await;
        let Some(sealed) = met.note(begun, sealed) else { continue };
        answered.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let opened = client.decrypt(&key, &sealed.ciphertext, &context).await;
        if let Some(opened) = met.note(begun, opened)
            && *opened.plaintext != plaintext
        {
            met.wrong += 1;
        }
        // A component has other things to do, too.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(met)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
