"""The prize winners' systems, a folder each: what is theirs alone of models, data, training and prediction."""
