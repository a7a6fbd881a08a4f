"""Which encoding a text is in: certain from a byte order mark, else a guess for a message."""

import codecs
import re

_MARKS = {  # of UTF-32 before that of UTF-16, which it begins with
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SCRIPTS = (  # (encoding, letters that its texts are made of), the surest first
    ("shift_jis", r"[ぁ-ヺ]"),
    ("cp949", r"[가-힣]"),
    ("gb2312", r"[一-龥]"),
    ("cp1251", r"[\u0401\u0410-\u044f\u0451]"),
    ("cp1252", r"[À-ÿŠšŽžŒœŸ]"),
)
_LEAST_SHARE = {"shift_jis": 0.2}  # of the letters beyond ASCII; the others are Chinese characters
_NAMES = {"gb2312": "gb18030"}  # the wider encoding that holds it


def marked(start: bytes) -> str | None:
    """The encoding that a byte order mark names, from the first four bytes of a file."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)


def likely(data: bytes) -> list[str]:
    """Encodings in which these bytes, if they are no UTF-8, are sensible text; at most two."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) > len(data) // 8:
        return ["utf-16-le" if odd > even else "utf-16-be"]
    if _decodes(data, "utf-8"):
        return []
    found = [encoding for encoding, letters in _SCRIPTS if _is_sensible(data, encoding, letters)]
    # Short Korean and Chinese texts are bytes of the same range.
    count = 2 if found[:2] == ["cp949", "gb2312"] else 1
    return [_NAMES.get(encoding, encoding) for encoding in found[:count]]


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        return data.decode(encoding) is not None
    except UnicodeDecodeError:
        return False


def _is_sensible(data: bytes, encoding: str, letters: str) -> bool:
    if not _decodes(data, encoding):
        return False
    text = data.decode(encoding)
    ascii_letters = len(re.findall("[A-Za-z]", text))
    beyond = [char for char in text if char > "\x7f" and char.isalpha()]
    if encoding == "cp1251" and len(beyond) < ascii_letters:  # a few accents, not Russian
        return False
    share = len(re.findall(letters, "".join(beyond))) / max(1, len(beyond))
    return bool(beyond) and share >= _LEAST_SHARE.get(encoding, 0.9)
