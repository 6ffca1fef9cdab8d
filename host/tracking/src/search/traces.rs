//! Searches over traces.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    lexer::short,
    order,
    sql::{Query, allowed},
};
use crate::{
    TraceInfo, Tracking, TrackingError,
    json::{ascii, spaced},
    names::{check_length, cut},
    traces::{NAME_TAG, RUN_KEY, SESSION_KEY, TRACE_COLUMNS, read},
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

const TEXTS: [(&str, &str); 3] =
    [("status", "t.state"), ("request_id", "t.trace_id"), ("client_request_id", "t.client_request_id")];
const TIME: &str = "(t.request_us / 1000)";
const DURATION: &str = "(t.duration_us / 1000)";
const END: &str = "((t.request_us + COALESCE(t.duration_us, 0)) / 1000)";
const NUMBERS: [(&str, &str); 6] = [
    ("timestamp", TIME),
    ("timestamp_ms", TIME),
    ("execution_time", DURATION),
    ("execution_time_ms", DURATION),
    ("end_time", END),
    ("end_time_ms", END),
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
            let conditions = conditions(&mut query, &search.experiment_ids, &clauses)?;
            let order = orders(&mut query, &search.order_by)?;
            let (most, skip) = (query.bind(search.most + 1), query.bind(search.skip));
            let sql = format!(
                "SELECT {TRACE_COLUMNS} FROM traces t WHERE {conditions} ORDER BY {order} LIMIT {most} OFFSET {skip}"
            );
            let page = Page::cut(tx.query(&sql, &query.parameters)?, search.skip, search.most);
            let items = page.items.iter().map(|row| read(tx, row));
            Ok(Page { items: items.collect::<Result<_, TrackingError>>()?, next: page.next })
        })
    }

    /// How many traces of some experiments match every one of some filters.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if a filter does not read.
    pub fn count_traces(&self, experiment_ids: &[String], filters: &[&str]) -> Result<u64, TrackingError> {
        let mut clauses = Vec::new();
        for filter in filters {
            check_length(filter, self.limits.filter_chars_max, || "filter".into())?;
            clauses.extend(filter::parse(filter, self.limits.filter_clauses_max)?);
        }
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let conditions = conditions(&mut query, experiment_ids, &clauses)?;
            let sql = format!("SELECT COUNT(*) FROM traces t WHERE {conditions}");
            let row = tx.query_one(&sql, &query.parameters)?;
            Ok(row.map(|row| row.int(0)).transpose()?.unwrap_or(0) as u64)
        })
    }
}

/// All conditions of a search, joined.
fn conditions(query: &mut Query, experiment_ids: &[String], clauses: &[Clause]) -> Result<String, SyntaxError> {
    let ids = query.bind_all(experiment_ids);
    let mut conditions = vec![format!("t.experiment_id IN {ids}")];
    // What is asked of spans is asked of one and the same.
    let mut spans = Vec::new();
    for clause in clauses {
        match clause.entity.as_deref() {
            None | Some("attribute" | "attributes" | "trace") if clause.key == "text" => {
                let clause = Clause { key: "content".to_owned(), ..clause.clone() };
                spans.push(span(query, &clause)?);
            }
            Some("span") => spans.push(span(query, clause)?),
            _ => conditions.push(condition(query, &ids, clause)?),
        }
    }
    if !spans.is_empty() {
        let spans = spans.join(" AND ");
        conditions.push(format!("EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id AND {spans})"));
    }
    Ok(conditions.join(" AND "))
}

fn condition(query: &mut Query, ids: &str, clause: &Clause) -> Result<String, SyntaxError> {
    match clause.entity.as_deref() {
        None | Some("attribute" | "attributes" | "trace") => attribute(query, clause),
        Some("tag" | "tags") if clause.key == "mlflow.linkedPrompts" => prompt(query, clause),
        Some("tag" | "tags") => pair(query, "trace_tags", &clause.key, clause),
        Some("request_metadata" | "metadata") => match clause.key.as_str() {
            RUN_KEY => run(query, clause),
            key => pair(query, "trace_metadata", key, clause),
        },
        Some(kind @ ("feedback" | "expectation")) => assessment(query, ids, kind, clause),
        Some("issue") => {
            if clause.key != "id" {
                let key = short(&clause.key);
                return Err(SyntaxError(format!("Invalid issue attribute '{key}'. Supported attributes: id")));
            }
            allowed(clause.op, &[Op::Eq])?;
            let test = query.text("a.name", Op::Eq, &clause.value)?;
            Ok(format!(
                "EXISTS (SELECT 1 FROM assessments a WHERE a.trace_id = t.trace_id AND a.kind = 'issue' AND {test})"
            ))
        }
        Some(other) => Err(SyntaxError(format!(
            "Invalid entity type '{}'. Valid values are {{'attribute', 'attributes', 'trace', 'tag', 'tags', \
             'request_metadata', 'metadata', 'span', 'feedback', 'expectation', 'issue'}}",
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
        "run_id" => return run(query, clause),
        "prompt" => return prompt(query, clause),
        _ => {}
    }
    let found = TEXTS.iter().find(|(name, _)| *name == clause.key);
    let (_, column) = found.ok_or_else(|| {
        let known: Vec<&str> = TEXTS.iter().chain(&NUMBERS).map(|(name, _)| *name).collect();
        SyntaxError(format!(
            "Invalid attribute key '{}' specified. Valid keys are '{{{}, name, run_id, prompt, text}}'",
            short(&clause.key),
            known.join(", ")
        ))
    })?;
    allowed(clause.op, Op::TRACE_TEXT)?;
    query.text(column, clause.op, &clause.value)
}

/// A run that a trace was made in or was linked to.
fn run(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    let noted = pair(query, "trace_metadata", RUN_KEY, clause)?;
    if clause.op != Op::Eq {
        return Ok(noted);
    }
    let test = query.text("r.run_id", Op::Eq, &clause.value)?;
    Ok(format!("({noted} OR EXISTS (SELECT 1 FROM trace_runs r WHERE r.trace_id = t.trace_id AND {test}))"))
}

/// `prompt = 'NAME/VERSION'`
fn prompt(query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
    if clause.op != Op::Eq {
        return Err(SyntaxError(format!(
            "Invalid comparator '{}' for prompts filter. Only '=' is supported with format: prompt = \"name/version\"",
            clause.op.name()
        )));
    }
    match &clause.value {
        Literal::Text(text) if text.matches('/').count() != 1 => Err(SyntaxError(format!(
            "Invalid prompts filter value '{}'. Expected format: prompt = \"name/version\"",
            short(text)
        ))),
        value => {
            let test = query.text("p.prompt", Op::Eq, value)?;
            Ok(format!("EXISTS (SELECT 1 FROM trace_prompts p WHERE p.trace_id = t.trace_id AND {test})"))
        }
    }
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
    match clause.key.as_str() {
        "name" | "type" | "status" => {
            allowed(clause.op, Op::TRACE_TEXT)?;
            let column = match clause.key.as_str() {
                "name" => "s.name",
                "type" => "s.kind",
                _ => "s.status",
            };
            query.text(column, clause.op, &clause.value)
        }
        "content" => {
            allowed(clause.op, &[Op::Like, Op::ILike])?;
            query.text("s.content", clause.op, &clause.value)
        }
        key => {
            let Some(name) = key.strip_prefix("attributes.").filter(|name| !name.is_empty()) else {
                return Err(SyntaxError(format!(
                    "Invalid span attribute '{}'. Supported attributes: name, status, type, attributes.<attribute_name>.",
                    short(key)
                )));
            };
            allowed(clause.op, Op::TRACE_TEXT)?;
            span_attribute(query, name.trim_matches('`'), clause)
        }
    }
}

/// Within the JSON of a span, an attribute's value follows its key at once; it is JSON in a text.
fn span_attribute(query: &mut Query, name: &str, clause: &Clause) -> Result<String, SyntaxError> {
    let exact = |text: &str| {
        let value = spaced(&Json::String(spaced(&Json::from(text))));
        Literal::Text(format!("%\"{name}\": {value}%"))
    };
    match (clause.op, &clause.value) {
        (Op::Like | Op::ILike, Literal::Text(text)) => {
            query.text("s.content", clause.op, &Literal::Text(format!("%\"{name}\"{text}%")))
        }
        (Op::RLike, Literal::Text(text)) => {
            let (start, rest) = match text.strip_prefix('^') {
                Some(rest) => ("\"\\\\\"", rest),
                None => ("\"\\\\\".*", text.as_str()),
            };
            let (rest, end) = match rest.strip_suffix('$') {
                Some(rest) => (rest, "\\\\\""),
                None => (rest, ""),
            };
            query.text("s.content", Op::RLike, &Literal::Text(format!("\"{name}\": {start}{rest}{end}")))
        }
        (Op::Eq, Literal::Text(text)) => query.text("s.content", Op::Like, &exact(text)),
        (Op::Ne, Literal::Text(text)) => {
            let there = query.text("s.content", Op::Like, &Literal::Text(format!("%\"{name}\": %")))?;
            let same = query.text("s.content", Op::Like, &exact(text))?;
            Ok(format!("({there} AND NOT {same})"))
        }
        (Op::In | Op::NotIn, Literal::List(list)) => {
            let there = query.text("s.content", Op::Like, &Literal::Text(format!("%\"{name}\": %")))?;
            let any: Result<Vec<String>, _> =
                list.iter().map(|text| query.text("s.content", Op::Like, &exact(text))).collect();
            let not = if clause.op == Op::In { "" } else { "NOT " };
            Ok(format!("({there} AND {not}({}))", any?.join(" OR ")))
        }
        (op, value) => query.text("s.content", op, value),
    }
}

/// What was said of a trace, or of the conversation that it is a part of.
fn assessment(query: &mut Query, ids: &str, kind: &str, clause: &Clause) -> Result<String, SyntaxError> {
    allowed(clause.op, Op::ASSESSMENT)?;
    let (kind, name) = (query.bind(kind), query.bind(&clause.key));
    let compared = matches!(clause.op, Op::Lt | Op::Le | Op::Gt | Op::Ge);
    let test = match (clause.op, &clause.value) {
        (Op::IsNull | Op::IsNotNull, _) => String::new(),
        (op, Literal::Number(number)) if compared => {
            let number = query.bind(super::sql::real(number)?);
            format!(" AND a.number {} {number}", op.name())
        }
        (_, Literal::Text(text)) if compared => {
            return Err(SyntaxError(format!(
                "Expected a numeric value for feedback or expectation when using comparator '{}'. Got value '{}'",
                clause.op.name(),
                short(text)
            )));
        }
        // A text is found by what it says and by its JSON, anything else by its JSON.
        (op @ (Op::Eq | Op::Ne), Literal::Text(text)) => {
            let (plain, quoted) = (query.bind(text), query.bind(ascii(&Json::from(text.as_str()))));
            let not = if op == Op::Eq { "" } else { "NOT " };
            format!(" AND {not}(a.value = {plain} OR a.value = {quoted})")
        }
        (op, value) => format!(" AND {}", query.text("a.value", op, value)?),
    };
    let is = format!("a.kind = {kind} AND a.name = {name} AND a.valid = 1{test}");
    let session = query.bind(SESSION_KEY);
    let found = format!(
        "(EXISTS (SELECT 1 FROM assessments a WHERE a.trace_id = t.trace_id AND {is})
          OR EXISTS (SELECT 1 FROM trace_metadata own
            JOIN trace_metadata other ON other.key = own.key AND other.value = own.value
            JOIN traces o ON o.trace_id = other.trace_id AND o.experiment_id IN {ids}
            JOIN assessments a ON a.trace_id = o.trace_id
            WHERE own.trace_id = t.trace_id AND own.key = {session}
                AND a.metadata LIKE '%\"mlflow.trace.session\":%' AND {is}))"
    );
    Ok(if clause.op == Op::IsNull { format!("NOT {found}") } else { found })
}

/// A column for itself, a tag or a metadatum by its name.
fn field_value_key(field: &order::Order, value: &str) -> String {
    match value.starts_with("(SELECT") {
        true => format!("{}.{}", field.entity.as_deref().unwrap_or_default(), field.key),
        false => value.to_owned(),
    }
}

fn orders(query: &mut Query, fields: &[String]) -> Result<String, SyntaxError> {
    let mut order = Vec::new();
    let mut seen = HashSet::new();
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
            (None | Some("attribute" | "attributes" | "trace"), "experiment_id") => {
                "CAST(t.experiment_id AS BIGINT)".to_owned()
            }
            (None | Some("attribute" | "attributes" | "trace"), key) => {
                let found = NUMBERS.iter().chain(&TEXTS[..2]).find(|(name, _)| *name == key);
                let (_, column) =
                    found.ok_or_else(|| SyntaxError(format!("Invalid attribute key '{}' specified.", short(key))))?;
                (*column).to_owned()
            }
            (Some("tag" | "tags"), key) => of_pair(query, "trace_tags", key),
            (Some("request_metadata" | "metadata"), key) => of_pair(query, "trace_metadata", key),
            (Some(other), _) => return Err(SyntaxError(format!("Invalid entity type '{}'.", short(other)))),
        };
        let twice = format!("`order_by` contains duplicate fields: '{}'", short(text));
        if !seen.insert(field_value_key(&field, &value)) {
            return Err(SyntaxError(twice));
        }
        order.push(format!("CASE WHEN {value} IS NULL THEN 1 ELSE 0 END, {value} {way}"));
    }
    for (name, column, way) in [("timestamp", TIME, "DESC"), ("request_id", "t.trace_id", "ASC")] {
        if !seen.contains(column) {
            order.push(format!("{} {way}", if name == "timestamp" { "t.request_us" } else { column }));
        }
    }
    Ok(order.join(", "))
}
