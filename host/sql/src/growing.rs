//! Functions whose answer is as long as one of their arguments says, held to the memory of a statement: the engine counts
//! what its operators keep, and not what a function makes of a row.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, AsArray},
        compute::cast,
        datatypes::{DataType, FieldRef, Int64Type},
    },
    common::Result,
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    },
    prelude::SessionContext,
};
use plinth_core::codes;

use crate::SqlError;

/// Names of those functions; each takes a text, and a number that says how long the answer is.
const NAMES: [&str; 3] = ["repeat", "lpad", "rpad"];

/// Puts a check before each of them.
pub(crate) fn bound(context: &SessionContext, bytes_max: u64) {
    let state = context.state();
    for name in NAMES {
        if let Some(inner) = state.scalar_functions().get(name) {
            let inner = Arc::clone(inner);
            context.register_udf(ScalarUDF::new_from_impl(Growing { inner, bytes_max }));
        }
    }
}

/// One of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Growing {
    inner: Arc<ScalarUDF>,
    bytes_max: u64,
}

impl Growing {
    /// Bytes of the answer for all rows, as far as they can be told.
    fn bytes(&self, args: &ScalarFunctionArgs) -> Result<u64> {
        let [text, number, ..] = &args.args[..] else { return Ok(0) };
        let constant = [text, number].iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let number = cast(&number.to_array(rows)?, &DataType::Int64)?;
        let number = number.as_primitive::<Int64Type>();
        let texts = cast(&text.to_array(rows)?, &DataType::LargeUtf8)?;
        let texts = texts.as_string::<i64>();
        let bytes = (0..rows).filter(|row| number.is_valid(*row) && texts.is_valid(*row)).map(|row| {
            let each = if self.inner.name() == "repeat" { texts.value(row).len() as u64 } else { 1 };
            u64::try_from(number.value(row)).unwrap_or(0).saturating_mul(each)
        });
        Ok(bytes.fold(0, u64::saturating_add))
    }
}

impl ScalarUDFImpl for Growing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.bytes(&args)?;
        if bytes > self.bytes_max {
            let (name, most) = (self.name(), self.bytes_max);
            let message = format!("`{name}` would make {bytes} bytes of text, and a statement has {most}");
            return Err(SqlError::new(codes::LIMIT_EXCEEDED, message).into_engine());
        }
        self.inner.invoke_with_args(args)
    }
}
