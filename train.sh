#!/usr/bin/env bash
# Train the ensemble, one seed after another: ./train.sh DATA_ROOT [NUM_GPUS] [flags of train_classifier.py]
#   NUM_GPUS   processes, each with a GPU of its own (default: the visible GPUs, or 1 process on the CPU)
#   CONFIG     default: configs/b7.json
#   SEEDS      default: "111 555 777 888 999"
# Reads folds.csv of the current folder; writes weights/<config>_<seed>_*, logs/<config>_<seed> (what is printed) and
# TensorBoard's curves beside it. Finished seeds are skipped: the same command goes on where it stopped.
set -euo pipefail
if [ $# -lt 1 ] || [[ $1 == -* ]]; then
    echo "usage: [CONFIG=configs/b7.json] [SEEDS=\"111 555\"] $0 DATA_ROOT [NUM_GPUS] [flags of train_classifier.py]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
DATA_ROOT=$1
shift
NUM_GPUS=
if [[ ${1:-} =~ ^[0-9]*$ ]] && [ $# -gt 0 ]; then
    NUM_GPUS=$1
    shift
fi
CONFIG=${CONFIG:-$ROOT/configs/b7.json}
SEEDS=${SEEDS:-111 555 777 888 999}
if [ -z "$NUM_GPUS" ]; then NUM_GPUS=$("$PYTHON" -c 'import torch; print(max(1, torch.cuda.device_count()))'); fi
if [ "$NUM_GPUS" -lt 1 ]; then
    echo "error: NUM_GPUS is $NUM_GPUS; give 1 or more, or leave it out" >&2
    exit 2
fi
launch=("$PYTHON" -u)
if [ "$NUM_GPUS" -gt 1 ]; then
    launch+=(-m torch.distributed.run --standalone --nproc-per-node "$NUM_GPUS")
fi

name=$(basename -- "$CONFIG" .json)
mkdir -p logs
for seed in $SEEDS; do
    echo "training ${name}_$seed in $NUM_GPUS process(es), log in logs/${name}_$seed"
    "${launch[@]}" "$ROOT/training/pipelines/train_classifier.py" --config "$CONFIG" --data-dir "$DATA_ROOT" \
        --folds-csv folds.csv --fold 0 --seed "$seed" --prefix "${name}_${seed}_" --label-smoothing 0.01 \
        --opt-level O1 --freeze-epochs 0 --test_every 1 --resume auto "$@" >> "logs/${name}_$seed" &
    child=$!
    trap 'kill -TERM $child' INT TERM # it saves first
    status=0
    wait $child || status=$?
    if kill -0 $child 2> /dev/null; then # it was the signal that ended the wait
        status=0
        wait $child || status=$?
    fi
    trap - INT TERM
    if [ $status -ne 0 ]; then
        echo "error: stopped at seed $seed (exit code $status); mend what it names and run this again: it goes on" >&2
        exit $status
    fi
done
