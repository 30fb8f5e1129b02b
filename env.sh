# Sourced by the shell scripts: where the project lies, which Python it uses (that of `make setup`, else the container's).
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if [ -f "$ROOT/.venv/ready" ]; then
    PYTHON=$ROOT/.venv/bin/python
else
    PYTHON=$(command -v python || command -v python3) || { echo "error: no Python found; run make setup" >&2; exit 1; }
fi
# the seven models of the winning ensemble, as published
PUBLISHED_MODELS=(
    final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36
    final_555_DeepFakeClassifier_tf_efficientnet_b7_ns_0_19
    final_777_DeepFakeClassifier_tf_efficientnet_b7_ns_0_29
    final_777_DeepFakeClassifier_tf_efficientnet_b7_ns_0_31
    final_888_DeepFakeClassifier_tf_efficientnet_b7_ns_0_37
    final_888_DeepFakeClassifier_tf_efficientnet_b7_ns_0_40
    final_999_DeepFakeClassifier_tf_efficientnet_b7_ns_0_23
)
