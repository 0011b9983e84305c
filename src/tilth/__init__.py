"""tilth decides what a language model should be trained on, and proves the choice on small models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilth.engine.stream import Stream
    from tilth.stream import open_stream

__all__ = ["Stream", "__version__", "open_stream"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imported when asked for: `import tilth` alone takes a millisecond."""
    if name == "Stream":
        from tilth.engine.stream import Stream

        return Stream
    if name == "open_stream":
        from tilth.stream import open_stream

        return open_stream
    raise AttributeError(f"module 'tilth' has no attribute {name!r}")
