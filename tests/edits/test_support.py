import torch

from neuronedit.edits import support


def test_share_of_neurons_within_the_closed_range():
    inside = support(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    cells = torch.tensor([[0.0, 1.0, 0.5], [-1.0, 2.0, 3.0], [0.5, 0.5, 9.0]])
    torch.testing.assert_close(inside(cells), torch.tensor([1.0, 0.0, 2 / 3]))
