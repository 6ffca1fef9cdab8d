//! Running a session that other threads may be running at the same time.
//!
//! The library says that any number of threads may call `Run` on one session ("Multiple threads are allowed to run this
//! function; hence its thread-safe", inference_session.h). `ort` takes a session for one call at a time, because allocators of
//! providers for other devices have broken that promise: the same call is made here, without that bound, and
//! [`crate::Session`] makes it from many threads for the CPU's provider only (why: ADR 9). The other way,
//! a session for each thread, has the weights in memory as often as there are threads: what the library can share between
//! sessions is packed copies of matrices that the caller provides, and nothing of a forest.

use std::{
    ffi::{CString, c_char},
    ptr::{NonNull, null, null_mut},
};

use ort::{
    AsPointer,
    session::{Session as OrtSession, SessionInputValue},
    value::{DynValue, Outlet},
};

use crate::TensorError;

/// The names of inputs or outputs, in order, as the library wants them.
#[derive(Debug)]
pub(crate) struct Names(Vec<CString>);

impl Names {
    /// # Errors
    /// [`TensorError::BadModel`] if a name has a NUL in it, which no model that the library loads has.
    pub(crate) fn of(outlets: &[Outlet]) -> Result<Self, TensorError> {
        let names = outlets.iter().map(|outlet| CString::new(outlet.name())).collect::<Result<_, _>>();
        Ok(Self(names.map_err(TensorError::load)?))
    }

    fn pointers(&self) -> Vec<*const c_char> {
        self.0.iter().map(|name| name.as_ptr()).collect()
    }
}

/// Runs a session on a value for each of its inputs, in order; returns its outputs in order.
///
/// # Errors
/// [`TensorError::InputCount`], and [`TensorError::BadModel`] if the model fails on these values.
pub(crate) fn run(
    session: &OrtSession,
    [inputs, outputs]: &[Names; 2],
    values: &[SessionInputValue<'_>],
) -> Result<Vec<DynValue>, TensorError> {
    if values.len() != inputs.0.len() {
        return Err(TensorError::InputCount { expected: inputs.0.len(), found: values.len() });
    }
    let (input_names, output_names) = (inputs.pointers(), outputs.pointers());
    let given: Vec<*const ort::sys::OrtValue> = values.iter().map(|value| value.ptr()).collect();
    let mut returned: Vec<*mut ort::sys::OrtValue> = vec![null_mut(); output_names.len()];
    #[expect(unsafe_code, reason = "ort has this call for one thread at a time only")]
    // SAFETY: the session, the names and the values are borrowed until the call returns; each list is as long as is said,
    // one value for each input; an output that is null is made by the library and is ours. No options is allowed.
    let done = unsafe {
        let status = (ort::api().Run)(
            session.inner().ptr().cast_mut(),
            null(),
            input_names.as_ptr(),
            given.as_ptr(),
            given.len(),
            output_names.as_ptr(),
            output_names.len(),
            returned.as_mut_ptr(),
        );
        ort::Error::result_from_status(status)
    };
    done.map_err(TensorError::run)?;
    // All of them are taken over before one is looked at, so that none is leaked.
    let taken: Vec<Option<DynValue>> = returned.into_iter().map(|value| own(session, value)).collect();
    let all = taken.into_iter().collect::<Option<Vec<_>>>();
    all.ok_or_else(|| TensorError::run("an output was not made"))
}

fn own(session: &OrtSession, value: *mut ort::sys::OrtValue) -> Option<DynValue> {
    let value = NonNull::new(value)?;
    #[expect(unsafe_code, reason = "what the library returned is taken over")]
    // SAFETY: a successful run made it for us, and nobody else releases it; its allocator is the session's.
    Some(unsafe { DynValue::from_ptr(value, Some(session.allocator())) })
}
