"""Tests of the SDK and its examples: `python -m unittest discover sdk/python` in the repository."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SDK = Path(__file__).resolve().parent.parent
if str(SDK) not in sys.path:
    sys.path.insert(0, str(SDK))


def module(name: str, path: Path) -> ModuleType:
    """A module of a file, under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def example(folder: str) -> ModuleType:
    """The plugin.py of an example."""
    return module("example_" + folder.replace("-", "_"), SDK / "examples" / folder / "plugin.py")
