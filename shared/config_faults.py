"""What is wrong with a file of settings, in words for whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

import yaml
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

LONGEST_SHOWN = 60

_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "is missing",
        "extra_forbidden": "unknown key",
        "model_type": "must be a section with keys of its own",
        "dict_type": "must be a section with keys of its own",
        "tuple_type": "must be a list, such as [a, b]",
        "string_type": "must be text: put it in quotes",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "float_parsing": "must be a number",
        "finite_number": "must be a finite number",
        "bool_type": "must be true or false",
        "bool_parsing": "must be true or false",
    }
)
_SAYS_ENOUGH = {"missing", "extra_forbidden", "model_type", "dict_type", "value_error"}


class ConfigError(ValueError):
    """The configuration or the secrets are unusable; the message names every fault."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key is there once: of two, YAML itself would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _TwiceError(key.value, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _TwiceError(yaml.MarkedYAMLError):
    def __init__(self, key: str, mark: yaml.Mark) -> None:
        super().__init__(problem=f"the key {key!r} is there twice", problem_mark=mark)


def read_yaml(file: Path) -> dict[str, Any]:
    """The sections of a file; ``ConfigError`` names the line, never what is written in it."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a safe one
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        what = error.problem if isinstance(error, _TwiceError) else "is not valid YAML"
        raise ConfigError(f"{file}{line}: {what}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold a mapping of sections")
    return content


def faults_of(
    file: Path, error: ValidationError, model: type[BaseModel], *, show: bool
) -> ConfigError:
    """Every fault of a file with its path, what is allowed and, with ``show``, what was found."""
    lines = [_line(fault, model, show) for fault in error.errors(include_url=False)]
    return ConfigError(f"{file}: {len(lines)} fault(s)\n" + "\n".join(lines))


def _line(fault: Any, model: type[BaseModel], show: bool) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    message = _WORDS.get(kind) or fault["msg"].removeprefix("Value error, ")
    if kind == "literal_error":
        message = f"allowed is {context['expected']}"
    elif kind == "string_pattern_mismatch":
        message = f"must look like {_described(model, fault['loc']) or context['pattern']}"
    elif {"ge", "gt", "le", "lt"} & context.keys():
        message = f"allowed is {_range(model, fault['loc']) or fault['msg']}"
    if show and kind not in _SAYS_ENOUGH:
        message += f", found {_shown(fault['input'])}"
    path = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    return f"  {path}: {message}" if fault["loc"] else f"  {message}"


def _shown(value: Any) -> str:
    text = re.sub(r"\s+", " ", repr(value))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _range(model: type[BaseModel], location: tuple[Any, ...]) -> str:
    """``0.2 to 60`` or ``above 0, at most 10``; empty where the field has no two ends."""
    field = field_at(model, location)
    ends = {type(end): end for end in field.metadata} if field else {}
    low = f"{ends[Ge].ge:,.10g}" if Ge in ends else f"above {ends[Gt].gt:g}" if Gt in ends else ""
    high = f"{ends[Le].le:,.10g}" if Le in ends else ""
    if not (low and high):
        return ""
    return f"{low} to {high}" if Ge in ends else f"{low}, at most {high}"


def _described(model: type[BaseModel], location: tuple[Any, ...]) -> str:
    field = field_at(model, location)
    return (field.description or "") if field else ""


def field_at(model: type[BaseModel], location: tuple[Any, ...]) -> FieldInfo | None:
    """What is declared at a path: of a section's key, or of the elements of a list or mapping."""
    field: FieldInfo | None = None
    declared: Any = model
    for part in location:
        if isinstance(declared, type) and issubclass(declared, BaseModel):
            field = declared.model_fields.get(str(part))
            declared = field.annotation if field else None
            continue
        inner = get_args(declared)
        element = inner[0] if isinstance(part, int) else inner[-1] if inner else None
        field = FieldInfo.from_annotation(element) if element is not None else None
        declared = field.annotation if field else None
    return field


def in_file(message: str, model: type[BaseModel], prefix: str) -> str:
    """``ParameterSpace.max_drawdown is …`` with the key's path in the file instead.

    The core names its own fields; each is a key of the same name somewhere below ``prefix``.
    """
    name, _, rest = message.partition(" ")
    key, dot, tail = name.partition(".")[2].partition(".")
    path = _path_to(model, key)
    return f"{prefix}.{path}{dot}{tail} {rest}" if path else message


def _path_to(model: type[BaseModel], key: str) -> str | None:
    if key in model.model_fields:
        return key
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            below = _path_to(section, key)
            if below is not None:
                return f"{name}.{below}"
    return None
