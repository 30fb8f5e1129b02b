"""How large what we read may be. Beyond that a file is refused with a line, before it takes memory: what comes with a
data root was made by others, and a small file may claim to be a large one."""

MIB = 1 << 20

PICTURE_PIXELS = 1 << 26  # twice a frame of 8K; looked for in the header, before anything is decoded
PICTURE = 4 * PICTURE_PIXELS  # bytes: no picture of ours needs more for as many pixels
LANDMARKS = 1 * MIB  # ours have 148 bytes
CONFIG = 1 * MIB
METADATA = 32 * MIB  # the whole DFDC in one metadata.json would have 11
SPLITS = 16 * MIB
BOXES = 64 * MIB  # of one video: 10 hours with a face in every frame
FACES = 2000  # of a frame: what compares them with one another takes the square of it in time
LABELS = 64 * MIB  # CSVs of videos, lists of them, submissions: half a million rows
FOLDS = 1024 * MIB  # a row for each crop: the whole DFDC's has a quarter of that
JOURNAL_LINE = 64 * MIB  # of one video: a hundred thousand faces and their scores
LOG = 1024 * MIB  # what a training printed
