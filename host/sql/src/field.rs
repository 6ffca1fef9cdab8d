//! One column of what a transform gives.
//!
//! The engine's own `get_field` is moved towards the rows, into the projection that makes the struct, and the call of the
//! transform is then made once for each of its columns. This one stays where it is.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::AsArray,
        datatypes::{DataType, FieldRef},
    },
    common::{Result, ScalarValue},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use plinth_core::codes;

use crate::SqlError;

/// Its name in a statement.
pub(crate) const NAME: &str = "field_of";

/// The function `field_of(struct, 'name')`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct FieldOf {
    signature: Signature,
}

impl FieldOf {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FieldOf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(SqlError::new(codes::INTERNAL, "the type of a field is asked without its name").into_engine())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let name = args.scalar_arguments.get(1).copied().flatten().and_then(text);
        let (Some(name), Some(from)) = (name, args.arg_fields.first()) else { return Err(refused()) };
        let DataType::Struct(fields) = from.data_type() else {
            let message = format!("`{name}` is asked of what gives one column, not several");
            return Err(SqlError::new(codes::UNKNOWN_COLUMN, message).into_engine());
        };
        fields.iter().find(|field| field.name() == name).map(Arc::clone).ok_or_else(|| {
            let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            crate::error::unknown_column(name, None, &known).into_engine()
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [from, ColumnarValue::Scalar(name)] = &args.args[..] else { return Err(refused()) };
        let constant = matches!(from, ColumnarValue::Scalar(_));
        let from = from.to_array(if constant { 1 } else { args.number_rows })?;
        let column = text(name).and_then(|name| from.as_struct_opt()?.column_by_name(name)).ok_or_else(refused)?;
        match constant {
            true => ScalarValue::try_from_array(column, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(Arc::clone(column))),
        }
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

fn refused() -> datafusion::common::DataFusionError {
    SqlError::bad("a field is taken by its name").into_engine()
}
