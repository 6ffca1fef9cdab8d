//! What spans say of a request: one for all of it, named and described by OpenTelemetry's conventions for servers of HTTP
//! and of gRPC, and below it one for each part.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags},
};
use opentelemetry_sdk::trace::{IdGenerator, SpanData, SpanEvents, SpanLinks};
use plinth_core::Code;
use plinth_serve::{Stages, Target};
use tonic::Code as Grpc;

use super::Begun;
use crate::{error::Surface, oip};

/// When the parts of a request began. The times they took are its stages; with requests that are scored together there
/// may be gaps between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    /// It was put into the queue.
    pub(crate) queued: Instant,
    /// Its body was read into columns.
    pub(crate) decoded: Instant,
    /// It went through the transforms, with its batch.
    pub(crate) scored: Instant,
    /// And through the model.
    pub(crate) inferred: Instant,
    /// Its answer was written.
    pub(crate) encoded: Instant,
}

/// A request that is over.
pub(crate) struct Happened<'a> {
    /// Who was asked, and who answered or would have; none if nobody of that name is there.
    pub(crate) asked: Option<(&'a str, &'a Target)>,
    /// As it is told in the answer.
    pub(crate) request_id: &'a str,
    /// What went wrong.
    pub(crate) failure: Option<(StatusCode, Code)>,
    pub(crate) stages: &'a Stages,
    /// None if nothing was scored.
    pub(crate) moments: Option<Moments>,
    pub(crate) total: Duration,
}

impl Drop for Begun {
    /// Who leaves before the answer lets go of the request.
    fn drop(&mut self) {
        if !self.ended {
            let (name, mut attributes) = self.head(None);
            attributes.push(KeyValue::new("plinth.request.id", self.came.request_id.to_string()));
            attributes.push(KeyValue::new("error.type", "cancelled"));
            let root = self.root_span(name, self.came.began.elapsed());
            self.spans.put(vec![SpanData { attributes, ..root }]);
        }
    }
}

impl Begun {
    /// Tells of the request.
    pub(crate) fn end(mut self, happened: &Happened<'_>) {
        self.ended = true;
        let mut spans = vec![self.whole(happened)];
        if let Some(moments) = &happened.moments {
            self.parts(happened.stages, moments, &mut spans);
        }
        self.spans.put(spans);
    }

    /// The name of the span for all of the request, and what the conventions of its protocol say of one with this status;
    /// none if there was no answer.
    fn head(&self, status: Option<StatusCode>) -> (String, Vec<KeyValue>) {
        let route = self.came.route;
        match self.came.surface {
            Surface::Grpc => {
                let code = status.map_or(Grpc::Cancelled, oip::grpc::code_of);
                let (service, method) = route.split_once('/').unwrap_or((route, ""));
                let attributes = vec![
                    KeyValue::new("rpc.system", "grpc"),
                    KeyValue::new("rpc.service", service),
                    KeyValue::new("rpc.method", method),
                    KeyValue::new("rpc.grpc.status_code", i64::from(code as i32)),
                ];
                (route.to_owned(), attributes)
            }
            Surface::Mlflow | Surface::Oip => {
                let mut attributes =
                    vec![KeyValue::new("http.request.method", "POST"), KeyValue::new("http.route", route)];
                if let Some(status) = status {
                    attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
                }
                (format!("POST {route}"), attributes)
            }
        }
    }

    fn whole(&self, happened: &Happened<'_>) -> SpanData {
        let (name, mut attributes) = self.head(Some(happened.failure.map_or(StatusCode::OK, |(status, _)| status)));
        attributes.push(KeyValue::new("plinth.request.id", happened.request_id.to_owned()));
        if let Some((endpoint, target)) = happened.asked {
            let deployment = target.deployment();
            attributes.extend([
                KeyValue::new("plinth.endpoint", endpoint.to_owned()),
                KeyValue::new("plinth.deployment", target.name().to_string()),
                KeyValue::new("plinth.model.name", deployment.model().to_string()),
                KeyValue::new("plinth.model.version", deployment.version().to_string()),
            ]);
        }
        if happened.moments.is_some() {
            attributes.push(number("plinth.rows", happened.stages.rows));
        }
        let mut status = Status::Unset;
        if let Some((answered, code)) = happened.failure {
            attributes.push(KeyValue::new("plinth.error.code", code.name()));
            let fault = match self.came.surface {
                Surface::Grpc => oip::grpc::is_fault(oip::grpc::code_of(answered)),
                Surface::Mlflow | Surface::Oip => answered.is_server_error(),
            };
            // What a caller got wrong is no error of a server's span.
            if fault {
                attributes.push(KeyValue::new("error.type", code.name()));
                status = Status::error(code.meaning());
            }
        }
        SpanData { attributes, status, ..self.root_span(name, happened.total) }
    }

    fn root_span(&self, name: String, took: Duration) -> SpanData {
        let span = self.span(self.root, self.parent.unwrap_or(SpanId::INVALID), name, self.came.began, took);
        SpanData { parent_span_is_remote: self.parent.is_some(), span_kind: SpanKind::Server, ..span }
    }

    fn parts(&self, stages: &Stages, moments: &Moments, spans: &mut Vec<SpanData>) {
        // What is left of the time in transforms is that of the one that makes the answer.
        let before = moments.inferred.saturating_duration_since(moments.scored).min(stages.transform);
        let together = || vec![number("plinth.batch.rows", stages.batch_rows)];
        let parts = [
            ("queue", moments.queued, stages.queue, Vec::new()),
            ("decode", moments.decoded, stages.decode, Vec::new()),
            ("transform", moments.scored, before, together()),
            ("inference", moments.inferred, stages.model, together()),
            ("output", moments.inferred + stages.model, stages.transform.saturating_sub(before), together()),
            ("encode", moments.encoded, stages.encode, Vec::new()),
        ];
        for (name, began, took, attributes) in parts {
            // A model without transforms has no such parts.
            if matches!(name, "transform" | "output") && took.is_zero() {
                continue;
            }
            let span = self.span(self.spans.ids.new_span_id(), self.root, name, began, took);
            spans.push(SpanData { attributes, ..span });
        }
    }

    fn span(
        &self,
        id: SpanId,
        parent: SpanId,
        name: impl Into<std::borrow::Cow<'static, str>>,
        began: Instant,
        took: Duration,
    ) -> SpanData {
        let start_time = self.at + began.saturating_duration_since(self.came.began);
        SpanData {
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, self.state.clone()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time,
            end_time: start_time + took,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.spans.scope.clone(),
        }
    }
}

fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
}
