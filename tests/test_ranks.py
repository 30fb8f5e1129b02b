"""Work shared by processes, on two CPU processes with gloo under a real torchrun."""

import json
import os
import sys
import textwrap

import pytest

from runtime.ranks import LaunchError, Ranks
from tests import processes


def torchrun(tmp_path, body):
    script = tmp_path / "work.py"
    script.write_text(textwrap.dedent(body))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    return processes.run([*command, str(script)], capture_output=True, text=True, env=environment, timeout=120)


def test_alone():
    ranks = Ranks()
    assert (ranks.rank, ranks.world_size) == (0, 1)
    assert ranks.broadcast("x") == "x"
    assert list(ranks.results([1, 2, 3], lambda items: (10 * item for item in items))) == [10, 20, 30]
    ranks.close()


def test_environment_without_a_meeting_point(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(LaunchError, match=r"WORLD_SIZE is 2, but: .*MASTER_ADDR.* Use torchrun, or unset it"):
        Ranks()


def test_even_in_time_and_each_once(tmp_path):
    """Rank 1 is ten times slower, and so takes fewer; rank 0 gets every result."""
    finished = torchrun(
        tmp_path,
        f"""
        import json, time
        from runtime.ranks import Ranks
        ranks = Ranks()
        todo = ranks.broadcast(list(range(40)) if ranks.rank == 0 else None)

        def run(items):
            for item in items:
                time.sleep(0.02 + 0.2 * ranks.rank)
                yield ranks.rank, item

        results = list(ranks.results(todo, run))
        ranks.close()
        if ranks.rank == 0:
            json.dump(results, open({str(tmp_path / "out.json")!r}, "w"))
        else:
            assert results == []
        """,
    )
    assert finished.returncode == 0, finished.stderr
    results = json.loads((tmp_path / "out.json").read_text())
    assert sorted(item for _, item in results) == list(range(40))
    by_rank = [sum(rank == r for rank, _ in results) for r in (0, 1)]
    assert by_rank[0] > 3 * by_rank[1] > 0


@pytest.mark.parametrize("rank", [0, 1])
def test_error_on_one_rank_ends_all(tmp_path, rank):
    finished = torchrun(
        tmp_path,
        f"""
        import time
        from runtime.ranks import Ranks
        ranks = Ranks()

        def run(items):
            for item in items:
                if ranks.rank == {rank}:
                    raise RuntimeError("defect of rank {rank}")
                time.sleep(0.05)
                yield item

        list(ranks.results(range(1000), run))
        """,
    )
    assert finished.returncode != 0 and f"defect of rank {rank}" in finished.stderr
