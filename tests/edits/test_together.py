"""Several edits in one space: each moves cells as it does alone, and neighbours are looked for once."""

import pytest
import torch

from neuronedit.edits import Shift, _neighbors, _together, percentile
from neuronedit.edits._neighbors import Nearest, find_nearest
from neuronedit.edits._percentile import Percentiles
from neuronedit.edits._together import AverageInSpace, edit_each, share_cells
from neuronedit.spaces import PCA, Identity


def cells(n, seed, n_features=4):
    return torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed))


def edits(width=4):
    source = cells(100, 0, width)
    others = [Nearest(source.clone(), cells(100, seed, width), 5) for seed in (1, 2)]
    return [Nearest(source, cells(100, 3, width), 5), Shift(torch.ones(width)), *others]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("space", [Identity(), PCA.of(cells(100, 5), n_components=2)])
def test_each_moves_as_alone(space, together, monkeypatch):
    monkeypatch.setattr(_together, "MAX_VALUES_TO_DECODE_TOGETHER", 2**20 if together else 0)
    x = cells(30, 9)
    width = space.encode(x).shape[1]
    for edit, edited in zip(edits(width), edit_each(space, edits(width), x), strict=True):
        z = space.encode(x)
        torch.testing.assert_close(edited, x + space.decode(edit(z)) - space.decode(z), rtol=0, atol=1e-5)
    shares = [0.4, 0.3, 0.2, 0.1]
    mean = sum(share * edited for share, edited in zip(shares, edit_each(space, edits(width), x), strict=True))
    before = x.clone()
    torch.testing.assert_close(AverageInSpace(space, edits(width), shares)(x), mean, rtol=0, atol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("space", [Identity(), PCA.of(cells(100, 5), n_components=2)])
def test_no_cells_can_be_edited(space):
    """A block may hold no cell that an edit is for."""
    own = edits(space.encode(cells(1, 9)).shape[1])
    assert [edited.shape for edited in edit_each(space, own, cells(0, 9))] == [(0, 4)] * 4
    assert AverageInSpace(space, own, [0.25] * 4)(cells(0, 9)).shape == (0, 4)


def test_few_cells_are_decoded_together_in_products_of_one_size(monkeypatch):
    decoded, decode = [], PCA.decode

    def count(space, z):
        decoded.append(len(z))
        return decode(space, z)

    monkeypatch.setattr(PCA, "decode", count)
    space = PCA.of(cells(100, 5), n_components=2)
    list(edit_each(space, edits(2), cells(90, 9)))
    assert decoded == [256, 194]  # cells before, and after each of four edits
    monkeypatch.setattr(_together, "MAX_VALUES_TO_DECODE_TOGETHER", 5 * 90 * 4 - 1)
    list(edit_each(space, edits(2), cells(90, 9)))
    assert decoded[2:] == [90] * 5


def test_neighbours_are_looked_for_once(monkeypatch):
    searches = []

    def count(*args, **how):
        searches.append(args)
        return find_nearest(*args, **how)

    monkeypatch.setattr(_neighbors, "find_nearest", count)
    list(edit_each(Identity(), edits(), cells(30, 9)))
    assert len(searches) == 1
    more = [*edits(), Nearest(cells(100, 7), cells(100, 8), 5), Nearest(cells(100, 0), cells(100, 8), 6)]
    list(edit_each(Identity(), more, cells(30, 9)))
    assert len(searches) == 4  # other cells, and another number of them, are other neighbours
    space = PCA.of(cells(100, 5), n_components=2)
    places = space.encode(cells(100, 0))
    elsewhere = [Nearest(places.clone(), cells(100, seed), 5, space) for seed in (1, 2)]
    list(edit_each(Identity(), [*edits(), *elsewhere], cells(30, 9)))
    assert len(searches) == 6  # in another space they are others, and are looked for once, too


def test_neighbours_in_a_space_are_those_of_encoded_cells():
    space, x, moves = PCA.of(cells(100, 5), n_components=2), cells(30, 9), cells(100, 1)
    places = space.encode(cells(100, 0))
    moved = Nearest(places, moves, 5, space)(x)
    nearest = torch.cdist(space.encode(x), places).topk(5, largest=False).indices
    torch.testing.assert_close(moved, x + moves[nearest].mean(1), rtol=0, atol=1e-5)


def test_percentiles_are_looked_for_once(monkeypatch):
    source, x, searches = cells(100, 0), cells(30, 9), []
    own = [percentile(source.clone(), cells(100, seed)) for seed in (1, 2)] + [percentile(cells(100, 7), source)]
    alone = [edit(x) for edit in own]
    find = Percentiles.find
    monkeypatch.setattr(Percentiles, "find", lambda self, z: (searches.append(self), find(self, z))[1])
    for moved, edited in zip(alone, edit_each(Identity(), own, x), strict=True):
        torch.testing.assert_close(edited, moved, rtol=0, atol=1e-6)
    assert searches == [own[0], own[2]]


def test_equal_cells_are_kept_once():
    given = [*edits(), Nearest(cells(100, 7), cells(100, 8), 5)]
    shared, x = share_cells(given), cells(30, 9)
    assert len({id(edit.cells) for edit in shared if isinstance(edit, Nearest)}) == 2
    assert all(torch.equal(edit(x), own(x)) for edit, own in zip(shared, given, strict=True))


def test_products_have_few_sizes(monkeypatch):
    """Sizes that come from the number of cells are rounded up: every one that oneDNN meets costs memory."""
    from neuronedit._networks import apply_dense, dense

    sizes, space = set(), PCA.of(cells(50, 0))
    product, plain = torch.addmm, torch.Tensor.__matmul__

    def addmm(bias, a, b, **how):
        sizes.add((*a.shape, b.shape[1]))
        return product(bias, a, b, **how)

    def matmul(a, b):
        sizes.add((*a.shape, b.shape[1]))
        return plain(a, b)

    monkeypatch.setattr(torch, "addmm", addmm)
    monkeypatch.setattr(torch.Tensor, "__matmul__", matmul)
    stack = dense([4, 8, 2], rng=torch.Generator().manual_seed(0), linear_output=True)
    with torch.no_grad():
        for n in range(1, 200, 7):
            apply_dense(stack, cells(n, 1))
            find_nearest(cells(n, 1), cells(n + 1, 2), 1)
            space.decode(space.encode(cells(n, 1)))
    assert sizes == {(256, 4, 8), (256, 8, 2), (128, 4, 256), (256, 4, 4)}  # two layers, distances, components
