/* registry.h - the table of built-in strategies. */
#ifndef SEARCH_REGISTRY_H
#define SEARCH_REGISTRY_H

#include <espalier/strategy.h>

/* All strategies, ending with NULL. */
extern const nas_strategy *const nas__strategies[];
const nas_strategy *nas__strategy_find(const char *name);
/* Does it work on this space? false without an error when it refuses it. */
bool nas__strategy_accepts(const nas_strategy *strategy, const nas_space *space);

#endif
