//! Statements over native transforms: what a function sees, and what is told when it cannot be called.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use datafusion::arrow::{
    array::{ArrayRef, AsArray, Float64Array},
    datatypes::Float64Type,
};
use plinth_core::{Coded, Limits, codes};
use plinth_ext::{Batch, ExtError, Field, Fitted, Fitting, Item, Kind, Problem, Schema, Step, Transform};
use serde_json::Map;

use crate::{Function, Names, Outcome, Session, Source, SqlError, Unfitted, parse};

/// Takes the mean of its first column from every column; a value of 13 is bad luck.
struct Centre {
    items: Vec<Item>,
    /// The rows of each call.
    calls: Arc<Mutex<Vec<usize>>>,
    fits: Arc<AtomicUsize>,
}

struct CentreFit {
    sum: f64,
    rows: u64,
}

struct Centred {
    schema: Schema,
    mean: f64,
    calls: Arc<Mutex<Vec<usize>>>,
}

impl Transform for Centre {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn start(&self, _: &str, _: &Schema, options: &str) -> Result<Box<dyn Fitting>, ExtError> {
        assert!(options.starts_with('{'), "{options}");
        self.fits.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(CentreFit { sum: 0.0, rows: 0 }))
    }

    fn load(&self, _: &str, state: &[u8], input: &Schema) -> Result<Arc<dyn Fitted>, ExtError> {
        let mean = f64::from_le_bytes(state.try_into().expect("eight bytes"));
        Ok(Arc::new(Centred { schema: input.clone(), mean, calls: self.calls.clone() }))
    }
}

impl Fitting for CentreFit {
    fn update(&mut self, rows: &Batch) -> Result<(), ExtError> {
        self.sum += rows.column(0).as_primitive::<Float64Type>().iter().flatten().sum::<f64>();
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    fn partial(&mut self) -> Result<Vec<u8>, ExtError> {
        Ok(Vec::new())
    }

    fn merge(&mut self, _: &[u8]) -> Result<(), ExtError> {
        Ok(())
    }

    fn end_pass(&mut self) -> Result<Step, ExtError> {
        if self.rows == 0 {
            let problem =
                Problem { code: "no-rows".into(), message: "nothing to learn from".into(), ..Problem::default() };
            return Err(ExtError::Problem { who: "centre".into(), problem });
        }
        Ok(Step::Done((self.sum / self.rows as f64).to_le_bytes().to_vec()))
    }
}

impl Fitted for Centred {
    fn input(&self) -> &Schema {
        &self.schema
    }

    fn output(&self) -> &Schema {
        &self.schema
    }

    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
        self.calls.lock().unwrap().push(rows.num_rows());
        let columns = rows.columns().iter().map(|column| {
            let values = column.as_primitive::<Float64Type>();
            if let Some(row) = values.values().iter().position(|value| *value == 13.0) {
                let problem = Problem { code: "bad-luck".into(), row: Some(row as u64), ..Problem::default() };
                return Err(ExtError::Problem { who: "centre".into(), problem });
            }
            Ok(Arc::new(values.iter().map(|value| value.map(|v| v - self.mean)).collect::<Float64Array>()) as ArrayRef)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(Batch::new(self.schema.clone(), columns, rows.num_rows())?)
    }
}

struct Known {
    fit: Option<&'static str>,
    calls: Arc<Mutex<Vec<usize>>>,
    fits: Arc<AtomicUsize>,
}

impl Names for Known {
    fn declared(&self) -> Vec<String> {
        vec!["centre".into()]
    }

    fn functions(&self) -> Vec<String> {
        self.declared()
    }

    fn function(&self, name: &str) -> Result<Option<Function>, SqlError> {
        let item = Item { name: "centre".into(), summary: String::new(), options_schema: "{}".into() };
        let transform = Arc::new(Centre { items: vec![item], calls: self.calls.clone(), fits: self.fits.clone() });
        Ok((name == "centre").then(|| {
            Function::Unfitted(Unfitted {
                transform,
                item: "centre".into(),
                options: Map::new(),
                fit: self.fit.map(str::to_owned),
                state: None,
                columns: None,
            })
        }))
    }

    fn source(&self, name: &str) -> Result<Source, SqlError> {
        Ok(Source::Parquet(vec![name.to_owned()]))
    }
}

/// The last statement's first column, how many rows each call had, and how often the function was fitted.
type Asked = (Vec<Option<f64>>, Vec<usize>, usize);

fn ask(fit: Option<&'static str>, text: &str) -> Result<Asked, SqlError> {
    let (calls, fits) = (Arc::default(), Arc::default());
    let names = Arc::new(Known { fit, calls: Arc::clone(&calls), fits: Arc::clone(&fits) });
    let limits = Limits::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(crate::STACK_BYTES)
        .build()
        .unwrap();
    let text = text.to_owned();
    let found = runtime.block_on(runtime.spawn(async move {
        let session = Session::new(names, &limits, 1)?;
        let schema =
            Schema::new(vec![Field::new("x", Kind::Float64, true), Field::new("y", Kind::Float64, true)]).unwrap();
        let x: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(6.0)]));
        session.rows("t", &schema, &[Batch::new(schema.clone(), vec![x.clone(), x], 4).unwrap()])?;
        let mut found = Vec::new();
        for statement in parse(&text, &limits.sql)? {
            let Outcome::Rows(mut rows) = session.run(statement).await? else { continue };
            found.clear();
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                let column = datafusion::arrow::compute::cast(batch.column(0), &Kind::Float64.to_arrow()).unwrap();
                found.extend(column.as_primitive::<Float64Type>().iter());
            }
        }
        Ok::<_, SqlError>(found)
    }));
    let found = found.unwrap()?;
    let calls = calls.lock().unwrap().clone();
    Ok((found, calls, fits.load(Ordering::Relaxed)))
}

const FIT: Option<&str> = Some("select x from t where x is not null");

#[test]
fn a_function_is_fitted_once_and_sees_whole_batches() {
    let (rows, calls, fits) = ask(FIT, "select centre(x) from t; select centre(y) from t").unwrap();
    assert_eq!(rows, [Some(-2.0), Some(-1.0), None, Some(3.0)]);
    assert_eq!((calls, fits), (vec![4, 4], 1));
    let (rows, calls, _) =
        ask(FIT, "select sum(centre(value)) from generate_series(1, 100000) as s(value) where value > 13").unwrap();
    assert_eq!(rows, [Some((14..=100_000).map(|value| f64::from(value) - 3.0).sum())]);
    assert!(calls.len() < 20, "{calls:?}");
}

#[test]
fn a_call_that_is_written_twice_is_made_once() {
    let ask = |text| ask(Some("select x, y from t where x > 0"), text).unwrap();
    let (rows, calls, _) = ask("select centre(x, y).x, centre(x, y).y from t");
    assert_eq!((rows.len(), calls), (4, vec![4]));
    let (rows, calls, _) = ask("select centre(*).* from t");
    assert_eq!((rows[0], calls), (Some(-2.0), vec![4]));
}

#[test]
fn a_problem_is_told_with_the_rows_and_the_row_from_the_start() {
    let error = ask(FIT, "select centre(value - 9000) from generate_series(1, 20000) as s(value)").unwrap_err();
    assert!(error.to_string().contains("function `centre`, rows 8192 to 16383"), "{error}");
    assert_eq!((error.code(), error.place().row), (codes::PLUGIN_PROBLEM, Some(9012)));
}

#[test]
fn what_cannot_be_called_is_refused_before_a_row_is_read() {
    for (text, code, words) in [
        ("select centre(x, y) from t", codes::SCHEMA_MISMATCH, "takes 1 column, 2 given"),
        ("select centre('a') from t", codes::SCHEMA_MISMATCH, "argument 1"),
        ("select centre(x) over () from t", codes::BAD_SQL, "neither over nor filter"),
        ("select centre(x).z from t", codes::UNKNOWN_COLUMN, "`z`"),
        ("select centr(x) from t", codes::FUNCTION_NOT_FOUND, "`centr`"),
        ("select upper('a').* from t", codes::BAD_SQL, "only a call of a transform"),
        ("select q from t", codes::UNKNOWN_COLUMN, "`q`"),
        ("select x from tt", codes::TABLE_NOT_FOUND, "`tt`"),
    ] {
        let error = ask(FIT, text).unwrap_err();
        assert!(error.code() == code && error.to_string().contains(words), "{text}: {error} [{}]", error.code());
    }
    let error = ask(None, "select centre(x) from t").unwrap_err();
    assert!(error.to_string().contains("no-rows") && error.hint().unwrap().contains("--fit centre="), "{error}");
    let error = ask(Some("select centre(x) as x from t"), "select centre(x) from t").unwrap_err();
    assert!(error.to_string().contains("the fit of `centre` calls `centre`"), "{error}");
}

#[test]
fn statements_that_would_leave_the_machine_or_the_bounds_are_refused() {
    for text in [
        "create external table e stored as csv location 'https://example.org/a.csv'",
        "copy t to 's3://bucket/a.parquet'",
        "set datafusion.runtime.memory_limit = '100G'",
        "reset datafusion.execution.batch_size",
        "insert into t values (1, 2)",
        "explain create external table e stored as csv location 'a.csv'",
        "select * from 'https://example.org/a.parquet'",
    ] {
        assert_eq!(ask(FIT, text).unwrap_err().code(), codes::BAD_SQL, "{text}");
    }
    for deep in
        [format!("select {} true", "not ".repeat(126)), format!("select {}1{}", "(".repeat(200), ")".repeat(200))]
    {
        let error = ask(FIT, &deep).unwrap_err();
        assert_eq!(error.code(), codes::LIMIT_EXCEEDED, "{error}");
        assert!(error.to_string().contains("nested deeper than the limit of 128"), "{error}");
    }
    ask(FIT, &format!("select {} true", "not ".repeat(60))).unwrap();
}

#[test]
fn a_text_that_would_be_longer_than_a_statement_has_memory_is_not_made() {
    for (text, bytes) in [
        ("select length(repeat('ab', 1200000000))", "2400000000"),
        ("select length(lpad('a', 2000000000, 'b'))", "2000000000"),
        ("select length(rpad(cast(x as varchar), 2000000000)) from t where x = 1", "2000000000"),
        ("select length(repeat('abcdefgh', cast(y * 100000000 as bigint))) from t", "7200000000"),
    ] {
        let error = ask(FIT, text).unwrap_err();
        assert_eq!(error.code(), codes::LIMIT_EXCEEDED, "{error}");
        assert!(error.to_string().contains(bytes), "{error}");
    }
    assert_eq!(ask(FIT, "select length(repeat('ab', 3)) + length(lpad('a', 5))").unwrap().0, [Some(11.0)]);
    assert_eq!(
        ask(FIT, "select length(repeat('ab', cast(x as bigint))) from t").unwrap().0[..2],
        [Some(2.0), Some(4.0)]
    );
}
