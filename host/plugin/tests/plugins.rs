//! The first-party components behind the extension traits, and the one that misbehaves on command.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "plugins/bombs.rs"]
mod bombs;
#[path = "plugins/common.rs"]
mod common;
#[path = "plugins/evil.rs"]
mod evil;
#[path = "plugins/evil_imports.rs"]
mod evil_imports;
#[path = "plugins/first_party.rs"]
mod first_party;
#[path = "plugins/in_blocks.rs"]
mod in_blocks;
#[path = "plugins/load.rs"]
mod load;
#[path = "plugins/logged.rs"]
mod logged;
#[path = "plugins/predict.rs"]
mod predict;
#[path = "plugins/returns.rs"]
mod returns;
#[path = "plugins/since_v0_1.rs"]
mod since_v0_1;
