//! Files as tables: Parquet by the engine, everything else by a loader, batch by batch.

use std::{path::Path, sync::Arc};

use datafusion::{
    arrow::datatypes::{Field, Schema, SchemaRef},
    catalog::{TableProvider, streaming::StreamingTable},
    common::DataFusionError,
    datasource::{
        file_format::parquet::ParquetFormat,
        listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl},
    },
    execution::{SendableRecordBatchStream, SessionState, TaskContext},
    physical_plan::{stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream},
};
use plinth_core::codes;
use plinth_ext::ReadPlan;

use crate::{Loaded, SqlError};

/// Rows asked of a loader at once.
const ROWS_AT_ONCE: u32 = 8_192;
/// Batches that a loader may be ahead.
const BATCHES_AHEAD: usize = 4;

/// Whether a name in a statement is one of a file.
pub(crate) fn is_file(name: &str) -> bool {
    let hash = || name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.contains(['/', '.', '*']) || hash()
}

/// Parquet files as a table; messages call it by the name that it was asked for.
pub(crate) async fn parquet(
    state: &SessionState,
    name: &str,
    files: &[String],
) -> Result<Arc<dyn TableProvider>, SqlError> {
    let pattern = |file: &str| file.contains(['*', '?', '[']);
    if let Some(absent) = files.iter().find(|file| !pattern(file) && !Path::new(file).exists()) {
        return Err(SqlError::new(codes::FILE_NOT_FOUND, format!("there is no file `{absent}`")));
    }
    let empty = |file: &&String| std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() == 0);
    if let Some(empty) = files.iter().find(empty) {
        return Err(SqlError::new(codes::BAD_TABLE, format!("`{empty}` is empty: a Parquet file ends with a footer")));
    }
    let urls = files.iter().map(ListingTableUrl::parse).collect::<Result<Vec<_>, _>>()?;
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
    let mut schemas = Vec::with_capacity(urls.len());
    for url in &urls {
        let schema = options.infer_schema(state, url).await;
        let schema = schema.map_err(|error| match error.strip_backtrace() {
            text if text.contains("No files found") => {
                SqlError::new(codes::FILE_NOT_FOUND, format!("no file is there for `{name}`"))
            }
            _ => of_file(name, SqlError::from(error)),
        })?;
        if schema.fields().is_empty() {
            return Err(SqlError::new(codes::FILE_NOT_FOUND, format!("no file with columns is there for `{name}`")));
        }
        schemas.push(schema);
    }
    let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options);
    let config = config.with_schema(Arc::new(of_all(&schemas).map_err(|error| of_file(name, SqlError::from(error)))?));
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// The columns of several files: one that not all of them have is null in the others.
fn of_all(schemas: &[SchemaRef]) -> Result<Schema, DataFusionError> {
    let merged = Schema::try_merge(schemas.iter().map(|schema| Schema::clone(schema)))?;
    let everywhere = |name: &str| schemas.iter().all(|schema| schema.column_with_name(name).is_some());
    let fields = merged.fields().iter().map(|field| match everywhere(field.name()) {
        true => Arc::clone(field),
        false => Arc::new(Field::clone(field).with_nullable(true)),
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The same error with the file's name in it.
fn of_file(path: &str, error: SqlError) -> SqlError {
    match error {
        SqlError::Refused { code: _, message, hint } if !message.contains(path) => {
            SqlError::Refused { code: codes::BAD_TABLE, message: format!("`{path}`: {message}"), hint }
        }
        other => other,
    }
}

/// A file that a loader reads.
pub(crate) fn loaded(loaded: Loaded) -> Result<Arc<dyn TableProvider>, SqlError> {
    let plan = loaded.loader.plan(&loaded.item, &loaded.source, &loaded.options)?;
    let schema = plan.schema.arrow().clone();
    let rows: Arc<dyn PartitionStream> = Arc::new(LoadedRows { schema: schema.clone(), plan: Arc::new(plan), loaded });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![rows])?))
}

struct LoadedRows {
    schema: SchemaRef,
    plan: Arc<ReadPlan>,
    loaded: Loaded,
}

impl std::fmt::Debug for LoadedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedRows").field("source", &self.loaded.source).finish_non_exhaustive()
    }
}

impl PartitionStream for LoadedRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), BATCHES_AHEAD);
        let (to, plan, loaded) = (stream.tx(), self.plan.clone(), self.loaded.clone());
        stream.spawn_blocking(move || {
            let Loaded { loader, item, source, options } = &loaded;
            for partition in &plan.partitions {
                let opened = loader.open(item, source, options, &plan.schema, &partition.token);
                let mut reader = opened.map_err(|error| SqlError::from(error).into_engine())?;
                while let Some(batch) =
                    reader.next(ROWS_AT_ONCE).map_err(|error| SqlError::from(error).into_engine())?
                {
                    // Whoever asked wants no more.
                    if to.blocking_send(Ok(batch.arrow().clone())).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        stream.build()
    }
}
