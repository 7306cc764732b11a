/* machine.c - what a run was made on: a number without its machine cannot be compared. */
#include "core/error.h"
#include "core/memory.h"
#include "kernels/kernels.h"
#include "kernels/onednn.h"
#include "run/run.h"

#include <jansson.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* "model name" on x86, "CPU part" and the like elsewhere: the first that there is. */
static void cpu_model(char *model, size_t size, const char *machine) {
    static const char *const keys[] = {"model name", "Model", "Hardware", "CPU part"};
    snprintf(model, size, "%s", machine);
    size_t best = sizeof keys / sizeof *keys;
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[512];
    while (f && best && fgets(line, sizeof line, f)) {
        const char *value = strchr(line, ':');
        for (size_t i = 0; value && i < best; i++) {
            if (!strncmp(line, keys[i], strlen(keys[i]))) {
                value += strspn(value, ": \t");
                snprintf(model, size, "%.*s", (int)strcspn(value, "\n"), value);
                best = i;
            }
        }
    }
    if (f) {
        fclose(f);
    }
}

static int usable_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
}

char *nas__machine_json(void) {
    struct utsname system;
    char model[256], kernel[sizeof system.sysname + sizeof system.release + 1];
    if (uname(&system)) {
        memset(&system, 0, sizeof system);
    }
    cpu_model(model, sizeof model, system.machine);
    snprintf(kernel, sizeof kernel, "%s %s", system.sysname, system.release);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    json_t *root = json_pack("{s:s, s:i, s:i, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "cpu", model, "cores",
                             (int)sysconf(_SC_NPROCESSORS_ONLN), "usable_cores", usable_cores(), "architecture",
                             system.machine, "isa", nas__kernel_table()->isa, "memory_bytes", (json_int_t)pages * page,
                             "kernel", kernel, "compiler", __VERSION__, "onednn", nas__onednn_version(), "sqlite",
                             sqlite3_libversion(), "espalier", nas_version());
    json_object_set_new(root, "amx_bf16", json_boolean(nas__cpu_has_amx_bf16()));
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text ? text : nas__fail_null(NAS_NO_MEMORY, "no memory for the machine's description");
}

char *nas__machine_name(void) {
    struct utsname system;
    char model[256];
    if (uname(&system)) {
        memset(&system, 0, sizeof system);
    }
    cpu_model(model, sizeof model, system.machine);
    return nas__format("%s, %s", model, nas__kernel_table()->isa);
}
