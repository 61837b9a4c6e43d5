//! `serve --dev`: a daemon of one's own, with key, store and socket under one directory.
//!
//! Must never make a key where a store was, nor use a directory that others can reach.
//! Called by `serve`.

use super::{key, output, place};
use crate::auth::key_name::KeyName;
use crate::auth::operation::Encrypt;
use crate::auth::peer::{Peer, PeerCredentials, Socket};
use crate::auth::policy::Policy;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::key_source_error::{shell_quoted, user_name};
use crate::config::settings::Config;
use crate::custody::keys::MasterKey;
use crate::operations::Context;
use crate::operations::create::{Vacancy, vacancy};
use crate::operations::encrypt::{self, encrypt};
use crate::operations::engine::Engine;
use crate::store::port::StoreError;
use crate::sys::locked::LockedMemory;
use base64ct::Encoding as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory where none is given: under `$XDG_RUNTIME_DIR`, else under the temp dir.
pub fn default_directory() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|base| base.is_dir());
    base.unwrap_or_else(std::env::temp_dir).join("servos-keyd-dev")
}

/// Makes the directory with mode 0700, or checks the one that is there.
///
/// # Errors
/// 77 for a directory that is not ours alone, 73 if it cannot be made.
pub fn make_directory(directory: &Path) -> Result<(), Failure> {
    let refused = |error| Failure::new(exit::CANNOT_CREATE, &StoreError::from_io(directory, error));
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(refused(error)),
        _ => {}
    }
    let found = directory.symlink_metadata().map_err(refused)?;
    let (owner, own) = (found.uid(), nix::unistd::geteuid().as_raw());
    match fault(directory, found.is_dir(), (owner == own).then_some(()).ok_or(owner), found.permissions().mode()) {
        None => Ok(()),
        Some(fault) => Err(Failure::say(exit::NOT_PERMITTED, format!("{}: {fault}", directory.display()))),
    }
}

/// Why a directory is not for this user alone, with what mends it. One that is shared on purpose is never to be closed.
fn fault(directory: &Path, is_directory: bool, owner: Result<(), u32>, mode: u32) -> Option<String> {
    const ANOTHER: &str = "name one of your own: servos-keyd serve --dev \"$HOME/servos-keyd-dev\"";
    let is_shared = mode & 0o1000 != 0 || place::is_shared(directory);
    let path = shell_quoted(directory);
    match owner {
        _ if !is_directory => Some(format!("is not a directory (a link to one is not taken either); {ANOTHER}")),
        Err(owner) => Some(format!("belongs to {}; {ANOTHER}", user_name(owner))),
        Ok(()) if mode & 0o077 == 0 => None,
        Ok(()) if is_shared => Some(format!("is there for others too; {ANOTHER}")),
        Ok(()) => Some(format!("others can reach it (mode {:04o}): chmod 700 {path}, or {ANOTHER}", mode & 0o7777)),
    }
}

/// Makes `master.key` where neither it is nor anything that tells of a store: its file, its mark or a backup.
///
/// # Errors
/// 73 or 74 with what the system says.
pub fn make_key(config: &Config, memory: &LockedMemory) -> Result<(), Failure> {
    let Some(path) = &config.master_key.file else { return Ok(()) };
    let there = |path: &Path| path.symlink_metadata().is_ok();
    if there(path) || !matches!(vacancy(&crate::cli::places::places(config)), Ok(Vacancy::Empty)) {
        return Ok(());
    }
    let master = MasterKey::generate(memory, &key::random).map_err(|error| Failure::new(exit::BUG, &error))?;
    let mut text = memory.buffer(128).map_err(|error| Failure::new(exit::CONFIG, &error))?;
    master.write_hex(&mut text).map_err(|error| Failure::new(exit::BUG, &error))?;
    let refused = |error| Failure::new(exit::CANNOT_CREATE, &StoreError::from_io(path, error));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(refused)?;
    file.write_all(text.expose_bytes()).and_then(|()| file.write_all(b"\n")).map_err(refused)?;
    file.sync_all().map_err(refused)
}

/// Prints what to paste: the tool's and grpcurl's commands that seal and open a secret here.
pub fn print_examples(socket: &Path, engine: &Engine, policy: &Policy) {
    let socket_text = shell_quoted(socket);
    let tool = tool();
    let grpcurl = "grpcurl -plaintext -unix -authority localhost";
    output::line(&format!("\nservos-keyd serves on {}\n", socket.display()));
    output::line("Seal and open a secret with the tool:\n");
    output::line(&format!(
        "  echo -n 's3cret' | {tool} --socket {socket_text} encrypt --key default --context table=demo --base64 > sealed.txt\n  \
         {tool} --socket {socket_text} decrypt --key default --context table=demo --base64 < sealed.txt\n"
    ));
    output::line("Or with grpcurl, in whose JSON bytes are base64:\n");
    output::line(&format!(
        "  {grpcurl} -d '{{\"key\":\"default\",\"plaintext\":\"czNjcmV0\",\"context\":{{\"table\":\"demo\"}}}}' {socket_text} \
         servos.keyd.v1.KeyService/Encrypt"
    ));
    if let Some(sealed) = sample(engine, policy) {
        output::line(&format!(
            "  {grpcurl} -d '{{\"key\":\"default\",\"ciphertext\":\"{sealed}\",\"context\":{{\"table\":\"demo\"}}}}' {socket_text} \
             servos.keyd.v1.KeyService/Decrypt"
        ));
    }
    output::line(&format!("\nThe daemon's state:\n\n  {tool} --socket {socket_text} status\n\nStop it with Ctrl-C."));
}

/// A sample for the last command: an example text, sealed by this very daemon.
fn sample(engine: &Engine, policy: &Policy) -> Option<String> {
    let own = PeerCredentials { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw(), pid: 0 };
    let admission = policy.admit::<Encrypt>(Peer { credentials: own, socket: Socket::Dev }).ok()?;
    let context = Context::new([("table", "demo")]).ok()?;
    let key = KeyName::parse("default").ok()?;
    let request = encrypt::Request { key: &key, plaintext: b"s3cret", context: &context, allow_nested: false };
    let sealed = encrypt(&admission, engine, &request).ok()?;
    Some(base64ct::Base64::encode_string(&sealed.ciphertext))
}

/// How the tool is called from here: its binary beside this one, or through cargo where it was not built yet.
fn tool() -> String {
    let beside = std::env::current_exe().ok().map(|daemon| daemon.with_file_name("servos-keyctl"));
    match beside {
        Some(path) if path.exists() => shell_quoted(&path),
        _ => "cargo run --release --quiet --bin servos-keyctl --".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_ours_alone_is_mended_by_its_cause() {
        let said = |path: &str, is_directory, owner, mode| fault(Path::new(path), is_directory, owner, mode);
        assert_eq!(said("/d", true, Ok(()), 0o40700), None);
        let cases = [
            (said("/d", false, Ok(()), 0o100_644), "is not a directory", false),
            (said("/d", true, Err(0), 0o40700), "belongs to root", false),
            (said("/d", true, Ok(()), 0o40755), "(mode 0755): chmod 700 /d", true),
            (said("/d", true, Ok(()), 0o41777), "for others too", false),
            (said("/etc", true, Ok(()), 0o40755), "for others too", false),
            (said("/tmp", true, Ok(()), 0o40777), "for others too", false),
        ];
        for (fault, words, advises_chmod) in cases {
            let fault = fault.unwrap();
            assert!(fault.contains(words), "{fault}");
            assert!(fault.contains("serve --dev \"$HOME/servos-keyd-dev\""), "{fault}");
            assert_eq!(fault.contains("chmod"), advises_chmod, "{fault}");
        }
    }
}
