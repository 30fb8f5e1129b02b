# What training and prediction need, on the official PyTorch image: ./build.sh [--build-arg NAME=VALUE ...]
#   PYTORCH, CUDA, CUDNN   as the image's tag has them (also CUDA=12.8); its PyTorch is kept, not requirements.lock's
#   VARIANT=devel          with the CUDA compiler, which apex needs (default: runtime, which is smaller)
#   TZ                     time zone, such as Europe/Berlin
#   PRETRAINED             encoders whose ImageNet weights go into the image; empty: none, for a build without internet
#   APEX=1                 with apex, for configs that name FusedSGD or FusedAdam: its release APEX_REF, for the GPUs of
#                          APEX_ARCHS
ARG PYTORCH=2.11.0
ARG CUDA=13.0
ARG CUDNN=9
ARG VARIANT=runtime
FROM pytorch/pytorch:${PYTORCH}-cuda${CUDA}-cudnn${CUDNN}-${VARIANT}

ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl ffmpeg tzdata \
    && rm -rf /var/lib/apt/lists/*

ARG TZ=Etc/UTC
ENV TZ=${TZ}
RUN [ -f "/usr/share/zoneinfo/$TZ" ] \
    || { echo "error: TZ=$TZ: no such time zone; give one such as Europe/Berlin" >&2; exit 1; } \
    && ln -snf "/usr/share/zoneinfo/$TZ" /etc/localtime \
    && echo "$TZ" > /etc/timezone

# Without the first, pip refuses to install into Debian's and Ubuntu's own Python.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# The option is today's form of --global-option="--cpp_ext" --global-option="--cuda_ext"; newer apex has the variables.
ARG APEX=0
ARG APEX_REF=25.09
ARG APEX_ARCHS="7.5;8.0;8.6;8.9;9.0;10.0;12.0"
RUN [ "$APEX" = 1 ] || exit 0; \
    command -v nvcc > /dev/null \
    || { echo "error: APEX=1 needs nvcc, which this image lacks; add --build-arg VARIANT=devel" >&2; exit 1; } \
    && apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m pip install ninja packaging wheel \
    && APEX_CPP_EXT=1 APEX_CUDA_EXT=1 TORCH_CUDA_ARCH_LIST="$APEX_ARCHS" \
        python3 -m pip install -v --no-build-isolation --use-pep517 \
        --config-settings="--build-option=--cpp_ext --cuda_ext" \
        "git+https://github.com/NVIDIA/apex@$APEX_REF" \
    && python3 -c "import torch, amp_C; from apex.optimizers import FusedAdam, FusedSGD"

WORKDIR /workspace
COPY requirements.lock .
# The image's PyTorch stays, with what came with it. All else of the lock goes into a folder that Python looks into first:
# pip can't replace what Debian's and Ubuntu's own packages brought.
ENV PYTHONPATH=/opt/packages PATH=/opt/packages/bin:$PATH
RUN { command -v python > /dev/null || ln -s "$(command -v python3)" /usr/local/bin/python; } \
    && awk '/^[a-z]/ { other = !/^(torch|torchvision|triton|setuptools|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/ } other' \
        requirements.lock > /tmp/others.lock \
    && python3 -m pip install --require-hashes --no-deps --target "$PYTHONPATH" -r /tmp/others.lock \
    && rm /tmp/others.lock

# Where any user finds the weights, and may add others'.
ENV HF_HOME=/opt/huggingface HF_HUB_DISABLE_TELEMETRY=1
ARG PRETRAINED="tf_efficientnet_b7_ns tf_efficientnet_b5_ns"
COPY runtime runtime
COPY systems/__init__.py systems/imagenet.py systems/
COPY systems/seferbekov/__init__.py systems/seferbekov/models.py systems/seferbekov/
COPY training/__init__.py training/
COPY training/tools/__init__.py training/tools/fetch_pretrained.py training/tools/
RUN mkdir -p "$HF_HOME" \
    && if [ -n "$PRETRAINED" ]; then \
        python3 training/tools/fetch_pretrained.py $PRETRAINED \
        || { echo "error: --build-arg PRETRAINED= builds without pretrained weights" >&2; exit 1; }; \
    fi \
    && rm -rf "$HF_HOME/xet" \
    && chmod -R a+rwX "$HF_HOME"

# For docker run --user: a home and a name for users that the image does not know, and a folder they may write to.
ENV HOME=/home/dfdc USER=dfdc LOGNAME=dfdc
COPY . .
RUN mkdir -p -m 1777 "$HOME" && chmod -R a+rwX /workspace

# An hour after its start, and each hour: are scores what they should be? `docker ps` tells.
HEALTHCHECK --interval=1h --timeout=10m CMD ["python3", "/workspace/doctor.py", "--quick"]
CMD ["/bin/bash"]
