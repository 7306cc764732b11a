/* jobs.c - the parent's side of `--jobs N` (see jobs.h; the child's is trial.c). Each trial is a process, so that one
 * that crashes costs only itself. A child dies with its parent: by PR_SET_PDEATHSIG, and by the pipe it reads from. */
#include "cli/jobs.h"

#include "core/error.h"
#include "core/memory.h"
#include "search/trials.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct job {
    pid_t pid; /* 0: the place is free */
    int64_t number;
    int out;    /* what the child writes */
    char *text; /* of that, so far */
    size_t n;
} job;

struct cli_jobs {
    job *list;
    int n;
    const char *directory;
    char self[PATH_MAX + 1]; /* the command's file */
    nas_trial_runner runner;
};

/* --- starting ----------------------------------------------------------------------------------- */
/* SIGINT from a terminal reaches the children, too: it is for the parent to end them. */
static int spawn(const cli_jobs *jobs, int in, int out, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t about;
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTERM);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&about);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawnattr_setsigmask(&about, &held);
    posix_spawnattr_setflags(&about, POSIX_SPAWN_SETSIGMASK);
    char *const argv[] = {"espalier", "trial", "--quiet", (char *)jobs->directory, NULL};
    int code = posix_spawn(pid, jobs->self, &files, &about, argv, environ);
    posix_spawnattr_destroy(&about);
    posix_spawn_file_actions_destroy(&files);
    return code;
}

/* The child's two pipes are its own: of other children they would be held open. */
static nas_status start_process(cli_jobs *jobs, job *j, int *in) {
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    int code = pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC) ? errno : spawn(jobs, to[0], from[1], &j->pid);
    int mine[] = {to[1], from[0]}, others[] = {to[0], from[1]};
    for (int i = 0; i < 2; i++) {
        if (others[i] >= 0) {
            close(others[i]);
        }
        if (code && mine[i] >= 0) {
            close(mine[i]);
        }
    }
    *in = to[1];
    j->out = from[0];
    j->pid = code ? 0 : j->pid;
    return code ? nas__fail(NAS_IO, "no process for a trial: %s; take fewer --jobs", strerror(code)) : NAS_OK;
}

static char *request_text(const nas_trial_request *r) {
    char *architecture = nas_architecture_json(r->architecture, false);
    json_t *json = architecture ? json_pack("{s:I, s:I, s:s, s:f, s:s?}", "parent", (json_int_t)getpid(), "trial",
                                            (json_int_t)r->number, "architecture", architecture, "share", r->share,
                                            "directory", r->directory)
                                : NULL;
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(json);
    free(architecture);
    return text;
}

/* A child that dies before it has read shows as one without a result. */
static void write_all(int file, const char *text) {
    for (size_t n = strlen(text); n > 0;) {
        ssize_t written = write(file, text, n);
        if (written < 0 && errno != EINTR) {
            return;
        }
        text += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
}

static nas_status start(const nas_trial_request *request, void *user) {
    cli_jobs *jobs = user;
    job *j = jobs->list;
    while (j->pid != 0) { /* one is free: the search starts no more than there are */
        j++;
    }
    *j = (job){.number = request->number};
    char *text = request_text(request);
    int in = -1;
    nas_status status = text ? start_process(jobs, j, &in) : nas_error_status();
    if (!status) {
        write_all(in, text);
        close(in);
    }
    free(text);
    return status;
}

/* --- results ------------------------------------------------------------------------------------ */
/* What is wrong with one network costs its trial; what is wrong with the run ends it. */
static nas_status read_result(const char *text, int how, nas_trial_result *r) {
    json_t *json = text ? json_loads(text, 0, NULL) : NULL, *error = json_object_get(json, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    nas_status status = (nas_status)json_integer_value(json_object_get(error, "status"));
    if (!json && WIFSIGNALED(how)) {
        snprintf(r->failure, sizeof r->failure, "its process was ended by signal %d (%s)", WTERMSIG(how),
                 strsignal(WTERMSIG(how)));
    } else if (!json) {
        snprintf(r->failure, sizeof r->failure, "its process ended with exit status %d and no result",
                 WEXITSTATUS(how));
    } else if (message && (status == NAS_NUMERIC || status == NAS_NO_MEMORY)) {
        snprintf(r->failure, sizeof r->failure, "%s", message);
    } else if (message) {
        nas__fail(status, "trial %lld: %s", (long long)r->number, message);
    }
    nas__metrics_read(json_object_get(json, "metrics"), r->metrics);
    json_decref(json);
    return nas_error_status();
}

static int reap(job *j) {
    int how = 0;
    while (waitpid(j->pid, &how, 0) < 0 && errno == EINTR) {
    }
    close(j->out);
    j->pid = 0;
    return how;
}

/* Takes what a child has written; true when that was all. */
static bool drained(job *j) {
    char buffer[4096];
    ssize_t n = read(j->out, buffer, sizeof buffer);
    if (n > 0) {
        char *longer = realloc(j->text, j->n + (size_t)n + 1);
        if (longer) {
            memcpy(longer + j->n, buffer, (size_t)n);
            j->n += (size_t)n;
            longer[j->n] = 0;
            j->text = longer;
        }
    }
    return n == 0 || (n < 0 && errno != EINTR);
}

static nas_status ended(job *j, nas_trial_result *result) {
    *result = (nas_trial_result){.number = j->number};
    int how = reap(j);
    nas_status status = read_result(j->text, how, result);
    free(j->text);
    j->text = NULL;
    return status;
}

static nas_status wait_for_one(double seconds, nas_trial_result *result, void *user) {
    cli_jobs *jobs = user;
    struct pollfd files[CLI_MOST_JOBS];
    for (int i = 0; i < jobs->n; i++) {
        files[i] = (struct pollfd){.fd = jobs->list[i].pid ? jobs->list[i].out : -1, .events = POLLIN};
    }
    if (poll(files, (nfds_t)jobs->n, (int)ceil(1e3 * seconds)) <= 0) {
        return NAS_OK; /* nothing yet, or a signal came */
    }
    for (int i = 0; i < jobs->n; i++) {
        if (files[i].revents && drained(&jobs->list[i])) {
            return ended(&jobs->list[i], result);
        }
    }
    return NAS_OK;
}

static void cancel(void *user) {
    cli_jobs *jobs = user;
    for (int i = 0; i < jobs->n; i++) {
        job *j = &jobs->list[i];
        if (j->pid) {
            kill(j->pid, SIGKILL);
            reap(j);
        }
        free(j->text);
        j->text = NULL;
    }
}

/* --- all of them -------------------------------------------------------------------------------- */
cli_jobs *cli_jobs_new(int n, const char *directory) {
    cli_jobs *jobs = nas__alloc(sizeof *jobs);
    job *list = nas__alloc((size_t)n * sizeof *list);
    if (!jobs || !list) {
        free(jobs);
        free(list);
        return NULL;
    }
    *jobs = (cli_jobs){.list = list, .n = n, .directory = directory};
    jobs->runner = (nas_trial_runner){.jobs = n, .start = start, .wait = wait_for_one, .cancel = cancel, .user = jobs};
    if (readlink("/proc/self/exe", jobs->self, PATH_MAX) <= 0) {
        cli_jobs_free(jobs);
        return nas__fail_null(NAS_IO, "--jobs needs /proc, to start the command again");
    }
    return jobs;
}

const nas_trial_runner *cli_jobs_runner(const cli_jobs *jobs) { return &jobs->runner; }

void cli_jobs_free(cli_jobs *jobs) {
    if (jobs) {
        cancel(jobs);
        free(jobs->list);
        free(jobs);
    }
}
