#!/bin/sh
# Wrong usage is refused with exit status 2 and the nearest name; help, completion, list and doctor come from the tables.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
unset OMP_WAIT_POLICY GOMP_SPINCOUNT

refused 'did you mean "search"?' serch
refused 'unknown command "foo"; there are' foo
refused 'did you mean --space?' search --spcae darts
refused 'espalier eval --help' eval run --epochs 3
refused 'did you mean "darts"?' search --space dart
refused 'did you mean "darts"?' search --strategy drats
refused 'did you mean "fashion-mnist"?' search --data fasion-mnist
refused 'did you mean "channels"?' search --set chanels=4
refused 'not of the form key=value' search --set channels
refused 'out of range' search --set channels=0
refused 'not a whole number' search --epochs many
refused '--epochs: 0 is out of range' search --epochs 0
refused '--epochs needs a value' search --epochs --json
refused '--epochs is given twice' search --epochs 1 --epochs 2
refused '--json takes no value' search --json=1
refused 'neither minutes=M nor trials=N' search --budget hours=1
refused 'there are macs, params, latency, ram and flash' search --limit flops=3M
refused 'with its unit' search --limit latency=5
refused 'a number above 0' search --limit macs=-3
refused 'one argument too many' search more
refused 'what is to be scored?' eval
refused '--resume needs --out' search --resume
refused 'which network?' retrain
refused 'did you mean "bash"?' completion bas
refused 'exclude each other' search --quiet --verbose
refused 'neither a space nor a strategy' list options dartz
refused 'there are test and train' eval run --split valid
refused 'there are f32, bf16 and auto' search --precision fp8
refused 'there are f32, bf16 and auto' bench --precision fp8
refused 'CxHxW' profile --space nb201 --input 28
refused 'cannot open shared object file' search --strategy-plugin nothing.so
printf 'int x;' >empty.c && ${CC:-cc} -shared -fPIC empty.c -o empty.so
refused 'no function nas_strategy_plugin()' search --strategy-plugin empty.so
refused 'but the plugin' search --strategy enas --strategy-plugin "$(dirname "$espalier")/examples/my_strategy.so"
rm empty.c empty.so
refused 'take --strategy nsga2' search --pick knee
refused 'best|knee|limit' search --strategy nsga2 --pick most
refused '--limit' search --strategy nsga2 --pick limit --space nb201 --limit-images 700
expect 2
in_file err 'usage: espalier COMMAND'

# what is refused leaves nothing behind
[ "$(echo *)" = "err out" ] || fail "files were left: $(echo *)"

# a key that the strategy and the space both have must say whose it is
expect 0 help
commands=$(sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' out)
[ "$(echo "$commands" | wc -w)" -ge 9 ] || fail "too few commands in the help"
for command in $commands; do
    expect 0 "$command" --help
    in_file out "usage: espalier $command"
    in_file out "  espalier $command"
    in_file out "exit status"
    cp out help.txt
    expect 0 help "$command"
    cmp -s out help.txt || fail "help $command differs from $command --help"
done

expect 0 completion bash
bash -n out || fail "the completion is no bash"
answer=$(bash -c '. ./out; COMP_WORDS=(espalier search --sp); COMP_CWORD=2; _espalier; echo "${COMPREPLY[@]}"
    COMP_WORDS=(espalier search --space nb); COMP_CWORD=3; _espalier; echo "${COMPREPLY[@]}"')
[ "$answer" = "$(printf -- '--space\nnb201')" ] || fail "completion gave: $answer"

expect 0 list --json
for text in '"spaces"' '"strategies"' '"data"' '"nb201"' '"fashion-mnist"' '"options"' '"summary"'; do in_file out "$text"; done
expect 0 list options darts
in_file out 'channels'
in_file out 'order'

expect 0 doctor --json
for text in '"onednn"' '"sqlite"' '"isa"' '"amx_bf16"' '"threads": ' '"runs_writable": true' '"fashion-mnist"'; do in_file out "$text"; done

expect 0 profile --space nb201 --input 3x32x32 --outputs 100 --json
in_file out '"parameters": '
in_file out '"macs": '
expect 0 --version
in_file out 'espalier 0.'
