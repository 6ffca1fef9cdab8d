//! The components that misbehave, what each offers, and one misdeed at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use plinth_core::{Coded, PluginLimits};
use plinth_ext::{Batch, Evidence, ExtError, Step};
use plinth_plugin::{ExtensionPoint, FileObjects, Grants, Host, Plugin};

use crate::{
    deeds::{BY_OPTION, Deed, Way, anywhere, ends},
    lent::{GRANTED_URL, OneTable, rows, services},
};

/// The guests, each granted everything, and their misdeeds.
pub(crate) struct Guests {
    plugins: Vec<Plugin>,
    pub(crate) deeds: Vec<Deed>,
    rows: Batch,
    source: PathBuf,
}

/// The components that misbehave in every way there is, in a folder of built ones.
pub(crate) fn in_rust(folder: &Path) -> [PathBuf; 3] {
    ["evil", "evil-imports", "evil-model"].map(|name| folder.join(format!("{name}.wasm")))
}

impl Guests {
    /// Reads the components, and asks each what it offers: every item must be one whose end is known.
    pub(crate) fn new(host: &Host, components: &[PathBuf], folder: &Path, limits: &PluginLimits) -> Result<Self> {
        let source = folder.join("sources");
        fs::create_dir_all(&source)?;
        for number in 0..1_000 {
            fs::write(source.join(format!("{number:04}")), "0123456789")?;
        }
        let grants = Grants::of(Grants::known().iter().copied()).served_by(services(folder, limits));
        let (mut plugins, mut deeds) = (Vec::new(), Vec::new());
        for path in components {
            let plugin = host.load_file(path, &grants)?;
            for point in plugin.exports().to_vec() {
                offered(&plugin, plugins.len(), point, &mut deeds).with_context(|| path.display().to_string())?;
            }
            plugins.push(plugin);
        }
        Ok(Self { plugins, deeds, rows: rows()?, source })
    }

    /// The name of the component of a deed.
    pub(crate) fn name(&self, deed: &Deed) -> &str {
        self.plugins[deed.guest].name()
    }

    /// Commits a misdeed, on an instance of its own; gives what it answered, where that is a text. `ended` is shown how the
    /// call of a fitted transform, a gate, a drift test or a model ended, while that is still there.
    ///
    /// # Errors
    /// That in which it ended.
    pub(crate) fn commit(
        &self,
        deed: &Deed,
        ended: impl FnOnce(&Result<String, ExtError>),
    ) -> Result<String, ExtError> {
        let show = |answer: Result<String, ExtError>| {
            ended(&answer);
            answer
        };
        let nothing = |()| String::new();
        let (guest, item) = (&self.plugins[deed.guest], deed.item.as_str());
        let at = match anywhere(item) && !deed.at.is_empty() {
            true => format!("{{\"at\": \"{}\"}}", deed.at),
            false => "{}".to_owned(),
        };
        let schema = self.rows.schema();
        match deed.way {
            Way::Apply => {
                // The state of such a transform is the place of its misdeed.
                let state = if anywhere(item) { deed.at } else { "" };
                let fitted = asked(guest.online_transform())?.load(item, state.as_bytes(), schema)?;
                show(fitted.apply(&self.rows).map(drop).map(nothing))
            }
            Way::Fit => {
                let mut fitting = asked(guest.transform())?.start(item, schema, &at)?;
                for _ in 0..20 {
                    fitting.update(&self.rows)?;
                    let partial = fitting.partial()?;
                    fitting.merge(&partial)?;
                    if let Step::Done(_) = fitting.end_pass()? {
                        break;
                    }
                }
                Ok(String::new())
            }
            Way::Read => {
                let source = self.source.join("0000").display().to_string();
                let loader = asked(guest.loader(Arc::new(FileObjects::new([self.source.clone()]))))?;
                let plan = loader.plan(item, &source, &at)?;
                if item.starts_with("object") {
                    // Its misdeed was the plan; there is nothing to read but what it says.
                    let said = plan.partitions.first().map(|part| String::from_utf8_lossy(&part.token).into_owned());
                    return Ok(said.unwrap_or_default());
                }
                let Some(part) = plan.partitions.first() else { return Ok(String::new()) };
                let mut reader = loader.open(item, &source, &at, &plan.schema, &part.token)?;
                // As far as the host's patience with blocks of no rows, and a little beyond.
                for _ in 0..1_100 {
                    if reader.next(10)?.is_none() {
                        break;
                    }
                }
                Ok(String::new())
            }
            Way::Judge => {
                let options = match item {
                    "http-get" | "http-flood" | "http-endless" => format!("{{\"url\": \"{GRANTED_URL}\"}}"),
                    _ if item == BY_OPTION.0 => format!("{{\"deed\": \"{}\"}}", deed.at),
                    _ => "{}".to_owned(),
                };
                let tables = Arc::new(OneTable(self.rows.clone()));
                let gate = asked(guest.gate())?;
                let checks = gate.evaluate(item, &Evidence::default(), &options, tables);
                show(checks.map(|checks| checks.first().map(|check| check.observed.clone()).unwrap_or_default()))
            }
            Way::Compare => {
                let rows = self.rows.project(&[1]);
                let tests = asked(guest.drift_test())?;
                show(tests.test(item, &rows, &rows, "{}").map(drop).map(nothing))
            }
            Way::Predict => {
                let model = asked(guest.online_models())?.load(item, b"", schema, &at)?;
                show(model.predict(&self.rows).map(drop).map(nothing))
            }
        }
    }
}

/// What a guest was asked for; a component that cannot even say what it offers fails as its calls do.
fn asked<T>(answer: Result<T, plinth_plugin::PluginError>) -> Result<T, ExtError> {
    answer.map_err(|error| ExtError::fault("soak", error.code(), error.to_string()))
}

/// The deeds of one extension point of a guest.
fn offered(plugin: &Plugin, guest: usize, point: ExtensionPoint, deeds: &mut Vec<Deed>) -> Result<()> {
    let (items, ways): (Vec<String>, &[Way]) = match point {
        ExtensionPoint::Transform => (names(plugin.transform()?.items()), &[Way::Apply, Way::Fit]),
        ExtensionPoint::Loader => (names(plugin.loader(Arc::new(FileObjects::default()))?.items()), &[Way::Read]),
        ExtensionPoint::Gate => (names(plugin.gate()?.items()), &[Way::Judge]),
        ExtensionPoint::Predict => (names(plugin.models()?.items()), &[Way::Predict]),
        ExtensionPoint::DriftTest => {
            let tests = plugin.drift_test()?;
            (tests.items().iter().map(|test| test.item.name.clone()).collect(), &[Way::Compare])
        }
    };
    for (item, way) in items.iter().flat_map(|item| ways.iter().map(move |way| (item, *way))) {
        if item == BY_OPTION.0 {
            deeds.extend(BY_OPTION.1.map(|(at, ends)| Deed { guest, way, at, item: item.clone(), ends }));
            continue;
        }
        let places = if anywhere(item) { way.places() } else { &way.places()[..1] };
        for at in places {
            let ends = ends(plugin.name(), way, at, item).with_context(|| {
                format!("nobody said how `{item}` of `{}` ends ({}): see deeds.rs", plugin.name(), way.name())
            })?;
            deeds.push(Deed { guest, way, at, item: item.clone(), ends });
        }
    }
    Ok(())
}

fn names(items: &[plinth_ext::Item]) -> Vec<String> {
    items.iter().map(|item| item.name.clone()).collect()
}
