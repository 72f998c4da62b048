"""One error for what is not what was written, and bounds for what is read from files and records of others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_LETTERS_OF_REASON = 300  # of another library's error that are shown
MAX_DEPTH = 100  # of JSON: what is written has less than 40 levels
MAX_CONTAINERS = 1_000_000  # lists and dicts in JSON: three letters of an empty one take 64 bytes of memory


class IntegrityError(ValueError):
    """Say that something is not what was written: a model file, or a record in ``uns``, was damaged, changed, or made by something else.

    The message names the file or the record, and says what is wrong with it.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> adata.uns["neuronedit"]["weights"]["center"][0] += 1
    >>> try:
    ...     ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    ... except ne.io.IntegrityError as error:
    ...     print(error)
    uns['neuronedit'] was changed after the training: its id is not that of its weights, features and settings. Call ne.tl.train again.
    """


# What reading something damaged can raise, in our code and in numpy's, pandas' and torch's.
DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError)


@contextmanager
def refusing(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while something is read into an `IntegrityError`: ``"<what>: <reason>. <hint>"``."""
    try:
        yield
    except IntegrityError:
        raise
    except DAMAGE as error:
        raise IntegrityError(f"{what}: {describe_damage(error)}. {hint}".strip()) from None


def describe_damage(error: BaseException) -> str:
    """Say in one line what is wrong."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(error).split())
    if isinstance(error, KeyError) and error.args:
        text = f"{str(error.args[0])[:MAX_LETTERS_OF_REASON]!r} is missing"
    return text[:MAX_LETTERS_OF_REASON].rstrip(".:") or type(error).__name__


def parse_json(text: str, kind: Any = dict) -> Any:
    """Return the dict that JSON says (or what else it must be), within bounds: a few letters could fill the memory."""
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise ValueError("its JSON has more lists than any model")
    tree = json.loads(text)
    if not isinstance(tree, kind):
        raise ValueError(f"its JSON is a {type(tree).__name__}")
    level = [tree]
    for _ in range(MAX_DEPTH):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [inner for values in parts for inner in values if isinstance(inner, dict | list)]
        if not level:
            return tree
    raise ValueError("it is nested too deeply")
