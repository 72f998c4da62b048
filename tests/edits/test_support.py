import torch

from neuronedit.edits import distance, support


def test_share_of_neurons_within_the_closed_range():
    share = support(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    cells = torch.tensor([[0.0, 1.0, 0.5], [-1.0, 2.0, 3.0], [0.5, 0.5, 9.0]])
    torch.testing.assert_close(share(cells), torch.tensor([1.0, 0.0, 2 / 3]))


def test_distance_finds_cells_that_lie_within_every_range_but_far_from_every_cell():
    """A ring: its middle lies within every range and far from every cell."""
    angle = torch.linspace(0, 6.28, 400)
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    middle = torch.zeros(1, 2)
    assert support(ring)(middle) == 1
    assert distance(ring)(middle) > 10
    assert (distance(ring)(ring) <= 1).float().mean() > 0.98


def test_distance_of_two_cells_and_of_equal_cells_is_finite():
    for cells in (torch.tensor([[0.0], [1.0]]), torch.ones(5, 1)):
        assert torch.isfinite(distance(cells)(torch.tensor([[0.5], [3.0]]))).all()
