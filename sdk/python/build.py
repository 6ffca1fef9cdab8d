#!/usr/bin/env python3
"""Builds a plugin in Python:   python build.py FOLDER [OUT.wasm]

FOLDER has plugin.json, which says who the plugin is and becomes its manifest, and plugin.py, which registers its
items; plugin.py may import other modules of FOLDER, and pure Python packages that were put into FOLDER/vendor (`pip
install --target FOLDER/vendor PACKAGE`) or that this Python has. OUT is FOLDER/NAME.wasm if it is not given. Besides
Python it needs componentize-py, of the version below.

1. Writes a world that exports `plinth:KIND/KIND` for each kind of the manifest and imports log, config and what its
   capabilities name.
2. Runs componentize-py, which imports plugin.py, keeps the memory of the interpreter, and leaves out WASI.
3. Mends `free` (see `mended`), lets lists of numbers pass as bytes (raw_lists.py), and appends a custom section `plinth-manifest` that holds the bytes of plugin.json.

COMPONENTIZE_PY   the program [default: the one of this Python, then the one on the PATH]
PLINTH_WIT        the WIT packages [default: wit/ beside this file, then that of the repository]
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from raw_lists import Unexpected, raw_lists
from wasm import custom_section, joined, leb128, sections, with_wrapper

VERSION = "0.25.1"
WIT = "0.2.0"
"""The version of the WIT packages."""
KINDS = {"transform": "Fitting, Fitted", "loader": "Reader", "gate": "", "drift": "", "predict": "Model"}
HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """Why nothing was built."""


def build(folder: Path, out: Path | None = None) -> Path:
    """Builds the plugin of a folder. Raises `Failed`."""
    manifest = folder / "plugin.json"
    name, kinds, capabilities = read_manifest(manifest)
    check_source(folder / "plugin.py")
    wit = wit_packages()
    offered = interfaces(wit)
    for capability in capabilities:
        if capability not in offered:
            raise Failed(f"{manifest}: there is no capability `{capability}`; there are {', '.join(offered)}")
    program = componentizer()
    out = out or folder / f"{name}.wasm"
    with tempfile.TemporaryDirectory(prefix="plinth-build-") as work:
        made = Path(work) / "component.wasm"
        write_world(Path(work), wit, kinds, capabilities)
        write_app(Path(work), kinds, capabilities)
        run(program, folder, Path(work), kinds, made)
        try:
            component = raw_lists(mended(made.read_bytes()))
        except Unexpected as error:
            raise Failed(f"what componentize-py {VERSION} made is not as expected: {error}") from None
    out.write_bytes(component + custom_section("plinth-manifest", manifest.read_bytes()))
    return out


def read_manifest(path: Path) -> tuple[str, list[str], list[str]]:
    """Name, kinds and capabilities of a manifest."""
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Failed(f"there is no {path}: it says the plugin's name, version, kind and capabilities") from None
    except ValueError as error:
        raise Failed(f"{path}: {error}") from None
    if not isinstance(told, dict):
        raise Failed(f"{path}: an object is wanted")
    for key in ("name", "version"):
        if not isinstance(told.get(key), str) or not told[key]:
            raise Failed(f'{path}: "{key}" is missing')
    lists = {}
    for key in ("kind", "capabilities"):
        lists[key] = told.get(key, [])
        if not isinstance(lists[key], list) or not all(isinstance(each, str) for each in lists[key]):
            raise Failed(f'{path}: "{key}" is no list of texts')
    if not lists["kind"]:
        raise Failed(f'{path}: "kind" names no extension point; there are {", ".join(KINDS)}')
    for kind in lists["kind"]:
        if kind not in KINDS:
            raise Failed(f"{path}: there is no extension point `{kind}` for Python; there are {', '.join(KINDS)}")
    return told["name"], lists["kind"], [each for each in lists["capabilities"] if each not in ("log", "config")]


def check_source(path: Path) -> None:
    """Whether plugin.py is there and is Python: quicker to tell here than in the component."""
    try:
        compile(path.read_bytes(), str(path), "exec")
    except FileNotFoundError:
        raise Failed(f"there is no {path}: it registers the plugin's items") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        text = (getattr(error, "text", None) or "").strip()
        shown = f"\n    {text}" if text else ""
        raise Failed(f"{path}, line {line}: {getattr(error, 'msg', error)}{shown}") from None


def wit_packages() -> Path:
    """The folder of the WIT packages."""
    given = os.environ.get("PLINTH_WIT")
    for place in [Path(given)] if given else [HERE / "wit", HERE.parent.parent / "wit"]:
        if (place / "host").is_dir():
            return place
    raise Failed(f"there are no WIT packages in {given or HERE / 'wit'}: name their folder in PLINTH_WIT")


def interfaces(wit: Path) -> list[str]:
    """What a plugin may be granted."""
    text = "".join(each.read_text() for each in sorted((wit / "host").glob("*.wit")))
    return [each for each in re.findall(r"(?m)^interface ([a-z-]+)", text) if each not in ("log", "config")]


def componentizer() -> list[str]:
    """The command that runs componentize-py."""
    wanted = f"pip install componentize-py=={VERSION}"
    given = os.environ.get("COMPONENTIZE_PY")
    if not given and importlib.util.find_spec("componentize_py"):
        found = importlib.metadata.version("componentize-py")
        command = [sys.executable, "-c", "import sys, componentize_py; sys.exit(componentize_py.script())"]
    else:
        program = given or shutil.which("componentize-py")
        if not program:
            raise Failed(f"there is no componentize-py: {wanted}")
        try:
            told = subprocess.run([program, "--version"], capture_output=True, text=True)
        except OSError as error:
            raise Failed(f"{program}: {error.strerror}; {wanted}") from None
        found = told.stdout.split()[-1] if told.stdout.split() else "of no version"
        command = [program]
    if found != VERSION:
        raise Failed(f"componentize-py is {found}, and plugins are built with {VERSION}: {wanted}")
    return command


def write_world(work: Path, wit: Path, kinds: list[str], capabilities: list[str]) -> None:
    """The world of the plugin: what it exports and what it imports."""
    shutil.copytree(wit, work / "wit" / "deps", ignore=shutil.ignore_patterns("*.md", "frozen"))
    lines = [f"  import plinth:host/{each}@{WIT};" for each in ["log", "config", *capabilities]]
    lines += [f"  export plinth:{kind}/{kind}@{WIT};" for kind in kinds]
    text = "\n".join(["package plinth:plugin;", "world plugin {", *lines, "}", ""])
    (work / "wit" / "plugin.wit").write_text(text)


def write_app(work: Path, kinds: list[str], capabilities: list[str]) -> None:
    """The modules in which componentize-py looks for what is exported."""
    app = work / "app"
    app.mkdir()
    lines = ["import importlib", "from plinth import _component"]
    lines += [f"from plinth._component import {kind.title()}Point as Plinth{kind.title()}" for kind in kinds]
    lines += [f"_component.begin({kinds!r}, {capabilities!r}, lambda: importlib.import_module('plugin'))", ""]
    (app / "plinth_app.py").write_text("\n".join(lines))
    for kind in kinds:
        if KINDS[kind]:
            (app / f"plinth_{kind}.py").write_text(f"from plinth._component import {KINDS[kind]}\n")


def run(program: list[str], folder: Path, work: Path, kinds: list[str], made: Path) -> None:
    """Runs componentize-py."""
    command = [*program, "-q", "-d", str(work / "wit"), "-w", "plugin"]
    for kind in kinds:
        command += ["--export-interface-name", f"plinth:{kind}/{kind}@{WIT}=plinth_{kind}"]
    paths = [str(work / "app"), str(folder.resolve()), str(HERE)]
    if (folder / "vendor").is_dir():
        paths.append(str(folder.resolve() / "vendor"))
    command += ["componentize", "plinth_app", "--stub-wasi", "-o", str(made)]
    command += [part for path in paths for part in ("-p", path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RUST_BACKTRACE": "0"})
    if done.returncode or not made.is_file():
        raise Failed(told_by(done.stderr, paths))


def told_by(text: str, paths: list[str]) -> str:
    """What went wrong, out of what componentize-py printed: the plugin's own traceback, with its own paths."""
    for index, path in enumerate(paths):
        text = text.replace(f'"/{index}/', f'"{path}{os.sep}')
    text = text.split("AssertionError: ", 1)[-1].split("Stack backtrace:")[0]
    told, _, cause = text.partition("Caused by:")
    lines = (told.strip() or cause.strip()).splitlines()
    # Of the calls only those from the plugin's own on; where there is none, the error alone.
    own = [index for index, line in enumerate(lines) if line.startswith(f'  File "{paths[1]}{os.sep}')]
    shown = lines[own[0] :] if own else [line for line in lines if not line.startswith(("  ", "Traceback"))]
    return "\n".join(["plugin.py could not be loaded:", *(shown or lines)])


# ---- What is mended -------------------------------------------------------------------------------------------------


def mended(component: bytes) -> bytes:
    """The component with a `free` that leaves alone what was never allocated.

    The runtime of componentize-py is given a pointer of 1 to 8 for an empty list, as the canonical ABI has it, and
    frees it, which ends the instance or harms its heap. Every Plinth block has an empty list. So modules that export
    `free` export another instead, which frees only pointers over 16.
    """
    parts = []
    mended_any = False
    for number, content in sections(component):
        if number == 1:
            module = mended_module(content)
            mended_any |= module is not None
            content = module or content
        parts.append((number, content))
    if not mended_any:
        raise Failed(f"what componentize-py {VERSION} made has no `free` to be mended")
    return joined(component[:8], parts)


def mended_module(module: bytes) -> bytes | None:
    """A core module with another `free`; `None` where it exports none."""
    # if local.get 0 > 16 (unsigned) then call free
    return with_wrapper(
        module, b"free", lambda free: b"\x00\x20\x00\x41\x10\x4b\x04\x40\x20\x00\x10" + leb128(free) + b"\x0b\x0b"
    )


def main() -> int:
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        out = build(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None)
    except Failed as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {out.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
