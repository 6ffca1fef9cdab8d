/* Views of a block's columns, and new blocks. Only here is it known where a block keeps a column. The host checks
 * blocks before it sends them, so a list that is too short is a fault of the caller: a problem, never a wild read. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Where nothing is: views of no rows point here, since NULL stands for a problem. */
static uint64_t nothing;

/* Kinds that share a list. */
static unsigned place(plinth_kind_t kind) {
    switch (kind) {
    case PLINTH_KIND_INT64:
    case PLINTH_KIND_TIMESTAMP_US: return PLINTH_KIND(INT64) | PLINTH_KIND(TIMESTAMP_US);
    case PLINTH_KIND_UTF8:
    case PLINTH_KIND_BINARY: return PLINTH_KIND(UTF8) | PLINTH_KIND(BINARY);
    default: return 1u << kind;
    }
}

/* The last bound first. */
static plinth_bound_t *all_bound;
struct plinth_last_t plinth_last;

void plinth_bind(plinth_bound_t *bound, const plinth_schema_t *schema) {
    size_t len = schema->fields.len;
    *bound = (plinth_bound_t){*schema, plinth_alloc(len, sizeof *bound->places), plinth_alloc(len, 4), all_bound};
    uint32_t counts[7] = {0}, nullable = 0;
    for (size_t i = 0; i < len; i++) {
        const plinth_field_t *field = &schema->fields.ptr[i];
        uint32_t *count = &counts[__builtin_ctz(place(field->kind))];
        bound->f64s[i] = field->kind == PLINTH_KIND_FLOAT64 ? *count : UINT32_MAX;
        bound->places[i] = (struct plinth_place_t){(*count)++, nullable};
        nullable += field->nullable;
    }
    all_bound = bound;
}

void plinth_unbind(plinth_bound_t *bound) {
    plinth_bound_t **at = &all_bound;
    while (*at != bound) at = &(*at)->next;
    *at = bound->next;
    if (plinth_last.schema == &bound->schema) plinth_last = (struct plinth_last_t){0};
    free(bound->places);
    free(bound->f64s);
    plinth_schema_free(&bound->schema);
}

/* Where a column lies. */
static struct plinth_place_t place_of(const plinth_schema_t *schema, size_t column) {
    for (const plinth_bound_t *bound = all_bound; bound; bound = bound->next) {
        if (&bound->schema != schema) continue;
        plinth_last = (struct plinth_last_t){schema, bound->f64s};
        return bound->places[column];
    }
    struct plinth_place_t found = {0, 0};
    unsigned kinds = place(schema->fields.ptr[column].kind);
    for (size_t i = 0; i < column; i++) {
        found.before += kinds >> schema->fields.ptr[i].kind & 1;
        found.nullable_before += schema->fields.ptr[i].nullable;
    }
    return found;
}

static const plinth_field_t *field_of(const plinth_schema_t *schema, size_t column, plinth_problem_t *problem) {
    if (column < schema->fields.len) return &schema->fields.ptr[column];
    plinth_fail(problem, "unknown-column", "column %zu of %zu", column, schema->fields.len);
    return NULL;
}

static bool too_short(const plinth_field_t *field, plinth_problem_t *problem) {
    plinth_fail(problem, "bad-block", "the block does not fit its schema at column `%.*s`", PLINTH_SHOW(field->name));
    return plinth_in_column(problem, field->name);
}

static bool wrong_kind(const plinth_field_t *field, const char *wanted, plinth_problem_t *problem) {
    plinth_fail(problem, "wrong-kind", "column `%.*s` is %s, not %s", PLINTH_SHOW(field->name),
                plinth_kind_name(field->kind), wanted);
    return plinth_in_column(problem, field->name);
}

/* The slots of a column in the list of its physical type, `width` of them each of `size` bytes. */
static void *slots(const plinth_schema_t *schema, size_t column, plinth_kind_t kind, const void *list, size_t len,
                   size_t width, size_t size, plinth_problem_t *problem) {
    const plinth_field_t *field = field_of(schema, column, problem);
    if (!field) return NULL;
    unsigned kinds = place(kind);
    if (!(kinds >> field->kind & 1)) {
        wrong_kind(field, plinth_kind_name(kind), problem);
        return NULL;
    }
    if (width == 0) return &nothing;
    size_t before = place_of(schema, column).before;
    if ((before + 1) * (uint64_t)width > len) {
        too_short(field, problem);
        return NULL;
    }
    return (char *)(uintptr_t)list + before * width * size;
}

double *plinth_find_f64s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                         plinth_problem_t *problem) {
    return slots(schema, column, PLINTH_KIND_FLOAT64, block->f64s.ptr, block->f64s.len, block->rows, 8, problem);
}

float *plinth_f32s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                   plinth_problem_t *problem) {
    return slots(schema, column, PLINTH_KIND_FLOAT32, block->f32s.ptr, block->f32s.len, block->rows, 4, problem);
}

int64_t *plinth_s64s(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                     plinth_problem_t *problem) {
    return slots(schema, column, PLINTH_KIND_INT64, block->s64s.ptr, block->s64s.len, block->rows, 8, problem);
}

uint8_t *plinth_bools(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                      plinth_problem_t *problem) {
    return slots(schema, column, PLINTH_KIND_BOOLEAN, block->bits.ptr, block->bits.len, plinth_bitmap_len(block->rows),
                 1, problem);
}

bool plinth_texts(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_texts_t *texts,
                  plinth_problem_t *problem) {
    const uint32_t *offsets = slots(schema, column, PLINTH_KIND_UTF8, block->offsets.ptr, block->offsets.len,
                                    (size_t)block->rows + 1, 4, problem);
    if (!offsets) return false;
    for (size_t row = 0; row < block->rows; row++) {
        if (offsets[row] > offsets[row + 1]) return too_short(&schema->fields.ptr[column], problem);
    }
    if (offsets[block->rows] > block->bytes.len) return too_short(&schema->fields.ptr[column], problem);
    *texts = (plinth_texts_t){offsets, block->bytes.ptr};
    return true;
}

bool plinth_valid(const plinth_schema_t *schema, const plinth_block_t *block, size_t column, plinth_valid_t *valid,
                  plinth_problem_t *problem) {
    const plinth_field_t *field = field_of(schema, column, problem);
    if (!field) return false;
    valid->bits = NULL;
    if (block->validity.len == 0 || !field->nullable) return true;
    size_t before = place_of(schema, column).nullable_before, width = plinth_bitmap_len(block->rows);
    if (width == 0 || (before + 1) * (uint64_t)width > block->validity.len) return too_short(field, problem);
    valid->bits = block->validity.ptr + before * width;
    return true;
}

bool plinth_find_nulls(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                       plinth_problem_t *problem) {
    const plinth_field_t *field = field_of(schema, column, problem);
    if (field && field->kind == PLINTH_KIND_FLOAT64 && block->validity.len == 0) return true;
    plinth_valid_t valid;
    double *values = field ? plinth_f64s(schema, block, column, problem) : NULL;
    if (!values || !plinth_valid(schema, block, column, &valid, problem)) return false;
    if (!valid.bits) return true;
    for (size_t row = 0; row < block->rows; row++) {
        if (!plinth_bit(valid.bits, row)) values[row] = 0;
    }
    return true;
}

bool plinth_numbers(const plinth_schema_t *schema, const plinth_block_t *block, size_t column,
                    plinth_numbers_t *numbers, plinth_problem_t *problem) {
    const plinth_field_t *field = field_of(schema, column, problem);
    if (!field || !plinth_valid(schema, block, column, &numbers->valid, problem)) return false;
    numbers->kind = field->kind;
    switch (field->kind) {
    case PLINTH_KIND_FLOAT64: numbers->values = plinth_f64s(schema, block, column, problem); break;
    case PLINTH_KIND_FLOAT32: numbers->values = plinth_f32s(schema, block, column, problem); break;
    case PLINTH_KIND_INT64:
    case PLINTH_KIND_TIMESTAMP_US: numbers->values = plinth_s64s(schema, block, column, problem); break;
    case PLINTH_KIND_BOOLEAN: numbers->values = plinth_bools(schema, block, column, problem); break;
    default: return wrong_kind(field, "a number", problem);
    }
    return numbers->values != NULL;
}

bool plinth_number_at(const plinth_numbers_t *numbers, size_t row, double *value) {
    if (!plinth_is_valid(numbers->valid, row)) return false;
    switch (numbers->kind) {
    case PLINTH_KIND_FLOAT64: *value = ((const double *)numbers->values)[row]; break;
    case PLINTH_KIND_FLOAT32: *value = ((const float *)numbers->values)[row]; break;
    case PLINTH_KIND_BOOLEAN: *value = plinth_bit(numbers->values, row); break;
    default: *value = (double)((const int64_t *)numbers->values)[row]; break;
    }
    return true;
}

void plinth_block_move(plinth_block_t *to, plinth_block_t *from) {
    plinth_block_free(to);
    *to = *from;
    *from = (plinth_block_t){0};
}

/* ---- A new block ------------------------------------------------------------------------------------------- */

void plinth_build(plinth_builder_t *builder, const plinth_schema_t *schema, size_t rows) {
    *builder = (plinth_builder_t){.schema = schema, .rows = rows};
    if (rows > UINT32_MAX) {
        builder->failed = true;
        plinth_fail(&builder->problem, "bad-output", "%zu rows are more than a block holds", rows);
        return;
    }
    size_t f64s = 0, f32s = 0, s64s = 0, bools = 0, texts = 0, nullable = 0, bitmap = plinth_bitmap_len(rows);
    for (size_t i = 0; i < schema->fields.len; i++) {
        const plinth_field_t *field = &schema->fields.ptr[i];
        nullable += field->nullable;
        switch (field->kind) {
        case PLINTH_KIND_FLOAT64: f64s++; break;
        case PLINTH_KIND_FLOAT32: f32s++; break;
        case PLINTH_KIND_BOOLEAN: bools++; break;
        case PLINTH_KIND_UTF8:
        case PLINTH_KIND_BINARY: texts++; break;
        default: s64s++; break;
        }
    }
    plinth_block_t *block = &builder->block;
    block->rows = (uint32_t)rows;
    block->f64s = (plinth_list_f64_t){plinth_alloc(f64s * rows, 8), f64s * rows};
    block->f32s = (plinth_list_f32_t){plinth_alloc(f32s * rows, 4), f32s * rows};
    block->s64s = (plinth_list_s64_t){plinth_alloc(s64s * rows, 8), s64s * rows};
    block->bits = (plinth_list_u8_t){plinth_alloc(bools * bitmap, 1), bools * bitmap};
    block->offsets = (plinth_list_u32_t){plinth_alloc(texts * (rows + 1), 4), texts * (rows + 1)};
    block->validity = (plinth_list_u8_t){plinth_alloc(nullable * bitmap, 1), nullable * bitmap};
}

/* Begins the next column: whether its kind is right; its bitmap is taken over. */
static bool begin(plinth_builder_t *builder, unsigned kinds, const char *written, const uint8_t *valid) {
    if (builder->failed) return false;
    builder->failed = true;
    plinth_problem_t *problem = &builder->problem;
    if (builder->column == builder->schema->fields.len) {
        return plinth_fail(problem, "bad-output", "more than %zu columns were written", builder->column);
    }
    const plinth_field_t *field = &builder->schema->fields.ptr[builder->column++];
    if (!(kinds >> field->kind & 1)) {
        plinth_fail(problem, "bad-output", "column `%.*s` is %s, and %s was written", PLINTH_SHOW(field->name),
                    plinth_kind_name(field->kind), written);
        return plinth_in_column(problem, field->name);
    }
    size_t bitmap = plinth_bitmap_len(builder->rows);
    uint8_t *present = field->nullable ? builder->block.validity.ptr + builder->validity : NULL;
    for (size_t row = 0; row < builder->rows; row++) {
        if (!valid || plinth_bit(valid, row)) {
            if (present) plinth_set_bit(present, row);
        } else if (present) {
            builder->any_null = true;
        } else {
            plinth_fail(problem, "bad-output", "column `%.*s` is not nullable and has a null", PLINTH_SHOW(field->name));
            plinth_in_column(problem, field->name);
            return plinth_at_row(problem, row);
        }
    }
    if (present) builder->validity += bitmap;
    builder->failed = false;
    return true;
}

/* The body of a column of fixed width. */
#define BUILD(list)                                                                                                    \
    for (size_t row = 0; row < builder->rows; row++) {                                                                 \
        if (!valid || plinth_bit(valid, row)) builder->block.list.ptr[builder->list + row] = values[row];              \
    }                                                                                                                  \
    builder->list += builder->rows

void plinth_build_f64s(plinth_builder_t *builder, const double *values, const uint8_t *valid) {
    if (!begin(builder, PLINTH_KIND(FLOAT64), "float64", valid)) return;
    BUILD(f64s);
}

void plinth_build_f32s(plinth_builder_t *builder, const float *values, const uint8_t *valid) {
    if (!begin(builder, PLINTH_KIND(FLOAT32), "float32", valid)) return;
    BUILD(f32s);
}

void plinth_build_s64s(plinth_builder_t *builder, const int64_t *values, const uint8_t *valid) {
    if (!begin(builder, PLINTH_KIND(INT64) | PLINTH_KIND(TIMESTAMP_US), "int64", valid)) return;
    BUILD(s64s);
}

void plinth_build_bools(plinth_builder_t *builder, const uint8_t *bits, const uint8_t *valid) {
    if (!begin(builder, PLINTH_KIND(BOOLEAN), "boolean", valid)) return;
    for (size_t row = 0; row < builder->rows; row++) {
        bool present = !valid || plinth_bit(valid, row);
        if (present && plinth_bit(bits, row)) plinth_set_bit(builder->block.bits.ptr + builder->bits, row);
    }
    builder->bits += plinth_bitmap_len(builder->rows);
}

void plinth_build_texts(plinth_builder_t *builder, const plinth_string_t *values, const uint8_t *valid) {
    if (!begin(builder, PLINTH_KIND(UTF8) | PLINTH_KIND(BINARY), "utf8", valid)) return;
    plinth_list_u8_t *bytes = &builder->block.bytes;
    uint64_t len = bytes->len;
    for (size_t row = 0; row < builder->rows; row++) len += !valid || plinth_bit(valid, row) ? values[row].len : 0;
    if (len > UINT32_MAX) {
        builder->failed = true;
        plinth_fail(&builder->problem, "bad-output", "more than 4 GiB of text in one block");
        return;
    }
    if (len > builder->bytes_cap) {
        builder->bytes_cap = (size_t)len;
        uint8_t *grown = realloc(bytes->ptr, builder->bytes_cap);
        if (!grown) plinth_panic("out of memory: %zu bytes of text", builder->bytes_cap);
        bytes->ptr = grown;
    }
    uint32_t *offsets = builder->block.offsets.ptr + builder->offsets;
    offsets[0] = (uint32_t)bytes->len;
    for (size_t row = 0; row < builder->rows; row++) {
        if (values[row].len && (!valid || plinth_bit(valid, row))) {
            memcpy(bytes->ptr + bytes->len, values[row].ptr, values[row].len);
            bytes->len += values[row].len;
        }
        offsets[row + 1] = (uint32_t)bytes->len;
    }
    builder->offsets += builder->rows + 1;
}

bool plinth_build_finish(plinth_builder_t *builder, plinth_block_t *block, plinth_problem_t *problem) {
    const plinth_schema_t *schema = builder->schema;
    if (!builder->failed && builder->column < schema->fields.len) {
        const plinth_field_t *field = &schema->fields.ptr[builder->column];
        builder->failed = true;
        plinth_fail(&builder->problem, "bad-output", "column `%.*s` was not written", PLINTH_SHOW(field->name));
        plinth_in_column(&builder->problem, field->name);
    }
    bool good = !builder->failed;
    if (good) {
        if (!builder->any_null) plinth_list_u8_free(&builder->block.validity);
        if (!builder->any_null) builder->block.validity = (plinth_list_u8_t){0};
        *block = builder->block;
    } else {
        *problem = builder->problem;
        plinth_block_free(&builder->block);
    }
    *builder = (plinth_builder_t){0};
    return good;
}

void plinth_build_drop(plinth_builder_t *builder) {
    if (builder->failed) plinth_problem_free(&builder->problem);
    plinth_block_free(&builder->block);
    *builder = (plinth_builder_t){0};
}

#define COPY(list) copy.list.ptr = plinth_alloc(copy.list.len, sizeof *copy.list.ptr);                                 \
    if (copy.list.len) memcpy(copy.list.ptr, block->list.ptr, copy.list.len * sizeof *copy.list.ptr)

plinth_block_t plinth_block_copy(const plinth_block_t *block) {
    plinth_block_t copy = *block;
    COPY(f64s);
    COPY(f32s);
    COPY(s64s);
    COPY(bits);
    COPY(offsets);
    COPY(bytes);
    COPY(validity);
    return copy;
}
