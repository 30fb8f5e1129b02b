"""Augmentation of crops."""
