//! A system that gives the daemon fewer threads than it needs.
//!
//! Must never count as run where this process is not root: root alone runs a daemon as a user with a limit. Run by
//! `cargo test`.

use crate::harness::{Daemon, Installation, NOBODY, Restricted, is_root, not_run};

#[test]
fn a_start_that_gets_too_few_threads_ends_with_a_reason_and_leaves_the_store_as_it_was() {
    if !is_root() {
        return not_run("only root can run a daemon as another user");
    }
    let installation = Installation::made_for_nobody();
    let before = installation.files();
    // With each of them it gets as far as to another thread.
    for threads in [1, 2, 3] {
        let few = Restricted { threads: Some(threads), ..Restricted::default() };
        let start = installation.command("serve", &[]).run_as(NOBODY).restricted(few);
        let refused = Daemon::refused(&start).expect(75);
        refused.saying(&["the system gives the daemon no thread", "TasksMax="]);
    }
    assert_eq!(installation.files(), before);
}
