//! A loaded model: one of the library's sessions, which any number of threads run at once; on a CUDA device a few that
//! are run in turns.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Condvar, Mutex, PoisonError},
};

use ort::{
    ep::{ArenaExtendStrategy, CUDA, ExecutionProvider, cuda::ConvAlgorithmSearch},
    session::{
        Session as OrtSession, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, TensorRef},
};
use plinth_ext::{ExtError, Graph, Slot, Tensor};

use crate::{
    Device, Runtime, TensorError,
    run::{Names, run},
    tensor,
};

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where it runs.
    pub device: Device,
    /// How many calls may run at once on a CUDA device, where each takes the weights once more; further ones wait. At
    /// least 1, at most 2 count. On the CPU any number of calls share the weights.
    pub sessions: usize,
    /// Threads that one call may use; calls at the same time share them. More than 1 pays only for large models on idle cores.
    pub threads_per_call: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { device: Device::Auto, sessions: 1, threads_per_call: 1 }
    }
}

/// Where a model is read from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// A loaded model. May be called from many threads at once.
#[derive(Debug)]
pub struct Session {
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    metadata: BTreeMap<String, String>,
    device: Device,
    /// Of inputs and of outputs.
    names: [Names; 2],
    runs: Runs,
}

/// Who runs the library's sessions when.
#[derive(Debug)]
enum Runs {
    /// On the CPU: every thread at any time.
    Together(OrtSession),
    /// On a CUDA device: one thread at a time.
    InTurns { idle: Mutex<Vec<OrtSession>>, returned: Condvar },
}

impl Session {
    /// Reads a model.
    ///
    /// # Errors
    /// [`TensorError::BadModel`] if the bytes are no model, or one of operators that the library lacks;
    /// [`TensorError::DeviceNotFound`].
    pub fn load(runtime: &Runtime, model: &[u8], options: &SessionOptions) -> Result<Self, TensorError> {
        Self::of(runtime, Origin::Bytes(model), options)
    }

    /// Reads a model from a file, and from the files beside it in which it keeps its weights, if it does. None of them
    /// is needed afterwards.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn open(runtime: &Runtime, model: &Path, options: &SessionOptions) -> Result<Self, TensorError> {
        Self::of(runtime, Origin::File(model), options)
    }

    fn of(runtime: &Runtime, model: Origin<'_>, options: &SessionOptions) -> Result<Self, TensorError> {
        let (first, device) = open_on_device(runtime, model, options)?;
        let inputs = first.inputs().iter().map(tensor::slot).collect();
        let outputs = first.outputs().iter().map(tensor::slot).collect();
        let names = [Names::of(first.inputs())?, Names::of(first.outputs())?];
        let metadata = read_metadata(&first);
        let runs = if matches!(device, Device::Cuda(_)) {
            let mut idle = vec![first];
            // Calls share the device anyway: two sessions are enough for one to copy while the other computes.
            while idle.len() < options.sessions.min(2) {
                idle.push(open(runtime, model, device, options)?);
            }
            Runs::InTurns { idle: Mutex::new(idle), returned: Condvar::new() }
        } else {
            Runs::Together(first)
        };
        Ok(Self { inputs, outputs, metadata, device, names, runs })
    }

    /// What it takes, in order.
    pub fn inputs(&self) -> &[Slot] {
        &self.inputs
    }

    /// What it returns, in order.
    pub fn outputs(&self) -> &[Slot] {
        &self.outputs
    }

    /// The model's own notes: see [`plinth_ext::metadata`].
    pub const fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Where it runs: never [`Device::Auto`].
    pub const fn device(&self) -> Device {
        self.device
    }

    /// Runs the model on tensors in the order of [`Session::inputs`]; returns tensors in the order of
    /// [`Session::outputs`].
    ///
    /// # Errors
    /// [`TensorError::InputCount`], [`TensorError::InputType`], [`TensorError::InputShape`]; or
    /// [`TensorError::BadModel`] if the model fails on these values.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, TensorError> {
        self.check(inputs)?;
        let values = inputs.iter().map(tensor::lend).collect::<Result<Vec<_>, _>>()?;
        self.with_outputs(&values, |outputs| outputs.iter().map(tensor::copy).collect())
    }

    /// Runs a model of one float matrix input on `rows` rows, and hands the outputs over before they are freed.
    pub(crate) fn run_matrix<T>(
        &self,
        rows: usize,
        columns: usize,
        values: &[f32],
        read: impl FnOnce(&[DynValue]) -> Result<T, TensorError>,
    ) -> Result<T, TensorError> {
        let matrix = TensorRef::from_array_view(([rows, columns], values)).map_err(TensorError::run)?;
        self.with_outputs(&[matrix.into()], read)
    }

    fn check(&self, inputs: &[Tensor]) -> Result<(), TensorError> {
        if inputs.len() != self.inputs.len() {
            return Err(TensorError::InputCount { expected: self.inputs.len(), found: inputs.len() });
        }
        for (slot, tensor) in self.inputs.iter().zip(inputs) {
            if let Some(expected) = slot.dtype.filter(|dtype| *dtype != tensor.dtype()) {
                return Err(TensorError::InputType { name: slot.name.clone(), expected, found: tensor.dtype() });
            }
            if !slot.accepts(tensor.shape()) {
                let found = tensor.shape().to_vec();
                return Err(TensorError::InputShape { name: slot.name.clone(), expected: slot.shape_text(), found });
            }
        }
        Ok(())
    }

    fn with_outputs<T>(
        &self,
        values: &[SessionInputValue<'_>],
        read: impl FnOnce(&[DynValue]) -> Result<T, TensorError>,
    ) -> Result<T, TensorError> {
        let run = |session| run(session, &self.names, values).map_err(|error| error.on(self.device));
        match &self.runs {
            Runs::Together(session) => read(&run(session)?),
            Runs::InTurns { idle, returned } => {
                let lent = Lent::take(idle, returned);
                read(&run(lent.session.as_ref().expect("it is taken only on drop"))?)
            }
        }
    }
}

impl Graph for Session {
    fn inputs(&self) -> &[Slot] {
        self.inputs()
    }

    fn outputs(&self) -> &[Slot] {
        self.outputs()
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExtError> {
        Ok(self.run(inputs)?)
    }

    fn format(&self) -> &'static str {
        "onnx"
    }
}

/// A session whose turn it is; goes back when dropped, also when the caller panics.
struct Lent<'a> {
    idle: &'a Mutex<Vec<OrtSession>>,
    returned: &'a Condvar,
    session: Option<OrtSession>,
}

impl<'a> Lent<'a> {
    fn take(idle: &'a Mutex<Vec<OrtSession>>, returned: &'a Condvar) -> Self {
        let mut all = idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match all.pop() {
                Some(session) => return Self { idle, returned, session: Some(session) },
                None => all = returned.wait(all).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
            self.returned.notify_one();
        }
    }
}

/// Opens the model where the options say; says where that was.
fn open_on_device(
    runtime: &Runtime,
    model: Origin<'_>,
    options: &SessionOptions,
) -> Result<(OrtSession, Device), TensorError> {
    let cuda = options.device != Device::Cpu && CUDA::is_available().map_err(TensorError::load)?;
    match options.device {
        Device::Cuda(_) if !cuda => Err(TensorError::DeviceNotFound {
            device: options.device,
            reason: format!("{} was built without CUDA", runtime.library().display()),
        }),
        Device::Auto if cuda => match open(runtime, model, Device::Cuda(0), options) {
            Ok(session) => Ok((session, Device::Cuda(0))),
            Err(error @ TensorError::DeviceNotFound { .. }) => {
                tracing::warn!(%error, "running on the CPU instead");
                Ok((open(runtime, model, Device::Cpu, options)?, Device::Cpu))
            }
            Err(error) => Err(error),
        },
        Device::Auto | Device::Cpu => Ok((open(runtime, model, Device::Cpu, options)?, Device::Cpu)),
        device @ Device::Cuda(_) => Ok((open(runtime, model, device, options)?, device)),
    }
}

fn open(
    runtime: &Runtime,
    model: Origin<'_>,
    device: Device,
    options: &SessionOptions,
) -> Result<OrtSession, TensorError> {
    let mut builder = configure(runtime, options).map_err(TensorError::load)?;
    if let Device::Cuda(number) = device {
        // Registering is where a missing driver, a missing CUDA library or a wrong number shows.
        let provider = CUDA::default()
            .with_device_id(i32::from(number))
            // Ten bits of a factor's 23: a model would answer otherwise than it did on the CPU, from the third digit on.
            .with_tf32(false)
            // Memory by the model's size, not by the next power of two; algorithms by rule, not by trying all.
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
        provider
            .register(&mut builder)
            .map_err(|error| TensorError::DeviceNotFound { device, reason: innermost(&error.to_string()) })?;
    }
    let session = match model {
        Origin::Bytes(bytes) => builder.commit_from_memory(bytes),
        Origin::File(path) => builder.commit_from_file(path),
    };
    session.map_err(|error| TensorError::load(error).on(device))
}

/// The library puts each layer's file and line before what the layer below said.
fn innermost(said: &str) -> String {
    let last = said.rsplit(" : FAIL : ").next().unwrap_or(said);
    last.rsplit("operator() ").next().unwrap_or(last).trim().to_owned()
}

fn configure(runtime: &Runtime, options: &SessionOptions) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads_per_call.max(1))?
        // Spinning threads take the cores that other requests need.
        .with_intra_op_spinning(false)?;
    Ok(builder)
}

fn read_metadata(session: &OrtSession) -> BTreeMap<String, String> {
    let Ok(metadata) = session.metadata() else { return BTreeMap::new() };
    let keys = metadata.custom_keys().unwrap_or_default();
    keys.into_iter().filter_map(|key| metadata.custom(&key).map(|value| (key, value))).collect()
}

#[cfg(test)]
mod tests {
    use plinth_ext::Data;

    use super::*;
    use crate::RuntimeConfig;

    #[test]
    fn sessions_in_turns_answer_more_threads_than_there_are_sessions() {
        let runtime = Runtime::start(&RuntimeConfig::default()).unwrap();
        let options = SessionOptions { device: Device::Cpu, ..SessionOptions::default() };
        let load = || Session::load(&runtime, include_bytes!("../tests/data/linear.onnx"), &options).unwrap();
        let own = |session: Session| match session.runs {
            Runs::Together(session) => session,
            Runs::InTurns { .. } => panic!("that is for a CUDA device"),
        };
        let idle = Mutex::new(vec![own(load()), own(load())]);
        let session = Session { runs: Runs::InTurns { idle, returned: Condvar::new() }, ..load() };
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let session = &session;
                scope.spawn(move || {
                    for step in 0..100_u8 {
                        let a = f32::from(thread) * 1_000.0 + f32::from(step);
                        let asked = Tensor::new(vec![1, 2], Data::F32(vec![a, 1.0])).unwrap();
                        let told = session.run(&[asked]).unwrap();
                        assert_eq!(*told[0].data(), Data::F32(vec![2.0 * a - 0.5]));
                    }
                });
            }
        });
        let Runs::InTurns { idle, .. } = &session.runs else { panic!("it is in turns") };
        assert_eq!(idle.lock().unwrap().len(), 2, "both came back");
    }

    #[test]
    fn what_the_library_says_is_told_without_its_files() {
        let said = "/src/core/info.cc:60 static Info Info::From(const Options&) [ONNXRuntimeError] : 1 : FAIL : \
                    utils.h:187 Parse Failed to parse provider option \"device_id\": info.cc:68 operator() Invalid device \
                    ID: 7, must be between 0 (inclusive) and 1 (exclusive).\n";
        assert_eq!(innermost(said), "Invalid device ID: 7, must be between 0 (inclusive) and 1 (exclusive).");
        let missing = "bridge.cc:1 Get [ONNXRuntimeError] : 1 : FAIL : Failed to load library a.so: libcublas.so.12: no such file";
        assert_eq!(innermost(missing), "Failed to load library a.so: libcublas.so.12: no such file");
        assert_eq!(innermost("no driver"), "no driver");
    }
}
