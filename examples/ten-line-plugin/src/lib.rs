//! A whole plugin: a transform whose options, their JSON Schema and their checks come from the function's signature.

plinth_sdk::map_columns! {
    /// Holds numbers within a range.
    fn clip(value: f64, min: f64, max: f64) -> f64 {
        value.max(min).min(max)
    }
}
