//! Calls of components that are not answered: refused, cut off, or not even read. All of them carry a plaintext or a message.
//!
//! Must never count a call that was answered otherwise than it must be. Called by `moments`.

use crate::keys::Outcome;
use crate::load::{CONNECTIONS, Load, context, filled};
use crate::wire::{call, connect_as};
use servos_keyd::client::context::Context;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::key_service::Client;
use servos_keyd::proto::v1;
use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tonic::Code;

const MIB: usize = 1 << 20;
/// More than one user may have open: half of `limits.connections`.
const TOO_MANY_CONNECTIONS: usize = 200;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PATIENCE: Duration = Duration::from_secs(10);
const ENCRYPT: &str = "/servos.keyd.v1.KeyService/Encrypt";
/// What the kernel says of a user that is not mapped.
const UNMAPPED: u32 = 65_534;

/// A kind of call that is not answered.
#[derive(Clone, Copy, Debug)]
pub enum RefusedCall {
    Damaged,
    UnknownKey,
    WrongContext,
    TooLarge,
    Malformed,
    NoMessage,
    Cancelled,
    Late,
    Unauthenticated,
    OverLimit,
}

impl RefusedCall {
    /// Each kind, with the name of the moment after it.
    pub const ALL: [(Self, &str); 10] = [
        (Self::Damaged, "after refused ciphertexts"),
        (Self::UnknownKey, "after unknown keys and versions"),
        (Self::WrongContext, "after wrong contexts"),
        (Self::TooLarge, "after plaintexts too large"),
        (Self::Malformed, "after malformed requests"),
        (Self::NoMessage, "after values that are no messages, or sealed already"),
        (Self::Cancelled, "after calls cancelled midway"),
        (Self::Late, "after calls whose deadline passed"),
        (Self::Unauthenticated, "after calls of a user that is not mapped"),
        (Self::OverLimit, "after connections over the limit"),
    ];
}

/// What the refused calls carry.
struct Sent {
    key: KeyName,
    plaintext: Vec<u8>,
    sealed: Vec<u8>,
    much: Vec<u8>,
    much_sealed: Vec<u8>,
}

/// Encrypt's request, with a number where the context belongs.
#[derive(Clone, PartialEq, prost::Message)]
struct Wrong {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    plaintext: Vec<u8>,
    #[prost(uint64, tag = "3")]
    context: u64,
}

/// Has one kind of call refused, many times over every connection.
pub async fn refuse(load: &Load, kind: RefusedCall, times: usize) -> Outcome<()> {
    let (plaintext, much) = (filled(&load.markers.refused, 2_000), filled(&load.markers.refused, MIB));
    let key = KeyName::new("default")?;
    let sealed = load.clients[0].encrypt(&key, &plaintext, &context()).await?.ciphertext;
    let much_sealed = load.clients[0].encrypt(&key, &much, &context()).await?.ciphertext;
    load.note(&sealed);
    load.note(&much_sealed);
    let sent = Sent { key, plaintext, sealed, much, much_sealed };
    // One round of these is more connections than all others make.
    let times = if matches!(kind, RefusedCall::OverLimit) { 1 } else { times };
    let mut cut_off = 0;
    for turn in 0..times {
        for client in &load.clients {
            cut_off +=
                refuse_once(load, client, kind, turn, &sent).await.map_err(|error| format!("{kind:?}: {error}"))?;
        }
    }
    println!("{kind:?}: {cut_off} calls were not answered, each as it must be");
    if cut_off < CONNECTIONS {
        Err(format!("{kind:?}: {cut_off} calls alone were refused or cut off").into())
    } else {
        Ok(())
    }
}

/// Gives how many calls were not answered.
async fn refuse_once(load: &Load, client: &Client, kind: RefusedCall, turn: usize, sent: &Sent) -> Outcome<usize> {
    match kind {
        RefusedCall::Damaged => damaged(client, turn, sent).await,
        RefusedCall::UnknownKey => unknown_key(client, sent).await,
        RefusedCall::WrongContext => {
            let told = client.decrypt(&sent.key, &sent.sealed, &Context::new("table", "users")).await.map(drop);
            expected(matches!(told, Err(Error::Rejected)), &told)
        }
        RefusedCall::TooLarge => {
            let length = if turn.is_multiple_of(4) { 5 * MIB } else { MIB + 1 };
            let told = client.encrypt(&sent.key, &filled(&load.markers.refused, length), &context()).await.map(drop);
            expected(matches!(told, Err(Error::Invalid { .. } | Error::TooLarge { .. })), &told)
        }
        RefusedCall::Malformed => malformed(load, client, sent).await,
        RefusedCall::NoMessage => no_message(load, client, sent).await,
        RefusedCall::Cancelled => Ok(cancelled(client, turn, sent).await),
        RefusedCall::Late => late(load, turn, sent).await,
        RefusedCall::Unauthenticated => unauthenticated(load, sent).await,
        RefusedCall::OverLimit => over_limit(load, sent),
    }
}

/// One call was refused, as it must be.
fn expected(refused: bool, told: &dyn Debug) -> Outcome<usize> {
    if refused { Ok(1) } else { Err(format!("it was answered otherwise: {told:?}").into()) }
}

async fn damaged(client: &Client, turn: usize, sent: &Sent) -> Outcome<usize> {
    let mut damaged = sent.sealed.clone();
    // The commitment, the body and the tag in turn.
    let at = [50, 100, damaged.len() - 1][turn % 3];
    damaged[at] ^= 1;
    let told = client.decrypt(&sent.key, &damaged, &context()).await.map(drop);
    expected(matches!(told, Err(Error::Rejected)), &told)?;
    let told = client.reencrypt(&sent.key, &damaged, &context()).await.map(drop);
    Ok(1 + expected(matches!(told, Err(Error::Rejected)), &told)?)
}

async fn unknown_key(client: &Client, sent: &Sent) -> Outcome<usize> {
    let name = KeyName::new("no-such-key")?;
    let told = client.encrypt(&name, &sent.plaintext, &context()).await.map(drop);
    expected(matches!(told, Err(Error::UnknownKey { .. })), &told)?;
    // Which of a value's faults it is, only the log says.
    let told = client.decrypt(&name, &sent.sealed, &context()).await.map(drop);
    expected(matches!(told, Err(Error::Rejected)), &told)?;
    let mut foreign = sent.sealed.clone();
    foreign[4..12].copy_from_slice(&[7; 8]);
    let told = client.decrypt(&sent.key, &foreign, &context()).await.map(drop);
    Ok(2 + expected(told.is_err(), &told)?)
}

async fn malformed(load: &Load, client: &Client, sent: &Sent) -> Outcome<usize> {
    let wrong = Wrong { key: "default".to_owned(), plaintext: sent.plaintext.clone(), context: 7 };
    let told = call::<_, v1::EncryptResponse>(UnixStream::connect(&load.socket)?, ENCRYPT, wrong).await.map(drop);
    expected(told.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument), &told)?;
    let told = client.verify_canary(&sent.plaintext[..64]).await.map(drop);
    expected(told.is_err(), &told)?;
    let mut socket = UnixStream::connect(&load.socket)?;
    // The daemon may end the connection before all of it is written.
    let _ = socket.write_all(&[PREFACE, &sent.plaintext].concat());
    Ok(3)
}

/// What could be a secret itself, in the place of a message; and a message in the place of a secret.
async fn no_message(load: &Load, client: &Client, sent: &Sent) -> Outcome<usize> {
    use base64ct::{Base64, Encoding as _};
    let told = client.encrypt(&sent.key, &[&sent.sealed[..], &sent.plaintext].concat(), &context()).await.map(drop);
    expected(matches!(told, Err(Error::Invalid { .. })), &told)?;
    let newer = [b"SKD2", &sent.plaintext[..]].concat();
    let stream = [b"SKS1", &sent.plaintext[..]].concat();
    let text = Base64::encode_string(&sent.sealed).into_bytes();
    let mut refused = 1;
    for value in [&newer, &stream, &text, &sent.plaintext, &load.legacy] {
        let told = client.decrypt(&sent.key, value, &context()).await.map(drop);
        refused += expected(matches!(told, Err(Error::Invalid { .. } | Error::Precondition { .. })), &told)?;
    }
    // Allowed, and under no key that is held.
    let told = client.danger_decrypt_legacy(&sent.key, &sent.plaintext, &context()).await.map(drop);
    Ok(refused + expected(matches!(told, Err(Error::Rejected)), &told)?)
}

/// Calls that the caller drops at some moment of them.
async fn cancelled(client: &Client, turn: usize, sent: &Sent) -> usize {
    let patience = Duration::from_micros(150 * (1 + turn as u64));
    let sealing = tokio::time::timeout(patience, client.encrypt(&sent.key, &sent.much, &context())).await;
    let opening = tokio::time::timeout(patience, client.decrypt(&sent.key, &sent.much_sealed, &context())).await;
    let moving = tokio::time::timeout(patience, client.reencrypt(&sent.key, &sent.much_sealed, &context())).await;
    usize::from(sealing.is_err()) + usize::from(opening.is_err()) + usize::from(moving.is_err())
}

/// Calls whose deadline the daemon is told of, and which are too much for it.
async fn late(load: &Load, turn: usize, sent: &Sent) -> Outcome<usize> {
    let client = Client::new(&load.socket).with_deadline(Duration::from_micros(250 * (1 + turn as u64)));
    let sealing = client.encrypt(&sent.key, &sent.much, &context()).await.map(drop);
    let opening = client.decrypt(&sent.key, &sent.much_sealed, &context()).await.map(drop);
    let mut late = 0;
    for told in [sealing, opening].into_iter().filter(Result::is_err) {
        late += expected(matches!(told, Err(Error::DeadlineExceeded { .. } | Error::Unavailable { .. })), &told)?;
    }
    Ok(late)
}

async fn unauthenticated(load: &Load, sent: &Sent) -> Outcome<usize> {
    let stream = connect_as(UNMAPPED, &load.socket)?;
    let (key, plaintext) = (sent.key.to_string(), sent.plaintext.clone());
    let request = v1::EncryptRequest { key, plaintext, ..v1::EncryptRequest::default() };
    let told = call::<_, v1::EncryptResponse>(stream, ENCRYPT, request).await.map(drop);
    expected(told.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated), &told)
}

/// So many connections that some are closed at once, without an answer. Each sends a plaintext, in a frame that HTTP/2 ignores.
fn over_limit(load: &Load, sent: &Sent) -> Outcome<usize> {
    let length = u32::try_from(sent.plaintext.len())?.to_be_bytes();
    let frame = [&length[1..], &[0xfe, 0, 0, 0, 0, 0], &sent.plaintext].concat();
    let said = [PREFACE, EMPTY_SETTINGS, &frame].concat();
    let mut streams = Vec::new();
    for _ in 0..TOO_MANY_CONNECTIONS {
        let mut stream = UnixStream::connect(&load.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // It may be closed already.
        let _ = stream.write_all(&said);
        streams.push(stream);
    }
    let is_answered = |stream: &mut UnixStream| stream.read(&mut [0; 9]).is_ok_and(|length| length > 0);
    Ok(streams.iter_mut().map(is_answered).filter(|answered| !answered).count())
}
