"""Small tools around training."""
