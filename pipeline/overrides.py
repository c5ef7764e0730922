"""Settings out of a YAML mapping and `a.b=value` overrides; every mistake is named at once, with its place."""

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

SettingsT = TypeVar("SettingsT", bound=BaseModel)


class ConfigError(Exception):
    """The settings cannot be used; the message has one line for each thing to mend."""


def apply(settings: type[SettingsT], values: Mapping[Any, Any], overrides: Sequence[str] = ()) -> SettingsT:
    """The settings that `values` (a parsed YAML file) and then `overrides` (`a.b=value`) describe.

    An override's value is YAML, as `parse_yaml` reads it; a mapping is merged into what is there. Raises
    ConfigError with every unknown key (and the nearest known one), every malformed override and every
    value of a wrong type or range, each under its dotted path.
    """
    try:
        return _apply(settings, values, overrides)
    except RecursionError as error:  # a YAML alias that holds itself
        raise ConfigError("config: nested too deeply") from error


def _apply(settings: type[SettingsT], values: Mapping[Any, Any], overrides: Sequence[str]) -> SettingsT:
    problems: list[str] = []
    merged: dict[str, Any] = {}
    _merge(merged, values)
    overridden: set[str] = set()
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.append(f"--set {override}: must be a.b=value")
            continue
        try:
            value = parse_yaml(text)
        except ConfigError as error:
            problems.append(f"--set {override}: {error}")
            continue
        for part in reversed(parts):
            value = {part: value}
        _merge(merged, value)
        overridden.add(".".join(parts))
    problems += _unknown_keys(settings, settings, merged, ())
    try:
        made = settings.model_validate(merged)
    except ValidationError as error:
        problems += _explain(error, overridden)
    else:
        if not problems:
            return made
    raise ConfigError("\n".join(dict.fromkeys(problems)))


def parse_yaml(text: str) -> Any:
    """A YAML document with the scalars of YAML 1.2: `no` and `1:30` are text, `1e-3` is a number.

    Raises ConfigError where it is not YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ConfigError(f"is not YAML: {error.problem}{where}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers too long, brackets too deep
        raise ConfigError(f"is not YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML speaks YAML 1.1, where `off` is False, `1:30` is 90, and a date is no text."""

    yaml_implicit_resolvers: Final[dict[Any, Any]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """PyYAML's, but a key that is there twice is an error instead of a value that is lost."""
        seen: list[Any] = []
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark)
            seen.append(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Decimal, so that `010` is ten."""
        return int(self.construct_scalar(node))

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """`.inf` and `.nan` are Python's without the dot."""
        return float(re.sub("[.](?=[iInN])", "", self.construct_scalar(node)))


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)


def _merge(into: dict[str, Any], values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        there = into.get(key)
        if isinstance(value, Mapping):
            into[key] = dict(there) if isinstance(there, Mapping) else {}
            _merge(into[key], value)
        else:
            into[key] = value


def _unknown_keys(
    root: type[BaseModel], model: type[BaseModel], values: dict[Any, Any], path: tuple[str, ...]
) -> Iterator[str]:
    """Name what no setting is called; an empty section (`faces:` and nothing under it) becomes an absent one."""
    for key, value in list(values.items()):
        here = ".".join((*path, str(key)))
        if key not in model.model_fields:
            yield f"{here}: is not a setting{_nearest(root, model, path, str(key))}"
            continue
        annotation = model.model_fields[key].annotation
        section = _section(annotation)
        if value is None and section is annotation:
            del values[key]
        elif section is not None and isinstance(value, dict):
            yield from _unknown_keys(root, section, value, (*path, key))


def _nearest(root: type[BaseModel], model: type[BaseModel], path: tuple[str, ...], key: str) -> str:
    """A hint: a sibling that is spelled like it, or the same name in another section."""
    near = difflib.get_close_matches(key, model.model_fields, n=1)
    if near:
        return f": did you mean {'.'.join((*path, near[0]))}?"
    paths = list(_paths(root, ()))
    elsewhere = [p for p in paths if p.rpartition(".")[2] == key]
    elsewhere = elsewhere or difflib.get_close_matches(".".join((*path, key)), paths, n=1)
    if elsewhere:
        return f": did you mean {' or '.join(elsewhere[:3])}?"
    return f": there are {', '.join(model.model_fields)}"


def _paths(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield ".".join((*path, name))
        else:
            yield from _paths(section, (*path, name))


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings model behind a field's annotation (`Model`, `Model | None`, `Annotated[Model, ...]`)."""
    if get_origin(annotation) is Annotated:
        return _section(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        sections = [s for s in map(_section, get_args(annotation)) if s is not None]
        return sections[0] if len(sections) == 1 else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _explain(error: ValidationError, overridden: set[str]) -> Iterator[str]:
    for entry in error.errors(include_url=False):
        if entry["type"] == "extra_forbidden":
            continue  # named by _unknown_keys, with a hint
        path = ".".join(str(part) for part in entry["loc"]) or "config"
        message = entry["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        given = "" if entry["type"] in ("missing", "value_error") else f", not {_short(entry['input'])}"
        by = " (from --set)" if any(path == key or path.startswith(f"{key}.") for key in overridden) else ""
        yield f"{path}: {message}{given}{by}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}.."
