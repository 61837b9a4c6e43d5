//! `servos-keyctl backup [FILE]`: a backup of the store, written here or by the daemon.
//!
//! Must never leave a file under the name that was asked for that is not a whole, good backup.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::durable_file::{self, Replace};
use super::output::{count, fields, time, time_value};
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::backup::FetchedBackup;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::BackupInfo;
use crate::store::backup_file;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A store of 100,000 versions is some 40 MB, and a disk may be slow.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(super) struct BackupArguments {
    /// The file to write; it appears whole or not at all. Without it, the daemon writes one into its own directory
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, requires = "file")]
    force: bool,
}

/// Makes the backup and says what it is.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &BackupArguments,
) -> Result<(), Failure> {
    let admin = socket.admin_within(DEADLINE);
    let Some(file) = &arguments.file else {
        let info = admin.back_up().await?;
        let path = info.path.clone();
        return show(console, &path, &info);
    };
    if file == Path::new("-") {
        let failure =
            Failure::say(exit::USAGE, "a backup goes to a file, which appears whole or not at all; - is none");
        return Err(failure.with_hint("name the file to write"));
    }
    let replace = Replace::from_force(arguments.force);
    durable_file::check_absent(file, replace)?;
    let fetched = admin.fetch_backup().await?;
    check(&fetched)?;
    durable_file::write(file, &fetched.bytes, replace)?;
    show(console, &file.display().to_string(), &fetched.info)
}

/// What arrived is read as a restore would read it, before it takes a name.
fn check(FetchedBackup { info, bytes }: &FetchedBackup) -> Result<(), Failure> {
    let bad = |what: &str| {
        let failure =
            Failure::say(exit::DAMAGED, format!("what the daemon sent is no good backup: {what}; nothing was written"));
        failure.with_hint("run the command again")
    };
    let backup = backup_file::decode(bytes).map_err(|error| bad(&error.to_string()))?;
    let store_id = base16ct::lower::encode_string(&backup.store_id);
    if store_id != info.store_id || backup.generation != info.generation {
        return Err(bad("it is not the one that was announced"));
    }
    Ok(())
}

fn show(console: &mut Console, path: &str, info: &BackupInfo) -> Result<(), Failure> {
    let value = json!({
        "out": path,
        "store_id": info.store_id,
        "generation": info.generation,
        "made": time_value(info.written),
        "bytes": info.bytes,
        "keys": info.keys,
        "versions": info.versions,
        "opened_by": info.opened_by,
    });
    let text = fields(&[
        ("written", path.to_owned()),
        ("store id", info.store_id.clone()),
        ("generation", info.generation.to_string()),
        ("made", time(info.written)),
        ("bytes", info.bytes.to_string()),
        ("holds", format!("{}, {}", count(info.keys, "key"), count(info.versions, "version"))),
        ("opened by", format!("master key {}", info.opened_by.join(" or "))),
        ("next", format!("keep it apart from the master key; servos-keyctl inspect {}", shell_quoted(Path::new(path)))),
    ]);
    console.result(&value, &text)
}
