//! A transaction on PostgreSQL: values in, rows out.

use std::{error::Error, pin::pin};

use bytes::BytesMut;
use futures_util::{TryStreamExt, future::join_all};
use tokio_postgres::{
    Statement,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    Cell, Cells, Dialect, Row, StoreError, Tx, Value, Visit,
    postgres_link::{Link, Server, wait},
    postgres_refusal::Refusal,
    postgres_sql,
};

/// Sets of parameters that are on their way at the same time.
const SENT_AT_ONCE_MAX: usize = 256;

/// Statements of one transaction, or of one writer's part in a shared one.
pub(crate) struct PostgresTx<'a> {
    server: &'a Server,
    link: &'a mut Link,
    /// The first refusal: nothing is done any more from there to the end of the transaction.
    pub(crate) refusal: Option<Refusal>,
}

impl<'a> PostgresTx<'a> {
    pub(crate) fn new(server: &'a Server, link: &'a mut Link) -> Self {
        Self { server, link, refusal: None }
    }

    /// Prepares a statement and does with it what `act` does.
    fn with<T>(
        &mut self,
        sql: &str,
        parameters: &[Value],
        act: impl FnOnce(&Link, &Statement, &[&(dyn ToSql + Sync)]) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        if has_nul(parameters) {
            return Err(StoreError::Nul);
        }
        let done = self.link.prepared(sql, parameters).and_then(|statement| {
            let arguments: Vec<Argument<'_>> = parameters.iter().map(Argument).collect();
            let arguments: Vec<_> = arguments.iter().map(|argument| argument as &(dyn ToSql + Sync)).collect();
            act(self.link, &statement, &arguments).map_err(|error| Refusal::of(&error))
        });
        done.map_err(|refusal| self.refused(refusal, sql))
    }

    fn refused(&mut self, refusal: Refusal, sql: &str) -> StoreError {
        if refusal.is_of_statement() {
            self.link.forget();
        }
        tracing::debug!(%refusal, state = refusal.state, sql, "the catalog's server refused a statement");
        self.refusal.get_or_insert_with(|| refusal.clone());
        self.server.told(refusal)
    }
}

/// PostgreSQL has no form for such a text.
fn has_nul(parameters: &[Value]) -> bool {
    parameters.iter().any(|value| matches!(value, Value::Text(text) if text.contains('\0')))
}

/// The fields of a row.
fn fields(row: &tokio_postgres::Row) -> Result<Vec<Value>, tokio_postgres::Error> {
    let value = |field: Field<'_>| match field.0 {
        Cell::Null => Value::Null,
        Cell::Int(int) => Value::Int(int),
        Cell::Real(real) => Value::Real(real),
        Cell::Text(text) => Value::Text(text.to_owned()),
        Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
    };
    (0..row.len()).map(|column| row.try_get(column).map(value)).collect()
}

impl Tx for PostgresTx<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.with(sql, parameters, |link, statement, arguments| {
            let rows = wait(link.client.query(statement, arguments))?;
            rows.iter().map(|row| fields(row).map(Row)).collect()
        })
    }

    fn each(&mut self, sql: &str, parameters: &[Value], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let rows = self.with(sql, parameters, |link, statement, arguments| {
            wait(link.client.query_raw(statement, arguments.iter().copied()))
        })?;
        let mut rows = pin!(rows);
        loop {
            // Rows come as they are looked at: what the visitor does not want is read over.
            match wait(rows.try_next()) {
                Ok(Some(row)) => visit(&Passing(&row))?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.refused(Refusal::of(&error), sql)),
            }
        }
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, StoreError> {
        self.with(sql, parameters, |link, statement, arguments| wait(link.client.execute(statement, arguments)))
    }

    fn execute_all(&mut self, sql: &str, sets: &mut dyn Iterator<Item = Vec<Value>>) -> Result<Vec<u64>, StoreError> {
        let mut changed = Vec::new();
        loop {
            let mut sent = Vec::new();
            while let Some(parameters) = if sent.len() < SENT_AT_ONCE_MAX { sets.next() } else { None } {
                if has_nul(&parameters) {
                    return Err(StoreError::Nul);
                }
                let statement = self.link.prepared(sql, &parameters).map_err(|refusal| self.refused(refusal, sql))?;
                sent.push((statement, parameters));
            }
            if sent.is_empty() {
                return Ok(changed);
            }
            let client = &self.link.client;
            let answers = sent.iter().map(|(statement, parameters)| async move {
                let arguments: Vec<Argument<'_>> = parameters.iter().map(Argument).collect();
                let arguments: Vec<_> = arguments.iter().map(|argument| argument as &(dyn ToSql + Sync)).collect();
                client.execute(statement, &arguments).await
            });
            // In order: each is sent when it is first asked how far it is.
            for answer in wait(join_all(answers)) {
                changed.push(answer.map_err(|error| self.refused(Refusal::of(&error), sql))?);
            }
        }
    }
}

/// A row as the server sent it; texts are looked at where they lie.
struct Passing<'a>(&'a tokio_postgres::Row);

impl Cells for Passing<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, StoreError> {
        let field: Result<Field<'_>, _> = self.0.try_get(column);
        field.map(|field| field.0).map_err(|error| {
            let found = Refusal::of(&error).message;
            StoreError::Row { column, expected: "a value", found }
        })
    }
}

#[derive(Debug)]
struct Argument<'a>(&'a Value);

impl ToSql for Argument<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(int) => int.to_sql(ty, out),
            // As SQLite has it.
            Value::Real(real) if real.is_nan() => Ok(IsNull::Yes),
            Value::Real(real) => real.to_sql(ty, out),
            Value::Text(text) => text.to_sql(ty, out),
            Value::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // A statement is prepared for the types that its values have.
        true
    }

    to_sql_checked!();
}

/// A field of a result, as one of the catalog's few types.
struct Field<'a>(Cell<'a>);

impl<'a> FromSql<'a> for Field<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::BOOL => Cell::Int(bool::from_sql(ty, raw)?.into()),
            Type::INT2 => Cell::Int(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Cell::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Cell::Int(i64::from_sql(ty, raw)?),
            Type::FLOAT4 => Cell::Real(f32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Cell::Real(f64::from_sql(ty, raw)?),
            // What a sum of whole numbers is.
            Type::NUMERIC => match postgres_sql::numeric(raw)? {
                Value::Int(int) => Cell::Int(int),
                Value::Real(real) => Cell::Real(real),
                _ => Cell::Null,
            },
            Type::BYTEA => Cell::Bytes(raw),
            _ => Cell::Text(<&str>::from_sql(ty, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Cell::Null))
    }

    fn accepts(ty: &Type) -> bool {
        let numbers = [Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::FLOAT4, Type::FLOAT8, Type::NUMERIC];
        numbers.contains(ty) || *ty == Type::BYTEA || <&str as FromSql<'_>>::accepts(ty)
    }
}
