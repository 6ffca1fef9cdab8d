/* Plinth plugins in C: what an author writes against.
 *
 * A plugin is a WebAssembly component that offers named items for an extension point. Fill in the table of functions
 * of that point for each item, and list the tables in one macro at file scope:
 *
 *   point       table                 list
 *   loader      plinth_loader_t       PLINTH_LOADERS(&mine)
 *   transform   plinth_transform_t    PLINTH_TRANSFORMS(&mine, &other)
 *   gate        plinth_gate_t         PLINTH_GATES(&mine)
 *   drift test  plinth_drift_test_t   PLINTH_DRIFT_TESTS(&mine)
 *   model       plinth_model_t        PLINTH_MODELS(&mine)
 *
 * The same code compiles for your machine, where nothing is exported and the host is played by plinth_lend_object,
 * plinth_lend_table and their like; plinth_start, plinth_load, plinth_plan, plinth_open, plinth_evaluate, plinth_test and
 * plinth_load_model call items by name as the host does. So a plugin is tested without WebAssembly.
 *
 * Conventions. A function that can fail takes a `plinth_problem_t *` last and says true, or a pointer, when it went
 * well. What an item is given as `const` is borrowed; blocks are lent to be changed. What an item fills in (a state, a
 * schema, a block, strings) is handed over and must come from plinth_alloc, plinth_string and their like. No
 * allocation returns NULL: where there is no memory, the instance ends with a message in the host's log.
 */
#ifndef PLINTH_H
#define PLINTH_H

#include "bindings/plinth_wit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Checks the arguments of a function that formats like printf. */
#define PLINTH_PRINTF(format, first) __attribute__((__format__(__printf__, format, first)))

/* ---- Memory, bytes and text -------------------------------------------------------------------------------- */

/* Bytes that are handed over: a state, a token. */
typedef plinth_list_u8_t plinth_bytes_t;
/* Several texts. */
typedef plinth_list_string_t plinth_strings_t;

/* `count` zeroed things of `size` bytes; NULL for none at all. Free with free(). */
void *plinth_alloc(size_t count, size_t size);
/* A copy of some bytes. */
plinth_bytes_t plinth_bytes(const void *bytes, size_t len);
/* A copy of a C string. */
plinth_string_t plinth_string(const char *text);
/* A copy of `len` bytes of text. */
plinth_string_t plinth_string_n(const char *text, size_t len);
/* A text made as printf does; a sequence of bytes that is no UTF-8 becomes U+FFFD. */
plinth_string_t plinth_format(const char *format, ...) PLINTH_PRINTF(1, 2);
/* A number in the fewest digits that read back as the same, as JavaScript writes it: 0.1, 3, 1e-7, NaN, -Infinity. */
plinth_string_t plinth_number(double value);
/* A view of a C string that is not copied: to pass to functions that borrow. */
plinth_string_t plinth_view(const char *text);
/* Whether a text is this C string. */
bool plinth_is(plinth_string_t text, const char *other);
/* Whether two texts are equal. */
bool plinth_equal(plinth_string_t left, plinth_string_t right);
/* Whether a text is UTF-8, as every text has to be that leaves a component. */
bool plinth_is_utf8(plinth_string_t text);
/* A text for a "%.*s". */
#define PLINTH_SHOW(text) (int)(text).len, (const char *)(text).ptr

/* ---- Problems ---------------------------------------------------------------------------------------------- */

/* Says why a call cannot be done: a stable kebab-case code, and a message for a person that names the offending value.
 * Always false, so that `return plinth_fail(problem, ...)` ends a function. */
bool plinth_fail(plinth_problem_t *problem, const char *code, const char *format, ...) PLINTH_PRINTF(3, 4);
/* As plinth_fail, for what may go well later. */
bool plinth_fail_retryable(plinth_problem_t *problem, const char *code, const char *format, ...) PLINTH_PRINTF(3, 4);
/* Names the row, from 0, of a problem that was said before. Always false. */
bool plinth_at_row(plinth_problem_t *problem, uint64_t row);
/* Names the column of a problem that was said before. Always false. */
bool plinth_in_column(plinth_problem_t *problem, plinth_string_t column);

/* ---- Schemas ----------------------------------------------------------------------------------------------- */

/* The name of a kind, as in "float64". */
const char *plinth_kind_name(plinth_kind_t kind);
/* The kind of a name; false where there is none such. */
bool plinth_kind_of(plinth_string_t name, plinth_kind_t *kind);
/* Appends a column. */
void plinth_schema_add(plinth_schema_t *schema, plinth_string_t name, plinth_kind_t kind, bool nullable);
/* A copy. */
plinth_schema_t plinth_schema_copy(const plinth_schema_t *schema);
/* Where a column stands. Fails with `unknown-column` and the nearest name there is. */
bool plinth_column(const plinth_schema_t *schema, plinth_string_t name, size_t *column, plinth_problem_t *problem);
/* Number of columns. */
#define plinth_columns(schema) ((schema)->fields.len)

/* ---- Rows: views ------------------------------------------------------------------------------------------- */

/* Of the two functions that a row of many columns calls most, what compilers must see; not for authors. */
struct plinth_last_t {
    /* The schema whose columns were looked for last. */
    const plinth_schema_t *schema;
    /* Of each of its columns: how many float64 columns lie before it; UINT32_MAX where it holds something else. */
    const uint32_t *f64s;
};
extern struct plinth_last_t plinth_last;
double *plinth_find_f64s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                         plinth_problem_t *problem);
bool plinth_find_nulls(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                       plinth_problem_t *problem);

/* Before a loop over values: eight of them a turn. Each turn costs a look at the host's clock, so that is faster. */
#ifdef __clang__
#define PLINTH_EIGHT_A_TURN _Pragma("clang loop unroll_count(8)")
#else
#define PLINTH_EIGHT_A_TURN
#endif

/* The values of a column, `block->rows` of them, to be read or changed in place; NULL only with a problem: `wrong-kind`
 * where the column holds something else, `bad-block` where the block is too short for the schema. The slot of a null
 * holds zero, and zero must be left there. */
static inline double *plinth_f64s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                                  plinth_problem_t *problem) {
    if (schema == plinth_last.schema && column < schema->fields.len && block->rows > 0) {
        uint64_t before = plinth_last.f64s[column];
        if ((before + 1) * block->rows <= block->f64s.len) return block->f64s.ptr + before * block->rows;
    }
    return plinth_find_f64s(schema, block, column, problem);
}
/* As plinth_f64s, of float32. */
float *plinth_f32s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_problem_t *problem);
/* As plinth_f64s, of int64 or timestamp-us (microseconds since 1970 in UTC). */
int64_t *plinth_s64s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_problem_t *problem);
/* As plinth_f64s, of boolean: one bit a row, for plinth_bit. */
uint8_t *plinth_bools(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_problem_t *problem);

/* The bit of a row in a bitmap, least significant first. */
static inline bool plinth_bit(const uint8_t *bits, size_t row) {
    return bits[row / 8] >> (row % 8) & 1;
}
/* Sets the bit of a row. */
static inline void plinth_set_bit(uint8_t *bits, size_t row) {
    bits[row / 8] = (uint8_t)(bits[row / 8] | 1u << (row % 8));
}
/* Bytes that a bitmap of this many rows takes. */
static inline size_t plinth_bitmap_len(size_t rows) {
    return rows / 8 + (rows % 8 != 0);
}

/* The values of a utf8 or binary column. */
typedef struct plinth_texts_t {
    const uint32_t *offsets;
    const uint8_t *bytes;
} plinth_texts_t;
/* Views a utf8 or binary column; empty texts for nulls. */
bool plinth_texts(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_texts_t *texts,
                  plinth_problem_t *problem);
/* The text of a row, which lasts as long as the block. */
static inline plinth_string_t plinth_text(const plinth_texts_t *texts, size_t row) {
    plinth_string_t text = {(uint8_t *)texts->bytes + texts->offsets[row], texts->offsets[row + 1] - texts->offsets[row]};
    return text;
}

/* Which rows of a column hold a value. */
typedef struct plinth_valid_t {
    const uint8_t *bits; /* NULL where every row does. */
} plinth_valid_t;
/* Views which rows of a column hold a value. */
bool plinth_valid(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_valid_t *valid,
                  plinth_problem_t *problem);
/* Whether a row holds a value. */
static inline bool plinth_is_valid(plinth_valid_t valid, size_t row) {
    return !valid.bits || plinth_bit(valid.bits, row);
}
/* Writes zero into the slots of a float64 column's nulls, which is what must be left there. */
static inline bool plinth_zero_nulls(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                                     plinth_problem_t *problem) {
    bool known = schema == plinth_last.schema && column < schema->fields.len;
    if (known && block->validity.len == 0 && plinth_last.f64s[column] != UINT32_MAX) return true;
    return plinth_find_nulls(schema, block, column, problem);
}

/* The values of a column of any numeric type, as floats: booleans are 0 and 1, timestamps microseconds. */
typedef struct plinth_numbers_t {
    const void *values;
    plinth_valid_t valid;
    plinth_kind_t kind;
} plinth_numbers_t;
/* Views a numeric column. Fails with `wrong-kind` for text and bytes. */
bool plinth_numbers(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                    plinth_numbers_t *numbers, plinth_problem_t *problem);
/* The number of a row; false where it is null. */
bool plinth_number_at(const plinth_numbers_t *numbers, size_t row, double *value);

/* Moves a block into another, which is freed; `from` is left empty. */
void plinth_block_move(plinth_block_t *to, plinth_block_t *from);

/* ---- Rows: a new block ------------------------------------------------------------------------------------- */

/* A block being put together, column by column in schema order. Each column takes its values and, if it is nullable, a
 * bitmap of which are present (NULL: all are). Slots of nulls are set to zero here, so anything may stand in them.
 * What goes wrong is remembered and told by plinth_build_finish, with the code `bad-output`. */
typedef struct plinth_builder_t {
    const plinth_schema_t *schema;
    size_t rows, column;
    size_t f64s, f32s, s64s, bits, offsets, validity, bytes_cap;
    bool any_null, failed;
    plinth_block_t block;
    plinth_problem_t problem;
} plinth_builder_t;
/* Begins a block of `rows` rows; the schema is borrowed until the end. */
void plinth_build(plinth_builder_t *builder, const plinth_schema_t *schema, size_t rows);
void plinth_build_f64s(plinth_builder_t *builder, const double *values, const uint8_t *valid);
void plinth_build_f32s(plinth_builder_t *builder, const float *values, const uint8_t *valid);
/* Int64 or timestamp-us. */
void plinth_build_s64s(plinth_builder_t *builder, const int64_t *values, const uint8_t *valid);
/* Boolean, one bit a row. */
void plinth_build_bools(plinth_builder_t *builder, const uint8_t *bits, const uint8_t *valid);
/* Utf8 or binary. */
void plinth_build_texts(plinth_builder_t *builder, const plinth_string_t *values, const uint8_t *valid);
/* Ends the block, or tells what went wrong. The builder holds nothing afterwards. */
bool plinth_build_finish(plinth_builder_t *builder, plinth_block_t *block, plinth_problem_t *problem);
/* Gives up a block that will not be finished. */
void plinth_build_drop(plinth_builder_t *builder);

/* ---- Options ----------------------------------------------------------------------------------------------- */

/* The options of a call, which the host has checked against the item's JSON Schema. Take every one that the item knows,
 * then end with plinth_options_end: it says what was missing, of another type, or unknown (with a did-you-mean). */
typedef struct plinth_options_t plinth_options_t;
/* A value of JSON: see vendor/yyjson/yyjson.h. */
struct yyjson_val;

/* An item that takes no options. */
#define PLINTH_NO_OPTIONS "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}"

/* Each takes an option if it was given and says whether it was; else `value` stays as it is, which is the default. */
bool plinth_option_f64(plinth_options_t *options, const char *name, double *value);
bool plinth_option_s64(plinth_options_t *options, const char *name, int64_t *value);
bool plinth_option_bool(plinth_options_t *options, const char *name, bool *value);
/* The text lasts as long as the options, which is to the end of the call. */
bool plinth_option_string(plinth_options_t *options, const char *name, plinth_string_t *value);
/* Texts of an array; they last as long as the options. */
bool plinth_option_strings(plinth_options_t *options, const char *name, plinth_strings_t *value);
/* Any value; NULL if it was not given. */
struct yyjson_val *plinth_option_json(plinth_options_t *options, const char *name);
/* A number within such a value; false where it is none. */
bool plinth_json_f64(const struct yyjson_val *json, double *value);
/* An integer within such a value, which may be written as 3.0; false where it is none. */
bool plinth_json_s64(const struct yyjson_val *json, int64_t *value);
/* Makes an option that was not given an error. */
void plinth_option_required(plinth_options_t *options, const char *name);
/* Makes the options bad for a reason of your own, such as a number out of range. */
void plinth_option_wrong(plinth_options_t *options, const char *name, const char *format, ...) PLINTH_PRINTF(3, 4);
/* Ends the taking: false with `bad-options` where anything was wrong. */
bool plinth_options_end(plinth_options_t *options, plinth_problem_t *problem);

/* Options of a JSON text, for tests; an empty text stands for `{}`. */
plinth_options_t *plinth_options_parse(plinth_string_t text, plinth_problem_t *problem);
void plinth_options_free(plinth_options_t *options);

/* ---- What the host offers ---------------------------------------------------------------------------------- */

/* Messages for the operator. Every plugin has this. */
void plinth_log(plinth_host_log_level_t level, const char *format, ...) PLINTH_PRINTF(2, 3);
/* For the plugin's author. */
#define plinth_debug(...) plinth_log(PLINTH_HOST_LOG_LEVEL_DEBUG, __VA_ARGS__)
/* For the operator. */
#define plinth_info(...) plinth_log(PLINTH_HOST_LOG_LEVEL_INFO, __VA_ARGS__)
/* Something is odd; the call goes on. */
#define plinth_warn(...) plinth_log(PLINTH_HOST_LOG_LEVEL_WARN, __VA_ARGS__)
/* Something failed. */
#define plinth_error(...) plinth_log(PLINTH_HOST_LOG_LEVEL_ERROR, __VA_ARGS__)
/* Ends the instance with a message in the log: for what cannot be. An operator is better told by plinth_fail. */
_Noreturn void plinth_panic(const char *format, ...) PLINTH_PRINTF(1, 2);

/* Bytes of sources, within the prefixes that the operator granted. Capability `objects`. */
typedef struct plinth_object_t plinth_object_t;
/* Opens a source by the URI that the plugin was given, or one below it; NULL with a problem. */
plinth_object_t *plinth_object_open(plinth_string_t uri, plinth_problem_t *problem);
/* Size in bytes. */
uint64_t plinth_object_size(const plinth_object_t *object);
/* Reads `len` bytes from `offset`; fewer only at the end. The bytes are yours to free. */
bool plinth_object_read(const plinth_object_t *object, uint64_t offset, uint32_t len, plinth_bytes_t *bytes,
                        plinth_problem_t *problem);
void plinth_object_close(plinth_object_t *object);
/* The URIs below a prefix, sorted. They are yours to free. */
bool plinth_objects_list(plinth_string_t prefix, plinth_strings_t *uris, plinth_problem_t *problem);

/* Tables that the host lends for the time of one call, such as `data` or `predictions`. Capability `tables`. */
typedef struct plinth_table_t plinth_table_t;
/* Opens a lent table by name; NULL with a problem. */
plinth_table_t *plinth_table_open(const char *name, plinth_problem_t *problem);
/* Its columns, for as long as it is open. */
const plinth_schema_t *plinth_table_schema(const plinth_table_t *table);
/* At most `max_rows` rows, yours to free; `some` is false at the end. */
bool plinth_table_next(plinth_table_t *table, uint32_t max_rows, bool *some, plinth_block_t *block,
                       plinth_problem_t *problem);
void plinth_table_close(plinth_table_t *table);

/* The plugin's own settings, given by the operator; every plugin has this. False where there is none of that key; else
 * the value, a text as it was written and anything else as JSON, is yours to free. */
bool plinth_config(const char *key, plinth_string_t *value);
/* All of them, sorted by key (`f0`), each with its value (`f1`). Free them with plinth_list_tuple2_string_string_free. */
plinth_list_tuple2_string_string_t plinth_config_all(void);

/* A small store of the plugin's own. Capability `kv`. */
/* The value of a key, yours to free; `some` is false where there is none. */
bool plinth_kv_get(plinth_string_t key, bool *some, plinth_bytes_t *value, plinth_problem_t *problem);
/* Sets a key, whole or not at all. */
bool plinth_kv_set(plinth_string_t key, plinth_bytes_t value, plinth_problem_t *problem);
/* Sets a key if its value is still `*expected` (NULL: if it is not there); `swapped` says whether it did. Instances run
 * at the same time: to count, read a value, swap it, and begin again where another was faster. */
bool plinth_kv_swap(plinth_string_t key, const plinth_bytes_t *expected, plinth_bytes_t value, bool *swapped,
                    plinth_problem_t *problem);
/* Removes a key; one that is not there is no problem. */
bool plinth_kv_delete(plinth_string_t key, plinth_problem_t *problem);
/* At most `max` keys that begin with `prefix`, sorted, of those after `after` (NULL: from the first). They are yours to
 * free. */
bool plinth_kv_keys(plinth_string_t prefix, const plinth_string_t *after, uint32_t max, plinth_strings_t *keys,
                    plinth_problem_t *problem);

/* Requests to hosts that the operator named. Capability `http`. */
/* One request: `method` (PLINTH_HOST_HTTP_METHOD_GET, ...), `url`, `headers`, `body`; all is borrowed. */
typedef plinth_host_http_request_t plinth_request_t;
/* The answer, whatever its status: `status`, `headers` with names in lower case, `body`. Free it with
 * plinth_host_http_response_free. */
typedef plinth_host_http_response_t plinth_response_t;
/* A name and a value: `f0`, `f1`. */
typedef plinth_tuple2_string_string_t plinth_header_t;
/* Sends a request and waits for the whole answer. Redirects are not followed. */
bool plinth_send(const plinth_request_t *request, plinth_response_t *response, plinth_problem_t *problem);
/* The value of a header, by its name in lower case; NULL where there is none. */
const plinth_string_t *plinth_response_header(const plinth_response_t *response, const char *name);

/* Models that the operator named, run by the host. Capability `nn`. */
typedef struct plinth_graph_t plinth_graph_t;
/* Values with a name and a shape: `name`, `dimensions`, `ty` (PLINTH_HOST_NN_TENSOR_TYPE_FP32, ...), `data`. */
typedef plinth_host_nn_tensor_t plinth_tensor_t;
/* Several tensors; free them with plinth_host_nn_list_tensor_free. */
typedef plinth_host_nn_list_tensor_t plinth_tensors_t;
/* What a graph takes or gives: `name`, `ty`, `dimensions` with -1 for those that may vary. Free them with
 * plinth_host_nn_list_tensor_info_free. */
typedef plinth_host_nn_list_tensor_info_t plinth_tensor_infos_t;
/* Loads a granted model by the name that the operator gave it; NULL with a problem. */
plinth_graph_t *plinth_graph_load(const char *name, plinth_problem_t *problem);
plinth_tensor_infos_t plinth_graph_inputs(const plinth_graph_t *graph);
plinth_tensor_infos_t plinth_graph_outputs(const plinth_graph_t *graph);
/* Runs it once: every input by name, which is borrowed; every output back, which is yours to free. */
bool plinth_graph_compute(const plinth_graph_t *graph, plinth_tensors_t inputs, plinth_tensors_t *outputs,
                          plinth_problem_t *problem);
void plinth_graph_close(plinth_graph_t *graph);

/* Capability `clock`. Microseconds since 1970-01-01T00:00:00Z; it stands still in the deterministic profile. */
int64_t plinth_now_us(void);
/* Nanoseconds since some moment; never falls. */
uint64_t plinth_monotonic_ns(void);

/* Capability `random`. So many random bytes, yours to free; always the same ones in the deterministic profile. */
plinth_bytes_t plinth_random_bytes(uint32_t len);
uint64_t plinth_random_u64(void);

/* Capability `secrets`. The value of a granted secret, yours to free. */
bool plinth_secret(const char *name, plinth_string_t *value, plinth_problem_t *problem);

/* ---- Transforms -------------------------------------------------------------------------------------------- */

/* One transform of a component. `start` to `end_pass` learn, `load` and `apply` use what was learned. A schema that
 * `start` or `load` was given lasts as long as what it made. */
typedef struct plinth_transform_t {
    /* Kebab-case, unique within the component. */
    const char *name;
    /* One line for a list. */
    const char *summary;
    /* JSON Schema of its options. */
    const char *options_schema;

    /* Starts a fit and makes whatever it needs to keep. */
    bool (*start)(const plinth_schema_t *input, plinth_options_t *options, void **fitting, plinth_problem_t *problem);
    /* Takes the next rows of this pass. */
    bool (*update)(void *fitting, plinth_block_t *rows, plinth_problem_t *problem);
    /* What this fit learned in this pass, to be merged into another that started with the same arguments. */
    bool (*partial)(void *fitting, plinth_bytes_t *partial, plinth_problem_t *problem);
    /* Takes in what another fit learned. The result must not depend on how rows were spread over fits. */
    bool (*merge)(void *fitting, plinth_bytes_t partial, plinth_problem_t *problem);
    /* Ends the pass: fills in the state, or asks for another pass over the same data. */
    bool (*end_pass)(void *fitting, bool *another_pass, plinth_bytes_t *state, plinth_problem_t *problem);
    /* Frees what `start` made; NULL stands for free(). */
    void (*end_fitting)(void *fitting);

    /* Binds a state to the schema of the rows to come. */
    bool (*load)(plinth_bytes_t state, const plinth_schema_t *input, void **fitted, plinth_problem_t *problem);
    /* Fills in the schema of what `apply` leaves; NULL stands for the schema of the input. */
    void (*output)(const void *fitted, plinth_schema_t *output);
    /* Transforms rows; one row out for each row in, in order. Pure: same state, same rows, same bytes. Change the block
     * in place, which copies nothing, or put another there with plinth_block_move. */
    bool (*apply)(const void *fitted, plinth_block_t *rows, plinth_problem_t *problem);
    /* Frees what `load` made; NULL stands for free(). */
    void (*end_fitted)(void *fitted);
} plinth_transform_t;

/* Exports transforms: PLINTH_TRANSFORMS(&scale, &clip) at file scope. */
#define PLINTH_TRANSFORMS(...) const plinth_transform_t *const plinth_transforms[] = {__VA_ARGS__, 0}
extern const plinth_transform_t *const plinth_transforms[] __attribute__((__weak__));

/* A fit in progress, and a fitted transform, as the host holds them. */
typedef struct exports_plinth_transform_transform_fitting_t plinth_fitting_t;
typedef struct exports_plinth_transform_transform_fitted_t plinth_fitted_t;

plinth_fitting_t *plinth_start(const char *name, const plinth_schema_t *input, const char *options,
                               plinth_problem_t *problem);
bool plinth_update(plinth_fitting_t *fitting, const plinth_block_t *rows, plinth_problem_t *problem);
bool plinth_partial(plinth_fitting_t *fitting, plinth_bytes_t *partial, plinth_problem_t *problem);
bool plinth_merge(plinth_fitting_t *fitting, plinth_bytes_t partial, plinth_problem_t *problem);
bool plinth_end_pass(plinth_fitting_t *fitting, bool *another_pass, plinth_bytes_t *state, plinth_problem_t *problem);
void plinth_fitting_free(plinth_fitting_t *fitting);
plinth_fitted_t *plinth_load(const char *name, plinth_bytes_t state, const plinth_schema_t *input,
                             plinth_problem_t *problem);
void plinth_output(const plinth_fitted_t *fitted, plinth_schema_t *output);
/* Changes `rows`. */
bool plinth_apply(const plinth_fitted_t *fitted, plinth_block_t *rows, plinth_problem_t *problem);
void plinth_fitted_free(plinth_fitted_t *fitted);

/* ---- Loaders ----------------------------------------------------------------------------------------------- */

/* A part of a source that can be read on its own: `token` (opaque to the host), `rows_hint`, `bytes_hint`. */
typedef exports_plinth_loader_loader_partition_t plinth_partition_t;
/* What a source holds: `schema` and `partitions`. */
typedef exports_plinth_loader_loader_read_plan_t plinth_plan_t;

/* Appends a partition; the token is handed over. */
plinth_partition_t *plinth_plan_add(plinth_plan_t *plan, plinth_bytes_t token);

/* One loader of a component. */
typedef struct plinth_loader_t {
    const char *name;
    const char *summary;
    const char *options_schema;
    /* Looks at a source: fills in its schema and its partitions, in source order. */
    bool (*plan)(plinth_string_t source, plinth_options_t *options, plinth_plan_t *plan, plinth_problem_t *problem);
    /* Opens a partition of a plan made earlier from the same source and options, possibly in another instance. The
     * schema lasts as long as the reader. */
    bool (*open)(plinth_string_t source, plinth_options_t *options, const plinth_schema_t *schema, plinth_bytes_t token,
                 void **reader, plinth_problem_t *problem);
    /* Fills in at most `max_rows` rows; `some` is left false at the end. */
    bool (*next)(void *reader, uint32_t max_rows, bool *some, plinth_block_t *block, plinth_problem_t *problem);
    /* Frees what `open` made; NULL stands for free(). */
    void (*end_reader)(void *reader);
} plinth_loader_t;

/* Exports loaders: PLINTH_LOADERS(&mine) at file scope. */
#define PLINTH_LOADERS(...) const plinth_loader_t *const plinth_loaders[] = {__VA_ARGS__, 0}
extern const plinth_loader_t *const plinth_loaders[] __attribute__((__weak__));

/* A partition being read, as the host holds it. */
typedef struct exports_plinth_loader_loader_reader_t plinth_reader_t;
bool plinth_plan(const char *name, const char *source, const char *options, plinth_plan_t *plan,
                 plinth_problem_t *problem);
plinth_reader_t *plinth_open(const char *name, const char *source, const char *options, const plinth_schema_t *schema,
                             plinth_bytes_t token, plinth_problem_t *problem);
bool plinth_next(plinth_reader_t *reader, uint32_t max_rows, bool *some, plinth_block_t *block,
                 plinth_problem_t *problem);
void plinth_reader_free(plinth_reader_t *reader);

/* ---- Gates ------------------------------------------------------------------------------------------------- */

/* What there is to judge by: the `candidate`, and the `baseline` in place, if there is one. */
typedef exports_plinth_gate_gate_evidence_t plinth_evidence_t;
/* Something measured: `reference`, `metrics`, `tags`. */
typedef exports_plinth_gate_gate_subject_t plinth_subject_t;
/* One measurement: `name`, `value` (may be NaN), `slice`, `n`. */
typedef exports_plinth_gate_gate_metric_t plinth_metric_t;
/* One check and what it saw. */
typedef exports_plinth_gate_gate_check_t plinth_check_t;
/* Checks in the order they are shown. */
typedef exports_plinth_gate_gate_list_check_t plinth_checks_t;
/* The result of one check. */
typedef exports_plinth_gate_gate_outcome_t plinth_check_outcome_t;
#define PLINTH_PASS EXPORTS_PLINTH_GATE_GATE_OUTCOME_PASS
#define PLINTH_WARN EXPORTS_PLINTH_GATE_GATE_OUTCOME_WARN
#define PLINTH_FAIL EXPORTS_PLINTH_GATE_GATE_OUTCOME_FAIL

/* A metric of the whole (`slice` NULL) or of a slice; NULL where it was not measured. */
const plinth_metric_t *plinth_metric(const plinth_subject_t *subject, plinth_string_t name, const char *slice);
/* Appends a check; its five parts can then be filled in. */
plinth_check_t *plinth_checks_add(plinth_checks_t *checks);

/* One gate of a component. */
typedef struct plinth_gate_t {
    const char *name;
    const char *summary;
    const char *options_schema;
    /* Judges: appends to `checks`. The host treats a problem, a trap and a timeout as a failed check. */
    bool (*evaluate)(const plinth_evidence_t *evidence, plinth_options_t *options, plinth_checks_t *checks,
                     plinth_problem_t *problem);
} plinth_gate_t;

/* Exports gates: PLINTH_GATES(&mine) at file scope. */
#define PLINTH_GATES(...) const plinth_gate_t *const plinth_gates[] = {__VA_ARGS__, 0}
extern const plinth_gate_t *const plinth_gates[] __attribute__((__weak__));

bool plinth_evaluate(const char *name, const plinth_evidence_t *evidence, const char *options, plinth_checks_t *checks,
                     plinth_problem_t *problem);

/* ---- Drift tests ------------------------------------------------------------------------------------------- */

/* The result of one test. */
typedef exports_plinth_drift_drift_outcome_t plinth_outcome_t;
#define PLINTH_NO_DRIFT EXPORTS_PLINTH_DRIFT_DRIFT_VERDICT_NO_DRIFT
#define PLINTH_DRIFT EXPORTS_PLINTH_DRIFT_DRIFT_VERDICT_DRIFT
#define PLINTH_INCONCLUSIVE EXPORTS_PLINTH_DRIFT_DRIFT_VERDICT_INCONCLUSIVE

/* A set of kinds: PLINTH_KIND(FLOAT64) | PLINTH_KIND(INT64). */
#define PLINTH_KIND(kind) (1u << PLINTH_KIND_##kind)
#define PLINTH_KINDS_NUMERIC (PLINTH_KIND(BOOLEAN) | PLINTH_KIND(INT64) | PLINTH_KIND(FLOAT32) | PLINTH_KIND(FLOAT64))

/* One drift test of a component. */
typedef struct plinth_drift_test_t {
    const char *name;
    /* One line for a list. */
    const char *summary;
    const char *options_schema;
    /* Column types it can compare. */
    unsigned kinds;
    /* Whether it takes several columns at once; else it gets exactly one. */
    bool multivariate;
    /* Compares two samples of one schema. Too few rows are an inconclusive outcome, not a problem. */
    bool (*test)(const plinth_schema_t *schema, const plinth_block_t *reference, const plinth_block_t *current,
                 plinth_options_t *options, plinth_outcome_t *outcome, plinth_problem_t *problem);
    /* What its effect size measures, such as "largest gap between the distributions, 0 to 1"; NULL for a test without
     * one. */
    const char *effect;
} plinth_drift_test_t;

/* Exports drift tests: PLINTH_DRIFT_TESTS(&mine) at file scope. */
#define PLINTH_DRIFT_TESTS(...) const plinth_drift_test_t *const plinth_drift_tests[] = {__VA_ARGS__, 0}
extern const plinth_drift_test_t *const plinth_drift_tests[] __attribute__((__weak__));

bool plinth_test(const char *name, const plinth_schema_t *schema, const plinth_block_t *reference,
                 const plinth_block_t *current, const char *options, plinth_outcome_t *outcome,
                 plinth_problem_t *problem);

/* ---- Models ------------------------------------------------------------------------------------------------ */

/* One kind of model of a component. */
typedef struct plinth_model_t {
    const char *name;
    const char *summary;
    const char *options_schema;
    /* Makes a model that is ready to predict rows of this schema, which lasts as long as the model. The artifact is what
     * was registered with the model version, opaque to the host, and empty where the component is all there is. */
    bool (*load)(plinth_bytes_t artifact, const plinth_schema_t *input, plinth_options_t *options, void **model,
                 plinth_problem_t *problem);
    /* Fills in the schema of what `predict` fills in, such as one column `prediction`. */
    void (*output)(const void *model, plinth_schema_t *output);
    /* Predicts; one row out for each row in, in order. Pure: same artifact, same rows, same bytes. Lists of the rows can
     * be changed in place and moved into the predictions, which copies nothing. */
    bool (*predict)(const void *model, plinth_block_t *rows, plinth_block_t *predictions, plinth_problem_t *problem);
    /* Frees what `load` made; NULL stands for free(). */
    void (*end_model)(void *model);
} plinth_model_t;

/* Exports models: PLINTH_MODELS(&mine) at file scope. */
#define PLINTH_MODELS(...) const plinth_model_t *const plinth_models[] = {__VA_ARGS__, 0}
extern const plinth_model_t *const plinth_models[] __attribute__((__weak__));

/* A loaded model, as the host holds it. */
typedef struct exports_plinth_predict_predict_model_t plinth_predictor_t;
plinth_predictor_t *plinth_load_model(const char *name, plinth_bytes_t artifact, const plinth_schema_t *input,
                                      const char *options, plinth_problem_t *problem);
void plinth_model_output(const plinth_predictor_t *predictor, plinth_schema_t *output);
bool plinth_predict(const plinth_predictor_t *predictor, const plinth_block_t *rows, plinth_block_t *predictions,
                    plinth_problem_t *problem);
void plinth_predictor_free(plinth_predictor_t *predictor);

/* ---- The host in tests, on your machine -------------------------------------------------------------------- */

/* Lends a source; the bytes are copied. */
void plinth_lend_object(const char *uri, const void *bytes, size_t len);
/* Lends a table of one block; both are copied. */
void plinth_lend_table(const char *name, const plinth_schema_t *schema, const plinth_block_t *block);
/* Sets a setting. */
void plinth_lend_config(const char *key, const char *value);
/* Lends a secret. */
void plinth_lend_secret(const char *name, const char *value);
/* Answers requests for a URL; the body is copied. */
void plinth_lend_response(const char *url, uint16_t status, const void *body, size_t len);
/* Lends a model, which `compute` stands in for: it fills in `outputs`. It says nothing of its inputs and outputs. */
void plinth_lend_model(const char *name, bool (*compute)(plinth_tensors_t inputs, plinth_tensors_t *outputs,
                                                         plinth_problem_t *problem));
/* Takes back all that was lent, and empties the store. */
void plinth_lend_nothing(void);
/* A copy of a block. */
plinth_block_t plinth_block_copy(const plinth_block_t *block);

#ifdef __cplusplus
}
#endif
#endif
