#!/usr/bin/env bash
# Score a folder of videos with a published ensemble:
#   [SYSTEM=seferbekov] ./predict_submission.sh DIR CSV [flags of predict_folder.py]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: [SYSTEM=seferbekov] $0 DIR CSV [flags of predict_folder.py]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
SYSTEM=${SYSTEM:-seferbekov}
list_published_models "$SYSTEM"
exec "$PYTHON" "$ROOT/predict_folder.py" --system "$SYSTEM" --weights-dir "$ROOT/weights" --models "${models[@]}" \
    --test-dir "$1" --output "$2" "${@:3}"
