"""The training loop: gradients, schedules, validation, early stopping, interruption, awkward sizes."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

import neuronedit as ne
from neuronedit._adam import Adam
from neuronedit._device import fast_matmul
from neuronedit._networks import dense
from neuronedit.spaces import Autoencoder, Training, _base
from neuronedit.spaces._dense_backward import dense_backward
from neuronedit.spaces._train import PRECISIONS, constant, onecycle


def simulate(n=200, d=6, seed=0):
    low_rank = np.random.default_rng(seed).normal(size=(n, 2)) @ np.random.default_rng(1).normal(size=(2, d))
    return torch.from_numpy((low_rank + 3).astype(np.float32))


@pytest.mark.parametrize("n_cells", [1, 7, 10])
@pytest.mark.parametrize("widths", [[5, 3, 5], [5, 9, 4, 2, 4, 9, 5]])
def test_written_out_gradients_equal_autograd_s(widths, n_cells):
    x = torch.randn(n_cells, 5, generator=torch.Generator().manual_seed(1))
    by_hand, by_autograd = (dense(widths, rng=torch.Generator().manual_seed(0), linear_output=True) for _ in range(2))
    loss = mse_loss(by_autograd(x), x)
    loss.backward()
    torch.testing.assert_close(dense_backward(list(by_hand), 10)(x), loss.detach(), rtol=1e-6, atol=1e-7)
    for parameter, expected in zip(by_hand.parameters(), by_autograd.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-5, atol=1e-6)


def test_steps_are_those_of_adam_bit_by_bit():
    generator = torch.Generator().manual_seed(0)
    values, theirs = torch.zeros(2, 50), torch.nn.Parameter(torch.zeros(50))
    gradient, optimizer = torch.zeros(50), torch.optim.Adam([theirs], fused=True)
    adam = Adam(values[0], gradient)
    for i in range(100):
        gradient.copy_(torch.randn(50, generator=generator))
        theirs.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = rate = 0.01 * (1 + i % 3)
        adam.step(rate)
        optimizer.step()
    assert torch.equal(values[0], theirs) and not values[1].any()


CODE = """
import sys, torch
before = set(sys.modules)
import neuronedit as ne
adata = ne.datasets.simulate_batches(n_cells=100)
ne.tl.train(adata, max_epochs=1, widths=(8, 2))
ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", strata="cell_type")
print(*set(sys.modules) - before)
"""


def test_a_first_edit_does_not_wait_for_a_compiler():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "neuronedit.tl" in loaded
    assert not loaded & {"torch._dynamo", "torch._inductor", "sympy"}


def test_training_lowers_the_error_far_below_the_mean_s():
    cells = simulate(500)
    space = Autoencoder.fit(cells, Training(max_epochs=200), widths=(32, 4))
    error = mse_loss(space.decode(space.encode(cells)), cells)
    assert error < 0.02 * cells.var(0).mean()
    assert space.history["train_loss"][-1] < 0.1 * space.history["train_loss"][0]
    assert len(space.history["train_loss"]) == 200


def test_one_global_scale_and_a_centre_for_each_feature():
    cells = simulate() * torch.tensor([1.0, 1, 1, 1, 1, 5])
    space = Autoencoder.fit(cells, Training(max_epochs=1), widths=(3,))
    torch.testing.assert_close(space.center, cells.mean(0))
    torch.testing.assert_close(space.scale, cells.var(0, correction=0).mean().sqrt())


def test_a_feature_that_would_rule_the_scale_has_its_own():
    """Time in seconds among markers: these are reproduced as well as without it, and the space is read back as it was."""
    cells = simulate()
    with_time = torch.cat([cells, torch.arange(float(len(cells)))[:, None] * 300], dim=1)
    training = Training(max_epochs=5, rng=0)
    alone, space = (Autoencoder.fit(x, training, widths=(16, 4)) for x in (cells, with_time))
    torch.testing.assert_close(space.scale[:-1], alone.scale.expand(cells.shape[1]))
    errors = [
        (one.decode(one.encode(x)) - x)[:, : cells.shape[1]].square().mean()
        for one, x in ((alone, cells), (space, with_time))
    ]
    assert errors[1] < 2 * errors[0]
    again = Autoencoder(n_features=with_time.shape[1], widths=(16, 4))
    again.load_state_dict(space.weights())
    assert torch.equal(again.decode(again.encode(with_time)), space.decode(space.encode(with_time)))


@pytest.mark.parametrize("n_rows", [7, 100, 10_000])
def test_moments_in_blocks(n_rows, monkeypatch):
    monkeypatch.setattr(_base, "block_size", lambda n_features: n_rows)
    cells = simulate(333) * 1e3 + 1e5
    mean, variance = _base.moments(cells)
    torch.testing.assert_close(mean, cells.double().mean(0))
    torch.testing.assert_close(variance, cells.double().var(0, correction=0))


@pytest.mark.parametrize(("n_cells", "batch_size"), [(101, 100), (1, 100), (3, 1), (50, 100_000)])
def test_a_last_minibatch_of_one_cell(n_cells, batch_size):
    space = Autoencoder.fit(simulate(n_cells), Training(max_epochs=2, batch_size=batch_size), widths=(4, 2))
    assert np.isfinite(space.history["train_loss"]).all()


def test_constant_features_do_not_divide_by_zero():
    space = Autoencoder.fit(torch.ones(20, 3), Training(max_epochs=1), widths=(2,))
    assert torch.isfinite(space.decode(space.encode(torch.rand(5, 3)))).all()


def test_a_single_outlier_does_not_end_all_learning():
    cells = torch.cat([simulate(1_000) - 3, torch.full((1, 6), 100.0)])
    space = Autoencoder.fit(cells, Training(max_epochs=50), widths=(64, 32, 4))
    errors = (space.decode(space.encode(cells)) - cells).square().mean(1)
    assert errors[:-1].mean() < 0.1 * cells[:-1].var(0).mean()


@pytest.mark.parametrize(
    ("given", "peak"),
    [({}, 3e-3), ({"schedule": constant}, 1e-3), ({"lr": 0.1}, 0.1), ({"schedule": constant, "lr": 0.1}, 0.1)],
)
def test_rate_by_default_is_the_published_one_only_where_it_stays(given, peak):
    assert Training(**given).peak == peak


def test_epochs_by_default():
    assert Training().epochs(6_000) == 42
    assert Training().epochs(10_000_000) == 2
    assert Training(max_epochs=3).epochs(6_000) == 3


def test_validation_and_early_stopping_keep_the_best_weights():
    cells = simulate(300)
    training = Training(max_epochs=40, validation_size=0.2, early_stopping=3, lr=0.05, schedule=lambda done: 1.0)
    space = Autoencoder.fit(cells, training, widths=(16, 4))
    losses = space.history["validation_loss"]
    assert len(losses) == len(space.history["train_loss"]) <= 40
    assert len(losses) - 1 - int(np.argmin(losses)) <= 3
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    held_out = cells[order[:60]]
    error = mse_loss(space.decode(space.encode(held_out)), held_out) / space.scale**2
    assert error.item() == pytest.approx(min(losses), rel=1e-3)


def test_ctrl_c_keeps_the_weights_so_far_and_logs_it(caplog):
    class Cells:
        """Cells that are interrupted when they are read for the fifth time."""

        def __init__(self, x):
            self.x, self.reads, self.shape = x, 0, x.shape

        def __getitem__(self, rows):
            self.reads += 1
            if self.reads == 5:
                raise KeyboardInterrupt
            return self.x[rows]

    with caplog.at_level(logging.WARNING):
        space = Autoencoder.fit(Cells(simulate()), Training(max_epochs=100), widths=(4, 2))
    assert space.history["interrupted"]
    assert len(space.history["train_loss"]) == 3  # one read was for the moments
    assert "interrupted after 6 of 200 steps" in caplog.text
    assert not any(parameter.requires_grad for parameter in space.parameters())
    assert torch.isfinite(space.encode(simulate())).all()


def test_onecycle_rises_and_anneals():
    rates = [onecycle(done) for done in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[30] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(4e-6)
    assert (np.diff(rates[:31]) > 0).all() and (np.diff(rates[30:]) < 0).all()


def test_fast_matmul_puts_the_setting_back_after_an_error():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), fast_matmul():
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == before


def test_fast_matmul_computes_in_float32():
    a, b = (torch.randn(300, 300, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    with fast_matmul():
        product = a @ b
    torch.testing.assert_close(product, (a.double() @ b.double()).float(), rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be a finite number; it is nan"),
        ({"validation_size": 1.0}, "validation_size must be a share"),
        ({"early_stopping": 5}, "early_stopping needs cells to validate on"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Training(**settings)


RANK = """
import hashlib, os, pathlib, torch, neuronedit as ne
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
adata = ne.datasets.simulate_batches(n_cells=500)
ne.tl.train(adata, widths=(24, 6), max_epochs=10, batch_size=50, accelerator="cpu", progress_bar=False)
weights = b"".join(weight.tobytes() for weight in adata.uns["neuronedit"]["weights"].values())
loss = adata.uns["neuronedit"]["history"]["train_loss"][-1]
pathlib.Path(os.environ["RANK"]).write_text(f"{hashlib.sha256(weights).hexdigest()} {loss}")
torch.distributed.destroy_process_group()
"""


def test_two_processes_train_the_same_weights_as_one_would(tmp_path):
    """Two processes with 50 cells a step each are one with 100: the same loss, and both have the same weights."""
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "rank.py"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stderr
    results = [(tmp_path / rank).read_text().split() for rank in "01"]
    assert results[0] == results[1]
    adata = ne.datasets.simulate_batches(n_cells=500)
    ne.tl.train(adata, widths=(24, 6), max_epochs=10, batch_size=100, accelerator="cpu")
    assert float(results[0][1]) == pytest.approx(adata.uns["neuronedit"]["history"]["train_loss"][-1], rel=0.1)


def test_bfloat16_trains_as_well_and_is_used_for_training_alone():
    cells = simulate(2_000)
    spaces = {p: Autoencoder.fit(cells, Training(max_epochs=5, precision=p), widths=(16, 4)) for p in PRECISIONS}
    losses = {name: space.history["train_loss"][-1] for name, space in spaces.items()}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    for space in spaces.values():
        assert {p.dtype for p in space.parameters()} == {space.decode(space.encode(cells)).dtype} == {torch.float32}


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16'; it is 'float16'"):
        Training(precision="float16")


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1025, 2500])
def test_the_same_neurons_and_cells_with_and_without_buffers(n):
    space = ne.spaces.Autoencoder(n_features=6, widths=[8, 3])
    cells = torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
    with_gradients = space.encode(cells), space.decode(space.encode(cells))
    with torch.no_grad():
        without = space.encode(cells), space.decode(space.encode(cells))
    for buffered, plain in zip(without, with_gradients, strict=True):
        torch.testing.assert_close(buffered, plain.detach(), atol=1e-6, rtol=1e-6)
