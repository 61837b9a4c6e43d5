//! Tests of `config::key_file`: each fault of a file, by its facts and on real files.
//!
//! Must never depend on the machine: real files lie beside the test's own program, which is on no tmpfs.
//! Run as `config::key_file::tests`.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::*;
use crate::config::key_source_error::FaultClass;
use crate::sys::apart;

const PLANTED: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn trust() -> Trust {
    let (daemon_uid, daemon_gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    Trust { credentials_directory: None, allow_readable: false, daemon_uid, daemon_gid }
}

/// A directory on a disk: on a tmpfs, where temporary directories often are, modes are only warned about.
pub fn on_disk() -> TempDir {
    let program = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let kind = statfs::statfs(directory.path()).unwrap().filesystem_type();
    assert_ne!(kind, statfs::TMPFS_MAGIC, "the target directory must not lie on a tmpfs for this test");
    directory
}

fn planted(directory: &TempDir, mode: u32) -> PathBuf {
    let path = directory.path().join("master.key");
    std::fs::write(&path, format!("{PLANTED}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn read_with(path: &Path, trust: &Trust) -> Result<KeyFile, KeySourceError> {
    let read = read(path, &path.display().to_string(), trust, &LockedMemory::new().unwrap());
    let told = match &read {
        Ok(file) => file.warnings.join(" "),
        Err(fault) => format!("{fault} {fault:?}"),
    };
    assert!(!told.contains(&PLANTED[..8]), "the key is shown: {told}");
    read
}

fn refusal(path: &Path) -> (FaultClass, String) {
    let fault = read_with(path, &trust()).err().expect("refused");
    (fault.class(), fault.to_string())
}

const DAEMON: u32 = 990;
const OTHER: u32 = 1000;

fn judged(
    owner: u32,
    group: u32,
    mode: u32,
    change: impl FnOnce(&mut Facts, &mut Trust),
) -> Vec<(Fault, Option<Excuse>)> {
    let mut facts = Facts { owner, group, mode, is_credential: false, is_in_memory: false };
    let mut trust = Trust { daemon_uid: DAEMON, daemon_gid: DAEMON, ..trust() };
    change(&mut facts, &mut trust);
    judge(&facts, &trust)
}

#[test]
fn a_file_of_root_or_the_daemon_that_nobody_else_reads_is_good() {
    for owner in [0, DAEMON] {
        for mode in [0o600, 0o400, 0o700, 0o4600] {
            assert_eq!(judged(owner, OTHER, mode, |_, _| ()), [], "{owner} {mode:o}");
        }
    }
}

#[test]
fn a_file_that_others_read_is_refused_unless_told_otherwise() {
    for mode in [0o640, 0o604, 0o644, 0o444, 0o440] {
        let fault = Fault::Readable { owner: 0, mode };
        assert_eq!(judged(0, 0, mode, |_, _| ()), [(fault, None)]);
        assert_eq!(judged(0, 0, mode, |_, t| t.allow_readable = true), [(fault, Some(Excuse::AllowReadable))]);
        assert_eq!(judged(0, 0, mode, |f, _| f.is_in_memory = true), [(fault, Some(Excuse::InMemory))]);
    }
}

#[test]
fn the_daemons_own_group_may_read_but_not_together_with_all() {
    let fault = Fault::Readable { owner: 0, mode: 0o640 };
    assert_eq!(judged(0, DAEMON, 0o640, |_, _| ()), [(fault, Some(Excuse::OwnGroup))]);
    assert_eq!(judged(0, DAEMON, 0o644, |_, _| ()), [(Fault::Readable { owner: 0, mode: 0o644 }, None)]);
}

#[test]
fn a_file_that_others_change_is_refused_whatever_was_allowed() {
    for mode in [0o620, 0o602, 0o666, 0o660] {
        let fault = Fault::Writable { owner: DAEMON, mode };
        assert_eq!(judged(DAEMON, DAEMON, mode, |_, t| t.allow_readable = true), [(fault, None)]);
        assert_eq!(judged(DAEMON, DAEMON, mode, |f, _| f.is_in_memory = true), [(fault, Some(Excuse::InMemory))]);
        assert_eq!(judged(DAEMON, DAEMON, mode, |f, _| f.is_credential = true), [(fault, Some(Excuse::Credential))]);
    }
}

#[test]
fn a_foreign_owner_is_refused_unless_told_otherwise() {
    let fault = Fault::ForeignOwner(OTHER);
    assert_eq!(judged(OTHER, 0, 0o600, |_, _| ()), [(fault, None)]);
    assert_eq!(judged(OTHER, 0, 0o600, |_, t| t.allow_readable = true), [(fault, Some(Excuse::AllowReadable))]);
    assert_eq!(judged(OTHER, 0, 0o600, |f, _| f.is_credential = true), [(fault, Some(Excuse::Credential))]);
    assert_eq!(judged(OTHER, 0, 0o644, |_, _| ()).len(), 2);
}

#[test]
fn what_systemd_makes_for_a_units_user_is_good_without_a_word() {
    assert_eq!(judged(0, 0, 0o440, |f, _| f.is_credential = true), []);
    let fault = Fault::Readable { owner: 0, mode: 0o444 };
    assert_eq!(judged(0, 0, 0o444, |f, _| f.is_credential = true), [(fault, Some(Excuse::Credential))]);
}

#[test]
fn the_command_that_mends_a_mode_leaves_the_file_open_to_the_daemon() {
    let path = Path::new("/etc/servos/my key");
    let with = |daemon_uid| Trust { daemon_uid, ..trust() };
    let readable = |owner| Fault::Readable { owner, mode: 0o644 };
    assert_eq!(readable(0).with_mend(path, &with(0)), "others can read it (mode 0644): chmod 600 '/etc/servos/my key'");
    assert!(
        readable(0)
            .with_mend(path, &with(4_290_000_990))
            .starts_with("others can read it (mode 0644): chmod 600 '/etc/servos/my key'; so that user 4290000990 can")
    );
    assert!(readable(990).with_mend(path, &with(990)).ends_with("(mode 0644): chmod 600 '/etc/servos/my key'"));
    assert!(
        Fault::ForeignOwner(5)
            .with_mend(path, &with(4_290_000_990))
            .ends_with("chown -h 4290000990 '/etc/servos/my key'")
    );
}

#[test]
fn a_good_file_is_read_whole_and_without_a_warning() {
    let directory = on_disk();
    let file = read_with(&planted(&directory, 0o600), &trust()).unwrap();
    assert_eq!(file.content.expose_bytes(), format!("{PLANTED}\n").as_bytes());
    assert!(file.warnings.is_empty() && !file.is_credential);
}

#[test]
fn modes_of_real_files_are_refused_with_the_command_that_mends_them() {
    let directory = on_disk();
    for mode in [0o644, 0o604, 0o622, 0o666] {
        let path = planted(&directory, mode);
        let (class, message) = refusal(&path);
        assert_eq!(class, FaultClass::NotPermitted);
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{message}");
        assert!(message.contains(&format!("mode {mode:04o}")), "{message}");
    }
}

#[test]
fn allow_readable_makes_a_mode_a_warning() {
    let directory = on_disk();
    let path = planted(&directory, 0o644);
    let file = read_with(&path, &Trust { allow_readable: true, ..trust() }).unwrap();
    assert_eq!(file.warnings.len(), 1);
    assert!(
        file.warnings[0].contains("chmod 600") && file.warnings[0].contains("allow_readable"),
        "{:?}",
        file.warnings
    );
}

#[test]
fn a_file_under_the_credentials_directory_is_a_credential_and_only_there() {
    let (directory, elsewhere) = (on_disk(), on_disk());
    let path = planted(&directory, 0o644);
    let trust = Trust { credentials_directory: Some(directory.path().to_owned()), ..trust() };
    let file = read_with(&path, &trust).unwrap();
    assert!(file.is_credential && file.warnings[0].contains("credential"), "{:?}", file.warnings);

    // Neither `..` nor a link that begins there makes a file outside a credential.
    let outside = planted(&elsewhere, 0o644);
    let link = directory.path().join("link");
    symlink(&outside, &link).unwrap();
    let dotted = directory.path().join("..").join(elsewhere.path().file_name().unwrap()).join("master.key");
    for path in [link, dotted] {
        assert!(matches!(read_with(&path, &trust), Err(KeySourceError::Exposed { .. })), "{}", path.display());
    }
}

#[test]
fn a_symbolic_link_is_judged_by_its_target() {
    let directory = on_disk();
    let target = planted(&directory, 0o600);
    let link = directory.path().join("link");
    symlink(&target, &link).unwrap();
    assert!(read_with(&link, &trust()).is_ok());
    std::fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(refusal(&link).0, FaultClass::NotPermitted);
    std::fs::remove_file(&target).unwrap();
    assert_eq!(refusal(&link).0, FaultClass::NotFound);
}

#[test]
fn a_foreign_owner_of_a_real_file_is_refused_with_the_command_that_mends_it() {
    if !nix::unistd::geteuid().is_root() {
        return apart::not_run("a foreign owner of a key file: only root gives files away");
    }
    let directory = on_disk();
    let path = planted(&directory, 0o600);
    chown(&path, Some(12_345), None).unwrap();
    let (class, message) = refusal(&path);
    assert_eq!(class, FaultClass::NotPermitted);
    assert!(
        message.contains("user 12345") && message.contains(&format!("chown -h root {}", path.display())),
        "{message}"
    );
}

#[test]
fn what_is_missing_says_so() {
    let directory = on_disk();
    for name in ["none", "master.key/none"] {
        planted(&directory, 0o600);
        let (class, message) = refusal(&directory.path().join(name));
        assert_eq!(class, FaultClass::NotFound, "{message}");
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn what_is_no_file_is_named_and_never_waited_for() {
    let directory = on_disk();
    let at = |name: &str| directory.path().join(name);
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let _listener = UnixListener::bind(at("socket")).unwrap();
    for (path, kind) in [
        (directory.path().to_owned(), "a directory"),
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        ("/dev/null".into(), "a device"),
        ("/dev/zero".into(), "a device"),
    ] {
        let (class, message) = refusal(&path);
        assert_eq!(class, FaultClass::Malformed);
        assert!(message.contains(&format!("is {kind}")), "{message}");
    }
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let directory = on_disk();
    let path = planted(&directory, 0o600);
    std::fs::write(&path, vec![b'a'; LIMIT_BYTES]).unwrap();
    assert_eq!(read_with(&path, &trust()).unwrap().content.len(), LIMIT_BYTES);
    std::fs::write(&path, vec![b'a'; LIMIT_BYTES + 1]).unwrap();
    assert!(matches!(read_with(&path, &trust()), Err(KeySourceError::TooLarge { .. })));
}

#[test]
fn what_the_system_refuses_has_a_class_of_its_own() {
    let fault = |errno| open_fault(io::Error::from_raw_os_error(errno), Path::new("/k"), "/k".to_owned(), &trust());
    assert_eq!(fault(libc::EACCES).class(), FaultClass::NotPermitted);
    assert!(fault(libc::EACCES).to_string().contains("chown"));
    assert_eq!(fault(libc::ENOENT).class(), FaultClass::NotFound);
    assert_eq!(fault(libc::EIO).class(), FaultClass::Unavailable);
    assert_eq!(fault(libc::ELOOP).class(), FaultClass::Unavailable);
}
