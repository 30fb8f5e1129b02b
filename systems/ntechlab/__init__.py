"""NtechLab's system, the third prize: face tracks, aligned pairs, EfficientNet-B7 on frames and on sequences."""
