/* shards.h - passes over a batch that is cut into shards, computed by one rank or by several (dist/). The unit of
 * computation is one shard, and what shards give is added in their order: the result has the same bits for any number
 * of ranks. Batch norm sees the whole batch; so do loss, penalty and reward, which every rank computes from the outputs
 * of all shards. */
#ifndef SEARCH_SHARDS_H
#define SEARCH_SHARDS_H

#include <espalier/dist.h>
#include <espalier/search.h>

typedef struct nas__shards nas__shards;

typedef struct nas__shard_pass {
    const nas_tape_config *config;
    const nas_batch *batch; /* of which this rank's shards are filled */
    const nas_dataset_info *info;
    nas_module *model;
    nas_space *space; /* NULL: the model has no choices */
    /* The loss of the whole batch, on a tape of its own; NULL and an error on failure. */
    nas_tensor *(*objective)(void *user, nas_tensor *output, nas_tensor *target);
    void *user;
} nas__shard_pass;

/* NULL without an error: one shard, and one rank, which need none of this. shards 0: one for each rank. */
nas__shards *nas__shards_new(int shards, int64_t batch_size);
void nas__shards_free(nas__shards *s);
int nas__shards_count(const nas__shards *s); /* 1 for NULL */
/* Which part of each batch a loader has to fill, and that no batch has fewer images than there are shards. */
void nas__shards_loader(const nas__shards *s, nas_loader_config *config);
/* Forward and backward pass. `tape` is the current one, with the weights of the space's decisions, if they have some:
 * what these and variables are differentiated for goes back through it. */
nas_status nas__shards_pass(nas__shards *s, nas_tape *tape, const nas__shard_pass *pass);

#endif
