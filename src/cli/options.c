/* options.c - the table of options and everything that follows from it but the help. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/memory.h"
#include "data/sources.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *precision_word(int i) { return (const char *[]){"f32", "bf16", "auto", NULL}[i]; }
static const char *backend_word(int i) { return (const char *[]){"espalier", "onnxruntime", NULL}[i]; }
static const char *pick_word(int i) { return (const char *[]){"best", "knee", "limit", NULL}[i]; }
static const char *split_word(int i) { return (const char *[]){"test", "train", NULL}[i]; }

#define AT(field) offsetof(cli_args, field)
const cli_option cli_options[] = {
    {"space", CLI_TEXT, AT(space), "S", 0, 0, "search space (`espalier list spaces`)", CLI_STORED, cli_space_word},
    {"strategy", CLI_TEXT, AT(strategy), "A", 0, 0, "search strategy (`espalier list strategies`)", CLI_STORED,
     cli_strategy_word},
    {"strategy-plugin", CLI_PATH, AT(strategy_plugin), "FILE.so", 0, 0,
     "a strategy of your own from a shared object (docs/extending.md)", CLI_STORED, NULL},
    {"arch", CLI_TEXT, AT(arch), "FILE", 0, 0, "architecture as JSON; otherwise RUN/final_architecture.json", CLI_FREE,
     NULL},
    {"data", CLI_TEXT, AT(data), "D", 0, 0, "data set (`espalier list data`)", CLI_STORED, cli_data_word},
    {"data-dir", CLI_PATH, AT(data_dir), "DIR", 0, 0, "where the data set's files are", CLI_STORED, NULL},
    {"split", CLI_TEXT, AT(split), "PART", 0, 0, "test or train", CLI_FREE, split_word},
    {"epochs", CLI_INT, AT(epochs), "N", 1, 1e6, "passes over the training part", CLI_MAY_GROW, NULL},
    {"batch", CLI_INT, AT(batch), "N", 1, 1e6, "images per step", CLI_STORED, NULL},
    {"lr", CLI_REAL, AT(lr), "X", 1e-12, 1e3, "learning rate of the weights at the start (it falls as a cosine)",
     CLI_STORED, NULL},
    {"weight-decay", CLI_REAL, AT(weight_decay), "X", 0, 1e3, "weight decay", CLI_STORED, NULL},
    {"score-steps", CLI_INT, AT(score_steps), "N", -1, 1e6,
     "training steps that a path's weights settle before it is scored; 0: as the strategy needs, -1: none", CLI_STORED,
     NULL},
    {"label-smoothing", CLI_REAL, AT(label_smoothing), "X", 0, 0.99, "share of the label spread over all classes",
     CLI_STORED, NULL},
    {"drop-path", CLI_REAL, AT(drop_path), "X", 0, 0.99, "probability of dropping a path at the end, rising from 0",
     CLI_STORED, NULL},
    {"cutout", CLI_INT, AT(cutout), "N", 0, 4096, "side of a square that is blanked in each training image", CLI_STORED,
     NULL},
    {"valid-share", CLI_REAL, AT(valid_share), "X", 0, 0.9, "share of the training images that is held out and watched",
     CLI_STORED, NULL},
    {"precision", CLI_TEXT, AT(precision), "f32|bf16|auto", 0, 0,
     "numbers that activations are stored in; where bf16 is not to be had, f32 with a note", CLI_STORED,
     precision_word},
    {"set", CLI_LIST, AT(set), "KEY=VALUE", 0, 0,
     "an option of the strategy or the space (`espalier list options NAME`); may be repeated", CLI_FREE, NULL},
    {"pick", CLI_TEXT, AT(pick), "best|knee|limit", 0, 0,
     "of a front of several objectives: what is exported; the same as --set pick=", CLI_FREE, pick_word},
    {"config", CLI_TEXT, AT(config), "FILE.json", 0, 0,
     "options from a file, such as a run's config.json; the command line wins", CLI_FREE, NULL},
    {"budget", CLI_TEXT, AT(budget), "minutes=M|trials=N", 0, 0,
     "end on time, or after so many evaluated architectures", CLI_MAY_CHANGE, NULL},
    {"jobs", CLI_INT, AT(jobs), "N", 1, CLI_MOST_JOBS,
     "of a strategy of trials, N side by side, each in a process of its own with --threads; a crash costs one trial",
     CLI_MAY_CHANGE, NULL},
    {"shards", CLI_INT, AT(shards), "K", 1, 4096,
     "cut each batch into K parts that are added in their order, so that any number of ranks (mpirun -n N) gives the "
     "same "
     "bits; by default one for each rank",
     CLI_STORED, NULL},
    {"limit", CLI_TEXT, AT(limit), "macs=30M,params=1M,latency=5ms,ram=256KiB,flash=4MiB", 0, 0,
     "hard limits, some or all, of the network that is found; latency as measured here, ram and flash of its --c "
     "export",
     CLI_STORED, NULL},
    {"inherit", CLI_FLAG, AT(inherit), NULL, 0, 0, "start from the search's shared weights instead of fresh ones",
     CLI_STORED, NULL},
    {"out", CLI_TEXT, AT(out), "DIR", 0, 0,
     "run directory; by default a new one (of compare: RUN/compare). Of profile: the file of the table, which is "
     "measured, or completed when it is there",
     CLI_FREE, NULL},
    {"backend", CLI_TEXT, AT(backend), "B", 0, 0, "who runs what is measured: espalier or onnxruntime", CLI_FREE,
     backend_word},
    {"onnxruntime", CLI_PATH, AT(onnxruntime), "LIB", 0, 0,
     "path of libonnxruntime.so (else ESPALIER_ONNXRUNTIME's, or the system's)", CLI_FREE, NULL},
    {"latency-table", CLI_PATH, AT(latency_table), "FILE", 0, 0, "latencies that `profile --out FILE` has measured",
     CLI_STORED, NULL},
    {"measure-missing", CLI_FLAG, AT(measure_missing), NULL, 0, 0,
     "what the table of latencies lacks is measured here, instead of refused", CLI_STORED, NULL},
    {"validate", CLI_INT, AT(validate), "N", 3, 10000, "measure N more random networks, and predict them by the table",
     CLI_FREE, NULL},
    {"svg", CLI_TEXT, AT(svg), "FILE", 0, 0, "a picture", CLI_FREE, NULL},
    {"dot", CLI_TEXT, AT(dot), "FILE", 0, 0, "the picture as a graph for Graphviz", CLI_FREE, NULL},
    {"resume", CLI_FLAG, AT(resume), NULL, 0, 0, "go on with the run in its directory, from the last finished epoch",
     CLI_FREE, NULL},
    {"checkpoint-every", CLI_TEXT, AT(checkpoint_every), "N|Mmin", 0, 0,
     "save the state every N epochs, or at the first epoch's end after M minutes; by default after every epoch",
     CLI_FREE, NULL},
    {"keep-checkpoints", CLI_INT, AT(keep_checkpoints), "K", 1, 1e6, "the newest K stay", CLI_FREE, NULL},
    {"input", CLI_TEXT, AT(input), "CxHxW", 0, 0, "shape of an image instead of the data set's", CLI_FREE, NULL},
    {"outputs", CLI_INT, AT(outputs), "N", 1, 1e6, "number of classes instead of the data set's", CLI_FREE, NULL},
    {"top", CLI_INT, AT(top), "K", 1, 1e4, "how many classes to print per image", CLI_FREE, NULL},
    {"csv", CLI_FLAG, AT(csv), NULL, 0, 0, "comma-separated values on stdout", CLI_FREE, NULL},
    {"onnx", CLI_TEXT, AT(onnx), "FILE", 0, 0, "the network as an ONNX file", CLI_FREE, NULL},
    {"c", CLI_TEXT, AT(c), "FILE", 0, 0, "the network as one C99 file that needs nothing but libm", CLI_FREE, NULL},
    {"safetensors", CLI_TEXT, AT(safetensors), "FILE", 0, 0, "the weights, named as in PyTorch (docs/export.md)",
     CLI_FREE, NULL},
    {"keep-batch-norm", CLI_FLAG, AT(keep_batch_norm), NULL, 0, 0,
     "leave batch norms as they were trained instead of folding them into convolutions", CLI_FREE, NULL},
    {"raw-pixels", CLI_FLAG, AT(raw_pixels), NULL, 0, 0,
     "the ONNX file is given pixels as they are stored and normalises them itself", CLI_FREE, NULL},
    {"limit-batches", CLI_INT, AT(limit_batches), "N", 1, 1e9, "at most N steps per epoch", CLI_STORED, NULL},
    {"limit-images", CLI_INT, AT(limit_images), "N", 1, 1e9, "a random subset of N images, each class in proportion",
     CLI_STORED, NULL},
    {"random", CLI_INT, AT(random), "N", 2, 1000, "train N random networks of the same space, too", CLI_FREE, NULL},
    {"seeds", CLI_INT, AT(seeds), "K", 1, 100, "train each network K times, with the seeds --seed and those behind it",
     CLI_FREE, NULL},
    {"samples", CLI_INT, AT(samples), "N", 3, 1000, "random networks that are compared", CLI_FREE, NULL},
    {"truth", CLI_TEXT, AT(truth), "TABLE", 0, 0, "known accuracies: FILE.csv[,seen=COL][,truth=COL+COL][,arch=COL]",
     CLI_FREE, NULL},
    {"no-proxies", CLI_FLAG, AT(no_proxies), NULL, 0, 0,
     "leave out the scores of untrained networks, which take longest", CLI_FREE, NULL},
    {"log-frequency", CLI_INT, AT(log_frequency), "N", 1, 1e9, "a line every N steps instead of every 10 seconds",
     CLI_FREE, NULL},
    {"steps", CLI_INT, AT(steps), "N", 1, 1e6, "timed steps of each benchmark", CLI_FREE, NULL},
    {"op-times", CLI_FLAG, AT(op_times), NULL, 0, 0, "where the time goes, by kind of operation", CLI_FREE, NULL},
    {"first-step", CLI_TEXT, AT(first_step), "FILE", 0, 0,
     "write weights, batches and gradients of the first step there (safetensors), so that others can repeat it",
     CLI_FREE, NULL},
    {"scaling", CLI_FLAG, AT(scaling), NULL, 0, 0, "with one thread, too: how much faster all of them are", CLI_FREE,
     NULL},
    {"port", CLI_INT, AT(port), "N", 0, 65535, "where the page is served; 0: any that is free", CLI_FREE, NULL},
    {"host", CLI_TEXT, AT(host), "ADDRESS", 0, 0, "address to listen at; other than this machine's own needs a token",
     CLI_FREE, NULL},
    {"token", CLI_TEXT, AT(token), "T", 0, 0,
     "only who knows it may look (or ESPALIER_TOKEN, which `ps` does not show)", CLI_FREE, NULL},
    {"token-file", CLI_PATH, AT(token_file), "FILE", 0, 0, "the token is the first line of this file", CLI_FREE, NULL},
    {"allow-host", CLI_TEXT, AT(allow_host), "NAME,...", 0, 0, "further names by which browsers may call this server",
     CLI_FREE, NULL},
    {"html", CLI_TEXT, AT(html), "FILE", 0, 0, "the page with these runs in it; opens without a server", CLI_FREE,
     NULL},
    {"md", CLI_TEXT, AT(md), "FILE", 0, 0, "a table in Markdown, and beside it FILE's picture in SVG", CLI_FREE, NULL},
    /* common to all subcommands, from here on */
    {"threads", CLI_INT, AT(threads), "N", 1, 4096, "threads; by default what OMP_NUM_THREADS says, else all cores",
     CLI_MAY_CHANGE, NULL},
    {"seed", CLI_INT, AT(seed), "N", 0, 9e15, "seed of everything random", CLI_STORED, NULL},
    {"json", CLI_FLAG, AT(json), NULL, 0, 0, "the result as one JSON object on stdout", CLI_FREE, NULL},
    {"quiet", CLI_FLAG, AT(quiet), NULL, 0, 0, "only warnings and errors on stderr", CLI_FREE, NULL},
    {"verbose", CLI_FLAG, AT(verbose), NULL, 0, 0, "more on stderr", CLI_FREE, NULL},
    {"help", CLI_FLAG, AT(help), NULL, 0, 0, "this help", CLI_FREE, NULL},
};
const int cli_n_options = sizeof cli_options / sizeof *cli_options;
_Static_assert(sizeof cli_options / sizeof *cli_options <= CLI_MOST_OPTIONS, "cli_args.given has room for all");

static const char *const common[] = {"threads", "seed", "json", "quiet", "verbose", "help"};

const cli_option *cli_option_find(const char *name) {
    for (int i = 0; i < cli_n_options; i++) {
        if (strcmp(cli_options[i].name, name) == 0) {
            return &cli_options[i];
        }
    }
    return NULL;
}

bool cli_takes(const cli_command *command, const cli_option *option) {
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        if (strcmp(common[i], option->name) == 0) {
            return true;
        }
    }
    size_t n = strlen(option->name);
    for (const char *p = command->options; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        if (strcspn(p, " ") == n && strncmp(p, option->name, n) == 0) {
            return true;
        }
    }
    return false;
}

bool cli_given(const cli_args *a, const char *name) {
    const cli_option *option = cli_option_find(name);
    return option && a->given[option - cli_options];
}

/* --- values ------------------------------------------------------------------------------------- */
static nas_status set_number(const cli_option *option, void *field, const char *value) {
    char *end;
    errno = 0;
    double number = option->type == CLI_INT ? 0 : strtod(value, &end);
    long long whole = option->type == CLI_INT ? strtoll(value, &end, 10) : 0;
    if (end == value || *end || !isfinite(number)) {
        return nas__fail(NAS_USAGE, "--%s: \"%s\" is not a %s", option->name, value,
                         option->type == CLI_INT ? "whole number" : "number");
    }
    number = option->type == CLI_INT ? (double)whole : number;
    if (errno == ERANGE || number < option->min || number > option->max) {
        return nas__fail(NAS_USAGE, "--%s: %s is out of range; it takes %.10g to %.10g", option->name, value,
                         option->min, option->max);
    }
    if (option->type == CLI_INT) {
        *(int64_t *)field = whole;
    } else {
        *(double *)field = number;
    }
    return NAS_OK;
}

/* A run's config.json is read from other working directories, too. What does not exist stays as it was typed: the error
 * message is about that. */
static const char *absolute(const char *path) {
    char *real = realpath(path, NULL);
    return real ? cli_keep(real) : path;
}

nas_status cli_set_option(cli_args *a, const cli_option *option, const char *value) {
    void *field = (char *)a + option->offset;
    switch (option->type) {
    case CLI_FLAG:
        *(bool *)field = strcmp(value, "0") != 0;
        return NAS_OK;
    case CLI_TEXT:
        *(const char **)field = value;
        return *value ? NAS_OK : nas__fail(NAS_USAGE, "--%s: its value is empty", option->name);
    case CLI_PATH:
        *(const char **)field = absolute(value);
        return *value ? nas_error_status() : nas__fail(NAS_USAGE, "--%s: its value is empty", option->name);
    case CLI_LIST:
        if (a->n_set == CLI_MOST_SETTINGS) {
            return nas__fail(NAS_USAGE, "--%s: more than %d of them", option->name, CLI_MOST_SETTINGS);
        }
        a->set[a->n_set++] = value;
        return NAS_OK;
    case CLI_INT:
    case CLI_REAL:
        return set_number(option, field, value);
    }
    return NAS_OK;
}

const char *cli_option_text(const cli_args *a, const cli_option *option, char *text, size_t size) {
    const void *field = (const char *)a + option->offset;
    switch (option->type) {
    case CLI_FLAG:
        return *(const bool *)field ? "1" : NULL;
    case CLI_TEXT:
    case CLI_PATH:
        return *(const char *const *)field;
    case CLI_INT:
        snprintf(text, size, "%lld", (long long)*(const int64_t *)field);
        return text;
    case CLI_REAL:
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, size, "%.*g", digits, *(const double *)field);
            if (strtod(text, NULL) == *(const double *)field) {
                break;
            }
        }
        return text;
    case CLI_LIST:
        break;
    }
    return NULL;
}

nas_status cli_budget(const cli_args *a, nas_budget *budget) {
    *budget = (nas_budget){0};
    if (!a->budget) {
        return NAS_OK;
    }
    char *end = NULL;
    double number = 0;
    errno = 0;
    if (strncmp(a->budget, "minutes=", 8) == 0) {
        number = budget->minutes = strtod(a->budget + 8, &end);
    } else if (strncmp(a->budget, "trials=", 7) == 0) {
        long trials = strtol(a->budget + 7, &end, 10);
        number = (double)trials;
        budget->trials = trials < INT_MAX ? (int)trials : INT_MAX;
    }
    if (!end || *end || errno || !(number > 0) || number > 1e7) {
        return nas__fail(NAS_USAGE, "--budget: \"%s\" is neither minutes=M nor trials=N with a number above 0",
                         a->budget);
    }
    return NAS_OK;
}

nas_status cli_checkpoints(const cli_args *a, nas_checkpoints *c) {
    *c = (nas_checkpoints){.keep = (int)a->keep_checkpoints};
    const char *text = a->checkpoint_every;
    char *end = NULL;
    double number = text ? strtod(text, &end) : 1;
    if (!(number > 0) || number > 1e6 || (text && *end && strcmp(end, "min") != 0) ||
        (text && !*end && number != floor(number))) {
        return nas__fail(NAS_USAGE,
                         "--checkpoint-every: \"%s\" is neither a number of epochs nor minutes, such as 5min", text);
    }
    if (text && *end) {
        c->minutes = number;
    } else if (text) {
        c->epochs = (int)number;
    }
    return NAS_OK;
}

/* --- the command line --------------------------------------------------------------------------- */
static nas_status apply_defaults(const cli_command *command, cli_args *a) {
    static char text[1024]; /* values are kept, and a process runs one subcommand */
    snprintf(text, sizeof text, "%s", command->defaults);
    char *rest = text;
    for (char *item; (item = strsep(&rest, " ")) != NULL;) {
        char *value = strchr(item, '=');
        if (value) {
            *value++ = 0;
            nas_status status = cli_set_option(a, cli_option_find(item), value);
            if (status) {
                return status;
            }
        }
    }
    return NAS_OK;
}

static nas_status unknown(const cli_command *command, const char *name) {
    const char *names[64];
    size_t n = 0;
    for (int i = 0; i < cli_n_options; i++) {
        if (cli_takes(command, &cli_options[i])) {
            names[n++] = cli_options[i].name;
        }
    }
    const char *near = nas__nearest(name, names, n, sizeof *names);
    if (near) {
        return nas__fail(NAS_USAGE, "unknown option --%s, did you mean --%s?", name, near);
    }
    return nas__fail(NAS_USAGE, "unknown option --%s; `espalier %s --help` shows all", name, command->name);
}

/* One option and its value; returns through *used how many words it took. */
static nas_status parse_option(const cli_command *command, char **word, cli_args *a, int *used) {
    char name[64];
    const char *text = strcmp(word[0], "-h") == 0 ? "--help" : word[0];
    size_t dashes = strspn(text, "-");
    const char *equal = strchr(text, '=');
    snprintf(name, sizeof name, "%.*s", equal ? (int)(equal - text - (ptrdiff_t)dashes) : 60, text + dashes);
    const cli_option *option = dashes == 2 ? cli_option_find(name) : NULL;
    if (!option || !cli_takes(command, option)) {
        return unknown(command, name);
    }
    *used = 1;
    const char *value = equal ? equal + 1 : NULL;
    if (option->type == CLI_FLAG && value) {
        return nas__fail(NAS_USAGE, "--%s takes no value", option->name);
    }
    if (option->type != CLI_FLAG && !value) {
        value = word[1];
        *used = 2;
        if (!value || strncmp(value, "--", 2) == 0) {
            return nas__fail(NAS_USAGE, "--%s needs a value: --%s %s", option->name, option->name, option->value);
        }
    }
    bool *given = &a->given[option - cli_options];
    if (option->type != CLI_LIST && *given) {
        return nas__fail(NAS_USAGE, "--%s is given twice", option->name);
    }
    *given = true;
    return cli_set_option(a, option, value ? value : "1");
}

static nas_status check_names(const cli_command *command, const cli_args *a) {
    if (a->help || (a->n_names >= command->least && (command->most < 0 || a->n_names <= command->most))) {
        return NAS_OK;
    }
    if (a->n_names < command->least) {
        return nas__fail(NAS_USAGE, "something is missing: espalier %s %s (for example: %s)", command->name,
                         command->arguments, command->example);
    }
    return nas__fail(NAS_USAGE, "\"%s\" is one argument too many; options begin with --", a->names[command->most]);
}

nas_status cli_parse(const cli_command *command, int argc, char **argv, cli_args *a) {
    a->command = command;
    a->names = nas__alloc((size_t)(argc + 1) * sizeof *a->names);
    nas_status status = a->names ? apply_defaults(command, a) : nas_error_status();
    bool only_names = false;
    for (int i = 0, used = 1; !status && i < argc; i += used) {
        used = 1;
        if (!only_names && strcmp(argv[i], "--") == 0) {
            only_names = true;
        } else if (!only_names && argv[i][0] == '-' && argv[i][1]) {
            status = parse_option(command, argv + i, a, &used);
        } else {
            a->names[a->n_names++] = argv[i];
        }
    }
    if (!status && a->quiet && a->verbose) {
        status = nas__fail(NAS_USAGE, "--quiet and --verbose exclude each other");
    }
    return status ? status : check_names(command, a);
}

/* --- words -------------------------------------------------------------------------------------- */
const char *cli_space_word(int i) {
    const nas_space_info *const *all = nas_spaces();
    for (int k = 0; k < i && *all; k++) {
        all++;
    }
    return *all ? (*all)->name : NULL;
}

const char *cli_strategy_word(int i) { return nas_strategies()[i].name; }

const char *cli_data_word(int i) { return i < nas__n_data_sources ? nas__data_sources[i].name : NULL; }

const char *cli_hint(const char *name, const char *(*words)(int i), char *text, size_t size) {
    const char *names[256];
    size_t n = 0;
    while (n < 256 && (names[n] = words((int)n)) != NULL) {
        n++;
    }
    const char *near = nas__nearest(name, names, n, sizeof *names);
    size_t used = 0;
    text[0] = 0;
    if (near) {
        snprintf(text, size, ", did you mean \"%s\"?", near);
        return text;
    }
    for (size_t i = 0; i < n && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "; there are: ", names[i]);
    }
    return text;
}

nas_status cli_as_usage(void) {
    char message[1024];
    if (!nas_error_status()) {
        return NAS_OK;
    }
    snprintf(message, sizeof message, "%s", nas_error_message());
    nas_error_clear();
    return nas__fail(NAS_USAGE, "%s", message);
}
