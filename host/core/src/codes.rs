//! Every error code a user can meet, in one append-only table.
//!
//! A code is kebab-case and never changes its meaning. Its [`Class`] decides the process's exit code and the
//! HTTP status. `plinth errors` prints this table; `host/docs/errors.md` is generated from it.

use std::fmt;

/// A stable error code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    name: &'static str,
    class: Class,
    meaning: &'static str,
}

impl Code {
    /// The code as users see it.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// What kind of failure it is.
    pub const fn class(self) -> Class {
        self.class
    }

    /// The HTTP status of a request that ended this way.
    pub const fn http_status(self) -> u16 {
        match self.name.as_bytes() {
            b"unauthenticated" => 401,
            b"unsupported-media-type" => 415,
            _ => self.class.http_status(),
        }
    }

    /// One sentence for the reference page.
    pub const fn meaning(self) -> &'static str {
        self.meaning
    }

    /// Whether trying again unchanged may help.
    pub const fn retryable(self) -> bool {
        matches!(self.class, Class::Busy | Class::Unavailable)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What kind of failure a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The command line or the configuration is wrong.
    Usage,
    /// The data or a file given is wrong.
    BadInput,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already, or changed underneath.
    Conflict,
    /// A quality gate said no.
    Gate,
    /// A drift test said yes.
    Drift,
    /// Not granted.
    Denied,
    /// A plugin misbehaved or is not what it should be.
    Plugin,
    /// A documented limit was reached.
    Limit,
    /// Someone else holds what is needed.
    Busy,
    /// Something the work needs (a library, a device, a disk) is not there.
    Unavailable,
    /// Stored bytes are not what they were.
    Corrupt,
    /// The user stopped the work.
    Interrupted,
    /// A defect of Plinth.
    Internal,
}

impl Class {
    /// The exit code of a command that ended this way.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Gate => 3,
            Self::Drift => 4,
            Self::BadInput => 5,
            Self::NotFound => 6,
            Self::Conflict => 7,
            Self::Denied => 8,
            Self::Plugin => 9,
            Self::Limit => 10,
            Self::Busy => 11,
            Self::Unavailable => 12,
            Self::Corrupt => 13,
            Self::Interrupted => 130,
        }
    }

    /// The HTTP status of a request that ended this way, unless its code has one of its own: see [`Code::http_status`].
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Usage | Self::BadInput => 400,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Gate | Self::Drift => 422,
            Self::Limit => 413,
            Self::Busy | Self::Unavailable => 503,
            Self::Plugin | Self::Corrupt | Self::Interrupted | Self::Internal => 500,
        }
    }
}

macro_rules! codes {
    ($($id:ident $name:literal $class:ident $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $id: Code = Code { name: $name, class: Class::$class, meaning: $meaning };)*

        /// Every code, in the order in which they came to be.
        pub const ALL: &[Code] = &[$($id),*];
    };
}

codes! {
    INTERNAL "internal" Internal "A defect of Plinth; the message says where.";
    USAGE "usage" Usage "The command line does not read as a command.";
    INTERRUPTED "interrupted" Interrupted "The user stopped the command; finished stages are kept.";
    BAD_REFERENCE "bad-reference" Usage "A models:/ or runs:/ reference does not read as one.";
    BAD_CONFIG "bad-config" Usage "A configuration file or value is wrong.";
    FILE_NOT_FOUND "file-not-found" NotFound "A file that was named does not exist.";
    FILE_UNREADABLE "file-unreadable" BadInput "A file exists but cannot be read.";
    EMPTY_INPUT "empty-input" BadInput "A source holds no rows.";
    BAD_TABLE "bad-table" BadInput "A table is not what its format says.";
    BAD_VALUE "bad-value" BadInput "A value cannot be read as its column's type.";
    UNKNOWN_COLUMN "unknown-column" BadInput "A column that was named does not exist.";
    SCHEMA_MISMATCH "schema-mismatch" BadInput "A table does not have the columns and types that were agreed on.";
    NOT_FINITE "not-finite" BadInput "A number is NaN or infinite where that is not allowed.";
    BAD_LABEL "bad-label" BadInput "The label column is missing, null or has a single value.";
    BAD_PIPELINE "bad-pipeline" Usage "A plinth.yaml does not describe a pipeline.";
    PIPELINE_CYCLE "pipeline-cycle" Usage "The stages of a pipeline depend on each other in a circle.";
    UNKNOWN_STAGE "unknown-stage" Usage "A stage that was named does not exist.";
    UNKNOWN_PARAMETER "unknown-parameter" Usage "A parameter that was set does not exist.";
    BAD_OPTIONS "bad-options" Usage "Options do not match what the plugin or the trainer declares.";
    GATE_FAILED "gate-failed" Gate "A quality gate stopped the pipeline; nothing was registered.";
    DRIFT_FOUND "drift-found" Drift "The current data has drifted from the reference.";
    PLUGIN_NOT_FOUND "plugin-not-found" NotFound "No plugin has that name, or its file is missing.";
    PLUGIN_ITEM_NOT_FOUND "plugin-item-not-found" NotFound "The plugin offers no item of that name.";
    NOT_A_COMPONENT "not-a-component" Plugin "The file is not a WebAssembly component.";
    PLUGIN_WRONG_WORLD "plugin-wrong-world" Plugin "The component does not export the extension point that is needed.";
    PLUGIN_DENIED "plugin-denied" Denied "The plugin wants a capability that it was not granted.";
    PLUGIN_TRAP "plugin-trap" Plugin "The plugin trapped: it panicked or did something undefined.";
    PLUGIN_DEADLINE "plugin-deadline" Plugin "The plugin did not finish in its time.";
    PLUGIN_MEMORY "plugin-memory" Plugin "The plugin wanted more memory than its limit.";
    PLUGIN_STACK "plugin-stack" Plugin "The plugin overflowed its stack.";
    PLUGIN_OUTPUT "plugin-output" Plugin "The plugin returned something malformed or larger than its limit.";
    PLUGIN_TOO_LARGE "plugin-too-large" Limit "The component is larger than the limit, or takes too much time or memory to compile.";
    PLUGIN_PROBLEM "plugin-problem" BadInput "The plugin reported a problem with its input; its own code is in the message.";
    PLUGIN_UNAVAILABLE "plugin-unavailable" Busy "The plugin failed too often in a row and rests for a while, or all its instances are busy.";
    PLUGIN_CHANGED "plugin-changed" Conflict "The component is not the one whose hash was recorded.";
    LIMIT_EXCEEDED "limit-exceeded" Limit "A documented limit was reached.";
    STATE_IN_USE "state-in-use" Busy "Another process is writing to the state directory.";
    STATE_VERSION "state-version" Conflict "The state directory was written by a newer Plinth.";
    CATALOG "catalog" Internal "The catalog could not do what was asked.";
    BLOB_NOT_FOUND "blob-not-found" NotFound "The blob store does not hold that content hash.";
    BLOB_CORRUPT "blob-corrupt" Corrupt "A blob's bytes do not have its hash.";
    DISK_FULL "disk-full" Unavailable "There is no room left on the device.";
    IO "io" Unavailable "The operating system refused a read or a write.";
    EXPERIMENT_NOT_FOUND "experiment-not-found" NotFound "No experiment has that name or id.";
    RUN_NOT_FOUND "run-not-found" NotFound "No run has that id.";
    MODEL_NOT_FOUND "model-not-found" NotFound "No registered model, version or alias has that name.";
    ARTIFACT_NOT_FOUND "artifact-not-found" NotFound "The run or model version has no artifact of that path.";
    ALREADY_EXISTS "already-exists" Conflict "Something of that name exists already.";
    APPROVAL_NEEDED "approval-needed" Denied "The change needs an approval; the message says by which command.";
    RUNTIME_NOT_FOUND "runtime-not-found" Unavailable "The ONNX Runtime library was not found or has the wrong version.";
    DEVICE_NOT_FOUND "device-not-found" Unavailable "The device that was asked for is not there.";
    BAD_MODEL "bad-model" BadInput "The model cannot be loaded or run.";
    BAD_TRAINER "bad-trainer" Usage "No trainer has that name, or it does not do that task.";
    EXPORT_DISAGREES "export-disagrees" Internal "The exported model's answers differ from the trainer's.";
    TRAINING_FAILED "training-failed" BadInput "The trainer could not learn from this data.";
    BAD_REQUEST "bad-request" BadInput "A request's body is not what the protocol says.";
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" BadInput "A request's content type is not one of those accepted.";
    OVERLOADED "overloaded" Busy "The server has as much work as it can hold; try again after a moment.";
    NO_PROFILE "no-profile" NotFound "The model version carries no reference profile.";
    ADDRESS_IN_USE "address-in-use" Busy "Another process listens on that address.";
    DRIFT_UNKNOWN "drift-unknown" BadInput "The drift tests could not decide: too few rows, or a test failed.";
    TAG_NOT_FOUND "tag-not-found" NotFound "Nothing is tagged with that key.";
    TRACE_NOT_FOUND "trace-not-found" NotFound "No trace has that id.";
    USER_NOT_FOUND "user-not-found" NotFound "No user has that name.";
    INVALID_STATE "invalid-state" Conflict "The thing is in a state that does not allow the change, such as deleted.";
    UNAUTHENTICATED "unauthenticated" Denied "The request carries no valid name, password or token.";
    PERMISSION_DENIED "permission-denied" Denied "The principal's role does not allow the request.";
    NOT_A_STORE "not-a-store" BadInput "The file or folder is no store of that kind.";
    STORE_REVISION "store-revision" BadInput "The store has a schema that this plinth does not know.";
    SOURCE_IN_USE "source-in-use" Busy "Another process keeps the store that is to be read locked.";
    SOURCE_CORRUPT "source-corrupt" Corrupt "The store that is to be read is damaged.";
    BAD_CERTIFICATE "bad-certificate" Usage "A certificate or its private key cannot be used for TLS.";
    LAST_ADMIN "last-admin" Conflict "The change would leave nobody who may manage users.";
    CATALOG_UNAVAILABLE "catalog-unavailable" Unavailable "The catalog's database server does not answer, or has no such database.";
    CATALOG_DENIED "catalog-denied" Unavailable "The catalog's database server does not accept the user, the password or what they may do.";
    WEBHOOK_NOT_FOUND "webhook-not-found" NotFound "No webhook has that id.";
    METRIC_NOT_FOUND "metric-not-found" NotFound "The run logged no metric of that name.";
    FILE_IN_USE "file-in-use" Busy "Another command is writing the file.";
    ARTIFACTS_AWAY "artifacts-away" Unavailable "The folder or bucket that holds the artifacts is not there.";
    ARTIFACT_STORE_UNAVAILABLE "artifact-store-unavailable" Unavailable "The object store that holds artifacts does not answer, or has no such bucket.";
    ARTIFACT_STORE_DENIED "artifact-store-denied" Unavailable "The object store that holds artifacts does not accept the keys, or what they may do.";
    PLUGIN_TEST_FAILED "plugin-test-failed" Plugin "The plugin does not do what one of its cases, or its extension point, wants.";
    PLUGIN_BUILD_FAILED "plugin-build-failed" BadInput "The plugin's sources do not become a component.";
    TOOL_NOT_FOUND "tool-not-found" Unavailable "A compiler or another program that the command needs is not there.";
    PLUGIN_UNTRUSTED "plugin-untrusted" Denied "The component is not signed by a key that the configuration trusts, or was changed after it was signed.";
    REGISTRY_UNAVAILABLE "registry-unavailable" Unavailable "The OCI registry does not answer, or not as one.";
    REGISTRY_DENIED "registry-denied" Denied "The OCI registry does not accept the user, or does not allow the request.";
    PLUGIN_VERSION "plugin-version" Plugin "The component was built against a version of the WIT packages that this host does not speak.";
    ENDPOINT_NOT_FOUND "endpoint-not-found" NotFound "No endpoint has that name, or none of its deployments does.";
    REQUEST_NOT_FOUND "request-not-found" NotFound "No deployment is known to have answered a request of that id.";
    BAD_ENDPOINT "bad-endpoint" Usage "An endpoint cannot be as it was described.";
    ENDPOINT_CHANGED "endpoint-changed" Conflict "Somebody else changed the endpoint meanwhile.";
    ENDPOINT_EXISTS "endpoint-exists" Conflict "An endpoint of that name exists already.";
    BAD_SQL "bad-sql" Usage "A statement does not read as SQL, or asks for something that is not done.";
    TABLE_NOT_FOUND "table-not-found" NotFound "A statement names a table that does not exist.";
    FUNCTION_NOT_FOUND "function-not-found" NotFound "A statement calls a function that does not exist.";
    SERVER_UNREACHABLE "server-unreachable" Unavailable "The server that was asked does not answer, or not as one of Plinth.";
    ANSWERS_DIFFER "answers-differ" Drift "A version answers more of what was captured otherwise than is allowed.";
    PATH_NOT_FOUND "path-not-found" NotFound "The server has nothing at the path that was asked.";
    DEVICE_FULL "device-full" Unavailable "The device has no memory left for the model, or for what it is asked.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut seen = HashSet::new();
        for code in ALL {
            assert!(seen.insert(code.name()), "{code} twice");
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
            assert!(code.meaning().ends_with('.'), "{code}");
        }
    }
}
