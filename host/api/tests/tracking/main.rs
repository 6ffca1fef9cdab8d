//! The tracking server over HTTP: a real store in a temporary folder, a real listener, requests as clients send them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod artifacts;
mod audit;
mod buckets;
mod connections;
mod evaluation;
mod experiments;
mod graphql;
mod nonsense;
mod receiver;
mod registry;
mod rights;
mod runs;
mod server;
mod tls;
mod traces;
mod ui;
mod webhooks;
