"""Downloading. Nothing here uses the network."""

import gzip
import hashlib
import io
import urllib.request

import pytest

from cli.program import DataError
from sources import official_idx

CONTENT = gzip.compress(bytes.fromhex("00000803 00000003 00000002 00000002") + bytes(range(12)))
URL = "https://example.org/file.gz"


def download(folder, sha256=None):
    digests = {"file.gz": sha256 or hashlib.sha256(CONTENT).hexdigest(), "other.gz": ""}
    official_idx.download(URL, folder / "file.gz", digests)


def serve(monkeypatch, response):
    asked = []
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda url, timeout: asked.append(url) or response
    )
    return asked


def test_a_download_is_checked_then_named(tmp_path, monkeypatch):
    (tmp_path / "file.gz.part").write_bytes(
        b"of an interrupted download, longer than the whole file " * 10
    )
    asked = serve(monkeypatch, io.BytesIO(CONTENT))
    download(tmp_path)
    assert asked == [URL]
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content",
    [CONTENT + b"x", CONTENT[:-1], b"", b"<html>sign in</html>"],
    ids=["longer", "cut", "empty", "portal"],
)
def test_a_download_with_another_checksum_leaves_nothing(tmp_path, monkeypatch, content):
    serve(monkeypatch, io.BytesIO(content))
    with pytest.raises(DataError) as caught:
        download(tmp_path)
    assert (
        f"{URL}: expected SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, "
        f"got {hashlib.sha256(content).hexdigest()}" in str(caught.value)
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault", [ConnectionResetError("reset by peer"), TimeoutError("timed out")], ids=repr
)
def test_a_connection_that_breaks_leaves_no_file_of_that_name(tmp_path, monkeypatch, fault):
    class Breaks(io.BytesIO):
        def read(self, size):
            if self.tell():
                raise fault
            return super().read(10)

    serve(monkeypatch, Breaks(CONTENT))
    with pytest.raises(DataError, match=f"{URL} cannot be reached .{fault}"):
        download(tmp_path)
    assert not (tmp_path / "file.gz").exists()
    serve(monkeypatch, io.BytesIO(CONTENT))  # the next start begins again
    download(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
