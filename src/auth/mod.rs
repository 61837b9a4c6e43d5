//! Who may do what: from a peer's credentials to a permit that only the check can make.
//!
//! Must never let a call through because something was missing: absent credentials are a denial.
//! Called by `rpc` (admission when a call arrives) and `operations` (the key, once it is resolved).

pub mod key_name;
pub mod operation;
pub mod peer;
pub mod permit;
pub mod policy;
