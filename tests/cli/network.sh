#!/bin/sh
# From a search to answers: retrain, eval class by class, predict on image files.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
short="--limit-images 600 --limit-batches 3 --batch 32 --threads 1"

# shellcheck disable=SC2086
expect 0 search $small --strategy darts --epochs 1 --out R --quiet
expect 1 eval R
in_file err 'espalier retrain R'

# shellcheck disable=SC2086
expect 0 retrain R --epochs 1 $short --json
for text in '"run": "R/retrain-1"' '"status": "finished"' '"epochs": 1' '"parameters": ' '"macs": ' '"acc1": ' '"split": "test"'; do in_file out "$text"; done
small_network=$(sed -n 's/.*"parameters": \([0-9]*\).*/\1/p' out)
for file in weights.safetensors config.json run.sqlite final_architecture.json result.json; do [ -s "R/retrain-1/$file" ] || fail "$file is missing"; done
expect 0 retrain R --out R/retrain-1 --resume
in_file out 'next      espalier eval R/retrain-1'
expect 0 log R/retrain-1 --json
in_file out 'espalier retrain R --epochs 1 '

# a larger network of the same architecture, in a directory of its own, with a part of the images watched
# shellcheck disable=SC2086
expect 0 retrain R --epochs 1 $short --set channels=8 --valid-share 0.2 --label-smoothing 0.1 --cutout 4 --json
in_file out '"run": "R/retrain-2"'
large_network=$(sed -n 's/.*"parameters": \([0-9]*\).*/\1/p' out)
[ "$large_network" -gt "$small_network" ] || fail "channels=8 gave $large_network parameters, channels=4 $small_network"
in_file err '(valid)'
in_file err 'scored on 768 of the 10000 images of the test part'

# without a run
# shellcheck disable=SC2086
expect 0 retrain --space nb201 --set channels=4 --set cells=1 --arch R/final_architecture.json --epochs 1 $short --out S --json
in_file out "\"parameters\": $small_network"
# shellcheck disable=SC2086
expect 0 retrain --out S --resume --json
in_file out "\"parameters\": $small_network"
in_file err 'finished already'
echo '{"edge_1_0": "nor_conv_5x5"}' >wrong.json
expect 1 retrain --space nb201 --arch wrong.json --out W
in_file err 'wrong.json'

# from the shared weights
# shellcheck disable=SC2086
expect 0 retrain R --epochs 1 $short --inherit --out I
in_file err 'inherited from R/checkpoint'
not_in_file err ' 0 parameters'
refused 'no retraining in nowhere' retrain --out nowhere --resume

# the newest one counts
expect 0 eval R --limit-batches 2 --batch 64 --json
for text in 'R/retrain-2' '"split": "test"' '"images": 128' '"loss": ' '"acc1": ' '"name": "Sandal"'; do in_file out "$text"; done
[ "$(grep -c '"name"' out)" = 10 ] || fail "not 10 classes"
expect 0 eval S --split train --limit-images 100
in_file out '100 images of the train part'
# a subset has each class in proportion
expect 0 eval S --limit-images 500 --threads 1 --json
[ "$(grep -c '"images": 50,' out)" = 10 ] || fail "not 50 images in each class"
in_file out '"images": 500,'

expect 0 predict R "$images/rgb.png" "$images/palette.png" --top 2
[ "$(wc -l <out)" = 2 ] || fail "not one line for each image"
in_file err 'resized to 28x28'
expect 0 predict R "$images" --top 10 --json
[ "$(grep -c '"probability"' out)" = 30 ] || fail "not 10 classes for each of 3 images"
sed -n 's/.*"probability": \([0-9.e-]*\).*/\1/p' out | awk '{ s += $1 } END { exit s < 2.999 || s > 3.001 }' || fail "probabilities do not sum to 1"
echo text >broken.png
expect 1 predict R broken.png "$images/rgb.png"
in_file err 'broken.png'
in_file err '1 of 2 files could not be read'
[ "$(wc -l <out)" = 1 ] || fail "the good image has no answer"
mkdir empty
expect 1 predict R empty
in_file err 'has no images'

# damage is named
echo '{' >R/retrain-2/config.json
expect 1 eval R
in_file err 'config.json is damaged'

# a table: the target is 2a - b, which a few epochs find
awk 'BEGIN { srand(1); print "a,b,y"; for (i = 0; i < 400; i++) { a = 2 * rand() - 1; b = 2 * rand() - 1; print a "," b "," 2 * a - b } }' >table.csv
expect 0 search --space chain --strategy darts --data csv:table.csv,target=y,task=regression --epochs 1 --batch 16 --threads 1 --out T
in_file out 'best      rmse'
expect 0 retrain T --epochs 10 --batch 16 --threads 1 --json
awk '/"rmse"/ { exit !($2 < 0.6) }' out || fail "the table was not learned (its deviation is 1.3)"
expect 0 eval T --json
in_file out '"images": 40,'

# a damaged image of the test part shows before the training, not behind it
for class in a b; do
    mkdir -p "images/train/$class" "images/test/$class"
    for i in 1 2 3 4 5 6 7 8; do cp "$images/rgb.png" "images/train/$class/$i.png"; done
    cp "$images/rgb.png" "images/test/$class/1.png"
done
head -c 60 "$images/rgb.png" >images/test/b/1.png
echo '{"layer_1": 4, "layer_2": 4, "layer_3": 4, "layer_4": 4, "skip": 0}' >nothing.json
expect 1 retrain --space chain --set layers=4 --arch nothing.json --data folder:images --epochs 1 --batch 4 --threads 1 --out F
in_file err 'images/test/b/1.png'
[ ! -e F ] || fail "a run directory is left"
cp "$images/rgb.png" images/test/b/1.png
expect 0 retrain --space chain --set layers=4 --arch nothing.json --data folder:images --epochs 1 --batch 4 --threads 1 --out F
not_in_file err 'scored on'
