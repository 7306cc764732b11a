/* parts.c - how a search divides the training images, and whatever asks it later has to divide them again. */
#include "cli/cli.h"
#include "search/registry.h"

/* Where the choices learn from images of their own they need as many as the weights. */
static const double with_arch[] = {0.45, 0.45, 0.10}, without[] = {0.80, 0.20};

nas_status cli_parts_open(cli_parts *p, const cli_strategy *strategy, uint64_t seed, nas_dataset *all) {
    const nas_strategy *s = strategy->custom ? strategy->custom : nas__strategy_find(strategy->info->name);
    nas_dataset *parts[3] = {0};
    bool arch = s && s->arch_batches;
    nas_status status = nas_dataset_split(all, seed, arch ? 3 : 2, arch ? with_arch : without, parts);
    *p = (cli_parts){parts[0], arch ? parts[1] : NULL, parts[arch ? 2 : 1]};
    return status;
}

static int64_t size_of(const nas_dataset *d) { return d ? nas_dataset_describe(d)->size : 0; }

json_t *cli_parts_json(const cli_parts *p) {
    return json_pack("{s:I, s:I, s:I}", "train", (json_int_t)size_of(p->train), "arch", (json_int_t)size_of(p->arch),
                     "valid", (json_int_t)size_of(p->valid));
}

const char *cli_parts_text(const cli_parts *p, char *text, size_t size) {
    int n = snprintf(text, size, "%lld", (long long)size_of(p->train));
    n += p->arch ? snprintf(text + n, size - (size_t)n, " + %lld", (long long)size_of(p->arch)) : 0;
    snprintf(text + n, size - (size_t)n, " + %lld", (long long)size_of(p->valid));
    return text;
}

void cli_parts_close(cli_parts *p) {
    nas_dataset_free(p->train);
    nas_dataset_free(p->arch);
    nas_dataset_free(p->valid);
}
