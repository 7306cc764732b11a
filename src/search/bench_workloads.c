/* bench_workloads.c - the table of benchmarks. A new one is a row here, and its network in bench/peers/. */
#include "core/error.h"
#include "search/bench.h"

#include <string.h>

/* The cells that were found on CIFAR-10 and published with the method as DARTS_V2 (Liu et al. 2019, figures 4 and 5).
 */
static const char darts_v2[] = "{\"normal/edge_2_0\": \"sep_conv_3x3\", \"normal/edge_2_1\": \"sep_conv_3x3\","
                               " \"normal/node_2/inputs\": [\"edge_2_0\", \"edge_2_1\"],"
                               " \"normal/edge_3_0\": \"sep_conv_3x3\", \"normal/edge_3_1\": \"sep_conv_3x3\","
                               " \"normal/node_3/inputs\": [\"edge_3_0\", \"edge_3_1\"],"
                               " \"normal/edge_4_0\": \"skip_connect\", \"normal/edge_4_1\": \"sep_conv_3x3\","
                               " \"normal/node_4/inputs\": [\"edge_4_0\", \"edge_4_1\"],"
                               " \"normal/edge_5_0\": \"skip_connect\", \"normal/edge_5_2\": \"dil_conv_3x3\","
                               " \"normal/node_5/inputs\": [\"edge_5_0\", \"edge_5_2\"],"
                               " \"reduce/edge_2_0\": \"max_pool_3x3\", \"reduce/edge_2_1\": \"max_pool_3x3\","
                               " \"reduce/node_2/inputs\": [\"edge_2_0\", \"edge_2_1\"],"
                               " \"reduce/edge_3_1\": \"max_pool_3x3\", \"reduce/edge_3_2\": \"skip_connect\","
                               " \"reduce/node_3/inputs\": [\"edge_3_1\", \"edge_3_2\"],"
                               " \"reduce/edge_4_0\": \"max_pool_3x3\", \"reduce/edge_4_2\": \"skip_connect\","
                               " \"reduce/node_4/inputs\": [\"edge_4_0\", \"edge_4_2\"],"
                               " \"reduce/edge_5_1\": \"max_pool_3x3\", \"reduce/edge_5_2\": \"skip_connect\","
                               " \"reduce/node_5/inputs\": [\"edge_5_1\", \"edge_5_2\"]}";

enum { BATCH = 64, SIDE = 32 };
/* Draws of a dropout cannot be repeated elsewhere. */
#define NO_DROPOUT "dropout=0"
/* In every step one of the weights, one of alpha. */
#define PROXYLESS "warmup_epochs=0,alpha_period=1"

const nas__bench_workload nas__bench_workloads[] = {
    {"darts", "DARTS space, C=16, 8 cells; first-order DARTS", NAS__BENCH_SEARCH, BATCH, SIDE, "darts", NULL, "darts",
     NULL, NULL, NULL},
    {"darts-second", "DARTS space, C=16, 8 cells; second-order DARTS", NAS__BENCH_SEARCH, BATCH, SIDE, "darts", NULL,
     "darts", "order=2", NULL, NULL},
    {"nb201", "NAS-Bench-201 space, C=16, N=5; first-order DARTS", NAS__BENCH_SEARCH, BATCH, SIDE, "nb201", NULL,
     "darts", NULL, NULL, NULL},
    {"gdas", "NAS-Bench-201 space, C=16, N=5; GDAS", NAS__BENCH_SEARCH, BATCH, SIDE, "nb201", NULL, "gdas", NULL, NULL,
     NULL},
    {"fbnet", "FBNet space; FBNet's soft masks", NAS__BENCH_SEARCH, BATCH, SIDE, "fbnet", NULL, "fbnet",
     "phases=batch,warmup=0", NULL, NULL},
    {"proxyless", "ProxylessNAS's space, 9 blocks; ProxylessNAS, two paths", NAS__BENCH_SEARCH, BATCH, SIDE,
     "mobilenet", "depths=3-3-3", "proxyless", PROXYLESS, NULL, NULL},
    {"proxyless-224", "ProxylessNAS's space, 21 blocks, 224x224; ProxylessNAS, two paths", NAS__BENCH_SEARCH, 16, 224,
     "mobilenet", NULL, "proxyless", PROXYLESS, NULL, NULL},
    {"spos", "ShuffleNetV2's space; SPOS, one path", NAS__BENCH_SEARCH, BATCH, SIDE, "shufflenet", NO_DROPOUT, "spos",
     NULL, NULL, NULL},
    {"spos-224", "ShuffleNetV2's space, 224x224; SPOS, one path", NAS__BENCH_SEARCH, 16, 224, "shufflenet", NO_DROPOUT,
     "spos", NULL, NULL, NULL},
    {"enas", "ENAS' micro space, C=20, 6+2 cells; ENAS, a step of the weights", NAS__BENCH_SEARCH, BATCH, SIDE,
     "enas-micro", NO_DROPOUT, "enas", NULL, NULL, NULL},
    {"spos-evaluation", "ShuffleNetV2's space; a path's batch norms calibrated, the path scored", NAS__BENCH_EVALUATION,
     BATCH, SIDE, "shufflenet", NO_DROPOUT, "spos", NULL, NULL, NULL},
    {"darts-train", "training of the DARTS network, C=36, 20 cells", NAS__BENCH_TRAINING, BATCH, SIDE, "darts",
     "channels=36,layers=20", NULL, NULL, darts_v2, NULL},
    {"darts-inference", "inference of the DARTS network, C=36, 20 cells", NAS__BENCH_INFERENCE, BATCH, SIDE, "darts",
     "channels=36,layers=20", NULL, NULL, darts_v2, NULL},
    {"resnet18", "training of ResNet-18", NAS__BENCH_TRAINING, BATCH, SIDE, NULL, NULL, NULL, NULL, NULL,
     nas_resnet18_new},
    {"mobilenetv2", "training of MobileNetV2", NAS__BENCH_TRAINING, BATCH, SIDE, NULL, NULL, NULL, NULL, NULL,
     nas_mobilenetv2_new},
    {0},
};

const nas__bench_workload *nas__bench_find(const char *name) {
    size_t n = 0;
    for (; nas__bench_workloads[n].name; n++) {
        if (strcmp(nas__bench_workloads[n].name, name) == 0) {
            return &nas__bench_workloads[n];
        }
    }
    const char *near = nas__nearest(name, nas__bench_workloads, n, sizeof *nas__bench_workloads);
    return near ? nas__fail_null(NAS_USAGE, "unknown benchmark \"%s\", did you mean \"%s\"?", name, near)
                : nas__fail_null(NAS_USAGE, "unknown benchmark \"%s\"; the first of them is \"%s\"", name,
                                 nas__bench_workloads[0].name);
}
