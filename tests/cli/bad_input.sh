#!/bin/sh
# Bad input of every kind (bad_input.txt): each ends with status 1 or 2, after 5 seconds of computing at most, with one error line that
# names the culprit, nothing on stdout, and nothing changed on disk.
table=$PWD/tests/cli/bad_input.txt
docs=$PWD/docs/images
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
# shellcheck disable=SC2034 # of rows
plugin=$(dirname "$espalier")/examples/my_strategy.so

# --- what preparations are made of ----------------------------------------------------------------
put() { printf '%b' "$2" >"$1"; }                                                       # FILE TEXT
poke() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }       # FILE OFFSET TEXT
zeros() { head -c "$2" /dev/zero >"$1"; }                                               # FILE BYTES
swap() { # FILE FROM TO: the text must be there
    grep -q "$2" "$1" || { echo "$1 has no $2"; exit 1; }
    sed -i "s/$2/$3/" "$1"
}
npy() { # FILE TYPE SHAPE DATA
    type=$(echo "$2" | sed 's/^u1$/|u1/')
    printf "\223NUMPY\1\0v\0%-117s\n" "{'descr': '$type', 'fortran_order': False, 'shape': $3, }" >"$1" && printf '%b' "$4" >>"$1"
}
idx() { printf '\0\0\010%b' "$2" >"$1" && head -c "$3" /dev/zero >>"$1"; }                  # FILE HEADER BYTES

brackets() { head -c 100000 /dev/zero | tr '\0' '[' >"$1"; }                            # FILE
numbers() { echo a,y >"$1" && seq 100 | sed 's/.*/&,&/' >>"$1"; }                       # FILE
bomb() { cat "$1" "$2" | gzip -1 >"$1.gz" && rm "$2"; }                                 # FILE MORE

# --- good input, which preparations spoil ----------------------------------------------------------
mkdir good
cd good
{
    echo a,b,y
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo "$i,$((i * 7 % 11)),1" && echo "-$i,0,0"; done
} >t.csv
for class in a b; do
    mkdir -p "pics/$class"
    for i in 1 2 3 4; do cp "$images/rgb.png" "pics/$class/$i.png"; done
done
cp "$images/rgb.png" ok.png
cp "$docs/boot.png" big.png
twenty='\0\1\0\1\0\1\0\1\0\1\0\1\0\1\0\1\0\1\0\1'
npy x.npy u1 '(20, 2)' "$twenty$twenty"
npy y.npy u1 '(20,)' "$twenty"
mkdir idx cifar
for part in train t10k; do
    idx "idx/$part-images-idx3-ubyte" '\003\0\0\0\050\0\0\0\010\0\0\0\010' 2560
    idx "idx/$part-labels-idx1-ubyte" '\001\0\0\0\050' 40
done
for i in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do zeros cifar/$i.bin 30730; done
short="--data csv:t.csv,target=y --epochs 1 --batch 4 --limit-batches 2 --threads 1 --quiet"
# shellcheck disable=SC2086
"$espalier" search --space chain $short --out S >../out
# shellcheck disable=SC2086
"$espalier" search --space chain --strategy random --budget trials=2 $short --out T >../out
"$espalier" retrain S --epochs 1 --limit-batches 2 --batch 4 --threads 1 --quiet >../out
"$espalier" retrain S --data folder:pics --epochs 1 --limit-batches 2 --batch 2 --threads 1 --quiet >../out
cp -r S/retrain-1 R
cp -r S/retrain-2 P
rm -r S/retrain-2
cd ..

# --- the rows --------------------------------------------------------------------------------------
state() { find . ! -name . -printf '%p %y %s %i %T@\n' | sort; }
bad() {
    echo "FAILED: line $line: espalier $arguments: $*"
    sed 's/^/  stdout: /' ../out | head -n 5
    sed 's/^/  stderr: /' ../err | head -n 20
    failures=$((failures + 1))
}
trim() { trimmed=${1#"${1%%[! ]*}"} && trimmed=${trimmed%"${trimmed##*[! ]}"}; }

# shellcheck disable=SC2120 # a row's arguments
check() {
    state >../before
    got=0
    eval "set -- $arguments"
    # shellcheck disable=SC3045 # dash and bash have it
    (ulimit -t 5 && exec timeout -s KILL 20 "$espalier" "$@" >../out 2>../err </dev/null) || got=$?
    state >../after
    [ "$got" = "$code" ] || bad "exit status $got, not $code"
    [ ! -s ../out ] || bad "something on stdout"
    [ "$(grep -c 'error:' ../err)" = 1 ] || bad "not one error line"
    [ "$(grep -cv 'checkpoint passed over\|no longer bit-identical' ../err)" = 1 ] || bad "more than one line"
    tail -n 1 ../err | grep -qF -- "$culprit" || bad "the message lacks: $culprit"
    cmp -s ../before ../after || bad "files changed: $(diff ../before ../after)"
}

line=0 rows=0 failures=0 code='' common='' dirty=yes
while IFS='|' read -r culprit preparation further; do
    line=$((line + 1))
    case $culprit in
    '' | '#'*) continue ;;
    '['*)
        section=${culprit#\[} && section=${section%\]*}
        code=${section%% *} common=${section#* }
        continue
        ;;
    esac
    trim "$culprit" && culprit=$trimmed
    trim "$preparation" && preparation=$trimmed
    trim "$further" && arguments="$common $trimmed"
    if [ "$dirty" ]; then
        chmod -R u+rwX case 2>/dev/null || true
        rm -rf case
        cp -r good case
    fi
    cd case
    dirty=$preparation
    eval "$preparation" || { echo "line $line: $preparation"; exit 1; }
    # shellcheck disable=SC2119
    check
    [ ! -s ../after ] || cmp -s ../before ../after || dirty=yes
    cd ..
    rows=$((rows + 1))
done <"$table"
echo "$rows bad inputs, $failures failures"
[ "$rows" -ge 300 ] && [ "$failures" = 0 ]
