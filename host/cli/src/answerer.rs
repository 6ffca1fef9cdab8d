//! Who answered requests that no running server remembers: told by what was captured.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use plinth_core::refs::ModelRef;
use plinth_serve::{Answerer, Captured};
use plinth_table::Table;

use crate::host::Host;

/// Newest captured files of each deployment that are looked through.
const FILES_MAX: usize = 50;

/// The deployments of an endpoint that answered these requests, of which not all need be found: what is looked at are
/// answers that were captured not too long ago. Those of shadows were given to nobody.
pub(crate) fn find(host: &Host, endpoint: &str, request_ids: &[&str]) -> HashMap<String, Answerer> {
    let mut found = HashMap::new();
    let mut wanted: HashSet<&str> = request_ids.iter().copied().collect();
    let Ok(record) = host.tracking().endpoint(endpoint) else { return found };
    for deployment in &record.spec.deployments {
        let Ok(reference) = deployment.model.parse::<ModelRef>() else { continue };
        let Ok(version) = host.tracking().resolve(&reference) else { continue };
        let Ok(captures) = host.tracking().captures(&version.model, version.version, 0) else { continue };
        for capture in captures.iter().rev().take(FILES_MAX) {
            if wanted.is_empty() {
                return found;
            }
            let Ok(path) = host.store().blobs().checked_path(&capture.blob) else { continue };
            let Ok(table) = Table::open(&path) else { continue };
            for id in ids(&table, &wanted) {
                wanted.remove(id.as_str());
                let version = version.version.to_string().as_str().into();
                found.insert(id, Answerer { deployment: deployment.name.as_str().into(), version });
            }
        }
    }
    found
}

/// Those of the ids that a captured table has.
fn ids(table: &Table, wanted: &HashSet<&str>) -> Vec<String> {
    let schema = table.schema();
    let (Some(index), None) = (schema.index_of("request_id"), schema.index_of(Captured::SHADOW)) else {
        return Vec::new();
    };
    let Ok(batches) = table.batches() else { return Vec::new() };
    let mut found = Vec::new();
    for batch in batches.map_while(Result::ok) {
        let Some(ids) = batch.column(index).as_string_opt::<i32>() else { continue };
        found.extend(ids.iter().flatten().filter(|id| wanted.contains(id)).map(str::to_owned));
    }
    found
}
