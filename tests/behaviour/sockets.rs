//! What each socket serves, and to whom: services, reflection, health, and peers of other users.
//!
//! Must never take a refusal of the file system for one of the daemon. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire};
use crate::harness::{Daemon, Installation, KEYCTL, block_on, is_root, not_run};
use prost::Message;
use servos_keyd::proto::v1;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use tonic::Code;
use tonic_health::pb as health;
use tonic_reflection::pb::{v1 as reflection, v1alpha};

/// A user that is neither root nor the one that stands for nobody.
const STRANGER: u32 = 54_321;

async fn services(wire: &Wire) -> Vec<Vec<String>> {
    use reflection::server_reflection_response::MessageResponse;
    let ask = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut listed = Vec::new();
    for version in ["v1", "v1alpha"] {
        let service = format!("grpc.reflection.{version}.ServerReflection");
        let answer = wire.call(&service, "ServerReflectionInfo", &ask).await;
        assert_eq!(answer.messages.len(), 1, "{answer:?}");
        // Both versions have the same fields.
        let response = reflection::ServerReflectionResponse::decode(answer.messages[0].as_slice()).unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = response.message_response else { panic!("{version}") };
        let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        names.sort();
        listed.push(names);
    }
    listed
}

async fn describes(wire: &Wire, symbol: &str) -> bool {
    use v1alpha::server_reflection_request::MessageRequest;
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol.to_owned())),
    };
    let service = "grpc.reflection.v1alpha.ServerReflection";
    let answer = wire.call(service, "ServerReflectionInfo", &ask).await;
    let Some(message) = answer.messages.first() else { return false };
    let response = v1alpha::ServerReflectionResponse::decode(message.as_slice()).unwrap();
    matches!(
        response.message_response,
        Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    )
}

#[test]
fn the_component_socket_neither_serves_nor_shows_key_admin() {
    let installation = Installation::made();
    let daemon = installation.serve();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        for method in [
            "GetStatus",
            "ListKeys",
            "CreateKey",
            "RotateKey",
            "DeleteKey",
            "AdoptLegacyKey",
            "RetireLegacyKey",
            "Backup",
            "RecordDrill",
        ] {
            wire.call_with(KEY_ADMIN, method, &[], &[]).await.refused(Code::Unimplemented);
        }
        for listed in services(&wire).await {
            assert!(listed.contains(&KEY_SERVICE.to_owned()) && !listed.contains(&KEY_ADMIN.to_owned()), "{listed:?}");
        }
        assert!(describes(&wire, KEY_SERVICE).await);
        for hidden in [KEY_ADMIN, "servos.keyd.v1.KeyAdmin.CreateKey", "servos.keyd.v1.GetStatusResponse"] {
            assert!(!describes(&wire, hidden).await, "{hidden} is shown");
        }
        if is_root() {
            let wire = Wire::connect(&daemon.admin_socket).await;
            for listed in services(&wire).await {
                assert!(
                    listed.contains(&KEY_SERVICE.to_owned()) && listed.contains(&KEY_ADMIN.to_owned()),
                    "{listed:?}"
                );
            }
            assert!(describes(&wire, KEY_ADMIN).await && describes(&wire, KEY_SERVICE).await);
        } else {
            not_run("the services of the admin socket: only root administers there");
        }
    });
}

#[test]
fn the_stores_own_records_are_in_no_reflection() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.admin_socket).await;
        for hidden in ["servos.keyd.store.v1.Master", "servos.keyd.store.v1.Version"] {
            assert!(!describes(&wire, hidden).await, "{hidden} is shown");
        }
    });
}

#[test]
fn unknown_methods_and_services_are_unimplemented() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.admin_socket).await;
        for path in [
            "/servos.keyd.v1.KeyService/Nothing",
            "/servos.keyd.v1.KeyService/",
            "/no.such.Service/Call",
            "/",
            "//",
            "/servos.keyd.v1.KeyService",
            "/servos.keyd.v1.keyservice/Encrypt",
            "/grpc.health.v1.Health/Nothing",
        ] {
            let answer = wire.send(path, crate::harness::wire::framed(&[]), &[]).await.unwrap();
            assert_eq!(answer.code, Some(Code::Unimplemented), "{path}: {answer:?}");
        }
    });
}

#[test]
fn health_is_told_for_the_whole_and_for_each_service() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        for service in ["", KEY_SERVICE, KEY_ADMIN] {
            let request = health::HealthCheckRequest { service: service.to_owned() };
            let answer = wire.call("grpc.health.v1.Health", "Check", &request).await;
            let response: health::HealthCheckResponse = answer.message();
            assert_eq!(response.status(), health::health_check_response::ServingStatus::Serving, "{service}");
        }
        let request = health::HealthCheckRequest { service: "no.such.Service".to_owned() };
        wire.call("grpc.health.v1.Health", "Check", &request).await.refused(Code::NotFound);
    });
}

#[test]
fn the_tool_tells_health_by_its_exit_code_to_whoever_may_open_the_socket() {
    let installation = Installation::made();
    let health = |socket: &Path, more: &[&str]| {
        let mut command = Command::new(KEYCTL);
        command.env_clear().arg("--socket").arg(socket).arg("health").args(more).output().unwrap()
    };
    let daemon = installation.serve_for_admin();
    for more in [&[][..], &["--service", KEY_SERVICE], &["--service", KEY_ADMIN]] {
        let well = health(&daemon.component_socket, more);
        assert_eq!((well.status.code(), said(&well).as_str()), (Some(0), "serving\n"), "{more:?}");
    }
    let json = health(&daemon.component_socket, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json, serde_json::json!({"service": "", "serving": true}));
    let unknown = health(&daemon.component_socket, &["--service", "no.such.Service"]);
    assert_eq!(unknown.status.code(), Some(66), "{}", said(&unknown));
    let nobody = health(&installation.path("no-such.sock"), &[]);
    assert_eq!(nobody.status.code(), Some(69), "{}", said(&nobody));
}

/// Runs the tool as another user, on a socket that the file system lets it reach or not.
fn as_stranger(installation: &Installation, socket: &Path, arguments: &[&str]) -> Output {
    let tool = installation.path("keyctl");
    if !tool.exists() {
        std::fs::copy(KEYCTL, &tool).unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(tool);
    command.arg("--socket").arg(socket).args(arguments).env_clear().current_dir("/").uid(STRANGER).gid(STRANGER);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn another_user_does_not_get_in_at_the_admin_socket_nor_past_policy_where_the_door_stands_open() {
    if !is_root() {
        return not_run("only root can become another user");
    }
    let installation = Installation::made();
    std::fs::set_permissions(installation.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let daemon: Daemon = installation.serve();
    let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&daemon.admin_socket), mode(&daemon.component_socket)), (0o600, 0o660));
    for socket in [&daemon.admin_socket, &daemon.component_socket] {
        let refused = as_stranger(&installation, socket, &["whoami"]);
        assert!(!refused.status.success(), "{}", said(&refused));
        assert!(said(&refused).to_lowercase().contains("may not open"), "{}", said(&refused));
    }
    // As if an operator had opened both doors: the kernel's word still counts.
    for socket in [&daemon.admin_socket, &daemon.component_socket] {
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).unwrap();
        let me = as_stranger(&installation, socket, &["--json", "whoami"]);
        assert!(me.status.success(), "{}", said(&me));
        assert!(said(&me).contains(&STRANGER.to_string()) && !said(&me).contains("CreateKey"), "{}", said(&me));
    }
    for arguments in [["keys", "list"], ["keys", "create"], ["keys", "rotate"]] {
        let arguments = if arguments[1] == "list" { arguments.to_vec() } else { [&arguments[..], &["mine"]].concat() };
        let refused = as_stranger(&installation, &daemon.admin_socket, &arguments);
        assert!(!refused.status.success(), "{}", said(&refused));
    }
    block_on(async {
        let list = v1::ListKeysRequest { key: "mine".to_owned(), ..v1::ListKeysRequest::default() };
        Wire::connect(&daemon.admin_socket).await.call(KEY_ADMIN, "ListKeys", &list).await.refused(Code::NotFound);
    });
    let outcome = daemon.stop().expect(0);
    assert!(outcome.said().contains("not permitted") || outcome.said().contains("may not call"), "{outcome:#?}");
}
