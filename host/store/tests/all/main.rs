//! A state directory from outside: killed writers, second writers, directories of earlier releases.

mod crash;
mod golden;
mod open;
