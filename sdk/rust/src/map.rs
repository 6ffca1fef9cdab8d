//! Transforms that are one function of one number: what [`crate::map_columns!`] is made of.

use serde_json::{Map, Value};

use crate::{
    Block, Fitted, Fitting, Item, Kind, Problem, Schema, Step,
    options::{Given, parse},
};

/// Makes a whole plugin of functions from a number to a number. Further parameters are options, with a JSON Schema
/// made of their types (`f64`, `i64`, `bool`, `String`, or `Option` of these); the doc comment is the summary.
///
/// Every item also takes `columns`, the float64 columns to change; without it all of them are. Nulls stay null.
///
/// ```
/// plinth_sdk::map_columns! {
///     /// Holds numbers within a range.
///     fn clip(value: f64, min: f64, max: f64) -> f64 {
///         value.max(min).min(max)
///     }
/// }
/// ```
#[macro_export]
macro_rules! map_columns {
    ($(
        $(#[doc = $doc:literal])+
        fn $name:ident($value:ident: f64 $(, $option:ident: $type:ty)* $(,)?) -> f64 $body:block
    )+) => {
        /// What this component exports.
        pub struct ExportedTransforms;

        impl ExportedTransforms {
            fn bind(name: &str, options: &str)
                -> ::std::result::Result<$crate::map::Bound, $crate::Problem>
            {
                $(if name == $crate::map::kebab(::std::stringify!($name)) {
                    let mut given = $crate::options::Given::parse(options)?;
                    $(let $option: $type = given.take(::std::stringify!($option))?;)*
                    return $crate::map::Bound::new(given, move |values: &mut [f64]| {
                        $crate::map::each(values, |$value: f64| -> f64 { $body });
                    });
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Transforms>::describe()))
            }
        }

        impl $crate::Transforms for ExportedTransforms {
            fn describe() -> ::std::vec::Vec<$crate::Item> {
                ::std::vec![$($crate::map::item(
                    ::std::stringify!($name),
                    ::std::concat!($($doc),+),
                    &[$((
                        ::std::stringify!($option),
                        <$type as $crate::options::OptionType>::SCHEMA,
                        <$type as $crate::options::OptionType>::REQUIRED,
                    )),*],
                )),+]
            }

            fn start(
                name: &str,
                input: $crate::Schema,
                options: &str,
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::Fitting>, $crate::Problem> {
                $crate::map::start(Self::bind(name, options)?, &input, options)
            }

            fn load(
                name: &str,
                state: ::std::vec::Vec<u8>,
                input: $crate::Schema,
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::Fitted>, $crate::Problem> {
                $crate::map::load(Self::bind(name, $crate::map::text(&state)?)?, input)
            }
        }

        $crate::export_transform_component!(ExportedTransforms);
    };
}

/// Changes a column's values in place.
type Change = Box<dyn Fn(&mut [f64])>;

/// A function with its options filled in, and the columns it is for.
pub struct Bound {
    columns: Option<Vec<String>>,
    change: Change,
}

impl Bound {
    /// Takes the columns out of what was given; that must be all that is left.
    ///
    /// # Errors
    /// `bad-options`.
    pub fn new(mut given: Given, change: impl Fn(&mut [f64]) + 'static) -> Result<Self, Problem> {
        let columns = given.take("columns")?;
        given.finish()?;
        Ok(Self { columns, change: Box::new(change) })
    }

    /// Where the columns stand.
    fn indices(&self, input: &Schema) -> Result<Vec<usize>, Problem> {
        let Some(names) = &self.columns else {
            let floats = input.fields.iter().enumerate().filter(|(_, field)| field.kind == Kind::Float64);
            return Ok(floats.map(|(index, _)| index).collect());
        };
        let find = |name: &String| {
            let index = input.require(name)?;
            match input.fields[index].kind {
                Kind::Float64 => Ok(index),
                kind => {
                    let message = format!("column `{name}` is {kind}, not float64: cast it first");
                    Err(Problem::bad_input("wrong-kind", message).in_column(name))
                }
            }
        };
        names.iter().map(find).collect()
    }
}

/// Starts a fit, which has nothing to learn: its state is the options, with the columns spelled out.
///
/// # Errors
/// Where a column is missing or no float64.
pub fn start(bound: Bound, input: &Schema, options: &str) -> Result<Box<dyn Fitting>, Problem> {
    let indices = bound.indices(input)?;
    let names = indices.into_iter().map(|index| Value::from(input.fields[index].name.as_str())).collect();
    let mut options: Map<String, Value> = parse(options)?;
    options.insert("columns".into(), Value::Array(names));
    Ok(Box::new(Nothing(Value::Object(options).to_string().into_bytes())))
}

/// Binds to the schema of the rows to come.
///
/// # Errors
/// Where a column is missing or no float64.
pub fn load(bound: Bound, input: Schema) -> Result<Box<dyn Fitted>, Problem> {
    let columns = bound.indices(&input)?;
    Ok(Box::new(Mapped { columns, change: bound.change, schema: input }))
}

/// The list entry of a function.
pub fn item(name: &str, docs: &str, options: &[(&str, &str, bool)]) -> Item {
    let mut properties: Vec<String> = options.iter().map(|(name, schema, _)| format!("\"{name}\":{schema}")).collect();
    properties.push(r#""columns":{"type":"array","items":{"type":"string"}}"#.into());
    let required: Vec<String> =
        options.iter().filter(|(.., required)| *required).map(|(name, ..)| format!("\"{name}\"")).collect();
    let schema = format!(
        r#"{{"type":"object","properties":{{{}}},"required":[{}],"additionalProperties":false}}"#,
        properties.join(","),
        required.join(",")
    );
    Item::new(kebab(name), docs.trim(), schema)
}

/// A function's name as an item's.
pub fn kebab(name: &str) -> String {
    name.replace('_', "-")
}

/// A state as text.
///
/// # Errors
/// `bad-state`.
pub fn text(state: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(state).map_err(|_| Problem::bad_input("bad-state", "the state is not text"))
}

/// Changes every value. In short runs, because what the compiler makes of them is 1.5 times as fast as what it makes of one
/// long loop, or of one that takes a fixed number of values a turn.
pub fn each(values: &mut [f64], change: impl Fn(f64) -> f64) {
    for run in values.chunks_mut(256) {
        for value in run {
            *value = change(*value);
        }
    }
}

/// A fit that learns nothing.
struct Nothing(Vec<u8>);

impl Fitting for Nothing {
    fn update(&mut self, _rows: Block) -> Result<(), Problem> {
        Ok(())
    }

    fn partial(&mut self) -> Result<Vec<u8>, Problem> {
        Ok(Vec::new())
    }

    fn merge(&mut self, _partial: Vec<u8>) -> Result<(), Problem> {
        Ok(())
    }

    fn end_pass(&mut self) -> Result<Step, Problem> {
        Ok(Step::Done(self.0.clone()))
    }
}

struct Mapped {
    columns: Vec<usize>,
    change: Change,
    schema: Schema,
}

impl Fitted for Mapped {
    fn output(&self) -> Schema {
        self.schema.clone()
    }

    fn apply(&self, mut rows: Block) -> Result<Block, Problem> {
        for &column in &self.columns {
            (self.change)(rows.f64s_mut(&self.schema, column)?);
            rows.zero_null_f64s(&self.schema, column)?;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use crate::{BlockBuilder, Field, Kind, Schema, Step, Transforms};

    #[expect(unreachable_pub, reason = "the macro is written for the root of a crate")]
    mod plugin {
        crate::map_columns! {
            /// Adds
            /// a number.
            fn add_some(value: f64, amount: f64, twice: Option<bool>) -> f64 {
                if twice.unwrap_or(false) { value + 2.0 * amount } else { value + amount }
            }
        }
    }
    use plugin::ExportedTransforms as Plugin;

    fn schema() -> Schema {
        Schema::new([Field::new("a", Kind::Float64, true), Field::new("b", Kind::Float64, false)])
    }

    #[test]
    fn a_function_becomes_an_item_with_options() {
        let items = Plugin::describe();
        assert_eq!((items[0].name.as_str(), items[0].summary.as_str()), ("add-some", "Adds a number."));
        let schema: serde_json::Value = serde_json::from_str(&items[0].options_schema).unwrap();
        assert_eq!(schema["required"], serde_json::json!(["amount"]));
        assert_eq!(schema["properties"]["twice"]["type"], "boolean");
    }

    #[test]
    fn it_changes_values_in_place_and_leaves_nulls() {
        let schema = schema();
        let mut fit = Plugin::start("add-some", schema.clone(), r#"{"amount": 1.5}"#).unwrap();
        let Step::Done(state) = fit.end_pass().unwrap() else { panic!("one pass is enough") };
        assert_eq!(String::from_utf8_lossy(&state), r#"{"amount":1.5,"columns":["a","b"]}"#);
        let fitted = Plugin::load("add-some", state, schema.clone()).unwrap();
        let mut rows = BlockBuilder::new(&schema, 40);
        let valid: Vec<u8> = vec![0xff, 0xff, 0xff, 0xff, 0b1111_1110];
        rows.f64s(vec![1.0; 40], Some(&valid)).and_then(|rows| rows.f64s(vec![2.0; 40], None)).unwrap();
        let rows = rows.finish().unwrap();
        let before = rows.f64s.as_ptr();
        let rows = fitted.apply(rows).unwrap();
        assert_eq!(rows.f64s.as_ptr(), before);
        assert_eq!((rows.f64s[0], rows.f64s[32], rows.f64s[39], rows.f64s[79]), (2.5, 0.0, 2.5, 3.5));
    }

    #[test]
    fn wrong_names_are_told_with_the_right_ones() {
        let start = |name, options| Plugin::start(name, schema(), options).map(|_| ()).unwrap_err().message;
        assert_eq!(start("add-sone", "{}"), "this component has no `add-sone`, did you mean `add-some`?");
        assert_eq!(start("add-some", "{}"), "option `amount`: it is missing");
        assert_eq!(start("add-some", r#"{"amount": 1, "columns": ["c"]}"#), "unknown column `c`, did you mean `a`?");
    }
}
