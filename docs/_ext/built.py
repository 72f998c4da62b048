"""What is made anew for every build, into ``docs/built/``: benchmark tables, cards, the table of array types, the first figure.

The tutorial of FCS files has its folder beside it, ``tutorials/study``.
"""

import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]
BUILT = DOCS / "built"

ORDER = [
    "batch_correction",
    "fcs_study",
    "drug_combinations",
    "unseen_cell_type",
    "unseen_cell_type_cytometry",
    "which_method",
    "images",
    "large_data",
]
"""Of the tutorials; others follow by name."""

CARD = """:::{{grid-item-card}} {title}
:link: {name}
:link-type: doc

{sentence}
:::
"""


def write(name, text):
    """Write a file, if it says something new."""
    path = BUILT / name
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def benchmarks():
    """Write the tables of the comparison from the CSV files of the benchmarks."""
    sys.path.insert(0, str(DOCS.parent / "benchmarks"))
    import combinations
    import composition
    import controls
    import cytonorm_r
    import defaults
    import faces
    import holdout
    import norman
    import openproblems_cytometry
    import paper
    import prior
    import scperturbench
    import sorted_cells
    import speed

    for module in (
        prior, composition, controls, cytonorm_r, combinations, faces, speed, defaults, norman, scperturbench,
        openproblems_cytometry, sorted_cells
    ):  # fmt: skip
        write(f"{module.__name__}_tables.md", module.page(module.read()))
    for module in (holdout, paper):
        for name, text in module.make_tables(module.read()).items():
            write(f"{module.__name__}_{name}.md", text)
    for module in (holdout, composition):
        module.draw(module.read(), BUILT / f"{module.__name__}.png")
    write("prior_candidates.md", prior.page_candidates(prior.read_candidates()))
    holdout.draw_expected(holdout.read(), BUILT / "holdout_expected.png")


def attack():
    """Write the table of what came of damaged files, wrong calls and kills."""
    sys.path.insert(0, str(DOCS.parent / "attack"))
    import common

    write("attack_table.md", "\n".join(common.tabulate(common.read_counts())) + "\n")


def tutorials():
    """Write the cards of the tutorials, and their place in the contents."""
    there = {path.stem: path for path in (DOCS.parent / "tutorials").glob("*.md") if path.stem != "index"}
    names = [name for name in ORDER if name in there] + sorted(set(there) - set(ORDER))
    cards = [
        CARD.format(name=name, title=title, sentence=text) for name in names for title, text in [head(there[name])]
    ]
    grid = "::::{grid} 1 1 2 2\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n"
    toctree = "\n".join(["```{toctree}", ":hidden:", ":maxdepth: 1", "", *names, "```", ""])
    write("tutorials.md", f"{grid}\n{toctree}" if names else "\n")


def study():
    """Write the folder that the tutorial of FCS files begins with, from the published files; without them it simulates one."""
    import pandas as pd

    import neuronedit as ne

    folder = DOCS.parent / "tutorials" / "study"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        paths = {path.name: path for path in ne.datasets.fetch("imubac_krieg")}
    except OSError:
        return
    (folder / "fcs").mkdir(parents=True)
    for name in paths:
        if name.endswith(".fcs"):
            shutil.copy(paths[name], folder / "fcs")
    samples = pd.read_csv(paths["Metadata.csv"]).rename(columns={"file_name": "file", "donor_id": "donor"})
    samples["role"] = samples["group"].map({"HD": "control"}).fillna("sample")
    samples[["file", "batch", "donor", "group", "role"]].to_csv(folder / "samples.csv", index=False)
    panel = pd.read_csv(paths["PanelInfo_Data23_Panel3.csv"]).rename(columns={"antigen": "marker"})
    panel.to_csv(folder / "panel.csv", index=False)


def head(path):
    """Return the title of a tutorial and the first paragraph below it."""
    lines = path.read_text().split("---\n", 2)[-1].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("# "))
    rest = "\n".join(lines[at + 1 :]).strip()
    return lines[at].removeprefix("# ").strip(), " ".join(rest.split("\n\n", 1)[0].split())


def first_figure(path=BUILT / "biaxial.png"):
    """Draw the figure of the first page and of the README, from the cells of `make demo`."""
    if path.exists():
        return
    import anndata

    from neuronedit._cli import main

    with tempfile.TemporaryDirectory() as folder:
        if main(["demo", "--output", folder]) not in (0, 3, 4):  # with 3 and 4 the cells are written, too
            raise RuntimeError("neuronedit demo failed")
        draw_demo(anndata.read_h5ad(Path(folder) / "edited.h5ad")).savefig(path, dpi=150)


def draw_demo(adata):
    """Draw the patient of batch 1 before the edit, after it, and in truth, beside the control of batch 2; readable at 600 pixels."""
    import matplotlib.pyplot as plt

    import neuronedit as ne

    names = {"control_2": "control, batch 2", "sample_1": "patient, batch 1"}
    adata.obs["population"] = adata.obs["group"].map(names)
    figure, axes = plt.subplots(1, 3, figsize=(7, 3.3), sharex=True, sharey=True, layout="constrained")
    how = {
        "x": "IFNg",
        "y": "CCR6",
        "groupby": "population",
        "groups": list(names.values()),
        "palette": ["#8C8C8C", "#D55E00"],
    }
    ne.pl.biaxial(adata, **how, layers=[None, "edited", "truth"], ax=axes, show=False)
    legend = axes[-1].get_legend()
    handles, labels = legend.legend_handles[:2], [text.get_text() for text in legend.get_texts()[:2]]
    legend.remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=12)
    for ax, title in zip(axes, ("before the edit", "after the edit", "truth"), strict=True):
        ax.set_title(title, fontsize=13)
        ax.set_xlabel("IFNg", fontsize=12)
    axes[0].set_ylabel("CCR6", fontsize=12)
    return figure


def make(app):
    """Write all of it."""
    import array_types
    import matplotlib.pyplot as plt
    import notebooks

    BUILT.mkdir(exist_ok=True)
    benchmarks()
    attack()
    tutorials()
    notebooks.write(BUILT / "notebooks")
    if app.config.nb_execution_mode != "off":
        study()
    first_figure()
    if not (BUILT / "array_types.md").exists():
        write("array_types.md", array_types.table())
    plt.close("all")  # or the first example would show them


def setup(app):
    """Write before anything is read."""
    app.connect("config-inited", lambda app, config: make(app), priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
