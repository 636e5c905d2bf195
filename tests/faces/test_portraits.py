"""The experiments' portraits: taken out of an archive with the stated content, and refused otherwise."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from adfd.basics.errors import AdfdError
from adfd.faces import portraits
from adfd.models import fetch


def test_portraits_are_taken_out_of_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "JPEG")
    told = hashlib.sha256(content.getvalue()).hexdigest()
    archive = tmp_path / "package.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in portraits.FETCHED:
            member = tarfile.TarInfo(file.member)
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_archive", lambda *_: archive)
    with pytest.raises(AdfdError, match="arrived with another content"):
        portraits.put(tmp_path / "photos")
    package = replace(portraits.FACE_RECOGNITION, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    files = tuple(replace(file, package=package, sha256=told) for file in portraits.FETCHED)
    monkeypatch.setattr(portraits, "FACE_RECOGNITION", package)
    monkeypatch.setattr(portraits, "FETCHED", files)
    put = portraits.put(tmp_path / "photos")
    assert [path.name for path in put] == ["collins.png", "obama.jpg", "biden.jpg"]
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == sorted(path.name for path in put)
    assert [Image.open(path).size for path in put] == [(512, 512), (8, 8), (8, 8)]
