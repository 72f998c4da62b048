"""Words of the command line as values of obs, and the checks of a design before the training."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._input import list_used
from ._verb import refuse


def read_values(adata: Any, column: str | None, words: Sequence[str]) -> list[Any]:
    """Turn words into the values that a column has: '1' may be the number 1."""
    if column is None or column not in adata.obs:
        return list(words)
    named = {str(value): value for value in adata.obs[column].dropna().unique()}
    return [named.get(word, word) for word in words]


def read_value(adata: Any, column: str, word: str | None) -> Any:
    """Turn a word into the value that a column has."""
    return None if word is None else read_values(adata, column, [word])[0]


def read_selector(adata: Any, groupby: str | None, words: Sequence[str], option: str) -> Any:
    """Return cells as the tools take them: values of a column, or, without one, column -> values; `None` if nothing is named."""
    if not words:
        return None
    if groupby is not None:
        return read_values(adata, groupby, words)
    selector: dict[str, list[str]] = {}
    for word in words:
        column, sign, value = word.partition("=")
        if not sign:
            refuse(f"{option} {word!r} names no column: give --groupby, or {option} COLUMN=VALUE.")
        selector.setdefault(column, []).append(value)
    return {column: read_values(adata, column, values) for column, values in selector.items()}


def read_populations_of(adata: Any, settings: Any, *roles: str) -> dict[str, Any]:
    """Return source, target, query and truth, as far as a verb has them."""
    return {role: read_selector(adata, settings.groupby, getattr(settings, role), f"--{role}") for role in roles}


def read_bridge(adata: Any, batch_key: str, words: Sequence[str]) -> dict[Any, Any]:
    """Return what takes the place of missing controls, from BATCH=OTHER or BATCH=COLUMN=VALUE."""
    bridge: dict[Any, Any] = {}
    for word in words:
        batch, *rest = word.split("=")
        if not 1 <= len(rest) <= 2:
            refuse(f"--bridge {word!r} must be BATCH=OTHER_BATCH or BATCH=COLUMN=VALUE.")
        name = read_value(adata, batch_key, batch)
        if len(rest) == 1:
            bridge[name] = read_value(adata, batch_key, rest[0])
        else:
            bridge.setdefault(name, {}).setdefault(rest[0], []).append(read_value(adata, rest[0], rest[1]))
    return bridge


def check_edit(adata: Any, params: Mapping[str, Any], layer: str | None, settings: Any) -> None:
    """Refuse, before the training, what does not exist: a space, an edit, its parameters; and values that cannot be worked on."""
    import neuronedit as ne

    from .. import _slots
    from .._data.check import open_adata
    from .._data.output import Output
    from .._data.space import TrainedSpace
    from ..engine.fit import Edit
    from ..tl._train import find_space_class

    open_adata(adata)
    kind, what = find_space_class(settings.space, len(list_used(adata)), is_image=_slots.IMAGE_SHAPE in adata.uns)
    if settings.max_epochs is not None and not kind.is_trained:
        refuse(
            f"--max-epochs is for spaces that are trained, not for {what}. Leave it out, or give --space autoencoder."
        )
    how = {name: value for name, value in params.items() if name in ("axes",)}
    method = Edit.of(params["edit"] or "auto", rng=params["rng"], **how)
    one_feature = adata[:, list_used(adata)[:1]].copy()
    ne.tl.train(one_feature, space="identity", layer=layer, accelerator=params["accelerator"], progress_bar=False)
    space = TrainedSpace.read(one_feature, "neuronedit", None, params["accelerator"])
    Output.read(one_feature, space, settings.key_added, params["strength"], params["bounds"])
    method.check(space)


def train_space(adata: Any, settings: Any, layer: str | None, screen: Any) -> None:
    """Train; Ctrl-C ends the command, and not the training alone."""
    import neuronedit as ne

    screen.begin()
    what = "the default space" if settings.space == "auto" else f"the space {settings.space!r}"
    screen.step(f"Training {what} on {adata.n_obs:,} cells.")
    how = {"max_epochs": settings.max_epochs, "rng": settings.rng, "accelerator": settings.accelerator}
    ne.tl.train(adata, space=settings.space, layer=layer, **how, progress_bar=screen.has_bars)
    if adata.uns["neuronedit"]["history"].get("interrupted"):
        raise KeyboardInterrupt


def save_fitted(adata: Any, settings: Any, screen: Any) -> list[Any]:
    """Keep the trained space and the change, if that is asked for; return what was written."""
    import neuronedit as ne

    if settings.save_model is None:
        return []
    screen.step(f"Writing {settings.save_model}.")
    ne.io.save_model(adata, settings.save_model, edit=settings.key_added)
    return [settings.save_model]
