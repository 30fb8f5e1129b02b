#!/usr/bin/env bash
# Fetch the winner's published checkpoints (seven, 267 MB each) into weights/: ./download_weights.sh
# What is there is kept; a download that broke off goes on; each file is loaded once before it gets its name.
#   SYSTEM=ntechlab  fetches nothing, as the published links have died: it checks the files that you have put there
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
case ${SYSTEM:-seferbekov} in
    seferbekov) ;;
    ntechlab) cd "$ROOT" && exec "$PYTHON" -m systems.ntechlab.check_weights weights ;;
    *)
        echo "error: SYSTEM=$SYSTEM: nothing is known to fetch for it; use seferbekov or ntechlab" >&2
        exit 1
        ;;
esac
BASE_URL=${BASE_URL:-https://github.com/selimsef/dfdc_deepfake_challenge/releases/download/0.0.1}
command -v curl >/dev/null || { echo "error: curl is not installed" >&2; exit 1; }

list_published_models seferbekov
missing=()
for name in "${models[@]}"; do
    file=$ROOT/weights/$name
    if [ -f "$file" ]; then
        echo "$name: there"
        continue
    fi
    echo "$name: fetching"
    # curl's 33: the server can't resume; its 36: the part does not fit. Then the part is of no use. The server's 416: the
    # file has no more than the part, which is complete, or of something else: the check below tells.
    status=0
    answer=$(curl --fail --location --retry 2 --continue-at - --output "$file.part" --write-out '%{http_code}' \
        "$BASE_URL/$name") || status=$?
    if [ $status -ne 0 ] && [ "$answer" != 416 ]; then
        if [ $status -eq 33 ] || [ $status -eq 36 ]; then rm -f "$file.part"; fi
        missing+=("$name (download failed, curl's code $status)")
        if [ $status -eq 6 ]; then  # no such host: the others would fail alike
            echo "error: no internet here? Fetch these elsewhere and put them into $ROOT/weights:" >&2
            printf "  $BASE_URL/%s\n" "${models[@]}" >&2
            exit 1
        fi
        continue
    fi
    if (cd "$ROOT" && "$PYTHON" -m training.tools.check_checkpoint "$file.part"); then
        mv "$file.part" "$file"
    else
        rm -f "$file.part"
        missing+=("$name (what came is no such checkpoint)")
    fi
done

if [ ${#missing[@]} -gt 0 ]; then
    echo "error: ${#missing[@]} of ${#models[@]} checkpoints are missing; run $0 again to go on:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi
echo "all ${#models[@]} checkpoints are in $ROOT/weights"
