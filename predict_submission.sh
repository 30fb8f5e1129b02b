#!/usr/bin/env bash
# Score a folder of videos with a published ensemble:
#   [SYSTEM=seferbekov] ./predict_submission.sh DIR CSV [flags of predict_folder.py]
# With SYSTEM=all: with each system whose weights are there, one after the other, and CSV gets the mean of their scores
# and a column for each (combine_submissions.py). submission.csv is then made of submission.seferbekov.csv and so on, and
# files that flags name become each system's own in the same way (--case c.json: c.medics.json); --report's own name goes
# to the page of all of them.
#   WEIGHTS_DIR   the folder with the weights (default: weights, beside this script)
# The same command goes on where it stopped.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: [SYSTEM=seferbekov|ntechlab|medics|all] $0 DIR CSV [flags of predict_folder.py]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
SYSTEM=${SYSTEM:-seferbekov}
WEIGHTS=${WEIGHTS_DIR:-$ROOT/weights}
DIR=$1 CSV=$2

# Puts a file's name for one system into `named`: page.html becomes page.SYSTEM.html.
name_for() { # SYSTEM FILE
    case ${2##*/} in
        *.*) named=${2%.*}.$1.${2##*.} ;;
        *) named=$2.$1 ;;
    esac
}

# Puts the flags for one system into `flags`, and the page that --report names into `report`.
flags_for() { # SYSTEM FLAGS...
    local before='' word
    flags=() report=
    for word in "${@:2}"; do
        case $before in
            --report | --faces-csv | --tracks-csv | --intervals-csv | --case)
                if [ "$before" = --report ]; then report=$word; fi
                name_for "$1" "$word"
                word=$named
                ;;
            *)
                case $word in
                    --report=* | --faces-csv=* | --tracks-csv=* | --intervals-csv=* | --case=*)
                        if [ "${word%%=*}" = --report ]; then report=${word#*=}; fi
                        name_for "$1" "${word#*=}"
                        word=${word%%=*}=$named
                        ;;
                esac
                ;;
        esac
        flags+=("$word")
        before=$word
    done
}

# Puts the systems whose published checkpoints are there into `systems`, and says what is missing of the others.
list_systems() {
    local system name missing
    systems=()
    for system in seferbekov ntechlab medics; do
        list_published_models "$system"
        missing=()
        for name in "${models[@]}"; do
            if [ ! -e "$WEIGHTS/$name" ]; then missing+=("$name"); fi
        done
        if [ ${#missing[@]} -eq 0 ]; then
            systems+=("$system")
        else
            echo "$system is left out: ${#missing[@]} of its ${#models[@]} checkpoints are not in $WEIGHTS: ${missing[*]}"
        fi
    done
    if [ ${#systems[@]} -eq 0 ]; then
        echo "error: SYSTEM=all: no system's checkpoints are all in $WEIGHTS; docs/systems.md tells where they are from" >&2
        exit 1
    fi
}

# Runs a system, whose submission is then in `named`. With --strict, say, it fails, and has written that nevertheless.
predict() { # SYSTEM FLAGS...
    local started
    list_published_models "$1"
    flags_for "$@"
    name_for "$1" "$CSV"
    started=$(date +%s)
    run_and_wait "$PYTHON" "$ROOT/predict_folder.py" --system "$1" --weights-dir "$WEIGHTS" --models "${models[@]}" \
        --test-dir "$DIR" --output "$named" ${flags[@]+"${flags[@]}"}
    if [ $status -eq 1 ] && is_newer "$named" "$started"; then
        failed=1
    elif [ $status -ne 0 ]; then
        echo "error: stopped at $1 (exit code $status); mend what it names and run this again: it goes on" >&2
        exit $status
    fi
}

is_newer() { # FILE SECONDS
    "$PYTHON" -c 'import os, sys; sys.exit(os.path.getmtime(sys.argv[1]) < int(sys.argv[2]))' "$1" "$2" 2> /dev/null
}

if [ "$SYSTEM" != all ]; then
    list_published_models "$SYSTEM"
    exec "$PYTHON" "$ROOT/predict_folder.py" --system "$SYSTEM" --weights-dir "$WEIGHTS" --models "${models[@]}" \
        --test-dir "$DIR" --output "$CSV" "${@:3}"
fi
list_systems
outputs=() failed=0
for system in "${systems[@]}"; do
    printf '\n== %s\n' "$system"
    predict "$system" "${@:3}"
    outputs+=("$named")
done
printf '\n== all of them: %s\n' "${systems[*]}"
run_and_wait "$PYTHON" "$ROOT/combine_submissions.py" "${outputs[@]}" --output "$CSV" ${report:+--report "$report"}
if [ $status -ne 0 ]; then exit $status; fi
exit $failed
