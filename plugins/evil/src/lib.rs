//! A component that misbehaves on command: the name of an item is the misdeed. It exports all four extension points
//! and imports the log, objects and tables.
//!
//! **Misdeeds of every point** ([`deeds`]). A transform commits them at `apply`, or where its option `at` says:
//! `start`, `update`, `partial`, `merge`, `end-pass`, `load`, `output` or `apply`. A loader commits them at `plan`, or
//! with `at` = `open` or `next`. Gates and drift tests have one call.
//!
//! | item | does |
//! |---|---|
//! | `infinite-loop` | spins without end |
//! | `memory-bomb` | allocates and touches 1 MiB at a time without end |
//! | `panic` | panics with the message `evil panic on command` |
//! | `stack-overflow` | recurses without end |
//! | `log-flood` | logs 100,000 messages of 1 KiB, then goes on as if nothing had happened |
//! | `log-huge` | logs one message of 16 MiB, then goes on |
//! | `problem` | answers the problem `evil-problem`, row 7, column `evil`, not retryable |
//! | `huge-problem` | answers a problem whose message is 64 MiB |
//!
//! **Transforms** ([`transform`]) pass their input through except for this. Those marked `text` add a utf8 column
//! `evil` (not nullable) after the input's columns.
//!
//! | item | does |
//! |---|---|
//! | `good` | nothing wrong: rows in, the same rows out |
//! | `lying-lengths`, `long-f64s` | the float64 list holds one value too few, one too many |
//! | `more-rows`, `fewer-rows` | `rows` is one more, one fewer than came in; all lists fit the lie |
//! | `huge-rows` | `rows` is 2^32 - 1, with all lists empty |
//! | `huge-return` | `evil` (text) holds 160 MiB in its first row |
//! | `bad-utf8` | `evil` (text) holds the byte 0xFF |
//! | `split-utf8` | `evil` (text) is UTF-8 as a whole, and an offset cuts a character in two |
//! | `falling-offsets` | an offset of `evil` (text) is smaller than the one before |
//! | `far-offsets` | the last offset of `evil` (text) is beyond its bytes |
//! | `short-offsets` | the offsets of `evil` (text) lack one |
//! | `short-bitmap` | the validity list is one byte, whatever the number of rows and columns |
//! | `wide-text` | `evil` (text) holds 1 KiB in every row |
//! | `nan-payload` | every float64 is a NaN with the payload 0xBADBAD and its sign set |
//! | `impure` | every float64 grows by the number of calls made so far |
//! | `wrong-schema` | `output` says one int64 column `evil`; the block is the input |
//! | `huge-name` | `output` has a column whose name is 1 MiB |
//! | `many-columns` | `output` has 100,000 columns |
//! | `most-columns` | `output` has ten million columns, their names empty |
//! | `same-names` | `output` has every column twice |
//! | `empty-name` | `output` has a column without a name |
//! | `big-state` | the fitted state is 96 MiB |
//! | `endless-passes` | every pass asks for another |
//!
//! **Loaders** ([`loader`]) have one float64 column `x` and one partition, except for this.
//!
//! | item | does |
//! |---|---|
//! | `good` | three rows in one block |
//! | `endless` | a block of one row without end |
//! | `empty-blocks` | a block of no rows without end |
//! | `too-many-rows` | a block of twice `max-rows` |
//! | `short-f64s` | the float64 list holds one value too few |
//! | `many-partitions` | 1,000,000 partitions |
//! | `huge-token` | a partition whose token is 64 MiB |
//! | `same-names` | the schema has `x` twice |
//! | `hoard-objects` | `plan` opens the source 1,000 times and closes it never |
//! | `reopen-objects` | `plan` opens the source 1,000 times and closes it each time, which is no misdeed |
//!
//! **Gates** ([`gate`])
//!
//! | item | does |
//! |---|---|
//! | `good` | one check that passes |
//! | `no-checks` | judges without a single check |
//! | `many-checks` | 1,000,000 checks that pass |
//! | `huge-text` | one check whose `observed` is 64 MiB |
//! | `hoard-tables` | opens the table `data` 1,000 times and closes it never, then passes |
//!
//! **Drift tests** ([`drift`])
//!
//! | item | does |
//! |---|---|
//! | `good` | no drift |
//! | `nan-statistic` | no drift, with NaN for every number |
//! | `odd-p-value` | no drift, with a p-value of 2 |
//! | `lying-n` | no drift, with 2^64 - 1 rows on both sides |
//! | `huge-note` | no drift, with a note of 64 MiB |

pub mod deeds;
pub mod drift;
pub mod gate;
pub mod loader;
pub mod transform;

plinth_sdk::export_transform_component!(crate::transform::Evil);
plinth_sdk::export_loader_component!(crate::loader::Evil);
plinth_sdk::export_gate_component!(crate::gate::Evil);
plinth_sdk::export_drift_component!(crate::drift::Evil);
