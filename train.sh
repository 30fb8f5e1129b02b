#!/usr/bin/env bash
# Train an ensemble, one network after another: [SYSTEM=seferbekov] ./train.sh DATA_ROOT [NUM_GPUS] [trainer's flags]
#   NUM_GPUS   processes, each with a GPU of its own (default: the visible GPUs, or 1 process on the CPU)
#   SYSTEM=seferbekov   CONFIG with each of SEEDS (default: configs/b7.json, "111 555 777 888 999"); reads folds.csv of
#                       the current folder
#   SYSTEM=ntechlab     its three networks, or CONFIG alone; SYSTEM=medics: its eight
# Writes weights/<config>_<seed>_* (of other systems <config>_*), logs/<config>_<seed> (what is printed) and TensorBoard's
# curves beside it. What is finished is skipped: the same command goes on where it stopped.
set -euo pipefail
if [ $# -lt 1 ] || [[ $1 == -* ]]; then
    echo "usage: [CONFIG=configs/b7.json] [SEEDS=\"111 555\"] $0 DATA_ROOT [NUM_GPUS] [flags of train_classifier.py]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
check_system
DATA_ROOT=$1
shift
NUM_GPUS=
if [[ ${1:-} =~ ^[0-9]*$ ]] && [ $# -gt 0 ]; then
    NUM_GPUS=$1
    shift
fi
if [ -z "$NUM_GPUS" ]; then NUM_GPUS=$("$PYTHON" -c 'import torch; print(max(1, torch.cuda.device_count()))'); fi
if [ "$NUM_GPUS" -lt 1 ]; then
    echo "error: NUM_GPUS is $NUM_GPUS; give 1 or more, or leave it out" >&2
    exit 2
fi
launch=("$PYTHON" -u)
if [ "$NUM_GPUS" -gt 1 ]; then
    launch+=(-m torch.distributed.run --standalone --nproc-per-node "$NUM_GPUS")
fi
mkdir -p logs

train() { # NAME CONFIG FLAGS...
    echo "training $1 in $NUM_GPUS process(es), log in logs/$1"
    run_and_wait "${launch[@]}" "$ROOT/training/pipelines/train_classifier.py" --config "$2" --data-dir "$DATA_ROOT" \
        --prefix "$1_" --opt-level O1 --test_every 1 --resume auto "${@:3}" >> "logs/$1"
    if [ $status -ne 0 ]; then
        echo "error: stopped at $1 (exit code $status); mend what it names and run this again: it goes on" >&2
        exit $status
    fi
}

train_seferbekov() {
    local config=${CONFIG:-$ROOT/configs/b7.json} seed
    for seed in ${SEEDS:-111 555 777 888 999}; do
        train "$(basename -- "$config" .json)_$seed" "$config" --folds-csv folds.csv --fold 0 --seed "$seed" \
            --label-smoothing 0.01 --freeze-epochs 0 "$@"
    done
}

train_configs() { # FLAGS... of what stands in `configs`
    local config
    if [ -n "${CONFIG:-}" ]; then configs=("$CONFIG"); fi
    for config in "${configs[@]}"; do
        train "$(basename -- "$config" .json)" "$config" "$@"
    done
}

train_ntechlab() {
    configs=("$ROOT"/configs/ntechlab/{large_crop,random_erasing,seq}.json)
    train_configs "$@"
}

train_medics() {
    configs=("$ROOT"/configs/medics/{i3d,res34,mc3_112,r2p1_112,i3d_cutmix,r2p1_cutmix,seresnext50}.json)
    train_configs --starting-weights "$ROOT/weights/medics" "$@"
    if [ -z "${CONFIG:-}" ]; then # it goes on from what was trained at half its size
        train mc3_224 "$ROOT/configs/medics/mc3_224.json" --init weights/mc3_112_medics_mc3_112_best_dice "$@"
    fi
}

"train_$SYSTEM" "$@"
