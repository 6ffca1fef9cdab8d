//! What a filter asks of a run: each clause checked against what runs have, those on the same field put together.

use super::super::{
    SyntaxError,
    filter::{Clause, Literal, Op},
    sql::{Query, allowed, real},
};

/// A column of `runs`, or what is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Column {
    Start,
    End,
    Name,
    Status,
    User,
    RunId,
    Uri,
}

/// Where a run's artifacts are, as MLflow's clients see it.
const ARTIFACT_URI: &str = "(COALESCE(NULLIF(e.artifact_location, ''), 'mlflow-artifacts:/' || e.experiment_id) || '/' || r.run_id || '/artifacts')";

impl Column {
    /// On `runs r JOIN experiments e`.
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Start => "r.start_us",
            Self::End => "r.end_us",
            Self::Name => "r.name",
            Self::Status => "r.status",
            Self::User => "r.user_name",
            Self::RunId => "r.run_id",
            Self::Uri => ARTIFACT_URI,
        }
    }
}

/// Attributes that are text, by MLflow's names.
pub(super) const TEXTS: [(&str, Column); 5] = [
    ("run_id", Column::RunId),
    ("run_name", Column::Name),
    ("status", Column::Status),
    ("user_id", Column::User),
    ("artifact_uri", Column::Uri),
];
/// Attributes that are times, in milliseconds.
const TIMES: [(&str, Column); 2] = [("start_time", Column::Start), ("end_time", Column::End)];

/// A condition on runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// The metric is a number, and every comparison holds.
    Metric {
        key: String,
        tests: Vec<(Op, f64)>,
    },
    /// The metric has a value, perhaps NaN, and it is not this one.
    MetricNot {
        key: String,
        value: f64,
    },
    /// The metric is NaN.
    MetricNan {
        key: String,
    },
    /// There is no such metric.
    MetricMissing {
        key: String,
    },
    /// Of `params` or `run_tags`.
    Pair {
        table: &'static str,
        key: String,
        op: Op,
        value: Literal,
    },
    Text {
        column: Column,
        op: Op,
        value: Literal,
    },
    /// Within these microseconds, both included, or outside of them.
    Time {
        column: Column,
        from: i64,
        to: i64,
        not: bool,
    },
    /// The time is not known.
    TimeMissing {
        column: Column,
    },
    Dataset {
        column: &'static str,
        op: Op,
        value: Literal,
    },
}

/// Reads clauses. What several of them say of the same metric or time becomes one condition.
pub(super) fn read(clauses: Vec<Clause>) -> Result<Vec<Condition>, SyntaxError> {
    let mut conditions: Vec<Condition> = Vec::new();
    for clause in clauses {
        let condition = Condition::of(clause)?;
        if !conditions.iter_mut().any(|known| known.takes_in(&condition)) {
            conditions.push(condition);
        }
    }
    Ok(conditions)
}

/// What stands before the dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Entity {
    Metric,
    Param,
    Tag,
    Attribute,
    Dataset,
}

impl Entity {
    pub(super) fn of(entity: Option<&str>) -> Result<Self, SyntaxError> {
        Ok(match entity {
            None | Some("attribute" | "attributes" | "attr" | "run") => Self::Attribute,
            Some("metric" | "metrics") => Self::Metric,
            Some("param" | "params" | "parameter" | "parameters") => Self::Param,
            Some("tag" | "tags") => Self::Tag,
            Some("dataset" | "datasets") => Self::Dataset,
            Some(other) => {
                return Err(SyntaxError(format!(
                    "Invalid entity type '{}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
                    super::super::lexer::short(other)
                )));
            }
        })
    }
}

/// The names that users see in the web interface stand for attributes.
fn alias(key: &str) -> &str {
    match key {
        "created" | "Created" => "start_time",
        "run name" | "Run name" | "Run Name" => "run_name",
        other => other,
    }
}

pub(super) fn unknown_attribute(key: &str) -> SyntaxError {
    let known: Vec<&str> = TEXTS.iter().chain(&TIMES).map(|(name, _)| *name).collect();
    SyntaxError(format!(
        "Invalid attribute key '{}' specified. Valid keys are '{known:?}'",
        super::super::lexer::short(key)
    ))
}

impl Condition {
    fn of(clause: Clause) -> Result<Self, SyntaxError> {
        let entity = Entity::of(clause.entity.as_deref())?;
        let null = matches!(clause.op, Op::IsNull | Op::IsNotNull);
        if null && !matches!(entity, Entity::Param | Entity::Tag) {
            let message = "IS NULL / IS NOT NULL is only supported for tags and params";
            return Err(SyntaxError(format!("{message}, not for '{}'", clause.key)));
        }
        match entity {
            Entity::Metric => {
                let Literal::Number(number) = &clause.value else {
                    return Err(SyntaxError(format!("Expected numeric value type for metric `{}`.", clause.key)));
                };
                allowed(clause.op, Op::NUMERIC)?;
                let (key, value) = (clause.key.clone(), real(number)?);
                Ok(match clause.op {
                    Op::Ne => Self::MetricNot { key, value },
                    op => Self::Metric { key, tests: vec![(op, value)] },
                })
            }
            Entity::Param | Entity::Tag => {
                allowed(clause.op, Op::TEXT_OR_NULL)?;
                let (table, what) = if entity == Entity::Param { ("params", "param") } else { ("run_tags", "tag") };
                if let Literal::Number(number) = &clause.value {
                    let message =
                        format!("Expected a quoted string value for {what} (e.g. 'my-value'). Got value {number}");
                    return Err(SyntaxError(message));
                }
                Ok(Self::Pair { table, key: clause.key, op: clause.op, value: clause.value })
            }
            Entity::Attribute => {
                let key = alias(&clause.key);
                if let Some((_, column)) = TIMES.iter().find(|(name, _)| *name == key) {
                    let Literal::Number(number) = &clause.value else {
                        let message = format!("Expected numeric value type for numeric attribute: {key}.");
                        return Err(SyntaxError(message));
                    };
                    allowed(clause.op, Op::NUMERIC)?;
                    let (from, to) = micros(clause.op, number)?;
                    return Ok(Self::Time { column: *column, from, to, not: clause.op == Op::Ne });
                }
                let (_, column) =
                    TEXTS.iter().find(|(name, _)| *name == key).ok_or_else(|| unknown_attribute(&clause.key))?;
                if matches!(clause.value, Literal::List(_)) && key != "run_id" {
                    let message = "Only ['run_id'] attributes support comparison with a list of quoted string values.";
                    return Err(SyntaxError(message.into()));
                }
                if matches!(clause.value, Literal::Number(_)) {
                    return Err(SyntaxError(format!("Expected a quoted string value for attributes: {key}.")));
                }
                allowed(clause.op, Op::TEXT_OR_LIST)?;
                Ok(Self::Text { column: *column, op: clause.op, value: clause.value })
            }
            Entity::Dataset => {
                let column = match clause.key.as_str() {
                    "name" => "d.name",
                    "digest" => "d.digest",
                    "context" => "u.context",
                    other => {
                        let message = format!(
                            "Invalid dataset key '{other}' specified. Valid keys are '{{'name', 'digest', 'context'}}'"
                        );
                        return Err(SyntaxError(message));
                    }
                };
                if matches!(clause.value, Literal::Number(_)) {
                    return Err(SyntaxError("Expected a quoted string value for dataset attributes.".into()));
                }
                allowed(clause.op, Op::TEXT_OR_LIST)?;
                Ok(Self::Dataset { column, op: clause.op, value: clause.value })
            }
        }
    }

    /// Makes another condition part of this one, if both are about the same values.
    fn takes_in(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Metric { key, tests }, Self::Metric { key: also, tests: more }) if key == also => {
                tests.extend_from_slice(more);
                true
            }
            (
                Self::Time { column, from, to, not: false },
                Self::Time { column: also, from: later, to: earlier, not: false },
            ) if column == also => {
                (*from, *to) = ((*from).max(*later), (*to).min(*earlier));
                true
            }
            _ => false,
        }
    }

    /// Whether it speaks of where a run's artifacts are, for which its experiment has to be known.
    pub(super) fn needs_experiment(&self) -> bool {
        matches!(self, Self::Text { column: Column::Uri, .. })
    }

    /// Whether it asks for one row of a run in a table of keys and values.
    pub(super) fn is_of_a_row(&self) -> bool {
        match self {
            Self::Metric { .. } | Self::MetricNot { .. } | Self::MetricNan { .. } => true,
            Self::Pair { op, .. } => *op != Op::IsNull,
            _ => false,
        }
    }

    /// The table and what its row has to be like, under some name; that of a run is left open.
    pub(super) fn row(&self, name: &str, query: &mut Query) -> Result<(&'static str, String), SyntaxError> {
        let (table, key) = match self {
            Self::Metric { key, .. } | Self::MetricNot { key, .. } | Self::MetricNan { key } => ("latest_metrics", key),
            Self::Pair { table, key, .. } => (*table, key),
            _ => unreachable!("not a condition on one row"),
        };
        // The row is to be found by its key, and not by what it holds.
        let (value, nan) = (query.unindexed(&format!("{name}.value")), query.unindexed(&format!("{name}.is_nan")));
        let mut all = vec![format!("{name}.key = {}", query.bind(key))];
        match self {
            Self::Metric { tests, .. } => {
                all.push(format!("{nan} = 0"));
                all.extend(tests.iter().map(|(op, number)| format!("{value} {} {}", op.name(), query.bind(*number))));
            }
            // A NaN is unlike every number.
            Self::MetricNot { value: number, .. } => {
                all.push(format!("({nan} = 1 OR {value} <> {})", query.bind(*number)));
            }
            Self::MetricNan { .. } => all.push(format!("{nan} = 1")),
            Self::Pair { op: Op::IsNotNull, .. } => {}
            Self::Pair { op, value: literal, .. } => all.push(query.text(&value, *op, literal)?),
            _ => {}
        }
        Ok((table, all.join(" AND ")))
    }

    /// A condition on `r`, and on `e` if it needs that. It looks at one row of a run, found by its key: as `EXISTS`,
    /// SQLite might join it, and start from everything of that key.
    pub(super) fn sql(&self, query: &mut Query) -> Result<String, SyntaxError> {
        let one = |from: &str, test: &str| format!("(SELECT 1 FROM {from} WHERE {test}) IS NOT NULL");
        let none = |from: &str, test: &str| format!("(SELECT 1 FROM {from} WHERE {test}) IS NULL");
        Ok(match self {
            Self::MetricMissing { key } => {
                none("latest_metrics c", &format!("c.rid = r.rid AND c.key = {}", query.bind(key)))
            }
            Self::Pair { table, key, op: Op::IsNull, .. } => {
                none(&format!("{table} c"), &format!("c.rid = r.rid AND c.key = {}", query.bind(key)))
            }
            Self::Metric { .. } | Self::MetricNot { .. } | Self::MetricNan { .. } | Self::Pair { .. } => {
                let (table, row) = self.row("c", query)?;
                one(&format!("{table} c"), &format!("c.rid = r.rid AND {row}"))
            }
            Self::Text { column, op, value } => query.text(column.sql(), *op, value)?,
            Self::Time { column, from, to, not } => {
                let (not, from, to) = (if *not { "NOT " } else { "" }, query.bind(*from), query.bind(*to));
                format!("{} {not}BETWEEN {from} AND {to}", column.sql())
            }
            Self::TimeMissing { column } => format!("{} IS NULL", column.sql()),
            Self::Dataset { column, op, value } => {
                let test = query.text(column, *op, value)?;
                one(
                    "run_datasets u JOIN datasets d ON d.dataset_id = u.dataset_id",
                    &format!("u.rid = r.rid AND {test} LIMIT 1"),
                )
            }
        })
    }
}

/// The microseconds whose milliseconds compare so with a number; for `!=`, those whose milliseconds are equal to it.
fn micros(op: Op, number: &str) -> Result<(i64, i64), SyntaxError> {
    let (floor, ceil) = match number.parse::<i64>() {
        Ok(whole) => (whole, whole),
        // What is beyond the range of 64 bits is as good as its end.
        Err(_) => (real(number)?.floor() as i64, real(number)?.ceil() as i64),
    };
    let (from, to) = match op {
        Op::Gt => (floor.saturating_add(1), i64::MAX),
        Op::Ge => (ceil, i64::MAX),
        Op::Lt => (i64::MIN, ceil.saturating_sub(1)),
        Op::Le => (i64::MIN, floor),
        _ if floor == ceil => (floor, floor),
        _ => return Ok((1, 0)),
    };
    Ok((from.saturating_mul(1_000), to.saturating_mul(1_000).saturating_add(999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_microseconds_that_round_down_to_them() {
        let all = [-2_001, -2_000, -1_001, -1_000, -999, -1, 0, 1, 999, 1_000, 1_999, 2_000, 2_999, 3_000];
        for number in ["-2", "-1", "0", "1", "2", "1.5", "-1.5", "2e0", ".5"] {
            for op in Op::NUMERIC {
                let (from, to) = micros(*op, number).unwrap();
                for us in all {
                    let (ms, number) = (i64::div_euclid(us, 1_000) as f64, number.parse::<f64>().unwrap());
                    let expected = match op {
                        Op::Eq => ms == number,
                        Op::Ne => ms != number,
                        Op::Lt => ms < number,
                        Op::Le => ms <= number,
                        Op::Gt => ms > number,
                        _ => ms >= number,
                    };
                    assert_eq!((from <= us && us <= to) != (*op == Op::Ne), expected, "{us} {op:?} {number}");
                }
            }
        }
        for far in ["9223372036854775807", "1e300", "-1e300", "-9223372036854775808"] {
            for op in Op::NUMERIC {
                assert!(micros(*op, far).is_ok());
            }
        }
    }
}
