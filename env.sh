# Sourced by the shell scripts: where the project lies, which Python it uses (that of `make setup`, else the container's).
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if [ -f "$ROOT/.venv/ready" ]; then
    PYTHON=$ROOT/.venv/bin/python
else
    PYTHON=$(command -v python || command -v python3) || { echo "error: no Python found; run make setup" >&2; exit 1; }
fi
# Puts the files of a system's published ensemble into the array `models`.
list_published_models() { # SYSTEM
    local listed=$ROOT/configs/published/$1.json
    if [ ! -f "$listed" ]; then
        echo "error: SYSTEM=$1: there is no $listed; use one of $(cd "$ROOT/configs/published" && echo *.json)" >&2
        return 1
    fi
    models=()
    while IFS= read -r name; do  # macOS's bash has no mapfile
        models+=("$name")
    done < <("$PYTHON" -c 'import json, sys; print(*json.load(open(sys.argv[1]))["files"], sep="\n")' "$listed")
}
# Runs a command that hears SIGTERM and Ctrl-C when this script does, waits for it, and puts its exit code into `status`.
run_and_wait() { # COMMAND...
    status=0
    "$@" &
    local child=$!
    # in the background it does not hear Ctrl-C; it may have ended just now
    trap 'kill -TERM $child 2> /dev/null || true' INT TERM
    wait $child || status=$?
    if kill -0 $child 2> /dev/null; then # it was the signal that ended the wait
        status=0
        wait $child || status=$?
    fi
    trap - INT TERM
}
# Ends this script where SYSTEM is none of the systems, and sets it to the winner's where it is not given.
check_system() {
    SYSTEM=${SYSTEM:-seferbekov}
    case $SYSTEM in
        seferbekov | ntechlab | medics) ;;
        *)
            echo "error: SYSTEM=$SYSTEM: there is no such system; use seferbekov, ntechlab or medics" >&2
            exit 2
            ;;
    esac
}
