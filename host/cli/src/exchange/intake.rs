//! Takes records of another store into the state directory: numbers of experiments and places of files become those
//! that they have here.

use std::collections::{BTreeMap, HashMap};

use indicatif::ProgressBar;
use plinth_tracking::{Admission, Experiment, Record, Tracking, VersionRecord, WholeTrace};
use serde::Serialize;

use super::{
    Problems, Sink,
    artifacts::{self, Root},
    span,
};
use crate::output::{Failure, table};

/// Files that are put before their rows are written.
const FILES_AT_ONCE: usize = 200;
/// The largest file of spans that is read.
const SPANS_BYTES_MAX: u64 = 256 << 20;

/// What became of the records of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    read: u64,
    added: u64,
    grown: u64,
    known: u64,
    left_out: u64,
}

/// What became of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct FileCount {
    found: u64,
    bytes: u64,
    added: u64,
    known: u64,
    /// Runs and models whose folder is not there: most never had one.
    without_folder: u64,
    /// Runs and models whose files stay where they are: clients reach them there.
    elsewhere: u64,
}

/// What came of an import.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) counts: BTreeMap<&'static str, Count>,
    pub(super) files: FileCount,
    /// Experiments that have another number here.
    pub(super) renumbered: BTreeMap<String, String>,
    pub(super) problems: Problems,
}

impl Report {
    pub(super) fn table(&self, dry_run: bool) -> String {
        let text = |n: u64| n.to_string();
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (kind, count) in &self.counts {
            let mut row = vec![(*kind).to_owned(), text(count.read)];
            if !dry_run {
                row.extend([count.added, count.grown, count.known, count.left_out].map(text));
            }
            rows.push(row);
        }
        let files = &self.files;
        let mut row = vec!["files".to_owned(), text(files.found)];
        if !dry_run {
            row.extend([text(files.added), String::new(), text(files.known), String::new()]);
        }
        rows.push(row);
        let header: &[&str] =
            if dry_run { &["what", "found"] } else { &["what", "read", "added", "grown", "known", "left out"] };
        let mut text = table(header.iter().copied(), rows);
        text.push_str(&format!(
            "\n{} bytes of files; {} runs and models have no folder, the files of {} stay elsewhere\n",
            files.bytes, files.without_folder, files.elsewhere
        ));
        text
    }
}

/// The sink of an import.
pub(super) struct Intake<'a> {
    tracking: &'a Tracking,
    root: Root,
    dry_run: bool,
    bar: ProgressBar,
    /// Numbers of experiments here, by those there, and where their files are if that is elsewhere.
    experiments: HashMap<String, (String, String)>,
    counts: BTreeMap<&'static str, Count>,
    files: FileCount,
    renumbered: BTreeMap<String, String>,
    problems: Problems,
    /// Runs and models whose files could not be looked for.
    unlooked: u64,
    /// Experiments of runs and logged models that a dry run has seen.
    seen: HashMap<String, String>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(tracking: &'a Tracking, root: Root, dry_run: bool, bar: ProgressBar) -> Self {
        Self {
            tracking,
            root,
            dry_run,
            bar,
            experiments: HashMap::new(),
            counts: BTreeMap::new(),
            files: FileCount::default(),
            renumbered: BTreeMap::new(),
            problems: Problems::default(),
            unlooked: 0,
            seen: HashMap::new(),
        }
    }

    pub(super) fn finish(mut self) -> Result<Report, Failure> {
        if self.unlooked > 0 {
            let what = format!("files of {} runs and models", self.unlooked);
            self.problems.add(what, "no folder of artifacts was named: add --artifacts DIR".into());
        }
        Ok(Report { counts: self.counts, files: self.files, renumbered: self.renumbered, problems: self.problems })
    }

    fn experiment(&mut self, mut theirs: Experiment) -> Result<(), Failure> {
        let id = theirs.experiment_id.clone();
        if !artifacts::is_remote(&theirs.artifact_location) {
            theirs.artifact_location.clear();
        }
        let location = theirs.artifact_location.trim_end_matches('/').to_owned();
        let count = self.counts.entry("experiments").or_default();
        count.read += 1;
        if self.dry_run {
            let known = self.tracking.experiment_by_name(&theirs.name)?;
            let ours = known.map_or_else(|| id.clone(), |known| known.experiment_id);
            self.experiments.insert(id, (ours, location));
            return Ok(());
        }
        match self.tracking.admit_experiment(&theirs) {
            Ok((ours, admission)) => {
                tally(count, &admission, 1);
                if ours != id {
                    self.renumbered.insert(id.clone(), ours.clone());
                }
                // What is there already keeps its own place.
                let location = self.tracking.get_experiment(&ours)?.artifact_location;
                self.experiments.insert(id, (ours, location.trim_end_matches('/').to_owned()));
            }
            Err(error @ plinth_tracking::TrackingError::Store(_)) => return Err(error.into()),
            Err(error) => {
                count.left_out += 1;
                self.problems.add(format!("experiment {id}"), error.to_string());
            }
        }
        Ok(())
    }

    /// Turns a record into what it is here, with the files that belong to it before it; nothing if it is left out.
    fn turned(&mut self, record: Record, out: &mut Vec<Record>) -> Result<(), Failure> {
        let gone = |of: &str| format!("its experiment {of} is not there");
        match record {
            Record::Run(mut run, deleted) => {
                let theirs = run.summary.experiment_id.clone();
                let Some((ours, location)) = self.experiments.get(&theirs).cloned() else {
                    self.left_out("runs", format!("run {}", run.summary.run_id), gone(&theirs));
                    return Ok(());
                };
                let uri = std::mem::take(&mut run.summary.artifact_location);
                let id = run.summary.run_id.clone();
                let own = format!("{location}/{id}/artifacts");
                if artifacts::is_remote(&uri) {
                    self.files.elsewhere += 1;
                    if uri != own {
                        let reason = format!("they stay at {uri}, where clients of this run will not look");
                        self.problems.add(format!("files of run {id}"), reason);
                    }
                } else if !location.is_empty() {
                    let reason = format!("its experiment keeps files at {location}, and they are at {uri}");
                    self.problems.add(format!("files of run {id}"), reason);
                } else {
                    self.gather(&uri, &format!("{ours}/{id}/artifacts"), &[], out)?;
                }
                if self.dry_run {
                    self.seen.insert(id, ours.clone());
                }
                run.summary.experiment_id = ours;
                out.push(Record::Run(run, deleted));
            }
            Record::LoggedModel(mut model, lifecycle) => {
                let theirs = model.experiment_id.clone();
                let Some((ours, _)) = self.experiments.get(&theirs).cloned() else {
                    self.left_out("logged models", format!("logged model {}", model.model_id), gone(&theirs));
                    return Ok(());
                };
                if artifacts::is_remote(&model.artifact_location) {
                    self.files.elsewhere += 1;
                } else {
                    let uri = std::mem::take(&mut model.artifact_location);
                    self.gather(&uri, &format!("{ours}/models/{}/artifacts", model.model_id), &[], out)?;
                }
                if self.dry_run {
                    self.seen.insert(model.model_id.clone(), ours.clone());
                }
                model.experiment_id = ours;
                out.push(Record::LoggedModel(model, lifecycle));
            }
            Record::Version(version, storage) => self.version(version, storage, out)?,
            Record::Trace(trace) => self.trace(trace, out)?,
            Record::EvaluationDataset(dataset, experiments) => {
                let ours = experiments.iter().filter_map(|id| self.experiments.get(id)).map(|(id, _)| id.clone());
                let ours = ours.collect();
                out.push(Record::EvaluationDataset(dataset, ours));
            }
            other => out.push(other),
        }
        Ok(())
    }

    fn version(
        &mut self,
        mut version: Box<VersionRecord>,
        storage: String,
        out: &mut Vec<Record>,
    ) -> Result<(), Failure> {
        let kept = format!("models/{}/{}", version.model, version.version);
        let place = |intake: &mut Self, uri: &str, out: &mut Vec<Record>| -> Result<String, Failure> {
            if !artifacts::is_local(uri) {
                return Ok(uri.to_owned());
            }
            if let Some(place) = intake.owned(uri)? {
                return Ok(format!("mlflow-artifacts:/{place}"));
            }
            // Nobody's: the version keeps them itself.
            intake.gather(uri, &kept, &[], out)?;
            Ok(format!("mlflow-artifacts:/{kept}"))
        };
        version.source = place(self, &version.source.clone(), out)?;
        let storage = if storage.is_empty() { storage } else { place(self, &storage, out)? };
        out.push(Record::Version(version, storage));
        Ok(())
    }

    fn trace(&mut self, mut trace: Box<WholeTrace>, out: &mut Vec<Record>) -> Result<(), Failure> {
        const LOCATION: &str = "mlflow.artifactLocation";
        const SPANS: &str = "mlflow.trace.spansLocation";
        let info = &mut trace.info;
        let Some((ours, location)) = self.experiments.get(&info.experiment_id).cloned() else {
            let reason = format!("its experiment {} is not there", info.experiment_id);
            self.left_out("traces", format!("trace {}", info.trace_id), reason);
            return Ok(());
        };
        let uri = info.tags.iter().find(|(key, _)| key == LOCATION).map(|(_, value)| value.clone()).unwrap_or_default();
        info.tags.retain(|(key, _)| key != LOCATION);
        let elsewhere = info.tags.iter().any(|(key, value)| key == SPANS && value != "TRACKING_STORE");
        if artifacts::is_remote(&uri) || !location.is_empty() {
            if trace.spans.is_empty() || elsewhere {
                let reason = format!("they are at {uri}");
                self.problems.add(format!("spans of trace {}", trace.info.trace_id), reason);
            }
        } else if !uri.is_empty() {
            if trace.spans.is_empty() {
                match self.spans(&trace.info.trace_id, &uri) {
                    Ok(spans) => trace.spans = spans,
                    Err(reason) => self.problems.add(format!("spans of trace {}", trace.info.trace_id), reason),
                }
            }
            let to = format!("{ours}/traces/{}/artifacts", trace.info.trace_id);
            self.gather(&uri, &to, &["traces.json"], out)?;
        }
        let info = &mut trace.info;
        info.tags.retain(|(key, _)| key != SPANS);
        if !trace.spans.is_empty() {
            info.tags.push((SPANS.into(), "TRACKING_STORE".into()));
        }
        info.experiment_id = ours;
        out.push(Record::Trace(trace));
        Ok(())
    }

    /// Spans that lie in a file beside the store.
    fn spans(&self, trace_id: &str, uri: &str) -> Result<Vec<plinth_tracking::Span>, String> {
        let path = self.root.folder(uri).map(|folder| folder.join("traces.json"));
        let path = path.filter(|path| path.is_file()).ok_or("there is no file traces.json")?;
        let bytes = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
        if bytes > SPANS_BYTES_MAX {
            return Err(format!("traces.json has {bytes} bytes"));
        }
        let text = std::fs::read(&path).map_err(|error| error.to_string())?;
        let document: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| format!("traces.json: {error}"))?;
        let spans = document["spans"].as_array().ok_or("traces.json has no spans")?;
        spans.iter().map(|document| span::read(trace_id, document)).collect()
    }

    /// The place here of a path among the files of a run or of a logged model.
    fn owned(&self, uri: &str) -> Result<Option<String>, Failure> {
        let parts = artifacts::parts(&artifacts::local_path(uri));
        for at in (1..parts.len()).rev().filter(|at| parts[*at] == "artifacts") {
            let owner = &parts[at - 1];
            let model = at > 1 && parts[at - 2] == "models";
            let experiment = match self.seen.get(owner) {
                Some(experiment) => Some(experiment.clone()),
                None if model => self.tracking.logged_model(owner, true).ok().map(|model| model.experiment_id),
                None => self.tracking.experiment_of_run(owner).ok(),
            };
            if let Some(experiment) = experiment {
                let middle = if model { "models/" } else { "" };
                let mut place = format!("{experiment}/{middle}{owner}/artifacts");
                for part in &parts[at + 1..] {
                    place = format!("{place}/{part}");
                }
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Stores the files of a place and names them below `to`; whole parts are written before the rest is looked at.
    fn gather(&mut self, uri: &str, to: &str, but: &[&str], out: &mut Vec<Record>) -> Result<(), Failure> {
        if !self.root.is_known() {
            self.unlooked += 1;
            return Ok(());
        }
        let Some(folder) = self.root.folder(uri) else {
            self.files.without_folder += 1;
            return Ok(());
        };
        let problems = &mut self.problems;
        let found = self.root.files(&folder, &mut |what, reason| problems.add(what, reason));
        let mut held = 0;
        for file in found.into_iter().filter(|file| !but.contains(&file.name.as_str())) {
            self.files.found += 1;
            self.files.bytes += file.bytes;
            if self.dry_run {
                continue;
            }
            let path = format!("{to}/{}", file.name);
            let known = self.tracking.file(&path).ok();
            if known.is_some_and(|known| known.bytes == file.bytes && known.updated == file.updated) {
                self.files.known += 1;
                continue;
            }
            match self.tracking.store().blobs().put_file(&file.path) {
                Ok((blob, bytes)) => out.push(Record::File { path, blob, bytes, updated: file.updated }),
                Err(error @ plinth_store::StoreError::Io { action: "open" | "read", .. }) => {
                    self.problems.add(file.path.display().to_string(), error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
            held += 1;
            if held % FILES_AT_ONCE == 0 {
                let records = std::mem::take(out);
                self.admit(&records)?;
            }
        }
        Ok(())
    }

    fn admit(&mut self, records: &[Record]) -> Result<(), Failure> {
        let admissions =
            if self.dry_run { vec![Admission::Known; records.len()] } else { self.tracking.admit(records)? };
        for (record, admission) in records.iter().zip(admissions) {
            if matches!(record, Record::File { .. }) {
                match admission {
                    Admission::Added | Admission::Grown => self.files.added += 1,
                    Admission::Known => self.files.known += 1,
                    Admission::Refused(reason) => self.problems.add(name(record), reason),
                }
                continue;
            }
            let many = if let Record::Points(_, points) = record { points.len() as u64 } else { 1 };
            let count = self.counts.entry(kind(record)).or_default();
            count.read += many;
            if !self.dry_run {
                tally(count, &admission, many);
            }
            if let Admission::Refused(reason) = admission {
                self.problems.add(name(record), reason);
            }
        }
        Ok(())
    }

    fn left_out(&mut self, kind: &'static str, what: String, reason: String) {
        let count = self.counts.entry(kind).or_default();
        count.read += 1;
        count.left_out += 1;
        self.problems.add(what, reason);
    }
}

impl Sink for Intake<'_> {
    fn take(&mut self, records: Vec<Record>) -> Result<(), Failure> {
        self.bar.inc(records.len() as u64);
        let mut out = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::Experiment(theirs) => self.experiment(theirs)?,
                other => self.turned(other, &mut out)?,
            }
        }
        self.admit(&out)
    }

    fn problem(&mut self, what: String, reason: String) {
        self.problems.add(what, reason);
    }

    fn expect(&mut self, records: u64) {
        self.bar.set_length(records);
    }
}

fn tally(count: &mut Count, admission: &Admission, many: u64) {
    match admission {
        Admission::Added => count.added += many,
        Admission::Grown => count.grown += many,
        Admission::Known => count.known += many,
        Admission::Refused(_) => count.left_out += many,
    }
}

pub(super) fn kind(record: &Record) -> &'static str {
    match record {
        Record::Experiment(_) => "experiments",
        Record::Run(..) => "runs",
        Record::Points(..) => "points of metrics",
        Record::LoggedModel(..) => "logged models",
        Record::Model(_) => "registered models",
        Record::Version(..) => "model versions",
        Record::Alias { .. } => "aliases",
        Record::Trace(_) => "traces",
        Record::EvaluationDataset(..) => "evaluation data sets",
        Record::EvaluationRecord(_) => "evaluation records",
        Record::File { .. } => "files",
    }
}

/// A record, for a person.
pub(super) fn name(record: &Record) -> String {
    match record {
        Record::Experiment(experiment) => format!("experiment {}", experiment.experiment_id),
        Record::Run(run, _) => format!("run {}", run.summary.run_id),
        Record::Points(run, points) => {
            format!("metric {} of run {run}", points.first().map_or("", |point| point.key.as_str()))
        }
        Record::LoggedModel(model, _) => format!("logged model {}", model.model_id),
        Record::Model(model) => format!("models:/{}", model.name),
        Record::Version(version, _) => format!("models:/{}/{}", version.model, version.version),
        Record::Alias { model, alias, .. } => format!("models:/{model}@{alias}"),
        Record::Trace(trace) => format!("trace {}", trace.info.trace_id),
        Record::EvaluationDataset(dataset, _) => format!("evaluation data set {}", dataset.dataset_id),
        Record::EvaluationRecord(record) => format!("evaluation record {}", record.record_id),
        Record::File { path, .. } => format!("file {path}"),
    }
}
