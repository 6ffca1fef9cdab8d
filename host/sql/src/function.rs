//! A transform as a function of the engine: whole batches of its arguments in, one column out, or one of structs.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use datafusion::{
    arrow::{
        array::{ArrayRef, StructArray, new_empty_array},
        datatypes::{DataType, Field as ArrowField, FieldRef},
    },
    common::{Result as EngineResult, ScalarValue},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use plinth_core::codes;
use plinth_ext::{Batch, ExtError, Field, Fitted, Schema, Transform};
use serde_json::{Map, Value};

use crate::{SqlError, cast, fit, rewrite::Instance, session::blocking};

/// What a name stands for that a statement calls.
#[derive(Clone)]
pub enum Function {
    /// Rows to rows, bound to its columns already: such as the transform of a model version.
    Fitted(Arc<dyn Fitted>),
    /// A transform that is yet to be fitted.
    Unfitted(Unfitted),
}

/// A transform that is yet to be fitted.
#[derive(Clone)]
pub struct Unfitted {
    /// The transforms of a plugin.
    pub transform: Arc<dyn Transform>,
    /// Which of them.
    pub item: String,
    /// Its options, to which a call may add.
    pub options: Map<String, Value>,
    /// The query whose rows it is fitted on; without one it must be a transform that has nothing to learn.
    pub fit: Option<String>,
    /// A fitted state in place of a fit.
    pub state: Option<Vec<u8>>,
    /// The columns that the state was fitted on, in the order of the arguments; their names in the call without.
    pub columns: Option<Vec<String>>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fitted(_) => "Fitted",
            Self::Unfitted(_) => "Unfitted",
        })
    }
}

/// A function that a statement can call: what `Function` became when it was looked up.
#[derive(Clone)]
pub(crate) enum Ready {
    /// The columns are known.
    Fixed(Arc<dyn Fitted>),
    /// The columns are those of the call.
    ByCall(Arc<Unfitted>),
}

impl Ready {
    /// The columns it takes, where they are known.
    pub(crate) fn input(&self) -> Option<&Schema> {
        match self {
            Self::Fixed(fitted) => Some(fitted.input()),
            Self::ByCall(_) => None,
        }
    }

    /// The columns it gives, where they are known.
    pub(crate) fn output(&self) -> Option<&Schema> {
        match self {
            Self::Fixed(fitted) => Some(fitted.output()),
            Self::ByCall(_) => None,
        }
    }
}

/// One call in a statement.
pub(crate) struct Udf {
    /// Unique in the session.
    id: String,
    /// As the statement wrote it.
    shown: String,
    /// The options of the call, such as `, lower => 0`.
    options_shown: String,
    ready: Ready,
    /// The names of its arguments' columns, where `ready` knows none.
    names: Vec<String>,
    passes_max: u32,
    bound: Mutex<Vec<Arc<dyn Fitted>>>,
    /// Rows so far, where they come in order.
    seen: Option<AtomicU64>,
    signature: Signature,
}

impl Udf {
    pub(crate) fn new(instance: Instance, passes_max: u32, ordered: bool) -> Self {
        let Instance { id, shown, options_shown, ready, names, .. } = instance;
        Self {
            id,
            shown,
            options_shown,
            ready,
            names,
            passes_max,
            bound: Mutex::default(),
            seen: ordered.then(AtomicU64::default),
            // A pure function of its arguments, which it checks itself.
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }

    /// The columns that arguments of these types stand for.
    fn input(&self, arguments: &[FieldRef]) -> Result<Schema, SqlError> {
        match &self.ready {
            Ready::Fixed(fitted) => {
                let input = fitted.input();
                if input.len() != arguments.len() {
                    return Err(wrong_count(&self.shown, input, arguments.len()));
                }
                for (nth, (field, argument)) in input.fields().iter().zip(arguments).enumerate() {
                    if !cast::suits(argument.data_type(), field.kind) {
                        let message = format!(
                            "argument {} of `{}` is {}, which does not suit its column `{}` ({})",
                            nth + 1,
                            self.shown,
                            argument.data_type(),
                            field.name,
                            field.kind
                        );
                        return Err(SqlError::new(codes::SCHEMA_MISMATCH, message)
                            .with_hint(format!("it takes {}", listed(input))));
                    }
                }
                Ok(input.clone())
            }
            Ready::ByCall(_) => {
                let fields = arguments.iter().zip(&self.names).map(|(argument, name)| {
                    let kind = cast::kind_of(argument.data_type()).ok_or_else(|| {
                        let message =
                            format!("`{}` cannot take `{name}`, which is {}", self.shown, argument.data_type());
                        SqlError::new(codes::SCHEMA_MISMATCH, message)
                            .with_hint("cast it to a number, text, bytes, a boolean or a time")
                    })?;
                    Ok(Field::new(name, kind, argument.is_nullable()))
                });
                let fields = fields.collect::<Result<Vec<_>, SqlError>>()?;
                Schema::new(fields).map_err(|error| self.binding(ExtError::Schema(error)))
            }
        }
    }

    /// What takes these columns.
    fn fitted(&self, input: &Schema) -> Result<Arc<dyn Fitted>, SqlError> {
        let unfitted = match &self.ready {
            Ready::Fixed(fitted) => return Ok(fitted.clone()),
            Ready::ByCall(unfitted) => unfitted,
        };
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bound.iter().find(|known| known.input() == input) {
            return Ok(known.clone());
        }
        let fitted = blocking(|| fit::without_rows(&self.shown, unfitted, input, self.passes_max))?;
        bound.push(fitted.clone());
        Ok(fitted)
    }

    fn binding(&self, error: ExtError) -> SqlError {
        SqlError::Binding { function: self.shown.clone(), error, hint: None }
    }

    /// Columns through the transform.
    fn apply(&self, arguments: &[FieldRef], columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, SqlError> {
        let input = self.input(arguments)?;
        let fitted = self.fitted(&input)?;
        if rows == 0 {
            return Ok(new_empty_array(&returned(fitted.output())));
        }
        let first = self.seen.as_ref().map(|seen| seen.fetch_add(rows as u64, Ordering::Relaxed));
        let in_words = || match first {
            Some(first) => format!("rows {first} to {}", first + rows as u64 - 1),
            None => format!("in a batch of {rows} rows"),
        };
        let failed = |error: ExtError| SqlError::Function {
            function: self.shown.clone(),
            rows: in_words(),
            first: first.unwrap_or(0),
            error,
        };
        let converted = input.fields().iter().zip(columns).map(|(field, column)| cast::column(column, field));
        let converted = converted.collect::<Result<Vec<_>, _>>().map_err(|error| match error {
            SqlError::Refused { code, message, hint } => SqlError::Refused {
                code,
                message: format!("function `{}`, {}: {message}", self.shown, in_words()),
                hint,
            },
            other => other,
        })?;
        let batch = Batch::new(input, converted, rows).map_err(|error| failed(error.into()))?;
        let out = blocking(|| fitted.apply(&batch)).map_err(failed)?;
        if out.num_rows() != rows {
            let message = format!("gave {} rows for {rows}", out.num_rows());
            return Err(failed(ExtError::fault(self.shown.clone(), codes::PLUGIN_OUTPUT, message)));
        }
        Ok(match out.columns() {
            [one] => Arc::clone(one),
            several => Arc::new(StructArray::new(out.schema().arrow().fields().clone(), several.to_vec(), None)),
        })
    }
}

/// The error for a call with too many or too few arguments.
pub(crate) fn wrong_count(shown: &str, input: &Schema, given: usize) -> SqlError {
    let wanted = input.len();
    let message = format!("`{shown}` takes {wanted} {}, {given} given", if wanted == 1 { "column" } else { "columns" });
    let hint = match wanted {
        0..=3 => format!("it takes {}", listed(input)),
        _ => format!("write {shown}(*) to take them by name: {}", listed(input)),
    };
    SqlError::new(codes::SCHEMA_MISMATCH, message).with_hint(hint)
}

/// Such as `x float64, y int64`; so many that they can be read.
fn listed(schema: &Schema) -> String {
    let some = schema.fields().iter().take(12);
    let mut all: Vec<String> = some.map(|field| format!("{} {}", field.name, field.kind)).collect();
    if schema.len() > all.len() {
        all.push(format!("and {} more", schema.len() - all.len()));
    }
    all.join(", ")
}

/// What a call gives: a column as it is, several as a struct.
fn returned(output: &Schema) -> DataType {
    match output.fields() {
        [one] => one.kind.to_arrow(),
        _ => DataType::Struct(output.arrow().fields().clone()),
    }
}

impl ScalarUDFImpl for Udf {
    fn name(&self) -> &str {
        &self.id
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[datafusion::logical_expr::Expr]) -> EngineResult<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({}{})", self.shown, args.join(", "), self.options_shown))
    }

    fn return_type(&self, _: &[DataType]) -> EngineResult<DataType> {
        Err(SqlError::new(codes::INTERNAL, "the type of a call is asked without its fields").into_engine())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> EngineResult<FieldRef> {
        let fitted =
            self.input(args.arg_fields).and_then(|input| self.fitted(&input)).map_err(SqlError::into_engine)?;
        let output = fitted.output();
        let nullable = match output.fields() {
            [one] => one.nullable,
            _ => false,
        };
        Ok(Arc::new(ArrowField::new(&self.id, returned(output), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<EngineResult<Vec<_>>>()?;
        let out = self.apply(&args.arg_fields, &columns, rows).map_err(SqlError::into_engine)?;
        match constant {
            true => ScalarValue::try_from_array(&out, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(out)),
        }
    }
}

impl fmt::Debug for Udf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udf").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PartialEq for Udf {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Udf {}

impl Hash for Udf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}
