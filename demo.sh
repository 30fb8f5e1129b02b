#!/usr/bin/env bash
# A whole system at work, on a laptop, without weights or data: [SYSTEM=seferbekov] ./demo.sh [FOLDER]
# Makes face videos, prepares them, trains a small network without the people of parts 0 to 2, scores the videos of these
# and says how good the scores are, with the same scripts as for the DFDC. In FOLDER (default: demo, of another system
# demo_<system>): data, weights, logs, loss.png, holdout (links), submission.csv, report.html, evaluation.json; of the
# winner's system also folds.csv and sheet.png. What is done is skipped: the same command goes on where it stopped.
set -euo pipefail
if [ $# -gt 1 ]; then
    echo "usage: [SYSTEM=seferbekov] $0 [FOLDER]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
check_system
case $SYSTEM in
    seferbekov) default=demo videos=(--parts 12 --originals 6) ;;
    ntechlab) default=demo_ntechlab videos=(--parts 12 --originals 6) ;;
    medics) default=demo_medics videos=(--parts 12 --originals 4 --frames 150 --flicker 4) ;; # a clip is of 150 frames
esac
FOLDER=${1:-$default}
SEED=111
mkdir -p "$FOLDER/holdout"
cd "$FOLDER"
started=$SECONDS

step() { printf '\n== %s\n' "$1"; }

train_seferbekov() {
    fake=$("$PYTHON" -c 'import csv; print(next(row["video"] for row in csv.DictReader(open("folds.csv")) if row["label"] == "1"))')
    "$PYTHON" "$ROOT/preprocessing/inspect_data.py" --root-dir data --video "$fake" --out sheet.png
    step "3/6 Training, without the people of fold 0, which are those of parts 0 to 2"
    # without dropout of parts of faces, which takes many more steps to learn through
    CONFIG=$ROOT/configs/demo.json SEEDS=$SEED "$ROOT/train.sh" data --no-hardcore
    "$PYTHON" "$ROOT/training/tools/plot_loss.py" --log-file "logs/demo_$SEED" --out loss.png
    step "4/6 The weights of the last two epochs, as fp16"
    # not the best ones: fold 0, which tells the best, is what is scored below
    "$PYTHON" "$ROOT/training/tools/select_checkpoints.py" --log-file "logs/demo_$SEED" --checkpoints weights \
        --prefix "demo_${SEED}_" --output-dir weights --count 2 --after-epoch 5
    models=(weights/final_*)
}

train_other() { # NAME LAST_EPOCH
    step "3/6 Training, without the people of parts 0 to 2"
    CONFIG=$ROOT/configs/$SYSTEM/demo.json SYSTEM=$SYSTEM "$ROOT/train.sh" data
    "$PYTHON" "$ROOT/training/tools/plot_loss.py" --log-file logs/demo --out loss.png
    step "4/6 The weights of the last epoch"
    models=("weights/demo_$1_$2")
}

step "1/6 Face videos, real and fake, of made-up people"
"$PYTHON" "$ROOT/preprocessing/make_sample_data.py" --root-dir data "${videos[@]}"

step "2/6 Data preparation"
FRAME_STEP=10 SYSTEM=$SYSTEM "$ROOT/preprocess_data.sh" data
case $SYSTEM in
    seferbekov) train_seferbekov ;;
    ntechlab) train_other ntechlab_large_crop_tf_efficientnet_b0_ns 5 ;;
    medics) train_other medics_res10 23 ;;
esac

step "5/6 Scores of the held-out videos, of parts 0 to 2"
for video in data/dfdc_train_part_{0,1,2}/*.mp4; do ln -sf "../$video" holdout/; done
"$PYTHON" "$ROOT/predict_folder.py" --weights-dir weights --models "${models[@]#weights/}" --test-dir holdout \
    --output submission.csv --report report.html

step "6/6 How good are they?"
"$PYTHON" "$ROOT/evaluate.py" --submission submission.csv --labels data/dfdc_train_part_{0,1,2}/metadata.json \
    --json evaluation.json

printf '\n%s s. In %s: report.html, loss.png, submission.csv, evaluation.json, weights\n' $((SECONDS - started)) "$FOLDER"
