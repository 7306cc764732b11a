/* mpi.c - messages by MPI: a shared object of its own, so that nothing of MPI is loaded where one process works alone
 * (docs/decisions/0018-mpi-is-loaded-when-it-is-launched.md). It knows nothing of the rest of the library. */
#include "dist/transport.h"

#include <mpi.h>
#include <stddef.h>
#include <time.h>

/* Who waits looks again and again at first, and then sleeps in between: on a processor that others need, too, a rank
 * that spins would take the time of the one that it waits for. */
enum { SPIN_US = 100, SLEEP_US = 50 };

static int ranks, own_rank;

static void wait_for(MPI_Request request) {
    double start = MPI_Wtime();
    for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE), !done;) {
        if (MPI_Wtime() - start > 1e-6 * SPIN_US) {
            nanosleep(&(struct timespec){.tv_nsec = 1000 * SLEEP_US}, NULL);
        }
    }
}

static void start(int *rank, int *size) {
    MPI_Init(NULL, NULL); /* the thread that called is the only one that sends */
    MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    *rank = own_rank;
    *size = ranks;
}

static void gather(const void *own, void *all, const int *bytes, const int *first) {
    MPI_Request request;
    MPI_Iallgatherv(own, bytes[own_rank], MPI_BYTE, all, bytes, first, MPI_BYTE, MPI_COMM_WORLD, &request);
    wait_for(request);
}

static void exchange(const float *out, const int *give, const int *give_first, float *in, const int *take,
                     const int *take_first) {
    MPI_Request request;
    MPI_Ialltoallv(out, give, give_first, MPI_FLOAT, in, take, take_first, MPI_FLOAT, MPI_COMM_WORLD, &request);
    wait_for(request);
}

static void stop(void) { MPI_Finalize(); }

static void end(int exit_status) { MPI_Abort(MPI_COMM_WORLD, exit_status); }

__attribute__((visibility("default"))) const nas__transport *nas__transport_open(int version) {
    static const nas__transport mpi = {start, gather, exchange, stop, end};
    return version == NAS__TRANSPORT_VERSION ? &mpi : NULL;
}
