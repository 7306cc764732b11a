/* transport.h - the table of functions by which messages travel, filled by a shared object that is loaded when a
 * launcher has started several ranks. Errors end all ranks, with the transport's own message. */
#ifndef DIST_TRANSPORT_H
#define DIST_TRANSPORT_H

enum { NAS__TRANSPORT_VERSION = 1 };

typedef struct nas__transport {
    void (*start)(int *rank, int *ranks);
    /* Everybody's bytes, in the order of the ranks, to everybody: rank r gives bytes[r], which come to all + first[r].
     */
    void (*gather)(const void *own, void *all, const int *bytes, const int *first);
    /* give[r] floats from out + give_first[r] to rank r, take[r] floats from it to in + take_first[r]. */
    void (*exchange)(const float *out, const int *give, const int *give_first, float *in, const int *take,
                     const int *take_first);
    void (*stop)(void);
    void (*abort)(int exit_status);
} nas__transport;

/* What the shared object defines; NULL for a version that it does not know. */
const nas__transport *nas__transport_open(int version);

#endif
