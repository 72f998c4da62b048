"""What is drawn shows in a dark style of matplotlib, too."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

import neuronedit as ne
from neuronedit.pl._figure import ROLES, get_role_colors

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


def make_treatments():
    adata = ne.datasets.simulate_combination(n_cells=100)
    ne.tl.train(adata, space="identity")
    return adata, {"groupby": "condition", "control": "basal", "effects": ["A", "B"], "edit": "percentile"}


def draw_combination(adata):
    adata, treatments = make_treatments()
    return ne.pl.combination(adata, ne.tl.combine(adata, **treatments), x="p4EBP1", y="pSTAT5", measured="A+B")


def draw_ranking(adata):
    adata, treatments = make_treatments()
    return ne.pl.rank_combinations(ne.tl.rank_combinations(adata, **treatments, score="CD38", n_bootstrap=3))


def draw_synergy(adata):
    adata, treatments = make_treatments()
    ne.tl.synergy(adata, **treatments, measured="A+B", n_bootstrap=3)
    return ne.pl.synergy(adata)


def draw_coverage(adata):
    adata = adata.copy()
    ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    return ne.pl.coverage(adata)


def draw_compare(adata):
    results = ne.tl.compare(
        adata, "group", **POPULATIONS, methods=["mean_shift", "quantile", "identity"], truth="sample_2"
    )
    return ne.pl.compare(results)


PLOTS = {
    "biaxial": lambda a: ne.pl.biaxial(a, x="IFNg", y="CCR6", groupby="group"),
    "compare": draw_compare,
    "densities": lambda a: ne.pl.densities(a, ["IFNg"], truth="sample_2"),
    "combination": draw_combination,
    "coverage": draw_coverage,
    "history": ne.pl.history,
    "marker_shift": ne.pl.marker_shift,
    "neurons": ne.pl.neurons,
    "cross_validation": ne.pl.cross_validation,
    "rank_combinations": draw_ranking,
    "shift": ne.pl.shift,
    "support": ne.pl.support,
    "synergy": draw_synergy,
}


@pytest.fixture(scope="module")
def adata():
    adata = ne.datasets.simulate_batches(n_cells=150)
    ne.tl.train(adata, widths=(24, 6), max_epochs=2)
    ne.tl.edit(adata, "group", **POPULATIONS, strata="cell_type")
    return adata


def test_roles_stand_out_from_a_dark_ground():
    assert get_role_colors() == ROLES
    with plt.style.context("dark_background"):
        colors = get_role_colors()
    assert len({*colors.values()}) == len(ROLES)
    for role, color in colors.items():
        red, green, blue = (x / 12.92 if x <= 0.04 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(color))
        contrast = (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) / 0.05  # with black, as WCAG defines it
        assert contrast > 4.5, role


@pytest.mark.parametrize("name", PLOTS)
def test_nothing_is_drawn_in_the_colour_of_a_dark_background(adata, name):
    with plt.style.context("dark_background"):
        axes = PLOTS[name](adata)
    figure = (axes[0] if isinstance(axes, list) else axes).figure
    grids = {line for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for line in axis.get_gridlines()}
    words = [text for text in figure.findobj(Text) if text.get_text()]
    lines = [line for line in figure.findobj(Line2D) if line not in grids]
    assert words and min(max(to_rgb(one.get_color())) for one in [*words, *lines]) > 0.15
    patches = [patch for patch in figure.findobj(Patch) if patch.get_fill() and patch.get_facecolor()[3] > 0.5]
    assert (1, 1, 1) not in [patch.get_facecolor()[:3] for patch in patches]
