//! `cargo xtask bench --languages`: what the same plugin costs in each language, measured in one run and written into
//! the documentation.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{repo::Repo, shell};

/// Where the table goes.
const PAGE: &str = "host/docs/plugin-languages.md";
/// The languages, by the folder of their SDK, and what a person calls them.
const LANGUAGES: [(&str, &str); 5] =
    [("rust", "Rust"), ("c", "C"), ("go", "Go"), ("js", "JavaScript"), ("python", "Python")];
/// A plugin that all languages have: the folder of the example, and what its table says.
struct Example {
    folder: &'static str,
    heading: &'static str,
    /// What `plinth plugin bench` is told beside the component, whose files are in its folder.
    arguments: &'static [&'static str],
    /// Of what is measured of this kind of plugin only.
    cells: &'static [(&'static str, Cell)],
}

/// A figure or a ratio of `plinth plugin bench`.
enum Cell {
    Micros(&'static str),
    PerSecond,
    /// The first ratio whose name has this.
    Ratio(&'static str),
    /// The same on one thread.
    RatioOnOneThread(&'static str),
}

const ON_ONE_THREAD: &str = "rows-per-second-on-one-thread";
const RECORDS: &str = "records.txt";
const COEFFICIENTS: &str = "coefficients.json";
const EXAMPLES: [Example; 5] = [
    Example {
        folder: "standard-scale",
        heading: "Standard scaling (transform), 100,000 rows of 20 float64 columns",
        arguments: &[],
        cells: &[
            ("one row of 20 columns", Cell::Micros("one-row-us")),
            ("rows/s", Cell::PerSecond),
            ("of the built-in", Cell::Ratio("built-in")),
            ("of native code", Cell::Ratio("native")),
            ("on one thread", Cell::RatioOnOneThread("native")),
        ],
    },
    Example {
        folder: "linear-model",
        heading: "A linear model of 20 columns (predict), 100,000 rows",
        arguments: &["--artifact", COEFFICIENTS],
        cells: &[("one row of 20 columns", Cell::Micros("one-row-us")), ("rows/s", Cell::PerSecond)],
    },
    Example {
        folder: "psi",
        heading: "Population stability index (drift), two samples of 10,000 rows",
        arguments: &[],
        cells: &[
            ("100 rows", Cell::Micros("test-of-100-us")),
            ("rows/s", Cell::PerSecond),
            ("of the built-in", Cell::Ratio("built-in")),
        ],
    },
    Example {
        folder: "fixed-width",
        heading: "A file of fixed widths (loader), 100,000 rows of 4 columns, beside the same rows as CSV",
        arguments: &[
            "--input",
            RECORDS,
            "--options",
            r#"{"columns": [{"name": "id", "width": 8, "kind": "int64"}, {"name": "amount", "width": 12, "kind": "float64"},
                {"name": "city", "width": 10, "kind": "utf8"}, {"name": "paid", "width": 5, "kind": "boolean"}]}"#,
        ],
        cells: &[
            ("plan", Cell::Micros("plan-us")),
            ("rows/s", Cell::PerSecond),
            ("of the built-in", Cell::Ratio("built-in")),
        ],
    },
    Example {
        folder: "threshold-gate",
        heading: "A threshold (gate), a candidate and a version of three metrics each",
        arguments: &["--options", r#"{"thresholds": [{"metric": "f1", "min": 0.8}]}"#],
        cells: &[("one judgement", Cell::Micros("evaluation-us")), ("of the built-in", Cell::Ratio("built-in"))],
    },
];

/// Builds the plugins with the release binary, measures them, and writes the page.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let plinth = repo.target().join("release/plinth");
    let folder = repo.target().join("language-bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    write_inputs(&folder)?;
    let mut page = String::from(
        "# The same plugin in five languages\n\n\
         Written by `cargo xtask bench --languages`: every figure of this page was measured in one run of a release \
         build, on two cores of a shared machine. Ratios count; absolute figures are that machine's.\n",
    );
    for example in &EXAMPLES {
        write!(page, "\n## {}\n\n| language | size | load from cache | instance |", example.heading)?;
        example.cells.iter().try_for_each(|(name, _)| write!(page, " {name} |"))?;
        write!(page, "\n|{}\n", "---|".repeat(4 + example.cells.len()))?;
        for (language, name) in LANGUAGES {
            let told = measure(repo, &plinth, &folder, language, example)?;
            shell::say(&format!("measured {} in {name}", example.folder));
            let row = row(&told, example).with_context(|| format!("{} in {name}", example.folder))?;
            writeln!(page, "| {name} |{row}")?;
        }
    }
    page.push_str(
        "\nA large table is computed on several threads, here two, each with an instance of its own; native code is the same loop \
         on one thread, which is also what the last column compares it with. There it is at its best: it writes into pages \
         that it wrote before and that are still in the processor's cache, which a component's rows, copied in, computed and \
         copied out, move through three times. `cargo xtask bench transform` measures both, into pages used again and into \
         fresh ones.\n\
         \nAll five return the same bytes in the deterministic profile, so a plugin may begin in the language that its \
         author knows and move when its cost is felt. **Rust and C** suit every place, the online endpoint and the edge \
         included. **Go** suits batches and endpoints that can spare some microseconds. **JavaScript and Python** suit \
         batches of moderate size, gates and drift tests, where a call looks at many rows or is made seldom; Python's \
         size and first compile are felt on an edge device.\n",
    );
    let path = repo.path(PAGE);
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    shell::say(&format!("wrote {PAGE}"));
    Ok(())
}

/// What the loader reads and what the model is loaded from.
fn write_inputs(folder: &Path) -> Result<()> {
    let records: String = (0..100_000_u64)
        .map(|row| {
            let (amount, city, paid) = (row as f64 / 7.0, ["Bonn", "Lyon", "Porto"][row as usize % 3], row % 2 == 0);
            format!("{row:>8}{amount:>12.4}{city:<10}{paid:>5}\n")
        })
        .collect();
    let coefficients: Vec<Value> =
        (0..20).map(|i| json!({"column": format!("x{i}"), "value": f64::from(i) / 8.0})).collect();
    let model = json!({"intercept": 0.5, "coefficients": coefficients}).to_string();
    for (name, text) in [(RECORDS, records), (COEFFICIENTS, model)] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The cells of one language, after its name.
fn row(told: &Value, example: &Example) -> Result<String> {
    let figure = |key: &str| told["figures"][key].as_f64().with_context(|| format!("no figure {key}"));
    let ratio = |part: &str| {
        let ratios = told["ratios"].as_object().into_iter().flatten();
        let found = ratios.filter(|(name, _)| name.contains(part)).find_map(|(_, value)| value.as_f64());
        found.with_context(|| format!("no ratio to {part}"))
    };
    let mut row = format!(
        " {:.0} KiB | {:.1} ms | {:.0} µs |",
        figure("bytes")? / 1024.0,
        figure("load-from-cache-ms")?,
        figure("instance-us")?
    );
    for (_, cell) in example.cells {
        match cell {
            Cell::Micros(key) => write!(row, " {:.1} µs |", figure(key)?),
            Cell::PerSecond => write!(row, " {:.0} |", figure("rows-per-second")?),
            Cell::Ratio(to) => write!(row, " {:.2} |", ratio(to)?),
            Cell::RatioOnOneThread(to) => {
                write!(row, " {:.2} |", ratio(to)? * figure(ON_ONE_THREAD)? / figure("rows-per-second")?)
            }
        }?;
    }
    Ok(row)
}

fn measure(repo: &Repo, plinth: &Path, folder: &Path, language: &str, example: &Example) -> Result<Value> {
    let Example { folder: example, arguments, .. } = example;
    let component = if language == "rust" {
        repo.path(&format!("target/plugins/{example}-rust.wasm"))
    } else {
        let component = folder.join(format!("{example}-{language}.wasm"));
        let project = repo.path(&format!("sdk/{language}/examples/{example}"));
        shell::read(Command::new(plinth).args(["plugin", "build"]).arg(project).arg("--output").arg(&component))?;
        component
    };
    let mut bench = Command::new(plinth);
    bench
        .args(["plugin", "bench", "--json"])
        .arg(&component)
        .args(*arguments)
        .env("PLINTH_PLUGINS", repo.path("target/plugins"));
    let told = shell::read(bench.current_dir(folder))?;
    serde_json::from_str(&told).with_context(|| format!("{example} in {language}: {told}"))
}
