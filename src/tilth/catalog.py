"""The folder is the registry: a method's name is its file's name, and nothing needs registering."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from tilth.core.errors import BadRecipe, UnknownMethod

__all__ = ["NOUNS", "build", "find", "names"]

NOUNS = ("signals", "policies", "transforms", "proofs", "probes")


@cache
def names() -> Mapping[str, str]:
    """Method name -> module path, sorted, found without importing any method."""
    root = Path(__file__).parent
    found: dict[str, str] = {}
    for noun in NOUNS:
        for file in sorted((root / noun).rglob("*.py")):
            if file.stem.startswith("_"):
                continue
            module = ".".join(("tilth", *file.relative_to(root).with_suffix("").parts))
            if file.stem in found:
                raise ValueError(f"Two methods are called {file.stem!r}: {found[file.stem]} and {module}.")
            found[file.stem] = module
    return dict(sorted(found.items()))


def find(name: str) -> type[Any]:
    """The class behind a name; ``package.module:Class`` reaches methods that live elsewhere.

    Raises:
        UnknownMethod: with the nearest names there are.
    """
    from tilth.core.method import Method

    if ":" in name:
        module, _, cls = name.partition(":")
        try:
            found: type[Any] = getattr(importlib.import_module(module), cls)
        except (ImportError, AttributeError) as error:
            raise UnknownMethod(f"No method at {name!r}: {error}. Write package.module:Class.") from None
        return found
    known = names()
    if name not in known:
        near = get_close_matches(name, known, n=3) or [*known]
        raise UnknownMethod(f"No method is called {name!r}. Did you mean {' or '.join(near)}?")
    loaded = importlib.import_module(known[name])
    return next(
        c
        for c in vars(loaded).values()
        if isinstance(c, type)
        and issubclass(c, Method)
        and c.__module__ == known[name]
        and not c.__name__.startswith("_")
        and c.__name__.isidentifier()  # pydantic leaves generic bases such as Signal[str] in the module
    )


def build(spec: str | Mapping[str, Any]) -> Any:
    """A method from a recipe's entry: ``"quality"`` or ``{"use": "minhash", "threshold": 0.8}``.

    Raises:
        UnknownMethod, BadField, BadRecipe: naming what is wrong and the nearest right thing.
    """
    if isinstance(spec, str):
        return find(spec)()
    fields = dict(spec)
    name = fields.pop("use", None)
    if not isinstance(name, str):
        raise BadRecipe(f"A method is a name or a mapping with 'use: name'. Got {spec!r}.")
    return find(name)(**fields)
