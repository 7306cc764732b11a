/* foldable.h - the batch norms of a model that folding would drop. */
#ifndef IO_FOLDABLE_H
#define IO_FOLDABLE_H

#include <espalier/nn.h>

typedef struct nas__foldable nas__foldable;
nas__foldable *nas__foldable_new(nas_module *model); /* NULL and an error when memory is out */
void nas__foldable_free(nas__foldable *f);           /* NULL is fine */
/* Is that the running mean of one of them? */
bool nas__foldable_has(const nas__foldable *f, const nas_tensor *mean); /* or its first channels */

#endif
