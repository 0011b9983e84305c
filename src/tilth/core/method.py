"""Method: a named, frozen set of hyper-parameters. Its fields are the only configuration there is."""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC
from typing import Any, ClassVar, Self, final

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from tilth.core.errors import BadField

__all__ = ["Method"]


class Method(BaseModel, ABC):
    """Base of every signal, policy, transform, proof and probe.

    A concrete method states each hyper-parameter once, as a pydantic field with default, range and
    description. What it learns is a value it returns, never an attribute it sets. A field whose type
    is an abstract method (``proof: Proof``) also accepts a name or a mapping ``{use: name, ...}``.

    Raises:
        BadField: on construction, when a field is unknown, of the wrong type or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    paper: ClassVar[str] = ""
    """Key of the paper's row in papers.toml; empty when the method is classical or our own."""
    version: ClassVar[int] = 1
    """Raised whenever the same input gives another output: it invalidates cached columns."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise BadField(_sentence(type(self), error)) from None

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, str) or (isinstance(value, dict) and "use" in value):
            from tilth import catalog  # the catalog reads folders; importing it here keeps core free of methods

            built = catalog.build(value)
            if not isinstance(built, cls):
                raise ValueError(f"{built.name()!r} is a {built.noun()}, expected a {cls.__name__}")
            return built
        if inspect.isabstract(cls) and not isinstance(value, cls):
            raise ValueError(f"a {cls.__name__.lower()} is a name or a mapping with 'use: name'")
        return handler(value)

    @classmethod
    @final
    def name(cls) -> str:
        """The name by which recipes call this method: its file's name."""
        return cls.__module__.rsplit(".", 1)[-1]

    @classmethod
    @final
    def noun(cls) -> str:
        """Which of the nouns this method is: signal, policy, transform, proof or probe."""
        folder = cls.__module__.split(".")[1] if cls.__module__.startswith("tilth.") else ""
        return {"policies": "policy"}.get(folder, folder.removesuffix("s")) or "method"

    @final
    def describe(self) -> dict[str, Any]:
        """The method as plain data, ``{use: name, field: value, ...}``; `catalog.build` inverts it."""
        return {
            "use": self.name(),
            **{name: _plain(getattr(self, name)) for name in type(self).model_fields},
        }

    @final
    def fingerprint(self) -> str:
        """16 hex digits, equal exactly when two methods would do the same thing."""
        return digest(_identity(self))


def digest(value: object) -> str:
    """16 hex digits of the canonical JSON of a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if isinstance(value, Method):
        return value.describe()
    if isinstance(value, BaseModel):  # a group of fields that methods have in common
        return value.model_dump()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _identity(value: object) -> object:
    if isinstance(value, Method):
        fields = {name: _identity(getattr(value, name)) for name in type(value).model_fields}
        return [type(value).__module__, type(value).__qualname__, value.version, fields]
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, (list, tuple)):
        return [_identity(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _identity(v) for k, v in value.items()}
    return value


def _sentence(cls: type[Method], error: ValidationError) -> str:
    from difflib import get_close_matches

    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"]) or "value"
        if item["type"] == "extra_forbidden":
            known = [*cls.model_fields]
            near = get_close_matches(where, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known) or 'no fields'}."
            parts.append(f"{cls.name()} has no field {where!r}. {hint}")
        else:
            parts.append(f"The {where!r} field of {cls.name()}: {item['msg']}. Got {item['input']!r} instead.")
    return " ".join(parts)
