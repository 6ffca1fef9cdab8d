/* Standard scaling: (value - mean) / deviation, with the mean and the deviation of the training rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plinth.h"

/* What was learned of one column: how many values, their mean, the sum of their squared differences from it. */
typedef struct moments {
    double n, mean, m2;
} moments;

typedef struct fitting {
    const plinth_schema_t *input;
    size_t len;
    size_t *columns;
    moments *moments;
} fitting;

/* What is kept of one column: how to scale it. */
typedef struct scaling {
    uint32_t column;
    double mean, deviation;
} scaling;

/* Bytes of a scaling in the state, and of moments in a partial: little-endian, as WebAssembly is. */
enum { SCALING_LEN = 20, MOMENTS_LEN = 24 };

static bool start(const plinth_schema_t *input, plinth_options_t *options, void **made, plinth_problem_t *problem) {
    plinth_strings_t names = {0};
    bool named = plinth_option_strings(options, "columns", &names);
    for (size_t i = 0; i < names.len; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!plinth_equal(names.ptr[i], names.ptr[j])) continue;
            plinth_option_wrong(options, "columns", "`%.*s` is in it twice", PLINTH_SHOW(names.ptr[i]));
        }
    }
    if (!plinth_options_end(options, problem)) return false;
    size_t most = named ? names.len : plinth_columns(input);
    fitting *self = *made = plinth_alloc(1, sizeof *self);
    *self = (fitting){input, 0, plinth_alloc(most, sizeof(size_t)), plinth_alloc(most, sizeof(moments))};
    for (size_t i = 0; i < most; i++) {
        size_t column = i;
        if (named && !plinth_column(input, names.ptr[i], &column, problem)) return false;
        const plinth_field_t *field = &input->fields.ptr[column];
        if (field->kind == PLINTH_KIND_FLOAT64) {
            self->columns[self->len++] = column;
        } else if (named) {
            plinth_fail(problem, "wrong-kind", "column `%.*s` is %s, not float64: cast it first",
                        PLINTH_SHOW(field->name), plinth_kind_name(field->kind));
            return plinth_in_column(problem, field->name);
        }
    }
    return true;
}

static bool update(void *made, plinth_block_t *rows, plinth_problem_t *problem) {
    fitting *self = made;
    for (size_t i = 0; i < self->len; i++) {
        plinth_valid_t valid;
        const double *values = plinth_f64s(self->input, rows, self->columns[i], problem);
        if (!values || !plinth_valid(self->input, rows, self->columns[i], &valid, problem)) return false;
        moments m = self->moments[i];
        for (size_t row = 0; row < rows->rows; row++) {
            if (!plinth_is_valid(valid, row) || isnan(values[row])) continue;
            double apart = values[row] - m.mean;
            m.n += 1;
            m.mean += apart / m.n;
            m.m2 += apart * (values[row] - m.mean);
        }
        self->moments[i] = m;
    }
    return true;
}

static bool partial(void *made, plinth_bytes_t *bytes, plinth_problem_t *problem) {
    (void)problem;
    fitting *self = made;
    *bytes = plinth_bytes(self->moments, self->len * MOMENTS_LEN);
    return true;
}

static bool merge(void *made, plinth_bytes_t bytes, plinth_problem_t *problem) {
    fitting *self = made;
    if (bytes.len != self->len * MOMENTS_LEN) {
        return plinth_fail(problem, "bad-partial", "%zu bytes are no partial of %zu columns", bytes.len, self->len);
    }
    for (size_t i = 0; i < self->len; i++) {
        moments *into = &self->moments[i], from;
        memcpy(&from, bytes.ptr + i * MOMENTS_LEN, MOMENTS_LEN);
        if (from.n == 0) continue;
        double n = into->n + from.n, apart = from.mean - into->mean;
        into->m2 += from.m2 + apart * apart * (into->n * from.n / n);
        into->mean += apart * (from.n / n);
        into->n = n;
    }
    return true;
}

static bool end_pass(void *made, bool *another_pass, plinth_bytes_t *state, plinth_problem_t *problem) {
    (void)another_pass;
    (void)problem;
    fitting *self = made;
    *state = (plinth_bytes_t){plinth_alloc(self->len, SCALING_LEN), self->len * SCALING_LEN};
    for (size_t i = 0; i < self->len; i++) {
        moments m = self->moments[i];
        double deviation = m.n > 0 ? sqrt(m.m2 / m.n) : 0;
        scaling s = {(uint32_t)self->columns[i], m.mean, deviation == 0 ? 1 : deviation};
        uint8_t *at = state->ptr + i * SCALING_LEN;
        memcpy(at, &s.column, 4);
        memcpy(at + 4, &s.mean, 8);
        memcpy(at + 12, &s.deviation, 8);
    }
    return true;
}

static void end_fitting(void *made) {
    fitting *self = made;
    free(self->columns);
    free(self->moments);
    free(self);
}

typedef struct fitted {
    const plinth_schema_t *input;
    size_t len;
    scaling scalings[];
} fitted;

static bool load(plinth_bytes_t state, const plinth_schema_t *input, void **made, plinth_problem_t *problem) {
    size_t len = state.len / SCALING_LEN;
    if (state.len % SCALING_LEN) return plinth_fail(problem, "bad-state", "%zu bytes are no state", state.len);
    fitted *self = *made = plinth_alloc(1, sizeof *self + len * sizeof(scaling));
    self->input = input;
    self->len = len;
    for (size_t i = 0; i < len; i++) {
        scaling *s = &self->scalings[i];
        const uint8_t *at = state.ptr + i * SCALING_LEN;
        memcpy(&s->column, at, 4);
        memcpy(&s->mean, at + 4, 8);
        memcpy(&s->deviation, at + 12, 8);
        if (s->column >= plinth_columns(input) || input->fields.ptr[s->column].kind != PLINTH_KIND_FLOAT64) {
            return plinth_fail(problem, "bad-state", "the state was fitted on other columns");
        }
    }
    return true;
}

static bool apply(const void *made, plinth_block_t *rows, plinth_problem_t *problem) {
    const fitted *self = made;
    for (size_t i = 0; i < self->len; i++) {
        scaling s = self->scalings[i];
        double *values = plinth_f64s(self->input, rows, s.column, problem);
        if (!values) return false;
        PLINTH_EIGHT_A_TURN
        for (size_t row = 0; row < rows->rows; row++) values[row] = (values[row] - s.mean) / s.deviation;
        if (!plinth_zero_nulls(self->input, rows, s.column, problem)) return false;
    }
    return true;
}

static const plinth_transform_t standard_scale = {
    .name = "standard-scale",
    .summary = "Centres numbers on their mean and scales them by their standard deviation",
    .options_schema = "{\"type\":\"object\",\"properties\":{\"columns\":{\"type\":\"array\",\"items\":{\"type\":"
                      "\"string\"},\"description\":\"Float64 columns to scale; without it all of them are\"}},"
                      "\"additionalProperties\":false}",
    .start = start,
    .update = update,
    .partial = partial,
    .merge = merge,
    .end_pass = end_pass,
    .end_fitting = end_fitting,
    .load = load,
    .apply = apply,
};

PLINTH_TRANSFORMS(&standard_scale);
