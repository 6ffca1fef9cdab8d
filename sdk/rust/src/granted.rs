//! What the host offers beside log, objects and tables: settings, a small store, requests, models, the clock,
//! randomness, secrets. Each but the settings is a capability of the same name.
//!
//! Natively each stands in for the host with what a test lent on its thread.

/// The plugin's own settings, given by the operator.
pub mod config {
    /// The value of one setting: a text as it was written, anything else as JSON.
    pub fn get(key: &str) -> Option<String> {
        imp::get(key)
    }

    /// All settings, sorted by key.
    pub fn get_all() -> Vec<(String, String)> {
        imp::get_all()
    }

    /// Gives a setting to code under test on this thread.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lend(key: impl Into<String>, value: impl Into<String>) {
        imp::LENT.with_borrow_mut(|lent| lent.insert(key.into(), value.into()));
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::config as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap};

        thread_local! {
            pub(super) static LENT: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
        }

        pub(super) fn get(key: &str) -> Option<String> {
            LENT.with_borrow(|lent| lent.get(key).cloned())
        }

        pub(super) fn get_all() -> Vec<(String, String)> {
            LENT.with_borrow(|lent| lent.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
        }
    }
}

/// A small store of the plugin's own: the capability `kv`.
pub mod kv {
    use crate::Problem;

    /// The value of a key.
    ///
    /// # Errors
    /// The host's problem.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Problem> {
        imp::get(key)
    }

    /// Sets a key, whole or not at all.
    ///
    /// # Errors
    /// The host's problem, such as `kv-quota`.
    pub fn set(key: &str, value: &[u8]) -> Result<(), Problem> {
        imp::set(key, value)
    }

    /// Sets a key if its value is still `expected`, or if it is not there where nothing is expected, and says whether
    /// it did. Instances run at the same time: to count, read, swap, and begin again where another was faster.
    ///
    /// # Errors
    /// As for [`set`].
    pub fn swap(key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Problem> {
        imp::swap(key, expected, value)
    }

    /// Removes a key; one that is not there is no problem.
    ///
    /// # Errors
    /// The host's problem.
    pub fn delete(key: &str) -> Result<(), Problem> {
        imp::delete(key)
    }

    /// At most `max` keys that begin with `prefix`, sorted, of those after `after`.
    ///
    /// # Errors
    /// The host's problem.
    pub fn list_keys(prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>, Problem> {
        imp::list_keys(prefix, after, max)
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::kv as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap};

        use crate::Problem;

        thread_local! {
            static KEPT: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
        }

        pub(super) fn get(key: &str) -> Result<Option<Vec<u8>>, Problem> {
            Ok(KEPT.with_borrow(|kept| kept.get(key).cloned()))
        }

        pub(super) fn set(key: &str, value: &[u8]) -> Result<(), Problem> {
            KEPT.with_borrow_mut(|kept| kept.insert(key.to_owned(), value.to_vec()));
            Ok(())
        }

        pub(super) fn swap(key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Problem> {
            if get(key)?.as_deref() != expected {
                return Ok(false);
            }
            set(key, value).map(|()| true)
        }

        pub(super) fn delete(key: &str) -> Result<(), Problem> {
            KEPT.with_borrow_mut(|kept| kept.remove(key));
            Ok(())
        }

        pub(super) fn list_keys(prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>, Problem> {
            let wanted = |key: &&String| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
            Ok(KEPT.with_borrow(|kept| kept.keys().filter(wanted).take(max as usize).cloned().collect()))
        }
    }
}

/// Time: the capability `clock`.
pub mod clock {
    /// Microseconds since 1970-01-01T00:00:00Z; stands still in the deterministic profile and natively.
    pub fn now_us() -> i64 {
        imp::now_us()
    }

    /// Nanoseconds since some moment; never falls.
    pub fn monotonic_ns() -> u64 {
        imp::monotonic_ns()
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::clock as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::sync::atomic::{AtomicU64, Ordering};

        static NOW: AtomicU64 = AtomicU64::new(1_000_000_000);

        pub(super) fn now_us() -> i64 {
            1_704_067_200_000_000
        }

        pub(super) fn monotonic_ns() -> u64 {
            NOW.fetch_add(1_000, Ordering::Relaxed) + 1_000
        }
    }
}

/// Random numbers: the capability `random`.
pub mod random {
    /// So many random bytes; always the same ones in the deterministic profile and natively.
    pub fn get_bytes(len: u32) -> Vec<u8> {
        imp::get_bytes(len)
    }

    /// A random number.
    pub fn get_u64() -> u64 {
        imp::get_u64()
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::random as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::cell::Cell;

        thread_local! {
            static STATE: Cell<u64> = const { Cell::new(0) };
        }

        pub(super) fn get_bytes(len: u32) -> Vec<u8> {
            std::iter::repeat_with(|| get_u64().to_le_bytes()).flatten().take(len as usize).collect()
        }

        /// SplitMix64 of a fixed seed.
        pub(super) fn get_u64() -> u64 {
            let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            STATE.set(state);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}

/// Secrets that the operator named: the capability `secrets`.
pub mod secrets {
    use crate::Problem;

    /// The value of a granted secret.
    ///
    /// # Errors
    /// `denied` where it was not granted.
    pub fn get(name: &str) -> Result<String, Problem> {
        imp::get(name)
    }

    /// Gives a secret to code under test on this thread.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lend(name: impl Into<String>, value: impl Into<String>) {
        imp::LENT.with_borrow_mut(|lent| lent.insert(name.into(), value.into()));
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::secrets as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap};

        use crate::Problem;

        thread_local! {
            pub(super) static LENT: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
        }

        pub(super) fn get(name: &str) -> Result<String, Problem> {
            LENT.with_borrow(|lent| lent.get(name).cloned())
                .ok_or_else(|| Problem::bad_input("denied", format!("no secret `{name}` was lent")))
        }
    }
}

/// Requests to hosts that the operator named: the capability `http`.
pub mod http {
    use crate::Problem;

    /// What a request asks for; those after `Head` are granted by name.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Method {
        /// Granted with the capability.
        Get,
        /// Granted with the capability.
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

    /// The answer, whatever its status. Redirects are not followed.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Response {
        /// Such as 200.
        pub status: u16,
        /// Names in lower case, and values.
        pub headers: Vec<(String, String)>,
        /// The whole body.
        pub body: Vec<u8>,
    }

    /// Asks for a URL.
    ///
    /// # Errors
    /// The host's problem: `denied`, `http-timeout`, `http-too-large` and others.
    pub fn get(url: &str) -> Result<Response, Problem> {
        send(Method::Get, url, &[], &[])
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// As for [`get`].
    pub fn send(method: Method, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, Problem> {
        imp::send(method, url, headers, body)
    }

    /// Lends an answer to code under test on this thread, under a URL.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lend(url: impl Into<String>, response: Response) {
        imp::LENT.with_borrow_mut(|lent| lent.insert(url.into(), response));
    }

    #[cfg(target_arch = "wasm32")]
    mod imp {
        use super::{Method, Response};
        use crate::{Problem, bindings::host::plinth::host::http as wit};

        pub(super) fn send(
            method: Method,
            url: &str,
            headers: &[(&str, &str)],
            body: &[u8],
        ) -> Result<Response, Problem> {
            let method = match method {
                Method::Get => wit::Method::Get,
                Method::Head => wit::Method::Head,
                Method::Post => wit::Method::Post,
                Method::Put => wit::Method::Put,
                Method::Patch => wit::Method::Patch,
                Method::Delete => wit::Method::Delete,
            };
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let request = wit::Request { method, url: url.to_owned(), headers, body: body.to_vec() };
            let wit::Response { status, headers, body } = wit::send(&request)?;
            Ok(Response { status, headers, body })
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap};

        use super::{Method, Response};
        use crate::Problem;

        thread_local! {
            pub(super) static LENT: RefCell<BTreeMap<String, Response>> = const { RefCell::new(BTreeMap::new()) };
        }

        pub(super) fn send(_: Method, url: &str, _: &[(&str, &str)], _: &[u8]) -> Result<Response, Problem> {
            LENT.with_borrow(|lent| lent.get(url).cloned())
                .ok_or_else(|| Problem::bad_input("denied", format!("no answer of `{url}` was lent")))
        }
    }
}

/// Models that the operator named, run by the host: the capability `nn`.
pub mod nn {
    use crate::Problem;

    /// Type of a tensor's values, little-endian in its data.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TensorType {
        /// 2 bytes, IEEE half precision.
        Fp16,
        /// 4 bytes.
        Fp32,
        /// 8 bytes.
        Fp64,
        /// 2 bytes, bfloat16.
        Bf16,
        /// 1 byte.
        Uint8,
        /// 1 byte.
        Int8,
        /// 4 bytes.
        Int32,
        /// 8 bytes.
        Int64,
        /// 1 byte, 0 or 1.
        Boolean,
        /// Texts, each its length in bytes as a 4-byte integer and then its UTF-8.
        Utf8,
    }

    /// What a graph takes or gives.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TensorInfo {
        /// Its name in the graph.
        pub name: String,
        /// Type of its values.
        pub ty: TensorType,
        /// Its shape; -1 for a dimension that may vary.
        pub dimensions: Vec<i64>,
    }

    /// Values with a name and a shape.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Tensor {
        /// The input or output of the graph that it belongs to.
        pub name: String,
        /// Its shape.
        pub dimensions: Vec<u32>,
        /// Type of its values.
        pub ty: TensorType,
        /// The values, row-major, without gaps.
        pub data: Vec<u8>,
    }

    impl Tensor {
        /// A tensor of float32, as most models take them.
        pub fn of_f32s(name: impl Into<String>, dimensions: impl Into<Vec<u32>>, values: &[f32]) -> Self {
            let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Self { name: name.into(), dimensions: dimensions.into(), ty: TensorType::Fp32, data }
        }

        /// The values of a tensor of float32; none where it holds something else.
        pub fn f32s(&self) -> Option<Vec<f32>> {
            let values = self.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            (self.ty == TensorType::Fp32).then(|| values.collect())
        }
    }

    /// A loaded model.
    #[derive(Debug)]
    pub struct Graph(imp::Graph);

    impl Graph {
        /// What it takes.
        pub fn inputs(&self) -> Vec<TensorInfo> {
            self.0.inputs()
        }

        /// What it gives.
        pub fn outputs(&self) -> Vec<TensorInfo> {
            self.0.outputs()
        }

        /// Runs it once: every input by name, every output back. The wait counts in the deadline of the call.
        ///
        /// # Errors
        /// The host's problem, such as an input of another shape.
        pub fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem> {
            self.0.compute(inputs)
        }
    }

    /// Loads a granted model by the name that the operator gave it.
    ///
    /// # Errors
    /// `denied` where it was not granted.
    pub fn load(name: &str) -> Result<Graph, Problem> {
        imp::load(name).map(Graph)
    }

    /// What stands in for a model natively.
    #[cfg(not(target_arch = "wasm32"))]
    pub trait Model: 'static {
        /// As [`Graph::inputs`].
        fn inputs(&self) -> Vec<TensorInfo>;

        /// As [`Graph::outputs`].
        fn outputs(&self) -> Vec<TensorInfo>;

        /// As [`Graph::compute`].
        ///
        /// # Errors
        /// As there.
        fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem>;
    }

    /// Lends a model to code under test on this thread.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lend(name: impl Into<String>, model: impl Model) {
        imp::LENT.with_borrow_mut(|lent| lent.insert(name.into(), std::rc::Rc::new(model)));
    }

    #[cfg(target_arch = "wasm32")]
    mod imp {
        use super::{Tensor, TensorInfo, TensorType};
        use crate::{Problem, bindings::host::plinth::host::nn as wit};

        #[derive(Debug)]
        pub(super) struct Graph(wit::Graph);

        impl Graph {
            pub(super) fn inputs(&self) -> Vec<TensorInfo> {
                infos(self.0.inputs())
            }

            pub(super) fn outputs(&self) -> Vec<TensorInfo> {
                infos(self.0.outputs())
            }

            pub(super) fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem> {
                let lower = |Tensor { name, dimensions, ty, data }| wit::Tensor {
                    name,
                    dimensions,
                    ty: TYPES[ty as usize].0,
                    data,
                };
                let inputs: Vec<wit::Tensor> = inputs.into_iter().map(lower).collect();
                let lift = |wit::Tensor { name, dimensions, ty, data }| Tensor {
                    name,
                    dimensions,
                    ty: TYPES[ty as usize].1,
                    data,
                };
                Ok(self.0.compute(&inputs)?.into_iter().map(lift).collect())
            }
        }

        pub(super) fn load(name: &str) -> Result<Graph, Problem> {
            wit::load_by_name(name).map(Graph)
        }

        fn infos(infos: Vec<wit::TensorInfo>) -> Vec<TensorInfo> {
            let lift =
                |wit::TensorInfo { name, ty, dimensions }| TensorInfo { name, ty: TYPES[ty as usize].1, dimensions };
            infos.into_iter().map(lift).collect()
        }

        /// Each type as the bindings and as this module have it, in the order of both.
        const TYPES: [(wit::TensorType, TensorType); 10] = [
            (wit::TensorType::Fp16, TensorType::Fp16),
            (wit::TensorType::Fp32, TensorType::Fp32),
            (wit::TensorType::Fp64, TensorType::Fp64),
            (wit::TensorType::Bf16, TensorType::Bf16),
            (wit::TensorType::Uint8, TensorType::Uint8),
            (wit::TensorType::Int8, TensorType::Int8),
            (wit::TensorType::Int32, TensorType::Int32),
            (wit::TensorType::Int64, TensorType::Int64),
            (wit::TensorType::Boolean, TensorType::Boolean),
            (wit::TensorType::Utf8, TensorType::Utf8),
        ];
    }

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

        use super::{Model, Tensor, TensorInfo};
        use crate::Problem;

        thread_local! {
            pub(super) static LENT: RefCell<BTreeMap<String, Rc<dyn Model>>> = const { RefCell::new(BTreeMap::new()) };
        }

        pub(super) struct Graph(Rc<dyn Model>);

        impl fmt::Debug for Graph {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Graph")
            }
        }

        impl Graph {
            pub(super) fn inputs(&self) -> Vec<TensorInfo> {
                self.0.inputs()
            }

            pub(super) fn outputs(&self) -> Vec<TensorInfo> {
                self.0.outputs()
            }

            pub(super) fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem> {
                self.0.compute(inputs)
            }
        }

        pub(super) fn load(name: &str) -> Result<Graph, Problem> {
            LENT.with_borrow(|lent| lent.get(name).cloned())
                .map(Graph)
                .ok_or_else(|| Problem::bad_input("denied", format!("no model `{name}` was lent")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_lends_is_what_the_code_sees() {
        config::lend("model", "small");
        secrets::lend("key", "s3cret");
        http::lend("https://a/", http::Response { status: 200, ..http::Response::default() });
        assert_eq!(config::get("model").as_deref(), Some("small"));
        assert_eq!(config::get_all(), [("model".to_owned(), "small".to_owned())]);
        assert_eq!(secrets::get("key").unwrap(), "s3cret");
        assert_eq!(secrets::get("other").unwrap_err().code, "denied");
        assert_eq!(http::get("https://a/").unwrap().status, 200);
        assert_eq!(http::get("https://b/").unwrap_err().code, "denied");
        ["b", "a"].into_iter().for_each(|key| kv::set(key, b"1").unwrap());
        kv::delete("b").unwrap();
        assert_eq!((kv::list_keys("", None, 9).unwrap(), kv::get("b").unwrap()), (vec!["a".to_owned()], None));
        assert!(clock::monotonic_ns() < clock::monotonic_ns());
        assert_eq!(random::get_bytes(3).len(), 3);
    }
    /// Doubles every number.
    struct Double;

    impl nn::Model for Double {
        fn inputs(&self) -> Vec<nn::TensorInfo> {
            vec![nn::TensorInfo { name: "x".into(), ty: nn::TensorType::Fp32, dimensions: vec![-1] }]
        }

        fn outputs(&self) -> Vec<nn::TensorInfo> {
            self.inputs()
        }

        fn compute(&self, inputs: Vec<nn::Tensor>) -> Result<Vec<nn::Tensor>, crate::Problem> {
            let doubled = |tensor: nn::Tensor| {
                let values: Vec<f32> = tensor.f32s().unwrap().iter().map(|value| value * 2.0).collect();
                nn::Tensor::of_f32s(tensor.name, tensor.dimensions, &values)
            };
            Ok(inputs.into_iter().map(doubled).collect())
        }
    }

    #[test]
    fn a_swap_happens_only_where_the_value_is_the_one_expected() {
        let swaps = [(Some("0"), "1"), (None, "1"), (None, "2"), (Some("1"), "2")];
        let swapped =
            swaps.map(|(expected, value)| kv::swap("n", expected.map(str::as_bytes), value.as_bytes()).unwrap());
        assert_eq!((swapped, kv::get("n").unwrap()), ([false, true, false, true], Some(b"2".to_vec())));
    }

    #[test]
    fn more_objects_than_a_page_are_listed() {
        let names: Vec<String> = (0..2_001).map(|number| format!("many/{number:04}")).collect();
        names.iter().for_each(|name| crate::host::objects::lend(name, *b""));
        assert_eq!(crate::host::objects::list("many/").unwrap(), names);
    }

    #[test]
    fn a_lent_model_computes() {
        nn::lend("double", Double);
        let graph = nn::load("double").unwrap();
        assert_eq!((graph.inputs()[0].name.as_str(), graph.outputs().len()), ("x", 1));
        let out = graph.compute(vec![nn::Tensor::of_f32s("x", [2], &[1.5, -2.0])]).unwrap();
        assert_eq!(out[0].f32s(), Some(vec![3.0, -4.0]));
        assert_eq!(nn::load("other").unwrap_err().code, "denied");
    }
}
