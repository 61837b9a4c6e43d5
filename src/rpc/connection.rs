//! One connection's service: routes its calls, each with the peer that the kernel named when it connected.
//!
//! Must never let a call through without a peer, nor show on a socket what it does not serve.
//! Called by `server`, once for each connection.

use super::key_admin::KeyAdminHandler;
use super::key_service::KeyServiceHandler;
use super::status::UNAUTHENTICATED;
use crate::auth::peer::{Peer, PeerCredentials, Socket};
use crate::proto;
use crate::proto::v1::key_admin_server::KeyAdminServer;
use crate::proto::v1::key_service_server::KeyServiceServer;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

/// The largest message either way, in bytes: above the limits of the fields, so that those are what callers meet.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

type Answer = http::Response<Body>;
type BoxFuture = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// What one socket serves.
pub struct Services {
    socket: Socket,
    key_service: KeyServiceServer<KeyServiceHandler>,
    key_admin: Option<KeyAdminServer<KeyAdminHandler>>,
    health: HealthServer<HealthService>,
    reflection: Reflection,
}

/// Reflection in both versions: grpcurl 1.8 and Python's grpcio-reflection speak the older.
struct Reflection {
    v1: BoxedService,
    v1alpha: BoxedService,
}

type BoxedService = Box<dyn Fn(http::Request<hyper::body::Incoming>) -> BoxFuture + Send + Sync>;

impl Services {
    /// What a socket serves: `KeyAdmin` only where a handler for it is given.
    ///
    /// # Errors
    /// What is wrong with the compiled descriptors; a test holds that nothing is.
    pub fn new(
        socket: Socket,
        key_service: KeyServiceHandler,
        key_admin: Option<KeyAdminHandler>,
        health: HealthService,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let administers = key_admin.is_some();
        Ok(Self {
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
            reflection: Reflection::new(administers)?,
        })
    }
}

impl Reflection {
    fn new(administers: bool) -> Result<Self, tonic_reflection::server::Error> {
        // Naming the services bounds only their list: a symbol is looked up in every descriptor there is.
        let descriptors = if administers { proto::FILE_DESCRIPTOR_SET } else { proto::KEY_SERVICE_DESCRIPTOR_SET };
        let builder = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("servos.keyd.v1.KeyService")
                .with_service_name("grpc.health.v1.Health");
            if administers { builder.with_service_name("servos.keyd.v1.KeyAdmin") } else { builder }
        };
        Ok(Self { v1: boxed(builder().build_v1()?), v1alpha: boxed(builder().build_v1alpha()?) })
    }
}

fn boxed<S>(service: S) -> BoxedService
where
    S: Service<http::Request<hyper::body::Incoming>, Response = Answer, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
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

    fn route(&self, request: http::Request<hyper::body::Incoming>) -> BoxFuture {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
        match service {
            "servos.keyd.v1.KeyService" => self.services.key_service.clone().call(request),
            "servos.keyd.v1.KeyAdmin" => match &self.services.key_admin {
                Some(admin) => admin.clone().call(request),
                None => Box::pin(refuse(Status::unimplemented("KeyAdmin is served on the admin socket"))),
            },
            "grpc.health.v1.Health" => self.services.health.clone().call(request),
            "grpc.reflection.v1.ServerReflection" => (self.services.reflection.v1)(request),
            "grpc.reflection.v1alpha.ServerReflection" => (self.services.reflection.v1alpha)(request),
            _ => Box::pin(refuse(Status::unimplemented("unknown service"))),
        }
    }
}

fn refuse(status: Status) -> Ready<Result<Answer, Infallible>> {
    ready(Ok(status.into_http()))
}

impl Service<http::Request<hyper::body::Incoming>> for Connection {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<hyper::body::Incoming>) -> BoxFuture {
        let Some(peer) = self.peer else {
            return Box::pin(refuse(Status::unauthenticated(UNAUTHENTICATED)));
        };
        request.extensions_mut().insert(peer);
        self.route(request)
    }
}
