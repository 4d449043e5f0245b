"""YAML files a user writes, read into pydantic models: a mistake is one line that names file, key and value.

Scalars follow the core schema of YAML 1.2, not PyYAML's YAML 1.1: `1e-4` is a number; `2027-05-01`, `on` and
`no` are text. Refused, because they hide mistakes: duplicate keys, keys that are not text, aliases, tags.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from .errors import UsageError

_Model = TypeVar("_Model", bound=BaseModel)

# What is allowed, in the words of someone who writes YAML; other errors keep pydantic's words.
_ALLOWED = {
    "string_type": "text (quote it if it looks like a number)",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "list_type": "a list",
    "tuple_type": "a list",
}


def read_bytes(path: Path) -> bytes:
    """Content of `path`, read once, so that pipes work too.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file that holds one YAML mapping.

    Raises:
        UsageError: the file cannot be read or `parse_yaml` refuses it.
    """
    return parse_yaml(read_bytes(path), path)


def parse_yaml(content: bytes, source: Path | str) -> dict[str, Any]:
    """Parse one YAML mapping; `source` names it in messages.

    Raises:
        UsageError: not YAML, not a mapping, or one of the constructs that this module refuses.
    """
    value = parse_value(content, source)
    if not isinstance(value, dict):
        found = "nothing" if value is None else reprlib.repr(value)
        raise UsageError(f"{source}: holds {found}: must be a mapping of keys to values")
    return value


def parse_value(content: bytes | str, source: Path | str) -> Any:
    """Parse any one YAML value, for instance that of a `--set KEY=VALUE`.

    Raises:
        UsageError: not YAML, or one of the constructs that this module refuses.
    """
    try:
        return yaml.load(content, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{source}: {where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not YAML ({getattr(error, 'reason', error)})") from error
    except RecursionError as error:
        raise UsageError(f"{source}: nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"{source}: {str(error).partition(';')[0]}") from error


def validate(model_class: type[_Model], mapping: Mapping[str, Any], source: Path | str) -> _Model:
    """Build `model_class` from a mapping, strictly: no text becomes a number, no number becomes text.

    A union of models in `model_class` needs a discriminator, or the message is about some other member.

    Raises:
        UsageError: the first mistake, an unknown key before any other, as one line.
    """
    try:
        # JSON has lists where Python has tuples; only the JSON mode of pydantic is strict about all but that.
        return model_class.model_validate_json(json.dumps(mapping, default=repr), strict=True)
    except ValidationError as error:
        errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        errors = [e for e in errors if e["type"] != "too_short"] or errors  # entries that failed are not missing
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UsageError(f"{source}: {_explain(errors[0], model_class, mapping)}{more}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` when one of `known` is near `word`, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2 without aliases and tags; infinity and NaN are not numbers here."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refuse(f"alias *{event.anchor}: aliases are not supported", event.start_mark)
        if event.tag is not None:
            raise _refuse(f"tag {event.tag}: tags are not supported", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                shown = f" {key.value}" if isinstance(key, yaml.ScalarNode) else ""
                raise _refuse(f"key{shown}: keys must be text", key.start_mark)
            if key.value in seen:
                raise _refuse(f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_Loader.yaml_implicit_resolvers = {}  # forget those of YAML 1.1
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def _explain(error: ErrorDetails, model_class: type[BaseModel], mapping: Mapping[str, Any]) -> str:
    location, value = error["loc"], error["input"]
    if error["type"] in ("extra_forbidden", "missing"):
        parent, key = _where(location[:-1], mapping), str(location[-1])
        prefix = f"{parent}: " if parent else ""
        if error["type"] == "missing":
            return f"{prefix}key {key!r} is missing"
        allowed = _allowed_keys(model_class, location[:-1])
        known = f"allowed: {', '.join(allowed)}" if allowed else "no keys are allowed here"
        return f"{prefix}unknown key {key!r}{did_you_mean(key, allowed) or ';'} {known}"
    where, message = _where(location, mapping), _message(error)
    if error["type"] == "value_error" and isinstance(value, (dict, list)):
        return f"{where}: {message}" if where else message  # such a message says itself which value is wrong
    return f"{where}={reprlib.repr(value)}: {message}" if where else message


def _message(error: ErrorDetails) -> str:
    """What is allowed, after `must be` where the words fit."""
    if error["type"] in _ALLOWED:
        return f"must be {_ALLOWED[error['type']]}"
    if error["type"] == "too_short":
        return f"must have at least {error['ctx']['min_length']} entry"
    if error["type"] == "union_tag_invalid":
        return f"{error['ctx']['discriminator']} must be one of {error['ctx']['expected_tags']}"
    message = error["msg"].removeprefix("Value error, ")
    return re.sub(r"^(Input|String|Value) should (be )?", lambda m: f"must {m[2] or ''}", message)


def _where(location: tuple[int | str, ...], mapping: Mapping[str, Any]) -> str:
    """`rules[2].max`: parts that are no key of the data name members of a union."""
    text = ""
    data: Any = mapping
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
            data = data[part]
        elif isinstance(data, Mapping) and part in data:
            text += f".{part}" if text else part
            data = data[part]
    return text


def _allowed_keys(model_class: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that the model at `location` knows."""
    models: dict[str, type[BaseModel]] = {"": model_class}
    for part in location:
        if part in models:
            models = {str(part): models[str(part)]}  # the member of a union
            continue
        fields = [f for m in models.values() for name, f in m.model_fields.items() if part in (name, f.alias)]
        if fields:
            models = {k: v for f in fields for k, v in _models_in(f.annotation, f.metadata).items()}
    return [field.alias or name for model in models.values() for name, field in model.model_fields.items()]


def _models_in(annotation: Any, metadata: Iterable[object] = ()) -> dict[str, type[BaseModel]]:
    """Models inside an annotation such as `tuple[A | B, ...]`, by tag where tagged, else by class name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tags = [str(m.tag) for m in metadata if isinstance(m, Tag)]
        return {(tags or [annotation.__name__])[0]: annotation}
    inner = getattr(annotation, "__metadata__", ())
    return {k: v for arg in get_args(annotation) for k, v in _models_in(arg, inner).items()}
