//! Every event the daemon logs, by name: what an operator may search for, and an alert may rest on.
//!
//! Must never hold a name that is not used; a renamed one breaks somebody's alert.
//! Named as the field `event` wherever the daemon logs.

/// Declares each event once, as a constant and in [`ALL`].
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $text;)+

        /// Every event of this list.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

events! {
    /// The configuration was read: which file, or the defaults.
    CONFIG_LOADED = "config.loaded";
    /// How memory that holds keys is protected; a warning where the kernel refused the better way.
    MEMORY_PROTECTED = "memory.protected";
    /// How far each half of the sandbox took; at every start.
    SANDBOX_ENTERED = "sandbox.entered";
    /// Half of the sandbox is missing, whole or in part: which, and why; or a directory stays closed, or a wide one open.
    SANDBOX_INCOMPLETE = "sandbox.incomplete";
    /// A socket listens: its path, its mode, and whether it was inherited.
    SOCKET_LISTENING = "socket.listening";
    /// The group that should own a socket does not exist; it keeps the daemon's primary group.
    SOCKET_GROUP_MISSING = "socket.group_missing";
    /// A socket's file was removed under the daemon, or another lies in its place.
    SOCKET_GONE = "socket.gone";
    /// Something about the place the master key comes from that should be mended.
    MASTER_KEY_SOURCE_WARNING = "master_key.source_warning";
    /// The canary opened: the master key is the store's.
    MASTER_KEY_VERIFIED = "master_key.verified";
    /// The master key is not the one this store was made with.
    MASTER_KEY_INTEGRITY_FAILED = "master_key.integrity_failed";
    /// A store was made, where none was, on the operator's word.
    STORE_CREATED = "store.created";
    /// The store was opened and checked: its generation, its keys.
    STORE_OPENED = "store.opened";
    /// The store's directory can be changed by its group.
    STORE_DIRECTORY_WRITABLE = "store.directory_writable";
    /// Something about the store's files, or about where they lie, that should be mended.
    STORE_PLACE_WARNING = "store.place_warning";
    /// A commit could not be made; the state before it stands.
    STORE_COMMIT_FAILED = "store.commit_failed";
    /// The high-water mark could not be written behind a commit; the commit stands.
    STORE_MARK_FAILED = "store.mark_failed";
    /// A commit reported a failure, and whether it was made cannot be told yet: no change until it can.
    STORE_UNSETTLED = "store.unsettled";
    /// It can be told now what became of a change that was unsettled.
    STORE_SETTLED = "store.settled";
    /// The store cannot be used, or for another reason than before; it is tried again until it can.
    STORE_FAILING = "store.failing";
    /// The store and its mark can be written again.
    STORE_RECOVERED = "store.recovered";
    /// Changes are refused until a restart: the store is not as this daemon left it.
    STORE_SUSPENDED = "store.suspended";
    /// A backup is durable: its file and generation.
    BACKUP_WRITTEN = "backup.written";
    /// A backup that is no condition of the change it follows could not be written.
    BACKUP_FAILED = "backup.failed";
    /// A backup that is due to go could not be removed.
    BACKUP_PRUNE_FAILED = "backup.prune_failed";
    /// A backup could not be looked at, to tell which key opens it.
    BACKUP_UNREADABLE = "backup.unreadable";
    /// A self-check found everything good: how much it looked at, and how long that took.
    SELF_CHECK_PASSED = "self_check.passed";
    /// A self-check found something wrong, and mended it: what, and how.
    SELF_CHECK_MENDED = "self_check.mended";
    /// A self-check found something that an operator must mend: what, and how.
    SELF_CHECK_FAILED = "self_check.failed";
    /// A drill succeeded and is kept: of which kind, and of which master key.
    DRILL_RECORDED = "drill.recorded";
    /// A rotation of the master key has begun: both keys open the store.
    ROTATION_BEGUN = "rotation.begun";
    /// A rotation is pending at a start: both keys open the store; what to do next.
    ROTATION_PENDING = "rotation.pending";
    /// The new master key alone opens the store from here on.
    ROTATION_FINISHED = "rotation.finished";
    /// The old master key alone opens the store from here on.
    ROTATION_ABORTED = "rotation.aborted";
    /// A rotation that was decided before the start goes on.
    ROTATION_RESUMED = "rotation.resumed";
    /// A step of a rotation could not be done; it is tried again.
    ROTATION_STOPPED = "rotation.stopped";
    /// The last step of a rotation is done.
    ROTATION_COMPLETE = "rotation.complete";
    /// What broke off before the start could not be finished yet.
    RESUME_FAILED = "daemon.resume_failed";
    /// A record that salvage could not open.
    SALVAGE_UNOPENED = "salvage.unopened";
    /// The daemon serves.
    DAEMON_READY = "daemon.ready";
    /// The daemon was told to stop and drains.
    DAEMON_STOPPING = "daemon.stopping";
    /// The daemon did not start: why, and its exit code.
    DAEMON_FAILED = "daemon.failed";
    /// Whoever waited in the service manager's sockets for a start that failed was not answered: why.
    WAITING_NOT_ANSWERED = "daemon.waiting_not_answered";
    /// A start ended before the daemon was there to say why: what the service manager says.
    START_PREVENTED = "daemon.start_prevented";
    /// The configuration was read again: what is in force now, and what takes a restart.
    CONFIG_RELOADED = "config.reloaded";
    /// The configuration was to be read again and is not valid: the one before stays in force.
    CONFIG_RELOAD_REFUSED = "config.reload_refused";
    /// The watchdog's self-test was not good: the service manager is not told that the daemon is well.
    WATCHDOG_NOT_FED = "watchdog.not_fed";
    /// The daemon ends: its keys are wiped.
    DAEMON_STOPPED = "daemon.stopped";
    /// A connection was closed before it was served: the socket, or its user, has as many as it may have.
    CONNECTION_REFUSED = "connection.refused";
    /// The kernel does not say who a peer is: each of its calls is denied. Said once in a burst.
    PEER_UNKNOWN = "connection.peer_unknown";
    /// Connections cannot be accepted, for want of descriptors or memory. Said once until they can be again.
    ACCEPT_FAILED = "socket.accept_failed";
    /// Connections are accepted again.
    ACCEPT_RESUMED = "socket.accept_resumed";
    /// Connections were left when the time of the drain was over; they are cut.
    DRAIN_INCOMPLETE = "daemon.drain_incomplete";
    /// A call was answered with a refusal: its RPC, code and reason; before it had an RPC, the user and the bytes it asked for.
    CALL_REFUSED = "call.refused";
    /// One user had more calls refused within a minute than are logged one by one: how many more.
    CALL_REFUSED_OFTEN = "call.refused_often";
    /// A call met a fault of the daemon or of what it stands on: its RPC, the fault's id and its chain.
    CALL_FAILED = "call.failed";
    /// Code of ours panicked: where, never why.
    PANICKED = "daemon.panicked";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn every_event_is_named_once() {
        assert_eq!(ALL.iter().collect::<BTreeSet<_>>().len(), ALL.len());
    }

    #[test]
    fn names_are_a_subject_and_a_word() {
        for name in ALL {
            let (subject, word) = name.split_once('.').unwrap();
            let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(plain(subject) && plain(word), "{name}");
        }
    }
}
