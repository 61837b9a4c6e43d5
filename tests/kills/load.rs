//! Clients at work on a daemon until it is killed under them: components that seal and open, operators that change.
//!
//! Must never draw from anything but the seed, nor let a call go lost before the kill. Used by the rounds of random kills.

use crate::calls::{Asked, Change, Lost, status};
use crate::draw::Draw;
use crate::harness::{DEADLINE, Daemon, block_on, cell, hex, name, random_key};
use crate::model::{Model, Value};
use servos_keyd::client::error::Error;
use servos_keyd::client::key_service::Client;
use servos_keyd::operations::create::FIRST_KEYS;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One client, or what all of them know.
#[derive(Clone)]
struct Hand {
    number: usize,
    draw: Draw,
    model: Arc<Mutex<Model>>,
    killed: Arc<AtomicBool>,
    component_socket: PathBuf,
    admin_socket: PathBuf,
    key_file: PathBuf,
}

/// Lets clients work until the daemon is killed under them, so long after they began.
pub fn kill_under_load(daemon: Daemon, model: Model, key_file: PathBuf, draw: &mut Draw, delay: Duration) -> Model {
    let killed = Arc::new(AtomicBool::new(false));
    let model = Arc::new(Mutex::new(model));
    let mut hand = |number: usize| Hand {
        number,
        draw: Draw::of(&[draw.below(usize::MAX) as u64, number as u64]),
        model: Arc::clone(&model),
        killed: Arc::clone(&killed),
        component_socket: daemon.component_socket.clone(),
        admin_socket: daemon.admin_socket.clone(),
        key_file: key_file.clone(),
    };
    let work: [fn(Hand); 6] = [seal_and_open, seal_and_open, change_keys, change_keys, operate, watch];
    let hands: Vec<_> = (0..).zip(work).map(|(number, work)| (hand(number), work)).collect();
    let threads: Vec<_> = hands.into_iter().map(|(hand, work)| std::thread::spawn(move || work(hand))).collect();
    std::thread::sleep(delay);
    killed.store(true, Ordering::SeqCst);
    assert_eq!(daemon.kill().signal, Some(9), "it ended by itself");
    let ends: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
    assert!(ends.iter().all(Result::is_ok), "a client met what it must not");
    Arc::into_inner(model).unwrap().into_inner().unwrap()
}

impl Hand {
    fn is_over(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    /// Asks for a change; answers whether the daemon is still there.
    async fn ask(&mut self, change: Change) -> bool {
        let asked = Asked { id: self.draw.uuid(), change, answer: None };
        self.model.lock().unwrap().doubts.push(asked.clone());
        match asked.send(&self.admin_socket).await {
            Ok(answer) => self.model.lock().unwrap().settle(&asked, answer),
            Err(Lost::Refused) => {
                self.model.lock().unwrap().doubts.retain(|doubt| doubt.id != asked.id);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(Lost::Unanswered(status)) => {
                assert!(self.is_over(), "a living daemon loses {} {}: {status:?}", asked.change.row(), asked.id);
                return false;
            }
        }
        true
    }
}

/// A component.
fn seal_and_open(mut hand: Hand) {
    let client = Client::new(&hand.component_socket).with_wait_for_daemon(Duration::ZERO).with_deadline(DEADLINE);
    block_on(async {
        for number in 0.. {
            let done = if hand.draw.one_in(2) {
                seal(&mut hand, &client, number).await
            } else {
                open(&mut hand, &client).await
            };
            match done {
                Ok(()) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => {
                    assert!(hand.is_over(), "a living daemon: {error:?}");
                    return;
                }
            }
        }
    });
}

async fn seal(hand: &mut Hand, client: &Client, number: usize) -> Result<(), Error> {
    let key = {
        let model = hand.model.lock().unwrap();
        let live: Vec<_> = model.keys.iter().filter(|key| !key.deleted).collect();
        hand.draw.pick(&live).unwrap().name.clone()
    };
    let plaintext = format!("{} of {}, under {key}", number, hand.number).into_bytes();
    match client.encrypt(&name(&key), &plaintext, &cell("1")).await {
        Ok(sealed) => {
            let version_id = hex(&sealed.ciphertext[4..12]);
            let value = Value { name: key, version_id, ciphertext: sealed.ciphertext, plaintext };
            hand.model.lock().unwrap().values.push(value);
            Ok(())
        }
        // It was deleted meanwhile.
        Err(Error::UnknownKey { .. } | Error::Precondition { .. }) if !is_first(&key) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn open(hand: &mut Hand, client: &Client) -> Result<(), Error> {
    let value = hand.draw.pick(&hand.model.lock().unwrap().values).cloned();
    let Some(value) = value else { return Ok(()) };
    match client.decrypt(&name(&value.name), &value.ciphertext, &cell("1")).await {
        Ok(opened) => {
            assert_eq!(opened.plaintext.as_slice(), value.plaintext, "another plaintext");
            Ok(())
        }
        Err(Error::Rejected | Error::Precondition { .. }) if !is_first(&value.name) => Ok(()),
        Err(error) => Err(error),
    }
}

/// These are never deleted.
fn is_first(name: &str) -> bool {
    FIRST_KEYS.contains(&name)
}

/// An operator of data keys, each of keys of its own.
fn change_keys(mut hand: Hand) {
    block_on(async {
        while !hand.is_over() {
            let change = {
                let model = hand.model.lock().unwrap();
                next_of_keys(&model, hand.number, &mut hand.draw)
            };
            if !hand.ask(change).await {
                return;
            }
        }
    });
}

fn next_of_keys(model: &Model, number: usize, draw: &mut Draw) -> Change {
    let prefix = format!("k{number}-");
    let own: Vec<_> = model.keys.iter().filter(|key| key.name.starts_with(&prefix)).collect();
    let live: Vec<_> = own.iter().filter(|key| !key.deleted).map(|key| &key.name).collect();
    match draw.below(9) {
        0..3 if live.len() < 6 => {
            let gone: Vec<_> = own.iter().filter(|key| key.deleted && !live.contains(&&key.name)).collect();
            let again = draw.pick(&gone).map(|key| key.name.clone()).filter(|_| draw.one_in(4));
            // The first to go with a name leave the next number free: ids are never used again, names are.
            Change::Create(again.unwrap_or_else(|| format!("{prefix}{}", own.len())))
        }
        3..6 if !live.is_empty() => Change::Delete((*draw.pick(&live).unwrap()).clone()),
        _ if !live.is_empty() => Change::Rotate((*draw.pick(&live).unwrap()).clone()),
        // Each of these operators has its own of these too.
        _ => Change::Rotate(FIRST_KEYS[2 * (draw.below(4)) + number % 2].to_owned()),
    }
}

/// The operator of the master key and of legacy keys.
fn operate(mut hand: Hand) {
    block_on(async {
        while !hand.is_over() {
            let change = {
                let mut model = hand.model.lock().unwrap();
                next_of_master(&mut model, &mut hand.draw)
            };
            if let Change::Finish(new) = &change {
                std::fs::write(&hand.key_file, format!("{}\n", hex(new))).unwrap();
            }
            if !hand.ask(change).await {
                return;
            }
        }
    });
}

fn next_of_master(model: &mut Model, draw: &mut Draw) -> Change {
    let what = draw.below(12);
    // Now and then a start finds a rotation that is pending.
    if let Some(pending) = &mut model.pending
        && (pending.in_file || what < 8)
    {
        if pending.in_file || what < 4 {
            pending.in_file = true;
            return Change::Finish(pending.new);
        }
        return Change::Abort { new: pending.new, new_data_keys: draw.one_in(4) };
    }
    match what {
        0..4 if model.legacy.len() < 4 => Change::Adopt(random_key()),
        0..7 if !model.legacy.is_empty() => Change::Retire(draw.pick(&model.legacy).unwrap().fingerprint.clone()),
        _ => Change::Begin { new: random_key(), new_data_keys: draw.one_in(4) },
    }
}

fn hear(hand: &Hand, generation: u64) {
    let mut model = hand.model.lock().unwrap();
    assert!(generation >= model.generation, "{generation} after {}", model.generation);
    model.generation = generation;
}

/// Hears of generations.
fn watch(hand: Hand) {
    block_on(async {
        while !hand.is_over() {
            let Ok(now) = status(&hand.admin_socket).await else {
                assert!(hand.is_over(), "a living daemon does not tell its state");
                return;
            };
            let generation = now.store.unwrap().generation;
            hear(&hand, generation);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
}
