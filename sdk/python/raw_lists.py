"""Lets lists of numbers pass between host and Python as bytes instead of as lists, element by element.

componentize-py hands a `list<u8>` over as `bytes`, with one copy, and any other list as a list of objects, each of them
by a call of its own: for a block of numbers that takes several times as long as all that a plugin does with it.

A component of that tool has a runtime, and glue that calls the runtime's `wit_dylib_push_list(call, list, data, length)`
for each list that Python is given, and `wit_dylib_pop_list(call, list, data)` for each that Python gives; `list` is the
number of the list's type, and where the answer is that this is no list of bytes, the glue goes on element by element.
Here both functions are put behind others that say of a list of numbers: these are bytes, so many times as many.

Which number is which type is read off the glue's code, by what it does with the elements. Where anything is not as
expected nothing is built: the tool's version is pinned.
"""

from __future__ import annotations

from wasm import bodies, calls, imported_functions, joined, leb128, sections, signed, with_wrapper

PUSH, POP = "wit_dylib_push_list", "wit_dylib_pop_list"
_WIDTHS = {"u16": 2, "s16": 2, "u32": 4, "s32": 4, "f32": 4, "u64": 8, "s64": 8, "f64": 8}


class Unexpected(Exception):
    """The component is not as componentize-py makes them."""


def raw_lists(component: bytes) -> bytes:
    """The component, with lists of numbers that are bytes in Python. Raises `Unexpected`."""
    parts = list(sections(component))
    glue = [content for number, content in parts if number == 1 and PUSH in _imports(content)]
    if len(glue) != 1:
        raise Unexpected(f"{len(glue)} of its modules call {PUSH}, and 1 should")
    octets, widths = lists_of(glue[0])
    if not widths:
        return component
    if octets is None:
        raise Unexpected("it has lists of numbers, and none of bytes")
    runtimes = 0
    for at, (number, content) in enumerate(parts):
        runtime = _with_wrappers(content, octets, widths) if number == 1 else None
        if runtime is not None:
            parts[at], runtimes = (number, runtime), runtimes + 1
    if runtimes != 1:
        raise Unexpected(f"{runtimes} of its modules export {PUSH}, and 1 should")
    return joined(component[:8], parts)


def lists_of(module: bytes) -> tuple[int | None, dict[int, int]]:
    """From the glue: the number of `list<u8>`, and how wide the elements of the other lists of numbers are.

    A list that Python is given is a call of `push_list` with its number, one for an element, and `list_append`; one
    that Python gives is a call of `pop_list`, `pop_iter_next` with its number, and one for an element.
    """
    names = _imports(module)
    octets: int | None = None
    widths: dict[int, int] = {}
    for body in bodies(dict(sections(module))[10]):
        try:
            called = [(names[callee] if callee < len(names) else "", constant) for callee, constant in calls(body)]
        except ValueError as error:
            raise Unexpected(str(error)) from None
        for at, (name, constant) in enumerate(called[:-2]):
            then = called[at + 1][0], called[at + 2][0]
            element = ""
            if name == PUSH and then[1] == "wit_dylib_list_append":
                element = then[0].removeprefix("wit_dylib_push_")
            elif name == "wit_dylib_pop_iter_next":
                element = then[0].removeprefix("wit_dylib_pop_")
            if constant is None:
                continue
            if element == "u8":
                octets = constant
            elif element in _WIDTHS:
                widths[constant] = _WIDTHS[element]
    return octets, widths


def _imports(module: bytes) -> list[str]:
    return imported_functions(dict(part for part in sections(module) if part[0]).get(2, b"\x00"))


def _with_wrappers(module: bytes, octets: int, widths: dict[int, int]) -> bytes | None:
    """The runtime with a function before its `push_list` and one before its `pop_list`; `None` for another module."""
    pushing = with_wrapper(module, PUSH.encode(), lambda index: _pushed(index, octets, widths))
    if pushing is None:
        return None
    popping = with_wrapper(pushing, POP.encode(), lambda index: _popped(index, octets, widths))
    if popping is None:
        raise Unexpected(f"it exports {PUSH} and no {POP}")
    return popping


# local.get of the parameters: the call, the list's type, the data (or where to put it), the length.
_CALL, _TYPE, _DATA, _LENGTH = b"\x20\x00", b"\x20\x01", b"\x20\x02", b"\x20\x03"


def _when(number: int, then: bytes) -> bytes:
    """(if (i32.eq (local.get $type) (i32.const NUMBER)) (then (return THEN)))"""
    return _TYPE + b"\x41" + signed(number) + b"\x46\x04\x40" + then + b"\x0f\x0b"


def _pushed(original: int, octets: int, widths: dict[int, int]) -> bytes:
    """For a list of numbers: ORIGINAL(call, BYTES, data, length * WIDTH)."""
    call = b"\x10" + leb128(original)
    code = b"\x00"  # no locals
    for number, width in widths.items():
        length = _LENGTH + b"\x41" + signed(width) + b"\x6c"
        code += _when(number, _CALL + b"\x41" + signed(octets) + _DATA + length + call)
    return code + _CALL + _TYPE + _DATA + _LENGTH + call + b"\x0b"


def _popped(original: int, octets: int, widths: dict[int, int]) -> bytes:
    """For a list of numbers: ORIGINAL(call, BYTES, data) / WIDTH."""
    call = b"\x10" + leb128(original)
    code = b"\x00"
    for number, width in widths.items():
        code += _when(number, _CALL + b"\x41" + signed(octets) + _DATA + call + b"\x41" + signed(width) + b"\x6e")
    return code + _CALL + _TYPE + _DATA + call + b"\x0b"
