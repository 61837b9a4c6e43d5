//! The commands that work without a daemon: init, restore and accept. What they begin on, and how one that died is gone on with.
//!
//! Must never help along by hand what the same command again is to do. Used by the rounds and by the deaths at steps.

use crate::check::Done;
use crate::harness::{Installation, Invocation, KEYD, Outcome};
use crate::model::Model;
use crate::place::{command, try_serve};
use servos_keyd::store::backup_file::{self, Backup};
use servos_keyd::store::record;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    Init {
        adopt: bool,
    },
    /// Of a backup of this very moment.
    Restore,
    /// Of a store whose mark is lost.
    Accept,
}

impl Offline {
    /// The row of the table.
    pub fn row(self) -> &'static str {
        match self {
            Self::Init { .. } => "init",
            Self::Restore => "restore",
            Self::Accept => "accept",
        }
    }

    /// Brings about what it is for.
    pub fn prepare(self, installation: &Installation) {
        match self {
            Self::Init { .. } => {}
            Self::Restore => {
                let snapshot = installation.records();
                let master: record::Master = record::decode(record::MASTER, &snapshot.records[record::MASTER]).unwrap();
                let backup = Backup::of(master.store_id.try_into().unwrap(), 1, snapshot);
                installation.write_private("kept.skb1", &backup_file::encode(&backup).unwrap());
                std::fs::remove_file(installation.store()).unwrap();
            }
            Self::Accept => std::fs::remove_file(installation.mark()).unwrap(),
        }
    }

    /// Its command.
    pub fn command(self, installation: &Installation) -> Invocation {
        match self {
            Self::Init { adopt } => command(installation, "init", if adopt { &["--adopt-legacy"] } else { &[] }),
            Self::Restore => command(installation, "restore", &[installation.path("kept.skb1").to_str().unwrap()]),
            Self::Accept => {
                let generation = installation.records().generation.to_string();
                command(installation, "accept", &["--generation", &generation, "--yes"])
            }
        }
    }

    /// Goes on behind a death, as an operator would who was told what the start says.
    pub fn complete(self, installation: &Installation, done: &mut Done) {
        match self {
            // There is a store, or the same again makes one.
            Self::Init { .. } | Self::Restore if installation.store().exists() => {}
            Self::Init { .. } | Self::Restore => self.run_again(installation),
            Self::Accept => match try_serve(installation, &[]) {
                Ok(daemon) => {
                    daemon.kill();
                    done.starts += 1;
                }
                Err(refused) => {
                    refused.expect(74).saying(&["servos-keyd accept ", "--generation "]);
                    self.run_again(installation);
                }
            },
        }
        let _ = std::fs::remove_file(installation.path("kept.skb1"));
    }

    fn run_again(self, installation: &Installation) {
        let outcome: Outcome = self.command(installation).run(KEYD);
        outcome.expect(0);
    }

    /// What is acknowledged once it went through.
    pub fn acknowledged(self, model: &mut Model) {
        if self != (Self::Init { adopt: true }) && self != (Self::Init { adopt: false }) {
            // It goes on beyond everything that was seen.
            model.generation = (model.generation >> 32).saturating_add(1) << 32;
        }
    }
}
