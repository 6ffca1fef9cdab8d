"""The binary format of modules and components, as far as `build.py` reads and writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def leb128(number: int) -> bytes:
    """An unsigned number."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def signed(number: int) -> bytes:
    """A number that is not negative, where a signed one is wanted."""
    out = leb128(number)
    return out if out[-1] < 64 else out[:-1] + bytes([out[-1] | 128, 0])


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each section of a module or a component."""
    at = 8
    while at < len(data):
        size, start = unsigned(data, at + 1)
        yield data[at], data[start : start + size]
        at = start + size


def joined(head: bytes, parts: list[tuple[int, bytes]]) -> bytes:
    """A module or a component of its sections."""
    return head + b"".join(bytes([number]) + leb128(len(content)) + content for number, content in parts)


def custom_section(name: str, content: bytes) -> bytes:
    """A custom section, to be appended."""
    content = leb128(len(name)) + name.encode() + content
    return b"\x00" + leb128(len(content)) + content


def exported(section: bytes, wanted: bytes) -> tuple[int, int, int] | None:
    """Where an export section has the index of a function, from and to, and the index."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        length, at = unsigned(section, at)
        name, at = section[at : at + length], at + length
        function, end = unsigned(section, at + 1)
        if name == wanted and section[at] == 0:
            return at + 1, end, function
        at = end
    return None


def imported_functions(section: bytes) -> list[str]:
    """The names of the functions that an import section brings."""
    count, at = unsigned(section, 0)
    functions = []
    for _ in range(count):
        name = b""
        for _ in range(2):
            length, at = unsigned(section, at)
            name, at = section[at : at + length], at + length
        kind, at = section[at], at + 1
        if kind == 0:  # a function: its type
            functions.append(name.decode())
            _, at = unsigned(section, at)
        elif kind in (1, 2):  # a table (its type first) or a memory: flags, least, most
            at += kind == 1
            flags, at = section[at], at + 1
            for _ in range(1 + (flags & 1)):
                _, at = unsigned(section, at)
        elif kind == 3:  # a global: type, whether it changes
            at += 2
        else:  # a tag: attribute, type
            _, at = unsigned(section, at + 1)
    return functions


def with_wrapper(module: bytes, name: bytes, body: Callable[[int], bytes]) -> bytes | None:
    """A core module that exports another function by a name, of the same type: `body` makes its code, which may call
    the one that is there by its index. `None` where the module exports no such function.
    """
    parts = list(sections(module))
    found = dict(part for part in parts if part[0])
    export = exported(found.get(7, b"\x00"), name)
    if export is None:
        return None
    start, end, function = export
    imported = len(imported_functions(found.get(2, b"\x00")))
    count, at = unsigned(found[3], 0)
    types = []
    rest = at
    while rest < len(found[3]):
        kind, rest = unsigned(found[3], rest)
        types.append(kind)
    if function < imported:
        return None
    code = body(function)
    changed = {
        3: leb128(count + 1) + found[3][at:] + leb128(types[function - imported]),
        7: found[7][:start] + leb128(imported + count) + found[7][end:],
        10: leb128(count + 1) + found[10][unsigned(found[10], 0)[1] :] + leb128(len(code)) + code,
    }
    return joined(module[:8], [(number, changed.get(number, content)) for number, content in parts])


def bodies(section: bytes) -> Iterator[bytes]:
    """The functions of a code section."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        size, start = unsigned(section, at)
        at = start + size
        yield section[start:at]


def calls(body: bytes) -> list[tuple[int, int | None]]:
    """The calls of a function's body in order: what is called, and the last constant before it that is not negative.

    Raises `ValueError` for an instruction that is not known.
    """
    count, at = unsigned(body, 0)
    for _ in range(count):
        at = _skip(body, at) + 1
    found: list[tuple[int, int | None]] = []
    constant: int | None = None
    while at < len(body):
        opcode, at = body[at], at + 1
        if opcode == 0x10:  # call
            function, at = unsigned(body, at)
            found.append((function, constant))
        elif opcode == 0x41:  # i32.const
            end = _skip(body, at)
            constant = None if body[end - 1] & 64 else unsigned(body, at)[0]
            at = end
        else:
            at = _operands(body, at, opcode)
    return found


def _skip(body: bytes, at: int) -> int:
    """The place after a number."""
    while body[at] & 128:
        at += 1
    return at + 1


def _operands(body: bytes, at: int, opcode: int) -> int:
    """The place after the operands of an instruction."""
    numbers = 0
    if opcode in (0x02, 0x03, 0x04, 0x0C, 0x0D, 0x3F, 0x40, 0x42) or 0x20 <= opcode <= 0x26:
        numbers = 1  # block, loop, if, br, br_if, memory.size, memory.grow, i64.const, locals, globals, tables
    elif opcode == 0x11 or 0x28 <= opcode <= 0x3E:
        numbers = 2  # call_indirect, loads and stores
    elif opcode == 0x0E:  # br_table
        numbers, at = unsigned(body, at)
        numbers += 1
    elif opcode in (0x43, 0x44):  # f32.const, f64.const
        at += 4 if opcode == 0x43 else 8
    elif opcode == 0xFC:
        more, at = unsigned(body, at)
        numbers = 0 if more < 8 else 2 if more in (8, 10, 12, 14) else 1
    elif opcode > 0xC4:
        raise ValueError(f"an instruction that is not known: {opcode}")
    for _ in range(numbers):
        at = _skip(body, at)
    return at
