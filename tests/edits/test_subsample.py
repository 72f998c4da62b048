import numpy as np
import pytest

from neuronedit._subsample import subsample


@pytest.mark.parametrize(("n_cells", "n"), [(100, 7), (5, 5), (5, 1_000), (0, 3)])
def test_distinct_rows_in_ascending_order(n_cells, n):
    rows = subsample(n_cells, n)
    assert len(rows) == min(n_cells, n)
    assert (np.diff(rows) > 0).all() and set(rows) <= set(range(n_cells))


def test_rng_decides():
    assert np.array_equal(subsample(1_000, 10, 3), subsample(1_000, 10, 3))
    assert not np.array_equal(subsample(1_000, 10, 3), subsample(1_000, 10, 4))
