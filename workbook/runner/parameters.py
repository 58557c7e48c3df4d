"""A notebook's parameters cell, and whether a given value fits it."""

import ast
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbook.profiles import check_profile
from workbook.runner.errors import did_you_mean

_TYPES = {kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple)}
_EXAMPLES = {int: 3, float: 0.1, str: "text", bool: True, list: [1, 5], dict: {"a": 1}, tuple: (1, 5)}


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell; ``type`` is None when nothing tells it, ``help`` is the rest of the comment."""

    name: str
    type: type | None
    default: Any
    help: str = ""


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name; empty when it has no cell tagged ``parameters``."""
    import papermill  # a second of import, needed only once a run is planned

    return {
        name: _parameter(name, found["inferred_type_name"], found["default"], found["help"])
        for name, found in papermill.inspect_notebook(str(notebook)).items()
    }


def _parameter(name: str, type_name: str, default_source: str, text: str) -> Parameter:
    try:
        default = ast.literal_eval(default_source)
    except (ValueError, SyntaxError):
        default = None
    # 'List[int]' is checked by its container alone.
    declared = _TYPES.get((type_name or "").split("[")[0].strip().lower())
    return Parameter(name, declared or _TYPES.get(type(default).__name__), default, text)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split ``name=value``; the value is a Python literal where it reads as one, else the text itself.

    Raises `ValueError` when there is no name or no ``=``.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip().isidentifier():
        raise ValueError(f"-p {text}: expected name=value, for example -p draws=3")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value


def parameter_problem(name: str, value: Any, known: dict[str, Parameter]) -> str | None:
    """Return what is wrong with giving ``value`` to the parameter ``name``, None when it fits."""
    if not known:
        return f"has no cell tagged 'parameters', so {name!r} cannot be set"
    if name not in known:
        return f"has no parameter {name!r}{did_you_mean(name, known)}. It has: {', '.join(known)}"
    parameter = known[name]
    if not _fits(value, parameter):
        return _wrong_type(parameter, value)
    if name == "profile":
        try:
            check_profile(value)
        except ValueError as error:
            return str(error)
    return None


def _fits(value: Any, parameter: Parameter) -> bool:
    if value is None:
        return parameter.default is None
    if parameter.type is None:
        return True
    if isinstance(value, bool):  # bool is a subclass of int, and `draws=True` is a mistake
        return parameter.type is bool
    return isinstance(value, (int, float) if parameter.type is float else parameter.type)


def _wrong_type(parameter: Parameter, value: Any) -> str:
    example = _EXAMPLES[parameter.type] if parameter.default is None else parameter.default
    if isinstance(example, str) and not isinstance(parse_assignment(f"x={example}")[1], str):
        example = repr(example)
    message = (
        f"parameter {parameter.name!r} expects {parameter.type.__name__}, "
        f"got {type(value).__name__} {value!r}; for example -p {shlex.quote(f'{parameter.name}={example}')}"
    )
    if parameter.type is float and isinstance(value, str) and _reads_as_number(value):
        message += " (YAML reads 1e-3 as text: write 1.0e-3)"
    if parameter.type is str and isinstance(value, int | float):
        message += f"; to pass this text quote it twice: -p \"{parameter.name}='{value}'\""
    return message


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
