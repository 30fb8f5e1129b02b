"""From a file to faces: the video reader, detectors, crops, pictures on disk."""
