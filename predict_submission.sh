#!/usr/bin/env bash
# Score a folder of videos with the published ensemble: ./predict_submission.sh DIR CSV [flags of predict_folder.py]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 DIR CSV [flags of predict_folder.py]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" "$ROOT/predict_folder.py" --weights-dir "$ROOT/weights" --models "${PUBLISHED_MODELS[@]}" \
    --test-dir "$1" --output "$2" "${@:3}"
