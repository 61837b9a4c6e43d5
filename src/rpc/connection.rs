//! One connection's service: routes its calls, each with the peer that the kernel named when it connected.
//!
//! Must never let a call through without a peer, nor show on a socket what it does not serve.
//! Called by `server`, once for each connection.

use super::budget::charged;
use super::key_admin::KeyAdminHandler;
use super::key_service::KeyServiceHandler;
use super::received::{MAX_MESSAGE_BYTES, Received};
use super::status::{UNAUTHENTICATED, too_much};
use crate::auth::peer::{Peer, PeerCredentials, Socket};
use crate::proto::codec::MALFORMED;
use crate::proto::v1::key_admin_server::KeyAdminServer;
use crate::proto::v1::key_service_server::KeyServiceServer;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

/// What a call to reflection may hold: an answer that is not taken, and questions that then are not read, which h2 keeps in
/// pieces as small as they came, each in a buffer of 8 KiB.
const REFLECTION_BYTES: usize = 8 << 20;

type Answer = http::Response<Body>;
type BoxFuture = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// The calls whose requests carry a master key.
const CARRY_A_KEY: [&str; 2] = ["/servos.keyd.v1.KeyAdmin/AdoptLegacyKey", "/servos.keyd.v1.KeyAdmin/Rotate"];

/// Whether a request can carry a master key.
#[must_use]
pub fn carries_a_key<B>(request: &http::Request<B>) -> bool {
    CARRY_A_KEY.contains(&request.uri().path())
}

/// What one socket serves.
pub struct Services {
    socket: Socket,
    key_service: KeyServiceServer<KeyServiceHandler>,
    key_admin: Option<KeyAdminServer<KeyAdminHandler>>,
    health: HealthServer<HealthService>,
    reflection: Reflection,
}

/// Reflection in both versions: grpcurl 1.8 and Python's grpcio-reflection speak the older.
///
/// Each is made when it is first asked for: the decoded descriptors are larger than all keys together, and components
/// never ask.
struct Reflection {
    administers: bool,
    v1: OnceLock<Result<BoxedService, BadDescriptors>>,
    v1alpha: OnceLock<Result<BoxedService, BadDescriptors>>,
}

type BoxedService = Box<dyn Fn(http::Request<Received>) -> BoxFuture + Send + Sync>;
type BadDescriptors = tonic_reflection::server::Error;

impl Services {
    /// What a socket serves: `KeyAdmin` only where a handler for it is given.
    #[must_use]
    pub fn new(
        socket: Socket,
        key_service: KeyServiceHandler,
        key_admin: Option<KeyAdminHandler>,
        health: HealthService,
    ) -> Self {
        let administers = key_admin.is_some();
        Self {
            socket,
            key_service: KeyServiceServer::new(key_service)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            key_admin: key_admin.map(|handler| {
                KeyAdminServer::new(handler)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES)
            }),
            health: HealthServer::new(health),
            reflection: Reflection { administers, v1: OnceLock::new(), v1alpha: OnceLock::new() },
        }
    }
}

impl Reflection {
    fn v1(&self, request: http::Request<Received>) -> BoxFuture {
        ask(self.v1.get_or_init(|| Ok(boxed(self.builder().build_v1()?))), request)
    }

    fn v1alpha(&self, request: http::Request<Received>) -> BoxFuture {
        ask(self.v1alpha.get_or_init(|| Ok(boxed(self.builder().build_v1alpha()?))), request)
    }

    fn builder(&self) -> tonic_reflection::server::Builder<'static> {
        // Naming the services only shortens the list: a symbol is found in whatever is registered.
        let schema =
            if self.administers { crate::proto::FILE_DESCRIPTOR_SET } else { crate::proto::KEY_SERVICE_DESCRIPTOR_SET };
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(schema)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("servos.keyd.v1.KeyService")
            .with_service_name("grpc.health.v1.Health");
        if self.administers { builder.with_service_name("servos.keyd.v1.KeyAdmin") } else { builder }
    }
}

/// A test holds that nothing is wrong with the compiled descriptors.
fn ask(service: &Result<BoxedService, BadDescriptors>, request: http::Request<Received>) -> BoxFuture {
    match service {
        Ok(service) => service(request),
        Err(_) => Box::pin(refuse(Status::internal("the descriptors are malformed"))),
    }
}

fn boxed<S>(service: S) -> BoxedService
where
    S: Service<http::Request<Received>, Response = Answer, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |request| Box::pin(service.clone().call(request)))
}

/// The service of one connection.
#[derive(Clone)]
pub struct Connection {
    services: Arc<Services>,
    peer: Option<Peer>,
}

impl Connection {
    /// The service for a peer that has just connected; without credentials it refuses every call.
    #[must_use]
    pub fn new(services: Arc<Services>, credentials: Option<PeerCredentials>) -> Self {
        let socket = services.socket;
        Self { peer: credentials.map(|credentials| Peer { credentials, socket }), services }
    }

    fn route(&self, request: http::Request<Received>) -> BoxFuture {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
        match service {
            "servos.keyd.v1.KeyService" => self.services.key_service.clone().call(request),
            "servos.keyd.v1.KeyAdmin" => match &self.services.key_admin {
                Some(admin) => admin.clone().call(request),
                None => Box::pin(refuse(Status::unimplemented("KeyAdmin is served on the admin socket"))),
            },
            "grpc.health.v1.Health" => self.services.health.clone().call(request),
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection"
                if !charged(request.extensions(), REFLECTION_BYTES) =>
            {
                Box::pin(refuse(too_much()))
            }
            "grpc.reflection.v1.ServerReflection" => self.services.reflection.v1(request),
            "grpc.reflection.v1alpha.ServerReflection" => self.services.reflection.v1alpha(request),
            _ => Box::pin(refuse(Status::unimplemented("unknown service"))),
        }
    }
}

/// tonic answers a call that ends before its message with INTERNAL, which here is a bug of ours and carries an id. It is
/// the caller's mistake.
fn blame_the_caller(answer: Answer) -> Answer {
    const MISSING: &str = "Missing%20request%20message.";
    let says = |name: &str, text: &str| answer.headers().get(name).is_some_and(|value| value == text);
    if says("grpc-status", "13") && says("grpc-message", MISSING) {
        return Status::invalid_argument(MALFORMED).into_http();
    }
    answer
}

fn refuse(status: Status) -> Ready<Result<Answer, Infallible>> {
    ready(Ok(status.into_http()))
}

impl Service<http::Request<Received>> for Connection {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Received>) -> BoxFuture {
        let Some(peer) = self.peer else {
            return Box::pin(refuse(Status::unauthenticated(UNAUTHENTICATED)));
        };
        request.extensions_mut().insert(peer);
        let answer = self.route(request);
        Box::pin(async move { answer.await.map(blame_the_caller) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_descriptors_give_reflection_in_both_versions() {
        for administers in [false, true] {
            let reflection = Reflection { administers, v1: OnceLock::new(), v1alpha: OnceLock::new() };
            assert!(reflection.builder().build_v1().is_ok());
            assert!(reflection.builder().build_v1alpha().is_ok());
        }
    }
}
