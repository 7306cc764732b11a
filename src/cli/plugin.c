/* plugin.c - strategies from shared objects (--strategy-plugin). */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <espalier/strategy.h>

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

static const char entry[] = "nas_strategy_plugin";

static nas_status check(const char *path, const nas_strategy *s) {
    if (!s) {
        return nas__fail(NAS_UNSUPPORTED,
                         "--strategy-plugin: %s was made for another version of the interface (this is %d); compile it "
                         "again with this version's headers",
                         path, NAS_STRATEGY_VERSION);
    }
    if (!s->name || !s->summary || !s->step || (!s->derive && !s->probabilities)) {
        return nas__fail(NAS_INVALID,
                         "--strategy-plugin: the strategy of %s lacks a name, a summary, a step, or both derive and "
                         "probabilities",
                         path);
    }
    return NAS_OK;
}

/* The dynamic linker maps what the headers tell of, and dies of a file that ends before. */
static nas_status check_whole(const char *path) {
    size_t size = 0;
    char *file = nas__read_file(path, &size);
    const ElfW(Ehdr) *elf = (const void *)file;
    bool whole = file && size >= sizeof *elf && !memcmp(elf->e_ident, ELFMAG, SELFMAG);
    if (whole && elf->e_phentsize == sizeof(ElfW(Phdr)) && elf->e_phoff <= size) {
        size_t n = (size - elf->e_phoff) / sizeof(ElfW(Phdr));
        whole = elf->e_phnum <= n && elf->e_phoff % _Alignof(ElfW(Phdr)) == 0;
        const ElfW(Phdr) *parts = whole ? (const void *)(file + elf->e_phoff) : NULL;
        for (int i = 0; whole && i < elf->e_phnum; i++) {
            whole = parts[i].p_offset <= size && parts[i].p_filesz <= size - parts[i].p_offset;
        }
        if (!whole) {
            nas__fail(NAS_PARSE, "--strategy-plugin: %s is truncated or damaged; compile it again", path);
        }
    }
    free(file);
    return nas_error_status(); /* what is no such file at all is the linker's to say */
}

const nas_strategy *cli_plugin_open(const char *path) {
    /* A name without a slash would be looked for among the system's libraries. The object stays until the end. */
    const char *in_folder = strchr(path, '/') ? path : cli_keep(nas__format("./%s", path));
    if (nas__is_file(path) && check_whole(path)) {
        return NULL;
    }
    void *object = in_folder ? dlopen(in_folder, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!object) {
        return nas__fail_null(NAS_IO, "--strategy-plugin: %s", in_folder ? dlerror() : "out of memory");
    }
    const nas_strategy *(*get)(int version);
    *(void **)&get = dlsym(object, entry);
    if (!get) {
        return nas__fail_null(NAS_INVALID, "--strategy-plugin: %s defines no function %s(); see docs/extending.md",
                              path, entry);
    }
    const nas_strategy *s = get(NAS_STRATEGY_VERSION);
    return check(path, s) ? NULL : s;
}
