/* Tests of the SDK and of its examples, on this machine: tests/run.sh */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plinth.h"

static int checks, failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        checks++;                                                                                                      \
        if (!(condition)) {                                                                                            \
            failures++;                                                                                                \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                             \
        }                                                                                                              \
    } while (0)

/* Whether a text is as it should be; shows it if not, and frees it. */
static bool shows(plinth_string_t text, const char *wanted) {
    bool same = plinth_is(text, wanted);
    if (!same) printf("`%.*s`, not `%s`\n", PLINTH_SHOW(text), wanted);
    plinth_string_free(&text);
    return same;
}

/* Whether a call failed as it should; frees the problem. */
static bool failed(bool good, plinth_problem_t *problem, const char *code, const char *message) {
    if (good) return false;
    bool same = plinth_is(problem->code, code) && plinth_is(problem->message, message);
    if (!same) printf("%.*s: %.*s\n", PLINTH_SHOW(problem->code), PLINTH_SHOW(problem->message));
    plinth_problem_free(problem);
    return same;
}

static plinth_schema_t schema_of(const char *columns) {
    /* "a:float64 t:utf8?": a question mark makes a column nullable. */
    plinth_schema_t schema = {0};
    char copy[256];
    snprintf(copy, sizeof copy, "%s", columns);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        char *kind_name = strchr(word, ':');
        *kind_name++ = 0;
        size_t len = strlen(kind_name);
        bool nullable = kind_name[len - 1] == '?';
        if (nullable) kind_name[len - 1] = 0;
        plinth_kind_t kind = 0;
        CHECK(plinth_kind_of(plinth_view(kind_name), &kind));
        plinth_schema_add(&schema, plinth_view(word), kind, nullable);
    }
    return schema;
}

static plinth_block_t floats(const plinth_schema_t *schema, const double *values, size_t rows, const uint8_t *valid) {
    plinth_builder_t builder;
    plinth_block_t block = {0};
    plinth_problem_t problem = {0};
    plinth_build(&builder, schema, rows);
    plinth_build_f64s(&builder, values, valid);
    CHECK(plinth_build_finish(&builder, &block, &problem));
    return block;
}

static void numbers_are_short_and_exact(void) {
    CHECK(shows(plinth_number(0.1), "0.1"));
    CHECK(shows(plinth_number(-3), "-3"));
    CHECK(shows(plinth_number(0.0), "0"));
    CHECK(shows(plinth_number(1234567.125), "1234567.125"));
    CHECK(shows(plinth_number(1e20), "100000000000000000000"));
    CHECK(shows(plinth_number(1e21), "1e+21"));
    CHECK(shows(plinth_number(0.000001), "0.000001"));
    CHECK(shows(plinth_number(1.5e-7), "1.5e-7"));
    CHECK(shows(plinth_number(5e-324), "5e-324"));
    CHECK(shows(plinth_number(0.1 + 0.2), "0.30000000000000004"));
    CHECK(shows(plinth_number(NAN), "NaN"));
    CHECK(shows(plinth_number(-INFINITY), "-Infinity"));
}

static void texts_are_utf8(void) {
    CHECK(plinth_is_utf8(plinth_view("a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80")) && plinth_is_utf8(plinth_view("")));
    const char *bad[] = {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!plinth_is_utf8(plinth_view(bad[i])));
    CHECK(shows(plinth_format("a%sb", "\xff"), "a\xef\xbf\xbd" "b"));
    /* What could have begun a sequence is replaced as a whole. */
    CHECK(shows(plinth_format("%s", "\xe2\x82" "x\xf0\x9f\x98"), "\xef\xbf\xbdx\xef\xbf\xbd"));
    CHECK(shows(plinth_format("%s", "\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
}

static void what_was_built_is_what_the_views_show(void) {
    plinth_schema_t schema =
        schema_of("a:float64 t:utf8? b:float64? on:boolean raw:binary n:int64 at:timestamp-us? f:float32");
    plinth_builder_t builder;
    plinth_block_t block = {0};
    plinth_problem_t problem = {0};
    const plinth_string_t texts[] = {plinth_view("x"), plinth_view("gone"), plinth_view("\xc3\xb6z")};
    plinth_build(&builder, &schema, 3);
    plinth_build_f64s(&builder, (double[]){1, 2, 3}, NULL);
    plinth_build_texts(&builder, texts, (uint8_t[]){5});
    plinth_build_f64s(&builder, (double[]){4, 5, 9.9}, (uint8_t[]){3});
    plinth_build_bools(&builder, (uint8_t[]){0xfd}, NULL);
    plinth_build_texts(&builder, texts, NULL);
    plinth_build_s64s(&builder, (int64_t[]){7, 8, 9}, NULL);
    plinth_build_s64s(&builder, (int64_t[]){10, 20, 30}, NULL);
    plinth_build_f32s(&builder, (float[]){1, 2, 4}, NULL);
    CHECK(plinth_build_finish(&builder, &block, &problem));

    CHECK(plinth_f64s(&schema, &block, 0, &problem)[2] == 3);
    CHECK(plinth_f64s(&schema, &block, 2, &problem)[1] == 5);
    CHECK(plinth_f64s(&schema, &block, 2, &problem)[2] == 0);
    CHECK(plinth_s64s(&schema, &block, 5, &problem)[0] == 7);
    CHECK(plinth_s64s(&schema, &block, 6, &problem)[2] == 30);
    CHECK(plinth_f32s(&schema, &block, 7, &problem)[2] == 4);
    const uint8_t *bits = plinth_bools(&schema, &block, 3, &problem);
    CHECK(plinth_bit(bits, 0) && !plinth_bit(bits, 1) && plinth_bit(bits, 2));
    CHECK(block.bits.ptr[0] == 5);
    plinth_texts_t view;
    CHECK(plinth_texts(&schema, &block, 1, &view, &problem));
    CHECK(plinth_is(plinth_text(&view, 0), "x") && plinth_is(plinth_text(&view, 1), ""));
    CHECK(plinth_texts(&schema, &block, 4, &view, &problem));
    CHECK(plinth_is(plinth_text(&view, 1), "gone") && plinth_is(plinth_text(&view, 2), "\xc3\xb6z"));
    plinth_valid_t valid;
    CHECK(plinth_valid(&schema, &block, 1, &valid, &problem));
    CHECK(plinth_is_valid(valid, 0) && !plinth_is_valid(valid, 1));
    CHECK(plinth_valid(&schema, &block, 6, &valid, &problem) && valid.bits && plinth_is_valid(valid, 1));
    plinth_numbers_t numbers;
    double value = -1;
    CHECK(plinth_numbers(&schema, &block, 3, &numbers, &problem) && plinth_number_at(&numbers, 2, &value) && value == 1);
    CHECK(plinth_numbers(&schema, &block, 2, &numbers, &problem) && !plinth_number_at(&numbers, 2, &value));
    CHECK(block.validity.len == 3);

    CHECK(failed(plinth_f64s(&schema, &block, 1, &problem), &problem, "wrong-kind", "column `t` is utf8, not float64"));
    CHECK(failed(plinth_f64s(&schema, &block, 8, &problem), &problem, "unknown-column", "column 8 of 8"));
    CHECK(failed(plinth_numbers(&schema, &block, 4, &numbers, &problem), &problem, "wrong-kind",
                 "column `raw` is binary, not a number"));
    block.rows = 30;
    CHECK(failed(plinth_f64s(&schema, &block, 0, &problem), &problem, "bad-block",
                 "the block does not fit its schema at column `a`"));
    CHECK(failed(plinth_valid(&schema, &block, 6, &valid, &problem), &problem, "bad-block",
                 "the block does not fit its schema at column `at`"));
    plinth_block_free(&block);
    plinth_schema_free(&schema);
}

static void a_builder_tells_the_first_thing_that_went_wrong(void) {
    plinth_schema_t schema = schema_of("a:float64 b:int64");
    plinth_builder_t builder;
    plinth_block_t block;
    plinth_problem_t problem;
    plinth_build(&builder, &schema, 2);
    plinth_build_s64s(&builder, (int64_t[]){1, 2}, NULL);
    plinth_build_f64s(&builder, (double[]){1, 2}, NULL);
    CHECK(failed(plinth_build_finish(&builder, &block, &problem), &problem, "bad-output",
                 "column `a` is float64, and int64 was written"));
    plinth_build(&builder, &schema, 2);
    plinth_build_f64s(&builder, (double[]){1, 2}, (uint8_t[]){1});
    CHECK(failed(plinth_build_finish(&builder, &block, &problem), &problem, "bad-output",
                 "column `a` is not nullable and has a null"));
    plinth_build(&builder, &schema, 2);
    plinth_build_f64s(&builder, (double[]){1, 2}, NULL);
    CHECK(failed(plinth_build_finish(&builder, &block, &problem), &problem, "bad-output",
                 "column `b` was not written"));
    plinth_build(&builder, &schema, 0);
    plinth_build_f64s(&builder, NULL, NULL);
    plinth_build_s64s(&builder, NULL, NULL);
    CHECK(plinth_build_finish(&builder, &block, &problem) && block.rows == 0);
    CHECK(plinth_f64s(&schema, &block, 0, &problem) != NULL);
    plinth_block_free(&block);
    plinth_schema_free(&schema);
}

static void columns_are_found_or_guessed(void) {
    plinth_schema_t schema = schema_of("account_length:float64 churn:utf8");
    plinth_problem_t problem;
    size_t column = 9;
    CHECK(plinth_column(&schema, plinth_view("churn"), &column, &problem) && column == 1);
    CHECK(failed(plinth_column(&schema, plinth_view("acount_lenght"), &column, &problem), &problem, "unknown-column",
                 "unknown column `acount_lenght`, did you mean `account_length`?"));
    CHECK(failed(plinth_column(&schema, plinth_view("zzz"), &column, &problem), &problem, "unknown-column",
                 "unknown column `zzz`"));
    plinth_schema_free(&schema);
}

static plinth_options_t *options_of(const char *text) {
    plinth_problem_t problem;
    return plinth_options_parse(plinth_view(text), &problem);
}

static void options_are_taken_and_checked(void) {
    plinth_problem_t problem = {0};
    plinth_options_t *options =
        options_of("{\"rate\": 2, \"less\": -0, \"n\": 9007199254740993, \"whole\": 3.0, \"on\": true,"
                   "\"names\": [\"a\", \"\\u00f6\"]}");
    double rate = 1, less = 1, absent = 7;
    int64_t n = 0, whole = 0;
    bool on = false;
    plinth_strings_t names = {0};
    CHECK(plinth_option_f64(options, "rate", &rate) && rate == 2);
    CHECK(plinth_option_f64(options, "less", &less) && less == 0 && signbit(less));
    CHECK(!plinth_option_f64(options, "absent", &absent) && absent == 7);
    CHECK(plinth_option_s64(options, "n", &n) && n == 9007199254740993);
    CHECK(plinth_option_s64(options, "whole", &whole) && whole == 3);
    CHECK(plinth_option_bool(options, "on", &on) && on);
    CHECK(plinth_option_strings(options, "names", &names) && names.len == 2 && plinth_is(names.ptr[1], "\xc3\xb6"));
    CHECK(plinth_options_end(options, &problem));
    plinth_options_free(options);

    options = options_of("{\"maxx\": 1}");
    plinth_option_f64(options, "max", &rate);
    CHECK(failed(plinth_options_end(options, &problem), &problem, "bad-options",
                 "unknown option `maxx`, did you mean `max`?"));
    plinth_options_free(options);

    options = options_of("{\"max\": \"high\"}");
    CHECK(!plinth_option_f64(options, "max", &rate) && rate == 2);
    CHECK(failed(plinth_options_end(options, &problem), &problem, "bad-options",
                 "option `max`: it is a string, and a number is wanted"));
    plinth_options_free(options);

    options = options_of("");
    plinth_option_required(options, "max");
    CHECK(failed(plinth_options_end(options, &problem), &problem, "bad-options", "option `max`: it is missing"));
    plinth_options_free(options);

    CHECK(failed(plinth_options_parse(plinth_view("[1]"), &problem), &problem, "bad-options",
                 "bad options: an object is wanted"));
    CHECK(!plinth_options_parse(plinth_view("{\"a\": }"), &problem));
    plinth_problem_free(&problem);
}

/* ---- The examples ------------------------------------------------------------------------------------------ */

static void standard_scale_scales_whatever_the_partitions(void) {
    plinth_schema_t schema = schema_of("name:utf8 x:float64?");
    plinth_schema_t only = schema_of("x:float64?");
    plinth_problem_t problem = {0};
    plinth_block_t block = floats(&only, (double[]){1, 2, 99, 3, 4}, 5, (uint8_t[]){0x1b});
    plinth_fitting_t *one = plinth_start("standard-scale", &only, "{}", &problem);
    plinth_fitting_t *other = plinth_start("standard-scale", &only, "{\"columns\": [\"x\"]}", &problem);
    CHECK(one && other && plinth_update(other, &block, &problem));
    plinth_bytes_t partial, state;
    bool another_pass;
    CHECK(plinth_partial(other, &partial, &problem) && partial.len == 24);
    CHECK(plinth_merge(one, partial, &problem));
    CHECK(plinth_end_pass(one, &another_pass, &state, &problem) && !another_pass && state.len == 20);
    partial.len--;
    CHECK(failed(plinth_merge(one, partial, &problem), &problem, "bad-partial", "23 bytes are no partial of 1 columns"));

    plinth_fitted_t *fitted = plinth_load("standard-scale", state, &only, &problem);
    CHECK(fitted && plinth_apply(fitted, &block, &problem));
    double deviation = sqrt(1.25);
    CHECK(block.f64s.ptr[0] == (1 - 2.5) / deviation && block.f64s.ptr[4] == (4 - 2.5) / deviation);
    CHECK(block.f64s.ptr[2] == 0 && !signbit(block.f64s.ptr[2]));
    plinth_schema_t output;
    plinth_output(fitted, &output);
    CHECK(plinth_columns(&output) == 1);

    CHECK(failed(plinth_load("standard-scale", state, &schema, &problem), &problem, "bad-state",
                 "the state was fitted on other columns"));
    CHECK(failed(plinth_start("standard-scale", &schema, "{\"columns\": [\"name\"]}", &problem), &problem, "wrong-kind",
                 "column `name` is utf8, not float64: cast it first"));
    CHECK(failed(plinth_start("standard-scale", &only, "{\"columns\": [\"x\", \"x\"]}", &problem), &problem, "bad-options",
                 "option `columns`: `x` is in it twice"));
    CHECK(failed(plinth_start("standard-scale", &schema, "{\"column\": []}", &problem), &problem, "bad-options",
                 "unknown option `column`, did you mean `columns`?"));
    CHECK(failed(plinth_start("standrd-scale", &schema, "{}", &problem), &problem, "unknown-item",
                 "this component has no `standrd-scale`, did you mean `standard-scale`?"));
    plinth_schema_free(&output);
    plinth_fitted_free(fitted);
    plinth_fitting_free(one);
    plinth_fitting_free(other);
    free(partial.ptr);
    plinth_list_u8_free(&state);
    plinth_block_free(&block);
    plinth_schema_free(&schema);
    plinth_schema_free(&only);
}

/* Bytes as hexadecimal digits; frees them. */
static plinth_string_t hex(plinth_bytes_t bytes) {
    plinth_string_t text = {plinth_alloc(2 * bytes.len + 1, 1), 2 * bytes.len};
    for (size_t i = 0; i < bytes.len; i++) snprintf((char *)text.ptr + 2 * i, 3, "%02x", bytes.ptr[i]);
    plinth_list_u8_free(&bytes);
    return text;
}

static void partials_and_states_are_the_same_bytes_in_every_language(void) {
    plinth_schema_t schema = schema_of("name:utf8 x:float64?"), only = schema_of("x:float64?");
    plinth_problem_t problem = {0};
    /* The columns of the other languages' test have a text before the numbers, which the state's index tells. */
    plinth_block_t blocks[] = {floats(&only, (double[]){0.1, 0.2, 99, NAN, 0.3, 1e10}, 6, (uint8_t[]){0x3b}),
                               floats(&only, (double[]){0.7, -5e-324, 1e-3}, 3, NULL)};
    plinth_fitting_t *fits[2];
    for (size_t i = 0; i < 2; i++) {
        blocks[i].offsets.len = blocks[i].rows + 1;
        blocks[i].offsets.ptr = plinth_alloc(blocks[i].offsets.len, sizeof(uint32_t));
        fits[i] = plinth_start("standard-scale", &schema, "{}", &problem);
        CHECK(fits[i] && plinth_update(fits[i], &blocks[i], &problem));
        plinth_block_free(&blocks[i]);
    }
    plinth_bytes_t partial, merged, state;
    bool another_pass;
    CHECK(plinth_partial(fits[1], &partial, &problem) && plinth_merge(fits[0], partial, &problem));
    CHECK(plinth_partial(fits[0], &merged, &problem));
    CHECK(plinth_end_pass(fits[0], &another_pass, &state, &problem));
    CHECK(shows(hex(partial), "00000000000008404ed4bf11cae8cd3f1c12d1c278e0d43f"));
    CHECK(shows(hex(merged), "0000000000001c405e7730499149d5411e4be14219961244"));
    CHECK(shows(hex(state), "010000005e7730499149d541d85fa1725412ea41"));
    for (size_t i = 0; i < 2; i++) plinth_fitting_free(fits[i]);
    plinth_schema_free(&schema);
    plinth_schema_free(&only);
}

static void psi_tells_a_shift(void) {
    plinth_schema_t schema = schema_of("x:float64"), text = schema_of("t:utf8");
    plinth_problem_t problem = {0};
    double values[200], shifted[200];
    for (int i = 0; i < 200; i++) {
        values[i] = i % 50;
        shifted[i] = i % 50 + 15;
    }
    plinth_block_t reference = floats(&schema, values, 200, NULL), current = floats(&schema, shifted, 200, NULL);
    plinth_outcome_t outcome = {0};
    CHECK(plinth_test("psi", &schema, &reference, &reference, "{}", &outcome, &problem));
    CHECK(outcome.verdict == PLINTH_NO_DRIFT && outcome.statistic == 0 && outcome.n_current == 200);
    CHECK(plinth_test("psi", &schema, &reference, &current, "{\"bins\": 4}", &outcome, &problem));
    CHECK(outcome.verdict == PLINTH_DRIFT && outcome.effect_size.val == outcome.statistic);
    /* Against the C library's logarithm. Bins hold 48, 52, 48, 52 and 0, 40, 48, 112 of 200, and half a row more. */
    double r[] = {48, 52, 48, 52}, c[] = {0, 40, 48, 112}, sum = 0;
    for (int i = 0; i < 4; i++) {
        double p = (r[i] + 0.5) / 202, q = (c[i] + 0.5) / 202;
        sum += (q - p) * log(q / p);
    }
    CHECK(fabs(outcome.statistic - sum) < 1e-12);
    CHECK(plinth_test("psi", &schema, &reference, &current, "{\"rows-min\": 300}", &outcome, &problem));
    CHECK(outcome.verdict == PLINTH_INCONCLUSIVE);
    CHECK(shows(outcome.note.val, "the reference has 200 usable rows; a verdict needs 300"));
    CHECK(failed(plinth_test("psi", &text, &reference, &current, "{}", &outcome, &problem), &problem, "wrong-kind",
                 "`psi` does not compare utf8 columns such as `t`"));
    CHECK(failed(plinth_test("psi", &schema, &reference, &current, "{\"bins\": 1}", &outcome, &problem), &problem,
                 "bad-options", "option `bins`: it is 1; it must be 2 to 1000"));
    plinth_block_free(&reference);
    plinth_block_free(&current);
    plinth_schema_free(&schema);
    plinth_schema_free(&text);
}

static void the_gate_shows_what_it_saw(void) {
    plinth_metric_t metrics[] = {
        {plinth_view("accuracy"), 0.875, {0}, {0}},
        {plinth_view("accuracy"), 0.5, {true, plinth_view("state=KS")}, {0}},
        {plinth_view("auc"), NAN, {0}, {0}},
    };
    plinth_evidence_t evidence = {{plinth_view("models:/churn/3"), {metrics, 3}, {0}}, {0}};
    plinth_checks_t checks_made = {0};
    plinth_problem_t problem = {0};
    CHECK(plinth_evaluate("threshold", &evidence,
                          "{\"thresholds\": [{\"metric\": \"accuracy\", \"min\": 0.8},"
                          "{\"metric\": \"accuracy\", \"min\": 0.6, \"max\": 1, \"slice\": \"state=KS\"},"
                          "{\"metric\": \"auc\", \"max\": 1}, {\"metric\": \"f1\", \"max\": 1}]}",
                          &checks_made, &problem));
    CHECK(checks_made.len == 4);
    plinth_check_t *check = checks_made.ptr;
    CHECK(check->outcome == PLINTH_PASS && shows(check->name, "accuracy") && shows(check->observed, "0.875") &&
          shows(check->expected, "at least 0.8") && shows(check->reason, ""));
    check++;
    CHECK(check->outcome == PLINTH_FAIL && shows(check->name, "accuracy in state=KS") && shows(check->observed, "0.5") &&
          shows(check->expected, "0.6 to 1"));
    check++;
    CHECK(check->outcome == PLINTH_FAIL && shows(check->observed, "NaN") && shows(check->expected, "at most 1") &&
          shows(check->name, "auc"));
    check++;
    CHECK(check->outcome == PLINTH_FAIL && shows(check->observed, "not measured") && shows(check->name, "f1") &&
          shows(check->expected, "at most 1") &&
          shows(check->reason, "the metric is not among those of models:/churn/3"));
    free(checks_made.ptr);
    CHECK(failed(plinth_evaluate("threshold", &evidence, "{\"thresholds\": [{\"metric\": \"f1\"}]}", &checks_made,
                                 &problem),
                 &problem, "bad-options", "the threshold of `f1` has no bound: give min, max or both"));
    CHECK(failed(plinth_evaluate("threshold", &evidence, "{}", &checks_made, &problem), &problem, "bad-options",
                 "option `thresholds`: it is missing"));
}

/* Whether reading some rows of a layout ends in this problem. */
static bool unreadable(const char *layout, const char *rows, size_t len, const char *code, uint64_t row,
                       const char *column) {
    plinth_problem_t problem = {0};
    plinth_plan_t plan = {0};
    plinth_block_t block = {0};
    bool some = false, good;
    plinth_lend_object("file:///bad.txt", rows, len);
    CHECK(plinth_plan("fixed-width", "file:///bad.txt", layout, &plan, &problem));
    plinth_reader_t *reader =
        plinth_open("fixed-width", "file:///bad.txt", layout, &plan.schema, plan.partitions.ptr[0].token, &problem);
    CHECK(reader);
    good = plinth_next(reader, 100, &some, &block, &problem);
    if (good) plinth_block_free(&block);
    bool same = !good && plinth_is(problem.code, code) && problem.row.is_some && problem.row.val == row &&
                problem.column.is_some == (column != NULL) && (!column || plinth_is(problem.column.val, column));
    if (!same) printf("%.*s: %.*s\n", PLINTH_SHOW(problem.code), PLINTH_SHOW(problem.message));
    CHECK(good || plinth_is_utf8(problem.message));
    if (!good) plinth_problem_free(&problem);
    plinth_reader_free(reader);
    for (size_t i = 0; i < plan.partitions.len; i++) plinth_list_u8_free(&plan.partitions.ptr[i].token);
    free(plan.partitions.ptr);
    plinth_schema_free(&plan.schema);
    plinth_lend_nothing();
    return same;
}
#define UNREADABLE(layout, rows, ...) unreadable(layout, rows, sizeof rows - 1, __VA_ARGS__)

static const char LAYOUT[] = "{\"columns\": [{\"name\": \"id\", \"width\": 4, \"kind\": \"int64\", \"nullable\": false},"
                             "{\"name\": \"x\", \"width\": 6, \"kind\": \"float64\"},"
                             "{\"name\": \"t\", \"width\": 3, \"kind\": \"utf8\"},"
                             "{\"name\": \"on\", \"width\": 5, \"kind\": \"boolean\"}], \"partition-rows\": 2}";

static void fixed_width_reads_partitions(void) {
    const char rows[] = "   1  -2.5abc true\n"
                        "  -2       \xc3\xb6" "false\n"
                        "   3  7e-1 z      \n";
    plinth_problem_t problem = {0};
    plinth_plan_t plan = {0};
    plinth_lend_object("file:///t.txt", rows, sizeof rows - 1);
    plinth_lend_object("file:///torn.txt", rows, sizeof rows - 2);
    CHECK(plinth_plan("fixed-width", "file:///t.txt", LAYOUT, &plan, &problem));
    CHECK(plan.partitions.len == 2 && plan.partitions.ptr[1].rows_hint.val == 1 && plinth_columns(&plan.schema) == 4);

    plinth_reader_t *reader =
        plinth_open("fixed-width", "file:///t.txt", LAYOUT, &plan.schema, plan.partitions.ptr[0].token, &problem);
    bool some;
    plinth_block_t block;
    CHECK(reader && plinth_next(reader, 100, &some, &block, &problem) && some && block.rows == 2);
    CHECK(plinth_s64s(&plan.schema, &block, 0, &problem)[1] == -2);
    CHECK(plinth_f64s(&plan.schema, &block, 1, &problem)[0] == -2.5);
    plinth_texts_t texts;
    CHECK(plinth_texts(&plan.schema, &block, 2, &texts, &problem) && plinth_is(plinth_text(&texts, 1), "\xc3\xb6"));
    plinth_valid_t valid;
    CHECK(plinth_valid(&plan.schema, &block, 1, &valid, &problem) && !plinth_is_valid(valid, 1));
    plinth_block_free(&block);
    CHECK(plinth_next(reader, 100, &some, &block, &problem) && !some);
    plinth_reader_free(reader);

    plinth_plan_t none = {0};
    CHECK(failed(plinth_plan("fixed-width", "file:///torn.txt", LAYOUT, &none, &problem), &problem, "bad-source",
                 "56 bytes are no whole number of records of 19 bytes"));
    CHECK(failed(plinth_plan("fixed-width", "file:///none.txt", LAYOUT, &none, &problem), &problem, "not-found",
                 "no object `file:///none.txt` was lent"));
    for (size_t i = 0; i < plan.partitions.len; i++) plinth_list_u8_free(&plan.partitions.ptr[i].token);
    free(plan.partitions.ptr);
    plinth_schema_free(&plan.schema);
    plinth_lend_nothing();
}

#define GOOD "   1  -2.5abc true\n"
#define ONE(width, kind) "{\"columns\": [{\"name\": \"a\", \"width\": " #width ", \"kind\": \"" kind "\"}]}"

static void the_first_bad_cell_of_the_lowest_row_is_told(void) {
    CHECK(UNREADABLE(LAYOUT, GOOD "   2   .5 abcmaybe\n", "bad-value", 1, "x"));
    CHECK(UNREADABLE(LAYOUT, GOOD "       1.5abc true\n", "null-value", 1, "id"));
    CHECK(UNREADABLE(LAYOUT, GOOD "   2   1.5a\xff  true\n", "bad-value", 1, "t"));
    /* A torn row is told before its cells, and after an earlier row's. */
    CHECK(UNREADABLE(LAYOUT, GOOD "   x  -2.5abc true ", "bad-row", 1, NULL));
    CHECK(UNREADABLE(LAYOUT, "   1  -2.5abcmaybe\n" "   x  -2.5abc true ", "bad-value", 0, "on"));
    CHECK(UNREADABLE(ONE(5, "float64"), "1e-99\n1e999\n", "bad-value", 1, "a"));
    CHECK(UNREADABLE(ONE(6, "float64"), "-1e309\n", "bad-value", 0, "a"));
    CHECK(UNREADABLE(ONE(19, "int64"), "-999999999999999999\n9223372036854775808\n", "bad-value", 1, "a"));
    CHECK(UNREADABLE(ONE(2, "int64"), "+1\n", "bad-value", 0, "a"));
    /* 511 digits are a number, 512 are none. */
    char digits[2 * 513];
    memset(digits, '0', sizeof digits);
    digits[0] = ' ';
    digits[512] = digits[1025] = '\n';
    CHECK(unreadable(ONE(512, "float64"), digits, sizeof digits, "bad-value", 1, "a"));
    CHECK(unreadable(ONE(512, "int64"), digits, sizeof digits, "bad-value", 1, "a"));
}

static void one_column_is_not_described_twice(void) {
    plinth_problem_t problem = {0};
    plinth_plan_t plan = {0};
    const char twice[] = "{\"columns\": [{\"name\": \"a\", \"width\": 1, \"kind\": \"utf8\"},"
                         "{\"name\": \"a\", \"width\": 1, \"kind\": \"int64\"}]}";
    CHECK(failed(plinth_plan("fixed-width", "file:///none.txt", twice, &plan, &problem), &problem, "bad-options",
                 "option `columns`: `a` is in it twice"));
}

#define LINEAR "{\"intercept\": 0.5, \"coefficients\": [{\"column\": \"x\", \"value\": 2}, {\"column\": \"n\", \"value\": -1}]}"

static plinth_predictor_t *linear_of(const char *artifact, const plinth_schema_t *schema, const char *options,
                                     plinth_problem_t *problem) {
    plinth_string_t text = plinth_view(artifact);
    return plinth_load_model("linear-model", (plinth_bytes_t){text.ptr, text.len}, schema, options, problem);
}

static void the_linear_model_predicts_rows_without_nulls(void) {
    plinth_schema_t schema = schema_of("name:utf8 x:float64? n:int64"), output;
    plinth_problem_t problem = {0};
    plinth_block_t rows = {0}, predicted;
    plinth_builder_t builder;
    plinth_build(&builder, &schema, 3);
    plinth_build_texts(&builder, (plinth_string_t[3]){{0}}, NULL);
    plinth_build_f64s(&builder, (double[]){-4.5, 9, -0.25}, (uint8_t[]){5});
    plinth_build_s64s(&builder, (int64_t[]){1, 2, 0}, NULL);
    CHECK(plinth_build_finish(&builder, &rows, &problem));
    plinth_predictor_t *model = linear_of(LINEAR, &schema, "{}", &problem);
    CHECK(model && plinth_predict(model, &rows, &predicted, &problem) && predicted.rows == 3);
    CHECK(memcmp(predicted.f64s.ptr, (double[]){-9.5, 0, 0}, 3 * sizeof(double)) == 0);
    CHECK(predicted.validity.len == 1 && predicted.validity.ptr[0] == 5);
    plinth_block_free(&predicted);
    rows.rows = 30;
    CHECK(failed(plinth_predict(model, &rows, &predicted, &problem), &problem, "bad-block",
                 "the block does not fit its schema at column `x`"));
    rows.rows = 3;
    plinth_predictor_free(model);
    model = linear_of(LINEAR, &schema, "{\"output\": \"p\", \"link\": \"logistic\"}", &problem);
    CHECK(model && plinth_predict(model, &rows, &predicted, &problem));
    /* The C library's exp() would make another last bit of the first. */
    CHECK(predicted.f64s.ptr[0] == 7.484622751061124e-05 && predicted.f64s.ptr[2] == 0.5);
    plinth_model_output(model, &output);
    CHECK(plinth_columns(&output) == 1 && plinth_is(output.fields.ptr[0].name, "p") && output.fields.ptr[0].nullable);
    plinth_schema_free(&output);
    plinth_block_free(&predicted);
    plinth_predictor_free(model);
    plinth_block_free(&rows);
    plinth_schema_free(&schema);
}

static void a_linear_model_that_does_not_fit_is_told(void) {
    plinth_schema_t schema = schema_of("x:timestamp-us n:int64");
    plinth_problem_t problem;
    const struct { const char *artifact, *why; } none[] = {
        {"", "input length is 0 at byte 0"},
        {"[]", "an object is wanted"},
        {"{}", "a list of `coefficients` is wanted"},
        {"{\"coefficients\": [], \"bias\": 1}", "unknown name `bias`"},
        {"{\"coefficients\": [], \"coefficients\": []}", "`coefficients` is given twice"},
        {"{\"intercept\": null, \"coefficients\": []}", "`intercept` is no number"},
        {"{\"coefficients\": [{\"column\": \"gone\", \"value\": 1}, {\"column\": \"x\"}]}",
         "coefficient 1 needs a column and a value"},
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char message[200];
        snprintf(message, sizeof message, "the artifact is no {\"intercept\": 0.5, \"coefficients\": [...]}: %s", none[i].why);
        CHECK(failed(linear_of(none[i].artifact, &schema, "{}", &problem), &problem, "bad-artifact", message));
    }
    CHECK(failed(linear_of(LINEAR, &schema, "{}", &problem), &problem, "wrong-kind",
                 "column `x` is timestamp-us, which is no number"));
    CHECK(failed(linear_of("{\"coefficients\": [{\"column\": \"m\", \"value\": 1}]}", &schema, "{}", &problem), &problem,
                 "unknown-column", "unknown column `m`, did you mean `x`?"));
    CHECK(failed(linear_of(LINEAR, &schema, "{\"link\": \"probit\"}", &problem), &problem, "bad-options",
                 "option `link`: it is `probit`; it must be identity or logistic"));
    plinth_schema_free(&schema);
}

static bool twice_as_much(plinth_tensors_t inputs, plinth_tensors_t *outputs, plinth_problem_t *problem) {
    if (inputs.len != 1) return plinth_fail(problem, "bad-input", "%zu inputs", inputs.len);
    plinth_tensor_t *from = inputs.ptr, *to = plinth_alloc(1, sizeof *to);
    to->name = plinth_string("y");
    to->ty = from->ty;
    to->data = plinth_bytes(from->data.ptr, from->data.len);
    for (size_t at = 0; at < to->data.len; at += sizeof(float)) {
        float value;
        memcpy(&value, to->data.ptr + at, sizeof value);
        value *= 2;
        memcpy(to->data.ptr + at, &value, sizeof value);
    }
    *outputs = (plinth_tensors_t){to, 1};
    return true;
}

static void what_a_test_lends_is_what_the_code_sees(void) {
    plinth_problem_t problem = {0};
    plinth_string_t text;
    plinth_lend_config("model", "small");
    plinth_lend_config("model", "large");
    CHECK(plinth_config("model", &text) && shows(text, "large"));
    CHECK(!plinth_config("mode", &text));
    plinth_lend_config("batch", "32");
    plinth_list_tuple2_string_string_t all = plinth_config_all();
    CHECK(all.len == 2 && plinth_is(all.ptr[0].f0, "batch") && plinth_is(all.ptr[0].f1, "32") &&
          plinth_is(all.ptr[1].f0, "model"));
    plinth_list_tuple2_string_string_free(&all);
    plinth_lend_secret("key", "s3cret");
    CHECK(plinth_secret("key", &text, &problem) && shows(text, "s3cret"));
    CHECK(failed(plinth_secret("other", &text, &problem), &problem, "denied", "no secret `other` was lent"));

    plinth_bytes_t value = plinth_bytes("1", 1), read;
    plinth_strings_t keys;
    bool some;
    CHECK(plinth_kv_set(plinth_view("b"), value, &problem) && plinth_kv_set(plinth_view("a/2"), value, &problem) &&
          plinth_kv_set(plinth_view("a/1"), value, &problem) && plinth_kv_set(plinth_view("a/3"), value, &problem));
    CHECK(plinth_kv_get(plinth_view("b"), &some, &read, &problem) && some && read.len == 1);
    plinth_list_u8_free(&read);
    CHECK(plinth_kv_delete(plinth_view("b"), &problem) && plinth_kv_get(plinth_view("b"), &some, &read, &problem) && !some);
    plinth_string_t after = plinth_view("a/1");
    CHECK(plinth_kv_keys(plinth_view("a/"), &after, 1, &keys, &problem) && keys.len == 1 && plinth_is(keys.ptr[0], "a/2"));
    plinth_list_string_free(&keys);
    bool swapped;
    plinth_string_t n = plinth_view("n");
    CHECK(plinth_kv_swap(n, &value, value, &swapped, &problem) && !swapped);
    CHECK(plinth_kv_swap(n, NULL, value, &swapped, &problem) && swapped);
    CHECK(plinth_kv_swap(n, NULL, value, &swapped, &problem) && !swapped);
    CHECK(plinth_kv_swap(n, &value, value, &swapped, &problem) && swapped);
    plinth_list_u8_free(&value);

    plinth_lend_response("https://a/", 200, "{}", 2);
    plinth_request_t request = {.url = plinth_view("https://a/")};
    plinth_response_t response;
    CHECK(plinth_send(&request, &response, &problem) && response.status == 200 && response.body.len == 2);
    CHECK(!plinth_response_header(&response, "content-type"));
    plinth_host_http_response_free(&response);
    request.url = plinth_view("https://b/");
    CHECK(failed(plinth_send(&request, &response, &problem), &problem, "denied", "no answer of `https://b/` was lent"));

    plinth_lend_model("double", twice_as_much);
    plinth_graph_t *graph = plinth_graph_load("double", &problem);
    float numbers[] = {1.5f, -2};
    plinth_tensor_t input = {.name = plinth_view("x"), .ty = PLINTH_HOST_NN_TENSOR_TYPE_FP32,
                             .data = {(uint8_t *)numbers, sizeof numbers}};
    plinth_tensors_t outputs;
    CHECK(graph && plinth_graph_inputs(graph).len == 0 && plinth_graph_outputs(graph).len == 0);
    CHECK(plinth_graph_compute(graph, (plinth_tensors_t){&input, 1}, &outputs, &problem) && outputs.len == 1);
    CHECK(memcmp(outputs.ptr[0].data.ptr, (float[]){3, -4}, sizeof numbers) == 0);
    plinth_host_nn_list_tensor_free(&outputs);
    CHECK(failed(plinth_graph_compute(graph, (plinth_tensors_t){0}, &outputs, &problem), &problem, "bad-input", "0 inputs"));
    plinth_graph_close(graph);

    uint64_t before = plinth_monotonic_ns();
    CHECK(plinth_now_us() > 0 && before < plinth_monotonic_ns());
    plinth_bytes_t random = plinth_random_bytes(3);
    CHECK(random.len == 3 && plinth_random_u64() != plinth_random_u64());
    plinth_list_u8_free(&random);
    plinth_lend_nothing();
    CHECK(!plinth_config("model", &text));
}

static void lent_tables_are_read_once(void) {
    plinth_schema_t schema = schema_of("x:float64");
    plinth_block_t block = floats(&schema, (double[]){1, 2}, 2, NULL), read;
    plinth_problem_t problem = {0};
    bool some;
    plinth_lend_table("data", &schema, &block);
    plinth_table_t *table = plinth_table_open("data", &problem);
    CHECK(table && plinth_columns(plinth_table_schema(table)) == 1);
    CHECK(plinth_table_next(table, 10, &some, &read, &problem) && some && read.f64s.ptr[1] == 2);
    plinth_block_free(&read);
    CHECK(plinth_table_next(table, 10, &some, &read, &problem) && !some);
    plinth_table_close(table);
    CHECK(failed(plinth_table_open("dta", &problem), &problem, "not-found", "no table `dta` was lent"));
    plinth_lend_nothing();
    plinth_block_free(&block);
    plinth_schema_free(&schema);
}

int main(void) {
    numbers_are_short_and_exact();
    texts_are_utf8();
    what_was_built_is_what_the_views_show();
    a_builder_tells_the_first_thing_that_went_wrong();
    columns_are_found_or_guessed();
    options_are_taken_and_checked();
    standard_scale_scales_whatever_the_partitions();
    partials_and_states_are_the_same_bytes_in_every_language();
    psi_tells_a_shift();
    the_gate_shows_what_it_saw();
    fixed_width_reads_partitions();
    the_first_bad_cell_of_the_lowest_row_is_told();
    one_column_is_not_described_twice();
    the_linear_model_predicts_rows_without_nulls();
    a_linear_model_that_does_not_fit_is_told();
    lent_tables_are_read_once();
    what_a_test_lends_is_what_the_code_sees();
    printf("%d passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
