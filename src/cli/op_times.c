/* op_times.c - where the time goes, by kind of operation: of benchmarks (per step), and of whole runs. */
#include "cli/cli.h"

#include "search/op_times.h"

enum { SHOWN = 24 };

json_t *cli_op_times_json(const nas__op_times *t, int steps) {
    json_t *all = json_array();
    for (int i = 0; i < t->n; i++) {
        const nas__op_time *op = &t->ops[i];
        json_array_append_new(all,
                              json_pack("{s:s, s:s, s:f, s:f, s:I, s:f, s:f}", "name", op->name, "pass",
                                        op->backward ? "backward" : "forward", "ms", 1e3 * op->seconds / steps, "share",
                                        op->seconds / t->seconds, "calls", (json_int_t)(op->calls / (uint64_t)steps),
                                        "gflop", 1e-9 * op->flops / steps, "gb", 1e-9 * op->bytes / steps));
    }
    return all;
}

static double number(json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

void cli_op_times_print(json_t *ops) {
    size_t i;
    json_t *row;
    if (!ops) {
        return;
    }
    printf("  %-20s %-8s %9s %11s %6s %8s %6s\n", "operation", "pass", "calls", "ms", "share", "GFLOP/s", "GB/s");
    json_array_foreach(ops, i, row) {
        double ms = number(row, "ms"), seconds = ms > 0 ? 1e-3 * ms : 1;
        if (i < SHOWN) {
            printf("  %-20s %-8s %9lld %11.1f %5.1f%% %8.0f %6.1f\n", json_string_value(json_object_get(row, "name")),
                   json_string_value(json_object_get(row, "pass")), (long long)number(row, "calls"), ms,
                   100 * number(row, "share"), number(row, "gflop") / seconds, number(row, "gb") / seconds);
        }
    }
}
