"""Which rows go where."""

from training.epoch_batches import epoch_batches, share_of


def test_one_process():
    assert epoch_batches(5, batch_size=2) == [[0, 1], [2, 3], [4]]


def test_two_processes_take_what_one_with_twice_the_batch_takes():
    first, second = (epoch_batches(11, batch_size=2, rank=rank, world_size=2) for rank in range(2))
    assert first == [[0, 1], [4, 5], [8, 9]]
    assert second == [[2, 3], [6, 7], [10, 0]]  # filled up from the beginning
    assert [a + b for a, b in zip(first, second, strict=True)][:2] == epoch_batches(11, batch_size=4)[:2]


def test_fewer_rows_than_processes():
    assert [epoch_batches(1, batch_size=3, rank=rank, world_size=4) for rank in range(4)] == [[[0]]] * 4


def test_validation_does_each_row_once():
    shares = [list(share_of(7, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(row for share in shares for row in share) == list(range(7)) and max(map(len, shares)) == 3
