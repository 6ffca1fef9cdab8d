//! `plinth trace`: what applications did, step by step.

use std::{collections::BTreeMap, process::ExitCode};

use plinth_core::Micros;
use plinth_tracking::{Assessment, Page, Span, TraceInfo, TraceSearch, Tracking, TrackingError, View};
use serde_json::{Value, json};

use super::{
    args::{SearchArgs, TraceCommand},
    names, page, print, show,
};
use crate::{
    host::Host,
    models::day,
    output::{Failure, Output, table},
};

/// The tag that names a trace.
const NAME_TAG: &str = "mlflow.traceName";
/// Spans below spans that are shown; what is deeper is shown at this depth.
const DEPTH_MAX: usize = 40;

/// `plinth trace`
pub(crate) fn trace(command: &TraceCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    match command {
        TraceCommand::List { experiment, limit } => {
            let experiment_ids = names::experiment_ids(tracking, experiment, View::Active)?;
            let search = TraceSearch { experiment_ids, most: u64::from(*limit), ..TraceSearch::default() };
            let found = tracking.search_traces(&search)?;
            page::cut(output, found.next.is_some(), "plinth trace search");
            print(output, &found.items.iter().map(json_of).collect(), || listing(&found))
        }
        TraceCommand::Search { search: SearchArgs { filter, order_by, page }, experiment } => {
            let search = TraceSearch {
                experiment_ids: names::experiment_ids(tracking, experiment, View::Active)?,
                filter: filter.clone(),
                order_by: order_by.clone(),
                skip: page::skip(page)?,
                most: u64::from(page.limit),
            };
            let found = tracking.search_traces(&search)?;
            let value = page::json("traces", found.items.iter().map(json_of), found.next);
            let code = print(output, &value, || listing(&found))?;
            page::more(output, found.next);
            Ok(code)
        }
        TraceCommand::Show { trace } => {
            let info = tracking.trace(trace).map_err(|error| unknown(tracking, trace, error))?;
            let spans = tracking.spans(trace)?;
            let mut value = json_of(&info);
            value["spans"] = spans.iter().map(span_json).collect();
            print(output, &value, || describe(&info, &spans))
        }
    }
}

/// A wrong id with what it may have meant.
fn unknown(tracking: &Tracking, word: &str, error: TrackingError) -> Failure {
    let failure = Failure::from(error);
    let recent = names::experiment_ids(tracking, &[], View::Active).and_then(|experiment_ids| {
        Ok(tracking.search_traces(&TraceSearch { experiment_ids, most: 1_000, ..TraceSearch::default() })?.items)
    });
    let ids: Vec<String> = recent.unwrap_or_default().into_iter().map(|trace| trace.trace_id).collect();
    // The start of an id is a slip of another kind than the one that letters make.
    let started: Vec<&String> = ids.iter().filter(|id| id.starts_with(word)).collect();
    match &started[..] {
        [one] => failure.hint(format!("did you mean `{one}`?")),
        _ => failure.hint(names::suggest(word, &ids, "plinth trace list")),
    }
}

fn json_of(trace: &TraceInfo) -> Value {
    json!({
        "trace_id": trace.trace_id,
        "experiment_id": trace.experiment_id,
        "name": name(trace),
        "state": trace.state,
        "request_time": trace.request,
        "duration": trace.duration,
        "client_request_id": trace.client_request_id,
        "request_preview": trace.request_preview,
        "response_preview": trace.response_preview,
        "metadata": show::tags(&trace.metadata),
        "tags": show::tags(&trace.tags),
        "assessments": trace.assessments.iter().map(assessment_json).collect::<Value>(),
    })
}

fn assessment_json(said: &Assessment) -> Value {
    json!({
        "assessment_id": said.assessment_id,
        "name": said.name,
        "kind": said.kind,
        "value": serde_json::from_str::<Value>(&said.value).unwrap_or_else(|_| json!(said.value)),
        "source_type": said.source_type,
        "source_id": said.source_id,
        "rationale": said.rationale,
        "span_id": said.span_id,
        "valid": said.valid,
        "created": said.created,
        "updated": said.updated,
    })
}

fn span_json(span: &Span) -> Value {
    json!({
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "status": span.status,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "content": serde_json::from_str::<Value>(&span.content).unwrap_or_else(|_| json!(span.content)),
    })
}

fn name(trace: &TraceInfo) -> Option<&String> {
    trace.tags.iter().find(|(key, _)| key == NAME_TAG).map(|(_, value)| value)
}

fn duration(micros: Option<Micros>) -> String {
    micros.map_or_else(|| "-".to_owned(), show::span)
}

fn listing(found: &Page<TraceInfo>) -> String {
    if found.items.is_empty() {
        return "no trace matches\n".into();
    }
    let rows = found.items.iter().map(|trace| {
        vec![
            trace.trace_id.clone(),
            name(trace).cloned().unwrap_or_default(),
            trace.state.to_lowercase(),
            day(trace.request),
            duration(trace.duration),
            show::head(trace.request_preview.as_deref().unwrap_or_default(), 60),
        ]
    });
    table(["trace", "name", "state", "when", "took", "request"], rows)
}

fn describe(trace: &TraceInfo, spans: &[Span]) -> String {
    let mut text = format!(
        "trace {}\n  {}, {}, {}, took {}\n  experiment {}\n",
        trace.trace_id,
        name(trace).map_or("no name", String::as_str),
        trace.state.to_lowercase(),
        day(trace.request),
        duration(trace.duration),
        trace.experiment_id,
    );
    for (title, preview) in [("request", &trace.request_preview), ("response", &trace.response_preview)] {
        text.push_str(&show::part(title, preview.as_deref().map(|preview| show::head(preview, 300))));
    }
    text.push_str(&show::part("tags", show::own_tags(trace.tags.iter().map(|(key, value)| (key, value)))));
    let said = trace.assessments.iter().map(|said| {
        let by = said.source_id.as_deref().unwrap_or(&said.source_type);
        format!("{} {} by {by}", said.name, show::head(&said.value, 100))
    });
    text.push_str(&show::part("assessments", said));
    text.push_str(&show::part("spans", tree(spans)));
    text
}

/// Spans below the spans that they are parts of, in the order in which they started.
fn tree(spans: &[Span]) -> Vec<String> {
    let mut children: BTreeMap<Option<&str>, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        // One whose parent is not there stands by itself.
        let parent = span.parent_id.as_deref().filter(|parent| spans.iter().any(|other| other.span_id == **parent));
        children.entry(parent).or_default().push(span);
    }
    children.values_mut().for_each(|list| list.sort_by_key(|span| std::cmp::Reverse(span.start_ns)));
    let mut lines = Vec::new();
    // Every span is taken out once, so that spans in a circle end nothing worse than unseen.
    let mut open: Vec<(&Span, usize)> =
        children.remove(&None).unwrap_or_default().into_iter().map(|span| (span, 0)).collect();
    while let Some((span, depth)) = open.pop() {
        let took = span.end_ns.map(|end| (end - span.start_ns) / 1_000);
        let kind =
            span.kind.as_deref().filter(|kind| *kind != "UNKNOWN").map(|kind| format!(" [{kind}]")).unwrap_or_default();
        let state = if span.status == "ERROR" { " ERROR" } else { "" };
        let indent = "  ".repeat(depth.min(DEPTH_MAX));
        lines.push(format!("{indent}{}{kind} {}{state}", span.name, duration(took)));
        let below = children.remove(&Some(span.span_id.as_str())).unwrap_or_default();
        open.extend(below.into_iter().map(|span| (span, depth + 1)));
    }
    lines
}
