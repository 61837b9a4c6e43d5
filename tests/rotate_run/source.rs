//! The kinds of places that the master key comes from, each as an operator has it.
//!
//! Must never be simpler than the real thing where the tool could tell the difference. Used by every test of this binary.

use crate::harness::{Installation, Invocation, KeyFile, Restricted, base64, hex};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A key file that the daemon opens.
    KeyFile,
    /// The same in base64, behind a symbolic link.
    LinkedKeyFile,
    /// An env file of ServOS that the daemon opens.
    ServosEnv,
    /// An env file of ACT that the daemon opens, with line ends of another system.
    ActEnv,
    /// `LoadCredential=servos_master_key:FILE`
    Credential,
    /// `LoadCredential=servos.env:FILE`
    CredentialEnv,
    /// `LoadCredentialEncrypted=servos_master_key:FILE`
    EncryptedCredential,
    /// A compose file's secret: a file of the host, mounted over one of the container.
    ComposeSecret,
    /// `EnvironmentFile=`
    EnvironmentFile,
}

pub const CREDENTIAL: &str = "servos_master_key";

impl Source {
    /// The file that holds the key, below an installation.
    pub fn file(self, installation: &Installation) -> PathBuf {
        installation.path(match self {
            Self::KeyFile => "master.key",
            Self::LinkedKeyFile => "linked.key",
            Self::ServosEnv | Self::CredentialEnv | Self::EnvironmentFile => "servos.env",
            Self::ActEnv => "act.env",
            Self::Credential => "given.key",
            Self::EncryptedCredential => "given.cred",
            Self::ComposeSecret => "secret.key",
        })
    }

    /// Writes that file with the installation's key, and has the installation take it from there.
    pub fn set(self, installation: &mut Installation) {
        let key = installation.key;
        let file = self.file(installation);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        match self {
            Self::KeyFile => {}
            Self::LinkedKeyFile => {
                let real = installation.path("elsewhere");
                std::fs::create_dir(&real).unwrap();
                installation.write_private("elsewhere/real.key", format!("{}\n", base64(&key)).as_bytes());
                symlink("elsewhere/real.key", &file).unwrap();
            }
            Self::EncryptedCredential => {
                let plain = installation.write_private("plain", hex(&key).as_bytes());
                creds(&["encrypt", &format!("--name={CREDENTIAL}"), plain.to_str().unwrap(), file.to_str().unwrap()]);
                std::fs::remove_file(plain).unwrap();
            }
            Self::Credential | Self::ComposeSecret => drop(installation.write_private(&name, hex(&key).as_bytes())),
            Self::ServosEnv | Self::CredentialEnv | Self::EnvironmentFile | Self::ActEnv => {
                installation.write_private(&name, self.env(&hex(&key)).as_bytes());
            }
        }
        match self {
            Self::KeyFile => {}
            Self::LinkedKeyFile | Self::ServosEnv | Self::ActEnv => installation.key_file = KeyFile::At(file),
            Self::ComposeSecret => {
                let seen = installation.write_private("run-secrets-key", b"");
                installation.key_file = KeyFile::At(seen);
            }
            Self::Credential | Self::CredentialEnv | Self::EncryptedCredential | Self::EnvironmentFile => {
                installation.key_file = KeyFile::None;
            }
        }
    }

    /// The whole text of its env file with this key.
    pub fn env(self, key: &str) -> String {
        match self {
            Self::ActEnv => format!("; act\r\nexport ACT_MASTER_KEY = \"{key}\"  \r\nACT_PORT=8080\r\n"),
            _ => format!("# of the panel\nDATABASE_PASSWORD='a b # c'\n\nSERVOS_MASTER_KEY='{key}'\nLAST=1"),
        }
    }

    /// What stands before and behind the key in the file; none where no byte of it can be told.
    pub fn frame(self) -> Option<(String, String)> {
        let text = match self {
            Self::KeyFile | Self::LinkedKeyFile => "@\n".to_owned(),
            Self::Credential | Self::ComposeSecret => "@".to_owned(),
            Self::EncryptedCredential => return None,
            Self::ServosEnv | Self::CredentialEnv | Self::EnvironmentFile | Self::ActEnv => self.env("@"),
        };
        let (before, behind) = text.split_once('@').unwrap();
        Some((before.to_owned(), behind.to_owned()))
    }

    /// The key's text, out of the file; passes nothing but a key beside which every byte is as it was.
    #[track_caller]
    pub fn key_text(self, file: &Path) -> String {
        let Some((before, behind)) = self.frame() else {
            let text = creds(&["decrypt", &format!("--name={CREDENTIAL}"), file.to_str().unwrap(), "-"]);
            return String::from_utf8(text).unwrap();
        };
        let content = std::fs::read_to_string(file).unwrap();
        let key = content.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&behind));
        key.unwrap_or_else(|| panic!("more than the key changed: {content:?}")).to_owned()
    }

    /// Whether components could read the file too.
    pub fn is_env(self) -> bool {
        matches!(self, Self::ServosEnv | Self::ActEnv | Self::CredentialEnv | Self::EnvironmentFile)
    }

    /// Whether the daemon sees a new key after a restart only.
    pub fn needs_restart(self) -> bool {
        !matches!(self, Self::KeyFile | Self::LinkedKeyFile | Self::ServosEnv | Self::ActEnv)
    }

    /// Starts a daemon as whoever manages it does: with the key as it lies there at that moment.
    pub fn serve(self, installation: &Installation) -> Invocation {
        self.command("serve", installation)
    }

    /// A command of the daemon's, given the key like that.
    pub fn command(self, command: &str, installation: &Installation) -> Invocation {
        let file = self.file(installation);
        let run = installation.command(command, &[]);
        let name = match self {
            Self::KeyFile | Self::LinkedKeyFile | Self::ServosEnv | Self::ActEnv => return run,
            Self::ComposeSecret => {
                let mounted = Some((file, installation.path("run-secrets-key")));
                return run.restricted(Restricted { mounted, ..Restricted::default() });
            }
            Self::EnvironmentFile => {
                let text = std::fs::read_to_string(&file).unwrap();
                let line = text.lines().find_map(|line| line.strip_prefix("SERVOS_MASTER_KEY=")).unwrap();
                return run.variable("SERVOS_MASTER_KEY", line.trim_matches('\''));
            }
            Self::CredentialEnv => "servos.env",
            Self::Credential | Self::EncryptedCredential => CREDENTIAL,
        };
        let directory = installation.path("credentials");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        let given = match self {
            Self::EncryptedCredential => {
                creds(&["decrypt", &format!("--name={CREDENTIAL}"), file.to_str().unwrap(), "-"])
            }
            _ => std::fs::read(&file).unwrap(),
        };
        installation.write_private(&format!("credentials/{name}"), &given);
        run.variable("CREDENTIALS_DIRECTORY", directory)
    }

    /// What `rotate run` is told of it.
    pub fn arguments(self, installation: &Installation) -> Vec<String> {
        let file = self.file(installation).to_str().unwrap().to_owned();
        let mut arguments = Vec::new();
        if self.needs_restart() {
            arguments.extend(["--key-file".to_owned(), file]);
        }
        if self == Self::EncryptedCredential {
            arguments.extend(["--encrypted-credential".to_owned(), CREDENTIAL.to_owned()]);
        }
        if self.is_env() {
            arguments.push("--components-migrated".to_owned());
        }
        arguments
    }
}

/// Runs systemd-creds.
pub fn creds(arguments: &[&str]) -> Vec<u8> {
    let ended = Command::new("systemd-creds").args(arguments).output().expect("systemd-creds, of Debian's systemd");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    ended.stdout
}
