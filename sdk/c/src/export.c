/* From the calls of the host, by name, to the tables of an author. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Looks an item up by name in one of the tables; nothing is exported where the table is missing. */
#define FIND(type, list, wanted)                                                                                       \
    static const type *find_##list(plinth_string_t wanted, plinth_problem_t *problem) {                                \
        plinth_nearest_t nearest = {.wanted = wanted};                                                                 \
        for (size_t i = 0; list && list[i]; i++) {                                                                     \
            if (plinth_is(wanted, list[i]->name)) return list[i];                                                      \
            plinth_nearest_add(&nearest, plinth_view(list[i]->name));                                                  \
        }                                                                                                              \
        plinth_fail_near(problem, "unknown-item", "this component has no", &nearest);                                  \
        return NULL;                                                                                                   \
    }

/* Ends what an item made, by its own function or by free(). */
static void end(void (*own)(void *), void *made) {
    if (own) own(made);
    else free(made);
}

/* An item must not say that it failed without saying why. */
static bool checked(bool good, plinth_problem_t *problem) {
    if (!good && problem->code.len == 0) plinth_fail(problem, "failed", "the plugin failed and gave no reason");
    return good;
}

/* ---- Transforms -------------------------------------------------------------------------------------------- */

FIND(plinth_transform_t, plinth_transforms, wanted)

struct exports_plinth_transform_transform_fitting_t {
    const plinth_transform_t *item;
    plinth_bound_t input;
    void *own;
};

struct exports_plinth_transform_transform_fitted_t {
    const plinth_transform_t *item;
    plinth_bound_t input;
    void *own;
};

/* Takes the schema over. */
static plinth_fitting_t *start(plinth_string_t name, plinth_schema_t *input, plinth_string_t options_text,
                               plinth_problem_t *problem) {
    const plinth_transform_t *item = find_plinth_transforms(name, problem);
    plinth_options_t *options = item ? plinth_options_parse(options_text, problem) : NULL;
    if (!options) {
        plinth_schema_free(input);
        return NULL;
    }
    plinth_fitting_t *fitting = plinth_alloc(1, sizeof *fitting);
    fitting->item = item;
    plinth_bind(&fitting->input, input);
    bool good = checked(item->start(&fitting->input.schema, options, &fitting->own, problem), problem) &&
                plinth_options_end(options, problem);
    plinth_options_free(options);
    if (good) return fitting;
    plinth_fitting_free(fitting);
    return NULL;
}

/* Takes the rows over. */
static bool update(plinth_fitting_t *fitting, plinth_block_t *rows, plinth_problem_t *problem) {
    bool good = checked(fitting->item->update(fitting->own, rows, problem), problem);
    plinth_block_free(rows);
    return good;
}

bool plinth_partial(plinth_fitting_t *fitting, plinth_bytes_t *partial, plinth_problem_t *problem) {
    *partial = (plinth_bytes_t){0};
    *problem = (plinth_problem_t){0};
    return checked(fitting->item->partial(fitting->own, partial, problem), problem);
}

bool plinth_merge(plinth_fitting_t *fitting, plinth_bytes_t partial, plinth_problem_t *problem) {
    *problem = (plinth_problem_t){0};
    return checked(fitting->item->merge(fitting->own, partial, problem), problem);
}

bool plinth_end_pass(plinth_fitting_t *fitting, bool *another_pass, plinth_bytes_t *state, plinth_problem_t *problem) {
    *another_pass = false;
    *state = (plinth_bytes_t){0};
    *problem = (plinth_problem_t){0};
    return checked(fitting->item->end_pass(fitting->own, another_pass, state, problem), problem);
}

void plinth_fitting_free(plinth_fitting_t *fitting) {
    if (!fitting) return;
    if (fitting->own) end(fitting->item->end_fitting, fitting->own);
    plinth_unbind(&fitting->input);
    free(fitting);
}

/* Takes the schema over. */
static plinth_fitted_t *load(plinth_string_t name, plinth_bytes_t state, plinth_schema_t *input,
                             plinth_problem_t *problem) {
    const plinth_transform_t *item = find_plinth_transforms(name, problem);
    if (!item) {
        plinth_schema_free(input);
        return NULL;
    }
    plinth_fitted_t *fitted = plinth_alloc(1, sizeof *fitted);
    fitted->item = item;
    plinth_bind(&fitted->input, input);
    if (checked(item->load(state, &fitted->input.schema, &fitted->own, problem), problem)) return fitted;
    plinth_fitted_free(fitted);
    return NULL;
}

void plinth_output(const plinth_fitted_t *fitted, plinth_schema_t *output) {
    *output = (plinth_schema_t){0};
    if (fitted->item->output) fitted->item->output(fitted->own, output);
    else *output = plinth_schema_copy(&fitted->input.schema);
}

bool plinth_apply(const plinth_fitted_t *fitted, plinth_block_t *rows, plinth_problem_t *problem) {
    *problem = (plinth_problem_t){0};
    return checked(fitted->item->apply(fitted->own, rows, problem), problem);
}

void plinth_fitted_free(plinth_fitted_t *fitted) {
    if (!fitted) return;
    if (fitted->own) end(fitted->item->end_fitted, fitted->own);
    plinth_unbind(&fitted->input);
    free(fitted);
}

plinth_fitting_t *plinth_start(const char *name, const plinth_schema_t *input, const char *options,
                               plinth_problem_t *problem) {
    plinth_schema_t copy = plinth_schema_copy(input);
    *problem = (plinth_problem_t){0};
    return start(plinth_view(name), &copy, plinth_view(options), problem);
}

bool plinth_update(plinth_fitting_t *fitting, const plinth_block_t *rows, plinth_problem_t *problem) {
    plinth_block_t copy = plinth_block_copy(rows);
    *problem = (plinth_problem_t){0};
    return update(fitting, &copy, problem);
}

plinth_fitted_t *plinth_load(const char *name, plinth_bytes_t state, const plinth_schema_t *input,
                             plinth_problem_t *problem) {
    plinth_schema_t copy = plinth_schema_copy(input);
    *problem = (plinth_problem_t){0};
    return load(plinth_view(name), state, &copy, problem);
}

/* ---- Loaders ----------------------------------------------------------------------------------------------- */

FIND(plinth_loader_t, plinth_loaders, wanted)

struct exports_plinth_loader_loader_reader_t {
    const plinth_loader_t *item;
    plinth_schema_t schema;
    void *own;
};

plinth_partition_t *plinth_plan_add(plinth_plan_t *plan, plinth_bytes_t token) {
    plan->partitions.ptr = plinth_grow(plan->partitions.ptr, plan->partitions.len, sizeof *plan->partitions.ptr);
    plinth_partition_t *partition = &plan->partitions.ptr[plan->partitions.len++];
    partition->token = token;
    return partition;
}

static void plan_free(plinth_plan_t *plan) {
    plinth_schema_free(&plan->schema);
    for (size_t i = 0; i < plan->partitions.len; i++) plinth_list_u8_free(&plan->partitions.ptr[i].token);
    free(plan->partitions.ptr);
}

static bool make_plan(plinth_string_t name, plinth_string_t source, plinth_string_t options_text, plinth_plan_t *plan,
                      plinth_problem_t *problem) {
    const plinth_loader_t *item = find_plinth_loaders(name, problem);
    plinth_options_t *options = item ? plinth_options_parse(options_text, problem) : NULL;
    if (!options) return false;
    *plan = (plinth_plan_t){0};
    bool good = checked(item->plan(source, options, plan, problem), problem) && plinth_options_end(options, problem);
    plinth_options_free(options);
    if (!good) plan_free(plan);
    return good;
}

/* Takes the schema over. */
static plinth_reader_t *open_reader(plinth_string_t name, plinth_string_t source, plinth_string_t options_text,
                                    plinth_schema_t *schema, plinth_bytes_t token, plinth_problem_t *problem) {
    const plinth_loader_t *item = find_plinth_loaders(name, problem);
    plinth_options_t *options = item ? plinth_options_parse(options_text, problem) : NULL;
    if (!options) {
        plinth_schema_free(schema);
        return NULL;
    }
    plinth_reader_t *reader = plinth_alloc(1, sizeof *reader);
    *reader = (plinth_reader_t){item, *schema, NULL};
    bool good = checked(item->open(source, options, &reader->schema, token, &reader->own, problem), problem) &&
                plinth_options_end(options, problem);
    plinth_options_free(options);
    if (good) return reader;
    plinth_reader_free(reader);
    return NULL;
}

bool plinth_next(plinth_reader_t *reader, uint32_t max_rows, bool *some, plinth_block_t *block,
                 plinth_problem_t *problem) {
    *some = false;
    *block = (plinth_block_t){0};
    *problem = (plinth_problem_t){0};
    return checked(reader->item->next(reader->own, max_rows, some, block, problem), problem);
}

void plinth_reader_free(plinth_reader_t *reader) {
    if (!reader) return;
    if (reader->own) end(reader->item->end_reader, reader->own);
    plinth_schema_free(&reader->schema);
    free(reader);
}

bool plinth_plan(const char *name, const char *source, const char *options, plinth_plan_t *plan,
                 plinth_problem_t *problem) {
    *problem = (plinth_problem_t){0};
    return make_plan(plinth_view(name), plinth_view(source), plinth_view(options), plan, problem);
}

plinth_reader_t *plinth_open(const char *name, const char *source, const char *options, const plinth_schema_t *schema,
                             plinth_bytes_t token, plinth_problem_t *problem) {
    plinth_schema_t copy = plinth_schema_copy(schema);
    *problem = (plinth_problem_t){0};
    return open_reader(plinth_view(name), plinth_view(source), plinth_view(options), &copy, token, problem);
}

/* ---- Gates ------------------------------------------------------------------------------------------------- */

FIND(plinth_gate_t, plinth_gates, wanted)

const plinth_metric_t *plinth_metric(const plinth_subject_t *subject, plinth_string_t name, const char *slice) {
    for (size_t i = 0; i < subject->metrics.len; i++) {
        const plinth_metric_t *metric = &subject->metrics.ptr[i];
        bool of_slice = slice ? metric->slice.is_some && plinth_is(metric->slice.val, slice) : !metric->slice.is_some;
        if (of_slice && plinth_equal(metric->name, name)) return metric;
    }
    return NULL;
}

plinth_check_t *plinth_checks_add(plinth_checks_t *checks) {
    checks->ptr = plinth_grow(checks->ptr, checks->len, sizeof *checks->ptr);
    return &checks->ptr[checks->len++];
}

static void checks_free(plinth_checks_t *checks) {
    for (size_t i = 0; i < checks->len; i++) {
        plinth_string_free(&checks->ptr[i].name);
        plinth_string_free(&checks->ptr[i].observed);
        plinth_string_free(&checks->ptr[i].expected);
        plinth_string_free(&checks->ptr[i].reason);
    }
    free(checks->ptr);
}

static bool evaluate(plinth_string_t name, const plinth_evidence_t *evidence, plinth_string_t options_text,
                     plinth_checks_t *checks, plinth_problem_t *problem) {
    const plinth_gate_t *item = find_plinth_gates(name, problem);
    plinth_options_t *options = item ? plinth_options_parse(options_text, problem) : NULL;
    if (!options) return false;
    *checks = (plinth_checks_t){0};
    bool good = checked(item->evaluate(evidence, options, checks, problem), problem) &&
                plinth_options_end(options, problem);
    plinth_options_free(options);
    if (!good) checks_free(checks);
    return good;
}

bool plinth_evaluate(const char *name, const plinth_evidence_t *evidence, const char *options, plinth_checks_t *checks,
                     plinth_problem_t *problem) {
    *problem = (plinth_problem_t){0};
    return evaluate(plinth_view(name), evidence, plinth_view(options), checks, problem);
}

/* ---- Drift tests ------------------------------------------------------------------------------------------- */

FIND(plinth_drift_test_t, plinth_drift_tests, wanted)

static bool fits(const plinth_drift_test_t *item, const plinth_schema_t *schema, plinth_problem_t *problem) {
    size_t columns = plinth_columns(schema);
    if (columns == 0 || (!item->multivariate && columns != 1)) {
        return plinth_fail(problem, "wrong-columns", "`%s` compares one column, %zu were given", item->name, columns);
    }
    for (size_t i = 0; i < columns; i++) {
        const plinth_field_t *field = &schema->fields.ptr[i];
        if (item->kinds >> field->kind & 1) continue;
        plinth_fail(problem, "wrong-kind", "`%s` does not compare %s columns such as `%.*s`", item->name,
                    plinth_kind_name(field->kind), PLINTH_SHOW(field->name));
        return plinth_in_column(problem, field->name);
    }
    return true;
}

static bool test(plinth_string_t name, const plinth_schema_t *schema, const plinth_block_t *reference,
                 const plinth_block_t *current, plinth_string_t options_text, plinth_outcome_t *outcome,
                 plinth_problem_t *problem) {
    const plinth_drift_test_t *item = find_plinth_drift_tests(name, problem);
    if (!item || !fits(item, schema, problem)) return false;
    plinth_options_t *options = plinth_options_parse(options_text, problem);
    if (!options) return false;
    *outcome = (plinth_outcome_t){0};
    bool good = checked(item->test(schema, reference, current, options, outcome, problem), problem) &&
                plinth_options_end(options, problem);
    plinth_options_free(options);
    if (!good) plinth_option_string_free(&outcome->note);
    return good;
}

bool plinth_test(const char *name, const plinth_schema_t *schema, const plinth_block_t *reference,
                 const plinth_block_t *current, const char *options, plinth_outcome_t *outcome,
                 plinth_problem_t *problem) {
    *problem = (plinth_problem_t){0};
    return test(plinth_view(name), schema, reference, current, plinth_view(options), outcome, problem);
}

/* ---- Models ------------------------------------------------------------------------------------------------ */

FIND(plinth_model_t, plinth_models, wanted)

struct exports_plinth_predict_predict_model_t {
    const plinth_model_t *item;
    plinth_bound_t input;
    void *own;
};

/* Takes the schema over. */
static plinth_predictor_t *load_model(plinth_string_t name, plinth_bytes_t artifact, plinth_schema_t *input,
                                      plinth_string_t options_text, plinth_problem_t *problem) {
    const plinth_model_t *item = find_plinth_models(name, problem);
    plinth_options_t *options = item ? plinth_options_parse(options_text, problem) : NULL;
    if (!options) {
        plinth_schema_free(input);
        return NULL;
    }
    plinth_predictor_t *predictor = plinth_alloc(1, sizeof *predictor);
    predictor->item = item;
    plinth_bind(&predictor->input, input);
    bool good = checked(item->load(artifact, &predictor->input.schema, options, &predictor->own, problem), problem) &&
                plinth_options_end(options, problem);
    plinth_options_free(options);
    if (good) return predictor;
    plinth_predictor_free(predictor);
    return NULL;
}

/* Takes the rows over. */
static bool predict(const plinth_predictor_t *predictor, plinth_block_t *rows, plinth_block_t *predictions,
                    plinth_problem_t *problem) {
    *predictions = (plinth_block_t){0};
    bool good = checked(predictor->item->predict(predictor->own, rows, predictions, problem), problem);
    plinth_block_free(rows);
    if (!good) plinth_block_free(predictions);
    return good;
}

void plinth_model_output(const plinth_predictor_t *predictor, plinth_schema_t *output) {
    *output = (plinth_schema_t){0};
    predictor->item->output(predictor->own, output);
}

void plinth_predictor_free(plinth_predictor_t *predictor) {
    if (!predictor) return;
    if (predictor->own) end(predictor->item->end_model, predictor->own);
    plinth_unbind(&predictor->input);
    free(predictor);
}

plinth_predictor_t *plinth_load_model(const char *name, plinth_bytes_t artifact, const plinth_schema_t *input,
                                      const char *options, plinth_problem_t *problem) {
    plinth_schema_t copy = plinth_schema_copy(input);
    *problem = (plinth_problem_t){0};
    return load_model(plinth_view(name), artifact, &copy, plinth_view(options), problem);
}

bool plinth_predict(const plinth_predictor_t *predictor, const plinth_block_t *rows, plinth_block_t *predictions,
                    plinth_problem_t *problem) {
    plinth_block_t copy = plinth_block_copy(rows);
    *problem = (plinth_problem_t){0};
    return predict(predictor, &copy, predictions, problem);
}

/* ---- What the host calls ----------------------------------------------------------------------------------- */

#ifdef __wasm__

static const char *options_schema_of(const char *schema) { return schema ? schema : PLINTH_NO_OPTIONS; }

static plinth_item_t item_of(const char *name, const char *summary, const char *options_schema) {
    return (plinth_item_t){plinth_string(name), plinth_string(summary), plinth_string(options_schema_of(options_schema))};
}

/* Arguments are the callee's: each is freed here, or moved on. */
#define DESCRIBE(list)                                                                                                 \
    size_t len = 0;                                                                                                    \
    while (list && list[len]) len++;                                                                                   \
    ret->ptr = plinth_alloc(len, sizeof *ret->ptr);                                                                    \
    ret->len = len;                                                                                                    \
    for (size_t i = 0; i < len; i++)

void exports_plinth_transform_transform_describe(exports_plinth_transform_transform_list_item_t *ret) {
    DESCRIBE(plinth_transforms) {
        const plinth_transform_t *item = plinth_transforms[i];
        ret->ptr[i] = item_of(item->name, item->summary, item->options_schema);
    }
}

bool exports_plinth_transform_transform_static_fitting_start(plinth_string_t *name, plinth_schema_t *input,
                                                             plinth_string_t *options,
                                                             exports_plinth_transform_transform_own_fitting_t *ret,
                                                             plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    plinth_fitting_t *fitting = start(*name, input, *options, err);
    plinth_string_free(name);
    plinth_string_free(options);
    if (fitting) *ret = exports_plinth_transform_transform_fitting_new(fitting);
    return fitting != NULL;
}

bool exports_plinth_transform_transform_method_fitting_update(plinth_fitting_t *self, plinth_block_t *rows,
                                                              plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    return update(self, rows, err);
}

bool exports_plinth_transform_transform_method_fitting_partial(plinth_fitting_t *self, plinth_list_u8_t *ret,
                                                               plinth_problem_t *err) {
    return plinth_partial(self, ret, err);
}

bool exports_plinth_transform_transform_method_fitting_merge(plinth_fitting_t *self, plinth_list_u8_t *partial,
                                                             plinth_problem_t *err) {
    bool good = plinth_merge(self, *partial, err);
    plinth_list_u8_free(partial);
    return good;
}

bool exports_plinth_transform_transform_method_fitting_end_pass(plinth_fitting_t *self,
                                                                exports_plinth_transform_transform_step_t *ret,
                                                                plinth_problem_t *err) {
    bool another_pass;
    plinth_bytes_t state;
    if (!plinth_end_pass(self, &another_pass, &state, err)) return false;
    ret->tag = another_pass ? EXPORTS_PLINTH_TRANSFORM_TRANSFORM_STEP_ANOTHER_PASS
                            : EXPORTS_PLINTH_TRANSFORM_TRANSFORM_STEP_DONE;
    if (another_pass) plinth_list_u8_free(&state);
    else ret->val.done = state;
    return true;
}

bool exports_plinth_transform_transform_static_fitted_load(plinth_string_t *name, plinth_list_u8_t *state,
                                                           plinth_schema_t *input,
                                                           exports_plinth_transform_transform_own_fitted_t *ret,
                                                           plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    plinth_fitted_t *fitted = load(*name, *state, input, err);
    plinth_string_free(name);
    plinth_list_u8_free(state);
    if (fitted) *ret = exports_plinth_transform_transform_fitted_new(fitted);
    return fitted != NULL;
}

void exports_plinth_transform_transform_method_fitted_output(plinth_fitted_t *self, plinth_schema_t *ret) {
    plinth_output(self, ret);
}

bool exports_plinth_transform_transform_method_fitted_apply(plinth_fitted_t *self, plinth_block_t *rows,
                                                            plinth_block_t *ret, plinth_problem_t *err) {
    bool good = plinth_apply(self, rows, err);
    if (good) *ret = *rows;
    else plinth_block_free(rows);
    return good;
}

void exports_plinth_transform_transform_fitting_destructor(plinth_fitting_t *rep) { plinth_fitting_free(rep); }

void exports_plinth_transform_transform_fitted_destructor(plinth_fitted_t *rep) { plinth_fitted_free(rep); }

void exports_plinth_loader_loader_describe(exports_plinth_loader_loader_list_item_t *ret) {
    DESCRIBE(plinth_loaders) {
        const plinth_loader_t *item = plinth_loaders[i];
        ret->ptr[i] = item_of(item->name, item->summary, item->options_schema);
    }
}

bool exports_plinth_loader_loader_plan(plinth_string_t *name, plinth_string_t *source, plinth_string_t *options,
                                       plinth_plan_t *ret, plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    bool good = make_plan(*name, *source, *options, ret, err);
    plinth_string_free(name);
    plinth_string_free(source);
    plinth_string_free(options);
    return good;
}

bool exports_plinth_loader_loader_static_reader_open(plinth_string_t *name, plinth_string_t *source,
                                                     plinth_string_t *options, plinth_schema_t *schema,
                                                     plinth_list_u8_t *token,
                                                     exports_plinth_loader_loader_own_reader_t *ret,
                                                     plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    plinth_reader_t *reader = open_reader(*name, *source, *options, schema, *token, err);
    plinth_string_free(name);
    plinth_string_free(source);
    plinth_string_free(options);
    plinth_list_u8_free(token);
    if (reader) *ret = exports_plinth_loader_loader_reader_new(reader);
    return reader != NULL;
}

bool exports_plinth_loader_loader_method_reader_next(plinth_reader_t *self, uint32_t max_rows,
                                                     exports_plinth_loader_loader_option_block_t *ret,
                                                     plinth_problem_t *err) {
    return plinth_next(self, max_rows, &ret->is_some, &ret->val, err);
}

void exports_plinth_loader_loader_reader_destructor(plinth_reader_t *rep) { plinth_reader_free(rep); }

void exports_plinth_gate_gate_describe(exports_plinth_gate_gate_list_item_t *ret) {
    DESCRIBE(plinth_gates) {
        const plinth_gate_t *item = plinth_gates[i];
        ret->ptr[i] = item_of(item->name, item->summary, item->options_schema);
    }
}

bool exports_plinth_gate_gate_evaluate(plinth_string_t *name, plinth_evidence_t *evidence, plinth_string_t *options,
                                       plinth_checks_t *ret, plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    bool good = evaluate(*name, evidence, *options, ret, err);
    plinth_string_free(name);
    exports_plinth_gate_gate_evidence_free(evidence);
    plinth_string_free(options);
    return good;
}

void exports_plinth_drift_drift_describe(exports_plinth_drift_drift_list_test_item_t *ret) {
    DESCRIBE(plinth_drift_tests) {
        const plinth_drift_test_t *item = plinth_drift_tests[i];
        exports_plinth_drift_drift_test_item_t *shown = &ret->ptr[i];
        shown->item = item_of(item->name, item->summary, item->options_schema);
        shown->kinds.ptr = plinth_alloc(7, 1);
        for (plinth_kind_t kind = 0; kind < 7; kind++) {
            if (item->kinds >> kind & 1) shown->kinds.ptr[shown->kinds.len++] = kind;
        }
        shown->multivariate = item->multivariate;
        shown->effect = (plinth_option_string_t){item->effect != NULL, {0}};
        if (item->effect) shown->effect.val = plinth_string(item->effect);
    }
}

bool exports_plinth_drift_drift_test(plinth_string_t *name, plinth_schema_t *schema, plinth_block_t *reference,
                                     plinth_block_t *current, plinth_string_t *options, plinth_outcome_t *ret,
                                     plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    bool good = test(*name, schema, reference, current, *options, ret, err);
    plinth_string_free(name);
    plinth_schema_free(schema);
    plinth_block_free(reference);
    plinth_block_free(current);
    plinth_string_free(options);
    return good;
}

void exports_plinth_predict_predict_describe(exports_plinth_predict_predict_list_item_t *ret) {
    DESCRIBE(plinth_models) {
        const plinth_model_t *item = plinth_models[i];
        ret->ptr[i] = item_of(item->name, item->summary, item->options_schema);
    }
}

bool exports_plinth_predict_predict_static_model_load(plinth_string_t *name, plinth_list_u8_t *artifact,
                                                      plinth_schema_t *input, plinth_string_t *options,
                                                      exports_plinth_predict_predict_own_model_t *ret,
                                                      plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    plinth_predictor_t *predictor = load_model(*name, *artifact, input, *options, err);
    plinth_string_free(name);
    plinth_list_u8_free(artifact);
    plinth_string_free(options);
    if (predictor) *ret = exports_plinth_predict_predict_model_new(predictor);
    return predictor != NULL;
}

void exports_plinth_predict_predict_method_model_output(plinth_predictor_t *self, plinth_schema_t *ret) {
    plinth_model_output(self, ret);
}

bool exports_plinth_predict_predict_method_model_predict(plinth_predictor_t *self, plinth_block_t *rows,
                                                         plinth_block_t *ret, plinth_problem_t *err) {
    *err = (plinth_problem_t){0};
    return predict(self, rows, ret, err);
}

void exports_plinth_predict_predict_model_destructor(plinth_predictor_t *rep) { plinth_predictor_free(rep); }

#endif
