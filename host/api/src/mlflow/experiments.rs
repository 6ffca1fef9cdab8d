//! Experiments.

use plinth_tracking::{ExperimentSearch, NewExperiment};
use serde_json::json;

use super::{Answer, Call, MlflowError, Need, Route, Thing, page, wire::ExperimentWire};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/experiments/create", Need::Edit(Thing::All), create),
    Route::get("/mlflow/experiments/get", Need::Read(Thing::Experiment), get),
    Route::get("/mlflow/experiments/get-by-name", Need::Read(Thing::ExperimentName), get_by_name),
    Route::get("/mlflow/experiments/search", Need::Narrow, search),
    Route::post("/mlflow/experiments/search", Need::Narrow, search),
    Route::post("/mlflow/experiments/search-datasets", Need::Narrow, search_datasets),
    Route::post("/mlflow/experiments/delete", Need::Edit(Thing::Experiment), delete),
    Route::post("/mlflow/experiments/restore", Need::Edit(Thing::Experiment), restore),
    Route::post("/mlflow/experiments/update", Need::Edit(Thing::Experiment), update),
    Route::post("/mlflow/experiments/set-experiment-tag", Need::Edit(Thing::Experiment), set_tag),
    Route::post("/mlflow/experiments/delete-experiment-tag", Need::Edit(Thing::Experiment), delete_tag),
];

fn create(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let new = NewExperiment {
        name: fields.required("name")?.to_owned(),
        artifact_location: fields.text_or_empty("artifact_location")?.to_owned(),
        tags: fields.loose_pairs("tags")?,
    };
    Answer::of(&json!({"experiment_id": call.tracking.create_experiment(&new)?}))
}

fn get(call: &Call<'_>) -> Outcome {
    let experiment = call.tracking.get_experiment(call.fields.required("experiment_id")?)?;
    Answer::of(&json!({"experiment": ExperimentWire::of(&experiment)}))
}

fn get_by_name(call: &Call<'_>) -> Outcome {
    let name = call.fields.required("experiment_name")?;
    let experiment = call
        .tracking
        .experiment_by_name(name)?
        .ok_or_else(|| MlflowError::not_found(format!("Could not find experiment with name '{name}'")))?;
    Answer::of(&json!({"experiment": ExperimentWire::of(&experiment)}))
}

fn search(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let found = call.tracking.search_experiments(&ExperimentSearch {
        filter: fields.text_or_empty("filter")?.to_owned(),
        order_by: fields.texts("order_by")?,
        only: call.principal.experiments(),
        view: page::view(fields, "view_type"),
        skip: page::start(fields.text("page_token")?)?,
        most: page::most(fields, call.tracking.limits().page_rows_max, None)?,
    })?;
    let experiments: Vec<_> = found.items.iter().map(ExperimentWire::of).collect();
    page::answer("experiments", &experiments, found.next)
}

/// Experiments that one request may ask for the data sets of.
const DATASET_EXPERIMENTS_MAX: usize = 20;
/// Data sets of one answer.
const DATASETS_MAX: u32 = 1_000;

fn search_datasets(call: &Call<'_>) -> Outcome {
    let ids = call.fields.texts("experiment_ids")?;
    if ids.is_empty() {
        return Err(MlflowError::invalid("SearchDatasets request must specify at least one experiment_id."));
    }
    if ids.len() > DATASET_EXPERIMENTS_MAX {
        return Err(MlflowError::invalid(format!(
            "SearchDatasets request cannot specify more than {DATASET_EXPERIMENTS_MAX} experiment_ids. Received {} \
             experiment_ids.",
            ids.len()
        )));
    }
    let found = call.tracking.dataset_summaries(&call.visible(ids)?, DATASETS_MAX)?;
    Answer::of(&json!({"dataset_summaries": found}))
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.delete_experiment(call.fields.required("experiment_id")?)?;
    Ok(Answer::empty())
}

fn restore(call: &Call<'_>) -> Outcome {
    call.tracking.restore_experiment(call.fields.required("experiment_id")?)?;
    Ok(Answer::empty())
}

fn update(call: &Call<'_>) -> Outcome {
    let id = call.fields.required("experiment_id")?;
    call.tracking.rename_experiment(id, call.fields.required("new_name")?)?;
    Ok(Answer::empty())
}

fn set_tag(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (id, key) = (fields.required("experiment_id")?, fields.required("key")?);
    call.tracking.set_experiment_tag(id, key, fields.text_or_empty("value")?)?;
    Ok(Answer::empty())
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    call.tracking.delete_experiment_tag(fields.required("experiment_id")?, fields.required("key")?)?;
    Ok(Answer::empty())
}
