//! Columns that are known by an entity, so that callers send its id in their place.

use std::{collections::HashMap, fmt};

use arrow_array::{
    Array, ArrayRef, UInt32Array,
    cast::AsArray,
    types::{Int64Type, UInt32Type},
};
use arrow_select::take::take;
use plinth_ext::{Batch, Field, Kind, Schema};
use serde_json::{Map, Value, json};

use crate::{ScoreError, Signature};

/// What is known of entities: one row of a table for each, found by its id.
pub struct Lookup {
    entity: Field,
    /// All columns of the table but the entity's.
    known: Batch,
    rows: Index,
    /// The first entity, to show how one is asked for.
    first: Value,
}

enum Index {
    Numbers(HashMap<i64, u32>),
    Texts(HashMap<Box<str>, u32>),
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("entity", &self.entity)
            .field("known", self.known.schema())
            .finish_non_exhaustive()
    }
}

impl Lookup {
    /// A look-up in a table by its column `entity`, which holds whole numbers or text, each once and none missing.
    ///
    /// # Errors
    /// [`ScoreError::Schema`] if there is no such column, [`ScoreError::BadLookup`] if it does not tell rows apart.
    pub fn new(entity: &str, table: &Batch) -> Result<Self, ScoreError> {
        let column = table.schema().require(entity)?;
        let kind = table.schema().fields()[column].kind;
        let bad = |message: String| ScoreError::BadLookup(message);
        let twice = |value: &dyn fmt::Display, first: u32, row: usize| {
            bad(format!("{entity} {value} is in rows {first} and {row}: an entity has one row"))
        };
        let ids = table.column(column);
        if let Some(row) = (0..ids.len()).find(|row| ids.is_null(*row)) {
            return Err(bad(format!("row {row} of the look-up table has no {entity}")));
        }
        let (rows, first) = match kind {
            Kind::Int64 => {
                let ids = ids.as_primitive::<Int64Type>().values();
                let mut rows = HashMap::with_capacity(ids.len());
                for (row, id) in ids.iter().enumerate() {
                    if let Some(first) = rows.insert(*id, row as u32) {
                        return Err(twice(id, first, row));
                    }
                }
                (Index::Numbers(rows), ids.first().map(|id| json!(id)))
            }
            Kind::Utf8 => {
                let ids = ids.as_string::<i32>();
                let mut rows = HashMap::with_capacity(ids.len());
                for (row, id) in ids.iter().flatten().enumerate() {
                    if let Some(first) = rows.insert(id.into(), row as u32) {
                        return Err(twice(&format_args!("`{id}`"), first, row));
                    }
                }
                (Index::Texts(rows), ids.iter().flatten().next().map(|id| json!(id)))
            }
            other => return Err(bad(format!("{entity} is {other}; an entity is a whole number or a text"))),
        };
        let others: Vec<usize> = (0..table.num_columns()).filter(|index| *index != column).collect();
        Ok(Self {
            entity: Field::new(entity, kind, false),
            known: table.project(&others),
            rows,
            first: first.ok_or_else(|| bad("the look-up table has no rows".into()))?,
        })
    }

    /// Whether it gives columns of a model that takes these, as [`crate::Scorer::with_lookup`] would find it.
    ///
    /// # Errors
    /// [`ScoreError::BadLookup`], [`ScoreError::Schema`].
    pub fn check(self, model: &Signature) -> Result<(), ScoreError> {
        Joined::new(self, model.clone()).map(drop)
    }

    /// The rows of these ids; none for one that is not known.
    fn find(&self, ids: &ArrayRef) -> UInt32Array {
        match &self.rows {
            Index::Numbers(rows) => ids.as_primitive::<Int64Type>().iter().map(|id| rows.get(&id?).copied()).collect(),
            Index::Texts(rows) => ids.as_string::<i32>().iter().map(|id| rows.get(id?).copied()).collect(),
        }
    }
}

/// A look-up that gives some columns of a model's signature.
pub(crate) struct Joined {
    lookup: Lookup,
    /// What the model's part of the scorer takes.
    model: Signature,
    /// Where each of its columns comes from.
    from: Vec<From>,
    /// Where a request has the entity.
    entity: usize,
}

enum From {
    /// A column of the request.
    Sent(usize),
    /// A column of the table.
    Known(usize),
}

impl Joined {
    /// The look-up, and what callers send: the entity, and the columns of `model` that are not known by it.
    pub(crate) fn new(lookup: Lookup, model: Signature) -> Result<(Self, Signature), ScoreError> {
        let wanted = model.columns();
        let given: Vec<usize> = (0..wanted.len())
            .filter(|index| lookup.known.schema().index_of(&wanted.fields()[*index].name).is_some())
            .collect();
        if given.is_empty() {
            let names: Vec<&str> = wanted.fields().iter().map(|field| field.name.as_str()).collect();
            return Err(ScoreError::BadLookup(format!(
                "the look-up table has no column of the model's: {}",
                names.join(", ")
            )));
        }
        let known = Signature::new(wanted.project(&given)).coerce(&lookup.known)?;
        let entity = lookup.entity.clone();
        let mut fields: Vec<Field> = Vec::new();
        match wanted.index_of(&entity.name).map(|index| &wanted.fields()[index]) {
            Some(field) if field.kind != entity.kind => {
                let Field { name, kind, .. } = &entity;
                return Err(ScoreError::BadLookup(format!(
                    "{name} is {kind} in the table and {} in the model",
                    field.kind
                )));
            }
            Some(_) => {}
            None => fields.push(entity.clone()),
        }
        let sent = |(index, _): &(usize, &Field)| !given.contains(index);
        fields.extend(wanted.fields().iter().enumerate().filter(sent).map(|(_, field)| field.clone()));
        let columns = Schema::new(fields)?;
        let from = wanted.fields().iter().map(|field| match known.schema().index_of(&field.name) {
            Some(index) => Ok(From::Known(index)),
            None => Ok(From::Sent(columns.require(&field.name)?)),
        });
        let from = from.collect::<Result<Vec<_>, ScoreError>>()?;
        let request = match model.example() {
            None => Signature::new(columns.clone()),
            Some(example) => {
                let cell = |field: &Field| {
                    let value = if field.name == entity.name { Some(&lookup.first) } else { example.get(&field.name) };
                    Some((field.name.clone(), value?.clone()))
                };
                let example: Map<String, Value> = columns.fields().iter().filter_map(cell).collect();
                Signature::new(columns.clone()).with_example_of(example)
            }
        };
        let place = columns.require(&entity.name)?;
        let lookup = Lookup { known, ..lookup };
        Ok((Self { lookup, model, from, entity: place }, request))
    }

    pub(crate) const fn model(&self) -> &Signature {
        &self.model
    }

    /// How many of the rows have an entity that is known, and how many do not.
    pub(crate) fn counts(&self, sent: &Batch) -> [u64; 2] {
        let unknown = self.lookup.find(sent.column(self.entity)).null_count();
        [(sent.num_rows() - unknown) as u64, unknown as u64]
    }

    /// The rows as the model's signature has them.
    pub(crate) fn rows(&self, sent: &Batch) -> Result<Batch, ScoreError> {
        let ids = sent.column(self.entity);
        let found = self.lookup.find(ids);
        let fields = self.model.columns().fields();
        if found.null_count() > 0
            && self.from.iter().zip(fields).any(|(from, field)| matches!(from, From::Known(_)) && !field.nullable)
        {
            let row = (0..found.len()).find(|row| found.is_null(*row)).unwrap_or_default();
            let value = match &self.lookup.rows {
                _ if ids.is_null(row) => "null".to_owned(),
                Index::Numbers(_) => ids.as_primitive::<Int64Type>().value(row).to_string(),
                Index::Texts(_) => format!("`{}`", ids.as_string::<i32>().value(row)),
            };
            return Err(ScoreError::NotKnown { row, entity: self.lookup.entity.name.clone(), value });
        }
        let found: &arrow_array::PrimitiveArray<UInt32Type> = &found;
        let columns = self.from.iter().map(|from| match from {
            From::Sent(index) => Ok(sent.column(*index).clone()),
            From::Known(index) => take(&**self.lookup.known.column(*index), found, None)
                .map_err(|error| ScoreError::BadLookup(error.to_string())),
        });
        Ok(Batch::new(self.model.columns().clone(), columns.collect::<Result<_, _>>()?, sent.num_rows())?)
    }
}
