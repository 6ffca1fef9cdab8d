/* A model: intercept + sum of coefficient * value, with the coefficients as its artifact. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plinth.h"
#include "yyjson.h"

/* Where a column stands, and what its values are multiplied by. */
typedef struct term {
    size_t column;
    double coefficient;
} term;

/* The model, bound to columns. */
typedef struct linear {
    const plinth_schema_t *input;
    plinth_schema_t output;
    double intercept;
    bool logistic;
    size_t len;
    term *terms;
} linear;

/* ---- The artifact ---- */

/* Fails with what an artifact is, and why this is none. */
#define NO_ARTIFACT "the artifact is no {\"intercept\": 0.5, \"coefficients\": [...]}: "
#define no_artifact(problem, ...) plinth_fail(problem, "bad-artifact", NO_ARTIFACT __VA_ARGS__)

/* The values of two names in an object, NULL for one that it lacks; it may have no other name, and none twice. */
static bool members(yyjson_val *object, const char *const names[2], yyjson_val *values[2], plinth_problem_t *problem) {
    if (!yyjson_is_obj(object)) return no_artifact(problem, "an object is wanted");
    values[0] = values[1] = NULL;
    size_t index, len;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, index, len, key, value) {
        size_t which = yyjson_equals_str(key, names[0]) ? 0 : 1;
        if (!yyjson_equals_str(key, names[which])) {
            return no_artifact(problem, "unknown name `%s`", yyjson_get_str(key));
        }
        if (values[which]) return no_artifact(problem, "`%s` is given twice", names[which]);
        values[which] = value;
    }
    return true;
}

/* Looks at every part of the artifact, before any coefficient is bound to a column. */
static bool is_artifact(yyjson_val *artifact, double *intercept, yyjson_val **coefficients, plinth_problem_t *problem) {
    yyjson_val *values[2], *each;
    if (!members(artifact, (const char *const[]){"intercept", "coefficients"}, values, problem)) return false;
    *coefficients = values[1];
    if (values[0] && !plinth_json_f64(values[0], intercept)) return no_artifact(problem, "`intercept` is no number");
    if (!yyjson_is_arr(*coefficients)) return no_artifact(problem, "a list of `coefficients` is wanted");
    size_t index, len;
    yyjson_arr_foreach(*coefficients, index, len, each) {
        if (!members(each, (const char *const[]){"column", "value"}, values, problem)) return false;
        if (yyjson_is_str(values[0]) && yyjson_is_num(values[1])) continue;
        return no_artifact(problem, "coefficient %zu needs a column and a value", index);
    }
    return true;
}

/* Binds one coefficient to its column. */
static bool bind_term(linear *self, yyjson_val *coefficient, bool *nullable, plinth_problem_t *problem) {
    yyjson_val *name = yyjson_obj_get(coefficient, "column");
    plinth_string_t column = {(uint8_t *)(uintptr_t)yyjson_get_str(name), yyjson_get_len(name)};
    term *term = &self->terms[self->len++];
    plinth_json_f64(yyjson_obj_get(coefficient, "value"), &term->coefficient);
    if (!plinth_column(self->input, column, &term->column, problem)) return false;
    const plinth_field_t *field = &self->input->fields.ptr[term->column];
    *nullable |= field->nullable;
    if (PLINTH_KINDS_NUMERIC >> field->kind & 1) return true;
    plinth_fail(problem, "wrong-kind", "column `%.*s` is %s, which is no number", PLINTH_SHOW(column),
                plinth_kind_name(field->kind));
    return plinth_in_column(problem, column);
}

/* Reads the artifact and binds it to the columns of the rows to come. */
static bool read_artifact(linear *self, plinth_bytes_t bytes, bool *nullable, plinth_problem_t *problem) {
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts((char *)bytes.ptr, bytes.len, 0, NULL, &error);
    if (!doc) return no_artifact(problem, "%s at byte %zu", error.msg, error.pos);
    yyjson_val *coefficients, *each;
    bool good = is_artifact(yyjson_doc_get_root(doc), &self->intercept, &coefficients, problem);
    if (good) {
        self->terms = plinth_alloc(yyjson_arr_size(coefficients), sizeof *self->terms);
        size_t index, len;
        yyjson_arr_foreach(coefficients, index, len, each) {
            if (good) good = bind_term(self, each, nullable, problem);
        }
    }
    yyjson_doc_free(doc);
    return good;
}

/* ---- The model ---- */

static bool load(plinth_bytes_t artifact, const plinth_schema_t *input, plinth_options_t *options, void **made,
                 plinth_problem_t *problem) {
    plinth_string_t output = plinth_view("prediction"), link = plinth_view("identity");
    plinth_option_string(options, "output", &output);
    if (output.len == 0) plinth_option_wrong(options, "output", "it is empty");
    plinth_option_string(options, "link", &link);
    bool logistic = plinth_is(link, "logistic"), nullable = false;
    if (!logistic && !plinth_is(link, "identity")) {
        plinth_option_wrong(options, "link", "it is `%.*s`; it must be identity or logistic", PLINTH_SHOW(link));
    }
    if (!plinth_options_end(options, problem)) return false;
    linear *self = *made = plinth_alloc(1, sizeof *self);
    self->input = input;
    self->logistic = logistic;
    if (!read_artifact(self, artifact, &nullable, problem)) return false;
    plinth_schema_add(&self->output, output, PLINTH_KIND_FLOAT64, nullable);
    return true;
}

static void output(const void *made, plinth_schema_t *output) {
    const linear *self = made;
    *output = plinth_schema_copy(&self->output);
}

/* e to the power x out of + - * and /, as a power of 2 and a series: exp() differs in its last bit between libraries. */
static double exp_of(double x) {
    if (x > 709.782712893384) return INFINITY;
    if (x < -745.1332191019411) return 0;
    if (isnan(x)) return x;
    /* x = k * ln 2 + r, with ln 2 in two parts, so that what is left has all its bits. */
    double k = floor(x * 1.4426950408889634 + 0.5), r = x - k * 0.693145751953125 - k * 1.4286068203094172e-6;
    double power = 1;
    for (int n = 13; n > 0; n--) power = 1 + power * r / n;
    return ldexp(power, (int)k);
}

/* Goes column by column. Sums are in the order of the artifact, so that the same rows are the same bits on every
 * machine; a row in which a value is null has no prediction. */
static bool predict(const void *made, plinth_block_t *rows, plinth_block_t *predictions, plinth_problem_t *problem) {
    const linear *self = made;
    size_t len = rows->rows, bitmap = plinth_bitmap_len(len);
    double *sums = plinth_alloc(len, sizeof *sums), value;
    uint8_t *known = plinth_alloc(bitmap, 1);
    for (size_t row = 0; row < len; row++) sums[row] = self->intercept;
    for (size_t i = 0; i < bitmap; i++) known[i] = 0xff;
    bool good = true;
    for (size_t i = 0; good && i < self->len; i++) {
        plinth_numbers_t numbers;
        good = plinth_numbers(self->input, rows, self->terms[i].column, &numbers, problem);
        for (size_t row = 0; good && row < len; row++) {
            if (plinth_number_at(&numbers, row, &value)) sums[row] += self->terms[i].coefficient * value;
            else known[row / 8] &= (uint8_t)~(1u << row % 8);
        }
    }
    for (size_t row = 0; self->logistic && row < len; row++) sums[row] = 1 / (1 + exp_of(-sums[row]));
    if (good) {
        plinth_builder_t builder;
        plinth_build(&builder, &self->output, len);
        plinth_build_f64s(&builder, sums, known);
        good = plinth_build_finish(&builder, predictions, problem);
    }
    free(sums);
    free(known);
    return good;
}

static void end_model(void *made) {
    linear *self = made;
    plinth_schema_free(&self->output);
    free(self->terms);
    free(self);
}

static const plinth_model_t linear_model = {
    .name = "linear-model",
    .summary = "A linear or logistic model whose coefficients are its artifact",
    .options_schema =
        "{\"type\":\"object\",\"properties\":{\"output\":{\"type\":\"string\",\"minLength\":1,"
        "\"default\":\"prediction\",\"description\":\"Name of the column of predictions\"},\"link\":{"
        "\"enum\":[\"identity\",\"logistic\"],\"default\":\"identity\","
        "\"description\":\"What becomes of the sum: itself, or a probability\"}},"
        "\"additionalProperties\":false}",
    .load = load,
    .output = output,
    .predict = predict,
    .end_model = end_model,
};

PLINTH_MODELS(&linear_model);
