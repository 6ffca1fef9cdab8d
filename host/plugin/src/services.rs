//! What stands behind the interfaces that a plugin is granted. The composition root fills it: this crate knows no
//! network, no models and no files of a state directory.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use plinth_ext::Problem;

/// The services of one plugin. What is not there answers as if nothing had been granted.
#[derive(Clone, Default)]
pub struct Services {
    /// Its own settings: a text as it was written, anything else as JSON.
    pub config: Arc<BTreeMap<String, String>>,
    /// Its store.
    pub kv: Option<Arc<dyn KeyValues>>,
    /// Who makes its requests, and which it may make.
    pub http: Option<(Arc<dyn HttpSend>, HttpRules)>,
    /// The models that it may run.
    pub nn: Option<Arc<dyn Graphs>>,
    /// The secrets that it may see, by name.
    pub secrets: Arc<BTreeMap<String, String>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the values: settings and secrets are the operator's.
        f.debug_struct("Services")
            .field("config", &self.config.keys().collect::<Vec<_>>())
            .field("kv", &self.kv.is_some())
            .field("http", &self.http.as_ref().map(|(_, rules)| rules))
            .field("nn", &self.nn.is_some())
            .field("secrets", &self.secrets.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// A small store of one plugin, shared by its instances.
pub trait KeyValues: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// A problem with the code `io`.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Problem>;

    /// Sets a key, whole or not at all.
    ///
    /// # Errors
    /// A problem with the code `kv-quota` or `io`.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), Problem>;

    /// Sets a key if its value is `expected`, or if it is not there where nothing is expected; says whether it did.
    /// No change of this process comes in between.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    fn swap(&self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Problem>;

    /// Removes a key; one that is not there is no problem.
    ///
    /// # Errors
    /// A problem with the code `io`.
    fn delete(&self, key: &str) -> Result<(), Problem>;

    /// At most `max` keys that begin with `prefix`, sorted, of those after `after`.
    ///
    /// # Errors
    /// A problem with the code `io`.
    fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Problem>;
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpMethod {
    /// Always granted with `http`.
    Get,
    /// Always granted with `http`.
    Head,
    /// Granted by name.
    Post,
    /// Granted by name.
    Put,
    /// Granted by name.
    Patch,
    /// Granted by name.
    Delete,
}

impl HttpMethod {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One request of a plugin, found to be allowed.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// What it asks for.
    pub method: HttpMethod,
    /// Where it goes.
    pub url: String,
    /// The host that was found to be allowed, in lower case and without brackets; a client that reads another one out
    /// of the URL refuses.
    pub host: String,
    /// The port that was found to be allowed.
    pub port: u16,
    /// Whether the operator allows this host to be at a private address.
    pub private: bool,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
    /// Time until the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of the answer's body; more are the problem `http-too-large`.
    pub response_bytes_max: u64,
    /// Bytes of the answer's headers, names and values added up; more are the problem `http-too-large`.
    pub header_bytes_max: u64,
}

/// The answer to a request.
#[derive(Debug, Clone, Default)]
pub struct HttpResponse {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Makes requests. Follows no redirect, and connects to no private address unless the request says that it may.
pub trait HttpSend: Send + Sync {
    /// Makes one request and waits for the whole answer.
    ///
    /// # Errors
    /// A problem with the code `http-failed`, `http-timeout`, `http-too-large` or `denied`.
    fn send(&self, request: HttpRequest) -> Result<HttpResponse, Problem>;
}

/// Where a plugin's requests may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpRules {
    /// `api.example.com`, `*.example.com` for names below it, or either with a port; without one, the scheme's own.
    pub hosts: Vec<String>,
    /// More of the same, which may be at private addresses.
    pub private: Vec<String>,
    /// Beside `GET` and `HEAD`.
    pub methods: Vec<HttpMethod>,
}

/// Models that a plugin may run, by the names that the operator gave them.
pub trait Graphs: Send + Sync {
    /// Loads a model.
    ///
    /// # Errors
    /// A problem with the code `denied` or `nn-failed`.
    fn load(&self, name: &str) -> Result<Arc<dyn Graph>, Problem>;
}

/// A loaded model. May be used by several instances at once.
pub trait Graph: Send + Sync {
    /// What it takes.
    fn inputs(&self) -> Vec<TensorInfo>;

    /// What it gives.
    fn outputs(&self) -> Vec<TensorInfo>;

    /// Runs it once. The tensors' bytes are as many as their shapes say.
    ///
    /// # Errors
    /// A problem with the code `bad-tensor` or `nn-failed`.
    fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem>;
}

/// Type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// IEEE half precision.
    Fp16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
    /// bfloat16.
    Bf16,
    /// Unsigned, 1 byte.
    Uint8,
    /// Signed, 1 byte.
    Int8,
    /// Signed, 4 bytes.
    Int32,
    /// Signed, 8 bytes.
    Int64,
    /// 0 or 1, 1 byte.
    Boolean,
    /// Texts, each its length in bytes as a 4-byte integer and then its UTF-8.
    Utf8,
}

impl TensorType {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bf16,
        Self::Uint8,
        Self::Int8,
        Self::Int32,
        Self::Int64,
        Self::Boolean,
        Self::Utf8,
    ];

    /// Bytes of one value, where they are the same for all.
    pub const fn width(self) -> Option<u64> {
        match self {
            Self::Uint8 | Self::Int8 | Self::Boolean => Some(1),
            Self::Fp16 | Self::Bf16 => Some(2),
            Self::Fp32 | Self::Int32 => Some(4),
            Self::Fp64 | Self::Int64 => Some(8),
            Self::Utf8 => None,
        }
    }
}

/// What a model takes or gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the model.
    pub name: String,
    /// Type of its values.
    pub ty: TensorType,
    /// -1 for a dimension that may vary.
    pub dimensions: Vec<i64>,
}

/// Values with a name and a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// The input or output that it belongs to.
    pub name: String,
    /// Its shape.
    pub dimensions: Vec<u32>,
    /// Type of its values.
    pub ty: TensorType,
    /// The values, row-major, little-endian.
    pub data: Vec<u8>,
}
