//! The heap, zeroed as it is given back: plaintexts and keys in messages do not outlive their last owner.
//!
//! Must never move a block without wiping the old place, nor allocate by any means but the system's allocator.
//! Called by the compiler, once a binary names it `#[global_allocator]`; the rest by `cli`.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
};

use super::wipe;

/// The system's allocator, which zeroes each block before it is freed.
///
/// # Security
/// Covers what Rust code allocates. What C code frees (the resolver, say) and what lies on stacks, it does not.
pub struct ZeroizingAllocator;

// JUSTIFICATION: buffers of tonic, h2 and prost hold plaintexts and offer no hook to wipe them.
// SAFETY: every block comes from `System` with the layout it goes back with; `realloc` copies no more than both blocks hold.
unsafe impl GlobalAlloc for ZeroizingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // JUSTIFICATION: passes the call on.
        // SAFETY: the caller's promises are those that `System` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // JUSTIFICATION: fresh pages from the kernel are zero already; writing them again would make them present.
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // JUSTIFICATION: the purpose of this type.
        // SAFETY: the caller gives up a block of exactly this layout, allocated by `System`.
        unsafe {
            if cfg!(not(feature = "danger-no-wipe")) {
                wipe::zero(block, layout.size());
            }
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if cfg!(feature = "danger-no-wipe") {
            // JUSTIFICATION: what the program would do without this type, which is measured.
            // SAFETY: the caller's promises are those that `System` demands.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // JUSTIFICATION: `System.realloc` frees the old block unwiped when it moves it, also when it shrinks it.
        // SAFETY: the caller promises that `new_size` makes a valid layout with this alignment; the new block does not overlap
        // the old one, and both hold the bytes copied. If there is no memory the old block stays as it was.
        unsafe {
            let new = System.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Gives memory that is free back to the kernel; for after a start, which takes more than the daemon needs later.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // JUSTIFICATION: glibc keeps freed pages, and std has no call for this.
    // SAFETY: takes an integer; safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps glibc to two heaps, however many threads there are: less memory lies idle, and freed memory is found again sooner.
/// To be called before threads are started; without effect on other C libraries.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    // JUSTIFICATION: the environment variable for this is read before `main`.
    // SAFETY: takes two integers; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::apart;

    /// From what a cache of small blocks takes to more than a message is long.
    const SIZES: [usize; 5] = [512, 5_000, 20 << 10, 64 << 10, 2 << 20];
    /// The C library keeps its own pointers at the start of a free block.
    const ITS_OWN: usize = 32;

    /// Runs `body` alone in a process where what is freed stays mapped, and is given to nobody else.
    fn where_free_memory_stays(name: &str, body: fn()) {
        apart::in_a_process_of_its_own(module_path!(), name, || {
            #[cfg(target_env = "gnu")]
            for (parameter, bytes) in [(libc::M_MMAP_THRESHOLD, 32 << 20), (libc::M_TRIM_THRESHOLD, 1 << 30)] {
                // JUSTIFICATION: glibc gives large blocks, and free ones at the end of its heap, back to the kernel.
                // SAFETY: takes two integers.
                assert_eq!(unsafe { libc::mallopt(parameter, bytes) }, 1);
            }
            body();
        });
    }

    /// A block of marked bytes.
    fn marked(allocator: &impl GlobalAlloc, size: usize) -> (*mut u8, Layout) {
        let layout = Layout::from_size_align(size, 16).unwrap();
        // JUSTIFICATION: the test drives the allocator by hand.
        // SAFETY: the layout is not empty, and the block is as long as what is written.
        let block = unsafe {
            let block = allocator.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(0xB7, size);
            block
        };
        (block, layout)
    }

    fn marks_left_at(place: usize, size: usize) -> usize {
        let place = ptr::with_exposed_provenance::<u8>(place);
        // JUSTIFICATION: the test looks at memory that is free.
        // SAFETY: no free memory is given back to the kernel in this process; the read is volatile.
        (ITS_OWN..size).filter(|at| unsafe { place.wrapping_add(*at).read_volatile() } == 0xB7).count()
    }

    #[test]
    fn a_freed_block_holds_nothing_where_the_systems_still_holds_all() {
        where_free_memory_stays("a_freed_block_holds_nothing_where_the_systems_still_holds_all", || {
            for size in SIZES {
                let (block, layout) = marked(&System, size);
                let place = block.expose_provenance();
                // JUSTIFICATION: the test drives the allocator by hand.
                // SAFETY: allocated above with this layout.
                unsafe { System.dealloc(block, layout) };
                assert_eq!(marks_left_at(place, size), size - ITS_OWN, "the control of {size} bytes");

                let (block, layout) = marked(&ZeroizingAllocator, size);
                let place = block.expose_provenance();
                // JUSTIFICATION: the test drives the allocator by hand.
                // SAFETY: allocated above with this layout.
                unsafe { ZeroizingAllocator.dealloc(block, layout) };
                assert_eq!(marks_left_at(place, size), 0, "of {size} bytes");
            }
        });
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_contents_and_leaves_none_behind() {
        where_free_memory_stays("a_block_that_grows_or_shrinks_keeps_its_contents_and_leaves_none_behind", || {
            for size in SIZES {
                for new_size in [1, 100, size - 16, size, size + 5_000, 4 << 20] {
                    let (block, layout) = marked(&ZeroizingAllocator, size);
                    let place = block.expose_provenance();
                    // JUSTIFICATION: the test drives the allocator by hand.
                    // SAFETY: allocated above with this layout; the new block is freed with its own.
                    unsafe {
                        let new = ZeroizingAllocator.realloc(block, layout, new_size);
                        assert!((0..new_size.min(size)).all(|at| new.add(at).read() == 0xB7));
                        assert_ne!(new.addr(), place);
                        assert_eq!(marks_left_at(place, size), 0, "{size} to {new_size} bytes");
                        ZeroizingAllocator.dealloc(new, Layout::from_size_align(new_size, 16).unwrap());
                    }
                }
            }
        });
    }

    #[test]
    fn zeroed_memory_is_zero_and_aligned() {
        for align in [1, 16, 4096] {
            let layout = Layout::from_size_align(3 * 4096, align).unwrap();
            // JUSTIFICATION: the test drives the allocator by hand.
            // SAFETY: a layout that is not empty; freed once.
            unsafe {
                let block = ZeroizingAllocator.alloc_zeroed(layout);
                assert_eq!(block.addr() % align, 0);
                assert!((0..layout.size()).all(|at| block.add(at).read() == 0));
                ZeroizingAllocator.dealloc(block, layout);
            }
        }
        release_free_memory();
    }
}
