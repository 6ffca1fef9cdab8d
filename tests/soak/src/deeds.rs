//! Every misdeed, and how it must end: by the name of its item, as the components' own pages describe them.

/// Where a misdeed is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `load` and `apply` of a transform.
    Apply,
    /// A fit of a transform, to its end.
    Fit,
    /// `plan` of a loader, and reading what it planned.
    Read,
    /// A gate.
    Judge,
    /// A drift test.
    Compare,
    /// `load` and `predict` of a model.
    Predict,
}

impl Way {
    /// One word for a table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Fit => "fit",
            Self::Read => "read",
            Self::Judge => "judge",
            Self::Compare => "compare",
            Self::Predict => "predict",
        }
    }

    /// The calls of it at which the common misdeeds can be committed, by the option `at`; the first is where they are
    /// without it.
    pub(crate) const fn places(self) -> &'static [&'static str] {
        match self {
            Self::Apply => &["apply", "load", "output"],
            Self::Fit => &["start", "update", "partial", "merge", "end-pass"],
            Self::Read => &["plan", "open", "next"],
            Self::Predict => &["predict", "load", "output"],
            Self::Judge | Self::Compare => &[""],
        }
    }
}

/// One misdeed.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    /// Which component.
    pub(crate) guest: usize,
    pub(crate) way: Way,
    /// At which call, where it can be chosen.
    pub(crate) at: &'static str,
    pub(crate) item: String,
    /// The codes in which it may end; `ok` where the host goes on. Several only where two limits race.
    pub(crate) ends: &'static [&'static str],
}

const OK: &[&str] = &["ok"];
const DEADLINE: &[&str] = &["plugin-deadline"];
const MEMORY: &[&str] = &["plugin-memory"];
/// A runtime that collects garbage between its growths may be out of time before it is out of memory.
const GROWTH: &[&str] = &["plugin-memory", "plugin-deadline"];
const TRAP: &[&str] = &["plugin-trap"];
const STACK: &[&str] = &["plugin-stack"];
const OUTPUT: &[&str] = &["plugin-output"];
const PROBLEM: &[&str] = &["plugin-problem"];
const LIMIT: &[&str] = &["limit-exceeded"];
/// A loop of host calls ends by its rate or by the clock, whichever is first on this machine.
const LOOP: &[&str] = &["limit-exceeded", "plugin-deadline"];
/// A loop with an end, which a fast machine reaches.
const LONG: &[&str] = &["ok", "limit-exceeded", "plugin-deadline"];
/// Many calls that are each allowed: on a busy machine they do not all fit into the time of one call.
const FLOOD: &[&str] = &["ok", "plugin-deadline"];
/// Keys are shared: what is stored depends on who came before.
const SHARED: &[&str] = &["ok", "plugin-problem"];

/// The misdeeds of every extension point, which can be committed at any call.
const EVERYWHERE: [(&str, &[&str]); 8] = [
    ("infinite-loop", DEADLINE),
    ("memory-bomb", MEMORY),
    ("panic", TRAP),
    ("stack-overflow", STACK),
    ("log-flood", FLOOD),
    ("log-huge", OK),
    ("problem", PROBLEM),
    ("huge-problem", OUTPUT),
];

/// How an item of a component ends; none for an item that is not known, which a run refuses to begin with.
pub(crate) fn ends(guest: &str, way: Way, at: &str, item: &str) -> Option<&'static [&'static str]> {
    let known = |list: &[(&str, &'static [&'static str])]| list.iter().find(|(name, _)| *name == item).map(|(_, e)| *e);
    if let Some(ends) = known(&EVERYWHERE) {
        return Some(match (at, item) {
            // `output` answers no problem: it gives a schema without columns, which then does not fit the rows.
            ("output", "problem") => OUTPUT,
            // Calls that return rows may return more than 64 MiB; the message is cut for whoever reads it.
            ("apply" | "predict" | "next", "huge-problem") => PROBLEM,
            _ => ends,
        });
    }
    match (guest, way) {
        ("evil-imports", Way::Judge) => known(&OF_IMPORTS).or(Some(OK)),
        ("evil-imports", Way::Read) => known(&OF_SOURCES),
        (_, Way::Apply) => known(&OF_TRANSFORMS),
        (_, Way::Fit) => known(&OF_FITS).or_else(|| known(&OF_TRANSFORMS).and(Some(OK))),
        (_, Way::Read) => known(&OF_LOADERS),
        (_, Way::Judge) => known(&OF_GATES),
        (_, Way::Compare) => known(&OF_TESTS),
        (_, Way::Predict) => known(&OF_MODELS),
    }
}

/// The misdeeds of a gate that takes them by its option `deed`: one for each language, as its own toolchain makes it.
pub(crate) const BY_OPTION: (&str, [(&str, &[&str]); 6]) = (
    "misdeeds",
    [("good", OK), ("loop", DEADLINE), ("bomb", GROWTH), ("flood", FLOOD), ("lie", OUTPUT), ("crash", TRAP)],
);

/// Whether an item can be committed at every place of its way.
pub(crate) fn anywhere(item: &str) -> bool {
    EVERYWHERE.iter().any(|(name, _)| *name == item)
}

const OF_TRANSFORMS: [(&str, &[&str]); 24] = [
    ("good", OK),
    ("lying-lengths", OUTPUT),
    ("long-f64s", OUTPUT),
    ("more-rows", OUTPUT),
    ("fewer-rows", OUTPUT),
    ("huge-rows", OUTPUT),
    // The buffer grows by doubling, past the memory of one instance.
    ("huge-return", MEMORY),
    ("bad-utf8", OUTPUT),
    ("split-utf8", OUTPUT),
    ("falling-offsets", OUTPUT),
    ("far-offsets", OUTPUT),
    ("short-offsets", OUTPUT),
    ("short-bitmap", OUTPUT),
    ("wide-text", OK),
    ("nan-payload", OK),
    ("impure", OK),
    ("wrong-schema", OUTPUT),
    ("huge-name", OUTPUT),
    ("many-columns", OUTPUT),
    ("most-columns", GROWTH),
    ("same-names", OUTPUT),
    ("empty-name", OUTPUT),
    ("big-state", OK),
    ("endless-passes", OK),
];
const OF_FITS: [(&str, &[&str]); 2] = [("big-state", OUTPUT), ("endless-passes", OUTPUT)];
const OF_LOADERS: [(&str, &[&str]); 10] = [
    ("good", OK),
    ("endless", OK),
    ("empty-blocks", OUTPUT),
    ("too-many-rows", OUTPUT),
    ("short-f64s", OUTPUT),
    ("many-partitions", OUTPUT),
    ("huge-token", OUTPUT),
    ("same-names", OUTPUT),
    ("hoard-objects", LIMIT),
    ("reopen-objects", OK),
];
const OF_GATES: [(&str, &[&str]); 5] =
    [("good", OK), ("no-checks", OUTPUT), ("many-checks", OUTPUT), ("huge-text", OUTPUT), ("hoard-tables", LIMIT)];
const OF_TESTS: [(&str, &[&str]); 5] =
    [("good", OK), ("nan-statistic", OUTPUT), ("odd-p-value", OUTPUT), ("lying-n", OUTPUT), ("huge-note", OUTPUT)];
const OF_MODELS: [(&str, &[&str]); 17] = [
    ("good", OK),
    ("more-rows", OUTPUT),
    ("fewer-rows", OUTPUT),
    ("huge-rows", OUTPUT),
    ("no-rows", OUTPUT),
    ("short-f64s", OUTPUT),
    ("long-f64s", OUTPUT),
    ("input-back", OUTPUT),
    ("short-bitmap", OUTPUT),
    ("long-bitmap", OUTPUT),
    ("bad-utf8", OUTPUT),
    ("falling-offsets", OUTPUT),
    ("nan-payload", OK),
    ("no-output", OUTPUT),
    ("same-names", OUTPUT),
    ("many-columns", OUTPUT),
    ("huge-name", OUTPUT),
];
const OF_SOURCES: [(&str, &[&str]); 5] = [
    ("object-far-reads", OK),
    ("object-others", OK),
    ("object-after-drop", OUTPUT),
    ("objects-reopened", LONG),
    ("objects-listed", OK),
];
/// Those that the host does not simply answer.
const OF_IMPORTS: [(&str, &[&str]); 28] = [
    ("config-flood", FLOOD),
    ("clock-flood", FLOOD),
    ("config-huge-key", OUTPUT),
    ("config-endless", LOOP),
    ("kv-odd-keys", SHARED),
    ("kv-bad-keys", OUTPUT),
    ("kv-fill", PROBLEM),
    ("kv-key-flood", PROBLEM),
    ("kv-long-prefix", OUTPUT),
    ("http-flood", PROBLEM),
    ("http-endless", LOOP),
    ("nn-huge-inputs", OUTPUT),
    ("nn-hoard", LIMIT),
    ("nn-endless", LOOP),
    ("nn-after-drop", OUTPUT),
    ("nn-drop-twice", OUTPUT),
    ("nn-of-a-table", OUTPUT),
    ("random-huge", LIMIT),
    ("random-flood", LOOP),
    ("secret-ungranted", PROBLEM),
    ("secret-told", PROBLEM),
    ("secret-panic", TRAP),
    ("table-unknown", PROBLEM),
    ("table-after-drop", OUTPUT),
    ("tables-reopened", LONG),
    ("far-pointer", OUTPUT),
    ("bad-utf8", OUTPUT),
    ("bad-level", OUTPUT),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_nobody_described_has_no_end() {
        assert_eq!(ends("evil", Way::Apply, "apply", "brand-new"), None);
        assert_eq!(ends("evil", Way::Judge, "", "no-checks"), Some(OUTPUT));
        assert_eq!(ends("evil", Way::Fit, "start", "bad-utf8"), Some(OK), "it is a misdeed of `apply`");
        assert_eq!(ends("evil", Way::Apply, "output", "problem"), Some(OUTPUT));
        assert_eq!(ends("evil", Way::Apply, "load", "huge-problem"), Some(OUTPUT));
    }
}
