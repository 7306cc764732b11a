/* commands.c - the table of subcommands: one row each. */
#include "cli/cli.h"

/* Of retrain, and of compare, which retrains: the same options with the same defaults. */
#define TRAINING                                                                                                       \
    " data data-dir epochs batch lr weight-decay label-smoothing drop-path cutout valid-share set budget out "         \
    "limit-batches limit-images log-frequency"
#define TRAINING_DEFAULTS "data=fashion-mnist epochs=50 batch=96 lr=0.1 weight-decay=5e-4 seed=0"

const cli_command cli_commands[] = {
    {"search", "find a network for a data set", "",
     "espalier search --space darts --strategy darts --data fashion-mnist --epochs 10 --out runs/first",
     "space strategy strategy-plugin data data-dir epochs batch lr weight-decay score-steps precision set pick config "
     "budget jobs shards limit latency-table measure-missing out resume checkpoint-every keep-checkpoints "
     "limit-batches "
     "limit-images log-frequency op-times",
     "space=darts strategy=darts data=fashion-mnist epochs=50 batch=64 lr=0.025 weight-decay=3e-4 score-steps=0 "
     "precision=f32 seed=0 keep-checkpoints=2",
     0, 0, NULL, cli_search},
    {"retrain", "train the network that a search found, from scratch, and score it on the test part", "[RUN]",
     "espalier retrain runs/first --epochs 20 --set channels=24",
     "space arch config inherit resume checkpoint-every keep-checkpoints op-times precision shards" TRAINING,
     "precision=f32 keep-checkpoints=2 " TRAINING_DEFAULTS, 0, 1, NULL, cli_retrain},
    {"compare", "the network that a search found against random ones of its space, or finished runs in one table",
     "RUN ...", "espalier compare runs/first --random 10 --epochs 10", "random seeds truth " TRAINING,
     "seeds=1 " TRAINING_DEFAULTS, 1, -1, NULL, cli_compare},
    {"correlate", "does the score of a search rank networks as training them does? Beside size, and untrained networks",
     "RUN", "espalier correlate runs/first --samples 40 --epochs 5", "samples no-proxies truth " TRAINING,
     "samples=40 seeds=1 " TRAINING_DEFAULTS, 1, 1, NULL, cli_correlate},
    {"eval", "score a retrained network, an ONNX file, or the one beside the other, class by class", "[RUN]",
     "espalier eval runs/first --json", "data data-dir split batch limit-batches limit-images onnx backend onnxruntime",
     "split=test batch=256 backend=onnxruntime seed=0", 0, 1, NULL, cli_eval},
    {"predict", "classify image files with a retrained network", "RUN FILE|DIR ...",
     "espalier predict runs/first photo.png --top 3", "top", "top=3", 2, -1, NULL, cli_predict},
    {"export", "the retrained network in the formats of other tools, and as a picture", "[RUN]",
     "espalier export runs/first --onnx network.onnx",
     "onnx c safetensors svg dot keep-batch-norm raw-pixels space arch set input outputs", "seed=0", 0, 1, NULL,
     cli_export},
    {"profile",
     "parameters, multiply-adds and latency of the network that a run found, or of a space and all its candidates",
     "[RUN]", "espalier profile --space mobilenet --out latencies.json --validate 20",
     "space arch data data-dir set input outputs batch budget out latency-table validate svg backend "
     "onnxruntime",
     "batch=1 threads=1 backend=espalier seed=0", 0, 1, NULL, cli_profile},
    {"bench",
     "speed of whole steps of search, training and inference, or of single kernels, against what this machine can do",
     "[NAME|ops]", "espalier bench darts --op-times", "batch steps op-times scaling first-step precision",
     "steps=5 precision=f32 seed=0", 0, 1, cli_bench_word, cli_bench},
    {"log", "what a run has measured so far", "RUN", "espalier log runs/first --csv", "csv", "", 1, 1, NULL, cli_log},
    {"ui", "a page that shows the runs in a directory, live", "[DIR]", "espalier ui runs",
     "port host token token-file allow-host", "port=8080 host=127.0.0.1", 0, 1, NULL, cli_ui},
    {"report", "runs as one file: the page of `espalier ui`, or a table and a picture", "RUN ...",
     "espalier report runs/first runs/second --html report.html", "html md", "", 1, -1, NULL, cli_report},
    {"list", "spaces, strategies, data sets and their options", "[spaces|strategies|data|options NAME]",
     "espalier list options darts", "", "", 0, 2, cli_list_word, cli_list},
    {"doctor", "is everything here that a search needs?", "", "espalier doctor", "data-dir", "", 0, 0, NULL,
     cli_doctor},
    {"completion", "completion of this command for a shell", "bash",
     "espalier completion bash > /etc/bash_completion.d/espalier", "", "", 1, 1, cli_shell_word, cli_completion},
};
const int cli_n_commands = sizeof cli_commands / sizeof *cli_commands;

const cli_command *cli_command_of(nas_status (*run)(cli_args *a)) {
    const cli_command *row = cli_commands;
    while (row->run != run) {
        row++;
    }
    return row;
}
