//! Locked memory that is short, refused or wanted by the thousand: what the daemon does, and what it says.
//!
//! Must never count as run where this process is not root. Run by `cargo test`.

use crate::harness::process_memory::{Mapping, locked_bytes, mappings};
use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KEYD, NOBODY, Restricted, block_on, cell, fill_with_versions, is_root,
    name, not_run,
};
use rustix::process::{Resource, Rlimit, prlimit};

const STRICT: &str = "[memory]\nrequire_memfd_secret = true\n";
const PAGE: u64 = 4096;

fn of_the_service() -> Installation {
    let installation = Installation::made_for_nobody();
    // Nearly a page of keys: few versions more fill it.
    fill_with_versions(&installation, 9, 118);
    installation.give_to_nobody(&[installation.store(), installation.mark()]);
    installation
}

fn within(installation: &Installation, bytes: u64) -> Invocation {
    let limit = Restricted { locked_bytes: Some(bytes), ..Restricted::default() };
    installation.command("serve", &[]).run_as(NOBODY).restricted(limit)
}

fn without_secret_memory(errno: i32) -> Restricted {
    Restricted { memfd_secret: Some(errno), ..Restricted::default() }
}

fn has_secret_memory() -> bool {
    servos_keyd::sys::locked::LockedMemory::without_fallback().is_ok()
}

#[test]
#[ignore = "a part of another test, which runs it as the daemon's user: a root without CAP_SYS_RESOURCE may not"]
fn lowers_the_limit_of_its_user_s_process() {
    let told = |name: &str| std::env::var(name).expect("run by another test").parse::<u64>().unwrap();
    let (process, bytes) = (i32::try_from(told("TARGET")).unwrap(), Some(told("BYTES")));
    let limit = Rlimit { current: bytes, maximum: bytes };
    prlimit(rustix::process::Pid::from_raw(process), Resource::Memlock, limit).unwrap();
}

fn lower_the_limit(daemon: &Daemon, bytes: u64) {
    let test = "memory_pressure::lowers_the_limit_of_its_user_s_process";
    Invocation::new(["--exact", test, "--ignored"])
        .variable("TARGET", daemon.id().to_string())
        .variable("BYTES", bytes.to_string())
        .run_as(NOBODY)
        .run(std::env::current_exe().unwrap().to_str().unwrap())
        .expect(0)
        .saying(&["1 passed"]);
}

#[test]
fn a_limit_on_locked_memory_that_is_too_low_is_named_with_its_remedy_and_one_that_is_enough_serves() {
    if !is_root() {
        return not_run("only root can run a daemon as another user");
    }
    let mut installation = of_the_service();
    let before = installation.files();
    for (limit, more) in [(0, ""), (PAGE - 1, ""), (0, STRICT)] {
        more.clone_into(&mut installation.more);
        let refused = Daemon::refused(&within(&installation, limit)).expect(78);
        refused.saying(&[&format!("RLIMIT_MEMLOCK is {limit} bytes"), "LimitMEMLOCK="]);
    }
    installation.more.clear();
    let mut refusals = 0;
    let (daemon, limit) = (1..=64)
        .map(|pages| pages * PAGE)
        .find_map(|limit| match Daemon::try_start(&within(&installation, limit), &installation) {
            Ok(daemon) => Some((daemon, limit)),
            Err(refused) => {
                refused.expect(78).saying(&[&format!("RLIMIT_MEMLOCK is {limit} bytes"), "LimitMEMLOCK="]);
                refusals += 1;
                None
            }
        })
        .expect("a daemon with a few keys starts with 256 KiB");
    assert!(refusals > 0, "{limit} bytes were enough at once");
    assert!(locked_bytes(daemon.id()) <= limit);
    assert_eq!(installation.files().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    // What it took at the start alone is given back; with no more than the rest, it has room for a few versions.
    lower_the_limit(&daemon, locked_bytes(daemon.id()));
    block_on(async {
        let (client, admin) = (daemon.component(), daemon.admin());
        let sealed = client.encrypt(&name("default"), b"x", &cell("1")).await.unwrap();
        let mut refused = None;
        for _ in 0..=PAGE / 32 {
            refused = admin.rotate_key(&name("default")).await.err();
            if refused.is_some() {
                break;
            }
        }
        let refused = refused.expect("a page has no room for so many keys").to_string();
        assert!(refused.contains("the system gives no memory or randomness"), "{refused}");
        let opened = client.decrypt(&name("default"), &sealed.ciphertext, &cell("1")).await.unwrap();
        assert_eq!(opened.plaintext.as_slice(), b"x");
        client.encrypt(&name("default"), b"y", &cell("1")).await.unwrap();
    });
    daemon.stop().expect(0);
}

#[test]
fn where_memfd_secret_is_refused_keys_lie_in_locked_pages_absent_from_cores_and_forks_and_all_say_so() {
    if !is_root() {
        return not_run("only root can look at a daemon's mappings");
    }
    let installation = Installation::made();
    for errno in [libc::ENOSYS, libc::EPERM] {
        let daemon =
            installation.serve_with(&installation.command("serve", &[]).restricted(without_secret_memory(errno)));
        let said = std::io::Error::from_raw_os_error(errno).to_string();
        assert!(daemon.said().contains("mlock") && daemon.said().contains(&said), "{}", daemon.said());
        let locked: Vec<Mapping> = mappings(daemon.id()).into_iter().filter(Mapping::is_locked).collect();
        assert!(!locked.is_empty());
        for mapping in &locked {
            assert!(!mapping.is_secret() && mapping.access == "rw-p", "{mapping:?}");
            assert!(mapping.flags.contains("dd") && mapping.flags.contains("dc"), "{mapping:?}");
        }
        let status = daemon.keyctl(&["status"]).run(KEYCTL).expect(0);
        status.saying(&["mlock: locked and absent from cores, but root can read the keys"]);
        daemon.stop().expect(0);
    }
    if !has_secret_memory() {
        return not_run("this kernel has no memfd_secret to compare with");
    }
    let daemon = installation.serve();
    let locked: Vec<Mapping> = mappings(daemon.id()).into_iter().filter(Mapping::is_locked).collect();
    assert!(!locked.is_empty() && locked.iter().all(Mapping::is_secret), "{locked:?}");
    daemon.keyctl(&["status"]).run(KEYCTL).expect(0).saying(&["memfd_secret: not even root reads the keys"]);
}

#[test]
fn where_memfd_secret_is_required_and_refused_no_command_holds_a_key() {
    let mut installation = Installation::new();
    installation.more = STRICT.to_owned();
    let commands: [(&str, Vec<&str>); 4] =
        [("init", vec![]), ("accept", vec!["--generation", "1", "--yes"]), ("fsck", vec![]), ("serve", vec![])];
    for errno in [libc::ENOSYS, libc::EPERM] {
        for (command, arguments) in &commands {
            let run = installation.command(command, arguments).restricted(without_secret_memory(errno));
            let said = std::io::Error::from_raw_os_error(errno).to_string();
            let refused = run.run(KEYD).expect(71);
            refused.saying(&["memfd_secret is required, and not to be had", &said]);
        }
    }
    assert!(installation.backups().is_empty() && !installation.store().exists());
    if !has_secret_memory() {
        return not_run("this kernel has no memfd_secret to serve with");
    }
    installation.init(&[]).expect(0);
    let backup = installation.backups().pop().unwrap();
    let restore = installation.command("restore", &[backup.to_str().unwrap()]);
    restore.restricted(without_secret_memory(libc::EPERM)).run(KEYD).expect(71);
    installation.serve().stop().expect(0);
}

#[test]
fn ten_thousand_versions_take_less_than_a_mebibyte_of_the_daemon_s_locked_memory() {
    if !is_root() {
        return not_run("only root can look at a daemon that is not dumpable");
    }
    let installation = Installation::made();
    let few = locked_of_a_daemon(&installation);
    fill_with_versions(&installation, 1_000, 10_000);
    let many = locked_of_a_daemon(&installation);
    assert!(
        many >= 10_000 * 32 && many > few,
        "{many} bytes of locked memory cannot hold 10,000 keys, {few} the first"
    );
    assert!(many <= 1 << 20, "{many} bytes");
}

fn locked_of_a_daemon(installation: &Installation) -> u64 {
    let daemon = installation.serve();
    let locked = locked_bytes(daemon.id());
    let mapped: u64 = mappings(daemon.id())
        .iter()
        .filter(|mapping| mapping.is_locked())
        .map(|mapping| mapping.range.end - mapping.range.start)
        .sum();
    assert_eq!(locked, mapped, "the kernel's two accounts");
    daemon.stop().expect(0);
    locked
}
