//! Where memory comes from: small pieces from jemalloc, large ones from the system.
//!
//! Rows of a request are made on one thread and freed on another. The system's allocator makes threads wait for each other
//! there: a request takes an eighth to a fifth less of the processor with jemalloc (host/docs/benchmarks.md). Columns of
//! whole tables are another matter: the system's allocator hands out the same pages again if it is told to
//! ([`keep_large`]), jemalloc fresh ones, which halves the speed of a transform.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
};

use tikv_jemallocator::Jemalloc;

/// From this many bytes on, the system is asked.
const LARGE_BYTES: usize = 128 << 10;

/// The allocator of this program.
pub(crate) struct BySize;

/// Has the system hand out the pages of columns again that were freed, instead of taking them back and clearing new ones: for
/// commands that work on tables and end.
pub(crate) fn keep_large() {
    // A column of half a million numbers still comes from pages that are used again.
    set_system(4 << 20, 64 << 20, None);
}

/// Has the system take very large pieces back as soon as they are freed: for servers, which must not stay as large as they
/// were when they loaded a model or answered many at once. Left to itself, its allocator keeps ever larger ones. Tensors of
/// ordinary requests come from pages that are used again. Two processors share what is kept: what one of them freed is
/// there for the other.
pub(crate) fn return_large() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(processors.div_ceil(2)).unwrap_or(libc::c_int::MAX);
    // What an operator says counts.
    let arenas = std::env::var_os("MALLOC_ARENA_MAX").is_none().then_some(arenas);
    set_system(2 << 20, 8 << 20, arenas);
}

/// Gives back to the system what a start has freed in between what it kept.
pub(crate) fn trim() {
    // SAFETY: it only gives back pages that hold nothing.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the system's allocator is told by a call of C")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From how many bytes on a piece is mapped for itself, how much free memory is kept at most, and in how many places, of
/// which every thread uses one.
fn set_system(mapped: libc::c_int, kept: libc::c_int, arenas: Option<libc::c_int>) {
    // SAFETY: each only sets a number that the allocator looks at.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the system's allocator is told by a call of C")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, mapped);
        libc::mallopt(libc::M_TRIM_THRESHOLD, kept);
        if let Some(arenas) = arenas {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = (mapped, kept, arenas);
}

const fn is_large(size: usize) -> bool {
    size >= LARGE_BYTES
}

// SAFETY: every call goes on to one of two allocators that keep the contract. Which one depends on the size of the layout
// alone, and that is the same when memory is given back as when it was handed out, so each gets back what it gave.
#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is handed on.
        unsafe { if is_large(layout.size()) { System.alloc(layout) } else { Jemalloc.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is handed on; what is cleared was handed out for that layout.
        unsafe {
            if is_large(layout.size()) {
                return System.alloc_zeroed(layout);
            }
            // From 16 KiB on jemalloc would give pages back to the system and have it clear new ones, which costs a
            // request of some hundred rows a madvise and a fault for each page.
            let pointer = Jemalloc.alloc(layout);
            if !pointer.is_null() {
                pointer.write_bytes(0, layout.size());
            }
            pointer
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on, to the allocator that this size came from.
        unsafe {
            if is_large(layout.size()) { System.dealloc(pointer, layout) } else { Jemalloc.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is handed on where the size stays on one side. Where it does not, the new piece is
        // another one, as large as was asked, and the old one, of which as much is copied as both have, is given back.
        unsafe {
            match (is_large(layout.size()), is_large(size)) {
                (true, true) => System.realloc(pointer, layout, size),
                (false, false) => Jemalloc.realloc(pointer, layout, size),
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size));
                        self.dealloc(pointer, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LARGE_BYTES;

    #[test]
    fn what_grows_and_shrinks_over_the_boundary_keeps_its_content() {
        let mut bytes: Vec<u8> = Vec::new();
        for size in [1, LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES, LARGE_BYTES + 1, LARGE_BYTES - 1, 10] {
            bytes.resize(size, (size % 251) as u8);
            bytes.shrink_to_fit();
            assert_eq!((bytes.len(), bytes.first()), (size, Some(&1)));
        }
        let zeroed = vec![0_u64; LARGE_BYTES];
        assert!(zeroed.iter().all(|word| *word == 0));
    }
}
