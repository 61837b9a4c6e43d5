//! The operations a peer can be permitted, one type for each, so that a permit names its own.
//!
//! Must never list an operation that no RPC or right stands for.
//! Called by `policy`, `permit`, and every file of `operations`.

use super::key_name::KeyName;

/// Who an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Every peer that can open a socket.
    Component,
    /// Administrators alone.
    Administration,
    /// Every peer that can open the socket of the metrics.
    Monitoring,
}

/// Something a peer may be permitted to do. Implemented here only.
pub trait Operation: sealed::Sealed {
    /// The name of the RPC, or of the right.
    const NAME: &'static str;
    /// Who it is for.
    const CLASS: Class;
    /// What a permit for it names: a key, or nothing.
    type Key;
}

/// An operation that is permitted key by key.
pub trait Keyed: Operation<Key = KeyName> {}

/// An operation that concerns no one key.
pub trait Whole: Operation<Key = ()> {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! key_of {
    (Keyed) => {
        KeyName
    };
    (Whole) => {
        ()
    };
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: $class:ident, $scope:tt;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name;
            impl sealed::Sealed for $name {}
            impl Operation for $name {
                const NAME: &'static str = stringify!($name);
                const CLASS: Class = Class::$class;
                type Key = key_of!($scope);
            }
            impl $scope for $name {}
        )*

        /// Every operation with its class, in the order of this file.
        pub const ALL: &[(&str, Class)] = &[$((stringify!($name), Class::$class)),*];
    };
}

operations! {
    /// Sealing under a key.
    Encrypt: Component, Keyed;
    /// Opening what a key sealed.
    Decrypt: Component, Keyed;
    /// Moving a ciphertext to the primary version of its key.
    ReEncrypt: Component, Keyed;
    /// Changing a ciphertext's key or context: a right beside `ReEncrypt`.
    Relabel: Component, Keyed;
    /// Checking a canary.
    VerifyCanary: Component, Whole;
    /// Getting a canary.
    IssueCanary: Component, Whole;
    /// Getting the sealed keyring.
    ExportKeyring: Component, Whole;
    /// Asking who one is.
    WhoAmI: Component, Whole;
    /// Asking for the daemon's state.
    GetStatus: Administration, Whole;
    /// Listing keys.
    ListKeys: Administration, Whole;
    /// Making a key.
    CreateKey: Administration, Keyed;
    /// Adding a version to a key.
    RotateKey: Administration, Keyed;
    /// Taking a key's name away.
    DeleteKey: Administration, Keyed;
    /// Holding a former master key.
    AdoptLegacyKey: Administration, Whole;
    /// Dropping a former master key.
    RetireLegacyKey: Administration, Whole;
    /// Beginning a rotation of the master key.
    Rotate: Administration, Whole;
    /// Ending it with the new key.
    FinishRotation: Administration, Whole;
    /// Ending it with the old key.
    AbortRotation: Administration, Whole;
    /// Making a backup.
    Backup: Administration, Whole;
    /// Keeping that a drill succeeded.
    RecordDrill: Administration, Whole;
    /// Reading the metrics: of the daemon's state, the numbers.
    ReadMetrics: Monitoring, Whole;
}
