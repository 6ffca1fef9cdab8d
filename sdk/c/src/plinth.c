/* Text, problems and schemas. Rows are in rows.c, options in options.c, the host in host.c, exports in export.c. */
#include "plinth.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

void *plinth_alloc(size_t count, size_t size) {
    if (count == 0 || size == 0) return NULL;
    void *memory = calloc(count, size);
    if (!memory) plinth_panic("out of memory: %zu x %zu bytes", count, size);
    return memory;
}

plinth_bytes_t plinth_bytes(const void *bytes, size_t len) {
    plinth_bytes_t copy = {plinth_alloc(len, 1), len};
    if (len) memcpy(copy.ptr, bytes, len);
    return copy;
}

plinth_string_t plinth_string_n(const char *text, size_t len) {
    plinth_bytes_t copy = plinth_bytes(text, len);
    return (plinth_string_t){copy.ptr, copy.len};
}

plinth_string_t plinth_string(const char *text) { return plinth_string_n(text, strlen(text)); }

plinth_string_t plinth_view(const char *text) { return (plinth_string_t){(uint8_t *)(uintptr_t)text, strlen(text)}; }

/* Bytes of the UTF-8 sequence that a text begins with; 0 where it begins with none, and then `bad` is how many bytes at
 * most could have begun one. */
static size_t sequence(plinth_string_t text, size_t *bad) {
    *bad = 1;
    uint8_t lead = text.ptr[0];
    if (lead < 0x80) return 1;
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (size_t at = 1; at < len; at++, low = 0x80, high = 0xbf) {
        if (at == text.len || text.ptr[at] < low || text.ptr[at] > high) return 0;
        *bad = at + 1;
    }
    return len;
}

/* Bytes of a text up to where it is no UTF-8. */
static size_t utf8_len(plinth_string_t text) {
    size_t at = 0, len, bad;
    for (; at < text.len; at += len) {
        len = sequence((plinth_string_t){text.ptr + at, text.len - at}, &bad);
        if (len == 0) break;
    }
    return at;
}

bool plinth_is_utf8(plinth_string_t text) { return utf8_len(text) == text.len; }

/* Replaces what is no UTF-8 in a text that is handed over. */
static plinth_string_t mended(plinth_string_t text) {
    if (plinth_is_utf8(text)) return text;
    plinth_string_t copy = {plinth_alloc(text.len, 3), 0};
    for (size_t at = 0, bad; at < text.len;) {
        plinth_string_t rest = {text.ptr + at, text.len - at};
        size_t good = utf8_len(rest);
        memcpy(copy.ptr + copy.len, rest.ptr, good);
        copy.len += good;
        at += good;
        if (at == text.len) break;
        sequence((plinth_string_t){text.ptr + at, text.len - at}, &bad);
        memcpy(copy.ptr + copy.len, "\xef\xbf\xbd", 3);
        copy.len += 3;
        at += bad;
    }
    free(text.ptr);
    return copy;
}

plinth_string_t plinth_format_list(const char *format, va_list list) {
    va_list again;
    va_copy(again, list);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len <= 0) return (plinth_string_t){NULL, 0};
    char *text = plinth_alloc((size_t)len + 1, 1);
    vsnprintf(text, (size_t)len + 1, format, list);
    return mended((plinth_string_t){(uint8_t *)text, (size_t)len});
}

plinth_string_t plinth_format(const char *format, ...) {
    va_list list;
    va_start(list, format);
    plinth_string_t text = plinth_format_list(format, list);
    va_end(list);
    return text;
}

plinth_string_t plinth_number(double value) {
    if (isnan(value)) return plinth_string("NaN");
    if (isinf(value)) return plinth_string(value < 0 ? "-Infinity" : "Infinity");
    if (value == 0) return plinth_string("0");
    /* The fewest digits that read back: d.ddde±xx. */
    char text[32];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, fabs(value));
        if (strtod(text, NULL) == fabs(value)) break;
    }
    char digits[20];
    int len = 0, exponent = atoi(strchr(text, 'e') + 1);
    for (const char *at = text; *at != 'e'; at++) {
        if (*at != '.') digits[len++] = *at;
    }
    while (len > 1 && digits[len - 1] == '0') len--;
    digits[len] = 0;
    const char *sign = value < 0 ? "-" : "";
    if (exponent < -6 || exponent >= 21) {
        return plinth_format("%s%.1s%s%se%+d", sign, digits, len > 1 ? "." : "", digits + 1, exponent);
    }
    if (exponent < 0) return plinth_format("%s0.%.*s%s", sign, -exponent - 1, "000000", digits);
    if (exponent + 1 >= len) return plinth_format("%s%s%.*s", sign, digits, exponent + 1 - len, "00000000000000000000");
    return plinth_format("%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}

bool plinth_equal(plinth_string_t left, plinth_string_t right) {
    return left.len == right.len && (left.len == 0 || memcmp(left.ptr, right.ptr, left.len) == 0);
}

bool plinth_is(plinth_string_t text, const char *other) { return plinth_equal(text, plinth_view(other)); }

/* ---- Problems ---------------------------------------------------------------------------------------------- */

static bool fail(plinth_problem_t *problem, const char *code, bool retryable, const char *format, va_list list) {
    *problem = (plinth_problem_t){0};
    problem->code = plinth_string(code);
    problem->message = plinth_format_list(format, list);
    problem->retryable = retryable;
    return false;
}

bool plinth_fail(plinth_problem_t *problem, const char *code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fail(problem, code, false, format, list);
    va_end(list);
    return false;
}

bool plinth_fail_retryable(plinth_problem_t *problem, const char *code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fail(problem, code, true, format, list);
    va_end(list);
    return false;
}

bool plinth_at_row(plinth_problem_t *problem, uint64_t row) {
    problem->row.is_some = true;
    problem->row.val = row;
    return false;
}

bool plinth_in_column(plinth_problem_t *problem, plinth_string_t column) {
    plinth_option_string_free(&problem->column);
    problem->column.is_some = true;
    problem->column.val = plinth_string_n((const char *)column.ptr, column.len);
    return false;
}

/* ---- Did you mean ------------------------------------------------------------------------------------------ */

/* Edits from one name to another; names longer than NAME_MAX_LEN are as far as can be. */
enum { NAME_MAX_LEN = 64 };
static size_t distance(plinth_string_t from, plinth_string_t to) {
    if (from.len > NAME_MAX_LEN || to.len > NAME_MAX_LEN) return SIZE_MAX;
    size_t row[NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= to.len; j++) row[j] = j;
    for (size_t i = 0; i < from.len; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < to.len; j++) {
            size_t best = diagonal + (from.ptr[i] != to.ptr[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (diagonal + 1 < best) best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[to.len];
}

void plinth_nearest_add(plinth_nearest_t *nearest, plinth_string_t name) {
    size_t away = distance(nearest->wanted, name);
    size_t far = nearest->wanted.len < 3 ? 1 : nearest->wanted.len / 3;
    if (away <= far && (!nearest->found || away < nearest->away)) {
        nearest->found = true;
        nearest->away = away;
        nearest->name = name;
    }
}

bool plinth_fail_near(plinth_problem_t *problem, const char *code, const char *what, const plinth_nearest_t *nearest) {
    if (!nearest->found) return plinth_fail(problem, code, "%s `%.*s`", what, PLINTH_SHOW(nearest->wanted));
    return plinth_fail(problem, code, "%s `%.*s`, did you mean `%.*s`?", what, PLINTH_SHOW(nearest->wanted),
                       PLINTH_SHOW(nearest->name));
}

/* ---- Schemas ----------------------------------------------------------------------------------------------- */

static const char *const KINDS[] = {"boolean", "int64", "timestamp-us", "float32", "float64", "utf8", "binary"};

const char *plinth_kind_name(plinth_kind_t kind) { return kind < 7 ? KINDS[kind] : "unknown"; }

bool plinth_kind_of(plinth_string_t name, plinth_kind_t *kind) {
    for (plinth_kind_t i = 0; i < 7; i++) {
        if (plinth_is(name, KINDS[i])) {
            *kind = i;
            return true;
        }
    }
    return false;
}

void plinth_schema_add(plinth_schema_t *schema, plinth_string_t name, plinth_kind_t kind, bool nullable) {
    plinth_list_field_t *fields = &schema->fields;
    fields->ptr = plinth_grow(fields->ptr, fields->len, sizeof *fields->ptr);
    fields->ptr[fields->len++] = (plinth_field_t){plinth_string_n((const char *)name.ptr, name.len), kind, nullable};
}

plinth_schema_t plinth_schema_copy(const plinth_schema_t *schema) {
    plinth_schema_t copy = {{plinth_alloc(schema->fields.len, sizeof(plinth_field_t)), schema->fields.len}};
    for (size_t i = 0; i < schema->fields.len; i++) {
        const plinth_field_t *field = &schema->fields.ptr[i];
        copy.fields.ptr[i] = *field;
        copy.fields.ptr[i].name = plinth_string_n((const char *)field->name.ptr, field->name.len);
    }
    return copy;
}

bool plinth_column(const plinth_schema_t *schema, plinth_string_t name, size_t *column, plinth_problem_t *problem) {
    plinth_nearest_t nearest = {.wanted = name};
    for (size_t i = 0; i < schema->fields.len; i++) {
        if (plinth_equal(schema->fields.ptr[i].name, name)) {
            *column = i;
            return true;
        }
        plinth_nearest_add(&nearest, schema->fields.ptr[i].name);
    }
    plinth_fail_near(problem, "unknown-column", "unknown column", &nearest);
    return plinth_in_column(problem, name);
}

void *plinth_grow(void *list, size_t len, size_t size) {
    void *grown = len >= SIZE_MAX / size ? NULL : realloc(list, (len + 1) * size);
    if (!grown) plinth_panic("out of memory: %zu x %zu bytes", len + 1, size);
    memset((char *)grown + len * size, 0, size);
    return grown;
}
