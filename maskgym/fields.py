"""The sentence under each field of a dataclass, of which help texts and tables of settings are made."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise


@cache
def sentences(cls: type) -> dict[str, str]:
    """Read the sentence under each field from the source, those of base classes included.

    >>> from maskgym.envs.task import Settings
    >>> sentences(Settings)["ratio"]
    'Share of the patches that is hidden.'
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # made at run time, or written in C: it tells nothing
            continue
        body = ast.parse(source).body[0]
        for field, below in pairwise(getattr(body, "body", [])):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[field.target.id] = " ".join(inspect.cleandoc(below.value.value).split())
    return found
