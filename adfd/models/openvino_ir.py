"""Read MobileStyleGAN's weights from OpenVINO IR: the topology in .xml, the constants in .bin.

Constants are found by following the graph's edges from operations, since many constants have no meaningful names.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from xml.parsers import expat

import numpy as np
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError

MAX_BYTES = 2**24
"""Largest size of a topology file: a hundred times that of MobileStyleGAN's."""
MAX_READINGS = 4
"""Constants may overlap in the .bin file; together they may be at most this many times its size."""


class IntermediateRepresentation:
    """The operations of an IR graph in file order, and the constants that are their inputs."""

    def __init__(self, xml: Path, bin: Path) -> None:
        root = _parse(xml)
        self._layers = {layer.get("id"): layer for layer in root.iterfind("layers/layer")}
        self._sources: dict[str | None, list[str | None]] = {}
        self._sinks: dict[str | None, list[str | None]] = {}
        for edge in root.iterfind("edges/edge"):
            self._sources.setdefault(edge.get("to-layer"), []).append(edge.get("from-layer"))
            self._sinks.setdefault(edge.get("from-layer"), []).append(edge.get("to-layer"))
        self._data = np.memmap(bin, dtype=np.uint8, mode="r")
        self._xml = xml
        self._left = MAX_READINGS * len(self._data)

    def operations(self, *types: str) -> list[str]:
        """Ids of the operations of these types, in file order."""
        return [str(id) for id, layer in self._layers.items() if layer.get("type") in types]

    def addition(self, id: str) -> str:
        """Id of the addition that follows an operation. Raises AdfdError unless there is exactly one."""
        sinks = [sink for sink in self._sinks.get(id, []) if self._layers[sink].get("type") == "Add"]
        if len(sinks) != 1:
            raise AdfdError(f"{self._xml}: operation {id} feeds {len(sinks)} additions where one was expected")
        return str(sinks[0])

    def constant(self, id: str) -> Tensor:
        """The float32 constant that feeds an operation, directly or reshaped. Raises AdfdError unless there is one."""
        found = [source for source in self._sources.get(id, []) if self._is_constant(source)]
        if len(found) != 1:
            raise AdfdError(f"{self._xml}: operation {id} has {len(found)} constant inputs where one was expected")
        return self._read(found[0])

    def named(self, name: str) -> Tensor:
        """The constant of this name. Raises AdfdError where there is none."""
        for id, layer in self._layers.items():
            if layer.get("name") == name and layer.get("type") == "Const":
                return self._read(id)
        raise AdfdError(f"{self._xml}: there is no constant called {name}")

    def _is_constant(self, id: str | None) -> bool:
        if self._layers[id].get("type") == "Reshape":
            return self._is_constant(self._sources[id][0])
        return self._layers[id].get("type") == "Const"

    def _read(self, id: str | None) -> Tensor:
        if self._layers[id].get("type") == "Reshape":
            return self._read(self._sources[id][0])
        data = self._layers[id].find("data")
        assert data is not None
        if data.get("element_type") != "f32":
            raise AdfdError(f"{self._xml}: constant {id} is {data.get('element_type')}, expected f32")
        offset, size = int(data.get("offset", 0)), int(data.get("size", 0))
        shape = [int(n) for n in data.get("shape", "").split(",") if n.strip()]
        self._left -= size
        if not 0 <= offset <= offset + size <= len(self._data) or self._left < 0:
            raise AdfdError(f"{self._xml}: constant {id} is not within its file of constants")
        values = self._data[offset : offset + size].view("<f4").astype(np.float32)
        if values.size != math.prod(shape):
            raise AdfdError(f"{self._xml}: constant {id} holds {values.size} numbers, not those of shape {shape}")
        return torch.from_numpy(values).reshape(shape)


def _parse(xml: Path) -> ElementTree.Element:
    """Parse the topology. Raises ValueError where it is too large or declares entities, which may expand endlessly."""
    if xml.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    text, look = xml.read_bytes(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    look.StartDoctypeDeclHandler = refuse
    look.Parse(text, True)
    return ElementTree.fromstring(text)


def _in_a_line(read: Callable[[Path, Path], dict[str, Tensor]]) -> Callable[[Path, Path], dict[str, Tensor]]:
    """Decorator of a reader: any error that a damaged graph causes is raised as AdfdError in one line."""

    @wraps(read)
    def reading(xml: Path, bin: Path) -> dict[str, Tensor]:
        try:
            return read(xml, bin)
        except AdfdError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise AdfdError(f"{xml} is not MobileStyleGAN's ({type(error).__name__}: {reason:.200})") from error

    return reading


@_in_a_line
def read_mapping(xml: Path, bin: Path) -> dict[str, Tensor]:
    """State of MobileStyleGAN's mapping network: `mapping_layers.{i}.weight` `[512, 512]` and `.bias` `[512]`."""
    ir = IntermediateRepresentation(xml, bin)
    state = {}
    for i, matmul in enumerate(ir.operations("MatMul")):
        state[f"mapping_layers.{i}.weight"] = ir.constant(matmul)
        state[f"mapping_layers.{i}.bias"] = ir.constant(ir.addition(matmul)).flatten()
    return state


@_in_a_line
def read_synthesis(xml: Path, bin: Path) -> dict[str, Tensor]:
    """State of MobileStyleGAN's synthesis network, with the affine maps of all style layers joined into one."""
    ir = IntermediateRepresentation(xml, bin)
    affines = ir.operations("MatMul")[::-1]  # the file holds them last layer first
    state = {
        "affine_weight": torch.cat([ir.constant(matmul) for matmul in affines]),
        "affine_bias": torch.cat([ir.constant(ir.addition(matmul)).flatten() for matmul in affines]),
        "constant": ir.named("m.input.input"),
    }
    *convolutions, to_img = ir.operations("Convolution")
    depthwise = ir.operations("GroupConvolution")
    for i, convolution in enumerate(convolutions):
        name = "first" if i == 0 else f"blocks.{(i - 1) // 2}.conv{(i - 1) % 2 + 1}"
        if i > 0:
            state[f"{name}.depthwise"] = ir.constant(depthwise[i - 1]).squeeze(1)  # [c, 1, 1, 3, 3] -> [c, 1, 3, 3]
        noise = ir.addition(convolution)
        state[f"{name}.weight"] = ir.constant(convolution)
        state[f"{name}.noise"] = ir.constant(noise)
        state[f"{name}.bias"] = ir.constant(ir.addition(noise)).flatten()
    state["to_img.weight"] = ir.constant(to_img)
    state["to_img.bias"] = ir.constant(ir.addition(to_img)).flatten()
    return state
