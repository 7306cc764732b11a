/* main.c - picks the subcommand, runs it, and turns its status into the exit status. */
#include "cli/jobs.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct kept {
    struct kept *next;
    char *text;
} * all_kept;

const char *cli_keep(char *text) {
    struct kept *k = text ? nas__alloc(sizeof *k) : NULL;
    if (k) {
        *k = (struct kept){all_kept, text};
        all_kept = k;
    }
    return text;
}

static void free_kept(void) {
    while (all_kept) {
        struct kept *k = all_kept;
        all_kept = k->next;
        free(k->text);
        free(k);
    }
}

static const char *command_word(int i) {
    return i < cli_n_commands ? cli_commands[i].name : i == cli_n_commands ? "help" : NULL;
}

static const cli_command *find_command(const char *name) {
    for (int i = 0; i < cli_n_commands; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return &cli_commands[i];
        }
    }
    if (strcmp(cli_trial_command.name, name) == 0) {
        return &cli_trial_command;
    }
    char hint[512];
    return nas__fail_null(NAS_USAGE, "unknown command \"%s\"%s", name, cli_hint(name, command_word, hint, sizeof hint));
}

/* 0 done, 1 failed, 2 wrong usage, 128 + signal. */
static int exit_code(const char *command) {
    if (nas_error_status()) {
        char rank[32] = "";
        if (nas_ranks() > 1) {
            snprintf(rank, sizeof rank, " (rank %d)", nas_rank());
        }
        if (nas_rank() > 0) {
            sleep(1); /* what has hit all ranks is told, and ended, by rank 0 */
        }
        cli_progress_end();
        fprintf(stderr, "%sespalier%s%s%s: error:%s %s\n", cli_bold(stderr), command ? " " : "", command ? command : "",
                rank, cli_plain(stderr), nas_error_message());
        int code = nas_error_status() == NAS_USAGE ? 2 : 1;
        nas_ranks_abort(code);
        return code;
    }
    if (fflush(stdout)) {
        fprintf(stderr, "espalier: error: stdout cannot be written\n");
        return 1;
    }
    return cli_signal ? 128 + cli_signal : 0;
}

/* argv as it could be typed again */
static char *quote(int argc, char **argv) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; out && i < argc; i++) {
        bool plain =
            argv[i][0] && strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,+@%") ==
                              strlen(argv[i]);
        fputs(i ? " " : "", out);
        if (plain) {
            fputs(argv[i], out);
            continue;
        }
        fputc('\'', out);
        for (const char *p = argv[i]; *p; p++) {
            fputs(*p == '\'' ? "'\\''" : (char[]){*p, 0}, out);
        }
        fputc('\'', out);
    }
    if (out) {
        fclose(out);
    }
    return text;
}

/* Joins the other ranks of a launcher, where the command has work for several. Only rank 0 is heard. */
static nas_status join(const cli_command *command, cli_args *a) {
    nas_status status = cli_takes(command, cli_option_find("shards")) ? nas_ranks_join() : NAS_OK;
    if (nas_rank() > 0) {
        a->quiet = true;
        a->verbose = false;
        status = freopen("/dev/null", "w", stdout) ? status : nas__fail(NAS_IO, "/dev/null cannot be opened");
    }
    return status;
}

static int run_command(const char *name, int argc, char **argv) {
    cli_args a = {0};
    const cli_command *command = find_command(name);
    char *line = quote(argc, argv);
    a.command_line = line;
    if (command && !cli_parse(command, argc - 2, argv + 2, &a)) {
        if (a.help) {
            cli_help(stdout, command);
        } else if (!join(command, &a)) {
            cli_terminal_open(&a);
            cli_catch_signals();
            nas_set_threads((int)a.threads);
            command->run(&a);
        }
    }
    int code = exit_code(command ? command->name : NULL);
    nas_ranks_leave();
    free(a.names);
    free(line);
    free_kept();
    return code;
}

static int help_command(int argc, char **argv) {
    const cli_command *command = argc > 2 ? find_command(argv[2]) : NULL;
    if (!nas_error_status()) {
        cli_help(stdout, command);
    }
    return exit_code(NULL);
}

int main(int argc, char **argv) {
    cli_wait_briefly(argv);
    if (argc < 2) {
        cli_help(stderr, NULL);
        return 2;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return help_command(argc, argv);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("espalier %s\n", nas_version());
        return 0;
    }
    return run_command(argv[1], argc, argv);
}
