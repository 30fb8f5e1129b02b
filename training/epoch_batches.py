"""Which rows of an epoch go into which batch of which process."""


def epoch_batches(rows: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """Row numbers of each batch of one process, in order.

    Step b takes rows b * batch_size * world_size on, shared evenly between the processes: two with a batch of 8 take
    at each step the rows that one takes with a batch of 16. The last batch may be smaller; where it can't be shared
    evenly, rows from the epoch's beginning fill it up.
    """
    whole = batch_size * world_size
    batches = []
    for start in range(0, rows, whole):
        numbers = list(range(start, min(start + whole, rows)))
        numbers += [index % rows for index in range(-len(numbers) % world_size)]
        share = len(numbers) // world_size
        batches.append(numbers[rank * share : (rank + 1) * share])
    return batches


def share_of(rows: int, *, rank: int, world_size: int) -> range:
    """Row numbers that one process validates: each row is done once."""
    return range(rank, rows, world_size)
