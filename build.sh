#!/usr/bin/env bash
# Build the container image "dfdc_selimsef"; proxies and the host's network are passed on. ./build.sh [flags of docker build]
set -euo pipefail
TARGET_TAG=dfdc_selimsef
SCRIPT_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
proxies=()
for name in HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy FTP_PROXY ftp_proxy; do
    if [ -n "${!name:-}" ]; then proxies+=(--build-arg "$name=${!name}"); fi
done
echo "Building $SCRIPT_DIR/Dockerfile into $TARGET_TAG"
exec docker build ${proxies[@]+"${proxies[@]}"} --network=host -f "$SCRIPT_DIR/Dockerfile" -t "$TARGET_TAG" "$@" "$SCRIPT_DIR"
