//! Host calls as no compiler of an SDK would make them: handles that are gone, pointers that lead nowhere.
#![expect(unsafe_code, reason = "the misdeed is to go round the types")]

#[link(wasm_import_module = "plinth:host/nn@0.2.0")]
unsafe extern "C" {
    #[link_name = "[method]graph.inputs"]
    fn graph_inputs(graph: i32, answer: *mut u8);
    #[link_name = "[resource-drop]graph"]
    fn graph_drop(graph: i32);
}

#[link(wasm_import_module = "plinth:host/tables@0.2.0")]
unsafe extern "C" {
    #[link_name = "[method]table.schema"]
    fn table_schema(table: i32, answer: *mut u8);
}

#[link(wasm_import_module = "plinth:host/objects@0.2.0")]
unsafe extern "C" {
    #[link_name = "[method]object.size"]
    fn object_size(object: i32) -> i64;
}

#[link(wasm_import_module = "plinth:host/log@0.2.0")]
unsafe extern "C" {
    #[link_name = "log"]
    fn log(level: i32, text: *mut u8, len: usize);
}

pub(crate) fn inputs_of(graph: i32) -> String {
    let mut answer = [0_u64; 4];
    // SAFETY: the answer is two words, and there is room for eight.
    unsafe { graph_inputs(graph, answer.as_mut_ptr().cast()) };
    format!("{answer:?}")
}

pub(crate) fn drop_graph(graph: i32) -> String {
    // SAFETY: touches no memory of this component.
    unsafe { graph_drop(graph) };
    "dropped twice".into()
}

pub(crate) fn schema_of(table: i32) -> String {
    let mut answer = [0_u64; 4];
    // SAFETY: the answer is two words, and there is room for eight.
    unsafe { table_schema(table, answer.as_mut_ptr().cast()) };
    format!("{answer:?}")
}

pub(crate) fn size_of(object: i32) -> String {
    // SAFETY: touches no memory of this component.
    format!("{} bytes", unsafe { object_size(object) })
}

pub(crate) fn log_from_afar() -> String {
    // SAFETY: the host reads, and what it may not read it refuses.
    unsafe { log(2, usize::MAX.wrapping_sub(64) as *mut u8, 1 << 20) };
    "logged".into()
}

pub(crate) fn log_bytes(bytes: &[u8]) -> String {
    // SAFETY: the host only reads them.
    unsafe { log(2, bytes.as_ptr().cast_mut(), bytes.len()) };
    "logged".into()
}

pub(crate) fn log_at_level(level: i32) -> String {
    let text = b"x";
    // SAFETY: the host only reads it.
    unsafe { log(level, text.as_ptr().cast_mut(), text.len()) };
    "logged".into()
}
