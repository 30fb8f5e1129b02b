#!/usr/bin/env bash
# A DFDC data root becomes what a system is trained on: [SYSTEM=seferbekov] ./preprocess_data.sh DATA_ROOT
#   SYSTEM=seferbekov  boxes, crops, landmarks, diffs and folds (default)
#   SYSTEM=ntechlab    tracks of faces, those of fakes and originals that lie on one another, crops of them, pairs
#   SYSTEM=medics      clips of faces for the 3D networks, mini videos and their table for the 2D one
#   FRAME_STEP=10   seferbekov: search faces in every tenth frame only: the same crops for a tenth of the work
#                   (default: 1, all)
#   KEEP_GOING=1    go on without the videos that failed; the exit code is still 1 then
#   WORKERS, DEVICE passed on to the stages as --workers and --device
# folds.csv (seferbekov) is written to the current folder. What is done is skipped: the same command goes on where it
# stopped.
set -euo pipefail
if [ $# -ne 1 ]; then
    echo "usage: [SYSTEM=seferbekov] [FRAME_STEP=10] [KEEP_GOING=1] [WORKERS=N] [DEVICE=cpu] $0 DATA_ROOT" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
check_system
DATA_ROOT=$1
cpu_flags=(--root-dir "$DATA_ROOT") failed=()
if [ -n "${WORKERS:-}" ]; then cpu_flags+=(--workers "$WORKERS"); fi
detector_flags=("${cpu_flags[@]}")
if [ -n "${DEVICE:-}" ]; then detector_flags+=(--device "$DEVICE"); fi

stage() { # TITLE SCRIPT FLAGS...
    echo "$1"
    run_and_wait "$PYTHON" "$ROOT/preprocessing/$2.py" "${@:3}"
    if [ $status -eq 0 ]; then return; fi
    if [ $status -ne 1 ] || [ -z "${KEEP_GOING:-}" ]; then
        echo "error: stopped at $2.py (exit code $status). Mend what it names and run this again; KEEP_GOING=1 goes on" \
            "without the videos that failed" >&2
        exit $status
    fi
    failed+=("$2.py")
}

prepare_seferbekov() {
    stage "Searching faces in real videos" detect_original_faces "${detector_flags[@]}" --frame-step "${FRAME_STEP:-1}"
    stage "Extracting crops" extract_crops "${cpu_flags[@]}" --crops-dir crops
    stage "Extracting landmarks" generate_landmarks "${detector_flags[@]}"
    stage "Extracting SSIM masks" generate_diffs "${cpu_flags[@]}"
    stage "Generating folds" generate_folds --root-dir "$DATA_ROOT" --out folds.csv
}

prepare_ntechlab() {
    stage "Searching and following faces" detect_tracks "${detector_flags[@]}" --weights-dir "$ROOT/weights"
    stage "Aligning faces of fakes and originals" align_tracks --root-dir "$DATA_ROOT"
    stage "Extracting crops of tracks" extract_track_crops "${cpu_flags[@]}"
}

prepare_medics() {
    stage "Extracting clips of faces" extract_face_clips "${detector_flags[@]}"
    stage "Extracting mini videos" extract_mini_videos "${detector_flags[@]}"
}

"prepare_$SYSTEM"
if [ ${#failed[@]} -gt 0 ]; then
    echo "error: done, but without what failed in ${failed[*]}" >&2
    exit 1
fi
