"""The cookbook: every block of code runs, in order, in one session, as on the page."""

import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "cookbook.md"
TEXT = PAGE.read_text()


@pytest.fixture
def one_thread():
    """Give torch one thread, and the figures no screen."""
    before, backend = torch.get_num_threads(), plt.get_backend()
    torch.set_num_threads(1)
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)
    torch.set_num_threads(before)


def test_there_are_twenty_one_questions_with_code():
    questions = re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]
    assert len(questions) == 21
    for question in questions:
        assert question.count("```python") == 1, question.splitlines()[0]
        assert question.splitlines()[0].endswith("?"), question.splitlines()[0]


def test_every_block_of_the_cookbook_runs(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in re.finditer(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        line = TEXT[: block.start()].count("\n") + 1
        code = compile("\n" * line + block[1], str(PAGE), "exec")  # an error names the line of the page
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(code, namespace)
