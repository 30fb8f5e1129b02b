#!/usr/bin/env bash
# Build the container image "dfdc_selimsef": ./build.sh [flags of docker build]
# Proxies of the environment and the host's network are passed on; the Dockerfile says what --build-arg takes.
set -euo pipefail
TARGET_TAG=dfdc_selimsef
SCRIPT_DIR=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if ! command -v docker >/dev/null; then
    echo "error: docker is not installed; https://docs.docker.com/engine/install" >&2
    exit 1
fi
flags=(--network=host -f "$SCRIPT_DIR/Dockerfile" -t "$TARGET_TAG")
for name in HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy FTP_PROXY ftp_proxy; do
    if [ -n "${!name:-}" ]; then flags+=(--build-arg "$name"); fi # docker takes the value from the environment
done
echo "Building $SCRIPT_DIR/Dockerfile into $TARGET_TAG"
exec docker build "${flags[@]}" "$@" "$SCRIPT_DIR"
