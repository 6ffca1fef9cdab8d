//! Searches over traces.

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    lexer::short,
    order,
    sql::{Query, allowed},
};
use crate::{
    TraceInfo, Tracking, TrackingError,
    names::{check_length, cut},
    traces::{RUN_KEY, TRACE_COLUMNS, read},
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct TraceSearch {
    /// Experiments to look in.
    pub experiment_ids: Vec<String>,
    /// MLflow's grammar; empty for everything.
    pub filter: String,
    /// Fields to sort by, first things first; newest first if there are none.
    pub order_by: Vec<String>,
    /// Traces that come before the page.
    pub skip: u64,
    /// Traces of the page.
    pub most: u64,
}

const NAME_TAG: &str = "mlflow.traceName";
const PROMPT_TAG: &str = "mlflow.linkedPrompts";

const TEXTS: [(&str, &str); 4] = [
    ("status", "t.state"),
    ("request_id", "t.trace_id"),
    ("trace_id", "t.trace_id"),
    ("client_request_id", "t.client_request_id"),
];
const NUMBERS: [(&str, &str); 6] = [
    ("timestamp", "(t.request_us / 1000)"),
    ("timestamp_ms", "(t.request_us / 1000)"),
    ("execution_time", "(t.duration_us / 1000)"),
    ("execution_time_ms", "(t.duration_us / 1000)"),
    ("end_time", "((t.request_us + t.duration_us) / 1000)"),
    ("end_time_ms", "((t.request_us + t.duration_us) / 1000)"),
];

impl Tracking {
    /// Heads of traces that match.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read.
    pub fn search_traces(&self, search: &TraceSearch) -> Result<Page<TraceInfo>, TrackingError> {
        check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        let clauses = filter::parse(&search.filter, self.limits.filter_clauses_max)?;
        if let Some(id) = search.experiment_ids.iter().find(|id| id.parse::<i64>().is_err()) {
            let message = format!("Invalid experiment ID '{}'. Experiment ID must be a valid integer.", cut(id));
            return Err(TrackingError::Invalid(message));
        }
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let ids = query.bind_all(&search.experiment_ids);
            let mut conditions = vec![format!("t.experiment_id IN {ids}")];
            for clause in &clauses {
                conditions.push(condition(&mut query, clause)?);
            }
            let order = orders(&mut query, &search.order_by)?;
            let (most, skip) = (query.bind(search.most + 1), query.bind(search.skip));
            let sql = format!(
                "SELECT {TRACE_COLUMNS} FROM traces t WHERE {} ORDER BY {order} LIMIT {most} OFFSET {skip}",
                conditions.join(" AND ")
            );
            let page = Page::cut(tx.query(&sql, &query.parameters)?, search.skip, search.most);
            let items = page.items.iter().map(|row| read(tx, row));
            Ok(Page { items: items.collect::<Result<_, TrackingError>>()?, next: page.next })
        })
    }
}

fn condition(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    match clause.entity.as_deref() {
        None | Some("attribute" | "attributes" | "trace") => attribute(query, clause),
        Some("tag" | "tags") => pair(query, "trace_tags", &clause.key, clause),
        Some("request_metadata" | "metadata") => pair(query, "trace_metadata", &clause.key, clause),
        Some("span") => span(query, clause),
        Some(kind @ ("feedback" | "expectation")) => assessment(query, kind, clause),
        Some("issue") => {
            if clause.key != "id" || clause.op != Op::Eq {
                return Err(SyntaxError("an issue is found by `issue.id = '…'` only".into()));
            }
            let test = query.text("a.value", Op::Eq, &clause.value)?;
            Ok(format!(
                "EXISTS (SELECT 1 FROM assessments a WHERE a.trace_id = t.trace_id AND a.kind = 'issue' AND {test})"
            ))
        }
        Some(other) => Err(SyntaxError(format!(
            "Invalid entity type '{}'. Valid values are ['attribute', 'expectation', 'feedback', 'issue', \
             'request_metadata', 'span', 'tag']",
            short(other)
        ))),
    }
}

fn attribute(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    if let Some((_, column)) = NUMBERS.iter().find(|(name, _)| *name == clause.key) {
        allowed(clause.op, Op::NUMERIC)?;
        return query.number(column, clause);
    }
    match clause.key.as_str() {
        "name" => return pair(query, "trace_tags", NAME_TAG, clause),
        "run_id" => return pair(query, "trace_metadata", RUN_KEY, clause),
        "prompt" => {
            // `prompt = 'name/version'`: the tag lists what was used.
            let Literal::Text(text) = &clause.value else {
                return Err(SyntaxError("a prompt is written 'name/version'".into()));
            };
            let parts = text.split_once('/').filter(|_| clause.op == Op::Eq);
            let (name, version) =
                parts.ok_or_else(|| SyntaxError("a prompt is found by `prompt = 'name/version'`".into()))?;
            let pattern = format!("%\"name\": \"{name}\", \"version\": \"{version}\"%");
            let key = query.bind(PROMPT_TAG);
            let test = query.text("p.value", Op::Like, &Literal::Text(pattern))?;
            return Ok(format!(
                "EXISTS (SELECT 1 FROM trace_tags p WHERE p.trace_id = t.trace_id AND p.key = {key} AND {test})"
            ));
        }
        "text" => {
            let test = query.text("s.content", clause.op, &clause.value)?;
            return Ok(format!("EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id AND {test})"));
        }
        _ => {}
    }
    let found = TEXTS.iter().find(|(name, _)| *name == clause.key);
    let (_, column) = found.ok_or_else(|| {
        let known: Vec<&str> = TEXTS.iter().chain(&NUMBERS).map(|(name, _)| *name).collect();
        SyntaxError(format!("Invalid attribute key '{}' specified. Valid keys are '{known:?}'", short(&clause.key)))
    })?;
    allowed(clause.op, Op::TRACE_TEXT)?;
    query.text(column, clause.op, &clause.value)
}

fn pair(query: &mut Query, table: &str, key: &str, clause: &Clause) -> Result<String, SyntaxError> {
    allowed(clause.op, Op::TRACE_PAIR)?;
    let key = query.bind(key);
    let (not, test) = match clause.op {
        Op::IsNull => ("NOT ", String::new()),
        Op::IsNotNull => ("", String::new()),
        op => ("", format!(" AND {}", query.text("p.value", op, &clause.value)?)),
    };
    Ok(format!("{not}EXISTS (SELECT 1 FROM {table} p WHERE p.trace_id = t.trace_id AND p.key = {key}{test})"))
}

fn span(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    let test = match clause.key.as_str() {
        "name" | "type" | "status" => {
            allowed(clause.op, Op::TRACE_TEXT)?;
            let column = match clause.key.as_str() {
                "name" => "s.name",
                "type" => "s.kind",
                _ => "s.status",
            };
            query.text(column, clause.op, &clause.value)?
        }
        "content" => {
            allowed(clause.op, &[Op::Like, Op::ILike])?;
            query.text("s.content", clause.op, &clause.value)?
        }
        key => {
            let Some(name) = key.strip_prefix("attributes.") else {
                return Err(SyntaxError(format!(
                    "Invalid span attribute '{}'. Supported attributes: name, status, type, content, attributes.<key>",
                    short(key)
                )));
            };
            allowed(clause.op, Op::TRACE_TEXT)?;
            let kind = if clause.op == Op::ILike { Op::ILike } else { Op::Like };
            let Literal::Text(text) = &clause.value else {
                return Err(SyntaxError("a span's attribute is compared with a text".into()));
            };
            // Within the JSON of the span, an attribute's value follows its key at once.
            let pattern = format!("%\"{name}\",\"value\":{{\"string_value\":\"{text}\"%");
            query.text("s.content", kind, &Literal::Text(pattern))?
        }
    };
    Ok(format!("EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id AND {test})"))
}

fn assessment(query: &mut Query, kind: &str, clause: &Clause) -> Result<String, SyntaxError> {
    allowed(clause.op, Op::ASSESSMENT)?;
    let (kind, name) = (query.bind(kind), query.bind(&clause.key));
    let base = format!("FROM assessments a WHERE a.trace_id = t.trace_id AND a.kind = {kind} AND a.name = {name}");
    if matches!(clause.op, Op::IsNull | Op::IsNotNull) {
        let not = if clause.op == Op::IsNull { "NOT " } else { "" };
        return Ok(format!("{not}EXISTS (SELECT 1 {base})"));
    }
    // Values are kept as JSON; a text is compared with what stands in its quotes.
    let value = "(CASE WHEN a.value LIKE '\"%' THEN SUBSTR(a.value, 2, LENGTH(a.value) - 2) ELSE a.value END)";
    let test = match &clause.value {
        Literal::Number(number) => {
            let bound = query.bind(super::sql::real(number)?);
            let sign = if clause.op == Op::Ne { "<>" } else { clause.op.name() };
            format!("CAST({value} AS DOUBLE PRECISION) {sign} {bound}")
        }
        other => query.text(value, clause.op, other)?,
    };
    Ok(format!("EXISTS (SELECT 1 {base} AND {test})"))
}

fn orders(query: &mut Query, fields: &[String]) -> Result<String, SyntaxError> {
    let mut order = Vec::new();
    for text in fields {
        let field = order::parse(text)?;
        let way = if field.ascending { "ASC" } else { "DESC" };
        let of_pair = |query: &mut Query, table: &str, key: &str| {
            let key = query.bind(key);
            format!("(SELECT p.value FROM {table} p WHERE p.trace_id = t.trace_id AND p.key = {key})")
        };
        let value = match (field.entity.as_deref(), field.key.as_str()) {
            (None | Some("attribute" | "attributes" | "trace"), "name") => of_pair(query, "trace_tags", NAME_TAG),
            (None | Some("attribute" | "attributes" | "trace"), "run_id") => of_pair(query, "trace_metadata", RUN_KEY),
            (None | Some("attribute" | "attributes" | "trace"), "experiment_id") => "t.experiment_id".to_owned(),
            (None | Some("attribute" | "attributes" | "trace"), key) => {
                let found = NUMBERS.iter().chain(&TEXTS).find(|(name, _)| *name == key);
                let (_, column) =
                    found.ok_or_else(|| SyntaxError(format!("Invalid attribute key '{}' specified.", short(key))))?;
                (*column).to_owned()
            }
            (Some("tag" | "tags"), key) => of_pair(query, "trace_tags", key),
            (Some("request_metadata" | "metadata"), key) => of_pair(query, "trace_metadata", key),
            (Some(other), _) => return Err(SyntaxError(format!("Invalid entity type '{}'.", short(other)))),
        };
        order.push(format!("CASE WHEN {value} IS NULL THEN 1 ELSE 0 END, {value} {way}"));
    }
    if order.is_empty() {
        order.push("t.request_us DESC".to_owned());
    }
    order.push("t.trace_id ASC".to_owned());
    Ok(order.join(", "))
}
