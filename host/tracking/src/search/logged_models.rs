//! Searches over logged models.

use std::collections::HashSet;

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    lexer::short,
    order,
    sql::{Query, allowed, real},
};
use crate::{
    LoggedModel, Tracking, TrackingError,
    logged_models::{LOGGED_MODEL_COLUMNS, read},
    names::{check_length, cut},
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct LoggedModelSearch {
    /// Experiments to look in.
    pub experiment_ids: Vec<String>,
    /// MLflow's grammar; empty for everything.
    pub filter: String,
    /// Data sets that conditions on metrics are narrowed to: name, and digest if one is meant.
    pub datasets: Vec<(String, Option<String>)>,
    /// Fields to sort by, first things first; then newest first.
    pub order_by: Vec<LoggedModelOrder>,
    /// Models that come before the page.
    pub skip: u64,
    /// Models of the page.
    pub most: u64,
}

/// One field to sort by.
#[derive(Debug, Clone, Default)]
pub struct LoggedModelOrder {
    /// Such as `metrics.f1` or `creation_timestamp`.
    pub field: String,
    /// Which way.
    pub ascending: bool,
    /// Only metrics of this data set count: name, and digest if one is meant.
    pub dataset: Option<(String, Option<String>)>,
}

const TEXTS: [(&str, &str); 6] = [
    ("name", "l.name"),
    ("model_id", "l.model_id"),
    ("model_type", "l.model_type"),
    ("status", "l.status"),
    ("source_run_id", "COALESCE(l.source_run_id, '')"),
    ("experiment_id", "l.experiment_id"),
];
const TIMES: [(&str, &str); 4] = [
    ("creation_timestamp", "(l.created_us / 1000)"),
    ("creation_time", "(l.created_us / 1000)"),
    ("last_updated_timestamp", "(l.updated_us / 1000)"),
    ("last_updated_time", "(l.updated_us / 1000)"),
];

impl Tracking {
    /// Logged models that match.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read.
    pub fn search_logged_models(&self, search: &LoggedModelSearch) -> Result<Page<LoggedModel>, TrackingError> {
        check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        let clauses = filter::parse(&search.filter, self.limits.filter_clauses_max)?;
        if let Some(id) = search.experiment_ids.iter().find(|id| id.parse::<i64>().is_err()) {
            let message = format!("Invalid experiment ID '{}'. Experiment ID must be a valid integer.", cut(id));
            return Err(TrackingError::Invalid(message));
        }
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let ids = query.bind_all(&search.experiment_ids);
            let mut conditions = vec!["l.lifecycle = 'active'".to_owned(), format!("l.experiment_id IN {ids}")];
            for clause in &clauses {
                conditions.push(condition(&mut query, clause, &search.datasets)?);
            }
            // Without a metric to filter by, any metric that was measured on one of the data sets counts.
            if !search.datasets.is_empty() && !clauses.iter().any(|c| c.entity.as_deref() == Some("metrics")) {
                let any: Vec<_> = search.datasets.iter().map(|dataset| of_dataset(&mut query, "m", dataset)).collect();
                conditions.push(format!(
                    "EXISTS (SELECT 1 FROM logged_model_metrics m WHERE m.model_id = l.model_id AND ({}))",
                    any.join(" OR ")
                ));
            }
            let order = orders(&mut query, &search.order_by)?;
            let (most, skip) = (query.bind(search.most + 1), query.bind(search.skip));
            let sql = format!(
                "SELECT {LOGGED_MODEL_COLUMNS} FROM logged_models l WHERE {} ORDER BY {order} LIMIT {most} OFFSET {skip}",
                conditions.join(" AND ")
            );
            let page = Page::cut(tx.query(&sql, &query.parameters)?, search.skip, search.most);
            let items = page.items.iter().map(|row| read(tx, row));
            Ok(Page { items: items.collect::<Result<_, TrackingError>>()?, next: page.next })
        })
    }
}

fn condition(query: &mut Query, clause: &Clause, datasets: &[(String, Option<String>)]) -> Result<String, SyntaxError> {
    match clause.entity.as_deref() {
        None | Some("attributes") => attribute(query, clause),
        Some("metrics") => {
            allowed(clause.op, Op::NUMERIC)?;
            let Literal::Number(number) = &clause.value else {
                return Err(SyntaxError(format!("Expected numeric value type for metric `{}`.", clause.key)));
            };
            let (key, value) = (query.bind(&clause.key), query.bind(real(number)?));
            let sign = if clause.op == Op::Ne { "<>" } else { clause.op.name() };
            let mut test = format!("m.key = {key} AND m.is_nan = 0 AND m.value {sign} {value}");
            if !datasets.is_empty() {
                let any: Vec<String> = datasets.iter().map(|dataset| of_dataset(query, "m", dataset)).collect();
                test.push_str(&format!(" AND ({})", any.join(" OR ")));
            }
            Ok(format!("EXISTS (SELECT 1 FROM logged_model_metrics m WHERE m.model_id = l.model_id AND {test})"))
        }
        Some(entity @ ("params" | "tags")) => {
            allowed(clause.op, Op::TEXT_OR_LIST)?;
            let table = if entity == "params" { "logged_model_params" } else { "logged_model_tags" };
            let key = query.bind(&clause.key);
            // A number without quotes is taken as it was written.
            let value = match &clause.value {
                Literal::Number(number) => Literal::Text(number.clone()),
                other => other.clone(),
            };
            let test = query.text("p.value", clause.op, &value)?;
            Ok(format!("EXISTS (SELECT 1 FROM {table} p WHERE p.model_id = l.model_id AND p.key = {key} AND {test})"))
        }
        Some(other) => Err(SyntaxError(format!(
            "Invalid filter string: invalid entity type '{}'. Expected one of: attributes, metrics, params, tags.",
            short(other)
        ))),
    }
}

fn attribute(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    if let Some((_, column)) = TIMES.iter().find(|(name, _)| *name == clause.key) {
        allowed(clause.op, Op::NUMERIC)?;
        return query.number(column, clause);
    }
    let found = TEXTS.iter().find(|(name, _)| *name == clause.key);
    let (_, column) =
        found.ok_or_else(|| SyntaxError(format!("Invalid attribute key '{}' specified.", short(&clause.key))))?;
    allowed(clause.op, Op::TEXT_OR_LIST)?;
    // Users write the status without its prefix.
    let value = match &clause.value {
        Literal::Text(text) if clause.key == "status" => Literal::Text(status(text)),
        Literal::List(list) if clause.key == "status" => Literal::List(list.iter().map(|text| status(text)).collect()),
        other => other.clone(),
    };
    query.text(column, clause.op, &value)
}

fn status(text: &str) -> String {
    match text {
        "PENDING" => "LOGGED_MODEL_PENDING".to_owned(),
        "READY" => "LOGGED_MODEL_READY".to_owned(),
        "FAILED" => "LOGGED_MODEL_UPLOAD_FAILED".to_owned(),
        other => other.to_owned(),
    }
}

fn of_dataset(query: &mut Query, table: &str, (name, digest): &(String, Option<String>)) -> String {
    let name = query.bind(name);
    match digest {
        Some(digest) => {
            let digest = query.bind(digest);
            format!("({table}.dataset_name = {name} AND {table}.dataset_digest = {digest})")
        }
        None => format!("{table}.dataset_name = {name}"),
    }
}

fn orders(query: &mut Query, fields: &[LoggedModelOrder]) -> Result<String, SyntaxError> {
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    for field in fields {
        let parsed = order::parse(&field.field)?;
        let way = if field.ascending { "ASC" } else { "DESC" };
        if !seen.insert((parsed.entity.clone(), parsed.key.clone(), field.dataset.clone())) {
            return Err(SyntaxError(format!("`order_by` contains duplicate fields: '{}'", short(&field.field))));
        }
        match parsed.entity.as_deref() {
            None | Some("attributes") => {
                let found = TIMES.iter().chain(&TEXTS).find(|(name, _)| *name == parsed.key);
                let (_, column) = found
                    .ok_or_else(|| SyntaxError(format!("Invalid order by field name: '{}'", short(&field.field))))?;
                order.push(format!("{column} {way}"));
            }
            Some("metrics") => {
                let key = query.bind(&parsed.key);
                let dataset = match &field.dataset {
                    Some(dataset) => format!(" AND {}", of_dataset(query, "s", dataset)),
                    None => String::new(),
                };
                let value = format!(
                    "(SELECT s.value FROM logged_model_metrics s WHERE s.model_id = l.model_id AND s.key = {key}
                      AND s.is_nan = 0{dataset} ORDER BY s.step DESC, s.time_us DESC, s.value DESC LIMIT 1)"
                );
                order.push(format!("CASE WHEN {value} IS NULL THEN 1 ELSE 0 END, {value} {way}"));
            }
            Some(_) => {
                return Err(SyntaxError(format!(
                    "Invalid order by field name: '{}', only `metrics.<name>` and attributes are supported",
                    short(&field.field)
                )));
            }
        }
    }
    order.push("l.created_us DESC".to_owned());
    order.push("l.model_id ASC".to_owned());
    Ok(order.join(", "))
}
