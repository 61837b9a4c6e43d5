//! Sockets that the service manager holds: what is served on them, and what whoever waits there meets when the start fails.
//!
//! Must never wait for a daemon that did not start but in its sockets' own queue. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire};
use crate::harness::{DEADLINE, Installation, KEYD, block_on, is_root, random_key, wait};
use servos_keyd::proto::v1;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use tonic::Code;

/// Makes a start fail.
type Spoil = fn(&mut Installation);

/// The two sockets as a service manager holds them.
struct Manager {
    installation: Installation,
    component: UnixListener,
    admin: UnixListener,
}

impl Manager {
    fn of(installation: Installation) -> Self {
        let [component, admin] =
            ["keyd.sock", "keyd-admin.sock"].map(|name| UnixListener::bind(installation.path(name)).unwrap());
        Self { installation, component, admin }
    }

    /// Starts the daemon as the service manager would, with these variables for it. A shell moves the sockets to where they
    /// must lie and becomes the daemon.
    fn start(&self, variables: &str) -> Child {
        let run = self.installation.command("serve", &[]);
        let arguments: Vec<&str> = run.arguments.iter().map(|word| word.to_str().unwrap()).collect();
        let moves = "exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$";
        let line = format!("{moves} {variables}; exec '{KEYD}' {}", arguments.join(" "));
        let handed = |listener: &UnixListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        Command::new("/bin/sh")
            .args(["-c", &line])
            .env_clear()
            .stdin(handed(&self.component))
            .stdout(handed(&self.admin))
            .stderr(std::fs::File::create(self.said_in()).unwrap())
            .spawn()
            .unwrap()
    }

    fn said_in(&self) -> std::path::PathBuf {
        self.installation.path("said")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.said_in()).unwrap()
    }

    /// What a call on the socket is answered.
    fn asked(&self, socket: &str, service: &str) -> (Option<Code>, String) {
        block_on(async {
            let wire = Wire::connect(&self.installation.path(socket)).await;
            let answer = match service {
                KEY_ADMIN => wire.call(service, "GetStatus", &v1::GetStatusRequest {}).await,
                _ => wire.call(service, "WhoAmI", &v1::WhoAmIRequest {}).await,
            };
            (answer.code, answer.text)
        })
    }

    /// How a start ends that fails, with what those were answered who waited for it on both sockets.
    fn fails(&self, variables: &str) -> (Option<i32>, [(Option<Code>, String); 2]) {
        let mut daemon = None;
        let answers = std::thread::scope(|scope| {
            let asking = [("keyd.sock", KEY_SERVICE), ("keyd-admin.sock", KEY_ADMIN)]
                .map(|(socket, service)| scope.spawn(move || self.asked(socket, service)));
            daemon = Some(self.start(variables));
            asking.map(|asked| asked.join().unwrap())
        });
        let ended = wait(&mut daemon.unwrap(), DEADLINE).unwrap_or_else(|| panic!("it did not end: {}", self.said()));
        (ended.code(), answers)
    }
}

const BOTH: &str = "LISTEN_FDS=2 LISTEN_FDNAMES=component:admin";

#[test]
fn both_sockets_are_served_by_name_and_by_path_and_left_where_they_are() {
    for variables in [BOTH, "LISTEN_FDS=2", "LISTEN_FDS=2 LISTEN_FDNAMES=servos-keyd.socket:servos-keyd-admin.socket"] {
        let manager = Manager::of(Installation::made());
        let mut daemon = manager.start(variables);
        assert_eq!(manager.asked("keyd.sock", KEY_SERVICE).0, Some(Code::Ok), "{variables}: {}", manager.said());
        assert_eq!(manager.asked("keyd.sock", KEY_ADMIN).0, Some(Code::Unimplemented));
        assert_eq!(manager.asked("keyd-admin.sock", KEY_ADMIN).0, Some(Code::Ok));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert!(
            manager.installation.path("keyd.sock").exists() && manager.installation.path("keyd-admin.sock").exists()
        );
    }
}

#[test]
fn who_waits_for_a_start_that_fails_is_answered_and_root_is_told_why() {
    let causes: [(i32, &str, Spoil); 4] = [
        (66, "no store at", |installation| std::fs::remove_dir_all(installation.path("backup")).unwrap()),
        (78, "MASTER KEY INTEGRITY CHECK FAILED", |installation| installation.write_key(random_key())),
        (66, "there is no such file", |installation| std::fs::remove_file(installation.path("master.key")).unwrap()),
        (74, "damaged", |installation| {
            let mut bytes = std::fs::read(installation.path("keyd.redb")).unwrap();
            bytes[4096..8192].fill(0);
            std::fs::write(installation.path("keyd.redb"), bytes).unwrap();
        }),
    ];
    for (code, cause, spoil) in causes {
        let mut installation = if cause == "no store at" { Installation::new() } else { Installation::made() };
        if cause == "no store at" {
            std::fs::create_dir_all(installation.path("backup")).unwrap();
        }
        spoil(&mut installation);
        let manager = Manager::of(installation);
        let (ended, [component, admin]) = manager.fails(BOTH);
        assert_eq!(ended, Some(code), "{cause}: {}", manager.said());
        assert!(manager.said().contains(cause), "{}", manager.said());
        for (answered, why) in [&component, &admin] {
            assert_eq!(*answered, Some(Code::Unavailable), "{cause}: {why}");
            assert!(why.starts_with("servos-keyd did not start"), "{why}");
        }
        assert!(!component.1.contains(cause), "{}", component.1);
        assert_eq!(admin.1.contains(cause), is_root(), "{}", admin.1);
    }
}

#[test]
fn the_call_after_the_mending_is_answered_on_the_same_sockets() {
    let installation = Installation::made();
    let key = std::fs::read(installation.path("master.key")).unwrap();
    installation.write_key(random_key());
    let manager = Manager::of(installation);
    for _ in 0..3 {
        assert_eq!(manager.fails(BOTH).0, Some(78));
    }
    std::fs::write(manager.installation.path("master.key"), key).unwrap();
    let mut daemon = manager.start(BOTH);
    assert_eq!(manager.asked("keyd.sock", KEY_SERVICE).0, Some(Code::Ok));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_stop_while_those_who_wait_are_answered_ends_with_the_code_of_the_failure() {
    let installation = Installation::made();
    installation.write_key(random_key());
    let manager = Manager::of(installation);
    let mut daemon = manager.start(BOTH);
    assert_eq!(manager.asked("keyd.sock", KEY_SERVICE).0, Some(Code::Unavailable));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    assert_eq!(wait(&mut daemon, DEADLINE).unwrap().code(), Some(78));
}

#[test]
fn each_malformed_variable_is_refused_by_its_name() {
    let manager = Manager::of(Installation::made());
    for (variables, said) in [
        ("LISTEN_FDS=many", "LISTEN_FDS is not a number"),
        ("LISTEN_FDS=", "LISTEN_FDS is not a number"),
        ("LISTEN_FDS=-1", "LISTEN_FDS is not a number"),
        ("LISTEN_FDS=0", "LISTEN_FDS is 0"),
        ("LISTEN_FDS=65", "LISTEN_FDS is 65"),
        ("LISTEN_PID=self LISTEN_FDS=1", "LISTEN_PID is not the number of a process"),
        ("LISTEN_PID=0 LISTEN_FDS=1", "LISTEN_PID is not the number of a process"),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=component", "LISTEN_FDNAMES holds 1 names"),
        ("LISTEN_FDS=1 LISTEN_FDNAMES=component:admin", "LISTEN_FDNAMES holds 2 names"),
        ("LISTEN_FDS=3 LISTEN_FDNAMES=a:b:c", "LISTEN_FDS counts descriptor 5 (c), which is not open"),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=component:component", "LISTEN_FDNAMES: the inherited socket \"component\""),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=admin:component", "is for more than one purpose, by its name and by its path"),
    ] {
        let mut daemon = manager.start(variables);
        let ended = wait(&mut daemon, DEADLINE);
        let code = ended.and_then(|status| status.code());
        let text = manager.said();
        assert!(code == Some(78) && text.contains(said), "{variables}: {code:?} {text}");
    }
}
