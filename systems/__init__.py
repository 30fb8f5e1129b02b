"""The prize winners' systems, a folder each: what is theirs alone of models, data, training and prediction.

Nothing is imported here: who wants a system's tables, or its name, does not wait for PyTorch.
"""

DEFAULT = "seferbekov"  # of models, configurations and summaries that name none
