//! What the daemon says of its own health, by the standard `grpc.health.v1`.
//!
//! Must never take silence, or an answer it does not know, for health.
//! Called by `servos-keyctl health`.

use super::error::Error;
use super::key_service::Client;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What the daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It stops, or cannot do what the service is for.
    NotServing,
    /// It tells of no service of that name.
    UnknownService,
}

impl Client {
    /// Asks how a service is, by its full name; "" asks for the whole.
    ///
    /// # Errors
    /// Those of every call; a daemon that is not well is no error.
    pub async fn health(&self, service: &str) -> Result<Health, Error> {
        let answer = self.connection.call(|attempt| {
            let request = attempt.request(HealthCheckRequest { service: service.to_owned() });
            let mut health = HealthClient::new(attempt.channel());
            async move {
                match health.check(request).await {
                    Ok(answer) => Ok(Some(answer.into_inner().status())),
                    // The daemon's own word, and not that of a connection.
                    Err(status) if status.code() == Code::NotFound => Ok(None),
                    Err(status) => Err(status),
                }
            }
        });
        Ok(match answer.await? {
            Some(ServingStatus::Serving) => Health::Serving,
            Some(ServingStatus::NotServing | ServingStatus::Unknown) => Health::NotServing,
            Some(ServingStatus::ServiceUnknown) | None => Health::UnknownService,
        })
    }
}
