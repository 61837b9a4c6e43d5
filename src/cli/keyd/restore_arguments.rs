//! What can be said on the command line of `servos-keyd restore`, for a restore and for a drill.
//!
//! Must never take a key: only the names of files that hold one, or that it will be typed.
//! Read by `restore` and its parts.

use super::config_arguments::ConfigArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::paper::PaperArguments;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The backup: a .skb1 file; with --drill, the newest of this store if none is named
    #[arg(required_unless_present_any = ["from_export", "drill"], conflicts_with = "from_export")]
    pub(super) file: Option<PathBuf>,
    /// What ExportKeyring left in a database, as it comes out of there: bytes, or their text in hex or base64; - for
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub(super) from_export: Option<PathBuf>,
    /// A client's canary that must belong to the backup: 64 bytes, or their base64 text; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(super) canary: Vec<PathBuf>,
    /// Go back on purpose, where something newer is known
    #[arg(long)]
    pub(super) older: bool,
    #[command(flatten)]
    pub(super) drill: DrillArguments,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A drill: nothing of the store is touched, and the daemon may go on.
#[derive(clap::Args)]
pub struct DrillArguments {
    /// Only try it: restore into a scratch place with a copy of the master key, open everything there, and have the
    /// daemon keep the date
    #[arg(long, conflicts_with_all = ["older", "canary"])]
    pub(super) drill: bool,
    /// With --drill: the copy of the key, a key file, or an env file with SERVOS_MASTER_KEY= or ACT_MASTER_KEY= in it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "typed"])]
    pub(super) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) paper: PaperArguments,
    /// With --drill: values of the application's database that must open, JSON lines of key, context and ciphertext
    /// (base64), with "legacy": true for values from before servos-keyd
    #[arg(long, value_name = "FILE", requires = "drill")]
    pub(super) sample: Option<PathBuf>,
    /// With --drill: do not have the daemon keep the date
    #[arg(long, requires = "drill")]
    pub(super) no_record: bool,
}

impl DrillArguments {
    /// A drill tries a copy.
    ///
    /// # Errors
    /// 64 if none is named.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.key_file.is_some() || self.paper.is_given() {
            return Ok(());
        }
        let failure = Failure::say(exit::USAGE, "a drill tries a copy of the master key, and none was named");
        Err(failure.with_hint(
            "name it: --key-file FILE, or shares of a recovery kit: --share FILE, --typed; the key that the daemon \
             reads is no copy",
        ))
    }
}
