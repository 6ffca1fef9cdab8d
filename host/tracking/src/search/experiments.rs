//! Searches over experiments.

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    order,
    sql::{Query, allowed},
};
use crate::{
    Experiment, Tracking, TrackingError, View,
    experiments::{EXPERIMENT_COLUMNS, read},
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct ExperimentSearch {
    /// MLflow's grammar; empty for everything.
    pub filter: String,
    /// Fields to sort by, first things first; newest first if there are none.
    pub order_by: Vec<String>,
    /// Only these, if they are given.
    pub only: Option<Vec<String>>,
    /// Active experiments, deleted ones, or both.
    pub view: View,
    /// Experiments that come before the page.
    pub skip: u64,
    /// Experiments of the page.
    pub most: u64,
}

impl Tracking {
    /// Experiments that match.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read; [`TrackingError::TooLong`].
    pub fn search_experiments(&self, search: &ExperimentSearch) -> Result<Page<Experiment>, TrackingError> {
        crate::names::check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        let clauses = filter::parse(&search.filter, self.limits.filter_clauses_max)?;
        let mut order = Vec::new();
        for text in &search.order_by {
            let field = order::parse(text)?;
            let column = column(field.entity.as_deref(), &field.key)?.ok_or_else(|| unknown(&field.key))?;
            order.push(format!("{column} {}", if field.ascending { "ASC" } else { "DESC" }));
        }
        if order.is_empty() {
            order.push("created_us DESC".to_owned());
        }
        order.push(format!("{NUMBER} ASC"));
        let most = search.most.min(u64::from(self.limits.page_rows_max));
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let mut conditions = vec![search.view.condition("lifecycle")];
            if let Some(only) = &search.only {
                conditions.push(format!("experiment_id IN {}", query.bind_all(only)));
            }
            for clause in &clauses {
                conditions.push(condition(&mut query, clause)?);
            }
            let (limit, skip) = (query.bind(most + 1), query.bind(search.skip));
            let sql = format!(
                "SELECT {EXPERIMENT_COLUMNS} FROM experiments WHERE {} ORDER BY {} LIMIT {limit} OFFSET {skip}",
                conditions.join(" AND "),
                order.join(", ")
            );
            let rows = tx.query(&sql, &query.parameters)?;
            let page = Page::cut(rows, search.skip, most);
            let items = page.items.iter().map(|row| read(tx, row)).collect::<Result<_, TrackingError>>()?;
            Ok(Page { items, next: page.next })
        })
    }
}

const NUMBER: &str = "CAST(experiment_id AS BIGINT)";

/// The column of an attribute, if it is one; a tag has none.
fn column(entity: Option<&str>, key: &str) -> Result<Option<&'static str>, SyntaxError> {
    match entity {
        None | Some("attribute" | "attr") => Ok(Some(match key {
            "name" => "name",
            "experiment_id" => NUMBER,
            "creation_time" => "(created_us / 1000)",
            "last_update_time" => "(updated_us / 1000)",
            _ => return Err(unknown(key)),
        })),
        Some("tag" | "tags") => Ok(None),
        Some(other) => Err(SyntaxError(format!(
            "Invalid entity type '{}'. Valid values are ['attribute', 'tag']",
            super::lexer::short(other)
        ))),
    }
}

fn unknown(key: &str) -> SyntaxError {
    SyntaxError(format!(
        "Invalid attribute key '{}' specified. Valid keys are '{{'name', 'experiment_id', 'creation_time', \
         'last_update_time'}}'",
        super::lexer::short(key)
    ))
}

fn condition(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    match column(clause.entity.as_deref(), &clause.key)? {
        Some(NUMBER) => {
            allowed(clause.op, Op::TEXT_OR_LIST)?;
            query.text("experiment_id", clause.op, &clause.value)
        }
        Some("name") => {
            allowed(clause.op, Op::TEXT)?;
            query.text("name", clause.op, &clause.value)
        }
        Some(time) => {
            allowed(clause.op, Op::NUMERIC)?;
            query.number(time, clause)
        }
        None => {
            allowed(clause.op, Op::TEXT_OR_NULL)?;
            let key = query.bind(&clause.key);
            let (not, test) = match (clause.op, &clause.value) {
                (Op::IsNull, _) => ("NOT ", String::new()),
                (Op::IsNotNull, _) => ("", String::new()),
                (op, value @ Literal::Text(_)) => ("", format!(" AND {}", query.text("t.value", op, value)?)),
                (_, _) => return Err(SyntaxError("Expected a quoted string value for tag (e.g. 'my-value').".into())),
            };
            Ok(format!(
                "{not}EXISTS (SELECT 1 FROM experiment_tags t
                 WHERE t.experiment_id = experiments.experiment_id AND t.key = {key}{test})"
            ))
        }
    }
}
