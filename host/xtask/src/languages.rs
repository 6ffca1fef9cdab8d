//! `cargo xtask bench --languages`: what the same plugin costs in each language, measured in one run and written into
//! the documentation.

use std::{fmt::Write as _, fs, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{repo::Repo, shell};

/// Where the table goes.
const PAGE: &str = "host/docs/plugin-languages.md";
/// The languages, by the folder of their SDK, and what a person calls them.
const LANGUAGES: [(&str, &str); 5] =
    [("rust", "Rust"), ("c", "C"), ("go", "Go"), ("js", "JavaScript"), ("python", "Python")];
/// The plugins that all languages have and that are measured: an example's folder, and what the table says of it.
const EXAMPLES: [(&str, &str); 2] = [
    ("standard-scale", "Standard scaling (transform), 100,000 rows of 20 float64 columns"),
    ("psi", "Population stability index (drift), two samples of 10,000 rows"),
];

/// Builds the plugins with the release binary, measures them, and writes the page.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let plinth = repo.target().join("release/plinth");
    let folder = repo.target().join("language-bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut page = String::from(
        "# The same plugin in five languages\n\n\
         Written by `cargo xtask bench --languages`: every figure of this page was measured in one run of a release \
         build, on two cores of a shared machine. Ratios count; absolute figures are that machine's.\n",
    );
    for (example, what) in EXAMPLES {
        let transform = example == "standard-scale";
        let call = if transform { "one row of 20 columns" } else { "100 rows" };
        let native = if transform { " | of native code | on one thread |" } else { " |" };
        write!(
            page,
            "\n## {what}\n\n| language | size | load from cache | instance | {call} | rows/s | of the built-in{native}\n|"
        )?;
        page.push_str(&"---|".repeat(if transform { 9 } else { 7 }));
        page.push('\n');
        for (language, name) in LANGUAGES {
            let told = measure(repo, &plinth, &folder, language, example)?;
            let figure = |key: &str| told["figures"][key].as_f64().with_context(|| format!("{name}: no {key}"));
            let one = if transform { "one-row-us" } else { "test-of-100-us" };
            let ratio = |of: &str| {
                let all = told["ratios"].as_object().into_iter().flatten();
                all.filter(|(key, _)| key.contains(of)).find_map(|(_, value)| value.as_f64()).unwrap_or_default()
            };
            shell::say(&format!("measured {example} in {name}"));
            write!(
                page,
                "| {name} | {:.0} KiB | {:.1} ms | {:.0} µs | {:.1} µs | {:.0} | {:.2} |",
                figure("bytes")? / 1024.0,
                figure("load-from-cache-ms")?,
                figure("instance-us")?,
                figure(one)?,
                figure("rows-per-second")?,
                ratio("built-in"),
            )?;
            if transform {
                let (all, one) = (figure("rows-per-second")?, figure("rows-per-second-on-one-thread")?);
                write!(page, " {:.2} | {:.2} |", ratio("native"), ratio("native") * one / all)?;
            }
            page.push('\n');
        }
    }
    page.push_str(
        "\nA large table is computed on as many threads as there are processors, each with an instance of its own; native code \
         is the same loop on one thread, which is also what the last column compares it with. There it is at its best: it \
         writes into pages that it wrote before and that are still in the processor's cache, which a component's rows, \
         copied in, computed and copied out, move through three times. `cargo xtask bench transform` measures both, into \
         pages used again and into fresh ones.\n\
         \nAll five return the same bytes in the deterministic profile, so a plugin may begin in the language that its \
         author knows and move when its cost is felt. **Rust and C** suit every place, the online endpoint and the edge \
         included. **Go** suits batches and endpoints that can spare tens of microseconds. **JavaScript and Python** suit \
         batches of moderate size, gates and drift tests, where a call looks at many rows or is made seldom; Python's \
         size and first compile are felt on an edge device.\n",
    );
    let path = repo.path(PAGE);
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    shell::say(&format!("wrote {PAGE}"));
    Ok(())
}

fn measure(
    repo: &Repo,
    plinth: &std::path::Path,
    folder: &std::path::Path,
    language: &str,
    example: &str,
) -> Result<Value> {
    let component = if language == "rust" {
        repo.path(&format!("target/plugins/{example}-rust.wasm"))
    } else {
        let component = folder.join(format!("{example}-{language}.wasm"));
        let project = repo.path(&format!("sdk/{language}/examples/{example}"));
        shell::read(Command::new(plinth).args(["plugin", "build"]).arg(project).arg("--output").arg(&component))?;
        component
    };
    let mut bench = Command::new(plinth);
    bench.args(["plugin", "bench", "--json"]).arg(&component).env("PLINTH_PLUGINS", repo.path("target/plugins"));
    let told = shell::read(bench.current_dir(folder))?;
    serde_json::from_str(&told).with_context(|| format!("{example} in {language}: {told}"))
}
