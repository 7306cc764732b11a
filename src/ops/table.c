/* table.c - every operation, by family (the file that holds it). A new operation is one file and one line here. */
#include "ops/common.h"

const nas__op nas__ops[] = {
    {"conv2d", "conv"},          {"linear", "linear"},          {"batch_norm", "batch_norm"}, {"layer_norm", "layer_norm"},
    {"max_pool", "pool"},        {"avg_pool", "pool"},          {"global_avg_pool", "pool"},  {"relu", "activation"},
    {"relu6", "activation"},     {"sigmoid", "activation"},     {"tanh", "activation"},       {"gelu", "activation"},
    {"swish", "activation"},     {"softmax", "softmax"},        {"log_softmax", "softmax"},   {"add", "arithmetic"},
    {"sum_of", "arithmetic"},    {"sub", "arithmetic"},         {"mul", "arithmetic"},        {"scale", "arithmetic"},
    {"add_scalar", "arithmetic"}, {"exp", "arithmetic"},        {"log", "arithmetic"},        {"weighted_sum", "mixed"},
    {"concat", "shape"},         {"slice", "shape"},            {"split", "shape"},           {"pad", "shape"},
    {"reshape", "shape"},        {"flatten", "shape"},          {"sum", "reduce"},            {"mean", "reduce"},
    {"sum_dim", "reduce"},       {"mean_dim", "reduce"},        {"embedding", "sequence"},    {"lstm_cell", "sequence"},
    {"dropout", "regularise"},   {"drop_path", "regularise"},   {"cross_entropy", "loss"},    {"cross_entropy_smooth", "loss"},
    {"mse", "loss"},             {"l1", "loss"},
};
const int nas__n_ops = sizeof nas__ops / sizeof *nas__ops;
