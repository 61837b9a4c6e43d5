//! `servos-keyctl rotate begin`: both keys open the store from here on.
//!
//! Must never begin with a key that is not durable in a file, print one, or take one as an argument.
//! Called by `rotate`.

use super::console::Console;
use super::key_input;
use super::old_text;
use super::output::fields;
use super::rotate_begin_show::{question, show};
use super::rotate_key_file::{KeyPlace, check_key_file, warn};
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::client::rotation::BeginRotation;
use crate::config::key_source_error::{KeySourceError, shell_quoted};
use crate::proto::v1::{GetStatusResponse, Rotation, RotationState};
use crate::sys::locked::{LockedBuffer, LockedMemory};
use clap::Args;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct BeginArguments {
    /// First make a new key, in the file beside the key file that has .next behind its name; one that is there is never
    /// replaced
    #[arg(long)]
    generate: bool,

    /// Make it as 44 characters of base64; else it is as the key in use is, or 64 hex digits
    #[arg(long, requires = "generate")]
    base64: bool,

    /// The key file in use, where the daemon does not tell it: the file that LoadCredential= or EnvironmentFile= names, or
    /// the key file as this machine sees it. The new key lies in FILE.next
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// The new key must be this one: 16 hex digits, as `servos-keyctl generate-key` and `check-key` show them. Needed only
    /// where this tool cannot read the file that the daemon reads
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "generate")]
    fingerprint: Option<String>,

    /// Give the data keys no new versions at the end. Someone with the old key and a copy of the store then goes on opening
    /// what they seal
    #[arg(long)]
    keep_data_keys: bool,

    /// Check everything and say what would be done; change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The new key, as far as the daemon is told of it.
struct NewKey {
    fingerprint: String,
    /// None where the daemon reads it itself.
    text: Option<LockedBuffer>,
}

/// Begins a rotation.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &BeginArguments,
) -> Result<(), Failure> {
    let asked = (&socket.admin(), &socket.operator());
    let admin = asked.0;
    check_key_file(arguments.key_file.as_deref())?;
    let named = arguments.fingerprint.as_deref().map(key_input::fingerprint_of_new_key).transpose()?;
    console.check_confirmable(arguments.yes || arguments.dry_run)?;
    let status = admin.status().await?;
    let place = find_place(&status, arguments)?;
    let memory = key::memory()?;
    if !arguments.generate {
        let new = new_key(console, &place, named, &memory)?;
        return begin_with(console, asked, &status, arguments, (&place, &new)).await;
    }
    if let Some(rotation) = &status.rotation {
        return Err(busy(rotation));
    }
    if arguments.dry_run {
        return rehearse_generation(console, &status, &place, arguments, &memory);
    }
    generate(&status, &place, arguments, &memory)?;
    // Read back: what is begun with is what is in the file.
    let begun = match new_key(console, &place, None, &memory) {
        Ok(new) => {
            console.hint(&format!("Made {}: the new key {}.", place.next.display(), new.fingerprint));
            begin_with(console, asked, &status, arguments, (&place, &new)).await
        }
        Err(failure) => Err(failure),
    };
    begun.map_err(|failure| with_key_kept(failure, &place, arguments))
}

fn find_place(status: &GetStatusResponse, arguments: &BeginArguments) -> Result<KeyPlace, Failure> {
    KeyPlace::find(status, arguments.key_file.as_deref())?.ok_or_else(|| {
        let source = status.master_key.as_ref().map(|master| master.source.as_str()).unwrap_or_default();
        let text = format!("the daemon is given its master key ({source}) and opens no key file beside which a new one lies");
        Failure::say(exit::USAGE, text).with_hint(
            "name the file that the key comes from, as LoadCredential= or EnvironmentFile= does, with --key-file FILE; the \
             new key lies in FILE.next, and is sent to the daemon",
        )
    })
}

fn new_key(
    console: &mut Console,
    place: &KeyPlace,
    named: Option<String>,
    memory: &LockedMemory,
) -> Result<NewKey, Failure> {
    let next = place.next.display();
    let found = match (place.read_next(memory), named.clone()) {
        (Ok(found), _) => found?,
        // Where the daemon reads it, this process need not.
        (Err(KeySourceError::Missing { .. } | KeySourceError::Denied { .. }), Some(fingerprint))
            if place.read_by_daemon =>
        {
            return Ok(NewKey { fingerprint, text: None });
        }
        (Err(error @ KeySourceError::Missing { .. }), _) => {
            return Err(Failure::say(exit::of_key_source(&error), format!("there is no new key in {next}")).with_hint(
                "`servos-keyctl rotate begin --generate` makes one there. If the daemon sees files that this machine does \
                 not, name the key file as it is seen here with --key-file, or the new key with --fingerprint",
            ));
        }
        (Err(error @ KeySourceError::Denied { .. }), _) => {
            return Err(
                Failure::from(error).with_hint("or name the new key with --fingerprint: the daemon reads it itself")
            );
        }
        (Err(error), _) => return Err(error.into()),
    };
    warn(console, &found);
    let fingerprint = found.fingerprint();
    if let Some(named) = named.filter(|named| *named != fingerprint) {
        let text = format!("{next} holds the key {fingerprint}, not {named}");
        return Err(Failure::say(exit::DATA, text).with_hint("nothing was begun; put the right key there first"));
    }
    // Whoever put it there may not have waited for the disk.
    place.settle_next()?;
    Ok(NewKey { fingerprint, text: (!place.read_by_daemon).then_some(found.text) })
}

async fn begin_with(
    console: &mut Console,
    (admin, client): (&AdminClient, &Client),
    status: &GetStatusResponse,
    arguments: &BeginArguments,
    (place, new): (&KeyPlace, &NewKey),
) -> Result<(), Failure> {
    let is_same =
        |rotation: &Rotation| rotation.new_fingerprint == new.fingerprint && rotation.state() == RotationState::Pending;
    if let Some(rotation) = status.rotation.as_ref().filter(|rotation| !is_same(rotation)) {
        return Err(busy(rotation));
    }
    let request = BeginRotation {
        new_key_fingerprint: &new.fingerprint,
        new_key: new.text.as_ref().map(LockedBuffer::expose_bytes),
        keep_data_keys: arguments.keep_data_keys,
        dry_run: true,
    };
    // What has begun already is only told again.
    if arguments.dry_run || (status.rotation.is_none() && !arguments.yes) {
        // What the daemon refuses is not asked about.
        let answer = admin.rotate(&request).await?;
        if arguments.dry_run {
            return show(console, &answer, place);
        }
        console.confirm(&question(&answer, place), "yes", arguments.yes)?;
    }
    if status.rotation.is_none() {
        seal_old_text(console, client, status, place).await?;
    }
    let answer = admin.rotate(&BeginRotation { dry_run: false, ..request }).await?;
    show(console, &answer, place)
}

/// Of a key that other things have as a password, too, the text is kept: nothing else can be asked for it afterwards.
async fn seal_old_text(
    console: &mut Console,
    client: &Client,
    status: &GetStatusResponse,
    place: &KeyPlace,
) -> Result<(), Failure> {
    let master = status.master_key.clone().unwrap_or_default();
    if !master.shared {
        return Ok(());
    }
    let memory = key::memory()?;
    match place.read_file(&memory) {
        Ok(held) if held.fingerprint() == master.fingerprint => {
            let text = held.text.expose_bytes();
            let sealed = old_text::seal(client, &place.file, &master.fingerprint, text).await?;
            console.hint(&sealed.told());
        }
        _ => console.hint(&format!(
            "warning: the text of {} is not in {}, so it was not sealed: keep it as long as Restic's repositories, or anything \
             else, have it as their password",
            master.fingerprint,
            place.file.display()
        )),
    }
    Ok(())
}

/// What is said where one is under way.
pub(super) fn busy(rotation: &Rotation) -> Failure {
    let (old, new) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
    Failure::say(exit::DATA, format!("a rotation from {old} to {new} is under way"))
        .with_hint("`servos-keyctl rotate status` shows how to end it; another one can begin after that")
}

/// Makes `.next`, if nothing is there.
fn generate(
    status: &GetStatusResponse,
    place: &KeyPlace,
    arguments: &BeginArguments,
    memory: &LockedMemory,
) -> Result<(), Failure> {
    check_nothing_there(place, arguments, memory)?;
    let in_use = place.read_file(memory).map_err(|failure| match failure.exit {
        exit::MISSING => failure.with_hint(
            "a new key is made beside the key file in use: name that file as this machine sees it, with --key-file FILE",
        ),
        _ => failure,
    })?;
    let (held, expected) = (in_use.fingerprint(), status.master_key.as_ref().map(|key| key.fingerprint.as_str()));
    if let Some(expected) = expected.filter(|expected| *expected != held) {
        let text = format!("{} holds the key {held}, and the daemon uses {expected}", place.file.display());
        return Err(Failure::say(exit::DATA, text).with_hint("name the file of the key in use with --key-file FILE"));
    }
    place.make_next(&in_use, arguments.base64, memory)
}

fn check_nothing_there(place: &KeyPlace, arguments: &BeginArguments, memory: &LockedMemory) -> Result<(), Failure> {
    if fs::symlink_metadata(&place.next).is_err() {
        return Ok(());
    }
    let next = place.next.display();
    let what = match place.read_next(memory).map_err(Failure::from).flatten() {
        Ok(found) => format!("{next} exists already, and holds the key {}", found.fingerprint()),
        Err(failure) => format!("{next} exists already, and holds no key that can be read ({})", failure.message),
    };
    let (again, path) = (again(arguments), shell_quoted(&place.next));
    Err(Failure::say(exit::CANNOT_CREATE, what).with_hint(format!(
        "`{again}` begins with the key in it; to make another one, first move it away: `mv {path} {path}.unused`"
    )))
}

/// The same command without `--generate`.
fn again(arguments: &BeginArguments) -> String {
    let file = arguments.key_file.as_deref().map(|file| format!(" --key-file {}", shell_quoted(file)));
    let keep = if arguments.keep_data_keys { " --keep-data-keys" } else { "" };
    format!("servos-keyctl rotate begin{}{keep}", file.unwrap_or_default())
}

fn with_key_kept(failure: Failure, place: &KeyPlace, arguments: &BeginArguments) -> Failure {
    let kept = format!("the new key stays in {}; `{}` goes on with it", place.next.display(), again(arguments));
    let message = match failure.exit {
        // Something was made, whatever the answer to the question.
        exit::NO => "not confirmed; the rotation was not begun".to_owned(),
        _ => failure.message,
    };
    let hint = failure.hint.map_or(kept.clone(), |hint| format!("{hint}; {kept}"));
    Failure { message, hint: Some(hint), ..failure }
}

/// What `--generate` would do, as far as it can be told without making a key.
fn rehearse_generation(
    console: &mut Console,
    status: &GetStatusResponse,
    place: &KeyPlace,
    arguments: &BeginArguments,
    memory: &LockedMemory,
) -> Result<(), Failure> {
    check_nothing_there(place, arguments, memory)?;
    let held = place.read_file(memory)?.fingerprint();
    let old = status.master_key.as_ref().map(|key| key.fingerprint.clone()).unwrap_or_default();
    let next = place.next.display().to_string();
    let value = json!({"dry_run": true, "new_key_file": next, "old_fingerprint": old, "key_file_fingerprint": held});
    let rows = [
        ("dry run", "nothing was changed or made".to_owned()),
        ("would make", next),
        ("master key", format!("{old} is in use, {} holds {held}", place.file.display())),
    ];
    console.result(&value, &fields(&rows))?;
    console.hint(
        "What the daemon would do it checks once the new key is there: `servos-keyctl generate-key` makes one in that file, \
         and `servos-keyctl rotate begin --dry-run` asks.",
    );
    Ok(())
}
