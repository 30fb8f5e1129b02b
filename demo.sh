#!/usr/bin/env bash
# A whole system at work, on a laptop, without weights or data: [SYSTEM=seferbekov] ./demo.sh [FOLDER]
# Makes face videos, prepares them, trains a small network without the people of parts 0 to 2, scores the videos of these
# and says how good the scores are, with the same scripts as for the DFDC. In FOLDER (default: demo, of another system
# demo_<system>): data, weights, logs, loss.png, holdout (links), submission.csv, report.html, evaluation.json; of the
# winner's system also folds.csv, sheet.png and, of videos with two people, of whom one is fake for a part of the time,
# people/ and people.csv, people_tracks.csv, people_intervals.csv, people.html. What is done is skipped: the same command
# goes on where it stopped.
set -euo pipefail
if [ $# -gt 1 ]; then
    echo "usage: [SYSTEM=seferbekov] $0 [FOLDER]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
check_system
steps=6
case $SYSTEM in
    seferbekov) default=demo videos=(--parts 12 --originals 6) steps=7 ;;
    ntechlab) default=demo_ntechlab videos=(--parts 12 --originals 6) ;;
    medics) default=demo_medics videos=(--parts 12 --originals 4 --frames 150 --flicker 4) ;; # a clip is of 150 frames
esac
FOLDER=${1:-$default}
SEED=111
mkdir -p "$FOLDER/holdout"
cd "$FOLDER"
started=$SECONDS

step() { printf '\n== %s/%s %s\n' "$1" "$steps" "$2"; }

train_seferbekov() {
    fake=$("$PYTHON" -c 'import csv; print(next(row["video"] for row in csv.DictReader(open("folds.csv")) if row["label"] == "1"))')
    "$PYTHON" "$ROOT/preprocessing/inspect_data.py" --root-dir data --video "$fake" --out sheet.png
    step 3 "Training, without the people of fold 0, which are those of parts 0 to 2"
    # without dropout of parts of faces, which takes many more steps to learn through
    CONFIG=$ROOT/configs/demo.json SEEDS=$SEED "$ROOT/train.sh" data --no-hardcore
    "$PYTHON" "$ROOT/training/tools/plot_loss.py" --log-file "logs/demo_$SEED" --out loss.png
    step 4 "The weights of the last two epochs, as fp16"
    # not the best ones: fold 0, which tells the best, is what is scored below
    "$PYTHON" "$ROOT/training/tools/select_checkpoints.py" --log-file "logs/demo_$SEED" --checkpoints weights \
        --prefix "demo_${SEED}_" --output-dir weights --count 2 --after-epoch 5
    models=(weights/final_*)
}

train_other() { # NAME LAST_EPOCH
    step 3 "Training, without the people of parts 0 to 2"
    CONFIG=$ROOT/configs/$SYSTEM/demo.json SYSTEM=$SYSTEM "$ROOT/train.sh" data
    "$PYTHON" "$ROOT/training/tools/plot_loss.py" --log-file logs/demo --out loss.png
    step 4 "The weights of the last epoch"
    models=("weights/demo_$1_$2")
}

predict() { # VIDEOS NAME [flags]
    "$PYTHON" "$ROOT/predict_folder.py" --weights-dir weights --models "${models[@]#weights/}" --test-dir "$1" \
        --output "$2.csv" "${@:3}"
}

step 1 "Face videos, real and fake, of made-up people"
"$PYTHON" "$ROOT/preprocessing/make_sample_data.py" --root-dir data "${videos[@]}"

step 2 "Data preparation"
FRAME_STEP=10 SYSTEM=$SYSTEM "$ROOT/preprocess_data.sh" data
case $SYSTEM in
    seferbekov) train_seferbekov ;;
    ntechlab) train_other ntechlab_large_crop_tf_efficientnet_b0_ns 5 ;;
    medics) train_other medics_res10 23 ;;
esac

step 5 "Scores of the held-out videos, of parts 0 to 2"
for video in data/dfdc_train_part_{0,1,2}/*.mp4; do ln -sf "../$video" holdout/; done
predict holdout submission --report report.html

step 6 "How good are they?"
"$PYTHON" "$ROOT/evaluate.py" --submission submission.csv --labels data/dfdc_train_part_{0,1,2}/metadata.json \
    --json evaluation.json

if [ "$SYSTEM" = seferbekov ]; then
    step 7 "Who of two people is fake, and when?"
    "$PYTHON" "$ROOT/preprocessing/make_sample_data.py" --root-dir people --parts 1 --originals 3 --frames 150 --seed 1 \
        --people 2 --movement mixed --half-fake 1
    predict people/dfdc_train_part_0 people --strategy person --tracks-csv people_tracks.csv \
        --intervals-csv people_intervals.csv --report people.html
fi

printf '\n%s s. In %s: report.html, loss.png, submission.csv, evaluation.json, weights\n' $((SECONDS - started)) "$FOLDER"
