/* A gate that misbehaves on command: the option `deed` is the misdeed. */
#include <stdlib.h>
#include <string.h>

#include "plinth.h"
#include "yyjson.h"

static bool evaluate(const plinth_evidence_t *evidence, plinth_options_t *options, plinth_checks_t *checks,
                     plinth_problem_t *problem) {
    (void)evidence;
    yyjson_val *option = plinth_option_json(options, "deed");
    const char *deed = option ? yyjson_get_str(option) : "good";
    if (!plinth_options_end(options, problem)) return false;
    static char text[1001];
    static volatile unsigned turns;
    memset(text, 'x', 1000);
    if (!strcmp(deed, "loop")) for (;;) turns++;
    if (!strcmp(deed, "bomb")) for (;;) {
        /* Whoever is refused memory in C goes on unless it stops itself. */
        volatile char *block = malloc(1 << 20);
        if (!block) abort();
        for (size_t at = 0; at < 1 << 20; at += 4096) block[at] = 1;
    }
    if (!strcmp(deed, "flood")) for (int i = 0; i < 20000; i++) plinth_info("%s", text);
    if (!strcmp(deed, "crash")) abort();
    plinth_check_t *check = plinth_checks_add(checks);
    check->name = plinth_string("behaves");
    check->expected = plinth_string("nothing");
    check->outcome = PLINTH_PASS;
    if (!strcmp(deed, "lie")) { /* more than any gate may return */
        char *huge = malloc((48u << 20) + 1);
        if (!huge) abort();
        memset(huge, 'x', 48u << 20);
        huge[48u << 20] = 0;
        check->observed = plinth_string(huge);
    } else {
        check->observed = plinth_string("nothing");
    }
    return true;
}

static const plinth_gate_t gate = {
    .name = "misdeeds",
    .summary = "Misbehaves on command",
    .options_schema = "{\"type\":\"object\",\"properties\":{\"deed\":{\"type\":\"string\"}},"
                      "\"additionalProperties\":false}",
    .evaluate = evaluate,
};

PLINTH_GATES(&gate);
