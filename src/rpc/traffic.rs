//! What goes on on the sockets, as the messages of GetStatus.
//!
//! Must never let the answer grow with the number of those who are connected beyond its bound.
//! Called by `convert`.

use crate::proto::v1;
use crate::telemetry::calls::{BOUNDS_US, Calls, Counted};
use crate::telemetry::connections::Connections;

/// The most processes in one answer.
const MAX_PEERS: usize = 1000;

pub(super) fn calls(calls: &Calls) -> v1::CallStatus {
    let operation = |counted: &Counted| v1::OperationStatus {
        operation: counted.operation.to_owned(),
        calls: counted.buckets.iter().sum(),
        errors: counted.errors,
        total_us: counted.total_us,
        buckets: counted.buckets.to_vec(),
    };
    let code = |(code, count): (&str, u64)| v1::CodeCount { code: code.to_owned(), count };
    v1::CallStatus {
        bounds_us: BOUNDS_US.to_vec(),
        operations: calls.counted().iter().map(operation).collect(),
        errors: calls.errors().into_iter().map(code).collect(),
    }
}

pub(super) fn connections(connections: &Connections) -> v1::ConnectionStatus {
    let sockets = connections.sockets().into_iter().map(|one| v1::SocketStatus {
        socket: one.socket.to_owned(),
        open: one.open,
        accepted: one.accepted,
        refused: one.refused,
    });
    let peers = connections.peers().into_iter().take(MAX_PEERS).map(|(peer, connections)| v1::PeerStatus {
        socket: peer.socket.to_owned(),
        uid: peer.uid,
        pid: peer.pid,
        connections,
    });
    v1::ConnectionStatus { sockets: sockets.collect(), peers: peers.collect() }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::calls::{CODES, OPERATIONS, OTHER};

    const CONTRACT: [(&str, &str); 2] = [
        ("KeyService", include_str!("../../proto/servos/keyd/v1/key_service.proto")),
        ("KeyAdmin", include_str!("../../proto/servos/keyd/v1/key_admin.proto")),
    ];

    #[test]
    fn every_rpc_of_the_contract_is_counted_under_its_own_name() {
        let declared = CONTRACT.iter().flat_map(|(service, file)| {
            let names = file.lines().filter_map(|line| line.strip_prefix("  rpc ")?.split('(').next());
            names.map(move |name| (name, format!("/servos.keyd.v1.{service}/{name}")))
        });
        let declared: Vec<(&str, String)> = declared.collect();
        assert!(declared.len() > 15, "{declared:?}");
        let counted: Vec<(&str, String)> = OPERATIONS.iter().map(|(name, path)| (*name, (*path).to_owned())).collect();
        let (other, counted) = counted.split_last().unwrap();
        assert_eq!((other.0, counted.len()), (OTHER, declared.len()));
        assert!(declared.iter().all(|rpc| counted.contains(rpc)), "{declared:?}");
    }

    #[test]
    fn every_code_has_the_number_that_grpc_gives_it() {
        for (number, name) in (0..).zip(CODES) {
            let spelled = format!("{:?}", tonic::Code::from_i32(number)).to_ascii_uppercase();
            assert_eq!(spelled, name.replace('_', ""), "{number}");
        }
    }
}
