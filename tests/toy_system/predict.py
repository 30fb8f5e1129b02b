"""predict_folder.py with the toy system: the one line that adds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import predict_folder
from systems import registry

registry.SYSTEMS["toy"] = "tests.toy_system"

if __name__ == "__main__":
    sys.exit(predict_folder.main())
