/* signals.c - Ctrl-C and SIGTERM end a run cleanly; a second one ends the process at once. */
#include "cli/cli.h"

#include <stddef.h>
#include <unistd.h>

volatile sig_atomic_t cli_signal;
static nas_trainer *volatile running;

static void on_signal(int number) {
    if (cli_signal) {
        static const char text[] = "\nespalier: ended at once; what a run did since its last checkpoint is lost "
                                   "(--resume goes on from there)\n";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0) { /* nobody listens: nothing to do */
        }
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    cli_signal = number;
    nas_trainer *trainer = running;
    if (trainer) {
        nas_trainer_stop(trainer);
    }
}

void cli_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed stdout is an error like any other */
}

void cli_stop_on_signal(nas_trainer *trainer) {
    running = trainer;
    if (trainer && cli_signal) { /* it came before there was a trainer */
        nas_trainer_stop(trainer);
    }
}
