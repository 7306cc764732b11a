/* cell_ops.h - operations of cells, as nas_cell() takes them: each keeps the number of channels. Their batch norms get
 * gamma and beta when the architecture is fixed (DARTS). */
#ifndef SPACE_SPACES_CELL_OPS_H
#define SPACE_SPACES_CELL_OPS_H

#include <espalier/space.h>

nas_module *nas__op_none(int channels, int stride);
/* The identity; with stride the factorized reduction. */
nas_module *nas__op_skip(int channels, int stride);
/* With a batch norm behind them while searching. */
nas_module *nas__op_max_pool_3x3(int channels, int stride);
nas_module *nas__op_max_pool_5x5(int channels, int stride);
nas_module *nas__op_max_pool_7x7(int channels, int stride);
nas_module *nas__op_avg_pool_3x3(int channels, int stride);
nas_module *nas__op_sep_3x3(int channels, int stride);
nas_module *nas__op_sep_5x5(int channels, int stride);
nas_module *nas__op_sep_7x7(int channels, int stride);
/* The separable convolution, dilated: twice depthwise and pointwise. */
nas_module *nas__op_dil_sep_3x3(int channels, int stride);
/* DARTS' dilated convolution: once. */
nas_module *nas__op_dil_3x3(int channels, int stride);
nas_module *nas__op_dil_5x5(int channels, int stride);
/* ReLU, convolution, batch norm. */
nas_module *nas__op_conv_1x1(int channels, int stride);
nas_module *nas__op_conv_3x3(int channels, int stride);
/* ReLU, convolutions of 1xk and kx1, batch norm. The second has the stride: its result is that of a stride along each
 * one's own axis. */
nas_module *nas__op_conv_3x1_1x3(int channels, int stride);
nas_module *nas__op_conv_7x1_1x7(int channels, int stride);

#endif
