#!/usr/bin/env bash
# The whole system at work, on a laptop, without weights or data: ./demo.sh [FOLDER]    (default: demo)
# Makes face videos, prepares them, trains configs/demo.json, scores the held-out videos and says how good the scores are,
# with the same scripts as for the DFDC. In FOLDER: data, folds.csv, sheet.png, weights, logs, loss.png, holdout (links),
# submission.csv, report.html, evaluation.json. What is done is skipped: the same command goes on where it stopped.
set -euo pipefail
if [ $# -gt 1 ]; then
    echo "usage: $0 [FOLDER]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
FOLDER=${1:-demo}
SEED=111
mkdir -p "$FOLDER/holdout"
cd "$FOLDER"
started=$SECONDS

step() { printf '\n== %s\n' "$1"; }

step "1/6 Face videos, real and fake, of made-up people"
"$PYTHON" "$ROOT/preprocessing/make_sample_data.py" --root-dir data --parts 12 --originals 6

step "2/6 Boxes, crops, landmarks, differences, folds"
FRAME_STEP=10 "$ROOT/preprocess_data.sh" data
fake=$("$PYTHON" -c 'import csv; print(next(row["video"] for row in csv.DictReader(open("folds.csv")) if row["label"] == "1"))')
"$PYTHON" "$ROOT/preprocessing/inspect_data.py" --root-dir data --video "$fake" --out sheet.png

step "3/6 Training, without the people of fold 0"
# without dropout of parts of faces, which takes many more steps to learn through
CONFIG=$ROOT/configs/demo.json SEEDS=$SEED "$ROOT/train.sh" data --no-hardcore
"$PYTHON" "$ROOT/training/tools/plot_loss.py" --log-file "logs/demo_$SEED" --out loss.png

step "4/6 The weights of the last two epochs, as fp16"
# not the best ones: fold 0, which tells the best, is what is scored below
"$PYTHON" "$ROOT/training/tools/select_checkpoints.py" --log-file "logs/demo_$SEED" --checkpoints weights \
    --prefix "demo_${SEED}_" --output-dir weights --count 2 --after-epoch 5

step "5/6 Scores of the held-out videos: fold 0 is parts 0 to 2"
for video in data/dfdc_train_part_{0,1,2}/*.mp4; do ln -sf "../$video" holdout/; done
models=(weights/final_*)
"$PYTHON" "$ROOT/predict_folder.py" --weights-dir weights --models "${models[@]#weights/}" --test-dir holdout \
    --output submission.csv --report report.html

step "6/6 How good are they?"
"$PYTHON" "$ROOT/evaluate.py" --submission submission.csv --labels data/dfdc_train_part_{0,1,2}/metadata.json \
    --json evaluation.json

printf '\n%s s. In %s: report.html, sheet.png, loss.png, submission.csv, evaluation.json, weights\n' \
    $((SECONDS - started)) "$FOLDER"
