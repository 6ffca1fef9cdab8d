//! The host's side of `plinth:host`: what a guest can call.

use std::sync::Arc;

use plinth_ext::{Batch, ExtError, Problem, Schema};
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, LinkerInstance, Resource, ResourceType, WasmStr},
};

use crate::{
    block::{Layout, OwnedBlock},
    fault::cut,
    grants::Grants,
    manifest::Anatomy,
    objects::ObjectRead,
    offered, outward, since_v0_1,
    state::State,
    version::WitVersion,
    wasi,
    wire::{WireLevel, WireProblem, WireSchema},
};

/// Links what a component was granted and imports, in the versions that it imports; nothing else exists for it.
pub(crate) fn link(linker: &mut Linker<State>, anatomy: &Anatomy, grants: &Grants) -> Result<()> {
    for version in WitVersion::ALL.into_iter().filter(|version| anatomy.imports_of(*version)) {
        // Types alone: nothing to call.
        linker.instance(&version.name("plinth:types/types"))?;
        for (name, link) in offered_in(version).into_iter().filter(|(name, _)| grants.has(name)) {
            link(&mut linker.instance(&version.name(&format!("plinth:host/{name}")))?)?;
        }
    }
    if imports_wasi(anatomy) {
        wasi::link(linker)?;
    }
    Ok(())
}

/// Links one interface.
type Link = fn(&mut LinkerInstance<'_, State>) -> Result<()>;

/// What a version has of `plinth:host`. Interfaces that only gained functions are the same for all versions.
fn offered_in(version: WitVersion) -> [(&'static str, Link); 10] {
    let objects: Link = match version {
        WitVersion::V0_1 => since_v0_1::objects,
        WitVersion::V0_2 => objects,
    };
    [
        ("log", log),
        ("config", offered::config),
        ("objects", objects),
        ("tables", tables),
        ("kv", offered::kv),
        ("http", outward::http),
        ("nn", outward::nn),
        ("clock", offered::clock),
        ("random", offered::random),
        ("secrets", offered::secrets),
    ]
}

/// Whether a component needs a WASI context.
pub(crate) fn imports_wasi(anatomy: &Anatomy) -> bool {
    anatomy.imports.iter().any(|import| import.starts_with("wasi:"))
}

fn log(log: &mut LinkerInstance<'_, State>) -> Result<()> {
    log.func_wrap("log", |mut store: StoreContextMut<'_, State>, (level, message): (WireLevel, WasmStr)| {
        store.data_mut().meter.count()?;
        // A message that is too long is not even copied.
        let len = message.to_str(&store)?.len();
        if store.data_mut().log.has_room(len) {
            let message = message.to_str(&store)?.into_owned();
            store.data_mut().log.write(level, &message);
        }
        Ok(())
    })
}

/// An object that a guest has open.
struct OpenObject(Arc<dyn ObjectRead>);

fn objects(objects: &mut LinkerInstance<'_, State>) -> Result<()> {
    object_functions(objects)?;
    objects.func_wrap(
        "list-objects",
        |mut store: StoreContextMut<'_, State>, (prefix, after, max): (WasmStr, Option<WasmStr>, u32)| {
            let prefix = text(&store, &prefix)?;
            let after = after.map(|after| text(&store, &after)).transpose()?;
            let state = store.data_mut();
            state.meter.count()?;
            let max = max.min(state.list_items_max) as usize;
            Ok((listed(state, &prefix, after.as_deref(), max).map_err(wire_problem),))
        },
    )
}

/// A page of the URIs below a prefix.
pub(crate) fn listed(state: &State, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Problem> {
    match &state.objects {
        Some(objects) => objects.list(prefix, after, max),
        None => Err(nothing_lent("objects")),
    }
}

/// What `objects` has in every version.
pub(crate) fn object_functions(objects: &mut LinkerInstance<'_, State>) -> Result<()> {
    objects.resource("object", ResourceType::host::<OpenObject>(), |mut store, rep| {
        let state = store.data_mut();
        state.resources.delete(Resource::<OpenObject>::new_own(rep))?;
        state.readers.closed();
        Ok(())
    })?;
    objects.func_wrap("[method]object.size", |mut store: StoreContextMut<'_, State>, (object,)| {
        let state = store.data_mut();
        state.meter.count()?;
        let object: &OpenObject = state.resources.get(&object)?;
        Ok((object.0.size(),))
    })?;
    objects.func_wrap(
        "[method]object.read",
        |mut store: StoreContextMut<'_, State>, (object, offset, len): (Resource<OpenObject>, u64, u32)| {
            let state = store.data_mut();
            state.meter.count()?;
            let object: &OpenObject = state.resources.get(&object)?;
            let left = object.0.size().saturating_sub(offset);
            let len = u64::from(len.min(state.object_read_bytes_max)).min(left);
            let mut bytes = vec![0; usize::try_from(len)?];
            // Nothing is asked of the source where there is nothing to read, such as beyond its end.
            let read = if bytes.is_empty() { Ok(0) } else { object.0.read_at(offset, &mut bytes) };
            Ok((match read {
                Ok(read) => {
                    bytes.truncate(read);
                    Ok(bytes)
                }
                Err(problem) => Err(wire_problem(problem)),
            },))
        },
    )?;
    objects.func_wrap("open", |mut store: StoreContextMut<'_, State>, (uri,): (WasmStr,)| {
        let uri = text(&store, &uri)?;
        let state = store.data_mut();
        state.meter.count()?;
        state.readers.room()?;
        let opened = match &state.objects {
            Some(objects) => objects.open(&uri),
            None => Err(nothing_lent("objects")),
        };
        Ok((match opened {
            Ok(object) => {
                state.readers.opened();
                Ok(state.resources.push(OpenObject(object))?)
            }
            Err(problem) => Err(wire_problem(problem)),
        },))
    })
}

/// A lent table that a guest has open.
struct OpenTable {
    layout: Arc<Layout>,
    batches: Box<dyn Iterator<Item = Result<Batch, ExtError>> + Send>,
    /// The rest of the batch that is being handed out, and where it begins.
    current: Option<(Batch, usize)>,
}

impl OpenTable {
    /// The next rows: at most `rows_max`, and about `bytes_target` bytes.
    fn next(&mut self, rows_max: usize, bytes_target: u64) -> Result<Option<Batch>, ExtError> {
        let (batch, start) = loop {
            match self.current.take() {
                Some((batch, start)) if start < batch.num_rows() => break (batch, start),
                _ => match self.batches.next() {
                    None => return Ok(None),
                    Some(batch) => {
                        let batch = batch?;
                        self.layout.schema.expect_same(batch.schema())?;
                        self.current = Some((batch, 0));
                    }
                },
            }
        };
        let rows = rows_max.min(self.layout.rows_per_block(&batch, bytes_target)).min(batch.num_rows() - start);
        let part = batch.slice(start, rows);
        self.current = Some((batch, start + rows));
        Ok(Some(part))
    }
}

fn tables(tables: &mut LinkerInstance<'_, State>) -> Result<()> {
    tables.resource("table", ResourceType::host::<OpenTable>(), |mut store, rep| {
        let state = store.data_mut();
        state.resources.delete(Resource::<OpenTable>::new_own(rep))?;
        state.readers.closed();
        Ok(())
    })?;
    tables.func_wrap("[method]table.schema", |mut store: StoreContextMut<'_, State>, (table,)| {
        let state = store.data_mut();
        state.meter.count()?;
        let table: &OpenTable = state.resources.get(&table)?;
        Ok((WireSchema::from(&table.layout.schema),))
    })?;
    tables.func_wrap(
        "[method]table.next",
        |mut store: StoreContextMut<'_, State>, (table, rows_max): (Resource<OpenTable>, u32)| {
            let state = store.data_mut();
            state.meter.count()?;
            let bytes_target = state.block_bytes_target;
            let table: &mut OpenTable = state.resources.get_mut(&table)?;
            let next = table.next((rows_max as usize).max(1), bytes_target);
            let layout = table.layout.clone();
            Ok((match next {
                Ok(batch) => Ok(batch.map(|batch| OwnedBlock { batch, layout })),
                Err(error) => Err(wire_problem(table_problem(&error))),
            },))
        },
    )?;
    tables.func_wrap("open", |mut store: StoreContextMut<'_, State>, (name,): (WasmStr,)| {
        let name = text(&store, &name)?;
        let state = store.data_mut();
        state.meter.count()?;
        state.readers.room()?;
        let opened = match &state.tables {
            None => Err(nothing_lent("tables")),
            Some(tables) => match tables.open(&name) {
                Ok(Some(table)) => Ok(table),
                Ok(None) => {
                    let message = format!("no table `{name}` is lent; there are: {}", tables.names().join(", "));
                    Err(Problem { code: "no-such-table".into(), message, ..Problem::default() })
                }
                Err(error) => Err(table_problem(&error)),
            },
        };
        Ok((match opened {
            Ok((schema, batches)) => {
                state.readers.opened();
                Ok(state.resources.push(open_table(schema, batches))?)
            }
            Err(problem) => Err(wire_problem(problem)),
        },))
    })
}

fn open_table(schema: Schema, batches: Box<dyn Iterator<Item = Result<Batch, ExtError>> + Send>) -> OpenTable {
    OpenTable { layout: Arc::new(Layout::new(schema)), batches, current: None }
}

/// A text of the guest, cut to the length of a message: it is a name or a path.
pub(crate) fn text(store: &StoreContextMut<'_, State>, text: &WasmStr) -> Result<String> {
    let max = store.data().message_bytes_max as usize;
    let text = text.to_str(store)?;
    if text.len() > max {
        wasmtime::bail!("a name of {} bytes, more than {max}", text.len());
    }
    Ok(text.into_owned())
}

pub(crate) fn nothing_lent(what: &str) -> Problem {
    let message = format!("no {what} are lent to this call");
    Problem { code: "denied".into(), message, ..Problem::default() }
}

fn table_problem(error: &ExtError) -> Problem {
    Problem { code: "bad-table".into(), message: error.to_string(), ..Problem::default() }
}

pub(crate) fn wire_problem(problem: Problem) -> WireProblem {
    let Problem { code, message, retryable, row, column } = problem;
    WireProblem { code, message: cut(message, 4_096), retryable, row, column }
}
