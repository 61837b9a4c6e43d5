//! The typed calls of a rotation of the master key: begin, finish, abort.
//!
//! Must never take an answer about another rotation, or a change for a dry run.
//! Called by `servos-keyctl rotate`, by installers and by the tests.

use super::error::Error;
use super::key_admin::AdminClient;
use crate::proto::v1::key_admin_client::KeyAdminClient;
use crate::proto::v1::{
    AbortRotationRequest, AbortRotationResponse, FinishRotationRequest, FinishRotationResponse, RotateRequest,
    RotateResponse, Rotation,
};
use std::fmt;
use uuid::Uuid;

/// How to begin a rotation.
///
/// # Security
/// What passes through the transport's buffers is wiped only in a process whose allocator zeroizes what is freed.
#[derive(Clone, Copy, Default)]
pub struct BeginRotation<'k> {
    /// The new key: 16 hex digits.
    pub new_key_fingerprint: &'k str,
    /// The new key as its file has it, 64 hex or 44 base64 characters; none where the daemon reads it from the file that
    /// its status names as `next_file`.
    pub new_key: Option<&'k [u8]>,
    /// Gives the data keys no new versions at the end.
    pub keep_data_keys: bool,
    /// Checks everything and changes nothing.
    pub dry_run: bool,
}

impl fmt::Debug for BeginRotation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BeginRotation")
            .field("new_key_fingerprint", &self.new_key_fingerprint)
            .field("keep_data_keys", &self.keep_data_keys)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// How to abort a rotation.
#[derive(Clone, Copy, Default, Debug)]
pub struct AbortRotation<'k> {
    /// The key that the rotation was begun with: 16 hex digits.
    pub new_key_fingerprint: &'k str,
    /// Gives every data key a new version all the same.
    pub new_data_keys: bool,
    /// Checks everything and changes nothing.
    pub dry_run: bool,
}

impl AdminClient {
    /// Begins a rotation: from then on the key in use and the new one both open the store.
    ///
    /// # Errors
    /// [`Error::Precondition`] if a rotation is under way, the key is not new or is not found, [`Error::Invalid`] if it is
    /// malformed, [`Error::StoreUnavailable`] without a backup, and those of every call.
    pub async fn rotate(&self, begin: &BeginRotation<'_>) -> Result<RotateResponse, Error> {
        let request_id = request_id(begin.dry_run);
        let message = || RotateRequest {
            new_key_fingerprint: begin.new_key_fingerprint.to_owned(),
            new_key: begin.new_key.map(<[u8]>::to_vec).unwrap_or_default(),
            request_id: request_id.clone(),
            keep_data_keys: begin.keep_data_keys,
            dry_run: begin.dry_run,
        };
        let send = |channel, request| async move { KeyAdminClient::new(channel).rotate(request).await };
        let answer = self.connection.unary(message, send).await?;
        check(begin.new_key_fingerprint, answer.rotation.as_ref(), (begin.dry_run, answer.dry_run))?;
        Ok(answer)
    }

    /// Ends a rotation with the new key, named by its fingerprint: from then on the old key opens nothing. The rest goes on
    /// behind the answer; [`AdminClient::status`] tells how far it is.
    ///
    /// # Errors
    /// [`Error::Precondition`] if no such rotation is pending or a key source does not yield the new key, and those of
    /// every call.
    pub async fn finish_rotation(
        &self,
        new_key_fingerprint: &str,
        dry_run: bool,
    ) -> Result<FinishRotationResponse, Error> {
        let request_id = request_id(dry_run);
        let message = || FinishRotationRequest {
            new_key_fingerprint: new_key_fingerprint.to_owned(),
            request_id: request_id.clone(),
            dry_run,
        };
        let send = |channel, request| async move { KeyAdminClient::new(channel).finish_rotation(request).await };
        let answer = self.connection.unary(message, send).await?;
        check(new_key_fingerprint, answer.rotation.as_ref(), (dry_run, answer.dry_run))?;
        Ok(answer)
    }

    /// Ends a rotation with the old key: from then on the new one opens nothing. The rest goes on behind the answer.
    ///
    /// # Errors
    /// [`Error::Precondition`] if no such rotation is pending or a key source yields the new key, and those of every call.
    pub async fn abort_rotation(&self, abort: &AbortRotation<'_>) -> Result<AbortRotationResponse, Error> {
        let request_id = request_id(abort.dry_run);
        let message = || AbortRotationRequest {
            new_key_fingerprint: abort.new_key_fingerprint.to_owned(),
            request_id: request_id.clone(),
            new_data_keys: abort.new_data_keys,
            dry_run: abort.dry_run,
        };
        let send = |channel, request| async move { KeyAdminClient::new(channel).abort_rotation(request).await };
        let answer = self.connection.unary(message, send).await?;
        check(abort.new_key_fingerprint, answer.rotation.as_ref(), (abort.dry_run, answer.dry_run))?;
        Ok(answer)
    }
}

/// What changes nothing needs no memory of having been done.
fn request_id(dry_run: bool) -> String {
    if dry_run { String::new() } else { Uuid::new_v4().to_string() }
}

/// Passes an answer about the rotation that was asked for. `dry_run`: as asked, and as answered.
fn check(new_key: &str, rotation: Option<&Rotation>, dry_run: (bool, bool)) -> Result<(), Error> {
    if dry_run.0 != dry_run.1 {
        return Err(Error::against_contract(match dry_run.0 {
            true => "a dry run that is said to have changed something",
            false => "a change that is said to have changed nothing",
        }));
    }
    match rotation {
        Some(rotation) if rotation.new_fingerprint.eq_ignore_ascii_case(new_key) => Ok(()),
        Some(_) => Err(Error::against_contract("a rotation to another key than the call names")),
        None => Err(Error::against_contract("a rotation that is not shown")),
    }
}

#[cfg(test)]
#[cfg(feature = "daemon")]
mod tests {
    use super::*;
    use crate::client::fake_daemon::{FakeDaemon, lock};
    use crate::client::key_service::Client;
    use std::sync::atomic::Ordering;
    use tempfile::TempDir;
    use tonic::Code;

    const NEW: &str = "00aabb2233445566";

    fn start() -> (TempDir, FakeDaemon, AdminClient) {
        let dir = tempfile::tempdir().unwrap();
        let daemon = FakeDaemon::start(&dir.path().join("keyd.sock"));
        let admin = AdminClient::new(&Client::new(&daemon.socket));
        (dir, daemon, admin)
    }

    fn begin(dry_run: bool) -> BeginRotation<'static> {
        BeginRotation { new_key_fingerprint: NEW, new_key: Some(b"sekrit"), keep_data_keys: true, dry_run }
    }

    fn abort(dry_run: bool) -> AbortRotation<'static> {
        AbortRotation { new_key_fingerprint: NEW, new_data_keys: true, dry_run }
    }

    #[tokio::test]
    async fn each_call_keeps_its_request_id_over_retries_and_a_dry_run_has_none() {
        let (_dir, daemon, admin) = start();
        daemon.rules.conflicts.store(1, Ordering::SeqCst);
        admin.rotate(&begin(false)).await.unwrap();
        daemon.rules.conflicts.store(1, Ordering::SeqCst);
        admin.finish_rotation(NEW, false).await.unwrap();
        daemon.rules.conflicts.store(1, Ordering::SeqCst);
        admin.abort_rotation(&abort(false)).await.unwrap();
        let ids = std::mem::take(&mut *lock(&daemon.rules.request_ids));
        assert_eq!(ids.len(), 6);
        assert!(ids.chunks(2).all(|pair| pair[0] == pair[1] && Uuid::parse_str(&pair[0]).is_ok()), "{ids:?}");
        assert!(ids[0] != ids[2] && ids[2] != ids[4], "{ids:?}");

        admin.rotate(&begin(true)).await.unwrap();
        admin.finish_rotation(NEW, true).await.unwrap();
        admin.abort_rotation(&abort(true)).await.unwrap();
        assert_eq!(*lock(&daemon.rules.request_ids), ["", "", ""]);
    }

    #[tokio::test]
    async fn what_was_asked_for_arrives() {
        let (_dir, daemon, admin) = start();
        admin.rotate(&begin(true)).await.unwrap();
        admin.rotate(&BeginRotation { new_key_fingerprint: NEW, ..BeginRotation::default() }).await.unwrap();
        let begun = lock(&daemon.rules.rotation.begun).clone();
        assert_eq!((begun[0].new_key.as_slice(), begun[0].keep_data_keys), (b"sekrit".as_slice(), true));
        assert_eq!((begun[1].new_key.as_slice(), begun[1].keep_data_keys), (b"".as_slice(), false));
        admin.abort_rotation(&abort(false)).await.unwrap();
        assert!(lock(&daemon.rules.rotation.aborted)[0].new_data_keys);
        assert!(!format!("{:?}", begin(true)).contains("sekrit"));
        assert!(!format!("{:?}", begin(true)).contains("115"), "the bytes show");
    }

    #[tokio::test]
    async fn an_answer_about_another_rotation_or_to_another_question_is_an_error() {
        let (_dir, daemon, admin) = start();
        let lies: [fn(&mut Option<Rotation>, &mut bool); 3] = [
            |rotation, _| *rotation = None,
            |rotation, _| rotation.as_mut().unwrap().new_fingerprint = "8899aabbccddeeff".into(),
            |_, dry_run| *dry_run = !*dry_run,
        ];
        for lie in lies {
            *lock(&daemon.rules.rotation.lie) = Some(lie);
            let answers = [
                admin.rotate(&begin(false)).await.map(|_| ()),
                admin.finish_rotation(NEW, true).await.map(|_| ()),
                admin.abort_rotation(&abort(true)).await.map(|_| ()),
            ];
            for answer in answers {
                assert!(matches!(answer, Err(Error::Unexpected { .. })), "{answer:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_daemons_words() {
        let (_dir, daemon, admin) = start();
        *lock(&daemon.rules.rotation.refusal) = Some((Code::FailedPrecondition, "the source has the old key".into()));
        for answer in [
            admin.rotate(&begin(true)).await.map(|_| ()),
            admin.finish_rotation(NEW, false).await.map(|_| ()),
            admin.abort_rotation(&abort(false)).await.map(|_| ()),
        ] {
            match answer {
                Err(Error::Precondition { reason }) => assert_eq!(reason, "the source has the old key"),
                other => panic!("{other:?}"),
            }
        }
    }
}
