//! Searches over registered models and their versions.

use super::{
    Page, SyntaxError,
    filter::{self, Clause, Literal, Op},
    order,
    sql::{Query, allowed},
};
use crate::{
    RegisteredModel, Tracking, TrackingError, VersionRecord,
    names::check_length,
    registry::{PROMPT_TAG, VERSION_COLUMNS, read_model, tagged},
};

/// What is looked for, among registered models or among versions.
#[derive(Debug, Clone, Default)]
pub struct RegistrySearch {
    /// MLflow's grammar; empty for everything but prompts.
    pub filter: String,
    /// Fields to sort by, first things first.
    pub order_by: Vec<String>,
    /// Only these models, if they are given.
    pub only: Option<Vec<String>>,
    /// Things that come before the page.
    pub skip: u64,
    /// Things of the page.
    pub most: u64,
}

/// One of the two searches: its tables and its fields.
struct Subject {
    /// Table of tags, and how its rows belong to a row of the search.
    tags: (&'static str, &'static str),
    /// Text fields: name, column, whether lists are taken.
    texts: &'static [(&'static str, &'static str, bool)],
    /// Number fields.
    numbers: &'static [(&'static str, &'static str)],
    /// Fields to sort by.
    orders: &'static [(&'static str, &'static str)],
    /// Names of models that are prompts are looked up by this column.
    model: &'static str,
}

const MODELS: Subject = Subject {
    tags: ("model_tags", "t.model = m.name"),
    texts: &[("name", "m.name", true)],
    numbers: &[],
    orders: &[("name", "m.name"), ("timestamp", "m.updated_us"), ("last_updated_timestamp", "m.updated_us")],
    model: "m.name",
};

const VERSIONS: Subject = Subject {
    tags: ("version_tags", "t.model = v.model AND t.version = v.version"),
    texts: &[("name", "v.model", true), ("run_id", "COALESCE(v.run_id, '')", true), ("source_path", "v.source", false)],
    numbers: &[("version_number", "v.version")],
    orders: &[
        ("name", "v.model"),
        ("version_number", "v.version"),
        ("creation_timestamp", "v.created_us"),
        ("last_updated_timestamp", "v.updated_us"),
    ],
    model: "v.model",
};

impl Tracking {
    /// Registered models that match. Prompts are left out unless the filter asks for them.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read.
    pub fn search_models(&self, search: &RegistrySearch) -> Result<Page<RegisteredModel>, TrackingError> {
        let clauses = self.clauses(search)?;
        let order = MODELS.order(&search.order_by, &[("m.name", "ASC")])?;
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let condition = MODELS.conditions(&mut query, &clauses, search.only.as_deref())?;
            let (most, skip) = (query.bind(search.most + 1), query.bind(search.skip));
            let sql =
                format!("SELECT m.name FROM models m WHERE {condition} ORDER BY {order} LIMIT {most} OFFSET {skip}");
            let page = Page::cut(tx.query(&sql, &query.parameters)?, search.skip, search.most);
            let items = page.items.iter().map(|row| read_model(tx, &row.text(0)?));
            Ok(Page { items: items.collect::<Result<_, TrackingError>>()?, next: page.next })
        })
    }

    /// Versions that match. Those of prompts are left out unless the filter asks for them.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read.
    pub fn search_versions(&self, search: &RegistrySearch) -> Result<Page<VersionRecord>, TrackingError> {
        let clauses = self.clauses(search)?;
        let last = [("v.model", "ASC"), ("v.version", "DESC")];
        let order = if search.order_by.is_empty() {
            VERSIONS.order(&["last_updated_timestamp DESC".to_owned()], &last)?
        } else {
            VERSIONS.order(&search.order_by, &last)?
        };
        self.store.catalog().read(|tx| {
            let mut query = Query::new(tx.dialect());
            let condition = VERSIONS.conditions(&mut query, &clauses, search.only.as_deref())?;
            let (most, skip) = (query.bind(search.most + 1), query.bind(search.skip));
            let sql = format!(
                "SELECT {VERSION_COLUMNS} FROM versions v WHERE {condition} ORDER BY {order} LIMIT {most} OFFSET {skip}"
            );
            let page = Page::cut(tx.query(&sql, &query.parameters)?, search.skip, search.most);
            let items = page.items.iter().map(|row| tagged(tx, row));
            Ok(Page { items: items.collect::<Result<_, TrackingError>>()?, next: page.next })
        })
    }

    fn clauses(&self, search: &RegistrySearch) -> Result<Vec<Clause>, TrackingError> {
        check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        Ok(filter::parse(&search.filter, self.limits.filter_clauses_max)?)
    }
}

impl Subject {
    fn conditions(
        &self,
        query: &mut Query,
        clauses: &[Clause],
        only: Option<&[String]>,
    ) -> Result<String, SyntaxError> {
        let mut conditions = vec!["1 = 1".to_owned()];
        if let Some(only) = only {
            conditions.push(format!("{} IN {}", self.model, query.bind_all(only)));
        }
        let mut prompts = false;
        for clause in clauses {
            let tag = match clause.entity.as_deref() {
                None | Some("attribute") => false,
                Some("tag" | "tags") => true,
                Some(other) => {
                    return Err(SyntaxError(format!(
                        "Invalid entity type '{}'. Valid entity types are ('attribute', 'tag', 'tags')",
                        super::lexer::short(other)
                    )));
                }
            };
            if tag && clause.key == PROMPT_TAG {
                allowed(clause.op, Op::TEXT)?;
                let wanted = asks_for_prompts(clause);
                prompts |= wanted;
                if wanted {
                    conditions.push(self.is_prompt(query));
                }
                continue;
            }
            conditions.push(if tag { self.tag(query, clause)? } else { self.attribute(query, clause)? });
        }
        if !prompts {
            let prompt = self.is_prompt(query);
            conditions.push(format!("NOT {prompt}"));
        }
        Ok(conditions.join(" AND "))
    }

    fn is_prompt(&self, query: &mut Query) -> String {
        let key = query.bind(PROMPT_TAG);
        format!(
            "EXISTS (SELECT 1 FROM model_tags pt WHERE pt.model = {} AND pt.key = {key} AND LOWER(pt.value) = 'true')",
            self.model
        )
    }

    fn tag(&self, query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
        allowed(clause.op, Op::TEXT)?;
        let (table, joined) = self.tags;
        let key = query.bind(&clause.key);
        let test = query.text("t.value", clause.op, &clause.value)?;
        Ok(format!("EXISTS (SELECT 1 FROM {table} t WHERE {joined} AND t.key = {key} AND {test})"))
    }

    fn attribute(&self, query: &mut Query, clause: &Clause) -> Result<String, SyntaxError> {
        if let Some((_, column)) = self.numbers.iter().find(|(name, _)| *name == clause.key) {
            allowed(clause.op, Op::NUMERIC)?;
            return query.number(column, clause);
        }
        let Some((name, column, lists)) = self.texts.iter().find(|(name, ..)| *name == clause.key) else {
            let known: Vec<&str> =
                self.texts.iter().map(|(name, ..)| *name).chain(self.numbers.iter().map(|(name, _)| *name)).collect();
            return Err(SyntaxError(format!(
                "Invalid attribute key '{}' specified. Valid keys are '{known:?}'",
                super::lexer::short(&clause.key)
            )));
        };
        if matches!(clause.value, Literal::List(_)) && !lists {
            return Err(SyntaxError(format!("attribute `{name}` is not compared with a list")));
        }
        allowed(clause.op, Op::TEXT_OR_LIST)?;
        query.text(column, clause.op, &clause.value)
    }

    /// The order that was asked for, then `last` for what it leaves open.
    fn order(&self, order_by: &[String], last: &[(&'static str, &str)]) -> Result<String, SyntaxError> {
        let mut columns: Vec<&str> = Vec::new();
        let mut order = Vec::new();
        for text in order_by {
            let field = order::parse(text)?;
            let known = matches!(field.entity.as_deref(), None | Some("attribute"));
            let found = self.orders.iter().find(|(name, _)| known && *name == field.key);
            let (_, column) = found.ok_or_else(|| {
                let names: Vec<&str> = self.orders.iter().map(|(name, _)| *name).collect();
                SyntaxError(format!(
                    "Invalid order by key '{}' specified. Valid keys are '{names:?}'",
                    super::lexer::short(&field.key)
                ))
            })?;
            if columns.contains(column) {
                return Err(SyntaxError(format!("`order_by` contains duplicate fields: {order_by:?}")));
            }
            columns.push(column);
            order.push(format!("{column} {}", if field.ascending { "ASC" } else { "DESC" }));
        }
        for (column, way) in last {
            if !columns.contains(column) {
                order.push(format!("{column} {way}"));
            }
        }
        Ok(order.join(", "))
    }
}

/// Whether a condition on the tag of prompts holds for prompts; things without the tag count as having `false`.
fn asks_for_prompts(clause: &Clause) -> bool {
    let Literal::Text(text) = &clause.value else { return false };
    match clause.op {
        Op::Eq => text.eq_ignore_ascii_case("true"),
        Op::Ne => text.eq_ignore_ascii_case("false"),
        _ => false,
    }
}
