"""Lazy exports of a package (PEP 562): a module is imported when one of its names is first used.

Standard library only, so that every package can use it (`evaluate` included).
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_exports(
    package: str, module_of: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package root.

    `package` is the root's `__name__`; `module_of` maps each exported name to the module that defines it.
    `__getattr__` raises AttributeError for any other name.
    """

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)  # found directly from now on
        return value

    return load, lambda: sorted({*vars(sys.modules[package]), *module_of})
