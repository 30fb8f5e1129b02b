"""Samples to train on: which crops, with what taken out of them."""
