//! What stands behind the interfaces that a plugin is granted, from `plinth.toml`.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use plinth_api::{NoAnswer, Outgoing, OutgoingClient};
use plinth_ext::Problem;
use plinth_plugin::{
    FileKeyValues, Graph, Graphs, HttpMethod, HttpRequest, HttpResponse, HttpRules, HttpSend, Services, Tensor,
    TensorInfo, TensorType,
};
use plinth_tensor::{DType, Data, Device, Runtime, RuntimeConfig, Session, SessionOptions, Slot};

use crate::config::{ConfigError, PluginConfig, Settings};

/// The services of one plugin, as far as they are granted.
pub(crate) fn of_plugin(settings: &Settings, name: &str) -> Result<Services, ConfigError> {
    let Some(plugin) = settings.config.plugins.get(name) else { return Ok(Services::default()) };
    let granted = |capability: &str| plugin.grant.iter().any(|grant| grant == capability);
    let limits = &settings.config.limits.plugin;
    Ok(Services {
        config: Arc::new(plugin.config.iter().map(|(key, value)| (key.clone(), setting(value))).collect()),
        kv: granted("kv").then(|| {
            // The name may be any text; its folder is not.
            let folder = plinth_core::ContentHash::of(name.as_bytes()).to_string();
            let folder = settings.state_dir().join("plugin-keys").join(folder);
            Arc::new(FileKeyValues::new(name, folder, plugin.kv.bytes.unwrap_or(limits.kv_bytes_max), limits)) as _
        }),
        http: if granted("http") { Some((Arc::new(Client) as _, rules(name, plugin)?)) } else { None },
        nn: granted("nn").then(|| Arc::new(Models::new(settings, name, plugin)) as _),
        secrets: Arc::new(if granted("secrets") { secrets(settings, name, plugin)? } else { BTreeMap::new() }),
    })
}

/// A text as it was written, anything else as JSON.
fn setting(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

fn rules(name: &str, plugin: &PluginConfig) -> Result<HttpRules, ConfigError> {
    let method = |text: &String| {
        HttpMethod::ALL.into_iter().find(|method| method.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let known: Vec<&str> = HttpMethod::ALL.iter().map(|method| method.name()).collect();
            ConfigError::Invalid {
                place: format!("plugins.{name}.http.methods"),
                message: format!("there is no method `{text}`"),
                hint: Some(format!("known: {}", known.join(", "))),
            }
        })
    };
    Ok(HttpRules {
        hosts: plugin.http.hosts.clone(),
        private: plugin.http.private.clone(),
        methods: plugin.http.methods.iter().map(method).collect::<Result<_, _>>()?,
    })
}

/// The values of a plugin's secrets: `env:NAME` or `file:PATH`.
fn secrets(settings: &Settings, name: &str, plugin: &PluginConfig) -> Result<BTreeMap<String, String>, ConfigError> {
    let value = |secret: &str, from: &str| {
        let place = format!("plugins.{name}.secrets.{secret}");
        let failed = |message: String, hint: &str| ConfigError::Invalid {
            place: place.clone(),
            message,
            hint: Some(hint.to_owned()),
        };
        if let Some(variable) = from.strip_prefix("env:") {
            return std::env::var(variable)
                .map_err(|_| failed(format!("the environment has no text `{variable}`"), "set it and start again"));
        }
        let Some(path) = from.strip_prefix("file:") else {
            let message = "a secret does not belong in plinth.toml".to_owned();
            return Err(failed(message, "write `env:NAME` or `file:PATH`"));
        };
        let text = std::fs::read_to_string(settings.project.join(path))
            .map_err(|error| failed(format!("cannot read `{path}`: {error}"), "check the path and its permissions"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    plugin.secrets.iter().map(|(secret, from)| Ok((secret.clone(), value(secret, from)?))).collect()
}

/// Requests go through one client for all plugins.
struct Client;

static CLIENT: LazyLock<OutgoingClient> = LazyLock::new(OutgoingClient::default);

impl HttpSend for Client {
    fn send(&self, request: HttpRequest) -> Result<HttpResponse, Problem> {
        let host = request.host.clone();
        // As a grant names it.
        let named = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let usual = if request.url.starts_with("https:") { 443 } else { 80 };
        let place = if request.port == usual { named } else { format!("{named}:{}", request.port) };
        let (timeout, max) = (request.timeout, request.response_bytes_max);
        let answer = CLIENT.send(Outgoing {
            method: request.method.name(),
            url: request.url,
            host: request.host,
            port: request.port,
            private: request.private,
            headers: request.headers,
            body: request.body,
            timeout,
            body_bytes_max: max,
            header_bytes_max: request.header_bytes_max,
        });
        let problem = |code: &str, message: String, retryable| Problem {
            code: code.into(),
            message,
            retryable,
            ..Problem::default()
        };
        match answer {
            Ok(answer) => Ok(HttpResponse { status: answer.status, headers: answer.headers, body: answer.body }),
            Err(NoAnswer::Blocked(reason)) => Err(problem(
                "denied",
                format!("{reason}; if that is wanted, add \"{place}\" to `http.private` of the plugin in plinth.toml"),
                false,
            )),
            Err(NoAnswer::Timeout) => {
                Err(problem("http-timeout", format!("no answer of `{host}` within {} ms", timeout.as_millis()), true))
            }
            Err(NoAnswer::TooLarge) => Err(problem(
                "http-too-large",
                format!(
                    "the answer of `{host}` is larger than {max} bytes, or its headers than {}; raise [limits.plugin] \
                     http-response-bytes-max in plinth.toml",
                    request.header_bytes_max
                ),
                false,
            )),
            Err(NoAnswer::Failed(reason)) => Err(problem("http-failed", format!("`{host}`: {reason}"), true)),
            Err(other) => Err(problem("http-failed", format!("`{host}`: {other:?}"), true)),
        }
    }
}

/// ONNX files that the operator named. Each is loaded once, when it is first asked for.
struct Models {
    plugin: String,
    files: BTreeMap<String, PathBuf>,
    runtime: RuntimeConfig,
    loaded: Mutex<HashMap<String, Arc<OnnxGraph>>>,
}

impl Models {
    fn new(settings: &Settings, plugin: &str, config: &PluginConfig) -> Self {
        let library = &settings.config.onnxruntime;
        let library = (library != "auto").then(|| settings.project.join(library));
        let device = settings.config.device.parse().unwrap_or(Device::Auto);
        let files = config.nn.models.iter().map(|(name, path)| (name.clone(), settings.project.join(path)));
        Self {
            plugin: plugin.to_owned(),
            files: files.collect(),
            runtime: RuntimeConfig { library, device },
            loaded: Mutex::default(),
        }
    }
}

impl Graphs for Models {
    fn load(&self, name: &str) -> Result<Arc<dyn Graph>, Problem> {
        let Some(path) = self.files.get(name) else {
            let message = format!(
                "the model `{name}` was not granted; if that is wanted, write in plinth.toml under \
                 [plugins.\"{}\"]: nn.models.\"{name}\" = \"PATH.onnx\"",
                self.plugin
            );
            return Err(Problem { code: "denied".into(), message, ..Problem::default() });
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(graph) = loaded.get(name) {
            return Ok(Arc::clone(graph) as _);
        }
        let failed = |error: &dyn std::fmt::Display| nn_failed(format!("the model `{name}`: {error}"));
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let runtime = Runtime::start(&self.runtime).map_err(|error| failed(&error))?;
        let options = SessionOptions { device: self.runtime.device, ..SessionOptions::default() };
        let session = Session::load(&runtime, &bytes, &options).map_err(|error| failed(&error))?;
        let graph = Arc::new(OnnxGraph(session));
        loaded.insert(name.to_owned(), Arc::clone(&graph));
        Ok(graph)
    }
}

fn nn_failed(message: String) -> Problem {
    Problem { code: "nn-failed".into(), message, ..Problem::default() }
}

struct OnnxGraph(Session);

impl Graph for OnnxGraph {
    fn inputs(&self) -> Vec<TensorInfo> {
        self.0.inputs().iter().filter_map(info).collect()
    }

    fn outputs(&self) -> Vec<TensorInfo> {
        self.0.outputs().iter().filter_map(info).collect()
    }

    fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem> {
        let bad = |message: String| Problem { code: "bad-tensor".into(), message, ..Problem::default() };
        let known = || self.0.inputs().iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut ordered = Vec::new();
        for slot in self.0.inputs() {
            let mut named = inputs.iter().filter(|tensor| tensor.name == slot.name);
            let (Some(tensor), None) = (named.next(), named.next()) else {
                return Err(bad(format!("the model wants each of its inputs once: {}", known())));
            };
            ordered.push(to_session(tensor)?);
        }
        if ordered.len() != inputs.len() {
            return Err(bad(format!("an input that the model does not have; it has: {}", known())));
        }
        let outputs = self.0.run(&ordered).map_err(|error| nn_failed(error.to_string()))?;
        if let Some(other) =
            outputs.iter().map(plinth_tensor::Tensor::dtype).find(|dtype| tensor_type(*dtype).is_none())
        {
            return Err(bad(format!("an output is {other}, which the contract does not know")));
        }
        let named = self.0.outputs().iter().zip(outputs);
        Ok(named.map(|(slot, tensor)| from_session(&slot.name, tensor)).collect())
    }
}

fn info(slot: &Slot) -> Option<TensorInfo> {
    let dimension = |size: &Option<usize>| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    let ty = tensor_type(slot.dtype?)?;
    Some(TensorInfo { name: slot.name.clone(), ty, dimensions: slot.shape.iter().map(dimension).collect() })
}

fn tensor_type(dtype: DType) -> Option<TensorType> {
    Some(match dtype {
        DType::F32 => TensorType::Fp32,
        DType::F64 => TensorType::Fp64,
        DType::I32 => TensorType::Int32,
        DType::I64 => TensorType::Int64,
        DType::Bool => TensorType::Boolean,
        DType::Text => TensorType::Utf8,
        DType::F16 => TensorType::Fp16,
        DType::BF16 => TensorType::Bf16,
        DType::U8 => TensorType::Uint8,
        DType::I8 => TensorType::Int8,
        // The contract has no such types.
        DType::I16 | DType::U16 | DType::U32 | DType::U64 => return None,
    })
}

fn to_session(tensor: &Tensor) -> Result<plinth_tensor::Tensor, Problem> {
    macro_rules! numbers {
        ($kind:ident, $number:ty) => {
            Data::$kind(tensor.data.as_chunks().0.iter().map(|bytes| <$number>::from_le_bytes(*bytes)).collect())
        };
    }
    let data = match tensor.ty {
        TensorType::Fp32 => numbers!(F32, f32),
        TensorType::Fp64 => numbers!(F64, f64),
        TensorType::Int32 => numbers!(I32, i32),
        TensorType::Int64 => numbers!(I64, i64),
        TensorType::Fp16 => numbers!(F16, u16),
        TensorType::Bf16 => numbers!(BF16, u16),
        TensorType::Uint8 => numbers!(U8, u8),
        TensorType::Int8 => numbers!(I8, i8),
        TensorType::Boolean => Data::Bool(tensor.data.iter().map(|byte| *byte != 0).collect()),
        TensorType::Utf8 => {
            let texts = plinth_plugin::texts(&tensor.data).unwrap_or_default();
            Data::Text(texts.into_iter().map(str::to_owned).collect())
        }
    };
    let shape = tensor.dimensions.iter().map(|dimension| *dimension as usize).collect();
    plinth_tensor::Tensor::new(shape, data).map_err(|error| Problem {
        code: "bad-tensor".into(),
        message: error.to_string(),
        ..Problem::default()
    })
}

fn from_session(name: &str, tensor: plinth_tensor::Tensor) -> Tensor {
    let dimensions = tensor.shape().iter().map(|size| u32::try_from(*size).unwrap_or(u32::MAX)).collect();
    let ty = tensor_type(tensor.dtype()).unwrap_or(TensorType::Uint8);
    let data = match tensor.into_data() {
        Data::F32(values) => values.into_iter().flat_map(f32::to_le_bytes).collect(),
        Data::F64(values) => values.into_iter().flat_map(f64::to_le_bytes).collect(),
        Data::I32(values) => values.into_iter().flat_map(i32::to_le_bytes).collect(),
        Data::I64(values) => values.into_iter().flat_map(i64::to_le_bytes).collect(),
        Data::Bool(values) => values.into_iter().map(u8::from).collect(),
        Data::Text(texts) => {
            let one = |text: String| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
            texts.into_iter().flat_map(one).collect()
        }
        Data::F16(values) | Data::BF16(values) => values.into_iter().flat_map(u16::to_le_bytes).collect(),
        Data::U8(values) => values,
        Data::I8(values) => values.into_iter().flat_map(i8::to_le_bytes).collect(),
        // Turned away by `tensor_type`.
        Data::I16(_) | Data::U16(_) | Data::U32(_) | Data::U64(_) => Vec::new(),
    };
    Tensor { name: name.to_owned(), dimensions, ty, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_as_they_went() {
        let texts = [2_u32.to_le_bytes().as_slice(), b"ab", &0_u32.to_le_bytes()].concat();
        for (ty, data) in [
            (TensorType::Fp32, [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat()),
            (TensorType::Int64, [1_i64.to_le_bytes(), (-2_i64).to_le_bytes()].concat()),
            (TensorType::Boolean, vec![1, 0]),
            (TensorType::Fp16, vec![0, 0x3c, 1, 2]),
            (TensorType::Int8, vec![1, 0xff]),
            (TensorType::Utf8, texts),
        ] {
            let tensor = Tensor { name: "x".into(), dimensions: vec![2, 1], ty, data };
            assert_eq!(from_session("x", to_session(&tensor).unwrap()), tensor);
        }
    }
}
