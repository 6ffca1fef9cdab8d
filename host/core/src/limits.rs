//! Every bound the product has, with its unit in its name and its reason beside it.

use serde::{Deserialize, Serialize};

/// All limits. Read from `[limits]` in `plinth.toml`; every one has a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// What a plugin may use and return.
    pub plugin: PluginLimits,
    /// What a table may be.
    pub table: TableLimits,
    /// What the CSV reader of the command line accepts.
    pub csv: CsvLimits,
    /// What a scoring server accepts and holds.
    pub serve: ServeLimits,
    /// What the tracking store accepts: MLflow's numbers.
    pub tracking: TrackingLimits,
    /// What callers of the tracking server may ask of it.
    pub requests: RequestLimits,
    /// How artifacts in an object store are kept and fetched.
    pub artifacts: ArtifactLimits,
    /// What a statement of `plinth sql` may be and use.
    pub sql: SqlLimits,
    /// How much work an explanation may be.
    pub explain: ExplainLimits,
}

/// How much work an explanation may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExplainLimits {
    /// Rows of the reference set that are used; of more, these many are picked evenly.
    pub reference_rows_max: u32,
    /// Coalitions of columns that are asked for each row of a model without trees, each of them with every reference
    /// row. Up to this all are asked, and the answer is exact; beyond they are sampled.
    pub coalitions_max: u32,
}

impl Default for ExplainLimits {
    fn default() -> Self {
        Self { reference_rows_max: 100, coalitions_max: 2_048 }
    }
}

/// What a statement of `plinth sql` may be and use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SqlLimits {
    /// Memory of sorts, groups, joins and tables that the text made, added up. Rows that only pass through do not count.
    pub memory_bytes_max: u64,
    /// Room on disk for sorts and groups that do not fit in memory.
    pub spill_bytes_max: u64,
    /// Length of the text.
    pub text_bytes_max: u64,
    /// How deep a statement may be nested.
    pub nesting_max: u32,
    /// Words of a statement that stand side by side without a comma: a condition of `or`s is as deep as it is long.
    pub terms_max: u64,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 1 << 30,
            spill_bytes_max: 20 << 30,
            text_bytes_max: 16 << 20,
            nesting_max: 128,
            terms_max: 4_000,
        }
    }
}

/// How artifacts in an object store are kept and fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ArtifactLimits {
    /// Bytes of verified copies that are kept in the state directory; those that were not read for longest go first. One
    /// that is in use is never removed, so it may be more for a while.
    pub cache_bytes_max: u64,
    /// Time of one request to the object store. A request carries at most 16 MiB, unless a file is larger than 140 GiB.
    pub request_ms_max: u64,
    /// How often a request that failed for the moment is tried again, within the time of one request.
    pub retries_max: u32,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self { cache_bytes_max: 10 << 30, request_ms_max: 60_000, retries_max: 6 }
    }
}

/// What a plugin may use and return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginLimits {
    /// Size of a component file. 64 MiB holds every language's runtime (SpiderMonkey, the largest, is 12 MiB).
    pub component_bytes_max: u64,
    /// Time to compile a component the first time.
    pub compile_ms_max: u64,
    /// Memory of the process that compiles a component, where the system is Linux; at most two of them run at once. A
    /// component of 18 MB with Python in it takes 350 MiB.
    pub compile_memory_bytes_max: u64,
    /// Size of what a component is compiled to.
    pub compiled_bytes_max: u64,
    /// Compiled components that a user's cache keeps, added up; beyond it those go that nobody loaded for 30 days, the longest
    /// first.
    pub compiled_cache_bytes_max: u64,
    /// Core instances that one component consists of; each takes a place in the pool of instances.
    pub core_instances_max: u32,
    /// Linear memories that one component has.
    pub memories_max: u32,
    /// Tables that one component has.
    pub tables_max: u32,
    /// What the host keeps for one instance beside its memories: globals, functions, what was imported.
    pub instance_bytes_max: u64,
    /// Linear memory of one instance, all its memories added up.
    pub memory_bytes_max: u64,
    /// Linear memory of all instances of the process, added up.
    pub memory_total_bytes_max: u64,
    /// Wall-clock time of one call, host calls included.
    pub call_ms_max: u64,
    /// Wall-clock time of one call that answers an online request.
    pub online_call_ms_max: u64,
    /// Elements of one WebAssembly table.
    pub table_elements_max: u64,
    /// Bytes that one call may bring back from a guest; rows that go in several blocks count together.
    pub output_bytes_max: u64,
    /// Rows of one returned block.
    pub output_rows_max: u32,
    /// Columns of one returned schema.
    pub output_columns_max: u32,
    /// Length of one name (column, check, metric) that a guest returns.
    pub name_bytes_max: u32,
    /// Length of one message (problem, reason, note) that a guest returns; longer ones are cut.
    pub message_bytes_max: u32,
    /// Items of one returned list that is not data (checks, partitions, described items).
    pub list_items_max: u32,
    /// A fitted state's size.
    pub state_bytes_max: u64,
    /// Bytes of log that one call may write; the rest is dropped and counted.
    pub log_bytes_per_call_max: u64,
    /// Bytes a guest may read by one `object.read`.
    pub object_read_bytes_max: u32,
    /// Host calls in one second; one call over it traps the guest.
    pub host_calls_per_second_max: u64,
    /// Length of a key of a plugin's store.
    pub kv_key_bytes_max: u32,
    /// Length of a value of a plugin's store.
    pub kv_value_bytes_max: u64,
    /// Keys of a plugin's store; each is a file, and a change looks at all of them.
    pub kv_keys_max: u32,
    /// Keys and values of a plugin's store, added up, where the plugin's own `kv.bytes` says nothing else.
    pub kv_bytes_max: u64,
    /// Requests that one instance may make in a second.
    pub http_requests_per_second_max: u32,
    /// Time of one request of a plugin, within the deadline of its call.
    pub http_ms_max: u64,
    /// Body of one request of a plugin.
    pub http_request_bytes_max: u64,
    /// Body of the answer to a plugin's request.
    pub http_response_bytes_max: u64,
    /// Headers of a plugin's request, and of the answer.
    pub http_header_bytes_max: u64,
    /// Inputs of one run of a model for a plugin.
    pub nn_input_bytes_max: u64,
    /// Outputs of one run of a model for a plugin.
    pub nn_output_bytes_max: u64,
    /// Random bytes of one call.
    pub random_bytes_max: u32,
    /// Resource handles a guest may hold at once.
    pub handles_max: u32,
    /// Objects and tables a guest may hold open at once. Each is an open file of the host or an iterator with a batch in
    /// memory, and a process may commonly have 1,024 files open: far fewer than handles.
    pub open_readers_max: u32,
    /// Live instances of the process.
    pub instances_max: u32,
    /// Warm instances kept for one fitted transform; callers past that wait in line.
    pub warm_instances_max: u32,
    /// Threads on which the blocks of one large table are handed to instances of a plugin, as far as there are instances for
    /// them; 0 is one for each processor. All calls together have one fewer beside their own.
    pub table_threads_max: u32,
    /// Faults in a row after which a plugin rests.
    pub breaker_faults_max: u32,
    /// How long it rests at most: a rest is 20 times as long as the call that failed last.
    pub breaker_rest_ms: u64,
    /// Passes over the data that a fit may ask for.
    pub fit_passes_max: u32,
    /// Bytes of one partition that a loader may return while other partitions are read beside it.
    pub partition_bytes_max: u64,
    /// Bytes of one block that is handed to a guest: what fits the cache moves fastest.
    pub block_bytes_target: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            component_bytes_max: 64 << 20,
            compile_ms_max: 120_000,
            compile_memory_bytes_max: 1 << 30,
            compiled_bytes_max: 512 << 20,
            compiled_cache_bytes_max: 4 << 30,
            core_instances_max: 64,
            memories_max: 8,
            tables_max: 64,
            instance_bytes_max: 4 << 20,
            memory_bytes_max: 256 << 20,
            memory_total_bytes_max: 2 << 30,
            call_ms_max: 30_000,
            online_call_ms_max: 1_000,
            table_elements_max: 100_000,
            output_bytes_max: 128 << 20,
            output_rows_max: 1 << 20,
            output_columns_max: 10_000,
            name_bytes_max: 1_024,
            message_bytes_max: 4_096,
            list_items_max: 100_000,
            state_bytes_max: 64 << 20,
            log_bytes_per_call_max: 64 << 10,
            object_read_bytes_max: 8 << 20,
            host_calls_per_second_max: 1_000_000,
            kv_key_bytes_max: 256,
            kv_value_bytes_max: 64 << 10,
            kv_keys_max: 1_000,
            kv_bytes_max: 1 << 20,
            http_requests_per_second_max: 50,
            http_ms_max: 10_000,
            http_request_bytes_max: 1 << 20,
            http_response_bytes_max: 8 << 20,
            http_header_bytes_max: 64 << 10,
            nn_input_bytes_max: 64 << 20,
            nn_output_bytes_max: 64 << 20,
            random_bytes_max: 64 << 10,
            handles_max: 10_000,
            open_readers_max: 32,
            instances_max: 128,
            warm_instances_max: 8,
            table_threads_max: 0,
            breaker_faults_max: 5,
            breaker_rest_ms: 10_000,
            fit_passes_max: 16,
            partition_bytes_max: 512 << 20,
            block_bytes_target: 2 << 20,
        }
    }
}

/// What a table may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TableLimits {
    /// Columns.
    pub columns_max: u32,
    /// Rows that a trainer, a drift test or a report holds in memory at once.
    pub rows_in_memory_max: u64,
    /// Rows of the reference sample stored with a model version.
    pub profile_rows_max: u64,
    /// Classes of one label: more of them is an identifier rather than a label.
    pub classes_max: u32,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { columns_max: 10_000, rows_in_memory_max: 20_000_000, profile_rows_max: 20_000, classes_max: 1_000 }
    }
}

/// What a delimited text may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CsvLimits {
    /// Bytes of one partition of a large file.
    pub partition_bytes_target: u64,
}

impl Default for CsvLimits {
    fn default() -> Self {
        Self { partition_bytes_target: 32 << 20 }
    }
}

/// What a scoring server accepts and holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeLimits {
    /// Body of one request.
    pub body_bytes_max: u64,
    /// Rows of one request.
    pub request_rows_max: u32,
    /// Parts of one message of gRPC: values that come one by one rather than packed or raw, and 16 for each tensor.
    pub message_parts_max: u32,
    /// Rows of one request that asks for explanations.
    pub explain_rows_max: u32,
    /// Requests in flight; the next is answered 503 with Retry-After.
    pub requests_in_flight_max: u32,
    /// Time that a request may wait for a thread; one that would wait longer, as fast as requests are answered at the
    /// moment, is answered 503 with Retry-After.
    pub queue_ms_max: u64,
    /// Time from the last header byte to the answer.
    pub request_ms_max: u64,
    /// Rows waiting to be captured; more are dropped and counted. More than `request_rows_max`, or the largest request
    /// would never be captured.
    pub capture_queue_rows_max: u32,
    /// Bytes waiting to be captured, as columns in memory; rows past that are dropped and counted too.
    pub capture_queue_bytes_max: u64,
    /// Rows of one captured file.
    pub capture_file_rows_max: u32,
    /// Time after which a captured file is written although it is not full; requests that come meanwhile come first.
    pub capture_flush_ms: u64,
    /// Rows waiting to be explained, where a part of the requests is; more are dropped and counted.
    pub explain_queue_rows_max: u32,
    /// Time that requests in flight get to finish on shutdown.
    pub drain_ms_max: u64,
    /// What connections may be.
    pub http: HttpLimits,
    /// Threads that score; 0 is one for each core.
    pub scoring_threads: u32,
    /// Time between two looks at which model version should be served.
    pub source_poll_ms: u64,
    /// Requests that wait for one shadow deployment; further ones are dropped and counted.
    pub shadow_requests_max: u32,
    /// Rows of those together; a larger request is taken by itself.
    pub shadow_rows_max: u32,
    /// Memory that all models in service may take together; beyond that those sleep that were not asked for longest,
    /// until they are asked. 0 is no limit.
    pub models_bytes_max: u64,
    /// Requests of which it is remembered who answered, for feedback by their id.
    pub feedback_ids_max: u32,
    /// Time that spans which are not sent yet get on shutdown.
    pub span_flush_ms_max: u64,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            request_rows_max: 100_000,
            message_parts_max: 1 << 20,
            explain_rows_max: 32,
            requests_in_flight_max: 1_024,
            queue_ms_max: 1_000,
            request_ms_max: 30_000,
            capture_queue_rows_max: 131_072,
            capture_queue_bytes_max: 256 << 20,
            capture_file_rows_max: 16_384,
            capture_flush_ms: 2_000,
            explain_queue_rows_max: 4_096,
            drain_ms_max: 10_000,
            http: HttpLimits::default(),
            scoring_threads: 0,
            source_poll_ms: 200,
            shadow_requests_max: 256,
            shadow_rows_max: 16_384,
            models_bytes_max: 0,
            feedback_ids_max: 65_536,
            span_flush_ms_max: 5_000,
        }
    }
}

/// What connections of a server may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpLimits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections_max: u32,
    /// Time in which the head of a request must have come, also the first and the next on a kept connection.
    pub header_ms_max: u64,
    /// Size of the head of a request.
    pub header_bytes_max: u32,
    /// Connections, of those that are there at once, that may read 408 KiB at a time, which files come quicker by: 51 MiB
    /// for all of them. The others read as much as a head may have.
    pub roomy_connections_max: u32,
    /// Time in which a connection must have agreed on its keys, waiting for its turn included.
    pub handshake_ms_max: u64,
    /// Connections that agree on keys at once: it is the only work done for somebody who has said nothing yet.
    pub handshakes_max: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            header_ms_max: 60_000,
            header_bytes_max: 64 << 10,
            roomy_connections_max: 128,
            handshake_ms_max: 10_000,
            handshakes_max: 256,
        }
    }
}

/// What callers of the tracking server may ask of it. Rates are per second or minute, with as many again at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequestLimits {
    /// Requests of one user in a second, or of one address where access control is off; 0 is no limit. Never counted
    /// for loopback without access control.
    pub per_second_max: u32,
    /// Passwords from one address that are hashed in a minute; 0 is no limit. One that was right a moment ago, and a
    /// token, cost no hash.
    pub passwords_per_minute_max: u32,
    /// Passwords that wait to be hashed; each takes a thread and, in turn, 19 MiB and tens of milliseconds.
    pub passwords_waiting_max: u32,
    /// Time in which a body that is read as a whole must have come.
    pub body_ms_max: u64,
    /// Time in which the next piece of a file must have come; the whole may take as long as it takes.
    pub upload_stall_ms_max: u64,
    /// Size of such a piece.
    pub upload_piece_bytes_min: u64,
    /// Bytes of bodies that are in memory at once, those that are being read and those that are being worked on.
    pub bodies_bytes_max: u64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            per_second_max: 2_000,
            passwords_per_minute_max: 30,
            passwords_waiting_max: 8,
            body_ms_max: 120_000,
            upload_stall_ms_max: 60_000,
            upload_piece_bytes_min: 64 << 10,
            bodies_bytes_max: 256 << 20,
        }
    }
}

/// What the tracking store accepts; the numbers are MLflow 3's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrackingLimits {
    /// Length of a metric, parameter or tag key.
    pub key_chars_max: u32,
    /// Length of a parameter's value.
    pub param_value_chars_max: u32,
    /// Length of a run tag's value.
    pub tag_value_chars_max: u32,
    /// Length of an experiment's name.
    pub experiment_name_chars_max: u32,
    /// Length of an experiment tag's value.
    pub experiment_tag_value_chars_max: u32,
    /// Length of an artifact location.
    pub artifact_location_chars_max: u32,
    /// Metrics of one batch.
    pub batch_metrics_max: u32,
    /// Parameters, or tags, of one batch.
    pub batch_params_max: u32,
    /// Metrics, parameters and tags of one batch, added up.
    pub batch_entities_max: u32,
    /// Length of a data set's name.
    pub dataset_name_chars_max: u32,
    /// Length of a data set's digest.
    pub dataset_digest_chars_max: u32,
    /// Length of a data set's source.
    pub dataset_source_chars_max: u32,
    /// Length of a data set's schema.
    pub dataset_schema_chars_max: u32,
    /// Length of a data set's profile.
    pub dataset_profile_chars_max: u32,
    /// Length of the key of a data set's tag.
    pub input_tag_key_chars_max: u32,
    /// Length of the value of a data set's tag.
    pub input_tag_value_chars_max: u32,
    /// Length of a tag's value in the model registry; prompts keep their text there.
    pub registry_tag_value_chars_max: u32,
    /// Length of an alias.
    pub alias_chars_max: u32,
    /// Spans of one batch.
    pub batch_spans_max: u32,
    /// Traces that one request links to a run.
    pub trace_links_max: u32,
    /// Length of a trace's name.
    pub trace_name_chars_max: u32,
    /// Length of the value of a trace's tag or metadata; more is cut off.
    pub trace_value_chars_max: u32,
    /// Records of one batch of an evaluation data set.
    pub batch_records_max: u32,
    /// Length of the value of an evaluation data set's tag.
    pub evaluation_tag_value_chars_max: u32,
    /// Length of a password; shorter ones are refused.
    pub password_chars_min: u32,
    /// Rows of one page of a search.
    pub page_rows_max: u32,
    /// Length of a filter.
    pub filter_chars_max: u32,
    /// Conditions of a filter.
    pub filter_clauses_max: u32,
    /// Experiments that one search names: each is a parameter of a statement, and SQLite takes 32,766.
    pub search_experiments_max: u32,
    /// Memory of what runs have of the fields that searches ask for again and again, eight bytes a run for each metric.
    /// One that is being read takes up to as much again.
    pub search_memory_bytes_max: u64,
    /// Points of one page of a metric's history.
    pub history_points_max: u32,
    /// What webhooks may be, and how events are sent to them.
    pub webhooks: WebhookLimits,
}

/// What webhooks may be, and how events are sent to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WebhookLimits {
    /// Webhooks that there may be.
    pub webhooks_max: u32,
    /// Length of a webhook's URL.
    pub url_bytes_max: u32,
    /// Length of a webhook's description, and of its secret.
    pub text_chars_max: u32,
    /// Time of one attempt, from the name's look-up to the answer's last byte.
    pub request_ms_max: u64,
    /// Bytes of an answer that are read; the rest is left on the wire.
    pub response_bytes_max: u32,
    /// Requests to receivers at once; each webhook has at most one.
    pub requests_in_flight_max: u32,
    /// Attempts to deliver one event. Twelve of them, with the rests below, take about half an hour.
    pub attempts_max: u32,
    /// Rest after the first failed attempt; each further one doubles it, and a part of it is left to chance.
    pub backoff_ms: u64,
    /// The longest rest, also if a receiver asks for more.
    pub backoff_ms_max: u64,
    /// Events that wait for one webhook; further ones are not delivered, and logged as failed.
    pub pending_max: u32,
    /// Finished deliveries of one webhook that the log keeps.
    pub log_rows_max: u32,
    /// Time that the outbox keeps events that everyone was told of.
    pub outbox_ms_max: u64,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            webhooks_max: 1_000,
            url_bytes_max: 2_000,
            text_chars_max: 1_000,
            request_ms_max: 10_000,
            response_bytes_max: 64 << 10,
            requests_in_flight_max: 32,
            attempts_max: 12,
            backoff_ms: 1_000,
            backoff_ms_max: 900_000,
            pending_max: 10_000,
            log_rows_max: 1_000,
            outbox_ms_max: 7 * 24 * 3_600_000,
        }
    }
}

impl Default for TrackingLimits {
    fn default() -> Self {
        Self {
            key_chars_max: 250,
            param_value_chars_max: 6_000,
            tag_value_chars_max: 8_000,
            experiment_name_chars_max: 500,
            experiment_tag_value_chars_max: 20_000,
            artifact_location_chars_max: 2_048,
            batch_metrics_max: 1_000,
            batch_params_max: 100,
            batch_entities_max: 1_000,
            dataset_name_chars_max: 500,
            dataset_digest_chars_max: 36,
            dataset_source_chars_max: 65_535,
            dataset_schema_chars_max: 1_048_575,
            dataset_profile_chars_max: 16_777_215,
            input_tag_key_chars_max: 255,
            input_tag_value_chars_max: 500,
            registry_tag_value_chars_max: 100_000,
            alias_chars_max: 255,
            batch_spans_max: 20_000,
            trace_links_max: 100,
            trace_name_chars_max: 4_096,
            trace_value_chars_max: 8_000,
            batch_records_max: 50_000,
            evaluation_tag_value_chars_max: 5_000,
            password_chars_min: 8,
            page_rows_max: 50_000,
            filter_chars_max: 100_000,
            filter_clauses_max: 100,
            search_experiments_max: 30_000,
            search_memory_bytes_max: 40 << 20,
            history_points_max: 1_000_000,
            webhooks: WebhookLimits::default(),
        }
    }
}
