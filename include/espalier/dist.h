/* dist.h - one computation by several processes, called ranks, which a launcher (mpirun, srun) has started. */
#ifndef ESPALIER_DIST_H
#define ESPALIER_DIST_H

#include <espalier/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Joins the other ranks when a launcher has started this process as one of several; otherwise there is one rank, and
 * nothing happens. Call it before trainers and fits are made, from the thread that runs them, in all ranks alike: they
 * then compute together (see .shards of their configurations), and rank 0 alone writes. NAS_UNSUPPORTED when there are
 * several but MPI is not installed. */
NAS_API nas_status nas_ranks_join(void);
/* Of this process, from 0; and their number, from 1. */
NAS_API int nas_rank(void);
NAS_API int nas_ranks(void);
/* The end of all ranks' work, waited for by all. */
NAS_API void nas_ranks_leave(void);
/* Ends all ranks at once with this exit status; does not return when there are several, and does nothing when there is
 * one. For errors of one rank, which the others would wait for. */
NAS_API void nas_ranks_abort(int exit_status);

#ifdef __cplusplus
}
#endif
#endif
