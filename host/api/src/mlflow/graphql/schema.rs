//! What MLflow's GraphQL schema holds: objects and their fields, what a field is asked with, where it comes from.

/// An object type.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it holds many of its kind.
    pub(super) many: bool,
    pub(super) source: Source,
    pub(super) argument: Option<Argument>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// A whole number that JavaScript could not hold: written as text.
    Long,
    Float,
    Flag,
    /// One of some words.
    Word,
    Object(&'static Object),
}

/// Where a field's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The member of the same name, in snake case, of the object's JSON.
    Member,
    /// The answer of a route.
    Route { post: bool, path: &'static str },
    /// The experiment of a run.
    ExperimentOfRun,
    /// The versions that a run's models are registered as.
    VersionsOfRun,
    /// The argument itself.
    Echo,
    /// Never anything: errors stand beside the data.
    Nothing,
}

/// What a field is asked with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument {
    pub(super) name: &'static str,
    pub(super) kind: InputKind,
}

/// What an argument, or a part of one, may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum InputKind {
    Text,
    Texts,
    Int,
    Long,
    Flag,
    Word { name: &'static str, words: &'static [&'static str] },
    Object(&'static Input),
}

/// An input type.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(&'static str, InputKind)],
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "String",
            Self::Long => "LongString",
            Self::Float => "Float",
            Self::Flag => "Boolean",
            Self::Word => "Enum",
            Self::Object(object) => object.name,
        }
    }
}

impl Object {
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn one(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, many: false, source: Source::Member, argument: None }
}

const fn many(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, many: true, source: Source::Member, argument: None }
}

const fn text(name: &'static str) -> Field {
    one(name, Kind::Text)
}

const fn long(name: &'static str) -> Field {
    one(name, Kind::Long)
}

const fn from(source: Source, field: Field) -> Field {
    Field { source, ..field }
}

/// A field of a root: the answer of a route, asked with an input.
const fn asked(
    name: &'static str,
    object: &'static Object,
    post: bool,
    path: &'static str,
    input: &'static Input,
) -> Field {
    Field {
        name,
        kind: Kind::Object(object),
        many: false,
        source: Source::Route { post, path },
        argument: Some(Argument { name: "input", kind: InputKind::Object(input) }),
    }
}

const fn echo(name: &'static str, object: &'static Object) -> Field {
    let argument = Some(Argument { name: "inputString", kind: InputKind::Text });
    Field { name, kind: Kind::Object(object), many: false, source: Source::Echo, argument }
}

const API_ERROR: Field = from(Source::Nothing, one("apiError", Kind::Object(&ERROR)));
const SEARCH_RUNS: Field =
    asked("mlflowSearchRuns", &SEARCH_RUNS_RESPONSE, true, "/mlflow/runs/search", &SEARCH_RUNS_INPUT);

pub(super) static QUERY: Object = Object {
    name: "Query",
    fields: &[
        echo("test", &TEST),
        asked("mlflowGetExperiment", &GET_EXPERIMENT, false, "/mlflow/experiments/get", &GET_EXPERIMENT_INPUT),
        asked(
            "mlflowGetMetricHistoryBulkInterval",
            &BULK_INTERVAL,
            false,
            "/mlflow/metrics/get-history-bulk-interval",
            &BULK_INTERVAL_INPUT,
        ),
        asked("mlflowGetRun", &GET_RUN, false, "/mlflow/runs/get", &GET_RUN_INPUT),
        asked("mlflowListArtifacts", &LIST_ARTIFACTS, false, "/mlflow/artifacts/list", &LIST_ARTIFACTS_INPUT),
        asked(
            "mlflowSearchModelVersions",
            &SEARCH_VERSIONS,
            false,
            "/mlflow/model-versions/search",
            &SEARCH_VERSIONS_INPUT,
        ),
        SEARCH_RUNS,
    ],
};

pub(super) static MUTATION: Object = Object {
    name: "Mutation",
    fields: &[
        echo("testMutation", &TEST_MUTATION),
        asked(
            "mlflowSearchDatasets",
            &SEARCH_DATASETS,
            true,
            "/mlflow/experiments/search-datasets",
            &SEARCH_DATASETS_INPUT,
        ),
        SEARCH_RUNS,
    ],
};

static TEST: Object = Object { name: "Test", fields: &[text("output")] };
static TEST_MUTATION: Object = Object { name: "TestMutation", fields: &[text("output")] };

static ERROR: Object = Object {
    name: "ApiError",
    fields: &[
        text("code"),
        text("message"),
        text("helpUrl"),
        text("traceId"),
        many("errorDetails", Kind::Object(&Object { name: "ErrorDetail", fields: &[text("field"), text("message")] })),
    ],
};

/// Types of a key and a value differ in their names only.
const PAIR: &[Field] = &[text("key"), text("value")];
static EXPERIMENT_TAG: Object = Object { name: "MlflowExperimentTag", fields: PAIR };
static RUN_TAG: Object = Object { name: "MlflowRunTag", fields: PAIR };
static INPUT_TAG: Object = Object { name: "MlflowInputTag", fields: PAIR };
static VERSION_TAG: Object = Object { name: "MlflowModelVersionTag", fields: PAIR };
static PARAM: Object = Object { name: "MlflowParam", fields: PAIR };

static EXPERIMENT: Object = Object {
    name: "MlflowExperiment",
    fields: &[
        text("experimentId"),
        text("name"),
        text("artifactLocation"),
        text("lifecycleStage"),
        long("lastUpdateTime"),
        long("creationTime"),
        many("tags", Kind::Object(&EXPERIMENT_TAG)),
        text("effectiveTraceArchivalRetention"),
        text("workspace"),
    ],
};

static GET_EXPERIMENT: Object =
    Object { name: "MlflowGetExperimentResponse", fields: &[one("experiment", Kind::Object(&EXPERIMENT)), API_ERROR] };

const METRIC: &[Field] = &[
    text("key"),
    one("value", Kind::Float),
    long("timestamp"),
    long("step"),
    text("datasetName"),
    text("datasetDigest"),
    text("modelId"),
    text("runId"),
];
static RUN_METRIC: Object = Object { name: "MlflowMetricExtension", fields: METRIC };
static MODEL_METRIC: Object = Object { name: "MlflowModelMetric", fields: METRIC };
static METRIC_WITH_RUN: Object = Object {
    name: "MlflowMetricWithRunId",
    fields: &[text("key"), one("value", Kind::Float), long("timestamp"), long("step"), text("runId")],
};

static BULK_INTERVAL: Object = Object {
    name: "MlflowGetMetricHistoryBulkIntervalResponse",
    fields: &[many("metrics", Kind::Object(&METRIC_WITH_RUN)), API_ERROR],
};

static RUN: Object = Object {
    name: "MlflowRunExtension",
    fields: &[
        one("info", Kind::Object(&RUN_INFO)),
        one("data", Kind::Object(&RUN_DATA)),
        one("inputs", Kind::Object(&RUN_INPUTS)),
        one("outputs", Kind::Object(&RUN_OUTPUTS)),
        from(Source::ExperimentOfRun, one("experiment", Kind::Object(&EXPERIMENT))),
        from(Source::VersionsOfRun, many("modelVersions", Kind::Object(&VERSION))),
    ],
};

static RUN_INFO: Object = Object {
    name: "MlflowRunInfo",
    fields: &[
        text("runId"),
        text("runUuid"),
        text("runName"),
        text("experimentId"),
        text("userId"),
        one("status", Kind::Word),
        long("startTime"),
        long("endTime"),
        text("artifactUri"),
        text("lifecycleStage"),
    ],
};

static RUN_DATA: Object = Object {
    name: "MlflowRunData",
    fields: &[
        many("metrics", Kind::Object(&RUN_METRIC)),
        many("params", Kind::Object(&PARAM)),
        many("tags", Kind::Object(&RUN_TAG)),
    ],
};

static RUN_INPUTS: Object = Object {
    name: "MlflowRunInputs",
    fields: &[many("datasetInputs", Kind::Object(&DATASET_INPUT)), many("modelInputs", Kind::Object(&MODEL_INPUT))],
};

static DATASET_INPUT: Object = Object {
    name: "MlflowDatasetInput",
    fields: &[many("tags", Kind::Object(&INPUT_TAG)), one("dataset", Kind::Object(&DATASET))],
};

static DATASET: Object = Object {
    name: "MlflowDataset",
    fields: &[text("name"), text("digest"), text("sourceType"), text("source"), text("schema"), text("profile")],
};

static MODEL_INPUT: Object = Object { name: "MlflowModelInput", fields: &[text("modelId")] };

static RUN_OUTPUTS: Object = Object {
    name: "MlflowRunOutputs",
    fields: &[many(
        "modelOutputs",
        Kind::Object(&Object { name: "MlflowModelOutput", fields: &[text("modelId"), long("step")] }),
    )],
};

static GET_RUN: Object = Object { name: "MlflowGetRunResponse", fields: &[one("run", Kind::Object(&RUN)), API_ERROR] };

static SEARCH_RUNS_RESPONSE: Object = Object {
    name: "MlflowSearchRunsResponse",
    fields: &[many("runs", Kind::Object(&RUN)), text("nextPageToken"), API_ERROR],
};

static LIST_ARTIFACTS: Object = Object {
    name: "MlflowListArtifactsResponse",
    fields: &[text("rootUri"), many("files", Kind::Object(&FILE)), text("nextPageToken"), API_ERROR],
};

static FILE: Object =
    Object { name: "MlflowFileInfo", fields: &[text("path"), one("isDir", Kind::Flag), long("fileSize")] };

static SEARCH_VERSIONS: Object = Object {
    name: "MlflowSearchModelVersionsResponse",
    fields: &[many("modelVersions", Kind::Object(&VERSION)), text("nextPageToken"), API_ERROR],
};

static VERSION: Object = Object {
    name: "MlflowModelVersion",
    fields: &[
        text("name"),
        text("version"),
        long("creationTimestamp"),
        long("lastUpdatedTimestamp"),
        text("userId"),
        text("currentStage"),
        text("description"),
        text("source"),
        text("runId"),
        one("status", Kind::Word),
        text("statusMessage"),
        many("tags", Kind::Object(&VERSION_TAG)),
        text("runLink"),
        many("aliases", Kind::Text),
        text("modelId"),
        many("modelParams", Kind::Object(&Object { name: "MlflowModelParam", fields: &[text("name"), text("value")] })),
        many("modelMetrics", Kind::Object(&MODEL_METRIC)),
        one("deploymentJobState", Kind::Object(&DEPLOYMENT_JOB)),
    ],
};

static DEPLOYMENT_JOB: Object = Object {
    name: "MlflowModelVersionDeploymentJobState",
    fields: &[
        text("jobId"),
        text("runId"),
        one("jobState", Kind::Word),
        one("runState", Kind::Word),
        text("currentTaskName"),
    ],
};

static SEARCH_DATASETS: Object = Object {
    name: "MlflowSearchDatasetsResponse",
    fields: &[many("datasetSummaries", Kind::Object(&DATASET_SUMMARY)), API_ERROR],
};

static DATASET_SUMMARY: Object = Object {
    name: "MlflowDatasetSummary",
    fields: &[text("experimentId"), text("name"), text("digest"), text("context")],
};

/// By name, for variables.
pub(super) static INPUTS: [&Input; 7] = [
    &GET_EXPERIMENT_INPUT,
    &BULK_INTERVAL_INPUT,
    &GET_RUN_INPUT,
    &LIST_ARTIFACTS_INPUT,
    &SEARCH_VERSIONS_INPUT,
    &SEARCH_RUNS_INPUT,
    &SEARCH_DATASETS_INPUT,
];

pub(super) const VIEW_TYPE: InputKind =
    InputKind::Word { name: "MlflowViewType", words: &["ACTIVE_ONLY", "DELETED_ONLY", "ALL"] };

static GET_EXPERIMENT_INPUT: Input =
    Input { name: "MlflowGetExperimentInput", fields: &[("experimentId", InputKind::Text)] };

static BULK_INTERVAL_INPUT: Input = Input {
    name: "MlflowGetMetricHistoryBulkIntervalInput",
    fields: &[
        ("runIds", InputKind::Texts),
        ("metricKey", InputKind::Text),
        ("startStep", InputKind::Int),
        ("endStep", InputKind::Int),
        ("maxResults", InputKind::Int),
    ],
};

static GET_RUN_INPUT: Input =
    Input { name: "MlflowGetRunInput", fields: &[("runId", InputKind::Text), ("runUuid", InputKind::Text)] };

static LIST_ARTIFACTS_INPUT: Input = Input {
    name: "MlflowListArtifactsInput",
    fields: &[
        ("runId", InputKind::Text),
        ("runUuid", InputKind::Text),
        ("path", InputKind::Text),
        ("pageToken", InputKind::Text),
    ],
};

static SEARCH_VERSIONS_INPUT: Input = Input {
    name: "MlflowSearchModelVersionsInput",
    fields: &[
        ("filter", InputKind::Text),
        ("maxResults", InputKind::Long),
        ("orderBy", InputKind::Texts),
        ("pageToken", InputKind::Text),
    ],
};

static SEARCH_RUNS_INPUT: Input = Input {
    name: "MlflowSearchRunsInput",
    fields: &[
        ("experimentIds", InputKind::Texts),
        ("filter", InputKind::Text),
        ("runViewType", VIEW_TYPE),
        ("maxResults", InputKind::Int),
        ("orderBy", InputKind::Texts),
        ("pageToken", InputKind::Text),
    ],
};

static SEARCH_DATASETS_INPUT: Input =
    Input { name: "MlflowSearchDatasetsInput", fields: &[("experimentIds", InputKind::Texts)] };
