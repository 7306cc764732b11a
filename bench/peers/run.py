"""Times one peer and prints one JSON object.

    run.py darts|nb201 --first-step FILE [--mode eager|channels_last|compile] [--threads N] [--steps N]

FILE comes from `espalier bench NAME --first-step FILE`: the peer starts from the same weights, choices and images.
"""

import argparse
import importlib
import json

import torch

import common


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("darts", "nb201"))
    parser.add_argument("--first-step", required=True)
    parser.add_argument("--mode", choices=("eager", "channels_last", "compile"), default="eager")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=2)
    args = parser.parse_args()
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    arrays = common.read_safetensors(args.first_step)
    result = common.run(importlib.import_module(args.name).build, arrays, args.mode, args.steps, args.warm_up)
    print(json.dumps({"name": args.name, **result}))


if __name__ == "__main__":
    main()
