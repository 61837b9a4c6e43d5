//! What the service manager hears while the daemon runs, and what it makes the daemon do: the watchdog's word, and reloads.
//!
//! Must never take a word that came too late for one that came in time. Run by `cargo test`.

use crate::harness::{
    DEADLINE, Daemon, Held, Installation, block_on, cell, eventually, is_root, name, not_run, threads,
};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// Every word that comes until this one does, each a line.
fn until(socket: &UnixDatagram, word: &str) -> Vec<String> {
    let (begun, mut heard) = (Instant::now(), Vec::new());
    while begun.elapsed() < DEADLINE {
        let mut buffer = [0; 2048];
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        heard.extend(String::from_utf8(buffer[..length].to_vec()).unwrap().lines().map(str::to_owned));
        if heard.iter().any(|line| line.starts_with(word)) {
            return heard;
        }
    }
    panic!("{word} was not heard, but {heard:?}");
}

/// Changes the configuration under the daemon.
fn reconfigure(installation: &Installation, from: &str, to: &str) {
    let file = installation.path("keyd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

fn reloaded(daemon: &Daemon, manager: &UnixDatagram) -> String {
    daemon.signal("HUP");
    let heard = until(manager, "STATUS=");
    let at = |word: &str| {
        heard.iter().position(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{word}: {heard:?}"))
    };
    // systemd waits for READY behind RELOADING, and takes one of a reload before for it without the time.
    assert!(at("RELOADING=1") < at("MONOTONIC_USEC=") && at("MONOTONIC_USEC=") < at("READY=1"), "{heard:?}");
    heard[at("STATUS=")].clone()
}

#[test]
fn a_reload_puts_in_force_what_it_can_names_the_rest_and_refuses_what_is_not_valid() {
    let mut installation = Installation::made();
    installation.more = "[limits]\nstreams = 128\n[drill]\ninterval = \"90d\"\n".to_owned();
    let daemon = installation.serve();
    let manager = daemon.manager();
    assert_eq!(reloaded(&daemon, &manager), "STATUS=serving");

    reconfigure(&installation, "interval = \"90d\"", "interval = \"1s\"");
    assert_eq!(reloaded(&daemon, &manager), "STATUS=serving");
    if is_root() {
        let due = || block_on(async { daemon.admin().status().await.unwrap().drills.unwrap() });
        eventually("the new interval is in force", || due().interval == 1);
    }
    reconfigure(&installation, "streams = 128", "streams = 64");
    assert!(reloaded(&daemon, &manager).ends_with("in force after a restart: limits.streams"));
    reconfigure(&installation, "streams = 64", "streems = 64");
    let said = reloaded(&daemon, &manager);
    assert!(said.contains("was not taken") && said.contains("streems"), "{said}");
    if is_root() {
        let told = || block_on(async { daemon.admin().status().await.unwrap().warnings.concat() });
        assert!(told().contains("The last reload was refused") && told().contains("streems"), "{}", told());
        reconfigure(&installation, "streems = 64", "streams = 64");
        reloaded(&daemon, &manager);
        assert!(!told().contains("reload"), "{}", told());
    }
    std::fs::remove_file(installation.path("keyd.toml")).unwrap();
    assert!(reloaded(&daemon, &manager).contains("was not taken"));
    let said = daemon.said();
    for line in
        ["in_force=\"drill.interval\"", "after_restart=\"limits.streams\"", "the configuration before stays in force"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn the_watchdog_is_fed_while_the_writer_answers_and_not_while_it_stands_still() {
    let installation = Installation::made();
    let run = installation.command("serve", &[]).variable("WATCHDOG_USEC", "400000");
    let daemon = installation.serve_with(&run);
    let manager = daemon.manager();
    for _ in 0..3 {
        until(&manager, "WATCHDOG=1");
    }
    if !is_root() {
        return not_run("it takes root to keep a thread of another process from running");
    }
    let held = hold(daemon.id(), "writer");
    eventually("it is said", || daemon.said().contains("the store does not answer"));
    // What was on its way is taken from the queue; from then on nothing comes, for far longer than it was to.
    let mut buffer = [0; 256];
    while manager.recv(&mut buffer).is_ok() {}
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        let heard = manager.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        assert!(!heard.as_ref().is_ok_and(|word| word.starts_with("WATCHDOG=1")), "it was fed");
    }
    block_on(async {
        let sealed = daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap();
        assert!(!sealed.ciphertext.is_empty(), "what needs memory alone is served meanwhile");
    });
    drop(held);
    until(&manager, "WATCHDOG=1");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn nobody_is_told_of_a_watchdog_that_watches_another_process() {
    let installation = Installation::made();
    let run = installation.command("serve", &[]).variable("WATCHDOG_USEC", "40000").variable("WATCHDOG_PID", "1");
    let daemon = installation.serve_with(&run);
    let manager = daemon.manager();
    daemon.signal("HUP");
    let heard = until(&manager, "STATUS=");
    assert!(!heard.iter().any(|line| line.starts_with("WATCHDOG")), "{heard:?}");
    assert!(Path::new(&installation.path("keyd.sock")).exists());
}

/// The thread of this name, once it waits.
fn hold(process: u32, called: &str) -> Held {
    let mut held = None;
    eventually("the thread is held", || {
        let thread = threads(process).into_iter().find(|thread| thread.name == called);
        held = thread.and_then(|thread| Held::stop(thread.id, None));
        held.is_some()
    });
    held.unwrap()
}
