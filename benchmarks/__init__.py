"""Measurements: ratios against the reference recipe, taken in one run."""
