//! Who answered a request that no running server remembers: told by what was captured.

use arrow_array::cast::AsArray;
use plinth_core::refs::ModelRef;
use plinth_serve::{Answerer, Captured};
use plinth_table::Table;

use crate::host::Host;

/// Newest captured files of each deployment that are looked through for one request.
const FILES_MAX: usize = 50;

/// The deployment of an endpoint that answered a request, if its answer was captured not too long ago. Answers of
/// shadows were given to nobody.
pub(crate) fn find(host: &Host, endpoint: &str, request_id: &str) -> Option<Answerer> {
    let record = host.tracking().endpoint(endpoint).ok()?;
    for deployment in &record.spec.deployments {
        let reference: ModelRef = deployment.model.parse().ok()?;
        let Ok(version) = host.tracking().resolve(&reference) else { continue };
        let Ok(captures) = host.tracking().captures(&version.model, version.version, 0) else { continue };
        for capture in captures.iter().rev().take(FILES_MAX) {
            let Ok(path) = host.store().blobs().checked_path(&capture.blob) else { continue };
            if Table::open(&path).is_ok_and(|table| has(&table, request_id)) {
                let version = version.version.to_string().as_str().into();
                return Some(Answerer { deployment: deployment.name.as_str().into(), version });
            }
        }
    }
    None
}

fn has(table: &Table, request_id: &str) -> bool {
    let schema = table.schema();
    let (Some(index), None) = (schema.index_of("request_id"), schema.index_of(Captured::SHADOW)) else { return false };
    let Ok(mut batches) = table.batches() else { return false };
    batches.any(|batch| {
        let Ok(batch) = batch else { return false };
        let ids = batch.column(index);
        ids.as_string_opt::<i32>().is_some_and(|ids| ids.iter().any(|id| id == Some(request_id)))
    })
}
