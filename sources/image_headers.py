"""What the first bytes of JPEG, PNG, GIF and BMP files say, so that nothing large is decoded."""

from typing import NamedTuple

from cli.program import DataError


class ImageHeader(NamedTuple):
    width: int
    height: int
    orientation: int = 1  # EXIF: 1 to 8
    is_cmyk: bool = False


def read_header(data: bytes, name: str, max_pixels: int) -> ImageHeader:
    """Of a whole image file. Raises DataError for what must not, or cannot, be decoded."""
    if not data:
        raise DataError(f"{name}: expected an image, got an empty file")
    readers = [read for begin, read in _READERS.items() if data.startswith(begin)]
    if not readers:
        raise DataError(
            f"{name}: expected JPEG, PNG, BMP or GIF, got a file that begins with {data[:4].hex()}"
        )
    try:
        header = readers[0](data, name)
    except IndexError:
        raise DataError(f"{name}: the image ends too early, after {len(data)} bytes") from None
    if not 0 < header.width * header.height <= max_pixels:
        raise DataError(
            f"{name}: expected 1 to {max_pixels:,} pixels (max_pixels), "
            f"got {header.width}x{header.height}"
        )
    return header


def _number(data: bytes, at: int, size: int, order="big") -> int:
    return int.from_bytes(data[at : at + size], order)


def _jpeg(data: bytes, name) -> ImageHeader:
    """Goes from marker to marker up to the frame header (ITU-T T.81, B.2)."""
    at = 2
    orientation = 1
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        length = _number(data, at + 2, 2)
        has_length = marker >= 0x02 and not 0xD0 <= marker <= 0xDA
        if data[at] != 0xFF or not has_length or length < 2:
            raise DataError(
                f"{name}: expected a JPEG with a frame header before its data, got a damaged one"
            )
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 10 : at + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            break
        at += 2 + length
    precision = data[at + 4]
    if precision != 8:
        raise DataError(f"{name}: expected 8 bits a channel, got a JPEG of {precision}; convert it")
    components = data[at + 9]
    if components not in (1, 3, 4):
        raise DataError(
            f"{name}: expected a gray, RGB or CMYK image, "
            f"got a JPEG of {components} channels; convert it"
        )
    width, height = _number(data, at + 7, 2), _number(data, at + 5, 2)
    return ImageHeader(width, height, orientation, is_cmyk=components == 4)


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory; 1, upright, for anything that is not as it should be."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    directory = _number(tiff, 4, 4, order)
    for entry in range(min(_number(tiff, directory, 2, order), 200)):
        at = directory + 2 + 12 * entry
        if _number(tiff, at, 2, order) == 0x0112:
            value = _number(tiff, at + 8, 2, order)
            return value if 1 <= value <= 8 else 1
    return 1


def _png(data: bytes, name) -> ImageHeader:
    _ = data[24]  # there must be as much
    return ImageHeader(_number(data, 16, 4), _number(data, 20, 4))


def _gif(data: bytes, _name: str) -> ImageHeader:
    """As large as the screen and the largest frame, which may differ (GIF89a, sections 18, 20)."""
    width = _number(data, 6, 2, "little")
    height = _number(data, 8, 2, "little")
    at = 13 + _gif_colors(data[10])
    while at < len(data) and data[at] in b"!,":
        at += 2
        if data[at - 2] == ord(","):  # a frame; all of them are unpacked
            width = max(width, _number(data, at + 3, 2, "little"))
            height = max(height, _number(data, at + 5, 2, "little"))
            at += 9 + _gif_colors(data[at + 7])
        while data[at]:  # blocks, each with its length before it
            at += 1 + data[at]
        at += 1
    return ImageHeader(width, height)


def _gif_colors(flags: int) -> int:
    """Bytes of a table of colors."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(data: bytes, name) -> ImageHeader:
    """BITMAPINFOHEADER or longer (MS-WMF, section 2.2.2.9)."""
    pixels_at, header_length = (_number(data, at, 4, "little") for at in (10, 14))
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    bits, compression = data[28] | data[29] << 8, _number(data, 30, 4, "little")
    expected = f"{name}: expected a BMP of 1, 4, 8, 24 or 32 bits that is not compressed"
    if header_length < 40:
        raise DataError(f"{expected}, got one of OS/2; convert it")
    if bits not in (1, 4, 8, 24, 32) or compression not in (0, 3):
        kind = _BMP_COMPRESSIONS.get(compression, f"compression {compression}")
        raise DataError(f"{expected}, got {bits} bits, {kind}; convert it")
    row_bytes = (width * bits + 31) // 32 * 4
    if bits <= 8 and width > 0 and len(data) < pixels_at + row_bytes * abs(height):
        raise IndexError
    return ImageHeader(abs(width), abs(height))


_BMP_COMPRESSIONS = {0: "not compressed", 1: "RLE", 2: "RLE", 3: "bit fields", 4: "JPEG", 5: "PNG"}
_READERS = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"BM": _bmp,
}
