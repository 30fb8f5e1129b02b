"""Training of the classifiers, and the networks that inference shares with it."""
