/* What the host offers: in a component the host itself, on your machine what a test lends. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

void plinth_log(plinth_host_log_level_t level, const char *format, ...) {
    va_list list;
    va_start(list, format);
    plinth_string_t message = plinth_format_list(format, list);
    va_end(list);
    plinth_host_log_log(level, &message);
    plinth_string_free(&message);
}

_Noreturn void plinth_panic(const char *format, ...) {
    /* There may be no memory left: the message is cut to what the stack holds. */
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    plinth_string_t message = plinth_view(text);
    plinth_host_log_log(PLINTH_HOST_LOG_LEVEL_ERROR, &message);
    __builtin_trap();
}

#ifdef __wasm__

struct plinth_object_t {
    plinth_host_objects_own_object_t own;
};

plinth_object_t *plinth_object_open(plinth_string_t uri, plinth_problem_t *problem) {
    plinth_host_objects_own_object_t own;
    if (!plinth_host_objects_open(&uri, &own, problem)) return NULL;
    plinth_object_t *object = plinth_alloc(1, sizeof *object);
    object->own = own;
    return object;
}

uint64_t plinth_object_size(const plinth_object_t *object) {
    return plinth_host_objects_method_object_size(plinth_host_objects_borrow_object(object->own));
}

bool plinth_object_read(const plinth_object_t *object, uint64_t offset, uint32_t len, plinth_bytes_t *bytes,
                        plinth_problem_t *problem) {
    plinth_host_objects_borrow_object_t borrow = plinth_host_objects_borrow_object(object->own);
    return plinth_host_objects_method_object_read(borrow, offset, len, bytes, problem);
}

void plinth_object_close(plinth_object_t *object) {
    if (!object) return;
    plinth_host_objects_object_drop_own(object->own);
    free(object);
}

bool plinth_objects_list(plinth_string_t prefix, plinth_strings_t *uris, plinth_problem_t *problem) {
    *uris = (plinth_strings_t){0};
    for (;;) {
        /* So many at a time; the host gives fewer where its limit is lower. */
        plinth_strings_t page;
        plinth_string_t *after = uris->len ? &uris->ptr[uris->len - 1] : NULL;
        if (!plinth_host_objects_list_objects(&prefix, after, 1000, &page, problem)) {
            plinth_list_string_free(uris);
            *uris = (plinth_strings_t){0};
            return false;
        }
        if (!page.len) return true;
        for (size_t i = 0; i < page.len; i++) {
            uris->ptr = plinth_grow(uris->ptr, uris->len, sizeof *uris->ptr);
            uris->ptr[uris->len++] = page.ptr[i];
        }
        free(page.ptr);
    }
}

struct plinth_table_t {
    plinth_host_tables_own_table_t own;
    plinth_schema_t schema;
};

plinth_table_t *plinth_table_open(const char *name, plinth_problem_t *problem) {
    plinth_host_tables_own_table_t own;
    plinth_string_t view = plinth_view(name);
    if (!plinth_host_tables_open(&view, &own, problem)) return NULL;
    plinth_table_t *table = plinth_alloc(1, sizeof *table);
    table->own = own;
    plinth_host_tables_method_table_schema(plinth_host_tables_borrow_table(own), &table->schema);
    return table;
}

const plinth_schema_t *plinth_table_schema(const plinth_table_t *table) { return &table->schema; }

bool plinth_table_next(plinth_table_t *table, uint32_t max_rows, bool *some, plinth_block_t *block,
                       plinth_problem_t *problem) {
    plinth_host_tables_option_block_t next;
    plinth_host_tables_borrow_table_t borrow = plinth_host_tables_borrow_table(table->own);
    if (!plinth_host_tables_method_table_next(borrow, max_rows, &next, problem)) return false;
    *some = next.is_some;
    if (next.is_some) *block = next.val;
    return true;
}

void plinth_table_close(plinth_table_t *table) {
    if (!table) return;
    plinth_host_tables_table_drop_own(table->own);
    plinth_schema_free(&table->schema);
    free(table);
}

#else /* The host of tests */

void plinth_host_log_log(plinth_host_log_level_t level, plinth_string_t *message) {
    static const char *const LEVELS[] = {"trace", "debug", "info", "warn", "error"};
    fprintf(stderr, "%s: %.*s\n", LEVELS[level], PLINTH_SHOW(*message));
}

struct plinth_object_t {
    plinth_string_t uri;
    plinth_bytes_t bytes;
};

struct plinth_table_t {
    plinth_string_t name;
    plinth_schema_t schema;
    plinth_block_t block;
    bool read;
};

static struct plinth_object_t *objects;
static size_t objects_len;
static struct plinth_table_t *tables;
static size_t tables_len;

void plinth_lend_object(const char *uri, const void *bytes, size_t len) {
    objects = plinth_grow(objects, objects_len, sizeof *objects);
    objects[objects_len++] = (plinth_object_t){plinth_string(uri), plinth_bytes(bytes, len)};
}

void plinth_lend_table(const char *name, const plinth_schema_t *schema, const plinth_block_t *block) {
    tables = plinth_grow(tables, tables_len, sizeof *tables);
    tables[tables_len++] =
        (plinth_table_t){plinth_string(name), plinth_schema_copy(schema), plinth_block_copy(block), false};
}

void plinth_lend_nothing(void) {
    plinth_take_back_granted();
    for (size_t i = 0; i < objects_len; i++) {
        plinth_string_free(&objects[i].uri);
        plinth_list_u8_free(&objects[i].bytes);
    }
    for (size_t i = 0; i < tables_len; i++) {
        plinth_string_free(&tables[i].name);
        plinth_schema_free(&tables[i].schema);
        plinth_block_free(&tables[i].block);
    }
    free(objects);
    free(tables);
    objects = NULL;
    tables = NULL;
    objects_len = tables_len = 0;
}

plinth_object_t *plinth_object_open(plinth_string_t uri, plinth_problem_t *problem) {
    for (size_t i = 0; i < objects_len; i++) {
        if (!plinth_equal(objects[i].uri, uri)) continue;
        plinth_object_t *object = plinth_alloc(1, sizeof *object);
        *object = (plinth_object_t){{0}, plinth_bytes(objects[i].bytes.ptr, objects[i].bytes.len)};
        return object;
    }
    plinth_fail(problem, "not-found", "no object `%.*s` was lent", PLINTH_SHOW(uri));
    return NULL;
}

uint64_t plinth_object_size(const plinth_object_t *object) { return object->bytes.len; }

bool plinth_object_read(const plinth_object_t *object, uint64_t offset, uint32_t len, plinth_bytes_t *bytes,
                        plinth_problem_t *problem) {
    (void)problem;
    uint64_t left = offset < object->bytes.len ? object->bytes.len - offset : 0;
    *bytes = plinth_bytes(object->bytes.ptr + (left ? offset : 0), len < left ? len : (size_t)left);
    return true;
}

void plinth_object_close(plinth_object_t *object) {
    if (!object) return;
    plinth_list_u8_free(&object->bytes);
    free(object);
}

static int by_text(const void *left, const void *right) {
    const plinth_string_t *a = left, *b = right;
    int order = memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

bool plinth_objects_list(plinth_string_t prefix, plinth_strings_t *uris, plinth_problem_t *problem) {
    (void)problem;
    *uris = (plinth_strings_t){0};
    for (size_t i = 0; i < objects_len; i++) {
        plinth_string_t uri = objects[i].uri;
        if (uri.len < prefix.len || memcmp(uri.ptr, prefix.ptr, prefix.len) != 0) continue;
        uris->ptr = plinth_grow(uris->ptr, uris->len, sizeof *uris->ptr);
        uris->ptr[uris->len++] = plinth_string_n((const char *)uri.ptr, uri.len);
    }
    if (uris->len) qsort(uris->ptr, uris->len, sizeof *uris->ptr, by_text);
    return true;
}

plinth_table_t *plinth_table_open(const char *name, plinth_problem_t *problem) {
    for (size_t i = 0; i < tables_len; i++) {
        if (!plinth_is(tables[i].name, name)) continue;
        plinth_table_t *table = plinth_alloc(1, sizeof *table);
        *table = (plinth_table_t){{0}, plinth_schema_copy(&tables[i].schema), plinth_block_copy(&tables[i].block), false};
        return table;
    }
    plinth_fail(problem, "not-found", "no table `%s` was lent", name);
    return NULL;
}

const plinth_schema_t *plinth_table_schema(const plinth_table_t *table) { return &table->schema; }

bool plinth_table_next(plinth_table_t *table, uint32_t max_rows, bool *some, plinth_block_t *block,
                       plinth_problem_t *problem) {
    (void)max_rows;
    (void)problem;
    *some = !table->read;
    if (*some) *block = plinth_block_copy(&table->block);
    table->read = true;
    return true;
}

void plinth_table_close(plinth_table_t *table) {
    if (!table) return;
    plinth_schema_free(&table->schema);
    plinth_block_free(&table->block);
    free(table);
}

/* What the bindings define in a component. */
#define FREE_LIST(type)                                                                                                \
    void type##_free(type##_t *list) {                                                                                 \
        if (list->len) free(list->ptr);                                                                                \
    }
FREE_LIST(plinth_string)
FREE_LIST(plinth_list_f64)
FREE_LIST(plinth_list_f32)
FREE_LIST(plinth_list_s64)
FREE_LIST(plinth_list_u8)
FREE_LIST(plinth_list_u32)

void plinth_list_string_free(plinth_list_string_t *list) {
    for (size_t i = 0; i < list->len; i++) plinth_string_free(&list->ptr[i]);
    if (list->len) free(list->ptr);
}

void plinth_option_string_free(plinth_option_string_t *text) {
    if (text->is_some) plinth_string_free(&text->val);
}

void plinth_schema_free(plinth_schema_t *schema) {
    for (size_t i = 0; i < schema->fields.len; i++) plinth_string_free(&schema->fields.ptr[i].name);
    if (schema->fields.len) free(schema->fields.ptr);
}

void plinth_block_free(plinth_block_t *block) {
    plinth_list_f64_free(&block->f64s);
    plinth_list_f32_free(&block->f32s);
    plinth_list_s64_free(&block->s64s);
    plinth_list_u8_free(&block->bits);
    plinth_list_u32_free(&block->offsets);
    plinth_list_u8_free(&block->bytes);
    plinth_list_u8_free(&block->validity);
}

void plinth_problem_free(plinth_problem_t *problem) {
    plinth_string_free(&problem->code);
    plinth_string_free(&problem->message);
    plinth_option_string_free(&problem->column);
}

#endif
