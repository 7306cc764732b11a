/* The server of `espalier ui`: what it answers about a run, who it refuses, and its streams, over real sockets.
 * labels: threads */
#include "support.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/run.h"
#include "web/report.h"
#include "web/web.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *base;
static nas__web *web;

/* --- a run to look at ------------------------------------------------------------------------------------ */
static const nas__run_info info = {.kind = "search",
                                   .strategy = "darts",
                                   .space = "nb201",
                                   .data = "fashion-mnist",
                                   .space_hash = 0xabcdef,
                                   .threads = 1,
                                   .command = "espalier search",
                                   .config = "{\"epochs\": 4, \"batch\": 64}",
                                   .epochs = 4,
                                   .steps_per_epoch = 10};
static int accuracy, loss;

static nas__run *make_run(const char *name) {
    char *directory = nas__join(base, name);
    nas__run *run = nas__run_create(directory, &info);
    free(directory);
    accuracy = nas__run_metric(run, "acc1", "valid", "", 1, "epoch", true);
    loss = nas__run_metric(run, "loss", "train", "", -1, "step", false);
    return run;
}

static void play_epoch(nas__run *run, int epoch) {
    for (int step = 10 * epoch - 9; step <= 10 * epoch; step++) {
        nas__run_tick(run, step, epoch, 1, &loss, (double[]){step == 13 ? NAN : 1.0 / step});
    }
    nas__run_evaluation(run, 0, epoch, 10 * epoch, accuracy, 0.5 + 0.1 * epoch, 1, 0.1, true);
    nas__run_epoch_row row = {.epoch = epoch,
                              .step = 10 * epoch,
                              .entropy = 1.0 / epoch,
                              .skip_share = NAN,
                              .images_per_s = 100,
                              .n = 1,
                              .metrics = &accuracy,
                              .values = (double[]){0.5 + 0.1 * epoch}};
    nas__run_epoch(run, &row);
    assert_int_equal(nas__run_flush(run), NAS_OK);
}

static void finished_run(const char *name, int epochs) {
    nas__run *run = make_run(name);
    for (int epoch = 1; epoch <= epochs; epoch++) {
        play_epoch(run, epoch);
    }
    nas__run_event(run, NAS_LOG_WARN, "collapse", epochs, 10 * epochs, "<img src=x onerror=alert(1)>");
    assert_int_equal(nas__run_close(run, "finished", NULL), NAS_OK);
}

static void start(const nas__web_options *more) {
    nas__web_options options = *more;
    options.directory = base;
    options.host = options.host ? options.host : "127.0.0.1";
    web = nas__web_start(&options);
    assert_no_error();
    assert_non_null(web);
}

static int set_up(void **state) {
    (void)state;
    base = temporary_directory();
    web = NULL;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    nas__web_stop(web);
    nas_error_clear();
    remove_directory(base);
    return 0;
}

/* --- a client of the simplest kind ------------------------------------------------------------------------- */
static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)nas__web_port(web))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 10}, sizeof(struct timeval));
    return fd;
}

/* Sends bytes, reads until the server closes or `until` has come; new text. */
static char *talk(const char *request, size_t size, const char *until) {
    enum { MOST = 1 << 20 };
    int fd = dial();
    char *answer = nas__alloc(MOST);
    size_t n = 0;
    assert_true(send(fd, request, size, MSG_NOSIGNAL) >= 0);
    for (ssize_t got = 1; got > 0 && n < MOST - 1 && !(until && strstr(answer, until));
         n += got > 0 ? (size_t)got : 0) {
        got = recv(fd, answer + n, MOST - 1 - n, 0);
    }
    close(fd);
    return answer;
}

static int status_of(const char *answer) { return strncmp(answer, "HTTP/1.1 ", 9) ? 0 : atoi(answer + 9); }

static void expect_status(const char *request, int status) {
    char *answer = talk(request, strlen(request), NULL);
    if (status_of(answer) != status) {
        fail_msg("%.100s: answered %.300s, not %d", request, answer, status);
    }
    free(answer);
}

static json_t *get(const char *path) {
    char *request = nas__format("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    char *answer = talk(request, strlen(request), NULL), *body = strstr(answer, "\r\n\r\n");
    assert_non_null(body);
    json_t *json = json_loads(body + 4, 0, NULL);
    if (!json) {
        fail_msg("%s: %.500s", path, answer);
    }
    free(answer);
    free(request);
    return json;
}

static const json_t *at(const json_t *json, const char *path) {
    char *copy = nas__strdup(path), *rest = NULL;
    for (char *key = strtok_r(copy, ".", &rest); key; key = strtok_r(NULL, ".", &rest)) {
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key)) : json_object_get(json, key);
    }
    free(copy);
    return json;
}

static void expect(const char *path, const char *where, const char *expected) {
    json_t *json = get(path);
    char *got = json_dumps(at(json, where), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (!got || strcmp(got, expected)) {
        fail_msg("%s, %s: %s, not %s", path, where, got ? got : "nothing", expected);
    }
    free(got);
    json_decref(json);
}

static void wait_for_runs(int n) {
    for (int i = 0; i < 100; i++) {
        json_t *json = get("/api/runs");
        bool there = json_integer_value(at(json, "total")) == n && json_is_false(at(json, "scanning"));
        json_decref(json);
        if (there) {
            return;
        }
        usleep(100000);
    }
    fail_msg("%d runs never appeared", n);
}

static char *id_of_run(const char *name) {
    json_t *json = get("/api/runs"), *run;
    size_t i;
    char *id = NULL;
    json_array_foreach(json_object_get(json, "runs"), i, run) {
        if (!strcmp(json_string_value(json_object_get(run, "name")), name)) {
            id = nas__strdup(json_string_value(json_object_get(run, "id")));
        }
    }
    json_decref(json);
    assert_non_null(id);
    return id;
}

static void expect_of(const char *id, const char *resource, const char *where, const char *expected) {
    char *path = nas__format("/api/runs/%s%s", id, resource);
    expect(path, where, expected);
    free(path);
}

/* --- what it tells ---------------------------------------------------------------------------------------------- */
static void test_a_run(void **state) {
    (void)state;
    finished_run("one", 4);
    start(&(nas__web_options){0});
    wait_for_runs(1);
    char *id = id_of_run("one");
    expect_of(id, "", "status", "\"finished\"");
    expect_of(id, "", "best.score", "0.9");
    expect_of(id, "", "cursors.epoch", "4");
    expect_of(id, "", "health.reasons.0.code", "\"nan\"");
    expect_of(id, "", "config.batch", "64");
    expect_of(id, "/epochs?after=2", "columns.epoch", "[3,4]");
    expect_of(id, "/epochs?after=2", "columns.m1", "[0.8,0.9]");
    expect_of(id, "/epochs?after=2", "columns.skip_share", "[null,null]");
    expect_of(id, "/series?metrics=2&width=8&from=16", "series.0.columns.x", "[16,24,32,40]");
    expect_of(id, "/series?metrics=2&width=8&from=16", "series.0.columns.n", "[8,8,8,1]");
    expect_of(id, "/series?metrics=2&width=8&from=16", "series.0.columns.max", "[0.0625,0.0416667,0.03125,0.025]");
    expect_of(id, "/series?metrics=2&width=8&to=15", "series.0.bad", "1");
    expect_of(id, "/series?metrics=2&points=8", "width", "8");
    expect_of(id, "/series?metrics=1&x=epoch", "series.0.columns.mean", "[0.6,0.7,0.8,0.9]");
    expect_of(id, "/events?level=warn", "columns.message", "[\"<img src=x onerror=alert(1)>\"]");
    expect_of(id, "/events?level=error", "columns.id", "[]");
    expect_of(id, "/files/config.json", "epochs", "4");
    expect_of(id, "/files/search-result.json", "error.code", "\"no_file\"");
    expect_of(id, "/files/run.sqlite", "error.code", "\"not_found\"");
    expect_of(id, "/nothing", "error.code", "\"not_found\"");
    expect_of(id, "/series?metrics=99", "error.code", "\"no_metric\"");
    expect_of(id, "/epochs?limit=0", "error.code", "\"bad_parameter\"");
    free(id);
}

static void test_the_list(void **state) {
    (void)state;
    finished_run("bad", 1);
    finished_run("good", 4);
    finished_run("without epochs", 0);
    char *inside = nas__join(base, "broken");
    assert_int_equal(nas__make_directory(inside), NAS_OK);
    char *log = nas__join(inside, "run.sqlite");
    assert_int_equal(nas__write_file(log, "this is no database, whatever its name says", 43), NAS_OK);
    start(&(nas__web_options){0});
    wait_for_runs(4);
    expect("/api/runs?sort=best", "runs.0.name", "\"good\"");
    expect("/api/runs?sort=best&order=asc", "runs.3.name", "\"good\"");
    expect("/api/runs?status=unreadable", "total", "1");
    expect("/api/runs?status=unreadable", "runs.0.name", "\"broken\"");
    expect("/api/runs?q=goo", "total", "1");
    expect("/api/runs?sort=size", "error.code", "\"bad_parameter\"");
    char *a = id_of_run("bad"), *b = id_of_run("good"), *broken = id_of_run("broken"),
         *empty = id_of_run("without epochs");
    expect_of(broken, "", "error.code", "\"damaged\"");
    char *path = nas__format("/api/compare?runs=%s,%s", a, b);
    expect(path, "budget", "1.0");
    expect(path, "runs.0.best_at_budget", "0.6");
    expect(path, "runs.1.best_at_budget", "0.6");
    expect(path, "runs.1.best.score", "0.9");
    expect(path, "differences", "[]");
    free(path);
    path = nas__format("/api/compare?runs=%s,%s", empty, b);
    expect(path, "budget", "4.0");
    expect(path, "runs.0.best_at_budget", "null");
    expect(path, "runs.1.best_at_budget", "0.9");
    free(path);
    free(empty);
    free(a);
    free(b);
    free(broken);
    free(log);
    free(inside);
}

/* A process that is gone cannot say so: its run has crashed. */
static void test_a_crash_is_seen(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) {
        nas__run *run = make_run("dead");
        play_epoch(run, 1);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, NULL, 0);
    start(&(nas__web_options){0});
    wait_for_runs(1);
    expect("/api/runs", "runs.0.status", "\"crashed\"");
    char *id = id_of_run("dead");
    expect_of(id, "", "health.level", "\"broken\"");
    expect_of(id, "", "advice.0.command", "\"espalier search --resume\"");
    free(id);
}

/* --- whom it refuses --------------------------------------------------------------------------------------------- */
#define CLOSE "Connection: close\r\n\r\n"
static void test_refusals(void **state) {
    (void)state;
    finished_run("one", 1);
    start(&(nas__web_options){0});
    wait_for_runs(1);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 200);
    expect_status("GET /api/server HTTP/1.1\r\nHost: 127.0.0.1:99\r\n" CLOSE, 200);
    expect_status("HEAD /api/server HTTP/1.1\r\nHost: [::1]:8080\r\n" CLOSE, 200);
    expect_status("GET /api/server HTTP/1.1\r\nHost: evil.example\r\n" CLOSE, 403);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost.evil.example\r\n" CLOSE, 403);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost:80x\r\n" CLOSE, 403);
    expect_status("GET /api/server HTTP/1.0\r\n" CLOSE, 400);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n" CLOSE, 403);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n" CLOSE, 200);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n" CLOSE, 403);
    expect_status("POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" CLOSE "{}", 405);
    expect_status("DELETE /api/runs HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 405);
    expect_status("GET /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" CLOSE "{}", 413);
    expect_status("GET /api/runs/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 404);
    expect_status("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 404);
    expect_status("GET /api/runs/000000000000/files/../config.json HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 404);
    char *url = nas__alloc(1 << 20);
    memset(url, 'a', (1 << 20) - 1);
    memcpy(url, "GET /", 5);
    char *answer = talk(url, strlen(url), NULL);
    assert_true(status_of(answer) == 414 || status_of(answer) == 0 || status_of(answer) == 431);
    free(answer);
    free(url);
    static const char nul[] = "GET /api\0/runs HTTP/1.1\r\nHost: localhost\r\n\r\n";
    answer = talk(nul, sizeof nul - 1, "\r\n\r\n");
    assert_int_not_equal(status_of(answer), 200);
    free(answer);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 200); /* still there */
}

static void test_token(void **state) {
    (void)state;
    start(&(nas__web_options){.token = "correct-horse"});
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\n" CLOSE, 401);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong-horse!\r\n" CLOSE, 401);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-hors\r\n" CLOSE, 401);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse\r\n" CLOSE, 200);
    expect_status("GET /api/server HTTP/1.1\r\nHost: localhost\r\nCookie: espalier_token=correct-horse\r\n" CLOSE, 200);
    static const char enter[] = "GET /?token=correct-horse HTTP/1.1\r\nHost: localhost\r\n" CLOSE;
    char *answer = talk(enter, sizeof enter - 1, NULL);
    assert_int_equal(status_of(answer), 303);
    assert_non_null(strstr(answer, "espalier_token=correct-horse; HttpOnly; SameSite=Strict"));
    free(answer);
    int refused = 0;
    for (int i = 0; i < 20; i++) {
        static const char guess[] =
            "GET /api/server HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\n" CLOSE;
        answer = talk(guess, sizeof guess - 1, NULL);
        refused += status_of(answer) == 429;
        free(answer);
    }
    assert_true(refused > 0);
}

static void test_wrong_options(void **state) {
    (void)state;
    assert_null(nas__web_start(&(nas__web_options){.directory = base, .host = "0.0.0.0"}));
    assert_error(NAS_USAGE, "--token");
    assert_null(nas__web_start(&(nas__web_options){.directory = base, .host = "127.0.0.1", .token = "short"}));
    assert_error(NAS_USAGE, "--token");
    assert_null(nas__web_start(&(nas__web_options){.directory = base, .host = "nowhere", .token = "long-enough"}));
    assert_error(NAS_USAGE, "is no address");
    start(&(nas__web_options){0});
    nas__web_options taken = {.directory = base, .host = "127.0.0.1", .port = nas__web_port(web), .exact_port = true};
    assert_null(nas__web_start(&taken));
    assert_error(NAS_IO, "cannot be listened at");
    taken.exact_port = false;
    nas__web *second = nas__web_start(&taken);
    assert_non_null(second);
    assert_true(nas__web_port(second) > nas__web_port(web));
    nas__web_stop(second);
}

static void test_page(void **state) {
    (void)state;
    start(&(nas__web_options){0});
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n" CLOSE;
    char *answer = talk(request, sizeof request - 1, NULL);
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "Content-Security-Policy: default-src 'none'; script-src 'sha256-"));
    assert_non_null(strstr(answer, "frame-ancestors 'none'"));
    assert_non_null(strstr(answer, "X-Content-Type-Options: nosniff"));
    free(answer);
}

/* --- reports ---------------------------------------------------------------------------------------------------- */
/* The data of a report is what the server answers, whatever names the runs have; nothing in it ends its element. */
static void test_report(void **state) {
    (void)state;
    finished_run("one", 4);
    finished_run("<script>|x", 2);
    char *one = nas__join(base, "one"), *other = nas__join(base, "<script>|x");
    char *html = nas__join(base, "report.html"), *md = nas__join(base, "report.md"), *svg = NULL;
    json_t *report = nas__report_new(2, (const char *[]){one, other});
    assert_non_null(report);
    assert_int_equal(nas__report_html(report, html), NAS_OK);
    assert_int_equal(nas__report_markdown(report, md, &svg), NAS_OK);

    char *text = nas__read_file(html, NULL), *table = nas__read_file(md, NULL), *picture = nas__read_file(svg, NULL);
    static const char begins[] = "<script type=\"application/json\" id=\"report-data\">";
    char *data = strstr(text, begins), *end = data ? strstr(data, "</script>") : NULL;
    assert_non_null(end);
    assert_non_null(strstr(text, "connect-src 'none'"));
    assert_null(strstr(text, "frame-ancestors"));
    data += sizeof begins - 1;
    assert_null(memchr(data, '<', (size_t)(end - data)));
    json_t *read = json_loadb(data, (size_t)(end - data), 0, NULL);
    char *told = json_dumps(read, JSON_REAL_PRECISION(6)), *meant = json_dumps(report, JSON_REAL_PRECISION(6));
    assert_string_equal(told, meant);
    json_t *list = json_object_get(json_object_get(read, "answers"), "/api/runs");
    assert_int_equal(json_integer_value(json_object_get(list, "total")), 2);
    const char *id = json_string_value(json_array_get(json_object_get(read, "ids"), 0));
    char *key = nas__format("/api/runs/%s/series?metrics=%d&x=step&points=1000", id, loss);
    assert_int_equal(json_array_size(at(json_object_get(json_object_get(read, "answers"), key), "series.0.columns.x")),
                     40);
    assert_non_null(strstr(table, "| one | finished | darts | nb201 | fashion-mnist | 0.9000 | valid acc1 | 0.7000 |"));
    assert_non_null(strstr(table, "| \\<script\\>\\|x |"));
    assert_null(strstr(picture, "<script>"));

    assert_null(nas__report_new(1, (const char *[]){"nowhere"}));
    assert_non_null(strstr(nas_error_message(), "nowhere"));
    assert_int_equal(nas__report_markdown(report, svg, &(char *){NULL}), NAS_USAGE);
    nas_error_clear();
    json_decref(read);
    json_decref(report);
    void *texts[] = {one, other, html, md, svg, text, table, picture, key, told, meant};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(texts[i]);
    }
}

/* --- streams ---------------------------------------------------------------------------------------------------- */
static int count(const char *text, const char *word) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)); p++) {
        n++;
    }
    return n;
}

static char *stream(const char *id, const char *last, const char *until) {
    char *request = nas__format("GET /api/runs/%s/stream HTTP/1.1\r\nHost: localhost\r\n%s\r\n", id, last);
    char *answer = talk(request, strlen(request), until);
    free(request);
    return answer;
}

/* A client that joins gets all epochs once and in order, one that comes back only what it missed. */
static void test_stream(void **state) {
    (void)state;
    nas__run *run = make_run("live");
    play_epoch(run, 1);
    start(&(nas__web_options){0});
    wait_for_runs(1);
    char *id = id_of_run("live");
    pid_t reader = fork(); /* reads while the run goes on */
    if (!reader) {
        char *answer = stream(id, "", "id: 1.3.0");
        _exit(count(answer, "event: epoch") == 3 && count(answer, "event: hello") == 1 &&
                      strstr(answer, "id: 1.1.0") < strstr(answer, "id: 1.2.0") &&
                      strstr(answer, "id: 1.2.0") < strstr(answer, "id: 1.3.0")
                  ? 0
                  : 1);
    }
    usleep(300000);
    play_epoch(run, 2);
    usleep(300000);
    play_epoch(run, 3);
    int result = 1;
    waitpid(reader, &result, 0);
    assert_int_equal(result, 0);
    char *answer = stream(id, "Last-Event-ID: 1.2.0\r\n", "event: status");
    assert_int_equal(count(answer, "event: epoch"), 1);
    assert_non_null(strstr(answer, "\"epoch\":3"));
    assert_non_null(strstr(answer, "\"status\":\"running\""));
    free(answer);
    answer = stream("000000000000", "", "}}");
    assert_int_equal(status_of(answer), 404);
    free(answer);
    nas__run_close(run, "finished", NULL);
    answer = stream(id, "Last-Event-ID: 1.3.0\r\n", "\"finished\"");
    assert_non_null(strstr(answer, "\"status\":\"finished\""));
    free(answer);
    free(id);
}

static void test_resume_resets_streams(void **state) {
    (void)state;
    finished_run("again", 3);
    char *directory = nas__join(base, "again");
    nas__run *run = nas__run_resume(directory, &info, 2, 20);
    assert_non_null(run);
    start(&(nas__web_options){0});
    wait_for_runs(1);
    char *id = id_of_run("again"), *answer = stream(id, "Last-Event-ID: 1.3.0\r\n", "event: status");
    assert_non_null(strstr(answer, "event: reset"));
    assert_non_null(strstr(answer, "id: 2.2.0"));
    assert_int_equal(count(answer, "event: epoch"), 2);
    free(answer);
    free(id);
    free(directory);
    nas__run_close(run, "stopped", NULL);
}

/* Streams that are open do not keep the server from ending, and are told. */
static void test_end(void **state) {
    (void)state;
    finished_run("one", 1);
    start(&(nas__web_options){0});
    wait_for_runs(1);
    int fd[8];
    for (int i = 0; i < 8; i++) {
        static const char request[] = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
        fd[i] = dial();
        assert_true(send(fd[i], request, sizeof request - 1, 0) > 0);
    }
    usleep(500000);
    nas__web_stop(web);
    web = NULL;
    for (int i = 0; i < 8; i++) {
        char text[8192] = "";
        size_t n = 0;
        for (ssize_t got; n < sizeof text - 1 && (got = recv(fd[i], text + n, sizeof text - 1 - n, 0)) > 0;) {
            n += (size_t)got;
        }
        assert_non_null(strstr(text, "event: run"));
        assert_non_null(strstr(text, "event: bye"));
        close(fd[i]);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_crash_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_options, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resume_resets_streams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
