"""The trainer without drop path, which each process draws for itself: for comparing two processes with one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from systems.seferbekov import models
from training.pipelines.train_classifier import main

for name, (timm_name, features, _) in list(models._ENCODERS.items()):
    models._ENCODERS[name] = (timm_name, features, 0.0)

if __name__ == "__main__":
    sys.exit(main())
