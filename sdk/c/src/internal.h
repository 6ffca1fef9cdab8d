/* What the sources of the SDK share and authors do not need. */
#ifndef PLINTH_INTERNAL_H
#define PLINTH_INTERNAL_H

#include <stdarg.h>

#include "plinth.h"

/* As plinth_format. */
plinth_string_t plinth_format_list(const char *format, va_list list);

/* Makes room for one more zeroed thing in a list of `len`. Lists are short and end where they end, whoever made them. */
void *plinth_grow(void *list, size_t len, size_t size);

/* The nearest of some names to the one that was wanted. */
typedef struct plinth_nearest_t {
    plinth_string_t wanted, name;
    size_t away;
    bool found;
} plinth_nearest_t;
void plinth_nearest_add(plinth_nearest_t *nearest, plinth_string_t name);
/* Fails with "WHAT `wanted`, did you mean `name`?". */
bool plinth_fail_near(plinth_problem_t *problem, const char *code, const char *what, const plinth_nearest_t *nearest);

/* A schema that lasts as long as what was made for it, with where each column lies, so that a view of a column need not
 * count the columns before it. Views know it by the place of `schema`, which is all that authors see of it. */
typedef struct plinth_bound_t {
    plinth_schema_t schema;
    /* Of each column: the columns before it in the list of its physical type, and the nullable ones before it. */
    struct plinth_place_t {
        uint32_t before, nullable_before;
    } *places;
    /* For plinth_last. */
    uint32_t *f64s;
    struct plinth_bound_t *next;
} plinth_bound_t;
/* Takes the schema over. What is bound must stay where it is until it is unbound, which frees the schema. */
void plinth_bind(plinth_bound_t *bound, const plinth_schema_t *schema);
void plinth_unbind(plinth_bound_t *bound);

/* The part of plinth_lend_nothing that is in granted.c. */
void plinth_take_back_granted(void);

#endif
