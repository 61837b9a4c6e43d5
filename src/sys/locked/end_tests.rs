//! How locked memory ends: wiped by whatever ends the scope, and a reader past its bounds stopped.
//!
//! Must never look at a page through a reference: /proc/self/mem tells what lies in one that cannot be accessed.
//! Called by `cargo test`.
#![allow(unsafe_code, reason = "the tests read where nobody may")]

use std::{fs, io, os::unix::fs::FileExt, panic};

use nix::sys::resource::{Resource, setrlimit};

use super::tests::limit_locked_memory;
use super::{
    tests::{by_mlock, filled},
    *,
};
use crate::sys::apart;

/// What lies at `address`, read as a debugger would: no access of the mapping is asked for.
fn lying_at(address: usize) -> io::Result<[u8; SECRET_BYTES]> {
    let mut bytes = [0xEE; SECRET_BYTES];
    fs::File::open("/proc/self/mem")?.read_exact_at(&mut bytes, address as u64)?;
    Ok(bytes)
}

#[test]
fn a_key_that_is_read_while_all_is_wiped_is_whole_or_the_end_of_the_process_and_never_zeros() {
    const SAW_SOMETHING_ELSE: i32 = 3;
    let name = "a_key_that_is_read_while_all_is_wiped_is_whole_or_the_end_of_the_process_and_never_zeros";
    apart::in_a_process_of_its_own(module_path!(), name, || {
        for (number, make) in [|| LockedMemory::new().unwrap(), by_mlock].into_iter().cycle().take(60).enumerate() {
            let status = apart::status_of_fork(|| {
                let memory = make();
                let secret = filled(&memory, 0xA9);
                // More of them, so that wiping takes a while.
                let others: Vec<Secret> = (0..2_000).map(|_| filled(&memory, 1)).collect();
                let reader = std::thread::spawn(move || {
                    while std::hint::black_box(&secret).expose_bytes() == &[0xA9; SECRET_BYTES] {}
                    std::process::exit(SAW_SOMETHING_ELSE);
                });
                std::thread::sleep(std::time::Duration::from_micros(100 * (number as u64 % 7)));
                memory.wipe_all();
                let _ = reader.join();
                drop(others);
            });
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{number}: {status:#x}");
        }
    });
}

#[test]
fn what_is_wiped_for_the_stop_holds_zeros_under_the_access_that_is_gone() {
    let memory = by_mlock();
    let (secret, mut buffer) = (filled(&memory, 0xA7), memory.buffer(SECRET_BYTES).unwrap());
    buffer.expose_spare_mut().fill(0xA7);
    let places = [secret.expose_bytes().as_ptr().addr(), buffer.expose_spare_mut().as_ptr().addr()];
    for place in places {
        assert_eq!(lying_at(place).unwrap(), [0xA7; SECRET_BYTES], "the control: a locked page is read");
    }
    memory.wipe_all();
    for place in places {
        assert_eq!(lying_at(place).unwrap(), [0; SECRET_BYTES]);
    }
    // The pages themselves lie elsewhere since.
    let regions = [hold(&memory.shared.slabs)[0].region().moved_to(), buffer_region(&memory).moved_to()];
    for moved in regions {
        assert_eq!(lying_at(moved.expect("this kernel moves pages")).unwrap(), [0; SECRET_BYTES]);
    }
}

fn buffer_region(memory: &LockedMemory) -> Arc<Region> {
    hold(&memory.shared.buffers).iter().find_map(Weak::upgrade).unwrap()
}

#[test]
fn secret_memory_too_is_moved_before_it_is_wiped() {
    let memory = LockedMemory::new().unwrap();
    let _secret = filled(&memory, 0xA7);
    memory.wipe_all();
    assert!(hold(&memory.shared.slabs)[0].region().moved_to().is_some(), "{:?}", memory.protection());
}

#[test]
fn a_panic_and_a_plain_end_of_the_scope_wipe_what_others_still_hold() {
    let ends: [(fn(), bool); 2] = [(|| (), false), (|| panic!("a panic on purpose"), true)];
    for (end, panics) in ends {
        let memory = by_mlock();
        // As a thread does that is not joined.
        let held = filled(&memory, 0xA8);
        let place = held.expose_bytes().as_ptr().addr();
        // Judged out here: in there, a control that fails is one more panic.
        let mut within = None;
        let ended = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let _wiped = memory.wiped_at_the_end();
            within = Some((lying_at(place).unwrap(), memory.buffer(1).is_ok()));
            end();
        }));
        assert_eq!(within, Some(([0xA8; SECRET_BYTES], true)), "the control: before the end all is there");
        assert_eq!(ended.is_err(), panics, "{ended:?}");
        assert_eq!(lying_at(place).unwrap(), [0; SECRET_BYTES], "{ended:?}");
        assert!(matches!(memory.buffer(1), Err(LockedMemoryError::Wiped)));
        drop(held);
    }
}

#[test]
fn a_read_or_write_past_either_end_is_stopped() {
    apart::in_a_process_of_its_own(module_path!(), "a_read_or_write_past_either_end_is_stopped", || {
        type Make = fn() -> LockedMemory;
        let kinds: [Make; 2] = [|| LockedMemory::new().unwrap(), by_mlock];
        let page = region::page_bytes();
        for make in kinds {
            for (past, writes, stopped) in [
                (0, true, false),
                (page.wrapping_sub(1), true, false),
                (page, false, true),
                (page, true, true),
                (0_usize.wrapping_sub(1), false, true),
                (0_usize.wrapping_sub(1), true, true),
            ] {
                let status = apart::status_of_fork(|| {
                    let secret = filled(&make(), 1);
                    let first = secret.expose_bytes().as_ptr().cast_mut();
                    assert!(first.addr().is_multiple_of(page));
                    // JUSTIFICATION: the test runs over the end on purpose, in a process of its own.
                    // SAFETY: the first page is the region's, of which this test uses nothing else; the pages beside it are
                    // guards, where the kernel ends the process. The access is volatile, so it takes place.
                    unsafe {
                        let place = first.wrapping_add(past);
                        if writes {
                            place.write_volatile(7)
                        } else {
                            let _ = place.read_volatile();
                        }
                    }
                });
                let by_signal = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV;
                assert_eq!((by_signal, status == 0), (stopped, !stopped), "{past:#x} {writes}: {status:#x}");
            }
        }
    });
}

#[test]
fn without_a_fallback_a_limit_and_a_want_of_descriptors_are_not_blamed_on_the_kernel() {
    let name = "without_a_fallback_a_limit_and_a_want_of_descriptors_are_not_blamed_on_the_kernel";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        match LockedMemory::without_fallback() {
            Ok(memory) => {
                assert_eq!((memory.protection(), memory.fallback_reason()), (Protection::MemfdSecret, None));
            }
            Err(LockedMemoryError::SecretMemoryRefused { .. }) => {
                return apart::not_run(&format!("{name}: this kernel has no memfd_secret"));
            }
            Err(other) => panic!("{other}"),
        }
        limit_locked_memory(0);
        let limited = LockedMemory::without_fallback().unwrap_err();
        assert!(matches!(limited, LockedMemoryError::LimitReached { .. }), "{limited}");
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        match LockedMemory::without_fallback().unwrap_err() {
            LockedMemoryError::Refused { call, source, .. } => {
                assert_eq!((call, source.raw_os_error()), ("memfd_secret", Some(libc::EMFILE)));
            }
            other => panic!("{other}"),
        }
    });
}
