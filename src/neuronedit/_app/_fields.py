"""The fields of the page: each is an option of the command line, under a name that a biologist uses."""

import re
from dataclasses import dataclass
from enum import StrEnum


class FieldKind(StrEnum):
    """How a field is read, and how it is written into the arguments of the command line."""

    TEXT = "text"
    NUMBER = "number"
    SHEET = "sheet"  # a file that is read
    GOAL = "goal"  # a file or folder that is written
    FLAG = "flag"


@dataclass(frozen=True)
class Field:
    """A field: what it is called on the page, the option that it stands for, and what it needs."""

    label: str
    option: str
    kind: FieldKind = FieldKind.TEXT
    is_required: bool = False
    of_cells: bool = False  # whether another value means that the cells are read again
    of_check: bool = True  # whether `inspect` has it as well


FIELDS = {
    "metadata": Field("the sample sheet", "metadata", FieldKind.SHEET, of_cells=True),
    "panel": Field("the panel", "panel", FieldKind.SHEET, of_cells=True),
    "compensate": Field("compensation", "compensate", FieldKind.FLAG, of_cells=True),
    "layer": Field("the layer", "layer"),
    "batch_key": Field("the column of batches", "batch-key", is_required=True),
    "control_key": Field("the column of controls", "control-key", is_required=True),
    "control": Field("the value of controls", "control", is_required=True),
    "reference": Field("the reference", "reference"),
    "cofactor": Field("the cofactor", "cofactor", FieldKind.NUMBER),
    "strata": Field("the column of cell types", "strata"),
    "max_epochs": Field("passes over the cells", "max-epochs", FieldKind.NUMBER, of_check=False),
    "output": Field("the output", "output", FieldKind.GOAL, is_required=True, of_check=False),
    "report": Field("the report", "report", FieldKind.GOAL, of_check=False),
    "anonymize": Field("anonymous names", "anonymize", FieldKind.FLAG, of_check=False),
}

FIELD_OF_PROBLEM = {
    "cofactor": "cofactor",
    "raw": "cofactor",
    "batch": "batch_key",
    "control": "control",
    "left alone": "control",
    "sample": "control",
    "design": "control",
    "composition": "strata",
}
"""Which field a problem that `inspect` names is about; others are about the cells."""

MARKS = {
    "cofactor": r"--cofactor",
    "report": r"--report|a report (is|needs)",
    "output": r"-o |--output|^The folder ",
    "metadata": r"metadata|file[s]? without a row|sample sheet",
    "panel": r"panel",
    "reference": r"reference",
    "strata": r"strata",
    "layer": r"layer",
    "batch_key": r"batch-key|batch_key",
    "control": r"control",
    "compensate": r"spillover|compensat",
    "max_epochs": r"max-epochs",
}
"""What an error of the command line says when it is about a field, in the order in which they are looked for."""


def find_field(text: str) -> str:
    """Return the field that an error of the command line is about; "input" for one of the cells."""
    return next((name for name, mark in MARKS.items() if re.search(mark, text)), "input")


def replace_options(text: str) -> str:
    """Return a sentence with the names of fields in place of the options of the command line."""
    for field in FIELDS.values():
        text = re.sub(rf"--{field.option}\b(?!-)", field.label, text)
    text = re.sub(r"give another name, or --overwrite", "give another name", text)
    text = text.replace("give another -o", "give another name")
    text = re.sub(r"(?<![\w-])-o(?= )", "the output", text)
    text = re.sub(r"(?<![\w-])--([a-z][a-z-]+)", r"the option --\1 of the command line", text)
    text = re.sub(r"^metadata\b", "the sample sheet", text)
    is_name = re.match(r"\S*[./\\_]\S", text)  # of a file, which stays as it is
    return text if is_name else text[:1].upper() + text[1:]


def check_value(name: str, value: object) -> str:
    """Return the text of a value that was given for a field; refuse what is no text, number or truth value."""
    from ._root import FieldError

    if name not in FIELDS:
        raise FieldError("input", f"There is no field {name!r}.")
    if FIELDS[name].kind is FieldKind.FLAG:
        return "yes" if value is True or value == "yes" else ""
    if not isinstance(value, str) or len(value) > 1_000 or not value.isprintable():
        raise FieldError(name, f"{FIELDS[name].label[:1].upper()}{FIELDS[name].label[1:]} must be one line of text.")
    if FIELDS[name].kind is FieldKind.NUMBER and value and not _is_positive(value):
        raise FieldError(name, f"{FIELDS[name].label[:1].upper()}{FIELDS[name].label[1:]} must be a number above 0.")
    return value


def _is_positive(text: str) -> bool:
    """Return whether a text is a finite number above 0."""
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
