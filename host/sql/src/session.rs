//! A session: tables and functions by name, and statements that use them.

use std::{
    collections::HashMap,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    catalog::TableProvider,
    common::TableReference,
    datasource::MemTable,
    execution::{
        SendableRecordBatchStream, SessionState, SessionStateBuilder,
        disk_manager::DiskManagerBuilder,
        memory_pool::{FairSpillPool, MemoryConsumer, MemoryReservation},
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::{DdlStatement, LogicalPlan, ScalarUDF},
    physical_plan::execute_stream,
    prelude::{SessionConfig, SessionContext},
    sql::{
        parser::{CopyToStatement, Statement as EngineStatement},
        sqlparser::ast::Statement as Ast,
    },
};
use futures_util::StreamExt;
use plinth_core::{Limits, SqlLimits, closest, codes, did_you_mean};
use plinth_ext::{Batch, Field, Loader, Schema};

use crate::{
    Function, SqlError, Statement, Unfitted, cast,
    error::of_engine,
    field::FieldOf,
    files,
    fit::Fit,
    function::{Ready, Udf},
    growing,
    parse::parse,
    rewrite::{self, CallKey, Mentioned},
};

/// Rows that the engine hands on at once.
const ROWS_PER_BATCH: usize = 8_192;

/// What names mean that are not SQL's own.
pub trait Names: Send + Sync {
    /// Names that the user gave to functions: they come before the engine's own.
    fn declared(&self) -> Vec<String>;

    /// All names that [`function`](Self::function) knows, to guess what a wrong one meant.
    fn functions(&self) -> Vec<String>;

    /// The function of a name; `plugin.item` means one of a plugin's several.
    ///
    /// # Errors
    /// [`SqlError`]: there is one, and it cannot be had.
    fn function(&self, name: &str) -> Result<Option<Function>, SqlError>;

    /// What a name in quotes reads, which is a file or what else the caller has names for.
    ///
    /// # Errors
    /// [`SqlError`]: there is no such thing, or nothing that reads it.
    fn source(&self, name: &str) -> Result<Source, SqlError>;
}

/// Where the rows of a table are.
#[derive(Clone)]
pub enum Source {
    /// In Parquet files of the same columns, or in those that a pattern such as `data/*.parquet` names.
    Parquet(Vec<String>),
    /// In a file that a loader reads.
    Loaded(Loaded),
}

/// A file and the loader that reads it.
#[derive(Clone)]
pub struct Loaded {
    /// The loader.
    pub loader: Arc<dyn Loader>,
    /// Which of those it offers.
    pub item: String,
    /// The file, as the loader names it.
    pub source: String,
    /// The loader's options, as JSON.
    pub options: String,
}

/// What a statement led to.
pub enum Outcome {
    /// Rows.
    Rows(Rows),
    /// Something was done that gives no rows, in a few words.
    Done(String),
}

/// Tables and functions by name, and statements that use them. Its futures want a runtime of several threads.
pub struct Session {
    context: SessionContext,
    names: Arc<dyn Names>,
    limits: SqlLimits,
    passes_max: u32,
    ordered: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Functions that were looked up.
    ready: HashMap<CallKey, Ready>,
    /// Functions that are being fitted: a fit cannot stand on itself.
    fitting: Vec<String>,
    /// Calls so far.
    calls: usize,
    /// Memory of tables that statements made.
    tables: HashMap<String, MemoryReservation>,
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, SqlError>> + Send + 'a>>;

impl Session {
    /// A session without tables. With one thread, rows come in one order, whatever the statement.
    ///
    /// # Errors
    /// [`SqlError`]: there is no room for temporary files.
    pub fn new(names: Arc<dyn Names>, limits: &Limits, threads: usize) -> Result<Self, SqlError> {
        let threads = threads.max(1);
        let sql = limits.sql.clone();
        let mut config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_batch_size(ROWS_PER_BATCH)
            .with_information_schema(true);
        let options = config.options_mut();
        // Views of text have to become plain text before a transform can take them.
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        let disk = DiskManagerBuilder::default().with_max_temp_directory_size(sql.spill_bytes_max);
        let memory = usize::try_from(sql.memory_bytes_max).unwrap_or(usize::MAX);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.register_udf(ScalarUDF::new_from_impl(FieldOf::new()));
        growing::bound(&context, sql.memory_bytes_max);
        let passes_max = limits.plugin.fit_passes_max;
        Ok(Self { context, names, limits: sql, passes_max, ordered: threads == 1, kept: Mutex::default() })
    }

    /// Gives a file a name, or whatever else [`Names::source`] knows.
    ///
    /// # Errors
    /// [`SqlError`]: there is no such thing, or nothing that reads it.
    pub async fn table(&self, name: &str, path: &str) -> Result<(), SqlError> {
        let table = self.open(path).await?;
        self.context.register_table(TableReference::bare(name), table)?;
        Ok(())
    }

    /// Gives rows in memory a name.
    ///
    /// # Errors
    /// [`SqlError`]: they are not of that schema.
    pub fn rows(&self, name: &str, schema: &Schema, rows: &[Batch]) -> Result<(), SqlError> {
        let rows = rows.iter().map(|batch| batch.arrow().clone()).collect();
        let table = MemTable::try_new(schema.arrow().clone(), vec![rows])?;
        self.context.register_table(TableReference::bare(name), Arc::new(table))?;
        Ok(())
    }

    /// Runs one statement. Rows are made as they are taken.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn run(&self, statement: Statement) -> Result<Outcome, SqlError> {
        let copied = match &statement.0 {
            EngineStatement::CopyTo(copy) => Some(copied(copy)?),
            _ => None,
        };
        let plan = self.plan(statement).await?;
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                let table = create.name.table().to_owned();
                let known = self.context.table_exist(create.name.clone())?;
                match (known, create.or_replace, create.if_not_exists) {
                    (true, false, true) => return Ok(Outcome::Done(format!("table {table} is there already"))),
                    (true, false, false) => {
                        return Err(SqlError::new(
                            codes::ALREADY_EXISTS,
                            format!("there is a table `{table}` already"),
                        )
                        .with_hint("write create or replace table"));
                    }
                    _ => {}
                }
                let rows = self.keep(&table, &create.input).await?;
                Ok(Outcome::Done(format!("{rows} rows in table {table}")))
            }
            LogicalPlan::Ddl(ddl) => {
                let done = match &ddl {
                    DdlStatement::CreateView(view) => format!("view {}", view.name.table()),
                    DdlStatement::DropTable(drop) => {
                        self.locked().tables.remove(drop.name.table());
                        format!("dropped {}", drop.name.table())
                    }
                    other => other.name().to_lowercase(),
                };
                self.context.execute_logical_plan(LogicalPlan::Ddl(ddl)).await.map_err(|error| self.told(&error))?;
                Ok(Outcome::Done(done))
            }
            plan => {
                let mut rows = self.start(&plan, &self.context.state()).await?;
                let Some(target) = copied else { return Ok(Outcome::Rows(rows)) };
                let mut count = 0_u64;
                while let Some(batch) = rows.next().await {
                    let counts = batch?;
                    let counts = cast::column(counts.column(0), &Field::new("count", plinth_ext::Kind::Int64, true))?;
                    use datafusion::arrow::array::AsArray;
                    let counts = counts.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
                    count += counts.iter().flatten().map(|count| count.max(0) as u64).sum::<u64>();
                }
                Ok(Outcome::Done(format!("{count} rows written to {target}")))
            }
        }
    }

    /// What a statement means.
    fn plan(&self, statement: Statement) -> Later<'_, LogicalPlan> {
        Box::pin(async move {
            let mut statement = statement.0;
            allowed(&statement)?;
            let Mentioned { relations, calls } = rewrite::mentioned(&mut statement)?;
            for relation in &relations {
                let [part] = &relation.0[..] else { continue };
                let Some(name) = part.as_ident() else { continue };
                let named = name.quote_style.is_some() && files::is_file(&name.value);
                let table = TableReference::bare(name.value.clone());
                if named && !self.context.table_exist(table).unwrap_or(false) {
                    self.table(&name.value, &name.value).await?;
                }
            }
            let mut ready = HashMap::new();
            for key in calls {
                if let Some(found) = self.ready(&key).await? {
                    ready.insert(key, found);
                }
            }
            let instances = {
                let kept = &mut *self.locked();
                rewrite::replace(&mut statement, &ready, &mut kept.calls)?
            };
            for instance in instances {
                let udf = Udf::new(instance, self.passes_max, self.ordered);
                self.context.register_udf(ScalarUDF::new_from_impl(udf));
            }
            self.context.state().statement_to_plan(statement).await.map_err(|error| self.told(&error))
        })
    }

    /// The transform that a call means, fitted if there are rows to fit it on; nothing if it is one of the engine's.
    async fn ready(&self, key: &CallKey) -> Result<Option<Ready>, SqlError> {
        if let Some(known) = self.locked().ready.get(key) {
            return Ok(Some(known.clone()));
        }
        let declared = self.names.declared().contains(&key.name);
        if !declared && self.is_builtin(&key.name) {
            return Ok(None);
        }
        let Some(function) = blocking(|| self.names.function(&key.name))? else { return Ok(None) };
        if key.options == rewrite::NOT_LITERAL {
            return Err(SqlError::new(codes::BAD_OPTIONS, format!("an option of `{}` is no literal", key.name))
                .with_hint("write a number, 'text', true, false or null; a list as '[1, 2]'"));
        }
        let ready = match function {
            Function::Fitted(_) if key.options != "{}" => {
                let message = format!("`{}` is fitted already and takes no options", key.name);
                return Err(SqlError::new(codes::BAD_OPTIONS, message));
            }
            Function::Fitted(fitted) => Ready::Fixed(fitted),
            Function::Unfitted(mut unfitted) => {
                let given: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&key.options).unwrap_or_default();
                add_options(&mut unfitted, given);
                match unfitted.fit.clone() {
                    Some(query) => self.fitted(&key.name, &unfitted, &query).await?,
                    None => Ready::ByCall(Arc::new(unfitted)),
                }
            }
        };
        self.locked().ready.insert(key.clone(), ready.clone());
        Ok(Some(ready))
    }

    fn is_builtin(&self, name: &str) -> bool {
        let state = self.context.state();
        state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name)
    }

    /// Fits a transform on the rows of a query, one thread at a time so that their order is the same each time.
    async fn fitted(&self, name: &str, unfitted: &Unfitted, query: &str) -> Result<Ready, SqlError> {
        if self.locked().fitting.iter().any(|other| other == name) {
            return Err(SqlError::bad(format!("the fit of `{name}` calls `{name}`")));
        }
        self.locked().fitting.push(name.to_owned());
        let done = self.fit(name, unfitted, query).await;
        self.locked().fitting.pop();
        done.map(Ready::Fixed)
    }

    async fn fit(&self, name: &str, unfitted: &Unfitted, query: &str) -> Result<Arc<dyn plinth_ext::Fitted>, SqlError> {
        let mut statements = parse(query, &self.limits)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(SqlError::bad(format!("the fit of `{name}` is not one query")));
        };
        if !matches!(&statement.0, EngineStatement::Statement(inner) if matches!(**inner, Ast::Query(_))) {
            return Err(SqlError::bad(format!("the fit of `{name}` is not a query")));
        }
        let plan = self.plan(statement).await?;
        let state = self.context.state();
        // The tables are those of the session: a new catalog would take the place of theirs.
        let config = state.config().clone().with_target_partitions(1).with_create_default_catalog_and_schema(false);
        let state = SessionStateBuilder::new_from_existing(state).with_config(config).build();
        let input = schema_of(name, plan.schema().as_arrow())?;
        let mut fit = blocking(|| Fit::start(name, unfitted, &input, self.passes_max))?;
        loop {
            let mut rows = self.start(&plan, &state).await?;
            let mut first = 0;
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                let columns = fit.input().fields().iter().zip(batch.columns());
                let columns = columns.map(|(field, column)| cast::column(column, field)).collect::<Result<_, _>>()?;
                let batch = Batch::new(fit.input().clone(), columns, batch.num_rows())
                    .map_err(|error| SqlError::Source(error.into()))?;
                blocking(|| fit.update(&batch, first))?;
                first += batch.num_rows() as u64;
            }
            if let Some(state) = blocking(|| fit.end_pass())? {
                return blocking(|| fit.load(&state));
            }
        }
    }

    async fn start(&self, plan: &LogicalPlan, state: &SessionState) -> Result<Rows, SqlError> {
        let physical = state.create_physical_plan(plan).await.map_err(|error| self.told(&error))?;
        let stream = execute_stream(physical, state.task_ctx()).map_err(|error| self.told(&error))?;
        // As the statement names them, which for some types is not what each batch says.
        Ok(Rows { schema: stream.schema(), stream })
    }

    /// The rows of a query as a table in memory.
    async fn keep(&self, table: &str, query: &LogicalPlan) -> Result<u64, SqlError> {
        let memory = &self.context.runtime_env().memory_pool;
        let reservation = MemoryConsumer::new(format!("table {table}")).register(memory);
        let mut rows = self.start(query, &self.context.state()).await?;
        let (mut batches, mut count) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            reservation.try_grow(batch.get_array_memory_size()).map_err(|error| self.told(&error))?;
            count += batch.num_rows() as u64;
            batches.push(batch);
        }
        let provider = MemTable::try_new(rows.schema.clone(), vec![batches])?;
        self.context.register_table(TableReference::bare(table), Arc::new(provider))?;
        self.locked().tables.insert(table.to_owned(), reservation);
        Ok(count)
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn TableProvider>, SqlError> {
        if path.contains("://") {
            return Err(
                SqlError::bad(format!("`{path}`: only files of this machine are read")).with_hint("download it first")
            );
        }
        match blocking(|| self.names.source(path))? {
            Source::Loaded(loaded) => blocking(|| files::loaded(loaded)),
            Source::Parquet(files) => files::parquet(&self.context.state(), path, &files).await,
        }
    }

    /// What an error means, with what the session knows.
    fn told(&self, error: &datafusion::common::DataFusionError) -> SqlError {
        let mut functions = self.names.functions();
        let state = self.context.state();
        let builtin = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
        functions.extend(builtin.chain(state.window_functions().keys()).cloned());
        let told = of_engine(error, &functions);
        let SqlError::Refused { code, message, hint } = told else { return told };
        if code != codes::TABLE_NOT_FOUND {
            return SqlError::Refused { code, message, hint };
        }
        let name = message.split('`').nth(1).unwrap_or_default().to_owned();
        let tables = self.tables();
        let file = ["parquet", "csv", "jsonl"].into_iter().map(|end| format!("{name}.{end}"));
        let file = [name.clone()].into_iter().chain(file).find(|file| Path::new(file).is_file());
        let hint = match (closest(&name, tables.iter().map(String::as_str)), file) {
            (Some(near), _) => Some(format!("did you mean `{near}`?")),
            (None, Some(file)) => Some(format!("for the file, write it in quotes: from '{file}'")),
            (None, None) if !tables.is_empty() => Some(did_you_mean(&name, tables.iter().map(String::as_str))),
            (None, None) => hint,
        };
        SqlError::Refused { code, message, hint }
    }

    fn tables(&self) -> Vec<String> {
        let schema = self.context.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
        let mut names = schema.map(|schema| schema.table_names()).unwrap_or_default();
        names.sort();
        names
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what may wait, for a file, a guest or a runtime of its own, on a thread that drives tasks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Rows on their way.
pub struct Rows {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
}

impl Rows {
    /// Their columns.
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; nothing at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        Some(self.stream.next().await?.map_err(SqlError::from))
    }
}

/// Options of a call on top of those that were declared; SQL's names have underscores where options have hyphens.
fn add_options(unfitted: &mut Unfitted, given: serde_json::Map<String, serde_json::Value>) {
    if given.is_empty() {
        return;
    }
    let item = unfitted.transform.items().iter().find(|item| item.name == unfitted.item);
    let schema: serde_json::Value =
        item.and_then(|item| serde_json::from_str(&item.options_schema).ok()).unwrap_or_default();
    let known = |name: &str| schema["properties"].get(name).is_some();
    for (name, value) in given {
        let hyphened = name.replace('_', "-");
        let name = if !known(&name) && known(&hyphened) { hyphened } else { name };
        unfitted.options.insert(name, value);
    }
}

/// The columns of a query as a transform sees them.
fn schema_of(name: &str, schema: &datafusion::arrow::datatypes::Schema) -> Result<Schema, SqlError> {
    let fields = schema.fields().iter().map(|field| {
        let kind = cast::kind_of(field.data_type()).ok_or_else(|| {
            let message = format!("`{name}` cannot be fitted on `{}`, which is {}", field.name(), field.data_type());
            SqlError::new(codes::SCHEMA_MISMATCH, message).with_hint("leave it out, or cast it")
        })?;
        Ok(Field::new(field.name(), kind, field.is_nullable()))
    });
    Schema::new(fields.collect::<Result<_, SqlError>>()?).map_err(|error| SqlError::Source(error.into()))
}

/// Refuses what is not done here: what would change the session's bounds, reach a network, or is no question at all.
fn allowed(statement: &EngineStatement) -> Result<(), SqlError> {
    let (what, hint) = match statement {
        EngineStatement::CopyTo(_) => return Ok(()),
        EngineStatement::Explain(explain) => return allowed(&explain.statement),
        EngineStatement::CreateExternalTable(_) => {
            ("create external table", "name a file in quotes, as in from 'rows.parquet', or with --table NAME=FILE")
        }
        EngineStatement::Reset(_) => ("reset", "limits are set in plinth.toml"),
        EngineStatement::Statement(statement) => match &**statement {
            Ast::Query(_)
            | Ast::ExplainTable { .. }
            | Ast::Explain { .. }
            | Ast::CreateView(_)
            | Ast::ShowTables { .. }
            | Ast::ShowColumns { .. } => return Ok(()),
            Ast::CreateTable(create) if create.query.is_some() => return Ok(()),
            Ast::Drop { .. } => return Ok(()),
            Ast::CreateTable(_) => ("create table without a query", "write create table NAME as select …"),
            Ast::Set(_) => ("set", "limits are set in plinth.toml"),
            other => {
                let text = other.to_string();
                let verb: String = text.split_whitespace().next().unwrap_or_default().to_lowercase();
                return Err(SqlError::bad(format!("`{verb}` is not done here")).with_hint(ANSWERED));
            }
        },
    };
    Err(SqlError::bad(format!("`{what}` is not done here")).with_hint(hint))
}

const ANSWERED: &str = "select, with, values, explain, describe, show tables, copy … to 'FILE', create view, create table … as, and drop are";

/// Where a copy goes, which must be a file.
fn copied(copy: &CopyToStatement) -> Result<String, SqlError> {
    if copy.target.contains("://") {
        return Err(SqlError::bad(format!("`{}`: rows are copied to files of this machine only", copy.target)));
    }
    Ok(copy.target.clone())
}
