/* Options: JSON text from the host, taken one by one. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "yyjson.h"

/* What was asked for, so that what was not is told. */
typedef struct plinth_asked_t {
    const char *name;
} plinth_asked_t;

struct plinth_options_t {
    yyjson_doc *doc;
    plinth_asked_t *asked;
    size_t asked_len;
    /* Lists of texts that were handed out. */
    plinth_string_t **lists;
    size_t lists_len;
    plinth_problem_t problem;
    bool failed;
};

plinth_options_t *plinth_options_parse(plinth_string_t text, plinth_problem_t *problem) {
    if (text.len == 0) text = plinth_view("{}");
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts((char *)text.ptr, text.len, 0, NULL, &error);
    if (!doc) {
        plinth_fail(problem, "bad-options", "bad options: %s at byte %zu", error.msg, error.pos);
        return NULL;
    }
    if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
        yyjson_doc_free(doc);
        plinth_fail(problem, "bad-options", "bad options: an object is wanted");
        return NULL;
    }
    plinth_options_t *options = plinth_alloc(1, sizeof *options);
    options->doc = doc;
    return options;
}

void plinth_options_free(plinth_options_t *options) {
    if (!options) return;
    for (size_t i = 0; i < options->lists_len; i++) free(options->lists[i]);
    free(options->lists);
    free(options->asked);
    if (options->failed) plinth_problem_free(&options->problem);
    yyjson_doc_free(options->doc);
    free(options);
}

void plinth_option_wrong(plinth_options_t *options, const char *name, const char *format, ...) {
    if (options->failed) return;
    options->failed = true;
    va_list list;
    va_start(list, format);
    plinth_string_t why = plinth_format_list(format, list);
    va_end(list);
    plinth_fail(&options->problem, "bad-options", "option `%s`: %.*s", name, PLINTH_SHOW(why));
    plinth_string_free(&why);
}

yyjson_val *plinth_option_json(plinth_options_t *options, const char *name) {
    options->asked = plinth_grow(options->asked, options->asked_len, sizeof *options->asked);
    options->asked[options->asked_len++].name = name;
    yyjson_val *value = yyjson_obj_get(yyjson_doc_get_root(options->doc), name);
    /* An option that is null is one that was not given. */
    return yyjson_is_null(value) ? NULL : value;
}

static void wrong_type(plinth_options_t *options, const char *name, yyjson_val *value, const char *wanted) {
    plinth_option_wrong(options, name, "it is a %s, and %s is wanted", yyjson_get_type_desc(value), wanted);
}

bool plinth_json_f64(const yyjson_val *json, double *value) {
    yyjson_val *given = (yyjson_val *)(uintptr_t)json;
    if (!yyjson_is_num(given)) return false;
    /* The parser takes -0 for an integer, which has no sign where it is zero. */
    *value = yyjson_is_sint(given) && yyjson_get_sint(given) == 0 ? -0.0 : yyjson_get_num(given);
    return true;
}

bool plinth_option_f64(plinth_options_t *options, const char *name, double *value) {
    yyjson_val *given = plinth_option_json(options, name);
    if (!given) return false;
    if (plinth_json_f64(given, value)) return true;
    wrong_type(options, name, given, "a number");
    return false;
}

bool plinth_json_s64(const yyjson_val *json, int64_t *value) {
    yyjson_val *given = (yyjson_val *)(uintptr_t)json;
    /* JSON tells 3 from 3.0 only in spelling, and so JSON Schema takes both as integers. */
    double whole = yyjson_is_real(given) ? yyjson_get_real(given) : 0;
    if (yyjson_is_real(given) && whole >= -9e15 && whole <= 9e15 && whole == (double)(int64_t)whole) {
        *value = (int64_t)whole;
        return true;
    }
    if (!yyjson_is_int(given) || (yyjson_is_uint(given) && yyjson_get_uint(given) > INT64_MAX)) return false;
    *value = yyjson_get_sint(given);
    return true;
}

bool plinth_option_s64(plinth_options_t *options, const char *name, int64_t *value) {
    yyjson_val *given = plinth_option_json(options, name);
    if (!given) return false;
    if (plinth_json_s64(given, value)) return true;
    wrong_type(options, name, given, "an integer");
    return false;
}

bool plinth_option_bool(plinth_options_t *options, const char *name, bool *value) {
    yyjson_val *given = plinth_option_json(options, name);
    if (!given) return false;
    if (!yyjson_is_bool(given)) {
        wrong_type(options, name, given, "true or false");
        return false;
    }
    *value = yyjson_get_bool(given);
    return true;
}

static plinth_string_t text_of(yyjson_val *value) {
    return (plinth_string_t){(uint8_t *)(uintptr_t)yyjson_get_str(value), yyjson_get_len(value)};
}

bool plinth_option_string(plinth_options_t *options, const char *name, plinth_string_t *value) {
    yyjson_val *given = plinth_option_json(options, name);
    if (!given) return false;
    if (!yyjson_is_str(given)) {
        wrong_type(options, name, given, "a string");
        return false;
    }
    *value = text_of(given);
    return true;
}

bool plinth_option_strings(plinth_options_t *options, const char *name, plinth_strings_t *value) {
    yyjson_val *given = plinth_option_json(options, name);
    if (!given) return false;
    if (!yyjson_is_arr(given)) {
        wrong_type(options, name, given, "an array of strings");
        return false;
    }
    plinth_string_t *list = plinth_alloc(yyjson_arr_size(given), sizeof *list);
    options->lists = plinth_grow(options->lists, options->lists_len, sizeof *options->lists);
    options->lists[options->lists_len++] = list;
    size_t index, len;
    yyjson_val *element;
    yyjson_arr_foreach(given, index, len, element) {
        if (!yyjson_is_str(element)) {
            wrong_type(options, name, element, "a string");
            return false;
        }
        list[index] = text_of(element);
    }
    *value = (plinth_strings_t){list, len};
    return true;
}

void plinth_option_required(plinth_options_t *options, const char *name) {
    if (!plinth_option_json(options, name)) plinth_option_wrong(options, name, "it is missing");
}

bool plinth_options_end(plinth_options_t *options, plinth_problem_t *problem) {
    size_t index, len;
    yyjson_val *key, *value;
    yyjson_obj_foreach(yyjson_doc_get_root(options->doc), index, len, key, value) {
        if (options->failed) break;
        plinth_nearest_t nearest = {.wanted = text_of(key)};
        bool known = false;
        for (size_t i = 0; i < options->asked_len; i++) {
            plinth_string_t asked = plinth_view(options->asked[i].name);
            known |= plinth_equal(asked, nearest.wanted);
            plinth_nearest_add(&nearest, asked);
        }
        if (known) continue;
        options->failed = true;
        plinth_fail_near(&options->problem, "bad-options", "unknown option", &nearest);
    }
    if (!options->failed) return true;
    *problem = options->problem;
    options->problem = (plinth_problem_t){0};
    options->failed = false;
    return false;
}
