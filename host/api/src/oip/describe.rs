//! What a deployment says of itself: its tensors, its configuration, what it did.

use std::{collections::BTreeSet, sync::Arc};

use plinth_core::codes;
use plinth_ext::Schema;
use plinth_serve::{Deployment, Endpoint, Served, Server, Snapshot, Target};

use super::{
    feed::shape_of,
    messages::{
        BatchStatistics, ConfigInput, ConfigOutput, ConfigParameter, DynamicBatching, InferStatistics, InstanceGroup,
        ModelConfig, ModelIndex, ModelMetadata, ModelStatistics, ServerMetadata, SpecificVersions, StatisticDuration,
        Statistics, TensorMetadata, VersionPolicy,
    },
    wire,
};
use crate::{
    App,
    error::ApiError,
    request::{Asked, not_served},
};

/// What this server speaks beyond the protocol's core, by the names that Triton gave them.
const EXTENSIONS: [&str; 9] = [
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
];

pub(crate) fn server() -> ServerMetadata {
    ServerMetadata {
        name: "plinth".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

/// A name, a type, and the sizes that a tensor may have.
struct Described {
    name: String,
    dtype: plinth_ext::DType,
    shape: Vec<i64>,
}

fn columns(schema: &Schema) -> Vec<Described> {
    let one = |field: &plinth_ext::Field| Described {
        name: field.name.clone(),
        dtype: wire::dtype_of_kind(field.kind),
        shape: vec![-1],
    };
    schema.fields().iter().map(one).collect()
}

fn slots(slots: &[plinth_ext::Slot]) -> Vec<Described> {
    let one = |slot: &plinth_ext::Slot| Described {
        name: slot.name.clone(),
        dtype: slot.dtype.unwrap_or(plinth_ext::DType::Text),
        shape: shape_of(slot),
    };
    slots.iter().map(one).collect()
}

/// What goes in and what comes out, unless that is kept from callers.
fn tensors(app: &App, deployment: &Deployment) -> [Vec<Described>; 2] {
    match deployment.served() {
        _ if app.hide_schema => [Vec::new(), Vec::new()],
        Served::Rows(scorer) => [columns(scorer.signature().columns()), columns(scorer.output())],
        Served::Tensors(model) => [slots(model.inputs()), slots(model.outputs())],
    }
}

/// By whom a model is run, as Triton would call it.
fn platform(deployment: &Deployment) -> [&'static str; 2] {
    match deployment.tensors().map(plinth_serve::TensorModel::format) {
        Some("onnx") => ["onnxruntime_onnx", "onnxruntime"],
        _ => ["plinth", "plinth"],
    }
}

/// Each once, however many deployments have it.
fn versions(endpoint: &Endpoint) -> Vec<String> {
    let versions: BTreeSet<&str> = endpoint.targets().iter().map(|target| &**target.deployment().version()).collect();
    versions.into_iter().map(str::to_owned).collect()
}

/// The endpoint that is asked for, and what answers for it: the version if one is named.
fn found(app: &App, asked: &Asked) -> Result<(Arc<Endpoint>, Target), ApiError> {
    let (endpoint, pinned) = asked.find(&app.server)?;
    let target = pinned.unwrap_or_else(|| endpoint.main().clone());
    Ok((endpoint, target))
}

pub(crate) fn metadata(app: &App, asked: &Asked) -> Result<ModelMetadata, ApiError> {
    let (endpoint, target) = found(app, asked)?;
    let list = |tensors: Vec<Described>| {
        let one =
            |t: Described| TensorMetadata { name: t.name, datatype: wire::name_of(t.dtype).into(), shape: t.shape };
        tensors.into_iter().map(one).collect()
    };
    let [inputs, outputs] = tensors(app, target.deployment()).map(list);
    Ok(ModelMetadata {
        name: endpoint.name().to_string(),
        versions: versions(&endpoint),
        platform: platform(target.deployment())[0].into(),
        inputs,
        outputs,
    })
}

pub(crate) fn config(app: &App, asked: &Asked) -> Result<ModelConfig, ApiError> {
    let (endpoint, target) = found(app, asked)?;
    let deployment = target.deployment();
    // Where rows share runs, sizes are those of one row, and how many there may be is said apart.
    let batched = deployment.tensors().is_some_and(plinth_serve::TensorModel::is_rowwise);
    let dims = |shape: Vec<i64>| if batched { shape[1..].to_vec() } else { shape };
    let [inputs, outputs] = tensors(app, deployment);
    let [platform, backend] = platform(deployment);
    let batching = deployment.batching();
    let versions = versions(&endpoint).iter().filter_map(|version| version.parse().ok()).collect();
    let hashes = deployment.hashes().iter();
    Ok(ModelConfig {
        name: endpoint.name().to_string(),
        platform: platform.into(),
        backend: backend.into(),
        version_policy: Some(VersionPolicy { specific: Some(SpecificVersions { versions }) }),
        max_batch_size: match batched {
            true => i32::try_from(app.server.limits().request_rows_max).unwrap_or(i32::MAX),
            false => 0,
        },
        input: inputs
            .into_iter()
            .map(|t| ConfigInput { name: t.name, data_type: wire::number_of(t.dtype), dims: dims(t.shape) })
            .collect(),
        output: outputs
            .into_iter()
            .map(|t| ConfigOutput { name: t.name, data_type: wire::number_of(t.dtype), dims: dims(t.shape) })
            .collect(),
        dynamic_batching: batched.then(|| DynamicBatching {
            preferred_batch_size: vec![i32::try_from(batching.rows_max).unwrap_or(i32::MAX)],
            max_queue_delay_microseconds: batching.wait_us.into(),
        }),
        instance_group: vec![InstanceGroup {
            name: format!("{}_0", endpoint.name()),
            count: deployment
                .capacity()
                .concurrency_max
                .map_or(1, |most| i32::try_from(most.get()).unwrap_or(i32::MAX)),
        }],
        default_model_filename: if platform == "plinth" { String::new() } else { "model.onnx".into() },
        parameters: hashes
            .map(|(part, hash)| (format!("{part}_hash"), ConfigParameter { string_value: hash.to_string() }))
            .collect(),
    })
}

/// What a model did, or every model if none is named.
pub(crate) fn statistics(app: &App, asked: &Asked) -> Result<Statistics, ApiError> {
    let one = |endpoint: &Endpoint, target: &Target| {
        let deployment = target.deployment();
        model_statistics(endpoint.name(), deployment.version(), &deployment.stats().snapshot())
    };
    let model_stats = match &asked.endpoint {
        None => {
            let routes = app.server.routes();
            let all = routes.endpoints().iter().flat_map(|e| e.targets().iter().map(move |target| one(e, target)));
            all.collect()
        }
        Some(_) => match asked.find(&app.server)? {
            (endpoint, Some(target)) => vec![one(&endpoint, &target)],
            (endpoint, None) => endpoint.targets().iter().map(|target| one(&endpoint, target)).collect(),
        },
    };
    Ok(Statistics { model_stats })
}

fn model_statistics(name: &str, version: &str, did: &Snapshot) -> ModelStatistics {
    let answered = |ns: u64| Some(StatisticDuration { count: did.answered, ns });
    let none = || Some(StatisticDuration { count: 0, ns: 0 });
    let batch = |&(batch_size, count): &(u64, u64)| {
        // Times are kept for all sizes together, and shared out by what was run.
        let ns = (did.model_ns + did.transform_ns) * count / did.batches.max(1);
        BatchStatistics { batch_size, compute_infer: Some(StatisticDuration { count, ns }) }
    };
    ModelStatistics {
        name: name.to_owned(),
        version: version.to_owned(),
        last_inference: did.last_us / 1000,
        inference_count: did.rows,
        execution_count: did.batches,
        inference_stats: Some(InferStatistics {
            success: answered(did.total_ns),
            fail: Some(StatisticDuration { count: did.failed, ns: did.failed_ns }),
            queue: answered(did.queue_ns),
            compute_input: answered(did.decode_ns),
            compute_infer: answered(did.transform_ns + did.model_ns),
            compute_output: answered(did.encode_ns),
            cache_hit: none(),
            cache_miss: none(),
        }),
        batch_stats: did.sizes.iter().map(batch).collect(),
    }
}

/// Whether a model is there to answer.
pub(crate) fn is_ready(app: &App, asked: &Asked) -> Result<(), ApiError> {
    let Some(name) = asked.endpoint.as_ref().filter(|name| app.server.sleeps(name)) else {
        return found(app, asked).map(drop);
    };
    let Some(version) = &asked.version else { return Ok(()) };
    let wanted: Vec<String> = app.server.versions(name).iter().map(u64::to_string).collect();
    if wanted.contains(version) { Ok(()) } else { Err(not_served(name, version, &wanted)) }
}

/// Everything that is served or might be.
pub(crate) fn index(server: &Server, ready_only: bool) -> Vec<ModelIndex> {
    let all = server.index().into_iter().map(|indexed| ModelIndex {
        name: indexed.name.to_string(),
        version: indexed.version.map(|version| version.to_string()).unwrap_or_default(),
        state: if indexed.ready { "READY" } else { "UNAVAILABLE" }.into(),
        reason: indexed.reason.unwrap_or_default(),
    });
    all.filter(|model| !ready_only || model.state == "READY").collect()
}

/// Puts a model in service. Blocks.
pub(crate) fn load(server: &Arc<Server>, name: &str, parameters: &[String]) -> Result<(), ApiError> {
    if let Some(other) = parameters.iter().find(|name| *name == "config" || name.starts_with("file:")) {
        let message = format!("the parameter `{other}` is not supported: models are served as they are registered");
        return Err(ApiError::bad(message));
    }
    server.load(name).map_err(|error| refused(name, error))
}

/// Takes a model out of service. Blocks.
pub(crate) fn unload(server: &Arc<Server>, name: &str) -> Result<(), ApiError> {
    server.unload(name).map_err(|error| refused(name, error))
}

/// A model that cannot be loaded is wrong to ask for, never a fault of the server.
fn refused(name: &str, error: plinth_serve::ServeError) -> ApiError {
    use plinth_core::Coded;
    let code = error.code();
    let told = ApiError::from(error);
    match code {
        codes::MODEL_NOT_FOUND | codes::ENDPOINT_NOT_FOUND => ApiError::not_found(told.message()),
        _ if told.status().as_u16() >= 500 => told,
        _ => ApiError::bad(format!("`{name}` cannot be put in service: {}", told.message())),
    }
}
