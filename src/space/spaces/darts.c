/* darts.c - the cell space of DARTS (Liu, Simonyan, Yang, ICLR 2019): normal and reduction cells, every edge a choice
 * of eight operations, every node two of its inputs. */
#include "space/spaces/cell_ops.h"
#include "space/spaces/cells.h"

static const nas_cell_op ops[] = {
    {"none", nas__op_none, NAS_CELL_ZERO},
    {"max_pool_3x3", nas__op_max_pool_3x3, NAS_CELL_OP},
    {"avg_pool_3x3", nas__op_avg_pool_3x3, NAS_CELL_OP},
    {"skip_connect", nas__op_skip, NAS_CELL_IDENTITY},
    {"sep_conv_3x3", nas__op_sep_3x3, NAS_CELL_OP},
    {"sep_conv_5x5", nas__op_sep_5x5, NAS_CELL_OP},
    {"dil_conv_3x3", nas__op_dil_3x3, NAS_CELL_OP},
    {"dil_conv_5x5", nas__op_dil_5x5, NAS_CELL_OP},
};

static const nas__cells cells = {.space = "darts",
                                 .ops = ops,
                                 .n_ops = sizeof ops / sizeof *ops,
                                 .wiring = NAS_CELL_EDGES,
                                 .merge = NAS_CELL_CONCAT};

static nas_module *build(const nas_space_config *config, const void *options) {
    return nas__cells_new(&cells, config, options);
}

static const nas_option options_table[] = {
    NAS__CELLS_CHANNELS("16"), NAS__CELLS_LAYERS("8"), NAS__CELLS_NODES("4"), NAS__CELLS_STEM("3"), {NULL},
};

const nas_space_info nas__space_darts = {
    .name = "darts",
    .summary = "DARTS: normal and reduction cells, eight operations on every edge, two inputs per node",
    .paper = "Liu, Simonyan and Yang, DARTS, ICLR 2019, arXiv 1806.09055",
    .options = options_table,
    .options_size = sizeof(nas__cells_options),
    .build = build,
    .depth = "layers",
    .canonical = nas__cells_string,
    .parse = nas__cells_parse,
};
