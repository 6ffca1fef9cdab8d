//! Everything a user does, and everything that can go wrong, through the built binary.

mod attacks;
mod bad_input;
mod browser;
mod capacity;
mod captures;
mod cli_tracking;
mod component_models;
mod endpoints;
mod exchange;
mod explain;
mod faults;
mod languages;
mod main_job;
mod objects;
mod plugins;
mod registry;
mod requests;
mod rollouts;
mod serving;
mod serving_faults;
mod spans;
mod sql;
mod top;
mod tracking;
mod webhooks;
