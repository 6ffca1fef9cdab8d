/* A loader of text files whose columns have fixed widths. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plinth.h"
#include "yyjson.h"

/* Most rows and bytes that are read at once, and the longest record. */
enum { ROWS_MOST = 8192, READ_MOST = 64 << 20, RECORD_MOST = 16 << 20 };

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
    plinth_string_t *names = plinth_alloc(layout->len, sizeof *names);
    uint64_t record = 1;
    size_t index, len;
    yyjson_arr_foreach(columns, index, len, each) {
        yyjson_val *name = yyjson_obj_get(each, "name"), *nullable = yyjson_obj_get(each, "nullable");
        plinth_string_t text = {(uint8_t *)(uintptr_t)yyjson_get_str(name), yyjson_get_len(name)};
        int64_t width = 0;
        plinth_json_s64(yyjson_obj_get(each, "width"), &width);
        const char *kind_name = yyjson_get_str(yyjson_obj_get(each, "kind"));
        plinth_kind_t kind;
        if (!kind_name || !plinth_kind_of(plinth_view(kind_name), &kind)) kind = PLINTH_KIND_BINARY;
        bool known = kind == PLINTH_KIND_INT64 || kind == PLINTH_KIND_FLOAT64 || kind == PLINTH_KIND_UTF8 ||
                     kind == PLINTH_KIND_BOOLEAN;
        if (!known || width < 1 || width >= RECORD_MOST || text.len == 0) {
            width = 1;
            plinth_option_wrong(options, "columns", "column %zu needs a name, a width of at least 1 and a kind", index);
        }
        for (size_t before = 0; before < index; before++) {
            if (!plinth_equal(text, names[before])) continue;
            plinth_option_wrong(options, "columns", "`%.*s` is in it twice", PLINTH_SHOW(text));
        }
        names[index] = text;
        layout->widths[index] = (uint32_t)width;
        record += (uint64_t)width;
        if (schema) plinth_schema_add(schema, text, kind, !nullable || yyjson_get_bool(nullable));
    }
    free(names);
    if (record > RECORD_MOST) plinth_option_wrong(options, "columns", "a record is over 16 MiB wide");
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

/* The cells of one column while its block is made. */
typedef struct cells {
    double *f64s;
    int64_t *s64s;
    plinth_string_t *texts;
    uint8_t *bits, *valid;
} cells;

static cells *cells_of(const plinth_schema_t *schema, size_t rows) {
    cells *all = plinth_alloc(plinth_columns(schema), sizeof *all);
    for (size_t i = 0; i < plinth_columns(schema); i++) {
        plinth_kind_t kind = schema->fields.ptr[i].kind;
        all[i] = (cells){
            plinth_alloc(kind == PLINTH_KIND_FLOAT64 ? rows : 0, sizeof(double)),
            plinth_alloc(kind == PLINTH_KIND_INT64 ? rows : 0, sizeof(int64_t)),
            plinth_alloc(kind == PLINTH_KIND_UTF8 ? rows : 0, sizeof(plinth_string_t)),
            plinth_alloc(plinth_bitmap_len(rows), 1),
            plinth_alloc(plinth_bitmap_len(rows), 1),
        };
    }
    return all;
}

static void cells_free(cells *all, size_t len) {
    for (size_t i = 0; i < len; i++) {
        free(all[i].f64s);
        free(all[i].s64s);
        free(all[i].texts);
        free(all[i].bits);
        free(all[i].valid);
    }
    free(all);
}

static plinth_string_t trimmed(uint8_t *at, size_t len) {
    while (len && *at == ' ') at++, len--;
    while (len && at[len - 1] == ' ') len--;
    return (plinth_string_t){at, len};
}

/* The value of a text that is not null; false where it has none. */
static bool value_of(cells *into, plinth_kind_t kind, size_t row, plinth_string_t text) {
    char copy[512];
    switch (kind) {
    case PLINTH_KIND_UTF8: into->texts[row] = text; return plinth_is_utf8(text);
    case PLINTH_KIND_BOOLEAN:
        if (plinth_is(text, "true")) plinth_set_bit(into->bits, row);
        return plinth_is(text, "true") || plinth_is(text, "false");
    default: break;
    }
    if (text.len >= sizeof copy || !is_number(text, kind == PLINTH_KIND_INT64)) return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    errno = 0;
    if (kind == PLINTH_KIND_INT64) {
        into->s64s[row] = strtoll(copy, NULL, 10);
        return errno == 0;
    }
    /* Not by errno: a number too small to be told from zero is zero. */
    into->f64s[row] = strtod(copy, NULL);
    return isfinite(into->f64s[row]);
}

/* Takes one cell. */
static bool cell(cells *into, const plinth_field_t *field, size_t row, plinth_string_t text, plinth_problem_t *problem) {
    if (text.len == 0 && field->nullable) return true;
    plinth_set_bit(into->valid, row);
    if (text.len == 0 && field->kind != PLINTH_KIND_UTF8) {
        plinth_fail(problem, "null-value", "column `%.*s` is empty and not nullable", PLINTH_SHOW(field->name));
        return plinth_in_column(problem, field->name);
    }
    if (value_of(into, field->kind, row, text)) return true;
    plinth_fail(problem, "bad-value", "`%.*s` is no %s", PLINTH_SHOW(text), plinth_kind_name(field->kind));
    return plinth_in_column(problem, field->name);
}

/* Takes the cells of one record. */
static bool record_of(const reader *self, cells *into, size_t row, uint8_t *at, plinth_problem_t *problem) {
    uint64_t in_source = self->next + row;
    if (at[self->layout.record - 1] != '\n') {
        plinth_fail(problem, "bad-row", "row %llu does not end with a newline", (unsigned long long)in_source);
        return plinth_at_row(problem, in_source);
    }
    for (size_t i = 0; i < self->layout.len; at += self->layout.widths[i++]) {
        plinth_string_t text = trimmed(at, self->layout.widths[i]);
        if (!cell(&into[i], &self->schema->fields.ptr[i], row, text, problem)) return plinth_at_row(problem, in_source);
    }
    return true;
}

static void build_column(plinth_builder_t *builder, plinth_kind_t kind, const cells *from) {
    switch (kind) {
    case PLINTH_KIND_FLOAT64: plinth_build_f64s(builder, from->f64s, from->valid); break;
    case PLINTH_KIND_INT64: plinth_build_s64s(builder, from->s64s, from->valid); break;
    case PLINTH_KIND_BOOLEAN: plinth_build_bools(builder, from->bits, from->valid); break;
    default: plinth_build_texts(builder, from->texts, from->valid); break;
    }
}

static bool next(void *made, uint32_t max_rows, bool *some, plinth_block_t *block, plinth_problem_t *problem) {
    reader *self = made;
    uint64_t rows = self->end - self->next;
    if (rows > max_rows) rows = max_rows;
    if (rows > ROWS_MOST) rows = ROWS_MOST;
    if (rows == 0) return true;

    plinth_bytes_t bytes;
    uint32_t record = self->layout.record;
    if (rows > READ_MOST / record) rows = READ_MOST / record;
    if (!plinth_object_read(self->object, self->next * record, (uint32_t)rows * record, &bytes, problem)) return false;
    bool good = bytes.len == rows * record;
    if (!good) plinth_fail(problem, "bad-source", "the source ends before row %llu", (unsigned long long)self->end);
    cells *columns = cells_of(self->schema, (size_t)rows);
    for (size_t row = 0; good && row < rows; row++) good = record_of(self, columns, row, bytes.ptr + row * record, problem);
    if (good) {
        plinth_builder_t builder;
        plinth_build(&builder, self->schema, (size_t)rows);
        for (size_t i = 0; i < self->layout.len; i++) build_column(&builder, self->schema->fields.ptr[i].kind, &columns[i]);
        good = *some = plinth_build_finish(&builder, block, problem);
    }
    cells_free(columns, self->layout.len);
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
