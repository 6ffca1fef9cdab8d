"""ONNX models that the operator named, run by the host on its CPU or GPU: the capability `nn`."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from . import _host


class TensorType(Enum):
    """Type of a tensor's values, little-endian in its data."""

    FP16 = 0
    FP32 = 1
    FP64 = 2
    BF16 = 3
    UINT8 = 4
    INT8 = 5
    INT32 = 6
    INT64 = 7
    BOOLEAN = 8
    UTF8 = 9
    """Texts, each its length in bytes as a 4-byte integer and then its UTF-8."""


_CODES = {
    TensorType.FP32: "f", TensorType.FP64: "d", TensorType.UINT8: "B", TensorType.INT8: "b",
    TensorType.INT32: "i", TensorType.INT64: "q", TensorType.BOOLEAN: "B",
}  # fmt: skip


@dataclass
class Tensor:
    """Values with a shape, row-major, without gaps."""

    shape: tuple[int, ...]
    type: TensorType
    data: bytes

    @classmethod
    def of(cls, values: Iterable[float], shape: Sequence[int], type: TensorType = TensorType.FP32) -> Tensor:
        """A tensor of some numbers. Raises `ValueError` where there are not as many as the shape says."""
        if type not in _CODES:
            raise ValueError(f"numbers cannot be written as {type.name.lower()}: fill in `data`")
        made = array(_CODES[type], values)
        if len(made) != math.prod(shape):
            raise ValueError(f"{len(made)} values are no tensor of the shape {tuple(shape)}")
        return cls(tuple(shape), type, made.tobytes())

    def values(self) -> list[Any]:
        """Its numbers, or its texts."""
        if self.type is TensorType.UTF8:
            texts, at = [], 0
            while at < len(self.data):
                end = at + 4 + int.from_bytes(self.data[at : at + 4], "little")
                texts.append(self.data[at + 4 : end].decode())
                at = end
            return texts
        if self.type not in _CODES:
            raise ValueError(f"{self.type.name.lower()} has no numbers in Python: read `data`")
        return array(_CODES[self.type], self.data).tolist()


@dataclass
class TensorInfo:
    """What a model takes or gives; -1 for a dimension that may vary."""

    name: str
    type: TensorType
    shape: tuple[int, ...]


class Graph:
    """A loaded model."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def inputs(self) -> list[TensorInfo]:
        """What it takes."""
        return [_info(each) for each in self._handle.inputs()]

    def outputs(self) -> list[TensorInfo]:
        """What it gives."""
        return [_info(each) for each in self._handle.outputs()]

    def compute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs it once: every input by name, every output back."""
        host = _host.interface("nn")
        given = [
            host.Tensor(name, _host.numbers("I", each.shape), host.TensorType(each.type.value), each.data)
            for name, each in inputs.items()
        ]
        made = _host.call(self._handle.compute, given)
        return {
            each.name: Tensor(tuple(array("I", each.dimensions)), TensorType(each.ty.value), each.data) for each in made
        }


def load(name: str) -> Graph:
    """Loads a granted model by the name that the operator gave it."""
    return Graph(_host.call(_host.interface("nn").load_by_name, name))


def _info(told: Any) -> TensorInfo:
    return TensorInfo(told.name, TensorType(told.ty.value), tuple(array("q", told.dimensions)))
