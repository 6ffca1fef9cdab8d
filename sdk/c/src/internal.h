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

/* The part of plinth_lend_nothing that is in granted.c. */
void plinth_take_back_granted(void);

#endif
