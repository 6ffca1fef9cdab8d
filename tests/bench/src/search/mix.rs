//! What is searched for: every kind of condition and of order, selective and not, alone and together. Bodies are those
//! of MLflow's `runs/search`, so that any server that speaks it can be asked the same.

use serde_json::json;

/// A search.
pub(crate) struct Search {
    pub(crate) name: &'static str,
    filter: &'static str,
    order_by: &'static [&'static str],
}

const fn search(name: &'static str, filter: &'static str, order_by: &'static [&'static str]) -> Search {
    Search { name, filter, order_by }
}

/// The searches, over runs as [`super::data`] makes them.
pub(crate) const MIX: &[Search] = &[
    search("newest", "", &[]),
    search("half, by the same metric", "metrics.m0 > 0.5", &["metrics.m0 DESC"]),
    search("one in a thousand, by another metric", "metrics.m0 > 0.999", &["metrics.m1 ASC"]),
    search("one in ten, by another metric", "metrics.m0 > 0.9", &["metrics.m1 ASC"]),
    search("metric and param", "metrics.m0 > 0.5 AND params.p0 = '1'", &["metrics.m1 DESC"]),
    search("param, one in a thousand", "params.p3 = '77'", &["metrics.m2 DESC"]),
    search("param, a handful", "params.p4 = '77'", &["metrics.m2 DESC"]),
    search("param, half, oldest first", "params.p0 = '1'", &["attributes.start_time ASC"]),
    search("rare tag", "tags.rare = 'yes'", &["metrics.m2 DESC"]),
    search("common tag, by param", "tags.common = 'yes'", &["params.p4 ASC"]),
    search("by param", "", &["params.p4 DESC"]),
    search("by a param of two values", "", &["params.p0 ASC"]),
    search("by name", "", &["attributes.run_name ASC"]),
    search("by end", "", &["attributes.end_time DESC"]),
    search("name starts with", "attributes.run_name LIKE 'run-123%'", &[]),
    search("name contains", "attributes.run_name LIKE '%99999%'", &[]),
    search("name contains, either case", "attributes.run_name ILIKE '%UN-4242%'", &["metrics.m2 ASC"]),
    search("status, by metric", "attributes.status = 'FAILED'", &["metrics.m9 DESC"]),
    search("three conditions", "metrics.m0 > 0.2 AND metrics.m1 < 0.3 AND params.p1 != '3'", &["metrics.m9 ASC"]),
    search(
        "three that hardly meet",
        "metrics.m0 > 0.98 AND metrics.m1 < 0.02 AND metrics.m2 < 0.05",
        &["metrics.m3 ASC"],
    ),
    search("two broad ones that never meet", "metrics.m6 < 0.3 AND metrics.m7 < 0.3", &["metrics.m3 ASC"]),
    search("a contradiction", "metrics.m0 < 0.5 AND metrics.m0 > 0.5", &["metrics.m3 ASC"]),
    search("param starts with", "params.p4 LIKE '9999%'", &["metrics.m3 ASC"]),
    search("param contains", "params.p4 LIKE '%9999%'", &["metrics.m3 ASC"]),
    search("param is missing", "params.nope IS NULL AND metrics.m0 > 0.1", &["metrics.m3 ASC"]),
    search("later than, by metric", "attributes.start_time > 1700050000000", &["metrics.m3 ASC"]),
    search("last minutes, by metric", "attributes.start_time > 1700099800000", &["metrics.m3 ASC"]),
    search("user, by metric and param", "attributes.user_id = 'u3'", &["metrics.m2 DESC", "params.p3"]),
    search("by user and metric", "", &["attributes.user_id ASC", "metrics.m2 DESC"]),
];

impl Search {
    /// The body of a request for the first `most` runs.
    pub(crate) fn body(&self, experiment: &str, most: u64) -> String {
        json!({
            "experiment_ids": [experiment],
            "filter": self.filter,
            "order_by": self.order_by,
            "max_results": most,
        })
        .to_string()
    }
}
