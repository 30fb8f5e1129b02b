"""The winning system, by Selim Seferbekov: single frames, EfficientNets, the confident strategy."""
