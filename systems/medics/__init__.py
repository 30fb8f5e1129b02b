"""The Medics' system: clips of faces found as 3D masks, seven 3D CNNs and one 2D CNN, and the mean of their scores.

Where to change what:

    volumes.py, squares.py      boxes of sampled frames to tracks of faces, and squares that follow a face
    clips.py, mini_videos.py    what training sees: plans, then pictures cut from frames in ascending order
    clip_files.py               files of these: as data preparation encodes them, and as training reads them
    i3d.py, resnet3d.py         the two networks that no library has
    models.py                   the eight published models: network, size, normalisation, checkpoints
    starting_weights.py         what training begins with: Kinetics, Charades and ImageNet weights
    buckets.py                  which clips and which of their frames an epoch shows
    augmentation.py, cutmix.py  how these are changed
    schedule.py                 the learning rate of each step
    settings.py, sampling.py    inference: its settings, detection attempts, tracks and pictures
    strategy.py                 from pictures and probabilities to the score of a video
"""
