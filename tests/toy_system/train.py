"""train_classifier.py with the toy system: the one line that adds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from systems import registry
from training.pipelines import train_classifier

registry.SYSTEMS["toy"] = "tests.toy_system"

if __name__ == "__main__":
    sys.exit(train_classifier.main())
