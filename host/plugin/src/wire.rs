//! The records of `wit/` as they cross: everything but blocks, which have a module of their own.

use plinth_core::PluginLimits;
use plinth_ext::{Field, Item, Kind, Schema};
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::fault::cut;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireKind {
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "int64")]
    Int64,
    #[component(name = "timestamp-us")]
    TimestampUs,
    #[component(name = "float32")]
    Float32,
    #[component(name = "float64")]
    Float64,
    #[component(name = "utf8")]
    Utf8,
    #[component(name = "binary")]
    Binary,
}

impl From<Kind> for WireKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Boolean => Self::Boolean,
            Kind::Int64 => Self::Int64,
            Kind::TimestampUs => Self::TimestampUs,
            Kind::Float32 => Self::Float32,
            Kind::Float64 => Self::Float64,
            Kind::Utf8 => Self::Utf8,
            Kind::Binary => Self::Binary,
        }
    }
}

impl From<WireKind> for Kind {
    fn from(kind: WireKind) -> Self {
        Self::ALL[kind as usize]
    }
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WireField {
    name: String,
    kind: WireKind,
    nullable: bool,
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WireSchema {
    fields: Vec<WireField>,
}

impl From<&Schema> for WireSchema {
    fn from(schema: &Schema) -> Self {
        let field = |f: &Field| WireField { name: f.name.clone(), kind: f.kind.into(), nullable: f.nullable };
        Self { fields: schema.fields().iter().map(field).collect() }
    }
}

impl WireSchema {
    /// The schema, if it obeys our rules and limits; else what is wrong with it.
    pub(crate) fn check(self, limits: &PluginLimits) -> Result<Schema, String> {
        if self.fields.len() > limits.output_columns_max as usize {
            return Err(format!(
                "a schema of {} columns, more than the limit of {}",
                self.fields.len(),
                limits.output_columns_max
            ));
        }
        for (index, field) in self.fields.iter().enumerate() {
            check_name(&field.name, &format!("the name of column {}", index + 1), limits)?;
        }
        let fields = self.fields.into_iter().map(|f| Field::new(f.name, f.kind.into(), f.nullable)).collect();
        Schema::new(fields).map_err(|error| error.to_string())
    }
}

/// A name must be short enough to print and to store.
pub(crate) fn check_name(name: &str, what: &str, limits: &PluginLimits) -> Result<(), String> {
    let max = limits.name_bytes_max as usize;
    if name.len() > max {
        return Err(format!("{what} has {} bytes, more than the limit of {max}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{what} holds a control character"));
    }
    Ok(())
}

/// A list that is no data must be short enough to show.
pub(crate) fn check_list(len: usize, what: &str, limits: &PluginLimits) -> Result<(), String> {
    if len > limits.list_items_max as usize {
        return Err(format!("{len} {what}, more than the limit of {}", limits.list_items_max));
    }
    Ok(())
}

#[derive(Debug, Clone, Default, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WireProblem {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    pub(crate) row: Option<u64>,
    pub(crate) column: Option<String>,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireItem {
    name: String,
    summary: String,
    #[component(name = "options-schema")]
    options_schema: String,
}

impl WireItem {
    pub(crate) fn check(self, limits: &PluginLimits) -> Result<Item, String> {
        check_name(&self.name, "an item's name", limits)?;
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(kebab) {
            return Err(format!("the item name `{}` is not kebab-case", self.name));
        }
        let summary = cut(self.summary, limits.message_bytes_max as usize);
        Ok(Item { name: self.name, summary, options_schema: self.options_schema })
    }
}

/// Every item, if each is sound and no name comes twice.
pub(crate) fn check_items(items: Vec<WireItem>, limits: &PluginLimits) -> Result<Vec<Item>, String> {
    check_list(items.len(), "items", limits)?;
    let items: Vec<Item> = items.into_iter().map(|item| item.check(limits)).collect::<Result<_, _>>()?;
    check_unique(items.iter().map(|item| item.name.as_str()))?;
    Ok(items)
}

/// No name comes twice.
pub(crate) fn check_unique<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(format!("the item `{name}` appears twice")),
        None => Ok(()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "values come from guests: the derived code makes them from their numbers")]
pub(crate) enum WireLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
