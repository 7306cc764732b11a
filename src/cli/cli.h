/* cli.h - what the files of the command share. Subcommands are rows of one table (commands.c), options rows of another
 * (options.c): parsing, --help, completion, config.json and the comparison on --resume all read those. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <espalier/dist.h>
#include <espalier/search.h>

#include <jansson.h>
#include <signal.h>
#include <stdio.h>

/* --- options ------------------------------------------------------------------------------------ */
enum { CLI_MOST_SETTINGS = 64, CLI_MOST_JOBS = 256, CLI_MOST_OPTIONS = 96 };

/* What the options of all subcommands fill in; texts are borrowed from argv, or kept (cli_keep). */
typedef struct cli_args {
    const char *space, *strategy, *data, *data_dir, *config, *out, *arch, *split, *budget, *limit, *checkpoint_every,
        *input, *first_step, *precision, *strategy_plugin, *pick, *truth, *onnx, *c, *safetensors, *host, *token,
        *token_file, *allow_host, *latency_table, *backend, *onnxruntime, *svg, *dot, *html, *md;
    const char *set[CLI_MOST_SETTINGS];
    int n_set;
    int64_t epochs, batch, seed, threads, limit_batches, limit_images, log_frequency, top, outputs, cutout, steps,
        score_steps, random, seeds, samples, jobs, shards, port, validate, keep_checkpoints;
    double lr, weight_decay, label_smoothing, drop_path, valid_share;
    bool resume, inherit, json, quiet, verbose, csv, op_times, scaling, keep_batch_norm, raw_pixels, no_proxies,
        measure_missing, help;
    bool given[CLI_MOST_OPTIONS]; /* row i of the options was on the command line */
    const char **names;           /* arguments that are no options */
    int n_names;
    const char *command_line; /* as it could be typed again */
    const struct cli_command *command;
} cli_args;

typedef enum cli_option_type { CLI_FLAG, CLI_TEXT, CLI_PATH, CLI_INT, CLI_REAL, CLI_LIST } cli_option_type;
typedef struct cli_option {
    const char *name; /* without the dashes */
    cli_option_type type;
    size_t offset;     /* in cli_args */
    const char *value; /* what stands for the value in the help */
    double min, max;
    const char *help;
    enum {
        CLI_FREE = 0,
        CLI_STORED,
        CLI_MAY_CHANGE,
        CLI_MAY_GROW
    } resume;                    /* part of config.json? what --resume lets differ */
    const char *(*words)(int i); /* possible values, for completion; NULL behind the last */
} cli_option;
extern const cli_option cli_options[]; /* CLI_MOST_OPTIONS at most */
extern const int cli_n_options;

typedef struct cli_command {
    const char *name, *summary, *arguments;
    const char *example;
    const char *options;         /* names from cli_options, separated by spaces; the common ones come by themselves */
    const char *defaults;        /* "epochs=50 batch=64" */
    int least, most;             /* arguments that are no options; most -1: any number */
    const char *(*words)(int i); /* possible values of the first argument */
    nas_status (*run)(cli_args *a);
} cli_command;
extern const cli_command cli_commands[];
extern const int cli_n_commands;
/* The row of a function below. */
const cli_command *cli_command_of(nas_status (*run)(cli_args *a));

const cli_option *cli_option_find(const char *name);
bool cli_takes(const cli_command *command, const cli_option *option);
bool cli_given(const cli_args *a, const char *name);
/* Fills `a` from the command's defaults and from argv behind the subcommand's name. */
nas_status cli_parse(const cli_command *command, int argc, char **argv, cli_args *a);
/* Sets one option from its text, with checks of type and range. */
nas_status cli_set_option(cli_args *a, const cli_option *option, const char *value);
/* The value as it would be typed, into text; NULL when the option has none. */
const char *cli_option_text(const cli_args *a, const cli_option *option, char *text, size_t size);
nas_status cli_budget(const cli_args *a, nas_budget *budget);
nas_status cli_checkpoints(const cli_args *a, nas_checkpoints *c); /* --checkpoint-every, --keep-checkpoints */

void cli_help(FILE *stream, const cli_command *command); /* NULL: of the whole command */
void cli_completion_bash(FILE *stream);

/* words of completion and "did you mean" */
const char *cli_space_word(int i);
const char *cli_strategy_word(int i);
const char *cli_data_word(int i);
/* ", did you mean \"...\"?" or "" */
const char *cli_hint(const char *name, const char *(*words)(int i), char *text, size_t size);

/* --- errors ------------------------------------------------------------------------------------- */
/* Turns the pending error into one of wrong usage (exit status 2). */
nas_status cli_as_usage(void);

/* --- memory ------------------------------------------------------------------------------------- */
/* Takes a text over until the process ends; returns it. */
const char *cli_keep(char *text);

/* --- terminal ----------------------------------------------------------------------------------- */
void cli_terminal_open(const cli_args *a);
bool cli_terminal_is_live(void);                             /* stderr is a terminal, so there is a bar */
bool cli_progress(const nas_progress *progress, void *user); /* on_step: draws the bar */
void cli_progress_end(void);
/* ANSI codes for stdout or stderr, "" when they are not wanted there */
const char *cli_bold(FILE *stream);
const char *cli_plain(FILE *stream);
void cli_note(const char *format, ...) NAS_PRINTF(1, 2); /* a line to stderr, unless --quiet */
const char *cli_duration(double seconds, char *text, size_t size);
const char *cli_count(double count, char *text, size_t size); /* 12.3 M */
/* Prints to stdout and releases; an error when stdout is closed or full. */
nas_status cli_print_json(json_t *json);

/* --- where the time goes ------------------------------------------------------------------------- */
typedef struct nas__op_times nas__op_times;
/* For each kind of operation {"name", "pass", "ms", "share", "calls", "gflop", "gb"}; means over `steps`. */
json_t *cli_op_times_json(const nas__op_times *times, int steps);
/* That as a table on stdout; NULL: nothing. */
void cli_op_times_print(json_t *ops);

/* --- threads ------------------------------------------------------------------------------------ */
/* Starts the process anew, once, with threads that wait in short spins; first thing in main(). */
void cli_wait_briefly(char **argv);

/* --- signals ------------------------------------------------------------------------------------ */
extern volatile sig_atomic_t cli_signal; /* SIGINT or SIGTERM that came, or 0 */
void cli_catch_signals(void);
void cli_stop_on_signal(nas_trainer *trainer); /* NULL: none any more */

/* --- networks and data -------------------------------------------------------------------------- */
/* A built-in space with its options. */
typedef struct cli_space {
    const nas_space_info *info;
    void *options;
    nas_space_config config;
} cli_space;
nas_status cli_space_open(cli_space *s, const char *name);
void cli_space_close(cli_space *s);
/* The options of a strategy; fields has options as text when read back. */
typedef struct cli_strategy {
    const nas_strategy_info *info;
    const struct nas_strategy *custom; /* of a plugin, which info then describes; else NULL */
    nas_strategy_info of_custom;
    json_t *values; /* name -> text, all of them */
} cli_strategy;
/* The one that --strategy-plugin or --strategy names; s stays where it is until it is closed. */
nas_status cli_strategy_open(cli_strategy *s, cli_args *a);
const struct nas_strategy *cli_plugin_open(const char *path);
void cli_strategy_close(cli_strategy *s);
char *cli_strategy_options(const cli_strategy *s); /* "a=1,b=2" */
/* Gives each --set key=value to the strategy (may be NULL) or the space. */
nas_status cli_apply_settings(const cli_args *a, cli_strategy *strategy, cli_space *space);
/* {"strategy.order": "2", "space.channels": "16", ...}: all of them */
json_t *cli_settings_json(const cli_strategy *strategy, const cli_space *space);
void cli_space_input(cli_space *s, const nas_dataset_info *info);
nas_module *cli_space_model(const cli_space *s);
/* The same with a share of its depth; for spaces that name the option which makes them deeper. */
nas_module *cli_space_shallow(const cli_space *s, double share);
/* How many shards a run has is part of it: one for each rank of now, unless something was said or the run is older. */
void cli_settle_shards(cli_args *a, bool resumed);
/* Wrong usage when --data names no known source. */
nas_status cli_data_check(const cli_args *a);
/* One part of --data, reduced to --limit-images. */
nas_dataset *cli_data_open(const cli_args *a, const char *part);
const nas_metric *cli_metrics(const nas_dataset_info *info);

/* Training images divided by seed: for weights, for choices (NULL: the strategy asks for none) and for scores. */
typedef struct cli_parts {
    nas_dataset *train, *arch, *valid;
} cli_parts;
nas_status cli_parts_open(cli_parts *p, const cli_strategy *strategy, uint64_t seed, nas_dataset *all);
const char *cli_parts_text(const cli_parts *p, char *text, size_t size); /* "3600 + 3600 + 800" */
json_t *cli_parts_json(const cli_parts *p); /* {"train": images, "arch": ..., "valid": ...} */
void cli_parts_close(cli_parts *p);

/* --- run directories ---------------------------------------------------------------------------- */
/* config.json as text (free()): the command's options, settings, versions, machine; `more` (stolen, may be NULL) is
 * added. */
char *cli_config_text(const cli_args *a, json_t *settings, json_t *more);
/* Reads DIR/config.json; NULL and an error when there is none. */
json_t *cli_config_read(const char *directory);
/* The config of the run that --resume goes on with. NULL without an error: there is none yet; with one: it is damaged
 * or another command's. */
json_t *cli_config_resumed(const cli_args *a, const char *directory);
/* Takes the options of a config (a file of --config, or a run's) where the command line gives none; `only` ("a b c"):
 * just these. */
nas_status cli_config_apply(cli_args *a, json_t *config, const char *only, const char *origin);
/* --config FILE of the arguments, if given. */
nas_status cli_config_option(cli_args *a);
/* What an earlier call in a directory has settled: refuses other options on the command line. `settings` as now,
 * `stored` the run's config; `exactly`: also those that a single run may change on --resume. */
nas_status cli_config_compare(const cli_args *a, json_t *settings, json_t *stored, const char *directory, bool exactly);
/* May a run be put there? Wrong usage when it is not empty and this is no --resume. */
nas_status cli_directory_check(const char *directory, bool resume);
nas_status cli_json_write(const char *directory, const char *name, json_t *json);
json_t *cli_json_read(const char *directory, const char *name); /* NULL without an error when the file is missing */
/* Newest retraining of a run that has finished: the run itself or RUN/retrain-K (free()). NULL and an error: retrain
 * first. */
char *cli_finished_retrain(const char *run);
/* RUN/retrain-K: the next one that is free, or (resume) the newest (free()). */
char *cli_retrain_directory(const char *run, bool resume);

/* --- retrained networks (network.c) --------------------------------------------------------------- */
/* What later subcommands need to know of a network without its data set, for config.json: shape, classes, constants. */
json_t *cli_network_json(const cli_space *space, const nas_dataset *data, const nas_transform *transform);
/* Shape of the input and number of outputs from a config of a run. */
nas_status cli_space_input_stored(cli_space *s, json_t *config, const char *directory);
/* What --input and --outputs say of it, if they are given. */
nas_status cli_input_option(const cli_args *a, nas_space_config *config);
/* The options of a run's space: name and settings of its config, unless the command line says otherwise. */
nas_status cli_space_stored(cli_space *s, cli_args *a, json_t *config, const char *directory);

typedef struct cli_network {
    char *directory;
    json_t *config;
    cli_space space;
    nas_module *model;
    nas_transform transform; /* the constants alone */
    bool regression;
} cli_network;
/* The newest finished retraining of a run; opened, ready to compute: batch norm is folded into the convolutions. Closed
 * by the caller in any case. */
nas_status cli_network_load(cli_network *n, const char *run);
nas_status cli_network_open(cli_network *n, const char *run);
/* For drawings, without a model: config has the architecture; of the newest finished retraining, else of the search
 * itself, or of --space and --arch, whose directory is NULL. */
nas_status cli_network_drawn(cli_network *n, cli_args *a);
void cli_network_close(cli_network *n);
/* Name of a class, or its number as text. */
const char *cli_class_name(const cli_network *n, int64_t index, char *text, size_t size);

/* --- retraining ----------------------------------------------------------------------------------- */
nas_precision cli_precision(const cli_args *a);
const char *cli_precision_in_effect(const cli_args *a);
/* Checks --precision, notes when it cannot be had here. */
nas_status cli_precision_check(const cli_args *a);
/* Data and budget as a retraining takes them. */
nas_status cli_retrain_check(const cli_args *a, nas_budget *budget);
/* What `espalier retrain` does with these options, printing apart; `architecture`: JSON, NULL: that of the options.
 * result.json through *result (new), also of a training whose numbers broke down (NAS_NUMERIC). */
nas_status cli_retrain_one(cli_args *a, const char *architecture, json_t **result);

/* --- the subcommands ---------------------------------------------------------------------------- */
nas_status cli_search(cli_args *a);
nas_status cli_retrain(cli_args *a);
nas_status cli_compare(cli_args *a);
nas_status cli_correlate(cli_args *a);
nas_status cli_eval(cli_args *a);
nas_status cli_predict(cli_args *a);
nas_status cli_export(cli_args *a);
nas_status cli_profile(cli_args *a);
nas_status cli_bench(cli_args *a);
nas_status cli_log(cli_args *a);
nas_status cli_ui(cli_args *a);
nas_status cli_report(cli_args *a);
nas_status cli_list(cli_args *a);
nas_status cli_doctor(cli_args *a);
nas_status cli_completion(cli_args *a);
const char *cli_list_word(int i);
const char *cli_bench_word(int i);
const char *cli_shell_word(int i);

#endif
