//! What a statement means beyond SQL: which files it reads, which transforms it calls, and their calls as functions that
//! the engine knows.
//!
//! `f(*)` and `f(t.*)` take the columns of a transform by name, `f(x, option => 1)` sets an option, `f(x).y` takes one of
//! several columns, `f(x).*` makes columns of all.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
};

use datafusion::sql::{
    parser::{CopyToSource, Statement as EngineStatement},
    sqlparser::ast::{
        AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
        ObjectName, ObjectNamePart, Select, SelectItem, SetExpr, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
    },
};
use plinth_core::codes;
use serde_json::Map;

use crate::{
    SqlError, field,
    function::{Ready, wrong_count},
    parse::STAR,
};

/// Stands between a function's name and the number of the call; it is not seen where a name is shown.
pub(crate) const MARK: char = '\u{2063}';

/// A transform with the options of a call, by the name that the statement uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallKey {
    pub(crate) name: String,
    /// JSON, as text so that it can be compared.
    pub(crate) options: String,
}

/// Characters of an expression that become a column's name.
const NAME_CHARS: usize = 200;

/// In place of options that only rows could tell.
pub(crate) const NOT_LITERAL: &str = "";

/// What a statement mentions.
#[derive(Debug, Default)]
pub(crate) struct Mentioned {
    pub(crate) relations: Vec<ObjectName>,
    pub(crate) calls: BTreeSet<CallKey>,
}

/// One call, to be registered as a function of the engine.
pub(crate) struct Instance {
    pub(crate) id: String,
    /// Name, options and arguments.
    written: String,
    pub(crate) shown: String,
    pub(crate) options_shown: String,
    pub(crate) ready: Ready,
    pub(crate) names: Vec<String>,
}

/// What the statement mentions.
pub(crate) fn mentioned(statement: &mut EngineStatement) -> Result<Mentioned, SqlError> {
    let mut visitor = Mentions(Mentioned::default());
    walk(statement, &mut visitor)?;
    Ok(visitor.0)
}

/// Replaces the calls of what is `ready`.
pub(crate) fn replace(
    statement: &mut EngineStatement,
    ready: &HashMap<CallKey, Ready>,
    next: &mut usize,
) -> Result<Vec<Instance>, SqlError> {
    name_columns(statement);
    let mut visitor = Replace { ready, next, instances: Vec::new() };
    walk(statement, &mut visitor)?;
    Ok(visitor.instances)
}

/// Columns without a name are called as they are written: the engine would write out every table and type.
fn name_columns(statement: &mut EngineStatement) {
    let query = match statement {
        EngineStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => Some(query),
            CopyToSource::Relation(_) => None,
        },
        EngineStatement::Statement(statement) => match &mut **statement {
            Statement::Query(query) => Some(query),
            Statement::CreateTable(create) => create.query.as_mut(),
            Statement::CreateView(create) => Some(&mut create.query),
            _ => None,
        },
        _ => None,
    };
    let Some(SetExpr::Select(select)) = query.map(|query| &mut *query.body) else { return };
    let mut seen: Vec<String> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let column = match expr {
            Expr::Identifier(name) => Some(folded(name)),
            Expr::CompoundIdentifier(parts) => parts.last().map(folded),
            _ => None,
        };
        let mut name = column.clone().unwrap_or_else(|| expr.to_string().chars().take(NAME_CHARS).collect());
        let again = seen.iter().filter(|other| **other == name).count();
        seen.push(name.clone());
        if column.is_some() && again == 0 {
            continue;
        }
        if again > 0 {
            name.push_str(&format!(":{again}"));
        }
        let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    }
}

fn walk<V: VisitorMut<Break = Box<SqlError>>>(
    statement: &mut EngineStatement,
    visitor: &mut V,
) -> Result<(), SqlError> {
    let flow = match statement {
        EngineStatement::Statement(statement) => statement.visit(visitor),
        EngineStatement::Explain(explain) => return walk(&mut explain.statement, visitor),
        EngineStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(visitor),
            CopyToSource::Relation(name) => visitor.pre_visit_relation(name),
        },
        EngineStatement::CreateExternalTable(_) | EngineStatement::Reset(_) => ControlFlow::Continue(()),
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Mentions(Mentioned);

impl VisitorMut for Mentions {
    type Break = Box<SqlError>;

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<Self::Break> {
        self.0.relations.push(relation.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = expr
            && let Some(key) = key(function)
        {
            self.0.calls.insert(key);
        }
        ControlFlow::Continue(())
    }
}

struct Replace<'a> {
    ready: &'a HashMap<CallKey, Ready>,
    next: &'a mut usize,
    instances: Vec<Instance>,
}

impl VisitorMut for Replace<'_> {
    type Break = Box<SqlError>;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let done = match expr {
            Expr::Function(function) => self.call(function),
            Expr::CompoundFieldAccess { root, access_chain } => {
                // The engine knows fields of columns, but not of calls.
                let plain = access_chain.iter().all(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_))));
                if plain && matches!(**root, Expr::Function(_)) {
                    let mut inner = (**root).clone();
                    for access in access_chain.iter() {
                        if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                            inner = self.field_of(inner, &folded(name))?;
                        }
                    }
                    *expr = inner;
                }
                Ok(())
            }
            _ => Ok(()),
        };
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let starred =
            |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value == STAR);
        if !select.projection.iter().any(starred) {
            return ControlFlow::Continue(());
        }
        let mut out = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == STAR => match self.columns_of(&expr) {
                    Ok(columns) => out.extend(columns),
                    Err(error) => return ControlFlow::Break(Box::new(error)),
                },
                other => out.push(other),
            }
        }
        select.projection = out;
        ControlFlow::Continue(())
    }
}

impl Replace<'_> {
    fn call(&mut self, function: &mut Function) -> Result<(), SqlError> {
        let Some(key) = key(function) else { return Ok(()) };
        let Some(ready) = self.ready.get(&key) else { return Ok(()) };
        let shown = key.name.clone();
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
            return Err(SqlError::bad(format!("`{shown}` is a transform: it takes neither over nor filter")));
        }
        let FunctionArguments::List(list) = &mut function.args else {
            return Err(SqlError::bad(format!("`{shown}` takes columns")));
        };
        let input = ready.input();
        let mut arguments = Vec::new();
        let mut options_shown = String::new();
        for argument in std::mem::take(&mut list.args) {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => arguments.extend(by_name(&shown, input, &[])?),
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(table)) => {
                    let parts: Vec<Ident> = table.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
                    arguments.extend(by_name(&shown, input, &parts)?);
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                named @ (FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. }) => {
                    options_shown.push_str(&format!(", {named}"));
                }
                FunctionArg::Unnamed(other) => {
                    return Err(SqlError::bad(format!("`{shown}` does not take `{other}`")));
                }
            }
        }
        match input {
            Some(input) if input.len() != arguments.len() => {
                return Err(wrong_count(&shown, input, arguments.len()));
            }
            None if arguments.is_empty() => {
                return Err(SqlError::bad(format!("`{shown}` takes columns, and none is given")));
            }
            _ => {}
        }
        let given = match ready {
            Ready::ByCall(unfitted) => unfitted.columns.as_deref(),
            Ready::Fixed(_) => None,
        };
        let names = match given {
            Some(columns) if columns.len() == arguments.len() => columns.to_vec(),
            Some(columns) => {
                let message = format!("`{shown}` takes {}, {} given", columns.join(", "), arguments.len());
                return Err(SqlError::new(codes::SCHEMA_MISMATCH, message));
            }
            None => arguments.iter().enumerate().map(|(nth, argument)| name_of(nth, argument)).collect(),
        };
        list.args =
            arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
        // A call that is written twice is one function, so that the engine makes it once.
        let written = format!("{shown}{options_shown}{list}");
        let id = match self.instances.iter().find(|instance| instance.written == written) {
            Some(same) => same.id.clone(),
            None => {
                *self.next += 1;
                let id = format!("{shown}{MARK}{}", self.next);
                let ready = ready.clone();
                self.instances.push(Instance { id: id.clone(), written, shown, options_shown, ready, names });
                id
            }
        };
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', id))]);
        Ok(())
    }

    /// The instance that a call was replaced by.
    fn instance_of(&self, expr: &Expr) -> Option<&Instance> {
        let Expr::Function(function) = expr else { return None };
        let [ObjectNamePart::Identifier(name)] = &function.name.0[..] else { return None };
        self.instances.iter().find(|instance| instance.id == name.value)
    }

    /// `call.field`
    fn field_of(&self, call: Expr, name: &str) -> ControlFlow<Box<SqlError>, Expr> {
        if let Some(instance) = self.instance_of(&call)
            && let Some(output) = instance.ready.output()
        {
            if output.index_of(name).is_none() {
                let known: Vec<&str> = output.fields().iter().map(|field| field.name.as_str()).collect();
                let error = crate::error::unknown_column(name, Some(&instance.shown), &known);
                return ControlFlow::Break(Box::new(error));
            }
            // A call that gives one column gives no struct.
            if output.len() == 1 {
                return ControlFlow::Continue(call);
            }
        }
        let ours = self.instance_of(&call).is_some();
        ControlFlow::Continue(get_field(if ours { field::NAME } else { "get_field" }, call, name))
    }

    /// `call.*`
    fn columns_of(&self, call: &Expr) -> Result<Vec<SelectItem>, SqlError> {
        let instance = self.instance_of(call).ok_or_else(|| {
            SqlError::bad(format!("`{call}.*`: only a call of a transform has columns"))
                .with_hint("name a transform with --function NAME=PLUGIN")
        })?;
        let output = instance.ready.output().ok_or_else(|| {
            SqlError::bad(format!("`{}(…).*`: its columns are not known before it is fitted", instance.shown))
                .with_hint(format!(
                    "fit it with --fit {}=\"select …\", or name the column: {0}(…).COLUMN",
                    instance.shown
                ))
        })?;
        Ok(output
            .fields()
            .iter()
            .map(|field| SelectItem::ExprWithAlias {
                expr: if output.len() == 1 { call.clone() } else { get_field(field::NAME, call.clone(), &field.name) },
                alias: Ident::with_quote('"', &field.name),
            })
            .collect())
    }
}

/// The columns of a transform as arguments, from `table` if one is named.
fn by_name(shown: &str, input: Option<&plinth_ext::Schema>, table: &[Ident]) -> Result<Vec<Expr>, SqlError> {
    let input = input.ok_or_else(|| {
        SqlError::bad(format!("`{shown}(*)`: it takes whatever it is given, so its columns have to be named"))
    })?;
    Ok(input
        .fields()
        .iter()
        .map(|field| {
            let name = Ident::with_quote('"', &field.name);
            match table {
                [] => Expr::Identifier(name),
                table => Expr::CompoundIdentifier(table.iter().cloned().chain([name]).collect()),
            }
        })
        .collect())
}

fn get_field(function: &str, from: Expr, field: &str) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let field = Expr::Value(Value::SingleQuotedString(field.to_owned()).into());
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(function))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument(from), argument(field)],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The name of a call, and its options; nothing if it cannot be one of a transform.
fn key(function: &Function) -> Option<CallKey> {
    let parts: Option<Vec<String>> = function.name.0.iter().map(|part| part.as_ident().map(folded)).collect();
    let parts = parts.filter(|parts| parts.len() <= 2)?;
    let mut options = Some(Map::new());
    if let FunctionArguments::List(list) = &function.args {
        for argument in &list.args {
            if let FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } = argument {
                match (&mut options, literal(value)) {
                    (Some(options), Some(value)) => drop(options.insert(name.value.clone(), value)),
                    _ => options = None,
                }
            }
        }
    }
    let options =
        options.map_or_else(|| NOT_LITERAL.to_owned(), |options| serde_json::Value::Object(options).to_string());
    Some(CallKey { name: parts.join("."), options })
}

/// A literal as an option's value; text that reads as a JSON list or object is one.
fn literal(expr: &Expr) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    match expr {
        Expr::Value(value) => Some(match &value.value {
            Value::Number(number, _) => serde_json::from_str(&number.to_string()).ok()?,
            Value::Boolean(value) => Json::Bool(*value),
            Value::Null => Json::Null,
            Value::SingleQuotedString(text) => match text.starts_with(['[', '{']) {
                true => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())),
                false => Json::String(text.clone()),
            },
            _ => return None,
        }),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => serde_json::from_str(&format!("-{number}")).ok(),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// What the columns of an argument are called: its own name if it is a column.
fn name_of(nth: usize, argument: &Expr) -> String {
    match argument {
        Expr::Identifier(name) => folded(name),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded).unwrap_or_default(),
        _ => format!("argument{}", nth + 1),
    }
}

/// A name as SQL reads it: in lower case unless it is quoted.
pub(crate) fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
