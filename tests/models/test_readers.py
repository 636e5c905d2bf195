"""Readers of foreign weight formats: whatever a file holds, AdfdError or an answer, at once and in bounded memory."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfd.basics.errors import AdfdError
from adfd.models import checkpoints, dlib_dat, flax, openvino_ir, tensorflow
from adfd.stylespace import published

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PUBLISHED = Path("tests/golden/reference_channels.pkl").read_bytes()
FLAX = pickle.dumps({"params": {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "b": np.zeros(3)}}, 3)
DLIB = b"".join(map(dlib_dat.dlib_integer, (2, 1, 2, 1, 1))) + struct.pack("<2f", 1, 2)
XML = b"""<net><layers>
<layer id="0" type="Const" name="w"><data element_type="f32" shape="2,2" offset="0" size="16"/></layer>
<layer id="1" type="MatMul"/><layer id="2" type="Add"/>
<layer id="3" type="Const"><data element_type="f32" shape="1,2" offset="16" size="8"/></layer></layers>
<edges><edge from-layer="0" to-layer="1"/><edge from-layer="1" to-layer="2"/><edge from-layer="3" to-layer="2"/></edges>
</net>"""


def openvino(path: Path) -> Any:
    path.with_suffix(".bin").write_bytes(bytes(24))
    return openvino_ir.read_mapping(path, path.with_suffix(".bin"))


READERS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    "published": (PUBLISHED, published.read),
    "flax": (FLAX, flax.read),
    "dlib": (DLIB, lambda path: dlib_dat.read_tensors(path, [(1, 2, 1, 1)])),
    "openvino": (XML, openvino),
}


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    content, read = READERS[name]
    (tmp_path / "file").write_bytes(content)
    assert len(read(tmp_path / "file")) > 0


def test_flax_arrays_are_those_that_were_pickled(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(FLAX)
    read = flax.read(tmp_path / "file")
    assert list(read) == ["a/kernel", "b"]
    assert read["a/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("name", READERS)
@quick
@given(data=st.data())
def test_damage_is_an_adfd_error_or_an_answer(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole, read = READERS[name]
    at = st.integers(0, len(whole) - 1)
    content = bytearray(whole)
    for place, value in data.draw(st.lists(st.tuples(at, st.integers(0, 255)), max_size=4)):
        content[place] = value
    start, stop = sorted((data.draw(at), data.draw(at)))
    content = data.draw(st.sampled_from([content, content[:start], content[start:], content[:start] + content[stop:]]))
    (tmp_path / "file").write_bytes(content)
    with suppress(AdfdError):
        read(tmp_path / "file")


def shared(depth: int) -> bytes:
    """Dictionaries, each twice in the next: a few bytes that are endless to walk."""
    tree: dict[str, Any] = {"a": np.zeros(1)}
    for _ in range(depth):
        tree = {"a": tree, "b": tree}
    return pickle.dumps(tree)


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
ARRAY += b"(I1\n(I1000000000000\ntcnumpy\ndtype\n(S'f4'\n"
HOSTILE = {
    "os.system": b"cos\nsystem\n(S'touch executed'\ntR.",
    "eval": b"c__builtin__\neval\n(S'1'\ntR.",
    "a claim of 4 GB": b"\x80\x02B\xff\xff\xff\xff.",
    "a claim of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "a claim of text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
    "a place in memory": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "an array of a terabyte": ARRAY + b"I0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'1234'\ntb.",
    "an array itself": b"cnumpy\nndarray\n((I1000000000000\nttR.",
    "something outside": b"Pid\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "shared dictionaries": shared(19),
    "deep dictionaries": shared(40),
    "itself": b"}q\x00U\x01ah\x00s.",
    "a list": pickle.dumps([1, 2, 3]),
    "texts": pickle.dumps({"a": "b"}),
    "a number": b"I5\n.",
    "endless digits": b"I" + b"9" * 10_000 + b"\n.",
    "nothing": b"",
    "no end": b"}" * 1000,
    "nested": b"]" * 100_000 + b"a" * 99_999 + b".",
}


@pytest.mark.parametrize("reader", ["flax", "published"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing_and_allocate_nothing(
    tmp_path: Path, name: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(AdfdError, match="nothing in it was executed") as error:
            READERS[reader][1](tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


CONST = b'<layer id="0" type="Const"><data element_type="f32" shape="%s" offset="%s" size="%s"/></layer>'
GRAPHS = {
    "no xml": b"text",
    "a document type": b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><net>&c;</net>',
    "a document type in another encoding": '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a []><net/>'.encode(
        "utf-16"
    ),
    "beyond its file": XML.replace(b'offset="0"', b'offset="99999999999"'),
    "a size of its own": XML.replace(b'size="16"', b'size="99999999999999"'),
    "a negative size": XML.replace(b'size="16"', b'size="-8"'),
    "a shape of its own": XML.replace(b'shape="2,2"', b'shape="99999,99999"'),
    "no numbers": XML.replace(b'shape="2,2"', b'shape="two"'),
    "another type": XML.replace(b'"f32" shape="2,2"', b'"f16" shape="2,2"'),
    "no data": XML.replace(b'<data element_type="f32" shape="2,2" offset="0" size="16"/>', b""),
    "a circle": XML.replace(b'type="Const" name="w"', b'type="Reshape"').replace(
        b"<edges>", b'<edges><edge from-layer="0" to-layer="0"/>'
    ),
    "an edge to nowhere": XML.replace(b'to-layer="2"', b'to-layer="9"'),
    "read over and over": XML.replace(
        b'<layer id="1" type="MatMul"/>', b"".join(b'<layer id="m%d" type="MatMul"/>' % i for i in range(30))
    ).replace(
        b"<edges>",
        b"<edges>"
        + b"".join(
            b'<edge from-layer="0" to-layer="m%d"/><edge from-layer="m%d" to-layer="2"/>' % (i, i) for i in range(30)
        ),
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_hostile_graphs_are_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(GRAPHS[name])
    with pytest.raises(AdfdError) as error:
        openvino(tmp_path / "file")
    assert "\n" not in str(error.value)


ENTRIES = [{"name": "a", "shape": [2], "dtype": "float32"}]


@pytest.mark.parametrize(
    "entries",
    [
        [{"name": "a", "shape": [10**12], "dtype": "float32"}],
        [{"name": "a", "shape": [-1], "dtype": "float32"}],
        [{"name": "a", "shape": [-1, -2], "dtype": "float32"}],
        [{"name": "a", "shape": ["x"], "dtype": "float32"}],
        [{"name": "a", "shape": 2, "dtype": "float32"}],
        [{"name": "a", "shape": [1], "dtype": "O"}],
        [{"name": "a", "shape": [1], "dtype": "nothing"}],
        [{"name": "a", "shape": [2]}],
        [{"shape": [2], "dtype": "float32"}],
        [{"name": "a", "shape": [8], "dtype": "uint8", "quantization": {"scale": "x", "min": 0}}],
        [5],
        ["a"],
        [{"name": "a", "shape": [1], "dtype": "float32"}],
        5,
    ],
)
def test_hostile_lists_of_weights_are_one_line(entries: Any) -> None:
    assert tensorflow.read_weights(ENTRIES, bytes(8))["a"].tolist() == [0, 0]
    with pytest.raises(AdfdError) as error:
        tensorflow.read_weights(entries, bytes(8))
    assert "\n" not in str(error.value)


json = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["float32", "uint8", "O", "name"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "shape", "dtype", "quantization", "scale"]), inner, max_size=5)
    ),
    max_leaves=8,
)


@quick
@given(st.lists(json, max_size=3), st.binary(max_size=16))
def test_any_list_of_weights_is_an_answer_or_an_adfd_error(entries: Any, data: bytes) -> None:
    with suppress(AdfdError):
        tensorflow.read_weights(entries, data)


def test_checkpoints_that_claim_or_pack_more_than_they_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    for modern in (True, False):
        torch.save({"a": torch.arange(1000.0)}, path, _use_new_zipfile_serialization=modern)
        assert checkpoints.read(path)["a"][999] == 999
    content = path.read_bytes()
    claim = content.replace(b"M\xe8\x03N", b"J\xff\xff\xff\x7fN", 1)
    assert claim != content
    path.write_bytes(claim)
    with pytest.raises(AdfdError, match="it claims 2147483647 numbers"):
        checkpoints.read(path)
    torch.save({"a": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as file:
        for record in stored.infolist():
            file.writestr(record.filename, stored.read(record))
    with pytest.raises(AdfdError, match="its records are packed"):
        checkpoints.read(tmp_path / "packed.pt")
