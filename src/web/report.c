/* report.c - see report.h. The page finds its answers in an element of its own text instead of asking for them; they
 * are made by the functions that answer for the server. */
#include "web/report.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "web/api.h"
#include "web/page.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

enum { MOST_PARAMETERS = 8, MOST_DETAILS = 200, GZIP = 16 };

/* --- one answer ------------------------------------------------------------------------------------------- */
typedef struct query {
    char text[256];
    const char *name[MOST_PARAMETERS], *value[MOST_PARAMETERS];
    int n;
} query;

/* Of "a=1&b=2", as a server reads it from an address. */
static void parse_query(query *q, const char *text) {
    char *rest = NULL;
    snprintf(q->text, sizeof q->text, "%s", text);
    q->n = 0;
    for (char *p = strtok_r(q->text, "&", &rest); p && q->n < MOST_PARAMETERS; p = strtok_r(NULL, "&", &rest)) {
        char *value = strchr(p, '=');
        *value = 0;
        q->name[q->n] = p;
        q->value[q->n++] = value + 1;
    }
}

static const char *parameter(void *user, const char *name) {
    const query *q = user;
    for (int i = 0; i < q->n; i++) {
        if (!strcmp(q->name[i], name)) {
            return q->value[i];
        }
    }
    return NULL;
}

static json_t *ask(nas__runs *runs, const char *path, const char *text) {
    query q;
    parse_query(&q, text);
    nas__call call = {.runs = runs, .parameter = parameter, .user = &q};
    json_t *answer = nas__api_get(&call, path);
    if (!answer) {
        const char *why = json_string_value(json_object_get(json_object_get(call.error, "error"), "message"));
        nas__fail(NAS_PARSE, "%s", why ? why : "memory is out");
        json_decref(call.error);
    }
    return answer;
}

/* A report cannot ask again: `name` is what it finds the answer by, and `text` may say more than that. */
static nas_status keep(json_t *answers, nas__runs *runs, const char *path, const char *name, const char *text) {
    json_t *answer = ask(runs, path, text);
    if (answer) {
        char *key = nas__format("%s%s%s", path, *name ? "?" : "", name);
        json_object_set_new(answers, key, answer);
        free(key);
    }
    return nas_error_status();
}

/* --- all of a run ----------------------------------------------------------------------------------------- */
static const char *const costs[] = {"macs", "params", "latency_ms"};
static const char *const kinds[] = {"all", "supernet", "derived", "retrained"};
static const char *const axes[] = {"epoch", "step", "time"};

static nas_status keep_series(json_t *answers, nas__runs *runs, const char *base) {
    const json_t *metric, *metrics = json_object_get(json_object_get(answers, base), "metrics");
    char *path = nas__format("%s/series", base);
    for (size_t i = 0; path && !nas_error_status() && i < json_array_size(metrics); i++) {
        metric = json_array_get(metrics, i);
        for (int x = 0; x < 3 && !strcmp(json_string_value(json_object_get(metric, "per")), "step"); x++) {
            char name[96];
            snprintf(name, sizeof name, "metrics=%lld&x=%s&points=1000",
                     (long long)json_integer_value(json_object_get(metric, "id")), axes[x]);
            keep(answers, runs, path, name, name);
        }
    }
    free(path);
    return nas_error_status();
}

typedef struct scored {
    double score;
    int64_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *p = a, *q = b;
    return p->score != q->score ? (p->score < q->score) - (p->score > q->score) : (p->id > q->id) - (p->id < q->id);
}

/* The networks that stand in the page's list, the best of which can be opened. */
static nas_status keep_details(json_t *answers, nas__runs *runs, const char *path, const json_t *cloud, int sign) {
    const json_t *columns = json_object_get(cloud, "columns"), *ids = json_object_get(columns, "id");
    size_t n = json_array_size(ids), kept = 0;
    scored *list = nas__alloc((n + 1) * sizeof *list);
    for (size_t i = 0; list && i < n; i++) {
        double score = json_number_value(json_array_get(json_object_get(columns, "score"), i));
        list[i] = (scored){sign * score, json_integer_value(json_array_get(ids, i))};
    }
    qsort(list, list ? n : 0, sizeof *list, by_score);
    for (size_t i = 0; i < n && kept < MOST_DETAILS && !nas_error_status(); i++) {
        char *one = nas__format("%s/%lld", path, (long long)list[i].id);
        if (one && !json_object_get(answers, one)) {
            keep(answers, runs, one, "", "");
            kept++;
        }
        free(one);
    }
    free(list);
    return nas_error_status();
}

static nas_status keep_architectures(json_t *answers, nas__runs *runs, const char *base) {
    char *path = nas__format("%s/architectures", base);
    const json_t *best = json_object_get(json_object_get(answers, base), "best");
    int sign = json_integer_value(json_object_get(best, "direction")) < 0 ? -1 : 1;
    for (int i = 0; path && i < 12 && !nas_error_status(); i++) {
        char name[64], text[80];
        snprintf(name, sizeof name, "x=%s&kind=%s", costs[i / 4], kinds[i % 4]);
        snprintf(text, sizeof text, "%s&limit=2000", name);
        if (!keep(answers, runs, path, name, text)) {
            char *key = nas__format("%s?%s", path, name);
            keep_details(answers, runs, path, json_object_get(answers, key), sign);
            free(key);
        }
    }
    free(path);
    return nas_error_status();
}

static nas_status keep_run(json_t *answers, nas__runs *runs, const char *id) {
    static const char *const parts[][2] = {{"", ""},
                                           {"/space", ""},
                                           {"/epochs", "limit=10000"},
                                           {"/events", "limit=1000"},
                                           {"/probabilities", ""},
                                           {"/samples", ""},
                                           {"/profile", ""}};
    char *base = nas__format("/api/runs/%s", id);
    for (size_t i = 0; base && i < sizeof parts / sizeof *parts && !nas_error_status(); i++) {
        char *path = nas__format("%s%s", base, parts[i][0]);
        keep(answers, runs, path, "", parts[i][1]);
        free(path);
    }
    nas_status status = nas_error_status() ? nas_error_status() : keep_series(answers, runs, base);
    status = status ? status : keep_architectures(answers, runs, base);
    free(base);
    return status;
}

/* --- all runs --------------------------------------------------------------------------------------------- */
static nas_status keep_comparison(json_t *answers, nas__runs *runs, const json_t *ids) {
    static const char *const compared[] = {"epoch", "time", "evaluations", "images"};
    char list[NAS__MOST_REPORTED * (NAS__RUN_ID + 1)] = "";
    size_t i, n = 0;
    const json_t *id;
    json_array_foreach(ids, i, id) {
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? "," : "", json_string_value(id));
    }
    for (i = 0; i < 4 && !nas_error_status(); i++) {
        char name[32], text[sizeof list + 32];
        snprintf(name, sizeof name, "x=%s", compared[i]);
        snprintf(text, sizeof text, "runs=%s&%s", list, name);
        keep(answers, runs, "/api/compare", name, text);
    }
    return nas_error_status();
}

/* Before an answer is made: what cannot be read says so by its own name. */
static nas_status check(const json_t *summary) {
    const char *path = json_string_value(json_object_get(summary, "path"));
    const char *status = json_string_value(json_object_get(summary, "status"));
    const char *detail = json_string_value(json_object_get(summary, "status_detail"));
    return strcmp(status, nas__run_state_word(NAS__RUN_UNREADABLE))
               ? NAS_OK
               : nas__fail(NAS_PARSE, "%s: %s", path, detail ? detail : "cannot be read");
}

static char *date_now(void) {
    char text[32];
    time_t now = time(NULL);
    struct tm local;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M", localtime_r(&now, &local));
    return nas__strdup(text);
}

json_t *nas__report_new(int n, const char *const *directories) {
    if (n > NAS__MOST_REPORTED) {
        return nas__fail_null(NAS_USAGE, "a report holds %d runs at most, not %d", NAS__MOST_REPORTED, n);
    }
    nas__runs *runs = nas__runs_of(n, directories);
    json_t *answers = json_object(), *ids = json_array(), *list = runs ? nas__runs_list(runs) : NULL, *summary;
    char *date = date_now();
    size_t i;
    json_array_foreach(list, i, summary) {
        json_t *id = json_object_get(summary, "id");
        if (check(summary) || keep_run(answers, runs, json_string_value(id))) {
            break;
        }
        json_array_append(ids, id);
    }
    json_decref(list);
    if (runs && !nas_error_status() && !keep(answers, runs, "/api/server", "", "") &&
        !keep(answers, runs, "/api/runs", "", "limit=10000")) {
        keep_comparison(answers, runs, ids);
    }
    nas__runs_stop(runs);
    json_t *report = json_pack("{s:s, s:o, s:o}", "date", date ? date : "", "ids", ids, "answers", answers);
    free(date);
    if (nas_error_status()) {
        json_decref(report);
        return NULL;
    }
    return report;
}

/* --- the page --------------------------------------------------------------------------------------------- */
/* NUL-terminated. */
static char *unpack_page(void) {
    const unsigned char *end = nas__page + nas__page_size;
    size_t size = (size_t)end[-4] | (size_t)end[-3] << 8 | (size_t)end[-2] << 16 | (size_t)end[-1] << 24;
    char *page = nas__alloc(size + 1);
    z_stream z = {.next_in = (unsigned char *)nas__page,
                  .avail_in = (unsigned)nas__page_size,
                  .next_out = (unsigned char *)page,
                  .avail_out = (unsigned)size};
    if (!page || inflateInit2(&z, MAX_WBITS + GZIP) != Z_OK) {
        free(page);
        return NULL;
    }
    bool whole = inflate(&z, Z_FINISH) == Z_STREAM_END;
    inflateEnd(&z);
    if (!whole) {
        free(page);
        return nas__fail_null(NAS_PARSE, "the page in this command is damaged; install it again");
    }
    page[size] = 0;
    return page;
}

/* The policy of the served page, with what a file may not: it asks nobody, and frames are a matter of headers. */
static void print_policy(FILE *stream) {
    static const char self[] = "connect-src 'self'", frames[] = "; frame-ancestors 'none'";
    const char *connect = strstr(nas__page_policy, self), *rest = connect + strlen(self), *last = strstr(rest, frames);
    fprintf(stream, "<meta http-equiv=\"Content-Security-Policy\" content=\"%.*sconnect-src 'none'%.*s\">",
            (int)(connect - nas__page_policy), nas__page_policy, (int)(last - rest), rest);
}

/* Outside texts JSON has no "<": with none in them either, nothing in the data can end its element. */
static int write_escaped(const char *bytes, size_t n, void *stream) {
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '<') {
            fputs("\\u003c", stream);
        } else {
            fputc(bytes[i], stream);
        }
    }
    return ferror(stream) ? -1 : 0;
}

nas_status nas__report_html(json_t *report, const char *path) {
    static const char head[] = "<meta charset=\"utf-8\" />";
    nas__atomic_file f;
    char *page = unpack_page();
    char *rest = page ? strstr(page, head) : NULL;
    if (!rest || nas__atomic_open(&f, path)) {
        free(page);
        return nas_error_status() ? nas_error_status() : nas__fail(NAS_PARSE, "the page lacks \"%s\"", head);
    }
    rest += sizeof head - 1;
    fwrite(page, 1, (size_t)(rest - page), f.stream);
    print_policy(f.stream);
    fputs("<script type=\"application/json\" id=\"report-data\">", f.stream);
    json_dump_callback(report, write_escaped, f.stream, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputs("</script>", f.stream);
    fputs(rest, f.stream);
    free(page);
    return nas__atomic_commit(&f);
}
