"""build.py: what it checks before anything is built, and what it does to the bytes."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from . import SDK, module

import raw_lists
import wasm

build = module("plinth_build", SDK / "build.py")
GOOD = {"name": "x", "version": "0.1.0", "kind": ["gate"], "capabilities": ["kv", "log"]}


class FolderTest(unittest.TestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)

    def failing(self, message: str, manifest: object = None, source: str | None = None) -> None:
        if manifest is not None:
            text = manifest if isinstance(manifest, str) else json.dumps(manifest)
            (self.folder / "plugin.json").write_text(text)
        if source is not None:
            (self.folder / "plugin.py").write_text(source)
        with self.assertRaisesRegex(build.Failed, message):
            build.build(self.folder)

    def test_bad_manifests(self) -> None:
        self.failing("there is no .*plugin.json: it says the plugin's name")
        self.failing("plugin.json: Expecting", "{")
        self.failing("an object is wanted", "[]")
        self.failing('"version" is missing', {"name": "x"})
        self.failing('"kind" names no extension point; there are transform', {"name": "x", "version": "1"})
        self.failing("no extension point `gates` for Python", GOOD | {"kind": ["gates"]})
        self.failing('"capabilities" is no list of texts', GOOD | {"capabilities": "kv"})

    def test_bad_sources(self) -> None:
        self.failing("there is no .*plugin.py", GOOD)
        self.failing(r"plugin.py, line 2: .*\n    def x\(:", GOOD, "import plinth\ndef x(:\n")

    def test_unknown_capabilities(self) -> None:
        self.failing("no capability `net`; there are objects, tables, kv", GOOD | {"capabilities": ["net"]}, "")

    def test_a_missing_componentizer(self) -> None:
        with mock.patch.dict(os.environ, {"COMPONENTIZE_PY": str(self.folder / "nowhere")}):
            self.failing(f"nowhere: .*; pip install componentize-py=={build.VERSION}", GOOD, "")
        with (
            mock.patch.object(build.importlib.util, "find_spec", return_value=None),
            mock.patch.object(build.shutil, "which", return_value=None),
        ):
            self.failing(f"there is no componentize-py: pip install componentize-py=={build.VERSION}", GOOD, "")

    def test_another_version_of_the_componentizer(self) -> None:
        program = self.folder / "componentize-py"
        program.write_text("#!/bin/sh\necho componentize-py 0.1.0\n")
        program.chmod(0o755)
        with mock.patch.dict(os.environ, {"COMPONENTIZE_PY": str(program)}):
            self.failing(f"componentize-py is 0.1.0, and plugins are built with {build.VERSION}", GOOD, "")

    def test_the_plugin_finds_its_own_modules_the_sdk_and_what_was_vendored(self) -> None:
        (self.folder / "vendor").mkdir()
        commands = []

        def run(command, **_):
            commands.append(command)
            return subprocess.CompletedProcess(command, 1, "", "AssertionError: TypeError: wrong")

        with (
            mock.patch.object(build, "componentizer", return_value=["componentize-py"]),
            mock.patch.object(build.subprocess, "run", run),
        ):
            self.failing("TypeError: wrong", GOOD, "")
        (command,) = commands
        paths = [command[index + 1] for index, word in enumerate(command) if word == "-p"]
        folder = self.folder.resolve()
        self.assertEqual(paths[1:], [str(folder), str(SDK), str(folder / "vendor")])
        self.assertIn("plinth:gate/gate@0.2.0=plinth_gate", command)

    def test_a_missing_wit(self) -> None:
        with mock.patch.dict(os.environ, {"PLINTH_WIT": str(self.folder)}):
            self.failing("there are no WIT packages in .*: name their folder in PLINTH_WIT", GOOD, "")

    def test_the_world_has_what_the_manifest_names(self) -> None:
        _, kinds, capabilities = build.read_manifest(self.written(GOOD))
        build.write_world(self.folder, build.wit_packages(), kinds, capabilities)
        world = (self.folder / "wit" / "plugin.wit").read_text().split("\n")
        lines = [line.strip().split(" ") for line in world if "plinth:" in line][1:]
        self.assertEqual(lines, [["import", "plinth:host/log@0.2.0;"], ["import", "plinth:host/config@0.2.0;"],
                                 ["import", "plinth:host/kv@0.2.0;"],
                                 ["export", "plinth:gate/gate@0.2.0;"]])  # fmt: skip

    def written(self, manifest: dict) -> Path:
        path = self.folder / "plugin.json"
        path.write_text(json.dumps(manifest))
        return path

    def test_the_examples_have_good_manifests(self) -> None:
        for folder in sorted((SDK / "examples").iterdir()):
            name, _, _ = build.read_manifest(folder / "plugin.json")
            self.assertEqual(name, folder.name + "-py")
            build.check_source(folder / "plugin.py")

    def test_the_traceback_of_the_plugin_is_told_with_its_paths(self) -> None:
        text = (
            'Traceback (most recent call last):\n  File "x"\nAssertionError: Traceback (most recent call last):\n'
            '  File "/0/plinth_app.py", line 4, in <module>\n    begin()\n'
            '  File "/1/plugin.py", line 3, in <module>\n    import nothing\nModuleNotFoundError: No module named '
            "'nothing'\n\n\nCaused by:\n    ModuleNotFoundError: No module named 'nothing'\n"
        )
        told = build.told_by(text, ["/plinth/app", "/mine", "/sdk"])
        self.assertEqual(
            told,
            "plugin.py could not be loaded:\n"
            f'  File "/mine{os.sep}plugin.py", line 3, in <module>\n    import nothing\n'
            "ModuleNotFoundError: No module named 'nothing'",
        )
        text = 'AssertionError: Traceback (most recent call last):\n  File "/0/x.py"\n    begin()\nTypeError: wrong\n'
        self.assertEqual(
            build.told_by(text, ["/plinth/app", "/mine", "/sdk"]), "plugin.py could not be loaded:\nTypeError: wrong"
        )


def section(number: int, *content: bytes) -> tuple[int, bytes]:
    return number, b"".join(content)


def name(text: str) -> bytes:
    return wasm.leb128(len(text)) + text.encode()


HEAD = b"\0asm\x01\0\0\0"
# One imported function among a table, a memory and a global; then two of its own, of which the second is `free`.
IMPORTS = b"\x04" + b"".join(
    [
        name("m") + name("t") + b"\x01\x70\x01\x01\x02",
        name("m") + name("mem") + b"\x02\x00\x01",
        name("m") + name("f") + b"\x00\x00",
        name("m") + name("g") + b"\x03\x7f\x00",
    ]
)
MODULE = wasm.joined(
    HEAD,
    [
        section(1, b"\x02", b"\x60\x00\x00", b"\x60\x01\x7f\x00"),
        section(2, IMPORTS),
        section(3, b"\x02\x00\x01"),
        section(7, b"\x02", name("start"), b"\x00\x01", name("free"), b"\x00\x02"),
        section(10, b"\x02", b"\x02\x00\x0b", b"\x02\x00\x0b"),
        section(0, name("name"), b"rest"),
    ],
)


class BytesTest(unittest.TestCase):
    def test_numbers(self) -> None:
        for number in (0, 1, 127, 128, 300, 2**32 - 1):
            self.assertEqual(wasm.unsigned(wasm.leb128(number) + b"x", 0), (number, len(wasm.leb128(number))))

    def test_the_manifest_is_the_last_section(self) -> None:
        content = b"x" * 200
        parts = list(wasm.sections(HEAD + wasm.custom_section("plinth-manifest", content)))
        self.assertEqual(parts, [(0, name("plinth-manifest") + content)])

    def test_free_is_replaced(self) -> None:
        mended = build.mended_module(MODULE)
        parts = dict(wasm.sections(mended))
        self.assertEqual(parts[3], b"\x03\x00\x01\x01")
        self.assertEqual(parts[7], b"\x02" + name("start") + b"\x00\x01" + name("free") + b"\x00\x03")
        body = b"\x00\x20\x00\x41\x10\x4b\x04\x40\x20\x00\x10\x02\x0b\x0b"
        self.assertEqual(parts[10], b"\x03\x02\x00\x0b\x02\x00\x0b" + bytes([len(body)]) + body)
        self.assertEqual((parts[1], parts[2], parts[0]), tuple(dict(wasm.sections(MODULE))[n] for n in (1, 2, 0)))

    def test_other_modules_stay(self) -> None:
        other = wasm.joined(HEAD, [section(7, b"\x01", name("freed"), b"\x00\x00")])
        self.assertIsNone(build.mended_module(other))
        component = wasm.joined(b"\0asm\x0d\0\1\0", [(1, other), (1, MODULE), (4, b"abc")])
        parts = list(wasm.sections(build.mended(component)))
        self.assertEqual(parts, [(1, other), (1, build.mended_module(MODULE)), (4, b"abc")])
        with self.assertRaisesRegex(build.Failed, "no `free`"):
            build.mended(wasm.joined(b"\0asm\x0d\0\1\0", [(1, other)]))

    def glue(self, *functions: bytes) -> bytes:
        """A module that imports what glue does, with functions of these bodies."""
        imports = [name("env") + name("wit_dylib_" + each) + b"\x00\x00" for each in GLUE]
        bodies = [wasm.leb128(len(each) + 2) + b"\x00" + each + b"\x0b" for each in functions]
        return wasm.joined(
            HEAD,
            [section(2, wasm.leb128(len(imports)), *imports), section(10, wasm.leb128(len(bodies)), *bodies)],
        )

    def test_types_of_lists_are_told_from_what_the_glue_does_with_their_elements(self) -> None:
        given = pushed(3, "u8") + pushed(4, "s64") + pushed(200, "string") + pushed(201, "f32")
        returned = popped(5, "u8") + popped(6, "f64") + popped(7, "string")
        module = self.glue(given, returned)
        self.assertEqual(raw_lists.lists_of(module), (5, {4: 8, 201: 4, 6: 8}))
        with self.assertRaisesRegex(raw_lists.Unexpected, "an instruction that is not known: 208"):
            raw_lists.lists_of(self.glue(b"\xd0\x70"))

    def test_lists_of_numbers_pass_as_bytes(self) -> None:
        runtime = wasm.joined(
            HEAD,
            [
                section(1, b"\x01", b"\x60\x00\x00"),
                section(3, b"\x02\x00\x00"),
                section(7, b"\x02", name(raw_lists.PUSH), b"\x00\x00", name(raw_lists.POP), b"\x00\x01"),
                section(10, b"\x02", b"\x02\x00\x0b", b"\x02\x00\x0b"),
            ],
        )
        glue = self.glue(pushed(3, "u8") + pushed(4, "f64"))
        component = wasm.joined(b"\0asm\x0d\0\1\0", [(1, glue), (1, runtime)])
        (_, same), (_, made) = wasm.sections(raw_lists.raw_lists(component))
        self.assertEqual(same, glue)
        parts = dict(wasm.sections(made))
        self.assertEqual(parts[3], b"\x04\x00\x00\x00\x00")
        self.assertEqual(wasm.exported(parts[7], raw_lists.PUSH.encode())[2], 2)
        self.assertEqual(wasm.exported(parts[7], raw_lists.POP.encode())[2], 3)
        *_, push, pop = wasm.bodies(parts[10])
        # Of type 4: as many bytes of type 3 as eight times the length, and an eighth of what comes back.
        self.assertEqual(
            push.hex(" "),
            "00 20 01 41 04 46 04 40 20 00 41 03 20 02 20 03 41 08 6c 10 00 0f 0b 20 00 20 01 20 02 20 03 10 00 0b",
        )
        self.assertEqual(
            pop.hex(" "), "00 20 01 41 04 46 04 40 20 00 41 03 20 02 10 01 41 08 6e 0f 0b 20 00 20 01 20 02 10 01 0b"
        )
        without = wasm.joined(b"\0asm\x0d\0\1\0", [(1, self.glue(pushed(4, "string"))), (1, runtime)])
        self.assertEqual(raw_lists.raw_lists(without), without)
        for parts, message in (
            ([(1, runtime)], "0 of its modules call wit_dylib_push_list"),
            ([(1, glue)], "0 of its modules export wit_dylib_push_list"),
            ([(1, self.glue(pushed(4, "f64"))), (1, runtime)], "none of bytes"),
        ):
            with self.assertRaisesRegex(raw_lists.Unexpected, message):
                raw_lists.raw_lists(wasm.joined(b"\0asm\x0d\0\1\0", parts))


GLUE = [
    "push_list", "list_append", "pop_list", "pop_iter_next",
    *(way + each for way in ("push_", "pop_") for each in ("u8", "s64", "f32", "f64", "string")),
]  # fmt: skip


def called(function: str, number: int | None = None) -> bytes:
    """A call, after the number of a type."""
    constant = b"" if number is None else b"\x41" + wasm.signed(number)
    return constant + b"\x10" + wasm.leb128(GLUE.index(function))


def pushed(number: int, element: str) -> bytes:
    return called("push_list", number) + called("push_" + element) + called("list_append", number)


def popped(number: int, element: str) -> bytes:
    return called("pop_list", number) + called("pop_iter_next", number) + called("pop_" + element)


if __name__ == "__main__":
    unittest.main()
