//! What a word on the command line names: by name, by id, by the start of an id, by reference. A word that names nothing
//! is answered with what it might have meant.

use plinth_core::{Coded, closest, codes, did_you_mean, refs::ModelRef};
use plinth_tracking::{
    Experiment, ExperimentSearch, Lifecycle, Place, RegistrySearch, RunSummary, Tracking, TrackingError, View,
};

use crate::output::Failure;

/// How many names are looked through for one that was meant.
const CANDIDATES: u64 = 1_000;
/// How many runs an ambiguous word is told to mean.
const TOLD: usize = 5;

/// The experiment of a name or an id, also a deleted one.
pub(super) fn experiment(tracking: &Tracking, word: &str) -> Result<Experiment, Failure> {
    if let Some(found) = tracking.experiment_by_name(word)? {
        return Ok(found);
    }
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        match tracking.get_experiment(word) {
            Err(TrackingError::ExperimentNotFound(_)) => {}
            found => return Ok(found?),
        }
    }
    let search = ExperimentSearch { view: View::All, most: CANDIDATES, ..ExperimentSearch::default() };
    let names: Vec<String> = tracking.search_experiments(&search)?.items.into_iter().map(|e| e.name).collect();
    let message = format!("there is no experiment `{word}`");
    Err(Failure::new(codes::EXPERIMENT_NOT_FOUND, message).hint(suggest(word, &names, "plinth experiment list")))
}

/// Ids of the experiments that words name; of all if there are none.
pub(super) fn experiment_ids(tracking: &Tracking, words: &[String], view: View) -> Result<Vec<String>, Failure> {
    if !words.is_empty() {
        return words.iter().map(|word| Ok(experiment(tracking, word)?.experiment_id)).collect();
    }
    let mut ids = Vec::new();
    let mut search = ExperimentSearch { view, most: CANDIDATES, ..ExperimentSearch::default() };
    loop {
        let page = tracking.search_experiments(&search)?;
        ids.extend(page.items.into_iter().map(|experiment| experiment.experiment_id));
        match page.next {
            Some(next) => search.skip = next,
            None => return Ok(ids),
        }
    }
}

/// The one run of an id, the start of one, or a name.
pub(super) fn run(tracking: &Tracking, word: &str) -> Result<RunSummary, Failure> {
    let plain = word.strip_prefix("runs:/").unwrap_or(word).trim_end_matches('/');
    match find_run(tracking, plain)? {
        Some(run) => Ok(run),
        None => {
            let recent = tracking.runs(None, CANDIDATES as u32)?;
            let names: Vec<String> = recent.into_iter().map(|run| run.name).collect();
            Err(Failure::new(codes::RUN_NOT_FOUND, format!("there is no run `{plain}`")).hint(suggest(
                plain,
                &names,
                "plinth run list",
            )))
        }
    }
}

/// As [`run`], but for a word that may well be no run's.
pub(super) fn find_run(tracking: &Tracking, word: &str) -> Result<Option<RunSummary>, Failure> {
    let hexadecimal = !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut found = if hexadecimal { tracking.runs_starting_with(word, 100)? } else { Vec::new() };
    if found.is_empty() {
        found = tracking.runs_named(word, 100)?;
        // Who says a name rarely means what was deleted.
        if found.iter().any(|run| run.lifecycle == Lifecycle::Active) {
            found.retain(|run| run.lifecycle == Lifecycle::Active);
        }
    }
    if found.len() <= 1 {
        return Ok(found.pop());
    }
    let ids: Vec<&str> = found.iter().take(TOLD).map(|run| run.run_id.as_str()).collect();
    let more = if found.len() > TOLD { ", …" } else { "" };
    let many = if found.len() == 100 { "100 runs or more".to_owned() } else { format!("{} runs", found.len()) };
    Err(Failure::new(codes::USAGE, format!("`{word}` means {many}"))
        .hint(format!("give more of the id: {}{more}", ids.join(", "))))
}

/// Tells a wrong model by its name, and a wrong version or alias by what there is.
pub(super) fn known_model(tracking: &Tracking, name: &str) -> Result<(), Failure> {
    match tracking.registered_model(name) {
        Err(TrackingError::RegisteredModelNotFound(_)) => {
            let search = RegistrySearch { most: CANDIDATES, ..RegistrySearch::default() };
            let names: Vec<String> = tracking.search_models(&search)?.items.into_iter().map(|m| m.name).collect();
            let message = format!("there is no registered model `{name}`");
            Err(Failure::new(codes::MODEL_NOT_FOUND, message).hint(suggest(name, &names, "plinth model list")))
        }
        found => Ok(found.map(drop)?),
    }
}

/// A version that exists; of a bare name its champion, else its newest.
pub(super) fn version(tracking: &Tracking, word: &str, number: Option<u64>) -> Result<(String, u64), Failure> {
    let reference = match (word.starts_with("models:/"), number) {
        (true, None) => word.parse::<ModelRef>()?,
        (true, Some(_)) => {
            return Err(Failure::new(codes::USAGE, format!("`{word}` names a version already"))
                .hint("leave the number out, or write the model's bare name before it"));
        }
        (false, Some(version)) => ModelRef::Version { name: word.to_owned(), version },
        (false, None) => {
            known_model(tracking, word)?;
            let model = tracking.model(word)?;
            let champion = model.aliases.iter().find(|alias| alias.alias == "champion").map(|alias| alias.version);
            let version = champion
                .or(model.versions.last().copied())
                .ok_or_else(|| Failure::new(codes::MODEL_NOT_FOUND, format!("model `{word}` has no version yet")))?;
            ModelRef::Version { name: word.to_owned(), version }
        }
    };
    let name = reference.name().to_owned();
    known_model(tracking, &name)?;
    let of = |error: TrackingError| -> Failure {
        let failure = Failure::of(&error);
        let Ok(model) = tracking.model(&name) else { return failure };
        let aliases = model.aliases.iter().map(|alias| format!("@{}", alias.alias));
        let newest = model.versions.iter().rev().take(TOLD).map(u64::to_string);
        failure.hint(match &reference {
            ModelRef::Alias { alias, .. } => {
                did_you_mean(alias, model.aliases.iter().map(|alias| alias.alias.as_str()))
            }
            ModelRef::Version { .. } => format!("there is {}", newest.chain(aliases).collect::<Vec<_>>().join(", ")),
        })
    };
    let version = match &reference {
        ModelRef::Version { version, .. } => *version,
        ModelRef::Alias { alias, .. } => tracking.alias(&name, alias).map_err(of)?,
    };
    match tracking.version(&name, version) {
        Ok(found) => Ok((name, found.version)),
        Err(error) if error.code() == codes::MODEL_NOT_FOUND => Err(of(error)),
        Err(error) => Err(error.into()),
    }
}

/// Whose files are meant, and where they are.
pub(super) struct Owner {
    /// For a person.
    pub(super) name: String,
    /// Below the artifact store.
    pub(super) root: String,
    /// Why files may not be added or removed, if they may not.
    pub(super) fixed: Option<String>,
}

/// The owner of files, and the path that its reference went on with.
pub(super) fn owner(tracking: &Tracking, word: &str) -> Result<(Owner, String), Failure> {
    let (word, path) = match word.strip_prefix("runs:/").and_then(|rest| rest.split_once('/')) {
        Some((run, path)) => (run, path),
        None => (word, ""),
    };
    let model_id = word.strip_prefix("models:/").unwrap_or(word);
    let (name, place, fixed) = if model_id.starts_with("m-") && !model_id.contains(['/', '@']) {
        let place = tracking.logged_model_place(model_id)?;
        (format!("logged model {model_id}"), place, None)
    } else if word.starts_with("models:/") {
        let (name, version) = version(tracking, word, None)?;
        let reference = format!("models:/{name}/{version}");
        let fixed = Some(format!("{reference} is a version, and what a version is never changes"));
        (reference, tracking.version_place(&name, version)?, fixed)
    } else {
        let run = run(tracking, word)?;
        let deleted = run.lifecycle == Lifecycle::Deleted;
        let fixed = deleted.then(|| format!("run {} is deleted", run.run_id));
        (format!("run {}", run.run_id), tracking.run_place(&run.run_id)?, fixed)
    };
    match place {
        Place::Here(root) => Ok((Owner { name, root, fixed }, path.trim_matches('/').to_owned())),
        Place::Elsewhere(uri) => Err(Failure::new(codes::BAD_REQUEST, format!("the files of {name} are not here"))
            .hint(format!("they are at {uri}: use that store's own tools"))),
    }
}

/// A metric that a run must have.
pub(super) fn unknown_metric(key: &str, keys: &[String]) -> Failure {
    let hint = if keys.is_empty() { "it logged no metric".to_owned() } else { suggest(key, keys, "plinth run show") };
    Failure::new(codes::METRIC_NOT_FOUND, format!("there is no metric `{key}`")).hint(hint)
}

/// The name that was meant, a few that there are, or where they are listed.
pub(super) fn suggest(word: &str, names: &[String], listing: &str) -> String {
    const SHOWN: usize = 12;
    match closest(word, names.iter().map(String::as_str)) {
        Some(close) => format!("did you mean `{close}`?"),
        None if names.is_empty() => "there is none yet".to_owned(),
        None if names.len() <= SHOWN => format!("known: {}", names.join(", ")),
        None => format!("`{listing}` shows what there is"),
    }
}
