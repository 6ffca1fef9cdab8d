/* What the host offers beside its log, objects and tables: in a component the host itself, on your machine what a test
 * lends. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The bindings borrow through pointers that are not const. */
#define BORROWED(type, pointer) ((type *)(uintptr_t)(pointer))

bool plinth_config(const char *key, plinth_string_t *value) {
    plinth_string_t view = plinth_view(key);
    return plinth_host_config_get(&view, value);
}

plinth_list_tuple2_string_string_t plinth_config_all(void) {
    plinth_list_tuple2_string_string_t all;
    plinth_host_config_get_all(&all);
    return all;
}

bool plinth_kv_get(plinth_string_t key, bool *some, plinth_bytes_t *value, plinth_problem_t *problem) {
    plinth_option_list_u8_t found;
    if (!plinth_host_kv_get(&key, &found, problem)) return false;
    *some = found.is_some;
    if (found.is_some) *value = found.val;
    return true;
}

bool plinth_kv_set(plinth_string_t key, plinth_bytes_t value, plinth_problem_t *problem) {
    return plinth_host_kv_set(&key, &value, problem);
}

bool plinth_kv_swap(plinth_string_t key, const plinth_bytes_t *expected, plinth_bytes_t value, bool *swapped,
                    plinth_problem_t *problem) {
    return plinth_host_kv_swap(&key, BORROWED(plinth_bytes_t, expected), &value, swapped, problem);
}

bool plinth_kv_delete(plinth_string_t key, plinth_problem_t *problem) { return plinth_host_kv_delete(&key, problem); }

bool plinth_kv_keys(plinth_string_t prefix, const plinth_string_t *after, uint32_t max, plinth_strings_t *keys,
                    plinth_problem_t *problem) {
    return plinth_host_kv_list_keys(&prefix, BORROWED(plinth_string_t, after), max, keys, problem);
}

bool plinth_send(const plinth_request_t *request, plinth_response_t *response, plinth_problem_t *problem) {
    return plinth_host_http_send(BORROWED(plinth_request_t, request), response, problem);
}

const plinth_string_t *plinth_response_header(const plinth_response_t *response, const char *name) {
    for (size_t i = 0; i < response->headers.len; i++) {
        if (plinth_is(response->headers.ptr[i].f0, name)) return &response->headers.ptr[i].f1;
    }
    return NULL;
}

struct plinth_graph_t {
    plinth_host_nn_own_graph_t own;
};

plinth_graph_t *plinth_graph_load(const char *name, plinth_problem_t *problem) {
    plinth_host_nn_own_graph_t own;
    plinth_string_t view = plinth_view(name);
    if (!plinth_host_nn_load_by_name(&view, &own, problem)) return NULL;
    plinth_graph_t *graph = plinth_alloc(1, sizeof *graph);
    graph->own = own;
    return graph;
}

plinth_tensor_infos_t plinth_graph_inputs(const plinth_graph_t *graph) {
    plinth_tensor_infos_t infos;
    plinth_host_nn_method_graph_inputs(plinth_host_nn_borrow_graph(graph->own), &infos);
    return infos;
}

plinth_tensor_infos_t plinth_graph_outputs(const plinth_graph_t *graph) {
    plinth_tensor_infos_t infos;
    plinth_host_nn_method_graph_outputs(plinth_host_nn_borrow_graph(graph->own), &infos);
    return infos;
}

bool plinth_graph_compute(const plinth_graph_t *graph, plinth_tensors_t inputs, plinth_tensors_t *outputs,
                          plinth_problem_t *problem) {
    return plinth_host_nn_method_graph_compute(plinth_host_nn_borrow_graph(graph->own), &inputs, outputs, problem);
}

void plinth_graph_close(plinth_graph_t *graph) {
    if (!graph) return;
    plinth_host_nn_graph_drop_own(graph->own);
    free(graph);
}

int64_t plinth_now_us(void) { return plinth_host_clock_now_us(); }

uint64_t plinth_monotonic_ns(void) { return plinth_host_clock_monotonic_ns(); }

plinth_bytes_t plinth_random_bytes(uint32_t len) {
    plinth_bytes_t bytes;
    plinth_host_random_get_bytes(len, &bytes);
    return bytes;
}

uint64_t plinth_random_u64(void) { return plinth_host_random_get_u64(); }

bool plinth_secret(const char *name, plinth_string_t *value, plinth_problem_t *problem) {
    plinth_string_t view = plinth_view(name);
    return plinth_host_secrets_get(&view, value, problem);
}

#ifndef __wasm__ /* The host of tests */

/* Something lent under a name. Each list is sorted by name. */
typedef struct lent {
    plinth_string_t name;
    plinth_bytes_t value;
    uint16_t status;
    bool (*compute)(plinth_tensors_t inputs, plinth_tensors_t *outputs, plinth_problem_t *problem);
} lent;
typedef struct lending {
    lent *ptr;
    size_t len;
} lending;
static lending settings, store, responses, models, secrets;

static int order(plinth_string_t left, plinth_string_t right) {
    size_t both = left.len < right.len ? left.len : right.len;
    int order = both ? memcmp(left.ptr, right.ptr, both) : 0;
    return order ? order : (left.len > right.len) - (left.len < right.len);
}

static lent *find(lending *list, plinth_string_t name) {
    for (size_t i = 0; i < list->len; i++) {
        if (plinth_equal(list->ptr[i].name, name)) return &list->ptr[i];
    }
    return NULL;
}

static void take_back(lending *list, lent *one) {
    plinth_string_free(&one->name);
    plinth_list_u8_free(&one->value);
    list->len--;
    memmove(one, one + 1, (size_t)(list->ptr + list->len - one) * sizeof *one);
}

/* Puts something in its place, instead of what had its name. */
static lent *lend(lending *list, plinth_string_t name, const void *bytes, size_t len) {
    lent *old = find(list, name);
    if (old) take_back(list, old);
    list->ptr = plinth_grow(list->ptr, list->len, sizeof *list->ptr);
    size_t at = list->len++;
    for (; at > 0 && order(list->ptr[at - 1].name, name) > 0; at--) list->ptr[at] = list->ptr[at - 1];
    list->ptr[at] = (lent){plinth_string_n((const char *)name.ptr, name.len), plinth_bytes(bytes, len), 0, NULL};
    return &list->ptr[at];
}

void plinth_take_back_granted(void) {
    lending *lists[] = {&settings, &store, &responses, &models, &secrets};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        while (lists[i]->len) take_back(lists[i], &lists[i]->ptr[lists[i]->len - 1]);
        free(lists[i]->ptr);
        *lists[i] = (lending){0};
    }
}

void plinth_lend_config(const char *key, const char *value) { lend(&settings, plinth_view(key), value, strlen(value)); }

void plinth_lend_secret(const char *name, const char *value) { lend(&secrets, plinth_view(name), value, strlen(value)); }

void plinth_lend_response(const char *url, uint16_t status, const void *body, size_t len) {
    lend(&responses, plinth_view(url), body, len)->status = status;
}

void plinth_lend_model(const char *name, bool (*compute)(plinth_tensors_t inputs, plinth_tensors_t *outputs,
                                                         plinth_problem_t *problem)) {
    lend(&models, plinth_view(name), NULL, 0)->compute = compute;
}

static bool denied(plinth_problem_t *problem, const char *what, plinth_string_t name) {
    return plinth_fail(problem, "denied", "no %s `%.*s` was lent", what, PLINTH_SHOW(name));
}

bool plinth_host_config_get(plinth_string_t *key, plinth_string_t *value) {
    lent *found = find(&settings, *key);
    if (found) *value = plinth_string_n((const char *)found->value.ptr, found->value.len);
    return found != NULL;
}

void plinth_host_config_get_all(plinth_list_tuple2_string_string_t *all) {
    *all = (plinth_list_tuple2_string_string_t){plinth_alloc(settings.len, sizeof *all->ptr), settings.len};
    for (size_t i = 0; i < settings.len; i++) {
        lent *one = &settings.ptr[i];
        all->ptr[i].f0 = plinth_string_n((const char *)one->name.ptr, one->name.len);
        all->ptr[i].f1 = plinth_string_n((const char *)one->value.ptr, one->value.len);
    }
}

bool plinth_host_kv_get(plinth_string_t *key, plinth_option_list_u8_t *value, plinth_problem_t *problem) {
    (void)problem;
    lent *found = find(&store, *key);
    *value = (plinth_option_list_u8_t){found != NULL, {0}};
    if (found) value->val = plinth_bytes(found->value.ptr, found->value.len);
    return true;
}

bool plinth_host_kv_swap(plinth_string_t *key, plinth_list_u8_t *expected, plinth_list_u8_t *value, bool *swapped,
                         plinth_problem_t *problem) {
    lent *found = find(&store, *key);
    *swapped = !found == !expected &&
               (!found || (found->value.len == expected->len &&
                           (!expected->len || memcmp(found->value.ptr, expected->ptr, expected->len) == 0)));
    return !*swapped || plinth_host_kv_set(key, value, problem);
}

bool plinth_host_kv_set(plinth_string_t *key, plinth_list_u8_t *value, plinth_problem_t *problem) {
    (void)problem;
    lend(&store, *key, value->ptr, value->len);
    return true;
}

bool plinth_host_kv_delete(plinth_string_t *key, plinth_problem_t *problem) {
    (void)problem;
    lent *found = find(&store, *key);
    if (found) take_back(&store, found);
    return true;
}

bool plinth_host_kv_list_keys(plinth_string_t *prefix, plinth_string_t *after, uint32_t max, plinth_list_string_t *keys,
                              plinth_problem_t *problem) {
    (void)problem;
    *keys = (plinth_list_string_t){0};
    for (size_t i = 0; i < store.len && keys->len < max; i++) {
        plinth_string_t key = store.ptr[i].name;
        if (key.len < prefix->len || !plinth_equal((plinth_string_t){key.ptr, prefix->len}, *prefix)) continue;
        if (after && order(key, *after) <= 0) continue;
        keys->ptr = plinth_grow(keys->ptr, keys->len, sizeof *keys->ptr);
        keys->ptr[keys->len++] = plinth_string_n((const char *)key.ptr, key.len);
    }
    return true;
}

bool plinth_host_http_send(plinth_host_http_request_t *request, plinth_host_http_response_t *response,
                           plinth_problem_t *problem) {
    lent *found = find(&responses, request->url);
    if (!found) return denied(problem, "answer of", request->url);
    *response = (plinth_response_t){found->status, {0}, plinth_bytes(found->value.ptr, found->value.len)};
    return true;
}

bool plinth_host_nn_load_by_name(plinth_string_t *name, plinth_host_nn_own_graph_t *graph, plinth_problem_t *problem) {
    lent *found = find(&models, *name);
    if (!found) return denied(problem, "model", *name);
    graph->__handle = (int32_t)(found - models.ptr);
    return true;
}

plinth_host_nn_borrow_graph_t plinth_host_nn_borrow_graph(plinth_host_nn_own_graph_t graph) {
    return (plinth_host_nn_borrow_graph_t){graph.__handle};
}

void plinth_host_nn_graph_drop_own(plinth_host_nn_own_graph_t graph) { (void)graph; }

void plinth_host_nn_method_graph_inputs(plinth_host_nn_borrow_graph_t graph, plinth_tensor_infos_t *infos) {
    (void)graph;
    *infos = (plinth_tensor_infos_t){0};
}

void plinth_host_nn_method_graph_outputs(plinth_host_nn_borrow_graph_t graph, plinth_tensor_infos_t *infos) {
    plinth_host_nn_method_graph_inputs(graph, infos);
}

bool plinth_host_nn_method_graph_compute(plinth_host_nn_borrow_graph_t graph, plinth_tensors_t *inputs,
                                         plinth_tensors_t *outputs, plinth_problem_t *problem) {
    *outputs = (plinth_tensors_t){0};
    return models.ptr[graph.__handle].compute(*inputs, outputs, problem);
}

int64_t plinth_host_clock_now_us(void) { return 1704067200000000; }

uint64_t plinth_host_clock_monotonic_ns(void) {
    static uint64_t now = 1000000000;
    return now += 1000;
}

/* SplitMix64 of a fixed seed. */
uint64_t plinth_host_random_get_u64(void) {
    static uint64_t state;
    uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

void plinth_host_random_get_bytes(uint32_t len, plinth_list_u8_t *bytes) {
    *bytes = (plinth_list_u8_t){plinth_alloc(len, 1), len};
    for (uint32_t i = 0; i < len; i++) bytes->ptr[i] = (uint8_t)plinth_host_random_get_u64();
}

bool plinth_host_secrets_get(plinth_string_t *name, plinth_string_t *value, plinth_problem_t *problem) {
    lent *found = find(&secrets, *name);
    if (!found) return denied(problem, "secret", *name);
    *value = plinth_string_n((const char *)found->value.ptr, found->value.len);
    return true;
}

/* What the bindings define in a component. */
void plinth_list_tuple2_string_string_free(plinth_list_tuple2_string_string_t *pairs) {
    for (size_t i = 0; i < pairs->len; i++) {
        plinth_string_free(&pairs->ptr[i].f0);
        plinth_string_free(&pairs->ptr[i].f1);
    }
    free(pairs->ptr);
}

void plinth_host_http_response_free(plinth_response_t *response) {
    plinth_list_tuple2_string_string_free(&response->headers);
    plinth_list_u8_free(&response->body);
}

void plinth_host_nn_list_tensor_free(plinth_tensors_t *tensors) {
    for (size_t i = 0; i < tensors->len; i++) {
        plinth_string_free(&tensors->ptr[i].name);
        plinth_list_u32_free(&tensors->ptr[i].dimensions);
        plinth_list_u8_free(&tensors->ptr[i].data);
    }
    free(tensors->ptr);
}

void plinth_host_nn_list_tensor_info_free(plinth_tensor_infos_t *infos) {
    for (size_t i = 0; i < infos->len; i++) {
        plinth_string_free(&infos->ptr[i].name);
        plinth_list_s64_free(&infos->ptr[i].dimensions);
    }
    free(infos->ptr);
}

#endif
