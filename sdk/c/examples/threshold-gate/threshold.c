/* A gate: metrics of the candidate within bounds. */
#include <math.h>

#include "plinth.h"
#include "yyjson.h"

typedef struct threshold {
    plinth_string_t metric;
    const char *slice; /* NULL for the whole */
    double min, max;   /* infinite where there is no bound */
} threshold;

/* One rule of the options. The host has checked it against the schema, but not that it has a bound. */
static threshold threshold_of(yyjson_val *rule) {
    yyjson_val *min = yyjson_obj_get(rule, "min"), *max = yyjson_obj_get(rule, "max");
    return (threshold){
        .metric = plinth_view(yyjson_get_str(yyjson_obj_get(rule, "metric"))),
        .slice = yyjson_get_str(yyjson_obj_get(rule, "slice")),
        .min = min ? yyjson_get_num(min) : -INFINITY,
        .max = max ? yyjson_get_num(max) : INFINITY,
    };
}

/* "at least 0.8", "at most 3", "0.8 to 3". */
static plinth_string_t expected_of(threshold rule) {
    plinth_string_t min = plinth_number(rule.min), max = plinth_number(rule.max), text;
    if (isinf(rule.max)) text = plinth_format("at least %.*s", PLINTH_SHOW(min));
    else if (isinf(rule.min)) text = plinth_format("at most %.*s", PLINTH_SHOW(max));
    else text = plinth_format("%.*s to %.*s", PLINTH_SHOW(min), PLINTH_SHOW(max));
    plinth_string_free(&min);
    plinth_string_free(&max);
    return text;
}

static bool evaluate(const plinth_evidence_t *evidence, plinth_options_t *options, plinth_checks_t *checks,
                     plinth_problem_t *problem) {
    plinth_option_required(options, "thresholds");
    yyjson_val *rules = plinth_option_json(options, "thresholds"), *each;
    if (yyjson_arr_size(rules) == 0) {
        plinth_option_wrong(options, "thresholds", "there is no rule in it, so that everything would pass");
    }
    if (!plinth_options_end(options, problem)) return false;

    size_t index, len;
    yyjson_arr_foreach(rules, index, len, each) {
        threshold rule = threshold_of(each);
        if (isinf(rule.min) && isinf(rule.max)) {
            return plinth_fail(problem, "bad-options", "the threshold of `%.*s` has no bound: give min, max or both",
                               PLINTH_SHOW(rule.metric));
        }
        const plinth_metric_t *metric = plinth_metric(&evidence->candidate, rule.metric, rule.slice);
        plinth_check_t *check = plinth_checks_add(checks);
        check->name = plinth_format("%.*s%s%s", PLINTH_SHOW(rule.metric), rule.slice ? " in " : "",
                                    rule.slice ? rule.slice : "");
        check->expected = expected_of(rule);
        bool holds = metric && metric->value >= rule.min && metric->value <= rule.max;
        check->outcome = holds ? PLINTH_PASS : PLINTH_FAIL;
        check->observed = metric ? plinth_number(metric->value) : plinth_string("not measured");
        if (!metric) {
            check->reason = plinth_format("the metric is not among those of %.*s",
                                          PLINTH_SHOW(evidence->candidate.reference));
        }
    }
    return true;
}

static const plinth_gate_t gate = {
    .name = "threshold",
    .summary = "Metrics of the candidate within bounds",
    .options_schema =
        "{\"type\":\"object\",\"properties\":{\"thresholds\":{\"type\":\"array\",\"minItems\":1,\"items\":{"
        "\"type\":\"object\",\"properties\":{\"metric\":{\"type\":\"string\"},\"min\":{\"type\":\"number\"},"
        "\"max\":{\"type\":\"number\"},\"slice\":{\"type\":\"string\"}},\"required\":[\"metric\"],"
        "\"additionalProperties\":false}}},\"required\":[\"thresholds\"],\"additionalProperties\":false}",
    .evaluate = evaluate,
};

PLINTH_GATES(&gate);
