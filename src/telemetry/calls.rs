//! Counts of calls: how many of each operation, how long they took, and how those ended that did not succeed.
//!
//! Must never allocate, lock or wait for a call: every one of them passes through here.
//! Counted by `server`; read for status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Every RPC of the contract by its name, with the path of its requests; the last stands for whatever else was asked:
/// health, reflection, and what does not exist.
pub const OPERATIONS: [(&str, &str); 20] = [
    ("Encrypt", "/servos.keyd.v1.KeyService/Encrypt"),
    ("Decrypt", "/servos.keyd.v1.KeyService/Decrypt"),
    ("ReEncrypt", "/servos.keyd.v1.KeyService/ReEncrypt"),
    ("VerifyCanary", "/servos.keyd.v1.KeyService/VerifyCanary"),
    ("IssueCanary", "/servos.keyd.v1.KeyService/IssueCanary"),
    ("ExportKeyring", "/servos.keyd.v1.KeyService/ExportKeyring"),
    ("WhoAmI", "/servos.keyd.v1.KeyService/WhoAmI"),
    ("GetStatus", "/servos.keyd.v1.KeyAdmin/GetStatus"),
    ("ListKeys", "/servos.keyd.v1.KeyAdmin/ListKeys"),
    ("CreateKey", "/servos.keyd.v1.KeyAdmin/CreateKey"),
    ("RotateKey", "/servos.keyd.v1.KeyAdmin/RotateKey"),
    ("DeleteKey", "/servos.keyd.v1.KeyAdmin/DeleteKey"),
    ("AdoptLegacyKey", "/servos.keyd.v1.KeyAdmin/AdoptLegacyKey"),
    ("RetireLegacyKey", "/servos.keyd.v1.KeyAdmin/RetireLegacyKey"),
    ("Rotate", "/servos.keyd.v1.KeyAdmin/Rotate"),
    ("FinishRotation", "/servos.keyd.v1.KeyAdmin/FinishRotation"),
    ("AbortRotation", "/servos.keyd.v1.KeyAdmin/AbortRotation"),
    ("Backup", "/servos.keyd.v1.KeyAdmin/Backup"),
    ("RecordDrill", "/servos.keyd.v1.KeyAdmin/RecordDrill"),
    (OTHER, ""),
];

/// The name of what is no RPC of the contract.
pub const OTHER: &str = "other";

/// The codes of gRPC in their order, the first of which is success. Source: gRPC, "Status codes and their use".
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of [`CODES`] for a call that nobody waited for any more.
pub const CANCELLED: usize = 1;
/// The number of [`CODES`] for an answer that has no code.
pub const UNKNOWN: usize = 2;

/// The upper bounds of the buckets of durations, in microseconds: 1, 2 and 5 of each power of ten. What took longer than
/// the last is in one more bucket.
pub const BOUNDS_US: [u64; 21] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000,
];

/// How many buckets there are.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// The counts of one daemon, from its start on.
#[derive(Debug, Default)]
pub struct Calls {
    operations: [Counts; OPERATIONS.len()],
    codes: [AtomicU64; CODES.len()],
}

#[derive(Debug, Default)]
struct Counts {
    errors: AtomicU64,
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// What was counted of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its name.
    pub operation: &'static str,
    /// Calls that did not succeed.
    pub errors: u64,
    /// How long all calls took together, in microseconds.
    pub total_us: u64,
    /// Calls by duration: one number for each of [`BOUNDS_US`], and one for what took longer.
    pub buckets: [u64; BUCKETS],
}

impl Calls {
    /// Counts a call of the operation with this number in [`OPERATIONS`], by the number of its code in [`CODES`].
    pub fn count(&self, operation: usize, code: usize, took: Duration) {
        let Some(counts) = self.operations.get(operation) else { return };
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counts.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        if let Some(bucket) = counts.buckets.get(bucket_of(nanoseconds)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if code != 0 {
            counts.errors.fetch_add(1, Ordering::Relaxed);
            if let Some(errors) = self.codes.get(code).or(self.codes.get(UNKNOWN)) {
                errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What was counted, in the order of [`OPERATIONS`]. Of a call that is counted meanwhile, a part may be in it.
    #[must_use]
    pub fn counted(&self) -> Vec<Counted> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counted = |((operation, _), counts): (&(&'static str, &str), &Counts)| Counted {
            operation,
            errors: read(&counts.errors),
            total_us: read(&counts.nanoseconds) / 1_000,
            buckets: counts.buckets.each_ref().map(read),
        };
        OPERATIONS.iter().zip(&self.operations).map(counted).collect()
    }

    /// Calls that did not succeed, by code.
    #[must_use]
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        let counts = self.codes.iter().map(|count| count.load(Ordering::Relaxed));
        CODES.into_iter().zip(counts).skip(1).collect()
    }
}

/// The number of a request's operation in [`OPERATIONS`].
#[must_use]
pub fn operation_of(path: &str) -> usize {
    OPERATIONS.iter().position(|(_, known)| *known == path).unwrap_or(OPERATIONS.len() - 1)
}

fn bucket_of(nanoseconds: u64) -> usize {
    BOUNDS_US.partition_point(|bound| bound * 1_000 < nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for (nanoseconds, bucket) in [
            (0, 0),
            (10_000, 0),
            (10_001, 1),
            (17_000, 1),
            (50_000, 2),
            (50_000_000_000, 20),
            (50_000_000_001, 21),
            (u64::MAX, 21),
        ] {
            assert_eq!(bucket_of(nanoseconds), bucket, "{nanoseconds}");
        }
        assert!(BOUNDS_US.is_sorted());
    }

    #[test]
    fn calls_and_errors_are_counted_by_operation_and_errors_by_code() {
        let calls = Calls::default();
        let (encrypt, none) =
            (operation_of("/servos.keyd.v1.KeyService/Encrypt"), operation_of("/servos.keyd.v1.KeyAdmin/Encrypt"));
        calls.count(encrypt, 0, Duration::from_micros(15));
        calls.count(encrypt, 7, Duration::from_micros(15));
        calls.count(none, 12, Duration::from_secs(60));
        // A code that gRPC does not have.
        calls.count(none, 99, Duration::ZERO);
        calls.count(usize::MAX, 0, Duration::ZERO);
        let counted = calls.counted();
        let of = |name: &str| counted.iter().find(|one| one.operation == name).unwrap();
        assert_eq!((of("Encrypt").errors, of("Encrypt").total_us, of("Encrypt").buckets[1]), (1, 30, 2));
        assert_eq!((of(OTHER).errors, of(OTHER).buckets[0], of(OTHER).buckets[21]), (2, 1, 1));
        assert_eq!(counted.iter().flat_map(|one| one.buckets).sum::<u64>(), 4);
        let errors: Vec<_> = calls.errors().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(errors, [("UNKNOWN", 1), ("PERMISSION_DENIED", 1), ("UNIMPLEMENTED", 1)]);
    }

    #[test]
    fn calls_counted_from_many_threads_are_all_there() {
        let calls = Calls::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let calls = &calls;
                scope.spawn(move || (0..1_000).for_each(|_| calls.count(0, thread, Duration::from_nanos(1))));
            }
        });
        let counted = &calls.counted()[0];
        assert_eq!((counted.buckets[0], counted.errors, counted.total_us), (4_000, 3_000, 4));
    }
}
