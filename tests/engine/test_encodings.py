"""Byte order marks are certain; other encodings are guessed from the letters that they give."""

import pytest

from cli.program import DataError
from engine.encodings import likely, marked
from engine.safe_files import lines_of

TEXTS = {  # encoding: (text, guesses)
    "cp949": ("똠방각하, 가격은 얼마", ["cp949"]),
    "shift_jis": ("これは日本語です", ["shift_jis"]),
    "gb18030": ("我们的孩子都喜欢这个玩具。质量很好", ["gb18030"]),
    "cp1251": ("Хороший фильм, good", ["cp1251"]),
    "cp1252": ("Ein schöner Film über Müller", ["cp1252"]),
    "utf-16-le": ("a plain text", ["utf-16-le"]),
    "utf-16-be": ("a plain text", ["utf-16-be"]),
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_an_encoding_is_guessed(encoding):
    text, guesses = TEXTS[encoding]
    assert likely(text.encode(encoding)) == guesses
    assert likely(text.encode()) == []


def test_noise_is_in_no_encoding():
    assert likely(b"\xff\xfe\xfd" * 30 + b"\x81\x00\x98") == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_goes_before_what_is_said(tmp_path, encoding):
    path = tmp_path / "t.txt"
    path.write_bytes("né\r\n글\n".encode(encoding))
    assert marked(path.read_bytes()[:4]) == encoding
    for said in ("utf-8", "cp949"):
        assert list(lines_of(path, said)) == [(1, "né"), (2, "글")]


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"a\nb\0c\n", "utf-8", ":2: expected text, got a zero byte"),
        (b"a\n\xb0\n", "cp949", ":2: expected text in cp949, got byte 0xb0 at 2 of the file"),
        ("text\n".encode("utf-16-le"), "utf-8", "a zero byte; encoding: utf-16-le?"),
        (b"\xff\xfea", "utf-8", ":1: expected text in utf-16, got byte 0x61 at 2 of the file"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path, data, encoding, message):
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(lines_of(path, encoding))
    assert message in str(caught.value)
