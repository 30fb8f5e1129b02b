#!/usr/bin/env bash
# A DFDC data root becomes boxes, crops, landmarks, diffs and folds: ./preprocess_data.sh DATA_ROOT
#   FRAME_STEP=10   search faces in every tenth frame only: the same crops for a tenth of the work (default: 1, all)
#   KEEP_GOING=1    go on without the videos that failed; the exit code is still 1 then
#   WORKERS, DEVICE passed on to the stages as --workers and --device
# folds.csv is written to the current folder. What is done is skipped: the same command goes on where it stopped.
set -euo pipefail
if [ $# -ne 1 ]; then
    echo "usage: [FRAME_STEP=10] [KEEP_GOING=1] [WORKERS=N] [DEVICE=cpu] $0 DATA_ROOT" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
DATA_ROOT=$1
cpu_flags=(--root-dir "$DATA_ROOT") failed=()
if [ -n "${WORKERS:-}" ]; then cpu_flags+=(--workers "$WORKERS"); fi
detector_flags=("${cpu_flags[@]}")
if [ -n "${DEVICE:-}" ]; then detector_flags+=(--device "$DEVICE"); fi

stage() { # TITLE SCRIPT FLAGS...
    echo "$1"
    local status=0
    "$PYTHON" "$ROOT/preprocessing/$2.py" "${@:3}" &
    local child=$!
    trap 'kill -TERM $child' INT TERM # in the background it does not hear Ctrl-C
    wait $child || status=$?
    if kill -0 $child 2> /dev/null; then # it was the signal that ended the wait
        status=0
        wait $child || status=$?
    fi
    trap - INT TERM
    if [ $status -eq 0 ]; then return; fi
    if [ $status -ne 1 ] || [ -z "${KEEP_GOING:-}" ]; then
        echo "error: stopped at $2.py (exit code $status). Mend what it names and run this again; KEEP_GOING=1 goes on" \
            "without the videos that failed" >&2
        exit $status
    fi
    failed+=("$2.py")
}

stage "Searching faces in real videos" detect_original_faces "${detector_flags[@]}" --frame-step "${FRAME_STEP:-1}"
stage "Extracting crops" extract_crops "${cpu_flags[@]}" --crops-dir crops
stage "Extracting landmarks" generate_landmarks "${detector_flags[@]}"
stage "Extracting SSIM masks" generate_diffs "${cpu_flags[@]}"
stage "Generating folds" generate_folds --root-dir "$DATA_ROOT" --out folds.csv
if [ ${#failed[@]} -gt 0 ]; then
    echo "error: done, but without what failed in ${failed[*]}" >&2
    exit 1
fi
