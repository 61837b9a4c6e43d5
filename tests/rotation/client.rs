//! A component in Rust, for as long as it is let: it keeps a table of sealed rows, opens them, and moves them where due.
//!
//! Must never pass an answer that it did not compare, nor mend what the library does not.
//! Run by `tests/rotation/run`, like `client.py` and `client.js` beside it, which do the same in their languages:
//!
//! - `rotation-client SOCKET FILE SEED` works without pause until its standard input closes. Every value that was ever
//!   sealed is a line of FILE: key, id of the row, SHA-256 of the plaintext, ciphertext in base64.
//! - `rotation-client SOCKET FILE` opens every value in FILE.
//!
//! Both end with one line of JSON: calls that gave an answer (`sealed`, `opened`); answers that are not what was sealed,
//! and refusals (`wrong`); calls without an answer within 30 s (`lost`); how often a call was repeated that the library had
//! given up (`retried`); and the longest call.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints its result")]

use ring::digest::{SHA256, digest};
use servos_keyd::client::context::Context;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::key_service::Client;
use servos_keyd::client::value::{Sealed, from_base64};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROWS: u64 = 200;
const OPENED_FOR_EACH_SEALED: u64 = 9;
const PATIENCE: Duration = Duration::from_secs(30);
const LANES: usize = 16;

/// One value, and what must come out of it.
struct Row {
    key: KeyName,
    id: String,
    digest: String,
    ciphertext: Vec<u8>,
}

impl Row {
    fn context(&self) -> Context {
        Context::new("table", "rotation").with("id", &self.id)
    }

    fn parse(line: &str) -> Outcome<Self> {
        let [key, id, digest, text] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("not a line of a list: {line}").into());
        };
        Ok(Self { key: KeyName::new(key)?, id: id.into(), digest: digest.into(), ciphertext: from_base64(text)? })
    }
}

/// SplitMix64: the same seed makes the same calls.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn key(&mut self) -> &'static str {
        match self.below(3) {
            0 => "default",
            1 => "ssh-keys",
            _ => "env-vars",
        }
    }

    /// Mostly the size of a password; now and then nothing, or 32 KiB.
    fn plaintext(&mut self) -> Vec<u8> {
        let length = match self.below(200) {
            0 => 0,
            1 => 32 << 10,
            _ => self.below(400),
        };
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// What came of the calls.
#[derive(Default)]
struct Count {
    sealed: u64,
    opened: u64,
    wrong: u64,
    lost: u64,
    retried: u64,
    slowest: Duration,
}

impl Count {
    /// The answer of a call, however often it takes; none if it is lost or refused.
    async fn call<T, F>(&mut self, attempt: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let began = Instant::now();
        let answer = loop {
            match attempt().await {
                Ok(answer) => break Some(answer),
                Err(error) if error.is_transient() && began.elapsed() < PATIENCE => {
                    eprintln!("repeated after {:?}: {error}", error.code());
                    self.retried += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    eprintln!("{:?}: {error}", error.code());
                    *if error.is_transient() { &mut self.lost } else { &mut self.wrong } += 1;
                    break None;
                }
            }
        };
        self.slowest = self.slowest.max(began.elapsed());
        answer
    }

    /// Opens a row; tells whether it should be moved.
    async fn open(&mut self, keyd: &Client, row: &Row) -> bool {
        let context = row.context();
        let Some(opened) = self.call(|| keyd.decrypt(&row.key, &row.ciphertext, &context)).await else { return false };
        if hex_digest(&opened.plaintext) == row.digest {
            self.opened += 1;
        } else {
            eprintln!("row {} opens as something else", row.id);
            self.wrong += 1;
        }
        !opened.primary
    }

    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.retried += other.retried;
        self.slowest = self.slowest.max(other.slowest);
    }

    fn tell(&self) {
        let Self { sealed, opened, wrong, lost, retried, slowest } = self;
        let calls = format!(r#""sealed": {sealed}, "opened": {opened}, "wrong": {wrong}, "lost": {lost}"#);
        println!(r#"{{{calls}, "retried": {retried}, "slowest_ms": {}}}"#, slowest.as_millis());
    }
}

fn hex_digest(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keep(list: &mut File, row: &Row, sealed: &Sealed) -> Outcome<()> {
    let Row { key, id, digest, .. } = row;
    Ok(list.write_all(format!("{key}\t{id}\t{digest}\t{}\n", sealed.to_base64()).as_bytes())?)
}

async fn work(keyd: &Client, list: &Path, seed: u64) -> Outcome<Count> {
    let is_over = until_input_closes();
    let (mut random, mut count, mut list) = (Random(seed), Count::default(), File::create(list)?);
    let (mut rows, mut number): (Vec<Row>, u64) = (Vec::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        if random.below(OPENED_FOR_EACH_SEALED + 1) == 0 || rows.is_empty() {
            let plaintext = random.plaintext();
            let key = KeyName::new(random.key())?;
            let id = format!("{seed}-{number}");
            let mut row = Row { key, id, digest: hex_digest(&plaintext), ciphertext: Vec::new() };
            let context = row.context();
            let Some(sealed) = count.call(|| keyd.encrypt(&row.key, &plaintext, &context)).await else { continue };
            count.sealed += 1;
            keep(&mut list, &row, &sealed)?;
            row.ciphertext = sealed.ciphertext;
            match rows.get_mut(usize::try_from(random.below(ROWS))?) {
                Some(former) => *former = row,
                None => rows.push(row),
            }
            continue;
        }
        let among = u64::try_from(rows.len())?;
        let Some(row) = rows.get_mut(usize::try_from(random.below(among))?) else { continue };
        if !count.open(keyd, row).await {
            continue;
        }
        let context = row.context();
        let Some(moved) = count.call(|| keyd.reencrypt(&row.key, &row.ciphertext, &context)).await else { continue };
        count.sealed += 1;
        keep(&mut list, row, &moved.sealed)?;
        row.ciphertext = moved.sealed.ciphertext;
    }
    Ok(count)
}

async fn check(keyd: &Client, list: &Path) -> Outcome<Count> {
    let rows = std::fs::read_to_string(list)?.lines().map(Row::parse).collect::<Outcome<Vec<Row>>>()?;
    let rows = Arc::new(rows);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let (keyd, rows) = (keyd.clone(), rows.clone());
        lanes.spawn(async move {
            let mut count = Count::default();
            for row in rows.iter().skip(lane).step_by(LANES) {
                count.open(&keyd, row).await;
            }
            count
        });
    }
    let mut all = Count::default();
    lanes.join_all().await.iter().for_each(|count| all.add(count));
    Ok(all)
}

fn until_input_closes() -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    let end = is_over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    is_over
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let count = runtime.block_on(async {
        match &arguments[..] {
            [socket, list, seed] => work(&Client::new(socket), list.as_ref(), seed.parse()?).await,
            [socket, list] => check(&Client::new(socket), list.as_ref()).await,
            _ => Err("rotation-client SOCKET FILE [SEED]".into()),
        }
    })?;
    count.tell();
    Ok(())
}
