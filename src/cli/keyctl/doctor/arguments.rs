//! What can be said on the command line of `doctor`.
//!
//! Must never need to be said: without a word, doctor looks at the machine's own daemon.
//! Read by `case`.

use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli::keyctl) struct DoctorArguments {
    /// The configuration of the daemon that is meant [default: /etc/servos/keyd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// A user whose component is to reach the daemon; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(super) user: Vec<String>,
}
