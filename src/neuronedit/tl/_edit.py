"""Apply the change from source to target to the query."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from anndata import AnnData

from .. import _slots
from .._check import Bounds, FilePath, Seed
from .._data.check import Selector, open_adata
from .._data.design import Design
from .._data.output import Output
from .._data.record import Record, Tool
from .._memory import give_back
from .._progress import shows_progress
from ..engine.alarms import check_roles, check_scale
from ..engine.fit import Edit, pack_edits
from ..engine.report import ensemble_to_uns
from ..engine.write import write_edit
from ._space import find_space, training_planned

EditName = Literal["auto", "paper", "percentile", "shift", "affine", "gaussian_ot", "local", "transport"]


@shows_progress
def edit(
    adata: AnnData,
    groupby: str | None = None,
    *,
    source: Selector,
    target: Selector,
    query: Selector | None = None,
    edit: EditName | Callable[..., Any] = "auto",
    strata: str | None = None,
    strength: float | Sequence[float] = 1.0,
    bounds: Bounds | None = None,
    layer: str | None = None,
    key: str | Sequence[str] = _slots.MODEL,
    key_added: str = _slots.EDITED,
    write_to: FilePath | None = None,
    accelerator: str = "auto",
    rng: Seed = 0,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    """Learn what changes from source to target and change the query cells the same way.

    By default an ensemble of edits is fitted: strata of source and target are held out in turn (cross-validation), and the
    edits are weighted by what they predict for them (stacking). Where no change generalizes, the cells are left alone. The
    change is always ``target - source``: to take it back, swap the two. X is never touched.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", strata="cell_type")
    >>> adata.layers["edited"].shape
    (800, 35)

    Parameters
    ----------
    adata
        Cells by features. If :func:`neuronedit.tl.train` was not called before, it is called now, with its defaults. Of a MuData
        pass one modality.
    %(groupby)s
    source, target
        The populations between which the change was observed: a value or list of values of ``groupby``, or a dict of obs
        column -> value or values, all of which must hold (``{"batch": "A", "individual": "control"}``). Of more than 100,000
        cells on either side so many are drawn; every percentile's rank is then known to 0.004.
    query
        The cells to edit, given in the same way. Required: the error lists the values that are left.
    edit
        ``"auto"``: an ensemble of ``ne.ensemble.CANDIDATES``. ``"paper"``: exactly the published method, the percentile
        edit and the decoded cell. The others are one edit of neurons. ``"percentile"``: each neuron moves as its percentiles
        did. ``"shift"``: every cell moves by the difference of the means. ``"affine"``: each neuron takes the target's mean and
        spread. ``"gaussian_ot"``: the linear map between means and covariances. ``"local"``: every cell moves as the source
        cells nearest to it. ``"transport"``: as these are matched with target cells by optimal transport. Or a function
        ``(source, target) -> map`` on neurons.
    strata
        Column of ``obs`` that divides source and target into strata between which the change may differ: cell types, donors.
        ``"auto"`` holds them out in turn, so name what is new about the query: cell types for a new cell type,
        donors for a new donor. Any other edit is fitted in each stratum, and a cell moves as the source cells nearest to it do
        in theirs; small strata are shrunk towards the edit fitted on all cells. `None`: ``"auto"`` matches
        populations of source and target, and other edits are fitted on all cells alike.
    strength
        Share of the edit: 0 leaves the cells alone, 1 is the whole edit, 2 goes twice as far, -1 the other way. ``"auto"`` takes
        this share of its own strength. Several, such as ``[0.25, 0.5, 1]``, are a path: the last one is written as usual, the
        others into layers ``"edited_0.25"`` and ``"edited_0.5"``.
    %(bounds)s
    layer
        Read this layer instead of the one that the space was trained on: ``"edited"`` puts a second edit on top of a first.
    key
        Where :func:`neuronedit.tl.train` kept the trained space; or several, trained with other seeds
        (``rng=1, key_added="other"``). Edits in all of them are averaged; neurons and the record are the first one's.
    key_added
        Name of the layer, and of the record in ``uns``.
    write_to
        Write into a new zarr store at this path, 32,768 cells at a time, and leave ``adata`` as it is: for cells that are too
        many for memory. The store is an AnnData (without X) that :func:`anndata.read_zarr` reads. If it is interrupted, the
        same call resumes where it stopped, and no other does; rows that were not written yet are NaN.
    %(accelerator)s
    rng
        Seed of what is drawn at random (auto, transport).
    %(copy)s
    **edit_params
        ``n_bins=100`` (percentile, local): intervals between percentiles; more follow source and target more closely, and
        their noise. ``n_neighbors=30`` (local, transport): more is smoother. ``candidates`` (auto): rows of
        ``ne.ensemble.CANDIDATES``. And of every edit of neurons:

        ``axes="neurons"``
            as published, or ``"principal"``: along the principal axes of the neurons of source and target;
        ``neurons=None``
            columns of ``obsm["X_neurons"]``: edit these alone. :func:`neuronedit.tl.rank_neurons` lists what each does;
        ``residual=True``
            add the change of the decoded cell to the cell itself, which keeps what the space cannot reproduce of it. `False`:
            the decoded cell;
        ``paired_by=None``
            column of ``obs`` whose values, for example donors, were each measured before and after the change. The edit is
            fitted for each, so that differences between donors are not mistaken for a change, and the edits are averaged.
            Donors who resemble the query count most (inverse energy distance).

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``layers["edited"]``
        The query cells after the edit, all others unchanged, in the units of the layer that was read. Dense,
        ``(n_obs, n_vars)``, in the floating type of that layer (float32 for small integers).
    ``obsm["X_neurons_edited"]``
        Neurons of the edited cells, and of all others, ``(n_obs, n_neurons)`` float32; left out above 128 MiB.
    ``obs["edited_support"]``
        For query cells the share of their neurons, before the edit, that lie within the range of the source's: where it
        is low the edit extrapolates. NaN for all other cells.
    ``obs["edited_distance"]``
        How far query cells lie from the source cells most like them: above 1, farther than 99 % of the source's own cells do.
        NaN for all other cells.
    ``uns["edited"]``
        What was done: the populations, the edit and its parameters, numbers of cells and of clipped values, and

        ``verdict``
            In words, also logged: what to expect of the edit, and what to look at.
        ``features``
            A DataFrame with a row for each feature. ``observed_change`` is the change of the mean from source to target,
            ``observed_error`` its standard error, and ``change`` the change in the query. ``beyond_observed``: whether the edit
            moved it further than observed, or in the opposite direction, by more than two standard errors and a tenth of the
            query's standard deviation. ``mean`` is the edited mean, and ``mean_error`` its standard error, from the error in
            held-out folds (``held_out_error``) and from :func:`neuronedit.tl.bootstrap`. ``wrong_direction``: whether it moved in
            the wrong direction in most folds.
        ``alarms``
            A DataFrame, one row an alarm: its kind (``alarm``) and the ``text``, with which the verdict begins. "composition":
            source and target hold different cells. "outside": query cells lie outside the source. "scale": one feature dominates
            the scale. "does not generalize": nothing shows that the change generalizes. "no role": cells are neither source,
            target nor query.
        ``order``
            The edits that made this layer, the first one first.
        ``fitted``
            The edit itself, as arrays and JSON, with its digest, the ids of its spaces and the scale of its cells: what
            :func:`neuronedit.tl.apply` and :func:`neuronedit.io.save_model` take. Missing where the edit is a function of the
            caller's own that returns no row of ``ne.edits.MAPS``.
        ``ensemble``
            For ``"auto"``, what :class:`neuronedit.ensemble.Ensemble` describes: candidates, folds, scores, weights,
            strength and the expected share of the distance that is closed. :func:`neuronedit.pl.cross_validation` draws it.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged. The space: there is none, or it was trained on other features or another
        scale. The arguments: an unknown column, value, edit or parameter. The cells: an empty group, fewer than two source or
        target cells, cells in both source and target or in both query and target, NaN. Also unchanged where the result would be NaN or infinite, or a
        function of your own returns another shape; a store keeps the blocks before.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198.
    Caruana et al. 2004, Ensemble selection from libraries of models, doi:10.1145/1015330.1015432.
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata, copy=copy)
    method = Edit.of(edit, rng=rng, **edit_params)
    must_exist = method.neurons is not None or write_to is not None
    space = find_space(adata, key, layer, accelerator, must_exist=must_exist)
    output = Output.read(adata, space, key_added, strength, bounds, write_to, copy=copy, path=True)
    populations: dict[str, Any] = {"source": source, "target": target, "query": query}
    design = Design.read(adata, groupby, **populations, strata=strata, paired_by=method.paired_by)
    method.check(space)
    space.check_cells()

    how: dict[str, Any] = {"edit": method.name, "accelerator": accelerator, "rng": rng, "copy": copy}
    with training_planned(adata, space, **how) as (adata, space):
        # compute
        with torch.no_grad():
            fitted = method.fit(space, design)

        # write
        config = {
            "groupby": groupby,
            **populations,
            "edit": method.name,
            "strata": strata,
            "edit_params": method.params,
        }
        config |= {"strength": strength, "bounds": bounds, "layer": space.layer, "key": space.keys, "rng": rng}
        content = {"n_cells": design.n_cells} | pack_edits({"edit": fitted}, space, output.strength)
        if fitted.ensemble is not None:
            content["ensemble"] = ensemble_to_uns(fitted.ensemble)
        record = Record(key_added, Tool.EDIT, config, content)
        alarms = [*check_scale(space.scale.find_ruling(space.features)), *check_roles(adata.n_obs, design)]
        query, fitted = design.query, fitted.without_cells()
        del design  # rows and labels of all cells
        give_back()
        return write_edit(adata, space, fitted, query, output, record, alarms=alarms, copy=copy)
