//! The plugin reference: `wit/` in a form that a person reads, joined with who calls it, what bounds it and how it ends.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use plinth_core::PluginLimits;
use serde_json::Value;
use wit_parser::{
    Docs, Function, FunctionKind, Handle, Interface, InterfaceId, Resolve, Type, TypeDef, TypeDefKind, TypeId, World,
    WorldItem, WorldKey,
};

use super::contract::{CAPABILITIES, Capability, ENDINGS, POINTS, PROBLEMS, Point};
use crate::check::wit;

const HEAD: &str = "# Plugin reference

<!-- Written by `cargo xtask docs` from wit/, host/core/src/limits.rs and host/xtask/src/docs/contract.rs. -->

What a plugin exports, what it may import, and what bounds it: version 0.2 of the contract. How to write a plugin is
in the [author's guide](plugin-guide.md); what an operator grants, with the reasons, in
[plugin-capabilities.md](plugin-capabilities.md); versions and compatibility in [wit/README.md](../../wit/README.md).
Each SDK spells these names its own way; its README has the table.

Every call, of whatever extension point, has a deadline (`call-ms-max`; `online-call-ms-max` when it answers a request)
and an instance of bounded memory (`memory-bytes-max`). An instance that had a fault is never called again. Whatever a
plugin returns is checked before it is believed. Limits are fields of `[limits.plugin]` in `plinth.toml`.
";

/// The whole page. `limits` is the source of the limits, whose comments say what each is for.
pub(super) fn page(folder: &Path, limits: &str) -> Result<String> {
    let resolve = wit::resolve(folder)?;
    let mut page = String::from(HEAD);
    contents(&mut page);
    page.push_str("\n## Extension points\n");
    for point in POINTS {
        self::point(&mut page, &resolve, point)?;
    }
    page.push_str(
        "\n## Capabilities\n\nEach is an interface of `plinth:host`. What was not granted is not linked: the plugin does \
         not start, and the\nerror (`plugin-denied`) names the line that would allow it. The lines stand below \
         `[plugins.NAME]` in `plinth.toml`,\nwhere NAME is what the operator calls the plugin (`[plugins.\"./x.wasm\"]` \
         for one that is named by its file).\nA problem is an answer that the plugin can deal with; a fault ends the call. \
         All host calls together are bounded by\n`host-calls-per-second-max`, and their time counts in the deadline of the \
         call.\n",
    );
    for capability in CAPABILITIES {
        self::capability(&mut page, &resolve, capability)?;
    }
    page.push_str("\n## Shared types\n");
    functions_and_types(&mut page, &resolve, find(&resolve, "plinth:types/types")?);
    endings(&mut page);
    limits_table(&mut page, limits)?;
    everything_told(&resolve)?;
    Ok(page)
}

fn contents(page: &mut String) {
    page.push('\n');
    let name = |interface: &'static str| interface.rsplit('/').next().unwrap_or_default();
    let link = |name: &str| format!("[{name}](#{name})");
    let points: Vec<String> = POINTS.iter().map(|point| link(name(point.interface))).collect();
    let capabilities: Vec<String> = CAPABILITIES.iter().map(|capability| link(capability.name)).collect();
    writeln!(
        page,
        "- [Extension points](#extension-points): {}\n- [Capabilities](#capabilities): {}\n- [Shared types](#shared-types)\n\
         - [How a call ends](#how-a-call-ends)\n- [All limits](#all-limits)",
        points.join(", "),
        capabilities.join(", ")
    )
    .expect("writing to a string does not fail");
}

/// Fails on an interface that the page would leave out.
fn everything_told(resolve: &Resolve) -> Result<()> {
    for (id, _) in resolve.interfaces.iter() {
        let name = path(resolve, id);
        let told = name == "plinth:types/types"
            || POINTS.iter().any(|point| point.interface == name)
            || CAPABILITIES.iter().any(|capability| name == format!("plinth:host/{}", capability.name));
        anyhow::ensure!(told, "`{name}` has no entry in host/xtask/src/docs/contract.rs");
    }
    Ok(())
}

/// `plinth:host/kv`, without its version.
fn path(resolve: &Resolve, id: InterfaceId) -> String {
    let name = resolve.id_of(id).unwrap_or_default();
    name.split_once('@').map_or(name.clone(), |(path, _)| path.to_owned())
}

fn find<'a>(resolve: &'a Resolve, name: &str) -> Result<&'a Interface> {
    let mut all = resolve.interfaces.iter();
    let found = all.find(|(id, _)| path(resolve, *id) == name).map(|(_, interface)| interface);
    found.with_context(|| format!("host/xtask/src/docs/contract.rs tells of `{name}`, which is not in wit/"))
}

fn point(page: &mut String, resolve: &Resolve, point: &Point) -> Result<()> {
    let interface = find(resolve, point.interface)?;
    let name = interface.name.clone().unwrap_or_default();
    let package = interface.package.map(|id| &resolve.packages[id]);
    heading(page, 3, &name);
    paragraph(page, package.map(|package| &package.docs));
    bullet(page, "Interface", &format!("`{}`", full(resolve, point.interface)));
    let worlds = package.into_iter().flat_map(|package| package.worlds.values());
    for world in worlds.map(|id| &resolve.worlds[*id]) {
        bullet(page, "World", &self::world(resolve, world));
    }
    bullet(page, "Used by", point.used_by);
    page.push_str("\n**Calls, in their order**\n\n");
    for (func, told) in point.calls {
        let known = interface.functions.values().any(|function| plain_name(resolve, function) == *func);
        anyhow::ensure!(known, "`{}` has no `{func}`, of which host/xtask/src/docs/contract.rs tells", point.interface);
        item(page, &format!("`{func}`: {told}"));
    }
    for function in interface.functions.values().map(|function| plain_name(resolve, function)) {
        let told = point.calls.iter().any(|(func, _)| *func == function);
        anyhow::ensure!(told, "host/xtask/src/docs/contract.rs does not tell when `{function}` is called");
    }
    list(page, "What the host promises", point.promises);
    list(page, "What the host checks", point.checks);
    bullet_line(page, "After a fault", point.fault);
    bullet_line(page, "Limits, beside those of every call", &names(point.limits));
    functions_and_types(page, resolve, interface);
    Ok(())
}

fn capability(page: &mut String, resolve: &Resolve, capability: &Capability) -> Result<()> {
    let path = format!("plinth:host/{}", capability.name);
    let interface = find(resolve, &path)?;
    heading(page, 3, capability.name);
    paragraph(page, Some(&interface.docs));
    bullet(page, "Interface", &format!("`{}`", full(resolve, &path)));
    bullet(page, "Granted", capability.granted);
    bullet(page, "Limits", &names(capability.limits));
    if !capability.faults.is_empty() {
        bullet(page, "Ends the call with", &capability.faults.join(" "));
    }
    if !capability.lines.is_empty() {
        writeln!(page, "\n```toml\n[plugins.embed]\n{}\n```", capability.lines).expect(NO_FAILURE);
    }
    if !capability.problems.is_empty() {
        page.push_str("\n| problem | when |\n|---|---|\n");
        for (code, when) in capability.problems {
            writeln!(page, "| `{code}` | {when} |").expect(NO_FAILURE);
        }
    }
    functions_and_types(page, resolve, interface);
    Ok(())
}

const NO_FAILURE: &str = "writing to a string does not fail";

fn heading(page: &mut String, level: usize, text: &str) {
    writeln!(page, "\n{} {text}\n", "#".repeat(level)).expect(NO_FAILURE);
}

/// Markdown's own wrapping does for the page what the comments' did for the source.
fn paragraph(page: &mut String, docs: Option<&Docs>) {
    if let Some(text) = docs.and_then(|docs| docs.contents.as_deref()) {
        writeln!(page, "{}\n", text.trim()).expect(NO_FAILURE);
    }
}

fn bullet(page: &mut String, what: &str, text: &str) {
    writeln!(page, "- {what}: {text}").expect(NO_FAILURE);
}

fn bullet_line(page: &mut String, what: &str, text: &str) {
    writeln!(page, "\n**{what}**: {text}").expect(NO_FAILURE);
}

fn item(page: &mut String, text: &str) {
    writeln!(page, "1. {text}").expect(NO_FAILURE);
}

fn list(page: &mut String, title: &str, texts: &[&str]) {
    writeln!(page, "\n**{title}**\n").expect(NO_FAILURE);
    for text in texts {
        writeln!(page, "- {text}").expect(NO_FAILURE);
    }
}

fn names(limits: &[&str]) -> String {
    if limits.is_empty() {
        return "none of its own.".into();
    }
    limits.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// With its version.
fn full(resolve: &Resolve, name: &str) -> String {
    let ids = resolve.interfaces.iter().map(|(id, _)| id);
    ids.filter(|id| path(resolve, *id) == name).find_map(|id| resolve.id_of(id)).unwrap_or_default()
}

fn world(resolve: &Resolve, world: &World) -> String {
    let name = |(key, item): (&WorldKey, &WorldItem)| match (key, item) {
        (WorldKey::Interface(id), _) | (_, WorldItem::Interface { id, .. }) => format!("`{}`", path(resolve, *id)),
        (WorldKey::Name(name), _) => format!("`{name}`"),
    };
    let package = world.package.map(|id| resolve.packages[id].name.clone());
    let package = package.map(|package| format!("{}:{}/", package.namespace, package.name)).unwrap_or_default();
    let imports: Vec<String> =
        world.imports.iter().map(name).filter(|name| name.starts_with("`plinth:host/")).collect();
    format!("`{package}{}`, which imports {}", world.name, imports.join(", "))
}

fn functions_and_types(page: &mut String, resolve: &Resolve, interface: &Interface) {
    page.push('\n');
    for (name, id) in &interface.types {
        // A `use` is told where the type is.
        if !matches!(resolve.types[*id].kind, TypeDefKind::Type(Type::Id(_))) {
            type_definition(page, resolve, interface, name, *id);
        }
    }
    for function in interface.functions.values().filter(|function| matches!(function.kind, FunctionKind::Freestanding))
    {
        self::function(page, resolve, function);
    }
}

fn docs(docs: &Docs) -> String {
    docs.contents.as_deref().unwrap_or_default().trim().to_owned()
}

/// In one line, for a table.
fn line(text: &Docs) -> String {
    docs(text).split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn type_definition(page: &mut String, resolve: &Resolve, interface: &Interface, name: &str, id: TypeId) {
    let definition: &TypeDef = &resolve.types[id];
    writeln!(page, "#### {} `{name}`\n\n{}\n", definition.kind.as_str(), docs(&definition.docs)).expect(NO_FAILURE);
    match &definition.kind {
        TypeDefKind::Record(record) => {
            page.push_str("| field | type | |\n|---|---|---|\n");
            for field in &record.fields {
                let ty = type_name(resolve, &field.ty);
                writeln!(page, "| `{}` | `{ty}` | {} |", field.name, line(&field.docs)).expect(NO_FAILURE);
            }
            page.push('\n');
        }
        TypeDefKind::Enum(cases) => {
            cases_table(page, cases.cases.iter().map(|case| (case.name.clone(), line(&case.docs))));
        }
        TypeDefKind::Variant(variant) => cases_table(
            page,
            variant.cases.iter().map(|case| {
                let payload = case.ty.as_ref().map(|ty| format!("({})", type_name(resolve, ty))).unwrap_or_default();
                (format!("{}{payload}", case.name), line(&case.docs))
            }),
        ),
        TypeDefKind::Flags(flags) => {
            cases_table(page, flags.flags.iter().map(|flag| (flag.name.clone(), line(&flag.docs))));
        }
        TypeDefKind::Resource => {
            let methods = interface.functions.values().filter(|function| function.kind.resource() == Some(id));
            methods.for_each(|method| function(page, resolve, method));
        }
        other => writeln!(page, "`{}`\n", kind_name(resolve, other)).expect(NO_FAILURE),
    }
}

fn cases_table(page: &mut String, cases: impl Iterator<Item = (String, String)>) {
    page.push_str("| case | |\n|---|---|\n");
    for (name, docs) in cases {
        writeln!(page, "| `{name}` | {docs} |").expect(NO_FAILURE);
    }
    page.push('\n');
}

/// `fitting.start`, as messages of the host have it.
fn plain_name(resolve: &Resolve, function: &Function) -> String {
    let of = function.kind.resource().and_then(|id| resolve.types[id].name.clone());
    of.map_or_else(|| function.item_name().to_owned(), |resource| format!("{resource}.{}", function.item_name()))
}

fn function(page: &mut String, resolve: &Resolve, function: &Function) {
    let is_static = if matches!(function.kind, FunctionKind::Static(_)) { "static " } else { "" };
    let method = matches!(function.kind, FunctionKind::Method(_));
    // A method's first parameter is what it is called on.
    let params = function.params.iter().skip(usize::from(method));
    let params: Vec<String> =
        params.map(|param| format!("{}: {}", param.name, type_name(resolve, &param.ty))).collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", type_name(resolve, ty))).unwrap_or_default();
    let name = plain_name(resolve, function);
    let one = format!("{name}: {is_static}func({}){result}", params.join(", "));
    let signature = match one.len() > 100 {
        true => format!("{name}: {is_static}func(\n  {},\n){result}", params.join(",\n  ")),
        false => one,
    };
    writeln!(page, "```wit\n{signature}\n```\n{}\n", docs(&function.docs)).expect(NO_FAILURE);
}

/// A type as WIT writes it.
fn type_name(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::S8 => "s8".into(),
        Type::S16 => "s16".into(),
        Type::S32 => "s32".into(),
        Type::S64 => "s64".into(),
        Type::F32 => "f32".into(),
        Type::F64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::ErrorContext => "error-context".into(),
        Type::Id(id) => {
            let definition = &resolve.types[*id];
            definition.name.clone().unwrap_or_else(|| kind_name(resolve, &definition.kind))
        }
    }
}

fn kind_name(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let name = |ty: &Type| type_name(resolve, ty);
    let or_nothing = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".into(), name);
    match kind {
        TypeDefKind::Option(ty) => format!("option<{}>", name(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", name(ty)),
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (Some(ok), None) => format!("result<{}>", name(ok)),
            (ok, err) => format!("result<{}, {}>", or_nothing(ok), or_nothing(err)),
        },
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", tuple.types.iter().map(name).collect::<Vec<_>>().join(", ")),
        TypeDefKind::Handle(Handle::Own(id)) => resolve.types[*id].name.clone().unwrap_or_default(),
        TypeDefKind::Handle(Handle::Borrow(id)) => {
            format!("borrow<{}>", resolve.types[*id].name.clone().unwrap_or_default())
        }
        TypeDefKind::Type(ty) => name(ty),
        other => other.as_str().into(),
    }
}

fn endings(page: &mut String) {
    page.push_str(
        "\n## How a call ends\n\nWell, with a problem, or with a fault. A problem is `{code, message, retryable, row, \
         column}`; the host passes its message\non, cut to `message-bytes-max`. The codes that the host knows become codes \
         of Plinth's own, so that scripts need not\nknow which plugin met them; all others are `plugin-problem`.\n\n\
         | problem of a plugin | Plinth's code |\n|---|---|\n",
    );
    for (problems, code) in PROBLEMS {
        let problems: Vec<String> = problems.iter().map(|problem| format!("`{problem}`")).collect();
        writeln!(page, "| {} | `{}` |", problems.join(", "), code.name()).expect(NO_FAILURE);
    }
    page.push_str(
        "\nWhat else may come of loading a plugin and calling it, with the exit code of the command and what to do. All \
         codes are in\n[errors.md](errors.md).\n\n| code | exit | meaning | limits | what to do |\n|---|---|---|---|---|\n",
    );
    for (code, limits, fix) in ENDINGS {
        let limits: Vec<String> = limits.iter().map(|name| format!("`{name}`")).collect();
        let (name, exit) = (code.name(), code.class().exit_code());
        writeln!(page, "| `{name}` | {exit} | {} | {} | {fix} |", code.meaning(), limits.join(", ")).expect(NO_FAILURE);
    }
}

fn limits_table(page: &mut String, source: &str) -> Result<()> {
    page.push_str(
        "\n## All limits\n\nFields of `[limits.plugin]` in `plinth.toml`, with their defaults. The environment sets them \
         too:\n`PLINTH_LIMITS_PLUGIN_CALL_MS_MAX=60000`.\n\n| limit | default | what it bounds |\n|---|---|---|\n",
    );
    let defaults = serde_json::to_value(PluginLimits::default())?;
    for (name, value) in defaults.as_object().context("limits are a record")? {
        let told = comment_of(source, &name.replace('-', "_"))
            .with_context(|| format!("host/core/src/limits.rs does not say what `{name}` is for"))?;
        writeln!(page, "| `{name}` | {} | {told} |", amount(name, value)?).expect(NO_FAILURE);
    }
    Ok(())
}

/// The comment above a field of the plugins' limits.
fn comment_of(source: &str, field: &str) -> Option<String> {
    let body = source.split_once("pub struct PluginLimits {")?.1.split_once("\n}\n")?.0;
    let mut comment = Vec::new();
    for text in body.lines().map(str::trim) {
        if let Some(words) = text.strip_prefix("///") {
            comment.push(words.trim());
        } else if text.strip_prefix("pub ").is_some_and(|rest| rest.split(':').next() == Some(field)) {
            return Some(comment.join(" ")).filter(|words| !words.is_empty());
        } else {
            comment.clear();
        }
    }
    None
}

/// A number with the unit that its name has.
fn amount(name: &str, value: &Value) -> Result<String> {
    let number = value.as_u64().with_context(|| format!("`{name}` is no number"))?;
    Ok(if name.contains("-bytes-") || name.ends_with("-bytes") {
        match number {
            0x4000_0000.. if number % 0x4000_0000 == 0 => format!("{} GiB", number >> 30),
            0x10_0000.. if number % 0x10_0000 == 0 => format!("{} MiB", number >> 20),
            0x400.. if number % 0x400 == 0 => format!("{} KiB", number >> 10),
            _ => format!("{number} bytes"),
        }
    } else if name.contains("-ms") {
        if number % 1_000 == 0 { format!("{} s", number / 1_000) } else { format!("{number} ms") }
    } else {
        grouped(number)
    })
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn whole() -> String {
        let limits = std::fs::read_to_string(root().join("host/core/src/limits.rs")).unwrap();
        page(&root().join("wit"), &limits).unwrap()
    }

    #[test]
    fn functions_types_and_limits_are_told_with_their_comments() {
        let page = whole();
        for part in [
            "```wit\nfitted.load: static func(name: string, state: list<u8>, input: schema) -> result<fitted, problem>\n```",
            "kv.set",
            "| `p-value` | `option<f64>` | Probability of such a statistic without drift, for tests that have one. |",
            "| `done(list<u8>)` | The fitted state, opaque to the host. |",
            "| `call-ms-max` | 30 s | Wall-clock time of one call, host calls included. |",
            "| `memory-bytes-max` | 256 MiB |",
            "| `output-rows-max` | 1,048,576 |",
        ] {
            let part = part.replace("kv.set", "set: func(key: string, value: list<u8>) -> result<_, problem>");
            assert!(page.contains(&part), "{part}");
        }
        assert_eq!(page, whole());
    }

    #[test]
    fn a_limit_without_a_comment_is_an_error_and_units_follow_names() {
        assert_eq!(
            comment_of("pub struct PluginLimits {\n    /// A\n    /// b.\n    pub a_max: u64,\n}\n", "a_max").unwrap(),
            "A b."
        );
        assert_eq!(comment_of("pub struct PluginLimits {\n    pub a_max: u64,\n}\n", "a_max"), None);
        assert_eq!(amount("rest-ms", &1_500.into()).unwrap(), "1500 ms");
        assert_eq!(amount("x-bytes-max", &1_025.into()).unwrap(), "1025 bytes");
        assert_eq!(amount("x-max", &12.into()).unwrap(), "12");
    }
}
