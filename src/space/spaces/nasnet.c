/* nasnet.c - the cell space of NASNet (Zoph, Vasudevan, Shlens, Le, CVPR 2018): every node adds up two of thirteen
 * operations, each on any value before it; the nodes that none reads are the cell's output. */
#include "space/spaces/cell_ops.h"
#include "space/spaces/cells.h"

static const nas_cell_op ops[] = {
    {"skip_connect", nas__op_skip, NAS_CELL_IDENTITY},   {"conv_3x1_1x3", nas__op_conv_3x1_1x3, NAS_CELL_OP},
    {"conv_7x1_1x7", nas__op_conv_7x1_1x7, NAS_CELL_OP}, {"dil_conv_3x3", nas__op_dil_3x3, NAS_CELL_OP},
    {"avg_pool_3x3", nas__op_avg_pool_3x3, NAS_CELL_OP}, {"max_pool_3x3", nas__op_max_pool_3x3, NAS_CELL_OP},
    {"max_pool_5x5", nas__op_max_pool_5x5, NAS_CELL_OP}, {"max_pool_7x7", nas__op_max_pool_7x7, NAS_CELL_OP},
    {"conv_1x1", nas__op_conv_1x1, NAS_CELL_OP},         {"conv_3x3", nas__op_conv_3x3, NAS_CELL_OP},
    {"sep_conv_3x3", nas__op_sep_3x3, NAS_CELL_OP},      {"sep_conv_5x5", nas__op_sep_5x5, NAS_CELL_OP},
    {"sep_conv_7x7", nas__op_sep_7x7, NAS_CELL_OP},
};

static const nas__cells cells = {.space = "nasnet",
                                 .ops = ops,
                                 .n_ops = sizeof ops / sizeof *ops,
                                 .wiring = NAS_CELL_SLOTS,
                                 .merge = NAS_CELL_LOOSE_ENDS};

static nas_module *build(const nas_space_config *config, const void *options) {
    return nas__cells_new(&cells, config, options);
}

static const nas_option options_table[] = {
    NAS__CELLS_CHANNELS("16"), NAS__CELLS_LAYERS("8"), NAS__CELLS_NODES("5"), NAS__CELLS_STEM("3"), {NULL},
};

const nas_space_info nas__space_nasnet = {
    .name = "nasnet",
    .summary = "NASNet: normal and reduction cells, nodes of two operations out of thirteen on any earlier values",
    .paper = "Zoph, Vasudevan, Shlens and Le, NASNet, CVPR 2018, arXiv 1707.07012",
    .options = options_table,
    .options_size = sizeof(nas__cells_options),
    .build = build,
    .canonical = nas__cells_string,
    .parse = nas__cells_parse,
};
