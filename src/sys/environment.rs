//! A secret from the environment, taken out of it for good.
//!
//! Must never leave the value in the block that /proc/PID/environ shows, nor copy it to unlocked memory.
//! Called by `config` for the master key in the environment, before any thread is started.
#![allow(unsafe_code, reason = "the environment block is C's, and is overwritten in place")]

use std::ffi::{CStr, c_char};

use super::{
    locked::{LockedBuffer, LockedMemory, LockedMemoryError},
    wipe,
};

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Moves the variable `name` from the environment to locked memory; none if it is not set.
///
/// Every entry of that name is overwritten, the value of the first is given, and the variable is removed:
/// neither /proc/PID/environ nor a program started from here shows it afterwards.
/// What started this process may still hold it, and so may the file it was read from.
///
/// To be called while the process has a single thread: the environment has no lock that C code would honour.
///
/// # Errors
/// [`LockedMemoryError`] if the value cannot be held; the environment is then as it was.
pub fn take(name: &str, memory: &LockedMemory) -> Result<Option<LockedBuffer>, LockedMemoryError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Ok(None);
    }
    // JUSTIFICATION: std only reads the environment by copying it.
    // SAFETY: C's environment is a list of C strings that ends with a null pointer, or null if it was cleared;
    // with a single thread, nobody changes it meanwhile.
    let taken = unsafe { take_from(environ, name.as_bytes(), memory) }?;
    if taken.is_some() {
        // JUSTIFICATION: an empty value in place of none would be misread as a key that is set.
        // SAFETY: the process has a single thread, says the contract of this function.
        unsafe { std::env::remove_var(name) };
    }
    Ok(taken)
}

/// # Safety
/// `block` is null or a list of pointers to writable C strings that ends with null, and nobody else uses it meanwhile.
unsafe fn take_from(
    block: *const *mut c_char,
    name: &[u8],
    memory: &LockedMemory,
) -> Result<Option<LockedBuffer>, LockedMemoryError> {
    let mut taken = None;
    let mut next = block;
    // JUSTIFICATION: walks a C list.
    // SAFETY: the caller's promise; the end is not passed.
    while let Some(entry) = unsafe { next.as_ref() }.copied().filter(|entry| !entry.is_null()) {
        // JUSTIFICATION: as above.
        // SAFETY: `next` is at an entry that is not the last, which is null.
        next = unsafe { next.add(1) };
        // JUSTIFICATION: as above.
        // SAFETY: a C string, which stays unchanged while this borrow of it is used.
        let whole = unsafe { CStr::from_ptr(entry) }.to_bytes();
        let Some(value) = whole.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")) else { continue };
        if taken.is_none() {
            let mut buffer = memory.buffer(value.len())?;
            buffer.expose_spare_mut().copy_from_slice(value);
            buffer.advance(value.len());
            taken = Some(buffer);
        }
        let (start, len) = (whole.len() - value.len(), value.len());
        // JUSTIFICATION: this very memory is what /proc/PID/environ shows.
        // SAFETY: the bytes of the value inside the C string, whose end stays where it is; the borrows are not used again.
        unsafe { wipe::zero(entry.cast::<u8>().add(start), len) };
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::{ffi::CString, fs};

    use super::*;
    use crate::sys::apart;

    const NAME: &str = "SERVOS_KEYD_TEST_SECRET";
    const VALUE: &str = "q7-a-value-found-nowhere-else-7q";

    fn environment_holds(text: &str) -> bool {
        let block = fs::read("/proc/self/environ").unwrap();
        block.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn a_taken_variable_is_gone_from_proc_and_from_the_environment() {
        let name = "a_taken_variable_is_gone_from_proc_and_from_the_environment";
        apart::with_environment(module_path!(), name, &[(NAME, VALUE), ("SERVOS_KEYD_TEST_OTHER", "stays")], || {
            let memory = LockedMemory::new().unwrap();
            assert!(environment_holds(VALUE), "the control");
            assert_eq!(take(NAME, &memory).unwrap().unwrap().expose_bytes(), VALUE.as_bytes());
            assert!(!environment_holds(VALUE));
            assert!(environment_holds("SERVOS_KEYD_TEST_OTHER=stays"));
            assert!(std::env::var_os(NAME).is_none());
            assert!(take(NAME, &memory).unwrap().is_none());
            assert_eq!(std::env::var("SERVOS_KEYD_TEST_OTHER").unwrap(), "stays");
        });
    }

    fn taken_of(entries: &[&str], name: &str) -> (Option<String>, Vec<String>) {
        let memory = LockedMemory::new().unwrap();
        let held: Vec<_> = entries.iter().map(|entry| CString::new(*entry).unwrap().into_raw()).collect();
        let block: Vec<_> = held.iter().copied().chain([std::ptr::null_mut()]).collect();
        // JUSTIFICATION: the test makes a block of its own.
        // SAFETY: C strings made above, and the null at the end.
        let taken = unsafe { take_from(block.as_ptr(), name.as_bytes(), &memory) }.unwrap();
        let left = held.into_iter().zip(entries).map(|(entry, before)| {
            // JUSTIFICATION: looks at all bytes, also behind what is now the end of the string.
            // SAFETY: allocated above, with this length and a zero behind it.
            let bytes = unsafe { Vec::from_raw_parts(entry.cast::<u8>(), before.len() + 1, before.len() + 1) };
            String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned()
        });
        (taken.map(|buffer| String::from_utf8(buffer.expose_bytes().to_vec()).unwrap()), left.collect())
    }

    #[test]
    fn every_entry_of_the_name_is_overwritten_and_no_other() {
        let (taken, left) = taken_of(&["K=one", "KK=two", "K", "", "=K=x", "K=three", "k=four", "K="], "K");
        assert_eq!(taken.as_deref(), Some("one"));
        assert_eq!(left, ["K=", "KK=two", "K", "", "=K=x", "K=", "k=four", "K="]);
    }

    #[test]
    fn an_empty_value_is_a_value_and_an_absent_name_is_none() {
        assert_eq!(taken_of(&["K="], "K").0.as_deref(), Some(""));
        assert_eq!(taken_of(&["A=1"], "K").0, None);
        assert_eq!(taken_of(&[], "K").0, None);
    }

    #[test]
    fn a_name_that_no_variable_can_have_is_none() {
        let memory = LockedMemory::new().unwrap();
        for name in ["", "A=B", "A\0B"] {
            assert!(take(name, &memory).unwrap().is_none());
        }
    }

    #[test]
    fn a_cleared_environment_has_nothing() {
        let memory = LockedMemory::new().unwrap();
        // JUSTIFICATION: clearenv(3) leaves a null pointer.
        // SAFETY: null is allowed.
        assert!(unsafe { take_from(std::ptr::null(), b"K", &memory) }.unwrap().is_none());
    }
}
