//! Searches over runs.

use std::collections::HashSet;

use plinth_store::{Tx, Value};

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    order::{self, Order},
    sql::{Query, allowed, real},
};
use crate::{
    Run, RunSummary, Tracking, TrackingError, View,
    names::cut,
    runs::{RUN_COLUMNS, RUN_FROM, fill, summary},
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct RunSearch {
    /// Experiments to look in; none finds nothing.
    pub experiment_ids: Vec<String>,
    /// MLflow's grammar; empty for everything.
    pub filter: String,
    /// Fields to sort by, first things first; then newest first.
    pub order_by: Vec<String>,
    /// Active runs, deleted ones, or both.
    pub view: View,
    /// Runs that come before the page.
    pub skip: u64,
    /// Runs of the page.
    pub most: u64,
}

impl Tracking {
    /// Runs that match, with everything they logged.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read; [`TrackingError::TooLong`].
    pub fn search_runs(&self, search: &RunSearch) -> Result<Page<Run>, TrackingError> {
        let plan = self.plan(search)?;
        if let Some(id) = search.experiment_ids.iter().find(|id| id.parse::<i64>().is_err()) {
            let message = format!("Invalid experiment ID '{}'. Experiment ID must be a valid integer.", cut(id));
            return Err(TrackingError::Invalid(message));
        }
        let most = search.most.min(u64::from(self.limits.page_rows_max));
        self.store.catalog().read(|tx| {
            if search.experiment_ids.is_empty() {
                return Ok(Page { items: Vec::new(), next: None });
            }
            let heads = plan.heads(tx, search, search.skip, most + 1)?;
            let page = Page::cut(heads, search.skip, most);
            Ok(Page { items: fill(tx, page.items)?, next: page.next })
        })
    }

    fn plan(&self, search: &RunSearch) -> Result<Plan, TrackingError> {
        crate::names::check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        let clauses = filter::parse(&search.filter, self.limits.filter_clauses_max)?;
        let conditions = clauses.into_iter().map(Condition::of).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for text in &search.order_by {
            let order = order::parse(text)?;
            let key = SortKey::of(&order)?;
            if !seen.insert(key.clone()) {
                return Err(TrackingError::Invalid(format!(
                    "`order_by` contains duplicate fields: {:?}",
                    search.order_by
                )));
            }
            keys.push((key, order.ascending));
        }
        Ok(Plan { conditions, keys })
    }
}

/// A condition on runs.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Metric {
        key: String,
        op: Op,
        value: f64,
    },
    /// In `params` or `run_tags`.
    Pair {
        table: &'static str,
        key: String,
        op: Op,
        value: Literal,
    },
    Text {
        column: &'static str,
        op: Op,
        value: Literal,
    },
    Time {
        column: &'static str,
        clause: Clause,
    },
    Dataset {
        column: &'static str,
        op: Op,
        value: Literal,
    },
}

/// Where a run's artifacts are, as MLflow's clients see it.
const ARTIFACT_URI: &str = "(COALESCE(NULLIF(e.artifact_location, ''), 'mlflow-artifacts:/' || e.experiment_id) || '/' || r.run_id || '/artifacts')";

/// Attributes that are text: MLflow's name and our column.
const TEXTS: [(&str, &str); 5] = [
    ("run_id", "r.run_id"),
    ("run_name", "r.name"),
    ("status", "r.status"),
    ("user_id", "r.user_name"),
    ("artifact_uri", ARTIFACT_URI),
];
/// Attributes that are times, in milliseconds.
const TIMES: [(&str, &str); 2] = [("start_time", "(r.start_us / 1000)"), ("end_time", "(r.end_us / 1000)")];

/// What stands before the dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Entity {
    Metric,
    Param,
    Tag,
    Attribute,
    Dataset,
}

impl Entity {
    fn of(entity: Option<&str>) -> Result<Self, SyntaxError> {
        Ok(match entity {
            None | Some("attribute" | "attributes" | "attr" | "run") => Self::Attribute,
            Some("metric" | "metrics") => Self::Metric,
            Some("param" | "params" | "parameter" | "parameters") => Self::Param,
            Some("tag" | "tags") => Self::Tag,
            Some("dataset" | "datasets") => Self::Dataset,
            Some(other) => {
                return Err(SyntaxError(format!(
                    "Invalid entity type '{}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
                    super::lexer::short(other)
                )));
            }
        })
    }
}

/// The names that users see in the web interface stand for attributes.
fn alias(key: &str) -> &str {
    match key {
        "created" | "Created" => "start_time",
        "run name" | "Run name" | "Run Name" => "run_name",
        other => other,
    }
}

fn unknown_attribute(key: &str) -> SyntaxError {
    let known: Vec<&str> = TEXTS.iter().chain(&TIMES).map(|(name, _)| *name).collect();
    SyntaxError(format!("Invalid attribute key '{}' specified. Valid keys are '{known:?}'", super::lexer::short(key)))
}

impl Condition {
    fn of(clause: Clause) -> Result<Self, SyntaxError> {
        let entity = Entity::of(clause.entity.as_deref())?;
        let null = matches!(clause.op, Op::IsNull | Op::IsNotNull);
        if null && !matches!(entity, Entity::Param | Entity::Tag) {
            let message = "IS NULL / IS NOT NULL is only supported for tags and params";
            return Err(SyntaxError(format!("{message}, not for '{}'", clause.key)));
        }
        match entity {
            Entity::Metric => {
                let Literal::Number(number) = &clause.value else {
                    return Err(SyntaxError(format!("Expected numeric value type for metric `{}`.", clause.key)));
                };
                allowed(clause.op, Op::NUMERIC)?;
                Ok(Self::Metric { value: real(number)?, op: clause.op, key: clause.key })
            }
            Entity::Param | Entity::Tag => {
                allowed(clause.op, Op::TEXT_OR_NULL)?;
                let (table, what) = if entity == Entity::Param { ("params", "param") } else { ("run_tags", "tag") };
                if let Literal::Number(number) = &clause.value {
                    let message =
                        format!("Expected a quoted string value for {what} (e.g. 'my-value'). Got value {number}");
                    return Err(SyntaxError(message));
                }
                Ok(Self::Pair { table, key: clause.key, op: clause.op, value: clause.value })
            }
            Entity::Attribute => {
                let key = alias(&clause.key);
                if let Some((_, column)) = TIMES.iter().find(|(name, _)| *name == key) {
                    if !matches!(clause.value, Literal::Number(_)) {
                        let message = format!("Expected numeric value type for numeric attribute: {key}.");
                        return Err(SyntaxError(message));
                    }
                    allowed(clause.op, Op::NUMERIC)?;
                    return Ok(Self::Time { column, clause });
                }
                let (_, column) =
                    TEXTS.iter().find(|(name, _)| *name == key).ok_or_else(|| unknown_attribute(&clause.key))?;
                if matches!(clause.value, Literal::List(_)) && key != "run_id" {
                    let message = "Only ['run_id'] attributes support comparison with a list of quoted string values.";
                    return Err(SyntaxError(message.into()));
                }
                if matches!(clause.value, Literal::Number(_)) {
                    return Err(SyntaxError(format!("Expected a quoted string value for attributes: {key}.")));
                }
                allowed(clause.op, Op::TEXT_OR_LIST)?;
                Ok(Self::Text { column, op: clause.op, value: clause.value })
            }
            Entity::Dataset => {
                let column = match clause.key.as_str() {
                    "name" => "d.name",
                    "digest" => "d.digest",
                    "context" => "u.context",
                    other => {
                        let message = format!(
                            "Invalid dataset key '{other}' specified. Valid keys are '{{'name', 'digest', 'context'}}'"
                        );
                        return Err(SyntaxError(message));
                    }
                };
                if matches!(clause.value, Literal::Number(_)) {
                    return Err(SyntaxError("Expected a quoted string value for dataset attributes.".into()));
                }
                allowed(clause.op, Op::TEXT_OR_LIST)?;
                Ok(Self::Dataset { column, op: clause.op, value: clause.value })
            }
        }
    }

    /// Rows of its own table that match, if an index finds them: what stands after `SELECT rid`.
    fn indexed(&self, query: &mut Query) -> Result<Option<String>, SyntaxError> {
        Ok(match self {
            Self::Metric { key, op, value } if *op != Op::Ne => {
                let (key, value) = (query.bind(key), query.bind(*value));
                Some(format!("FROM latest_metrics WHERE key = {key} AND is_nan = 0 AND value {} {value}", op.name()))
            }
            Self::Pair { table, key, op: Op::Eq, value: Literal::Text(text) }
                if text.chars().count() <= INDEXED_CHARS =>
            {
                let (key, value) = (query.bind(key), query.bind(text));
                Some(format!("FROM {table} WHERE key = {key} AND value = {value} AND LENGTH(value) <= {INDEXED_CHARS}"))
            }
            _ => None,
        })
    }

    /// A condition on `r` and `e`.
    fn sql(&self, query: &mut Query) -> Result<String, SyntaxError> {
        Ok(match self {
            Self::Metric { key, op, value } => {
                let (key, value) = (query.bind(key), query.bind(*value));
                // A NaN is unlike every number.
                let test = match op {
                    Op::Ne => format!("(m.is_nan = 1 OR m.value <> {value})"),
                    op => format!("m.is_nan = 0 AND m.value {} {value}", op.name()),
                };
                format!("EXISTS (SELECT 1 FROM latest_metrics m WHERE m.rid = r.rid AND m.key = {key} AND {test})")
            }
            Self::Pair { table, key, op, value } => {
                let key = query.bind(key);
                let (not, test) = match op {
                    Op::IsNull => ("NOT ", String::new()),
                    Op::IsNotNull => ("", String::new()),
                    op => ("", format!(" AND {}", query.text("p.value", *op, value)?)),
                };
                format!("{not}EXISTS (SELECT 1 FROM {table} p WHERE p.rid = r.rid AND p.key = {key}{test})")
            }
            Self::Text { column, op, value } => query.text(column, *op, value)?,
            Self::Time { column, clause } => query.number(column, clause)?,
            Self::Dataset { column, op, value } => {
                let test = query.text(column, *op, value)?;
                format!(
                    "EXISTS (SELECT 1 FROM run_datasets u JOIN datasets d ON d.dataset_id = u.dataset_id
                     WHERE u.rid = r.rid AND {test})"
                )
            }
        })
    }
}

/// Longer values are not in the index.
const INDEXED_CHARS: usize = 250;

/// A field to sort by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SortKey {
    Metric(String),
    Pair(&'static str, String),
    Column(&'static str),
}

impl SortKey {
    fn of(order: &Order) -> Result<Self, SyntaxError> {
        match Entity::of(order.entity.as_deref())? {
            Entity::Metric => Ok(Self::Metric(order.key.clone())),
            Entity::Param => Ok(Self::Pair("params", order.key.clone())),
            Entity::Tag => Ok(Self::Pair("run_tags", order.key.clone())),
            Entity::Attribute => {
                let column = match order.key.as_str() {
                    "start_time" | "created" | "Created" => "r.start_us",
                    "end_time" => "r.end_us",
                    key => TEXTS.iter().find(|(name, _)| *name == key).ok_or_else(|| unknown_attribute(&order.key))?.1,
                };
                Ok(Self::Column(column))
            }
            Entity::Dataset => Err(SyntaxError(format!("Invalid identifier type '{}'", order.key))),
        }
    }
}

/// A search that reads.
struct Plan {
    conditions: Vec<Condition>,
    keys: Vec<(SortKey, bool)>,
}

/// Rows of an index up to which it is worth starting from them.
const FEW: i64 = 2_000;

impl Plan {
    fn heads(
        &self,
        tx: &mut dyn Tx,
        search: &RunSearch,
        skip: u64,
        most: u64,
    ) -> Result<Vec<(i64, RunSummary)>, TrackingError> {
        let driver = self.driver(tx)?;
        let rows = match self.keys.first() {
            // Without a handful to start from, the order's own index gives runs in order, and few are looked at.
            Some((SortKey::Metric(key), ascending)) if driver.is_none() => {
                self.phases(tx, search, key, *ascending, skip, most)?
            }
            _ => {
                let mut query = Query::new(tx.dialect());
                let (condition, joins, order) = self.parts(&mut query, search, driver, 0)?;
                self.page(tx, query, &format!("{RUN_FROM}{joins} WHERE {condition} ORDER BY {order}"), skip, most)?
            }
        };
        rows.iter().map(|row| Ok((row.int(10)?, summary(row)?))).collect()
    }

    /// Runs that have the metric, by its value; then those whose metric is NaN; then those without it.
    fn phases(
        &self,
        tx: &mut dyn Tx,
        search: &RunSearch,
        key: &str,
        ascending: bool,
        mut skip: u64,
        most: u64,
    ) -> Result<Vec<plinth_store::Row>, TrackingError> {
        let mut rows = Vec::new();
        for phase in 0..3 {
            let mut query = Query::new(tx.dialect());
            let metric = query.bind(key);
            let (condition, joins, rest) = self.parts(&mut query, search, None, 1)?;
            let way = if ascending { "ASC" } else { "DESC" };
            let (from, order) = match phase {
                0 => (
                    format!(
                        "latest_metrics o JOIN runs r ON r.rid = o.rid
                         JOIN experiments e ON e.experiment_id = r.experiment_id{joins}
                         WHERE o.key = {metric} AND o.is_nan = 0 AND {condition}"
                    ),
                    format!("o.value {way}, {rest}"),
                ),
                1 => (
                    format!(
                        "latest_metrics o JOIN runs r ON r.rid = o.rid
                         JOIN experiments e ON e.experiment_id = r.experiment_id{joins}
                         WHERE o.key = {metric} AND o.is_nan = 1 AND {condition}"
                    ),
                    rest,
                ),
                _ => (
                    format!(
                        "{RUN_FROM}{joins} WHERE NOT EXISTS
                         (SELECT 1 FROM latest_metrics o WHERE o.rid = r.rid AND o.key = {metric}) AND {condition}"
                    ),
                    rest,
                ),
            };
            let left = most - rows.len() as u64;
            let parameters = query.parameters.clone();
            let found = self.page(tx, query, &format!("{from} ORDER BY {order}"), skip, left)?;
            if found.is_empty() && skip > 0 && phase < 2 {
                // All of this phase comes before the page: the next one skips so many fewer.
                let count = tx.query_one(&format!("SELECT COUNT(*) FROM {from}"), &parameters)?;
                skip = skip.saturating_sub(count.map(|row| row.int(0)).transpose()?.unwrap_or(0) as u64);
            } else if !found.is_empty() {
                skip = 0;
            }
            rows.extend(found);
            if rows.len() as u64 >= most {
                break;
            }
        }
        Ok(rows)
    }

    fn page(
        &self,
        tx: &mut dyn Tx,
        mut query: Query,
        from: &str,
        skip: u64,
        most: u64,
    ) -> Result<Vec<plinth_store::Row>, TrackingError> {
        let (most, skip) = (query.bind(most), query.bind(skip));
        let sql = format!("SELECT {RUN_COLUMNS} FROM {from} LIMIT {most} OFFSET {skip}");
        Ok(tx.query(&sql, &query.parameters)?)
    }

    /// Conditions, joins for the order, and the order itself without its first `after` fields.
    fn parts(
        &self,
        query: &mut Query,
        search: &RunSearch,
        driver: Option<usize>,
        after: usize,
    ) -> Result<(String, String, String), SyntaxError> {
        let mut conditions = vec![
            format!("r.experiment_id IN {}", query.bind_all(&search.experiment_ids)),
            search.view.condition("r.lifecycle"),
        ];
        for (at, condition) in self.conditions.iter().enumerate() {
            let indexed = if driver == Some(at) { condition.indexed(query)? } else { None };
            conditions.push(match indexed {
                Some(from) => format!("r.rid IN (SELECT rid {from})"),
                None => condition.sql(query)?,
            });
        }
        let (mut joins, mut order) = (String::new(), Vec::new());
        for (at, (key, ascending)) in self.keys.iter().enumerate().skip(after) {
            let way = if *ascending { "ASC" } else { "DESC" };
            match key {
                // After numbers comes NaN, then nothing, in both directions.
                SortKey::Metric(key) => {
                    let key = query.bind(key);
                    joins.push_str(&format!(
                        " LEFT JOIN latest_metrics s{at} ON s{at}.rid = r.rid AND s{at}.key = {key}"
                    ));
                    order.push(format!("CASE WHEN s{at}.rid IS NULL THEN 2 ELSE s{at}.is_nan END, s{at}.value {way}"));
                }
                SortKey::Pair(table, key) => {
                    let key = query.bind(key);
                    joins.push_str(&format!(" LEFT JOIN {table} s{at} ON s{at}.rid = r.rid AND s{at}.key = {key}"));
                    order.push(format!("CASE WHEN s{at}.rid IS NULL THEN 1 ELSE 0 END, s{at}.value {way}"));
                }
                SortKey::Column(column @ "r.end_us") => {
                    order.push(format!("CASE WHEN {column} IS NULL THEN 1 ELSE 0 END, {column} {way}"));
                }
                SortKey::Column(column) => order.push(format!("{column} {way}")),
            }
        }
        let named = |column: &str| {
            self.keys.iter().any(|(key, _)| {
                *key == SortKey::Column(match column {
                    "r.start_us" => "r.start_us",
                    _ => "r.run_id",
                })
            })
        };
        if !named("r.start_us") {
            order.push("r.start_us DESC".to_owned());
        }
        if !named("r.run_id") {
            order.push("r.run_id ASC".to_owned());
        }
        Ok((conditions.join(" AND "), joins, order.join(", ")))
    }

    /// The condition that the fewest rows match, if those are few: the query starts from them.
    fn driver(&self, tx: &mut dyn Tx) -> Result<Option<usize>, TrackingError> {
        let mut best: Option<(usize, i64)> = None;
        for (at, condition) in self.conditions.iter().enumerate() {
            let mut query = Query::new(tx.dialect());
            let Some(from) = condition.indexed(&mut query)? else { continue };
            let most = query.bind(Value::Int(FEW + 1));
            let sql = format!("SELECT COUNT(*) FROM (SELECT 1 {from} LIMIT {most}) AS few");
            let count = tx.query_one(&sql, &query.parameters)?.map(|row| row.int(0)).transpose()?.unwrap_or(0);
            if count <= FEW && best.is_none_or(|(_, fewest)| count < fewest) {
                best = Some((at, count));
            }
        }
        Ok(best.map(|(at, _)| at))
    }
}
