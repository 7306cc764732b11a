/* cells.h - networks that are a row of cells, each on the two before it, as in NASNet and DARTS: what the spaces of
 * that kind share. */
#ifndef SPACE_SPACES_CELLS_H
#define SPACE_SPACES_CELLS_H

#include "space/spaces/spaces.h"

/* The options of such spaces. */
typedef struct nas__cells_options {
    int channels, layers, nodes, stem_multiplier;
} nas__cells_options;
#define NAS__CELLS_CHANNELS(preset)                                                                                    \
    {                                                                                                                  \
        "channels", NAS_OPTION_INT, offsetof(nas__cells_options, channels), preset, 2, 512, NULL,                      \
            "channels of the first cells; they double at each reduction"                                               \
    }
#define NAS__CELLS_LAYERS(preset)                                                                                      \
    {                                                                                                                  \
        "layers", NAS_OPTION_INT, offsetof(nas__cells_options, layers), preset, 1, 64, NULL,                           \
            "cells; the ones at a third and two thirds reduce"                                                         \
    }
#define NAS__CELLS_NODES(preset)                                                                                       \
    { "nodes", NAS_OPTION_INT, offsetof(nas__cells_options, nodes), preset, 1, 8, NULL, "intermediate nodes of a cell" }
#define NAS__CELLS_STEM(preset)                                                                                        \
    {                                                                                                                  \
        "stem_multiplier", NAS_OPTION_INT, offsetof(nas__cells_options, stem_multiplier), preset, 1, 16, NULL,         \
            "stem channels as a multiple of channels"                                                                  \
    }

/* What the cells of a space are: operations, wiring and merging of nas_cell(), two operations per node. Cells at a
 * third and two thirds of the depth reduce; networks of one or two cells have normal cells alone. */
typedef struct nas__cells {
    const char *space;
    const nas_cell_op *ops;
    int n_ops;
    nas_cell_wiring wiring;
    nas_cell_merge merge;
    nas_module *(*stem)(const nas_space_config *config, int out); /* NULL: nas__stem() of padded images */
} nas__cells;
nas_module *nas__cells_new(const nas__cells *cells, const nas_space_config *config, const nas__cells_options *o);

/* normal=|op~0|op~1|+|...|;reduce=|...|: the operation and the value before it of both terms of each node. */
char *nas__cells_string(const nas_architecture *a);
nas_architecture *nas__cells_parse(const nas_space *space, const char *text);

#endif
