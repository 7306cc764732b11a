/* pnas.c - the cell space of Progressive NAS (Liu et al., ECCV 2018): nodes as in NASNet with eight operations, all of
 * them the cell's output. */
#include "space/spaces/cell_ops.h"
#include "space/spaces/cells.h"

static const nas_cell_op ops[] = {
    {"sep_conv_3x3", nas__op_sep_3x3, NAS_CELL_OP},      {"sep_conv_5x5", nas__op_sep_5x5, NAS_CELL_OP},
    {"sep_conv_7x7", nas__op_sep_7x7, NAS_CELL_OP},      {"conv_7x1_1x7", nas__op_conv_7x1_1x7, NAS_CELL_OP},
    {"skip_connect", nas__op_skip, NAS_CELL_IDENTITY},   {"avg_pool_3x3", nas__op_avg_pool_3x3, NAS_CELL_OP},
    {"max_pool_3x3", nas__op_max_pool_3x3, NAS_CELL_OP}, {"dil_conv_3x3", nas__op_dil_3x3, NAS_CELL_OP},
};

static const nas__cells cells = {
    .space = "pnas", .ops = ops, .n_ops = sizeof ops / sizeof *ops, .wiring = NAS_CELL_SLOTS, .merge = NAS_CELL_CONCAT};

static nas_module *build(const nas_space_config *config, const void *options) {
    return nas__cells_new(&cells, config, options);
}

static const nas_option options_table[] = {
    NAS__CELLS_CHANNELS("16"), NAS__CELLS_LAYERS("8"), NAS__CELLS_NODES("5"), NAS__CELLS_STEM("3"), {NULL},
};

const nas_space_info nas__space_pnas = {
    .name = "pnas",
    .summary = "PNAS: nodes of two operations out of eight on any earlier values, all nodes concatenated",
    .paper = "Liu et al., Progressive Neural Architecture Search, ECCV 2018, arXiv 1712.00559",
    .options = options_table,
    .options_size = sizeof(nas__cells_options),
    .build = build,
    .canonical = nas__cells_string,
    .parse = nas__cells_parse,
};
