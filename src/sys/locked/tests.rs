//! What locked memory promises, seen from outside: /proc/self/smaps, and the bytes after a drop.
//!
//! Must never wipe memory that another test uses: each test has an instance of its own.
//! Called by `cargo test`.
#![allow(unsafe_code, reason = "the tests look at memory whose owner is gone")]

use std::{collections::BTreeSet, fs, io::Read};

use super::*;
use crate::sys::apart;

pub(super) fn filled(memory: &LockedMemory, byte: u8) -> Secret {
    memory
        .secret::<LockedMemoryError>(|bytes| {
            bytes.fill(byte);
            Ok(())
        })
        .unwrap()
}

/// A second way in, for tests of the fallback on a kernel that needs none.
pub(super) fn by_mlock() -> LockedMemory {
    let region = Region::map(Protection::Mlock, 1).unwrap_or_else(|refusal| panic!("{}", refusal.reason()));
    LockedMemory::of(region, Protection::Mlock, Some("told to".to_owned()))
}

fn both() -> [LockedMemory; 2] {
    [LockedMemory::new().unwrap(), by_mlock()]
}

/// The access and the flags of the mapping that holds `address`, as in /proc/self/smaps.
fn mapping_of(address: usize) -> Option<(String, BTreeSet<String>)> {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut access = None;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-') {
            let (from, to) = (usize::from_str_radix(from, 16).unwrap(), usize::from_str_radix(to, 16).unwrap());
            access = (from..to).contains(&address).then(|| words.next().unwrap_or_default().to_owned());
        } else if let (Some(access), "VmFlags:") = (&access, first) {
            return Some((access.clone(), words.map(str::to_owned).collect()));
        }
    }
    None
}

fn read_raw(address: usize) -> u8 {
    // JUSTIFICATION: the test looks at a slot whose secret is gone.
    // SAFETY: the region is still mapped, because the instance that owns it lives.
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() }
}

#[test]
fn a_secret_lies_locked_undumped_and_unforked_between_guard_pages() {
    for memory in both() {
        let secret = filled(&memory, 1);
        let page = region::page_bytes();
        let start = secret.expose_bytes().as_ptr().addr() / page * page;
        let (access, flags) = mapping_of(start).unwrap();
        assert!(access.starts_with("rw-"), "{access}");
        for flag in ["lo", "dd", "dc"] {
            assert!(flags.contains(flag), "{:?} lacks {flag}: {flags:?}", memory.protection());
        }
        for guard in [start - 1, start + page] {
            assert!(mapping_of(guard).unwrap().0.starts_with("---"), "a guard page on each side");
        }
    }
}

#[test]
fn secret_memory_is_had_or_the_reason_is_told() {
    let memory = LockedMemory::new().unwrap();
    assert_eq!(memory.protection() == Protection::MemfdSecret, memory.fallback_reason().is_none());
}

#[test]
fn secret_memory_is_hidden_from_proc_mem_where_locked_memory_is_not() {
    use std::os::unix::fs::FileExt;
    let mem = fs::File::open("/proc/self/mem").unwrap();
    let mut seen = [0; SECRET_BYTES];
    let control = by_mlock();
    let secret = filled(&control, 0x5A);
    mem.read_exact_at(&mut seen, secret.expose_bytes().as_ptr().addr() as u64).unwrap();
    assert_eq!(seen, [0x5A; SECRET_BYTES], "the control: a locked page is read");
    let memory = LockedMemory::new().unwrap();
    assert_eq!(
        memory.protection(),
        Protection::MemfdSecret,
        "this test needs memfd_secret: {:?}",
        memory.fallback_reason()
    );
    let secret = filled(&memory, 0x5B);
    mem.read_exact_at(&mut seen, secret.expose_bytes().as_ptr().addr() as u64).unwrap_err();
}

#[test]
fn a_dropped_secret_is_wiped_and_its_slot_used_again() {
    for memory in both() {
        let secret = filled(&memory, 0xA5);
        let place = secret.expose_bytes().as_ptr().expose_provenance();
        assert_eq!(read_raw(place + 31), 0xA5);
        drop(secret);
        assert!((0..SECRET_BYTES).all(|at| read_raw(place + at) == 0));
        let again = filled(&memory, 1);
        assert_eq!(again.expose_bytes().as_ptr().addr(), place);
    }
}

#[test]
fn a_failed_or_panicking_fill_wipes_and_frees_the_slot() {
    let memory = LockedMemory::new().unwrap();
    let mut place = 0;
    let failed = memory.secret::<LockedMemoryError>(|bytes| {
        bytes.fill(9);
        place = bytes.as_ptr().expose_provenance();
        Err(LockedMemoryError::Wiped)
    });
    assert!(failed.is_err());
    assert_eq!(read_raw(place), 0);
    let shared = memory.clone();
    let panicked = std::thread::spawn(move || {
        shared.secret::<LockedMemoryError>(|bytes| {
            bytes.fill(9);
            panic!("a fill that panics on purpose")
        })
    });
    assert!(panicked.join().is_err());
    assert_eq!(read_raw(place), 0);
    assert_eq!(filled(&memory, 1).expose_bytes().as_ptr().addr(), place);
}

#[test]
fn ten_thousand_secrets_take_less_than_a_mebibyte_and_are_all_apart() {
    let memory = LockedMemory::new().unwrap();
    let secrets: Vec<_> = (0..10_000_u32)
        .map(|n| {
            let fill = |bytes: &mut [u8; 32]| {
                bytes[..4].copy_from_slice(&n.to_be_bytes());
                Ok::<(), LockedMemoryError>(())
            };
            memory.secret(fill).unwrap()
        })
        .collect();
    for (n, secret) in (0..).zip(&secrets) {
        assert_eq!(secret.expose_bytes()[..4], u32::to_be_bytes(n));
    }
    let locked: usize = hold(&memory.shared.slabs).iter().map(|slab| slab.region().len()).sum();
    assert!(locked < 1 << 20, "{locked} bytes");
}

#[test]
fn secrets_made_and_dropped_on_many_threads_never_share_a_slot() {
    let memory = LockedMemory::new().unwrap();
    std::thread::scope(|scope| {
        for thread in 1..=8 {
            let memory = &memory;
            scope.spawn(move || {
                for _ in 0..200 {
                    let held: Vec<_> = (0..20).map(|_| filled(memory, thread)).collect();
                    assert!(held.iter().all(|secret| secret.expose_bytes() == &[thread; 32]));
                }
            });
        }
    });
}

#[test]
fn a_secret_outlives_its_memory_and_the_last_one_unmaps_it() {
    let secret = filled(&LockedMemory::new().unwrap(), 3);
    assert_eq!(secret.expose_bytes(), &[3; 32]);
    let region = Arc::downgrade(&secret.slab);
    drop(secret);
    assert!(region.upgrade().is_none());
}

#[test]
fn a_wipe_of_all_takes_every_access_away_and_gives_no_more_secrets() {
    for memory in both() {
        let (secret, mut buffer) = (filled(&memory, 7), memory.buffer(100).unwrap());
        buffer.expose_spare_mut().fill(7);
        let places = [secret.expose_bytes().as_ptr().addr(), buffer.expose_spare_mut().as_ptr().addr()];
        memory.wipe_all();
        memory.wipe_all();
        for place in places {
            assert!(mapping_of(place).unwrap().0.starts_with("---"));
        }
        drop((secret, buffer));
        assert!(matches!(memory.buffer(1), Err(LockedMemoryError::Wiped)));
        let refused = memory.secret::<LockedMemoryError>(|_| Ok(()));
        assert!(matches!(refused, Err(LockedMemoryError::Wiped)));
    }
}

#[test]
fn a_buffer_takes_what_fits_and_says_when_a_source_is_too_long() {
    let memory = LockedMemory::new().unwrap();
    for (source, capacity, fits) in
        [(0, 0, true), (1, 0, false), (64, 64, true), (65, 64, false), (9_000, 8_192, false)]
    {
        let mut buffer = memory.buffer(capacity).unwrap();
        assert_eq!(
            buffer.read_from(&mut std::io::repeat(b'x').take(source)).unwrap(),
            fits,
            "{source} into {capacity}"
        );
        let held = buffer.expose_bytes();
        assert_eq!((held.len() as u64, held.iter().all(|byte| *byte == b'x')), (source.min(capacity as u64), true));
        assert!(
            buffer.expose_all()[buffer.len()..].iter().all(|byte| *byte == 0),
            "nothing is left behind the contents"
        );
    }
}

#[test]
fn a_buffer_keeps_a_range_and_wipes_the_rest() {
    let memory = LockedMemory::new().unwrap();
    for (range, left) in [(2..5, "cde"), (0..0, ""), (4..99, "ef"), (9..12, ""), (0..6, "abcdef")] {
        let mut buffer = memory.buffer(16).unwrap();
        assert!(buffer.read_from(&mut b"abcdef".as_slice()).unwrap());
        buffer.keep(range);
        assert_eq!(buffer.expose_bytes(), left.as_bytes());
        assert!(buffer.expose_all()[left.len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_buffer_is_filled_by_hand_and_cleared() {
    let mut buffer = LockedMemory::new().unwrap().buffer(8).unwrap();
    buffer.expose_spare_mut()[..3].copy_from_slice(b"abc");
    buffer.advance(3);
    assert_eq!(buffer.expose_bytes(), b"abc");
    assert_eq!(buffer.expose_spare_mut().len(), 5);
    buffer.advance(usize::MAX);
    assert_eq!(buffer.len(), 8);
    buffer.keep(0..0);
    assert!(buffer.is_empty() && buffer.expose_spare_mut() == [0; 8]);
}

#[test]
fn a_source_that_fails_leaves_what_was_read_and_an_interrupted_one_goes_on() {
    struct Faulty(Vec<std::io::ErrorKind>);
    impl Read for Faulty {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            room[0] = b'k';
            if let Some(kind) = self.0.pop() { Err(kind.into()) } else { Ok(1) }
        }
    }
    let mut buffer = LockedMemory::new().unwrap().buffer(4).unwrap();
    assert!(!buffer.read_from(&mut Faulty(vec![std::io::ErrorKind::Interrupted])).unwrap());
    assert_eq!(buffer.expose_bytes(), b"kkkk");
    buffer.keep(0..0);
    buffer.read_from(&mut Faulty(vec![std::io::ErrorKind::Other])).unwrap_err();
    assert!(buffer.is_empty());
}

#[test]
fn impossible_sizes_are_errors() {
    let memory = LockedMemory::new().unwrap();
    assert!(matches!(memory.buffer(usize::MAX), Err(LockedMemoryError::TooLarge(usize::MAX))));
    memory.buffer(usize::MAX - 8192).unwrap_err();
    memory.buffer(1 << 60).unwrap_err();
}

#[test]
fn nothing_secret_is_shown() {
    let memory = LockedMemory::new().unwrap();
    let (secret, buffer) = (filled(&memory, b'S'), memory.buffer(4).unwrap());
    let shown = format!("{memory:?} {secret:?} {buffer:?}");
    assert!(!shown.contains("83") && !shown.contains("SS"), "{shown}");
}

#[test]
fn no_descriptor_of_secret_memory_stays_open() {
    apart::in_a_process_of_its_own(module_path!(), "no_descriptor_of_secret_memory_stays_open", || {
        let memory = LockedMemory::new().unwrap();
        let _held = (filled(&memory, 1), memory.buffer(1).unwrap());
        if memory.protection() != Protection::MemfdSecret {
            return apart::not_run(&format!("this kernel has no memfd_secret: {:?}", memory.fallback_reason()));
        }
        let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let names: Vec<_> = open.map(|target| target.to_string_lossy().into_owned()).collect();
        assert!(!names.is_empty() && names.iter().all(|name| !name.contains("secretmem")), "{names:?}");
    });
}

#[test]
fn a_fork_that_reads_a_secret_is_stopped() {
    apart::in_a_process_of_its_own(module_path!(), "a_fork_that_reads_a_secret_is_stopped", || {
        for memory in both() {
            let secret = filled(&memory, 1);
            assert_eq!(apart::status_of_fork(|| ()), 0, "the control");
            let status = apart::status_of_fork(|| assert_eq!(secret.expose_bytes()[0], 1));
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
        }
    });
}

#[test]
fn a_read_after_the_wipe_of_all_is_stopped_and_never_sees_zeros() {
    apart::in_a_process_of_its_own(
        module_path!(),
        "a_read_after_the_wipe_of_all_is_stopped_and_never_sees_zeros",
        || {
            let status = apart::status_of_fork(|| {
                let memory = LockedMemory::new().unwrap();
                let secret = filled(&memory, 1);
                memory.wipe_all();
                assert_eq!(secret.expose_bytes(), &[0; 32]);
            });
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
        },
    );
}

#[test]
fn without_descriptors_memory_is_locked_and_the_reason_told_but_what_was_promised_is_never_weakened() {
    use nix::sys::resource::{Resource, setrlimit};
    let name = "without_descriptors_memory_is_locked_and_the_reason_told_but_what_was_promised_is_never_weakened";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let promised = LockedMemory::new().unwrap();
        if promised.protection() != Protection::MemfdSecret {
            return apart::not_run(&format!("this kernel has no memfd_secret: {:?}", promised.fallback_reason()));
        }
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        let memory = LockedMemory::new().unwrap();
        assert_eq!(memory.protection(), Protection::Mlock);
        assert!(memory.fallback_reason().unwrap().starts_with("memfd_secret: Too many open files"));
        assert_eq!(filled(&memory, 5).expose_bytes(), &[5; 32]);
        assert!(matches!(promised.buffer(1), Err(LockedMemoryError::Refused { call: "memfd_secret", .. })));
    });
}

/// From here on the process may lock so many bytes; root, whom no limit binds, is nobody from here on.
pub(super) fn limit_locked_memory(bytes: u64) {
    use nix::{
        sys::resource::{Resource, setrlimit},
        unistd::{Gid, Uid, setgid, setgroups, setuid},
    };
    setrlimit(Resource::RLIMIT_MEMLOCK, bytes, bytes).unwrap();
    if Uid::effective().is_root() {
        setgroups(&[]).unwrap();
        setgid(Gid::from_raw(65_534)).unwrap();
        setuid(Uid::from_raw(65_534)).unwrap();
    }
}

#[test]
fn a_limit_of_nothing_is_an_error_that_names_limit_and_remedy() {
    apart::in_a_fork_of_its_own(module_path!(), "a_limit_of_nothing_is_an_error_that_names_limit_and_remedy", || {
        limit_locked_memory(0);
        let said = LockedMemory::new().unwrap_err().to_string();
        assert!(said.contains("RLIMIT_MEMLOCK is 0 bytes") && said.contains("LimitMEMLOCK="), "{said}");
    });
}

#[test]
fn when_little_may_be_locked_memory_grows_page_by_page_and_then_says_so() {
    let name = "when_little_may_be_locked_memory_grows_page_by_page_and_then_says_so";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let page = region::page_bytes();
        limit_locked_memory(3 * page as u64);
        let memory = LockedMemory::new().unwrap();
        let mut held: Vec<_> = (0..3 * page / SECRET_BYTES).map(|_| filled(&memory, 1)).collect();
        let refused = memory.secret::<LockedMemoryError>(|_| Ok(()));
        assert!(matches!(refused, Err(LockedMemoryError::LimitReached { .. })), "{refused:?}");
        held.pop();
        held.push(filled(&memory, 2));
    });
}

#[test]
fn what_is_appended_stands_behind_what_was_there_and_no_byte_beyond_the_end() {
    let memory = LockedMemory::new().unwrap();
    let mut buffer = memory.buffer(6).unwrap();
    assert!(buffer.append(b"abc") && buffer.append(b"") && buffer.append(b"de"));
    assert_eq!(buffer.expose_bytes(), b"abcde");
    assert!(!buffer.append(b"xyz"), "more than there is room for");
    assert_eq!(buffer.expose_bytes(), b"abcdex");
}
