"""From a folder of videos to scores: faces, models, strategies, and the pipeline that keeps them all busy."""
