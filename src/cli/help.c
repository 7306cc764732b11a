/* help.c - --help and shell completion, from the tables. */
#include "cli/cli.h"

#include "core/error.h"

#include <string.h>

/* The default of an option in "a=1 b=2"; its length through *n. */
static const char *default_of(const cli_command *command, const char *name, int *n) {
    size_t length = strlen(name);
    for (const char *p = command->defaults; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        if (strncmp(p, name, length) == 0 && p[length] == '=') {
            *n = (int)strcspn(p + length + 1, " ");
            return p + length + 1;
        }
    }
    return NULL;
}

static void print_option(FILE *stream, const cli_command *command, const cli_option *option) {
    char left[64];
    int n = 0;
    const char *initial = default_of(command, option->name, &n);
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
    fprintf(stream, "  %-28s %s", left, option->help);
    if (initial) {
        fprintf(stream, " (default %.*s)", n, initial);
    }
    fputc('\n', stream);
}

static void help_all(FILE *stream) {
    fprintf(stream,
            "%sespalier%s %s: neural architecture search on CPUs\n\nusage: espalier COMMAND [options]\n\ncommands:\n",
            cli_bold(stream), cli_plain(stream), nas_version());
    for (int i = 0; i < cli_n_commands; i++) {
        fprintf(stream, "  %-12s %s\n", cli_commands[i].name, cli_commands[i].summary);
    }
    fprintf(stream,
            "\n`espalier COMMAND --help` (or `espalier help COMMAND`) shows a command's options and an example.\n"
            "First steps: espalier doctor, then: %s\n",
            cli_commands[0].example);
}

void cli_help(FILE *stream, const cli_command *command) {
    if (!command) {
        help_all(stream);
        return;
    }
    fprintf(stream, "%sespalier %s%s: %s\n\nusage: espalier %s%s%s [options]\n\noptions:\n", cli_bold(stream),
            command->name, cli_plain(stream), command->summary, command->name, *command->arguments ? " " : "",
            command->arguments);
    for (int i = 0; i < cli_n_options; i++) {
        if (cli_takes(command, &cli_options[i])) {
            print_option(stream, command, &cli_options[i]);
        }
    }
    fprintf(stream, "\nexample:\n  %s\n\nexit status: 0 done, 1 failed, 2 wrong usage%s\n", command->example,
            cli_takes(command, cli_option_find("out")) ? ", 130 or 143 ended by a signal" : "");
}

static void print_words(FILE *stream, const char *(*words)(int i)) {
    for (int i = 0; words && words(i); i++) {
        fprintf(stream, "%s%s", i ? " " : "", words(i));
    }
}

static void complete_command(FILE *stream, const cli_command *command) {
    fprintf(stream, "    %s) words=\"", command->name);
    for (int i = 0; i < cli_n_options; i++) {
        if (cli_takes(command, &cli_options[i])) {
            fprintf(stream, "--%s ", cli_options[i].name);
        }
    }
    print_words(stream, command->words);
    fputs("\" ;;\n", stream);
}

void cli_completion_bash(FILE *stream) {
    fputs("# bash completion of espalier; made by `espalier completion bash`\n"
          "_espalier() {\n"
          "  local words=\"\" current=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
          "  COMPREPLY=()\n"
          "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "    words=\"help",
          stream);
    for (int i = 0; i < cli_n_commands; i++) {
        fprintf(stream, " %s", cli_commands[i].name);
    }
    fputs("\"\n  else\n    case \"$before\" in\n", stream);
    for (int i = 0; i < cli_n_options; i++) {
        if (cli_options[i].words) {
            fprintf(stream, "    --%s) words=\"", cli_options[i].name);
            print_words(stream, cli_options[i].words);
            fputs("\" ;;\n", stream);
        }
    }
    fputs("    *) case \"${COMP_WORDS[1]}\" in\n", stream);
    for (int i = 0; i < cli_n_commands; i++) {
        complete_command(stream, &cli_commands[i]);
    }
    fputs("    esac ;;\n    esac\n  fi\n"
          "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
          "}\n"
          "complete -o default -F _espalier espalier\n",
          stream);
}

const char *cli_shell_word(int i) { return i == 0 ? "bash" : NULL; }

nas_status cli_completion(cli_args *a) {
    if (strcmp(a->names[0], "bash") != 0) {
        char hint[512];
        return nas__fail(NAS_USAGE, "no completion for \"%s\"%s", a->names[0],
                         cli_hint(a->names[0], cli_shell_word, hint, sizeof hint));
    }
    cli_completion_bash(stdout);
    return NAS_OK;
}
