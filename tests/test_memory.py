"""Memory that is used again: one piece for each use and thread, and none after it was given back."""

from concurrent.futures import ThreadPoolExecutor

import torch

from neuronedit import _memory
from neuronedit._memory import give_back, scratch
from neuronedit.edits._neighbors import find_nearest


def test_scratch_is_the_same_memory_for_one_use_in_one_thread():
    like = torch.zeros(1)
    first = scratch("a", like, 10, 4)
    assert first.shape == (10, 4) and first.dtype == like.dtype
    assert scratch("a", like, 5, 2).data_ptr() == first.data_ptr()
    others = [scratch("b", like, 10, 4), scratch("a", like.double(), 10, 4), scratch("a", like, 11, 4)]
    with ThreadPoolExecutor(1) as pool:
        others.append(pool.submit(scratch, "a", like, 10, 4).result())
    assert first.data_ptr() not in [other.data_ptr() for other in others]
    assert _memory._SCRATCH.buffers
    give_back()
    assert not _memory._SCRATCH.buffers


def test_scratch_of_inference_mode_and_of_other_kinds_of_tensors_is_their_own():
    with torch.inference_mode():
        scratch("a", torch.zeros(1), 3)
    scratch("a", torch.zeros(1), 3).add_(1)  # refused for a tensor of inference mode
    assert scratch("a", torch.zeros(1, device="meta"), 3).is_meta


def test_neighbours_are_the_same_in_many_threads():
    x = torch.randn(3_000, 5, generator=torch.Generator().manual_seed(0))
    alone = [find_nearest(x[:n], x[n:], 7)[1] for n in range(500, 2_500, 100)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda n: find_nearest(x[:n], x[n:], 7)[1], range(500, 2_500, 100)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
