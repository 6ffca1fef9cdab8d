/* The population stability index over quantile bins of the reference. */
#include <math.h>
#include <stdlib.h>

#include "plinth.h"

typedef struct sample {
    double *values;
    size_t len;
} sample;

/* The values that count: not null, not NaN. */
static bool sample_of(const plinth_schema_t *schema, const plinth_block_t *block, sample *sample,
                      plinth_problem_t *problem) {
    plinth_numbers_t numbers;
    if (!plinth_numbers(schema, block, 0, &numbers, problem)) return false;
    sample->values = plinth_alloc(block->rows, sizeof(double));
    sample->len = 0;
    for (size_t row = 0; row < block->rows; row++) {
        double value;
        if (plinth_number_at(&numbers, row, &value) && !isnan(value)) sample->values[sample->len++] = value;
    }
    return true;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The bounds between bins, into `edges`. */
static size_t quantiles(const sample *sorted, size_t bins, double *edges) {
    size_t len = 0;
    for (size_t i = 1; i < bins; i++) {
        /* In 64 bits: size_t has 32, and the product may be larger. */
        double edge = sorted->values[(uint64_t)i * sorted->len / bins];
        if (len == 0 || edges[len - 1] != edge) edges[len++] = edge;
    }
    return len;
}

/* How many edges are not above a value: its bin. */
static size_t bin_of(const double *edges, size_t len, double value) {
    size_t low = 0;
    while (low < len) {
        size_t middle = low + (len - low) / 2;
        if (edges[middle] <= value) low = middle + 1;
        else len = middle;
    }
    return low;
}

/* The natural logarithm out of + - * and /, so that it is the same to the last bit in every language. */
static double ln(double x) {
    int exponent;
    double f = frexp(x, &exponent);
    if (f < 0.7071067811865476) {
        f *= 2;
        exponent -= 1;
    }
    double s = (f - 1) / (f + 1), z = s * s, t = 1.0 / 23;
    for (int k = 21; k >= 1; k -= 2) t = t * z + 1.0 / k;
    return 2 * s * t + exponent * 0.6931471805599453;
}

static double index_of(const sample *reference, const sample *current, const double *edges, size_t edges_len) {
    size_t bins = edges_len + 1;
    double *counts = plinth_alloc(2 * bins, sizeof *counts), *r = counts, *c = counts + bins;
    for (size_t i = 0; i < reference->len; i++) r[bin_of(edges, edges_len, reference->values[i])] += 1;
    for (size_t i = 0; i < current->len; i++) c[bin_of(edges, edges_len, current->values[i])] += 1;
    /* Half a row more in every bin keeps the index finite where one side has none. */
    double extra = 0;
    for (size_t i = 0; i < 2 * bins; i++) extra = counts[i] == 0 ? 0.5 : extra;
    double n = (double)reference->len + extra * (double)bins, m = (double)current->len + extra * (double)bins, sum = 0;
    for (size_t i = 0; i < bins; i++) {
        double p = (r[i] + extra) / n, q = (c[i] + extra) / m;
        sum += (q - p) * ln(q / p);
    }
    free(counts);
    return sum;
}

static bool test(const plinth_schema_t *schema, const plinth_block_t *reference_rows,
                 const plinth_block_t *current_rows, plinth_options_t *options, plinth_outcome_t *outcome,
                 plinth_problem_t *problem) {
    int64_t bins = 10, rows_min = 30;
    outcome->threshold = 0.1;
    plinth_option_s64(options, "bins", &bins);
    plinth_option_s64(options, "rows-min", &rows_min);
    plinth_option_f64(options, "threshold", &outcome->threshold);
    if (bins < 2 || bins > 1000) plinth_option_wrong(options, "bins", "it is %lld; it must be 2 to 1000", (long long)bins);
    if (rows_min < 1) plinth_option_wrong(options, "rows-min", "it must be at least 1");
    if (!(outcome->threshold > 0)) plinth_option_wrong(options, "threshold", "it must be more than 0");
    if (!plinth_options_end(options, problem)) return false;

    sample reference, current;
    if (!sample_of(schema, reference_rows, &reference, problem)) return false;
    if (!sample_of(schema, current_rows, &current, problem)) return false;
    outcome->n_reference = reference.len;
    outcome->n_current = current.len;
    if (reference.len < (uint64_t)rows_min || current.len < (uint64_t)rows_min) {
        bool first = reference.len < (uint64_t)rows_min;
        outcome->verdict = PLINTH_INCONCLUSIVE;
        outcome->note.is_some = true;
        outcome->note.val = plinth_format("the %s has %zu usable rows; a verdict needs %lld",
                                          first ? "reference" : "current sample", first ? reference.len : current.len,
                                          (long long)rows_min);
    } else {
        double *edges = plinth_alloc((size_t)bins, sizeof *edges);
        qsort(reference.values, reference.len, sizeof *reference.values, ascending);
        size_t len = quantiles(&reference, (size_t)bins, edges);
        outcome->statistic = index_of(&reference, &current, edges, len);
        outcome->effect_size.is_some = true;
        outcome->effect_size.val = outcome->statistic;
        outcome->verdict = outcome->statistic >= outcome->threshold ? PLINTH_DRIFT : PLINTH_NO_DRIFT;
        free(edges);
    }
    free(reference.values);
    free(current.values);
    return true;
}

static const plinth_drift_test_t psi = {
    .name = "psi",
    .summary = "Population stability index over quantile bins of the reference",
    .options_schema =
        "{\"type\":\"object\",\"properties\":{"
        "\"bins\":{\"type\":\"integer\",\"minimum\":2,\"maximum\":1000,\"default\":10},"
        "\"threshold\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"default\":0.1},"
        "\"rows-min\":{\"type\":\"integer\",\"minimum\":1,\"default\":30}},\"additionalProperties\":false}",
    .kinds = PLINTH_KINDS_NUMERIC,
    .test = test,
    .effect = "the index itself",
};

PLINTH_DRIFT_TESTS(&psi);
