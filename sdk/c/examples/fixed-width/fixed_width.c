/* A loader of text files whose columns have fixed widths. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plinth.h"
#include "yyjson.h"

enum { ROWS_MOST = 8192 };

/* How a file is laid out. */
typedef struct layout {
    size_t len;
    uint32_t *widths;
    uint32_t record; /* bytes of a row, with its newline */
    int64_t partition_rows;
} layout;

static void layout_free(layout *layout) { free(layout->widths); }

/* The layout that the options describe, and the schema if it is wanted. */
static bool layout_of(plinth_options_t *options, layout *layout, plinth_schema_t *schema, plinth_problem_t *problem) {
    *layout = (struct layout){.partition_rows = 65536};
    plinth_option_s64(options, "partition-rows", &layout->partition_rows);
    if (layout->partition_rows < 1) plinth_option_wrong(options, "partition-rows", "it must be at least 1");
    plinth_option_required(options, "columns");
    yyjson_val *columns = plinth_option_json(options, "columns"), *each;
    if (yyjson_arr_size(columns) == 0) plinth_option_wrong(options, "columns", "there is no column in it");
    layout->len = yyjson_arr_size(columns);
    layout->widths = plinth_alloc(layout->len, sizeof *layout->widths);
    uint64_t record = 1;
    size_t index, len;
    yyjson_arr_foreach(columns, index, len, each) {
        yyjson_val *name = yyjson_obj_get(each, "name"), *nullable = yyjson_obj_get(each, "nullable");
        plinth_string_t text = plinth_view(yyjson_is_str(name) ? yyjson_get_str(name) : "");
        uint64_t width = yyjson_get_uint(yyjson_obj_get(each, "width"));
        const char *kind_name = yyjson_get_str(yyjson_obj_get(each, "kind"));
        plinth_kind_t kind;
        if (!kind_name || !plinth_kind_of(plinth_view(kind_name), &kind)) kind = PLINTH_KIND_BINARY;
        bool known = kind == PLINTH_KIND_INT64 || kind == PLINTH_KIND_FLOAT64 || kind == PLINTH_KIND_UTF8 ||
                     kind == PLINTH_KIND_BOOLEAN;
        if (!known || width < 1 || width > 1u << 20 || text.len == 0) {
            plinth_option_wrong(options, "columns", "column %zu needs a name, a width of at least 1 and a kind", index);
        }
        layout->widths[index] = (uint32_t)width;
        record += width;
        if (schema) plinth_schema_add(schema, text, kind, !nullable || yyjson_get_bool(nullable));
    }
    if (record > 1u << 24) plinth_option_wrong(options, "columns", "a record is over 16 MiB wide");
    layout->record = (uint32_t)record;
    bool good = plinth_options_end(options, problem);
    if (!good) layout_free(layout);
    return good;
}

static bool plan(plinth_string_t source, plinth_options_t *options, plinth_plan_t *plan, plinth_problem_t *problem) {
    layout layout;
    if (!layout_of(options, &layout, &plan->schema, problem)) return false;
    layout_free(&layout);
    plinth_object_t *object = plinth_object_open(source, problem);
    if (!object) return false;
    uint64_t size = plinth_object_size(object), rows = size / layout.record;
    plinth_object_close(object);
    if (size % layout.record) {
        return plinth_fail(problem, "bad-source", "%llu bytes are no whole number of records of %u bytes",
                           (unsigned long long)size, layout.record);
    }
    for (uint64_t first = 0; first < rows; first += (uint64_t)layout.partition_rows) {
        uint64_t left = rows - first, most = (uint64_t)layout.partition_rows;
        uint64_t token[2] = {first, left < most ? left : most};
        plinth_partition_t *partition = plinth_plan_add(plan, plinth_bytes(token, sizeof token));
        partition->rows_hint = (plinth_option_u64_t){true, token[1]};
        partition->bytes_hint = (plinth_option_u64_t){true, token[1] * layout.record};
    }
    return true;
}

typedef struct reader {
    plinth_object_t *object;
    const plinth_schema_t *schema;
    layout layout;
    uint64_t next, end;
} reader;

static bool open(plinth_string_t source, plinth_options_t *options, const plinth_schema_t *schema,
                 plinth_bytes_t token, void **made, plinth_problem_t *problem) {
    reader *self = *made = plinth_alloc(1, sizeof *self);
    if (!layout_of(options, &self->layout, NULL, problem)) {
        self->layout = (layout){0};
        return false;
    }
    uint64_t part[2];
    if (token.len != sizeof part || plinth_columns(schema) != self->layout.len) {
        return plinth_fail(problem, "bad-token", "the partition is none of this loader's");
    }
    memcpy(part, token.ptr, sizeof part);
    self->schema = schema;
    self->next = part[0];
    self->end = part[0] + part[1];
    self->object = plinth_object_open(source, problem);
    return self->object != NULL;
}

static void end_reader(void *made) {
    reader *self = made;
    plinth_object_close(self->object);
    layout_free(&self->layout);
    free(self);
}

/* ---- Cells ---- */

/* Whether a text is -?[0-9]+ or, for a float, -?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?. */
static bool is_number(plinth_string_t text, bool whole) {
    size_t at = 0;
#define DIGIT (at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9')
    if (at < text.len && text.ptr[at] == '-') at++;
    if (!DIGIT) return false;
    while (DIGIT) at++;
    if (whole) return at == text.len;
    if (at < text.len && text.ptr[at] == '.') {
        at++;
        if (!DIGIT) return false;
        while (DIGIT) at++;
    }
    if (at < text.len && text.ptr[at] == 'e') {
        at++;
        if (at < text.len && (text.ptr[at] == '+' || text.ptr[at] == '-')) at++;
        if (!DIGIT) return false;
        while (DIGIT) at++;
    }
    return at == text.len;
}

static bool is_utf8(plinth_string_t text) {
    for (size_t at = 0; at < text.len;) {
        uint8_t lead = text.ptr[at++];
        if (lead < 0x80) continue;
        int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4) return false;
        uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        for (; more > 0; more--, low = 0x80, high = 0xbf) {
            if (at == text.len || text.ptr[at] < low || text.ptr[at] > high) return false;
            at++;
        }
    }
    return true;
}

/* The values of one column while its block is made. */
typedef struct column {
    double *f64s;
    int64_t *s64s;
    plinth_string_t *texts;
    uint8_t *bits, *valid;
} column;

static bool cell(column *into, plinth_kind_t kind, size_t row, plinth_string_t text) {
    char copy[512];
    switch (kind) {
    case PLINTH_KIND_UTF8: into->texts[row] = text; return is_utf8(text);
    case PLINTH_KIND_BOOLEAN:
        if (plinth_is(text, "true")) plinth_set_bit(into->bits, row);
        return plinth_is(text, "true") || plinth_is(text, "false");
    default: break;
    }
    if (text.len >= sizeof copy || !is_number(text, kind == PLINTH_KIND_INT64)) return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    errno = 0;
    if (kind == PLINTH_KIND_FLOAT64) into->f64s[row] = strtod(copy, NULL);
    else into->s64s[row] = strtoll(copy, NULL, 10);
    return kind == PLINTH_KIND_FLOAT64 || errno == 0;
}

static plinth_string_t trimmed(uint8_t *at, size_t len) {
    while (len && *at == ' ') at++, len--;
    while (len && at[len - 1] == ' ') len--;
    return (plinth_string_t){at, len};
}

/* Reads one column of some records into a builder. */
static bool read_column(const reader *self, size_t index, uint8_t *at, size_t rows, plinth_builder_t *builder,
                        plinth_problem_t *problem) {
    const plinth_field_t *field = &self->schema->fields.ptr[index];
    column into = {
        plinth_alloc(field->kind == PLINTH_KIND_FLOAT64 ? rows : 0, 8),
        plinth_alloc(field->kind == PLINTH_KIND_INT64 ? rows : 0, 8),
        plinth_alloc(field->kind == PLINTH_KIND_UTF8 ? rows : 0, sizeof(plinth_string_t)),
        plinth_alloc(plinth_bitmap_len(rows), 1),
        plinth_alloc(plinth_bitmap_len(rows), 1),
    };
    bool good = true;
    for (size_t row = 0; good && row < rows; row++, at += self->layout.record) {
        plinth_string_t text = trimmed(at, self->layout.widths[index]);
        if (text.len == 0 && field->nullable) continue;
        plinth_set_bit(into.valid, row);
        if (text.len == 0 && field->kind != PLINTH_KIND_UTF8) {
            plinth_fail(problem, "null-value", "column `%.*s` is empty and not nullable", PLINTH_SHOW(field->name));
            good = false;
        } else if (!cell(&into, field->kind, row, text)) {
            plinth_fail(problem, "bad-value", "`%.*s` is no %s", PLINTH_SHOW(text), plinth_kind_name(field->kind));
            good = false;
        }
        if (good) continue;
        plinth_in_column(problem, field->name);
        plinth_at_row(problem, self->next + row);
    }
    if (good) {
        switch (field->kind) {
        case PLINTH_KIND_FLOAT64: plinth_build_f64s(builder, into.f64s, into.valid); break;
        case PLINTH_KIND_INT64: plinth_build_s64s(builder, into.s64s, into.valid); break;
        case PLINTH_KIND_BOOLEAN: plinth_build_bools(builder, into.bits, into.valid); break;
        default: plinth_build_texts(builder, into.texts, into.valid); break;
        }
    }
    free(into.f64s);
    free(into.s64s);
    free(into.texts);
    free(into.bits);
    free(into.valid);
    return good;
}

static bool next(void *made, uint32_t max_rows, bool *some, plinth_block_t *block, plinth_problem_t *problem) {
    reader *self = made;
    uint64_t rows = self->end - self->next;
    if (rows > max_rows) rows = max_rows;
    if (rows > ROWS_MOST) rows = ROWS_MOST;
    if (rows == 0) return true;

    plinth_bytes_t bytes;
    uint32_t record = self->layout.record;
    while (rows * record > 64u << 20) rows /= 2;
    if (!plinth_object_read(self->object, self->next * record, (uint32_t)rows * record, &bytes, problem)) return false;
    bool good = bytes.len == rows * record;
    if (!good) plinth_fail(problem, "bad-source", "the source ends before row %llu", (unsigned long long)(self->next + rows));
    for (size_t row = 0; good && row < rows; row++) {
        if (bytes.ptr[(row + 1) * record - 1] == '\n') continue;
        plinth_fail(problem, "bad-row", "row %llu does not end with a newline", (unsigned long long)(self->next + row));
        good = plinth_at_row(problem, self->next + row);
    }
    plinth_builder_t builder;
    plinth_build(&builder, self->schema, (size_t)rows);
    uint8_t *at = bytes.ptr;
    for (size_t i = 0; good && i < self->layout.len; at += self->layout.widths[i++]) {
        good = read_column(self, i, at, (size_t)rows, &builder, problem);
    }
    if (good) good = *some = plinth_build_finish(&builder, block, problem);
    else plinth_build_drop(&builder);
    plinth_list_u8_free(&bytes);
    self->next += rows;
    return good;
}

static const plinth_loader_t fixed_width = {
    .name = "fixed-width",
    .summary = "Text files whose columns have fixed widths",
    .options_schema =
        "{\"type\":\"object\",\"properties\":{\"columns\":{\"type\":\"array\",\"minItems\":1,\"items\":{"
        "\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},"
        "\"width\":{\"type\":\"integer\",\"minimum\":1},"
        "\"kind\":{\"enum\":[\"int64\",\"float64\",\"utf8\",\"boolean\"]},"
        "\"nullable\":{\"type\":\"boolean\",\"default\":true}},\"required\":[\"name\",\"width\",\"kind\"],"
        "\"additionalProperties\":false}},\"partition-rows\":{\"type\":\"integer\",\"minimum\":1,\"default\":65536}},"
        "\"required\":[\"columns\"],\"additionalProperties\":false}",
    .plan = plan,
    .open = open,
    .next = next,
    .end_reader = end_reader,
};

PLINTH_LOADERS(&fixed_width);
