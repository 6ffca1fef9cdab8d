//! Searches over evaluation data sets.

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    lexer::short,
    order,
    sql::Query,
};
use crate::{
    EvaluationDataset, Tracking, TrackingError,
    evaluation::{DATASET_COLUMNS, read},
    names::check_length,
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct EvaluationSearch {
    /// Experiments that it is used in; empty for all.
    pub experiment_ids: Vec<String>,
    /// MLflow's grammar; empty for everything.
    pub filter: String,
    /// Fields to sort by, first things first; newest first if there are none.
    pub order_by: Vec<String>,
    /// Data sets that come before the page.
    pub skip: u64,
    /// Data sets of the page.
    pub most: u64,
}

const TEXTS: [(&str, &str); 3] =
    [("name", "d.name"), ("created_by", "d.created_by"), ("last_updated_by", "d.updated_by")];
const TIMES: [(&str, &str); 2] =
    [("created_time", "(d.created_us / 1000)"), ("last_update_time", "(d.updated_us / 1000)")];

impl Tracking {
    /// Evaluation data sets that match.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read.
    pub fn search_evaluation_datasets(
        &self,
        search: &EvaluationSearch,
    ) -> Result<Page<EvaluationDataset>, TrackingError> {
        check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        let clauses = filter::parse(&search.filter, self.limits.filter_clauses_max)?;
        let order = orders(&search.order_by)?;
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let mut conditions = vec!["1 = 1".to_owned()];
            if !search.experiment_ids.is_empty() {
                let ids = query.bind_all(&search.experiment_ids);
                conditions.push(format!(
                    "EXISTS (SELECT 1 FROM evaluation_dataset_experiments e
                     WHERE e.dataset_id = d.dataset_id AND e.experiment_id IN {ids})"
                ));
            }
            for clause in &clauses {
                conditions.push(condition(&mut query, clause)?);
            }
            let (most, skip) = (query.bind(search.most + 1), query.bind(search.skip));
            let sql = format!(
                "SELECT {DATASET_COLUMNS} FROM evaluation_datasets d WHERE {} ORDER BY {order} LIMIT {most} OFFSET {skip}",
                conditions.join(" AND ")
            );
            let page = Page::cut(tx.query(&sql, &query.parameters)?, search.skip, search.most);
            let items = page.items.iter().map(|row| read(tx, row)).collect::<Result<_, TrackingError>>()?;
            Ok(Page { items, next: page.next })
        })
    }
}

fn condition(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    match clause.entity.as_deref() {
        Some("tags") => {
            if !Op::TEXT.contains(&clause.op) {
                return Err(SyntaxError(format!("Invalid comparator for tag: {}", clause.op.name())));
            }
            let key = query.bind(&clause.key);
            let test = query.text("t.value", clause.op, &clause.value)?;
            Ok(format!(
                "EXISTS (SELECT 1 FROM evaluation_dataset_tags t
                 WHERE t.dataset_id = d.dataset_id AND t.key = {key} AND {test})"
            ))
        }
        Some(other) => Err(SyntaxError(format!("Invalid identifier token '{}' specified", short(other)))),
        None => attribute(query, clause),
    }
}

fn attribute(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    if let Some((_, column)) = TIMES.iter().find(|(name, _)| *name == clause.key) {
        if !Op::NUMERIC.contains(&clause.op) {
            return Err(SyntaxError(format!("Invalid comparator for numeric attribute: {}", clause.op.name())));
        }
        if let Literal::Number(number) = &clause.value
            && number.parse::<i64>().is_err()
        {
            return Err(SyntaxError(format!("Invalid value for numeric attribute '{}': '{number}'", clause.key)));
        }
        return query.number(column, clause);
    }
    let Some((name, column)) = TEXTS.iter().find(|(name, _)| *name == clause.key) else {
        return Err(unknown(
            &clause.key,
            "'name', 'created_time', 'last_update_time', 'created_by', 'last_updated_by'",
        ));
    };
    match (clause.op, &clause.value) {
        (Op::In | Op::NotIn, _) if *name != "name" => {
            Err(SyntaxError("Only ['name'] attributes support comparison with a list of quoted string values.".into()))
        }
        (Op::NotIn, _) => Err(SyntaxError("List values for 'name' are only supported with the IN comparator.".into())),
        (Op::Lt | Op::Le | Op::Gt | Op::Ge, Literal::Text(text)) => {
            let value = query.bind(text);
            Ok(format!("{column} {} {value}", clause.op.name()))
        }
        (op, value) => query.text(column, op, value),
    }
}

fn unknown(key: &str, known: &str) -> SyntaxError {
    SyntaxError(format!("Invalid attribute key '{}' specified. Valid keys are: {{{known}}}", short(key)))
}

fn orders(fields: &[String]) -> Result<String, SyntaxError> {
    let mut order = Vec::new();
    for field in fields {
        let parsed = order::parse(field)?;
        let column = match (parsed.entity.as_deref(), parsed.key.as_str()) {
            (None, "name") => "d.name",
            (None, "created_time") => "d.created_us",
            (None, "last_update_time") => "d.updated_us",
            (None, other) => return Err(unknown(other, "'name', 'created_time', 'last_update_time'")),
            (Some("tags"), _) => return Err(SyntaxError("Invalid order_by entity: tag".into())),
            (Some(other), _) => {
                return Err(SyntaxError(format!("Invalid identifier token '{}' specified", short(other))));
            }
        };
        order.push(format!("{column} {}", if parsed.ascending { "ASC" } else { "DESC" }));
    }
    if order.is_empty() {
        order.push("d.created_us DESC".to_owned());
    }
    order.push("d.dataset_id DESC".to_owned());
    Ok(order.join(", "))
}
