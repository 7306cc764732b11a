/* ranks.c - finding out that there are others, and exchanging numbers with them. */
#include "dist/ranks.h"
#include "dist/transport.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const nas__transport *transport; /* NULL: one rank */
static int rank, ranks = 1;
static nas__ranks_use used;

int nas_rank(void) { return rank; }
int nas_ranks(void) { return ranks; }
nas__ranks_use nas__ranks_used(void) { return used; }

/* --- joining ------------------------------------------------------------------------------------- */
static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

/* Launchers tell their processes how many there are: Open MPI's mpirun, those that speak PMI (MPICH, Intel MPI, srun
 * --mpi=pmi2), and srun --mpi=pmix. */
static int launched(void) {
    int n = number("OMPI_COMM_WORLD_SIZE");
    n = n ? n : number("PMI_SIZE");
    return n ? n : getenv("PMIX_RANK") ? number("SLURM_NTASKS") : 1;
}

static const nas__transport *load(const char *path) {
    /* MPI loads parts of its own, which look for its names */
    void *object = access(path, R_OK) ? NULL : dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    union {
        void *object;
        const nas__transport *(*function)(int);
    } open = {object ? dlsym(object, "nas__transport_open") : NULL};
    return open.object ? open.function(NAS__TRANSPORT_VERSION) : NULL;
}

static const nas__transport *load_beside(const char *file) {
    char path[PATH_MAX + 1];
    const char *slash = strrchr(file, '/');
    if (!slash || (size_t)(slash - file) + sizeof "/espalier-mpi.so" > sizeof path) {
        return NULL;
    }
    memcpy(path, file, (size_t)(slash - file));
    strcpy(path + (slash - file), "/espalier-mpi.so");
    return load(path);
}

/* Beside the program or the library (a build folder), or where it is installed. */
static const nas__transport *find(void) {
    char self[PATH_MAX + 1] = "";
    Dl_info info;
    const nas__transport *t = readlink("/proc/self/exe", self, PATH_MAX) > 0 ? load_beside(self) : NULL;
    t = t ? t : dladdr((void *)&used, &info) && info.dli_fname ? load_beside(info.dli_fname) : NULL;
    return t ? t : load(ESPALIER_PLUGIN_DIR "/espalier-mpi.so");
}

nas_status nas_ranks_join(void) {
    int n = transport ? 1 : launched();
    if (n <= 1) {
        return NAS_OK;
    }
    transport = find();
    if (!transport) {
        const char *why = dlerror();
        return nas__fail(NAS_UNSUPPORTED,
                         "this is one of %d ranks, but MPI cannot be used: %s; build where MPI is installed (Debian: "
                         "libopenmpi-dev), or start without a launcher",
                         n, why ? why : "espalier-mpi.so was not built");
    }
    transport->start(&rank, &ranks);
    return NAS_OK;
}

void nas_ranks_leave(void) {
    if (transport) {
        transport->stop();
        transport = NULL;
        rank = 0;
        ranks = 1;
    }
}

void nas_ranks_abort(int exit_status) {
    if (transport) {
        transport->abort(exit_status);
    }
}

/* --- exchanging ---------------------------------------------------------------------------------- */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

nas__own_parts nas__parts_of(int r, int parts) {
    int first = (int)((int64_t)r * parts / ranks), end = (int)((int64_t)(r + 1) * parts / ranks);
    return (nas__own_parts){first, end - first};
}

/* Counts and offsets, one of each for every rank: `lists` of them, in one piece. */
static int *numbers(int lists) { return nas__alloc((size_t)lists * (size_t)ranks * sizeof(int)); }

static nas_status too_large(size_t count) {
    return nas__fail(NAS_UNSUPPORTED, "a message of %zu numbers: ranks exchange up to 2^31 bytes at a time", count);
}

nas_status nas__ranks_gather(int parts, size_t count, const double *own, double *all) {
    if (ranks == 1) {
        memcpy(all, own, (size_t)parts * count * sizeof *all);
        return NAS_OK;
    }
    if ((double)parts * (double)count * sizeof *all > INT_MAX) {
        return too_large(count);
    }
    int *bytes = numbers(2), *first = bytes + ranks;
    if (!bytes) {
        return nas_error_status();
    }
    for (int r = 0; r < ranks; r++) {
        nas__own_parts p = nas__parts_of(r, parts);
        bytes[r] = (int)((size_t)p.n * count * sizeof *all);
        first[r] = (int)((size_t)p.first * count * sizeof *all);
    }
    double start = now();
    transport->gather(own, all, bytes, first);
    used.seconds += now() - start;
    used.bytes += bytes[rank];
    used.messages++;
    free(bytes);
    return NAS_OK;
}

nas_status nas__ranks_gather_each(size_t count, const double *own, double *all) {
    return nas__ranks_gather(ranks, count, own, all);
}

/* Plain additions, so that no compiler can fuse them with anything. */
static void add_in_order(int n, size_t count, const float *terms, float *sum) {
    memcpy(sum, terms, count * sizeof *sum);
    for (int k = 1; k < n; k++) {
        const float *term = terms + (size_t)k * count;
        for (size_t i = 0; i < count; i++) {
            sum[i] += term[i];
        }
    }
}

static size_t slice_begin(size_t count, int r) {
    return count / (size_t)ranks * (size_t)r + count % (size_t)ranks * (size_t)r / (size_t)ranks;
}

/* Every rank adds up one slice of all parts, in their order, and gives it to all. */
static void sum_by_slices(int parts, size_t count, const float *own, float *sum, float *out, float *in, int *lists) {
    int *give = lists, *give_first = give + ranks, *take = give_first + ranks, *take_first = take + ranks,
        *bytes = take_first + ranks, *first = bytes + ranks;
    nas__own_parts mine = nas__parts_of(rank, parts);
    size_t begin = slice_begin(count, rank), size = slice_begin(count, rank + 1) - begin, at = 0;
    for (int r = 0; r < ranks; r++) {
        size_t from = slice_begin(count, r), n = slice_begin(count, r + 1) - from;
        nas__own_parts theirs = nas__parts_of(r, parts);
        give[r] = (int)((size_t)mine.n * n);
        give_first[r] = (int)at;
        take[r] = (int)((size_t)theirs.n * size);
        take_first[r] = (int)((size_t)theirs.first * size);
        bytes[r] = (int)(n * sizeof *sum);
        first[r] = (int)(from * sizeof *sum);
        for (int k = 0; k < mine.n; k++, at += n) {
            memcpy(out + at, own + (size_t)k * count + from, n * sizeof *out);
        }
    }
    double start = now();
    transport->exchange(out, give, give_first, in, take, take_first);
    used.seconds += now() - start;
    add_in_order(parts, size, in, out);
    start = now();
    transport->gather(out, sum, bytes, first);
    used.seconds += now() - start;
    used.bytes += (double)(at - (size_t)give[rank] + size) * sizeof *sum;
    used.messages += 2;
}

nas_status nas__ranks_sum(int parts, size_t count, const float *own, float *sum) {
    if (ranks == 1) {
        add_in_order(parts, count, own, sum);
        return NAS_OK;
    }
    if ((double)parts * (double)count * sizeof *sum > INT_MAX) {
        return too_large(count);
    }
    int n = nas__parts_of(rank, parts).n, *lists = numbers(6);
    size_t slice = count / (size_t)ranks + 1, sent = (size_t)n * count;
    nas__buffer *out = nas__buffer_new((sent > slice ? sent : slice) * sizeof(float)),
                *in = nas__buffer_new((size_t)parts * slice * sizeof(float));
    if (lists && out && in) {
        sum_by_slices(parts, count, own, sum, out->data, in->data, lists);
    }
    nas__buffer_unref(out);
    nas__buffer_unref(in);
    free(lists);
    return nas_error_status();
}
