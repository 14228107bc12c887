"""Pipelines of albumentations as a user writes them: a YAML file, of which every mistake is one sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclegan.config.safe_yaml import read_yaml
from cyclegan.errors import UsageError, did_you_mean, first_line, reason_of

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks a server for the newest version

import albumentations as A
from albumentations.core.serialization import SERIALIZABLE_REGISTRY


def read_pipeline(path: Path) -> A.Compose:
    """A pipeline from YAML: a list (`- RandomCrop: {height: 256, width: 256}`), or what `A.to_dict` makes."""
    try:
        content = read_yaml(path)
    except OSError as error:
        raise UsageError(f"--augment: cannot read {path} ({reason_of(error).lower()})") from None
    except UnicodeDecodeError:
        raise UsageError(f"--augment: {path} is not text; give a YAML file") from None
    except ValueError as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"--augment: {path}{line}: {getattr(error.__cause__, 'problem', None) or error}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # albumentations only warns of an argument it does not know
        try:
            if isinstance(content, Mapping) and "transform" in content:
                return _from_dump(content)
            if isinstance(content, list) and content:
                return A.Compose([_build(entry) for entry in content])
        except (ValueError, TypeError, KeyError, AttributeError, UserWarning) as error:
            raise UsageError(f"--augment: {path}: {first_line(error)}") from error
        except UsageError as error:
            raise UsageError(f"--augment: {path}: {error}") from error
    raise UsageError(
        f"--augment: {path} holds no pipeline; write a list such as `- HorizontalFlip: {{p: 0.5}}`, "
        "or what albumentations.to_dict gives"
    )


def _from_dump(content: Mapping[str, Any]) -> A.Compose:
    _check_dumped(content["transform"])
    pipeline = A.from_dict(dict(content))
    return pipeline if isinstance(pipeline, A.Compose) else A.Compose([pipeline])


def _check_dumped(entry: Any) -> None:
    if not isinstance(entry, Mapping) or "__class_fullname__" not in entry:
        raise ValueError("a transform has no __class_fullname__")
    _known(str(entry["__class_fullname__"]))
    for inner in entry.get("transforms") or []:
        _check_dumped(inner)


def _build(entry: Any) -> Any:
    """One transform from `Name`, `Name: {argument: value}`, or, for one that holds others, `Name: [transforms]`."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ValueError(f"{entry!r} is not one transform; write `- Name: {{argument: value}}`")
    name, arguments = next(iter(entry.items()))
    if isinstance(arguments, list):
        arguments = {"transforms": arguments}
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ValueError(f"{name}: {arguments!r} is not a list of arguments; write {{argument: value}}")
    arguments = dict(arguments or {})
    kind = _known(str(name))
    if "transforms" in arguments:
        arguments["transforms"] = [_build(inner) for inner in arguments["transforms"]]
    try:
        return kind(**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        raise UsageError(f"{name}: {first_line(error)}") from error


def _known(name: str) -> Any:
    short = name.rsplit(".", 1)[-1]  # old dumps write albumentations.….Name
    table = {
        key: kind for key, kind in SERIALIZABLE_REGISTRY.items() if issubclass(kind, A.BasicTransform | A.BaseCompose)
    }
    if name != short and not name.startswith("albumentations."):
        raise UsageError(f"{name} is no transform of albumentations")
    if short not in table:
        raise UsageError(f"unknown transform {name!r}{_nearest(short, table)}")
    return table[short]


def _nearest(name: str, table: Mapping[str, Any]) -> str:
    hint = did_you_mean(name, table)
    return hint if "did you mean" in hint else "; albumentations' documentation lists them"
