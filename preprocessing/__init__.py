"""From videos to faces: the frame reader, the face detector and the crop that data preparation and inference share."""
