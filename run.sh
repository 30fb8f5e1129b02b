#!/usr/bin/env bash
# Run a command, or a shell, in the container of ./build.sh: ./run.sh DATA_ROOT [COMMAND [ARGUMENTS]]
#   GPUS     what docker's --gpus gets (default: all); GPUS= on a machine without a GPU
#   IMAGE    default: dfdc_selimsef
# In there DATA_ROOT is /dataset and this folder is /workspace, so weights/, logs/, folds.csv and what else a command
# writes stay; files belong to the user who runs this. For example:
#   ./run.sh DATA_ROOT env FRAME_STEP=10 ./preprocess_data.sh /dataset
#   ./run.sh DATA_ROOT ./train.sh /dataset 4
set -euo pipefail
if [ $# -lt 1 ] || [ -z "$1" ] || [[ $1 == -* ]]; then
    echo "usage: [GPUS=all] [IMAGE=dfdc_selimsef] $0 DATA_ROOT [COMMAND [ARGUMENTS]]" >&2
    exit 2
fi
GPUS=${GPUS-all}
IMAGE=${IMAGE:-dfdc_selimsef}

stop() { # MESSAGE
    echo "error: $1" >&2
    exit 1
}

mount_at() { # TARGET FOLDER: in quotes, as docker splits at commas
    local quote='"'
    flags+=(--mount "type=bind,target=$1,${quote}source=${2//$quote/$quote$quote}$quote")
}

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
DATA_ROOT=$(CDPATH='' cd -- "$1" 2>/dev/null && pwd) || stop "DATA_ROOT $1: no such folder, or it can't be entered"
shift
command -v docker >/dev/null || stop "docker is not installed; https://docs.docker.com/engine/install"
if ! answer=$(docker image inspect --format . "$IMAGE" 2>&1 >/dev/null); then
    case $answer in
        *[Nn]"o such image"*) stop "there is no image $IMAGE; ./build.sh builds it" ;;
        *) stop "docker: $answer" ;;
    esac
fi

flags=(--rm --init --ipc=host --user "$(id -u):$(id -g)")
for group in $(id -G); do flags+=(--group-add "$group"); done
mount_at /dataset "$DATA_ROOT"
mount_at /workspace "$ROOT"
# what `make setup` made is for the machine outside
if [ -d "$ROOT/.venv" ]; then flags+=(--tmpfs /workspace/.venv); fi
if [ -n "$GPUS" ]; then flags+=(--gpus "$GPUS"); fi
for name in HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy FTP_PROXY ftp_proxy; do
    if [ -n "${!name:-}" ]; then flags+=(--env "$name"); fi
done
if [ ! -t 0 ]; then
    flags+=(--interactive)
elif [ -t 1 ]; then
    flags+=(--interactive --tty)
fi
echo "Running in $IMAGE, GPUs: ${GPUS:-none} (GPUS= $0 ... for none)" >&2
exec docker run "${flags[@]}" "$IMAGE" "$@"
