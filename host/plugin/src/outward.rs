//! The host's side of `http` and `nn`: what may take long, and leads out of the sandbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use plinth_ext::Problem;
use wasmtime::{
    Result, StoreContextMut,
    component::{ComponentType, Lift, LinkerInstance, Lower, Resource, ResourceType, WasmStr},
};

use crate::{
    imports::{nothing_lent, text, wire_problem},
    offered::too_large,
    services::{Graph, HttpMethod, HttpRequest, HttpRules, Tensor, TensorInfo, TensorType},
    state::State,
};

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by guests")]
enum WireMethod {
    #[component(name = "get")]
    Get,
    #[component(name = "head")]
    Head,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "patch")]
    Patch,
    #[component(name = "delete")]
    Delete,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WireRequest {
    method: WireMethod,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct WireResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Counts the requests of one second.
pub(crate) struct Rate {
    since: Instant,
    requests: u32,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), requests: 0 }
    }

    fn take(&mut self, max: u32) -> Result<(), Problem> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self::new();
        }
        self.requests += 1;
        if self.requests <= max {
            return Ok(());
        }
        let message = format!(
            "more than {max} requests in one second; if the plugin needs it, raise [limits.plugin] \
             http-requests-per-second-max in plinth.toml"
        );
        Err(Problem { code: "http-rate".into(), message, retryable: true, ..Problem::default() })
    }
}

pub(crate) fn http(http: &mut LinkerInstance<'_, State>) -> Result<()> {
    http.func_wrap("send", |mut store: StoreContextMut<'_, State>, (request,): (WireRequest,)| {
        let state = store.data_mut();
        state.meter.count()?;
        let answer = send(state, request).map(|response| WireResponse {
            status: response.status,
            headers: response.headers,
            body: response.body,
        });
        Ok((answer.map_err(wire_problem),))
    })
}

fn send(state: &mut State, request: WireRequest) -> Result<crate::HttpResponse, Problem> {
    let limits = Arc::clone(&state.limits);
    let Some((client, rules)) = state.services.http.clone() else { return Err(nothing_lent("hosts")) };
    let method = HttpMethod::ALL[request.method as usize];
    let place = Place::parse(&request.url)?;
    let private = allow(&rules, &state.called, method, &place)?;
    check_headers(&request.headers, limits.http_header_bytes_max)?;
    let (sent, max) = (request.body.len() as u64, limits.http_request_bytes_max);
    if sent > max {
        return Err(too_large("http-too-large", "a request", sent, max, "http-request-bytes-max"));
    }
    if sent > 0 && matches!(method, HttpMethod::Get | HttpMethod::Head) {
        return Err(bad_request(format!("{} with a body", method.name())));
    }
    state.rate.take(limits.http_requests_per_second_max)?;
    let timeout = state.time_left().min(Duration::from_millis(limits.http_ms_max));
    let response = client.send(HttpRequest {
        method,
        host: place.host,
        port: place.port,
        url: request.url,
        private,
        headers: request.headers,
        body: request.body,
        timeout,
        response_bytes_max: limits.http_response_bytes_max,
        header_bytes_max: limits.http_header_bytes_max,
    })?;
    // What a client forgot to count.
    let (got, max) = (response.body.len() as u64, limits.http_response_bytes_max);
    if got > max {
        return Err(too_large("http-too-large", "an answer", got, max, "http-response-bytes-max"));
    }
    Ok(response)
}

fn bad_request(message: impl Into<String>) -> Problem {
    Problem { code: "http-bad-request".into(), message: message.into(), ..Problem::default() }
}

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    /// As grants are written: without the scheme's own port.
    shown: String,
}

impl Place {
    /// Reads a URL more strictly than clients do: what parsers disagree about is refused.
    fn parse(url: &str) -> Result<Self, Problem> {
        let shown: String = url.chars().take(100).collect();
        let bad = |why: &str| bad_request(format!("the URL `{shown}` {why}"));
        if url.len() > 8_192 {
            return Err(bad("is longer than 8192 bytes"));
        }
        if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(bad("has white space, a control character or a backslash"));
        }
        let (default, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (443, rest),
            (_, Some(rest)) => (80, rest),
            _ => return Err(bad("does not begin with https:// or http://")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            // Not shown: it may be a password.
            return Err(bad_request("the URL names a user; send an `authorization` header instead"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(|| bad("has no host"))?)),
            None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => default,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad("has no port that can be"))?
            }
            Some(_) => return Err(bad("has no port that can be")),
        };
        let six = authority.starts_with('[');
        let sound = match six {
            true => host.parse::<std::net::Ipv6Addr>().is_ok(),
            false => {
                let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
                let numeric = last.bytes().next().is_some_and(|b| b.is_ascii_digit());
                !host.is_empty()
                    && host.len() <= 253
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
                    && (!numeric || host.parse::<std::net::Ipv4Addr>().is_ok())
            }
        };
        if !sound {
            return Err(bad("has no host that can be; write international names in their xn-- form"));
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let named = if six { format!("[{host}]") } else { host.clone() };
        let shown = if port == default { named } else { format!("{named}:{port}") };
        Ok(Self { host, port, shown })
    }

    fn matches(&self, rule: &str) -> bool {
        let rule = rule.to_ascii_lowercase();
        match rule.strip_prefix("*.") {
            Some(below) => self.shown.strip_suffix(below).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => self.shown == rule,
        }
    }
}

/// Whether a request may be made; true where its host may be at a private address.
fn allow(rules: &HttpRules, plugin: &str, method: HttpMethod, place: &Place) -> Result<bool, Problem> {
    let denied = |what: String, key: &str, list: Vec<String>| {
        let list: Vec<String> = list.iter().map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "{what}, which was not granted; if that is wanted, write in plinth.toml under \
             [plugins.\"{plugin}\"]: http.{key} = [{}]",
            list.join(", ")
        );
        Problem { code: "denied".into(), message, ..Problem::default() }
    };
    let private = rules.private.iter().any(|rule| place.matches(rule));
    if !private && !rules.hosts.iter().any(|rule| place.matches(rule)) {
        let list = rules.hosts.iter().cloned().chain([place.shown.clone()]).collect();
        return Err(denied(format!("the plugin asks for the host `{}`", place.shown), "hosts", list));
    }
    if !matches!(method, HttpMethod::Get | HttpMethod::Head) && !rules.methods.contains(&method) {
        let list = rules.methods.iter().copied().chain([method]).map(|method| method.name().to_owned()).collect();
        return Err(denied(format!("the plugin asks for the method `{}`", method.name()), "methods", list));
    }
    Ok(private)
}

/// Headers that are the connection's.
const OF_THE_HOST: [&str; 11] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "expect",
];

fn check_headers(headers: &[(String, String)], bytes_max: u64) -> Result<(), Problem> {
    let bytes = headers.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>();
    if bytes > bytes_max || headers.len() > 100 {
        let message =
            format!("{} headers of {bytes} bytes; a request has at most 100 of {bytes_max} bytes", headers.len());
        return Err(Problem { code: "http-too-large".into(), message, ..Problem::default() });
    }
    for (name, value) in headers {
        let shown: String = name.chars().take(50).filter(|c| !c.is_control()).collect();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(bad_request(format!("`{shown}` is no name of a header")));
        }
        if OF_THE_HOST.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(bad_request(format!("the header `{shown}` is the host's to set")));
        }
        if !value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) {
            return Err(bad_request(format!("the value of the header `{shown}` is not plain ASCII")));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
enum WireTensorType {
    #[component(name = "fp16")]
    Fp16,
    #[component(name = "fp32")]
    Fp32,
    #[component(name = "fp64")]
    Fp64,
    #[component(name = "bf16")]
    Bf16,
    #[component(name = "uint8")]
    Uint8,
    #[component(name = "int8")]
    Int8,
    #[component(name = "int32")]
    Int32,
    #[component(name = "int64")]
    Int64,
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "utf8")]
    Utf8,
}

impl From<TensorType> for WireTensorType {
    fn from(ty: TensorType) -> Self {
        match ty {
            TensorType::Fp16 => Self::Fp16,
            TensorType::Fp32 => Self::Fp32,
            TensorType::Fp64 => Self::Fp64,
            TensorType::Bf16 => Self::Bf16,
            TensorType::Uint8 => Self::Uint8,
            TensorType::Int8 => Self::Int8,
            TensorType::Int32 => Self::Int32,
            TensorType::Int64 => Self::Int64,
            TensorType::Boolean => Self::Boolean,
            TensorType::Utf8 => Self::Utf8,
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct WireTensorInfo {
    name: String,
    ty: WireTensorType,
    dimensions: Vec<i64>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct WireTensor {
    name: String,
    dimensions: Vec<u32>,
    ty: WireTensorType,
    data: Vec<u8>,
}

fn infos(infos: Vec<TensorInfo>) -> Vec<WireTensorInfo> {
    let info = |TensorInfo { name, ty, dimensions }| WireTensorInfo { name, ty: WireTensorType::from(ty), dimensions };
    infos.into_iter().map(info).collect()
}

/// A model that a guest has loaded.
struct OpenGraph(Arc<dyn Graph>);

pub(crate) fn nn(nn: &mut LinkerInstance<'_, State>) -> Result<()> {
    nn.resource("graph", ResourceType::host::<OpenGraph>(), |mut store, rep| {
        let state: &mut State = store.data_mut();
        state.resources.delete(Resource::<OpenGraph>::new_own(rep))?;
        state.readers.closed();
        Ok(())
    })?;
    nn.func_wrap("[method]graph.inputs", |mut store: StoreContextMut<'_, State>, (graph,): (Resource<OpenGraph>,)| {
        let state = store.data_mut();
        state.meter.count()?;
        Ok((infos(state.resources.get(&graph)?.0.inputs()),))
    })?;
    nn.func_wrap(
        "[method]graph.outputs",
        |mut store: StoreContextMut<'_, State>, (graph,): (Resource<OpenGraph>,)| {
            let state = store.data_mut();
            state.meter.count()?;
            Ok((infos(state.resources.get(&graph)?.0.outputs()),))
        },
    )?;
    nn.func_wrap(
        "[method]graph.compute",
        |mut store: StoreContextMut<'_, State>, (graph, inputs): (Resource<OpenGraph>, Vec<WireTensor>)| {
            let state = store.data_mut();
            state.meter.count()?;
            let graph = Arc::clone(&state.resources.get(&graph)?.0);
            let (sent, kept) = (state.limits.nn_input_bytes_max, state.limits.nn_output_bytes_max);
            let outputs = checked(inputs, sent).and_then(|inputs| {
                let outputs = graph.compute(inputs)?;
                let bytes = outputs.iter().map(|tensor| tensor.data.len() as u64).sum();
                match bytes > kept {
                    true => Err(too_large("nn-too-large", "outputs", bytes, kept, "nn-output-bytes-max")),
                    false => Ok(outputs),
                }
            });
            let wire = |Tensor { name, dimensions, ty, data }| WireTensor {
                name,
                dimensions,
                ty: WireTensorType::from(ty),
                data,
            };
            Ok((outputs.map(|outputs| outputs.into_iter().map(wire).collect::<Vec<_>>()).map_err(wire_problem),))
        },
    )?;
    nn.func_wrap("load-by-name", |mut store: StoreContextMut<'_, State>, (name,): (WasmStr,)| {
        let name = text(&store, &name)?;
        let state = store.data_mut();
        state.meter.count()?;
        state.readers.room()?;
        let loaded = match &state.services.nn {
            Some(graphs) => graphs.load(&name),
            None => Err(nothing_lent("models")),
        };
        Ok((match loaded {
            Ok(graph) => {
                state.readers.opened();
                Ok(state.resources.push(OpenGraph(graph))?)
            }
            Err(problem) => Err(wire_problem(problem)),
        },))
    })
}

/// Tensors whose bytes are as many as their shapes say.
fn checked(tensors: Vec<WireTensor>, bytes_max: u64) -> Result<Vec<Tensor>, Problem> {
    let bytes = tensors.iter().map(|tensor| tensor.data.len() as u64).sum();
    if bytes > bytes_max {
        return Err(too_large("nn-too-large", "inputs", bytes, bytes_max, "nn-input-bytes-max"));
    }
    let check = |tensor: WireTensor| {
        let WireTensor { name, dimensions, ty, data } = tensor;
        let ty = TensorType::ALL[ty as usize];
        let shown: String = name.chars().take(100).collect();
        let bad = |why: String| Problem {
            code: "bad-tensor".into(),
            message: format!("`{shown}` {why}"),
            ..Problem::default()
        };
        let values = dimensions.iter().try_fold(1_u64, |product, dim| product.checked_mul(u64::from(*dim)));
        let fits = match (values, ty.width()) {
            (None, _) => false,
            (Some(values), Some(width)) => values.checked_mul(width) == Some(data.len() as u64),
            (Some(values), None) => texts(&data).is_some_and(|texts| texts.len() as u64 == values),
        };
        if dimensions.len() > 16 || !fits {
            return Err(bad(format!("has {} bytes for {ty:?} of shape {dimensions:?}", data.len())));
        }
        Ok(Tensor { name, dimensions, ty, data })
    };
    tensors.into_iter().map(check).collect()
}

/// The texts of a tensor of texts; none where they are not sound.
pub fn texts(mut data: &[u8]) -> Option<Vec<&str>> {
    let mut texts = Vec::new();
    while !data.is_empty() {
        let (len, rest) = data.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        texts.push(std::str::from_utf8(text).ok()?);
        data = rest;
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> HttpRules {
        HttpRules {
            hosts: vec!["api.example.com".into(), "*.example.org".into(), "alt.example.com:8443".into()],
            private: vec!["127.0.0.1:9000".into()],
            methods: vec![HttpMethod::Post],
        }
    }

    fn ask(method: HttpMethod, url: &str) -> Result<bool, String> {
        let place = Place::parse(url).map_err(|problem| problem.message)?;
        allow(&rules(), "p", method, &place).map_err(|problem| problem.message)
    }

    #[test]
    fn granted_hosts_and_methods_pass() {
        for url in [
            "https://api.example.com",
            "https://API.example.com:443/x?y#z",
            "http://api.example.com/",
            "https://a.b.example.org/",
            "https://alt.example.com:8443/",
        ] {
            assert_eq!(ask(HttpMethod::Get, url), Ok(false), "{url}");
        }
        assert_eq!(ask(HttpMethod::Post, "https://api.example.com/"), Ok(false));
        assert_eq!(ask(HttpMethod::Get, "http://127.0.0.1:9000/"), Ok(true));
    }

    #[test]
    fn others_are_told_the_line_that_would_allow_them() {
        let told = ask(HttpMethod::Get, "https://evil.com/").unwrap_err();
        assert_eq!(
            told,
            "the plugin asks for the host `evil.com`, which was not granted; if that is wanted, write in plinth.toml under \
             [plugins.\"p\"]: http.hosts = [\"api.example.com\", \"*.example.org\", \"alt.example.com:8443\", \"evil.com\"]"
        );
        let told = ask(HttpMethod::Delete, "https://api.example.com/").unwrap_err();
        assert!(told.ends_with("[plugins.\"p\"]: http.methods = [\"POST\", \"DELETE\"]"), "{told}");
        for url in [
            "https://example.org/",
            "https://badexample.org/",
            "https://api.example.com:444/",
            "https://api.example.com.evil.com/",
            "http://127.0.0.1:9001/",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert!(ask(HttpMethod::Get, url).unwrap_err().contains("was not granted"), "{url}");
        }
    }

    #[test]
    fn tricks_with_urls_are_refused() {
        for url in [
            "",
            "file:///etc/passwd",
            "ftp://api.example.com/",
            "HTTP://api.example.com/",
            "https:api.example.com",
            "https://",
            "https:///x",
            "https://api.example.com@evil.com/",
            "https://user:pw@api.example.com/",
            "https://evil.com\\@api.example.com/",
            "https://api.example.com\n.evil.com/",
            "https://api.example.com:0/",
            "https://api.example.com:99999/",
            "https://api.example.com:80:80/",
            "https://api.example.com:+80/",
            "https://api%2eexample.com/",
            "https://аpi.example.com/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://[::1/",
            "http://[::1]x/",
        ] {
            let told = Place::parse(url).err().map(|problem| problem.code);
            assert_eq!(told.as_deref(), Some("http-bad-request"), "{url:?}");
        }
        let told = Place::parse("https://user:hunter2@api.example.com/").unwrap_err().message;
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn headers_that_smuggle_are_refused() {
        let check = |name: &str, value: &str| check_headers(&[(name.to_owned(), value.to_owned())], 100);
        assert!(check("accept", "text/plain").is_ok());
        for (name, value) in [
            ("Host", "x"),
            ("content-length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("a b", "x"),
            ("", "x"),
            ("x", "a\r\nb: c"),
        ] {
            assert_eq!(check(name, value).unwrap_err().code, "http-bad-request", "{name}");
        }
        assert_eq!(check("x", &"y".repeat(100)).unwrap_err().code, "http-too-large");
    }

    #[test]
    fn tensors_that_lie_are_refused() {
        let tensor = |dimensions: &[u32], ty, data: &[u8]| {
            let tensor = WireTensor { name: "x".into(), dimensions: dimensions.to_vec(), ty, data: data.to_vec() };
            checked(vec![tensor], 100).map_err(|problem| problem.code)
        };
        assert!(tensor(&[2, 1], WireTensorType::Fp32, &[0; 8]).is_ok());
        assert!(tensor(&[1], WireTensorType::Utf8, b"\x02\0\0\0ab").is_ok());
        for (dimensions, ty, data) in [
            (&[2_u32, 2][..], WireTensorType::Fp32, &[0; 8][..]),
            (&[u32::MAX, u32::MAX, u32::MAX], WireTensorType::Fp64, &[]),
            (&[1; 17], WireTensorType::Uint8, &[0]),
            (&[1], WireTensorType::Utf8, b"\x02\0\0\0a"),
            (&[1], WireTensorType::Utf8, b"\x01\0\0\0\xff"),
        ] {
            assert_eq!(tensor(dimensions, ty, data), Err("bad-tensor".into()), "{dimensions:?}");
        }
        assert_eq!(tensor(&[101], WireTensorType::Uint8, &[0; 101]), Err("nn-too-large".into()));
    }
}
