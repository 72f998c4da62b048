"""One result of each tool, small, and how a page is read."""

import base64
import html.parser
import json
import re

import numpy as np
import pytest

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


class Page(html.parser.HTMLParser):
    """What a page holds: its tags with their attributes, and its text without scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.raw = path.read_text(encoding="utf-8")
        self.tags, self.words, self.hidden = [], [], 0
        self.feed(self.raw)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data):
        self.words += [data] * (not self.hidden)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def read_script(self, name):
        return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', self.raw).group(1))

    def read_cells(self):
        """Return the cells that the page holds: feature by state, and labels by column."""
        cells = self.read_script("cells")
        values = {}
        for state, text in cells["values"].items():
            levels = np.frombuffer(base64.b64decode(text), dtype="<u2").reshape(len(cells["features"]), cells["n"])
            numbers = np.array(cells["low"])[:, None] + levels * np.array(cells["step"])[:, None]
            values[state] = dict(zip(cells["features"], np.where(levels == 65535, np.nan, numbers), strict=True))
        labels = {}
        for column in cells["columns"]:
            codes = np.frombuffer(base64.b64decode(column["codes"]), dtype="<u2")
            labels[column["title"]] = np.array(column["names"], dtype=object)[codes]
        return values, labels

    def read_everything(self):
        """Return the page, its entities resolved, and all that base64 hides in it, as one text.

        Long base64 itself is left out: a short name stands in a megabyte of it by chance, in capitals or not.
        """
        coded = r'(?<=base64,)[A-Za-z0-9+/]+|(?<=")[A-Za-z0-9+/]{40,}(?==*")'
        found = re.findall(coded, self.raw)
        hidden = [base64.b64decode(text + "=" * (-len(text) % 4)) for text in found if len(text) % 4 != 1]
        raw = re.sub(coded, lambda text: text[0] if len(text[0]) < 400 else "", self.raw)
        return "\n".join([raw, html.unescape(raw), *(part.decode("latin-1") for part in hidden)])


@pytest.fixture
def make(tmp_path):
    """Write a report and read it."""

    def write(adata, **how):
        path = tmp_path / "report.html"
        ne.report(adata, path, overwrite=True, **how)
        return Page(path)

    return write


@pytest.fixture(scope="session")
def _batches():
    """Two batches, each with three controls and two samples."""
    adata = ne.datasets.simulate_batches(n_cells=150)
    numbers = np.arange(adata.n_obs) % 3 % (2 + (adata.obs["role"] == "control").to_numpy())
    adata.obs["sample"] = [f"{group}-{i}" for group, i in zip(adata.obs["group"], numbers, strict=True)]
    ne.tl.train(adata, space="pca")
    return adata


@pytest.fixture
def batches(_batches):
    return _batches.copy()


def correct(adata, **how):
    ne.tl.correct(adata, "batch", control_key="role", **{"sample_key": "sample", "edit": "percentile"} | how)
    return adata


def edit(adata, **how):
    ne.tl.edit(adata, "group", **POPULATIONS, **{"edit": "percentile"} | how)
    return adata


def apply(adata, fit, query):
    """Fit on half of the cells, and apply to the others."""
    fitted, new = fit(adata[::2].copy()), adata[1::2].copy()
    key = next(name for name in ("edited", "corrected") if name in fitted.uns)
    ne.tl.apply(new, fitted, "group", query=query, key=key, key_added="edited")
    return new


def combine(**how):
    adata = ne.datasets.simulate_combination(n_cells=120)
    ne.tl.train(adata, space="identity")
    how = {"control": "basal", "effects": ["A", "B"], "edit": "percentile"} | how
    return adata, ne.tl.combine(adata, "condition", **how)


def compare(adata, **how):
    methods = {"methods": ["mean_shift", "quantile"], "n_bootstrap": 5, "truth": "sample_2"}
    return ne.tl.compare(adata, "group", **POPULATIONS, **methods | how)


def make_result(name, adata):
    """Return what is reported of each tool, and what is given besides."""
    if name in ("combination", "combination in layers"):
        measured, predicted = combine(as_layers=name.endswith("layers"))
        return (measured, {}) if predicted is None else (predicted, {"measured": measured})
    if name == "predicted alone":
        return combine()[1], {}
    if name == "comparison":
        compare(adata, key_added="compared")
        return adata, {}
    if name == "table":
        return compare(adata), {}
    if name == "applied edit":
        return apply(adata, edit, "sample_1"), {}
    if name == "applied correction":
        fitted, new = correct(adata[::2].copy()), adata[1::2].copy()
        ne.tl.apply(new, fitted, query=["batch_1"], key_added="edited")
        return new, {}
    tools = {"edit": edit, "path": lambda a: edit(a, strength=[0.5, 1.0]), "correction": correct}
    tools["ensemble"] = lambda a: edit(a, edit="auto", strata="cell_type")
    tools["held out"] = lambda a: correct(a, held_out_controls={"sample": ["control_1-0", "control_2-0"]})
    return tools[name](adata), {}


@pytest.fixture(scope="session")
def results(_batches):
    """Return a result of each tool, made once and not to be changed."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = make_result(name, _batches.copy())
        return made[name]

    return get
