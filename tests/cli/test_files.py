"""The one reader and the one writer of small files, and what people read of them."""

import errno
import os
import resource
import stat

import pytest
from pydantic import BaseModel

from cli import files, program
from cli.program import CheckpointError, ConfigError, DataError, ResourceError, shown, write_whole


class Entry(BaseModel, strict=True):
    step: int


CONTENTS = {
    b"": "Invalid JSON",
    b'{"step": 1': "Invalid JSON",
    b'{"step": "1"}': "step: Input should be a valid integer",
    b'{"step": true}': "step: Input should be a valid integer",
    b"{}": "step: Field required",
    b"[1]": "Input should be an object",
    b"[" * 100_000: "recursion limit exceeded",
    b'{"step": 1, "a": "\\ud800"}': "Invalid JSON",
    b"\xff": "Invalid JSON",
    b" " * 101: "expected at most 100 bytes",
}


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: repr(content[:30]))
def test_what_is_not_of_its_type_is_one_line(tmp_path, content):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        most = 1 << 20 if content.startswith(b"[[") else 100
        files.read_json(file, Entry, DataError, most)
    assert str(caught.value).startswith(f"{file}: ") and CONTENTS[content] in str(caught.value)


def test_what_is_of_its_type_is_read(tmp_path):
    (tmp_path / "real").write_text('{"step": 7, "other": NaN}')
    (tmp_path / "link").symlink_to("real")
    assert files.read_json(tmp_path / "link", Entry).step == 7


THINGS = {
    "a directory": os.mkdir,
    "a FIFO": os.mkfifo,
    "a socket": lambda path: os.mknod(path, 0o600 | stat.S_IFSOCK),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", THINGS)
def test_what_is_no_regular_file_is_neither_opened_nor_waited_for(tmp_path, kind):
    THINGS[kind](tmp_path / "x")
    with pytest.raises(CheckpointError, match=f"x: expected a regular file, got {kind}"):
        files.read_bytes(tmp_path / "x")


def test_a_missing_permission_is_no_damage(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "x").touch()
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError):
        files.read_bytes(tmp_path / "x")


# ---- the writer


@pytest.mark.parametrize("name", ["a.json", "a.json.part"])
def test_the_writer_follows_no_link(tmp_path, name):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / name).symlink_to("victim")
    write_whole(tmp_path / "a.json", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "victim"]


@pytest.mark.parametrize("name", ["a.json", "a.json.part"])
def test_a_directory_is_not_replaced(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=f"{name}: expected a file, got a directory"):
        write_whole(tmp_path / "a.json", "new")


# ---- the mouth


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain \t text, äöü 漢字", "plain \t text, äöü 漢字"),
        ("\x1b[31mRED\x1b]0;owned\x07", r"\x1b[31mRED\x1b]0;owned\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x9b2J\x7f\u202egnp.exe\u2028", r"\x9b2J\x7f\u202egnp.exe\u2028"),
        ("bytes \udcff", r"bytes \udcff"),
    ],
)
def test_nothing_speaks_to_the_terminal(text, line, capsys):
    assert shown(text) == line
    program.warn(text)
    assert capsys.readouterr().err == line + "\n"


def test_a_closed_stderr_is_not_taken_for_stdout(monkeypatch, capsys):
    monkeypatch.setattr(program.sys, "stderr", None)
    program.warn("lost")
    assert capsys.readouterr().out == ""


# ---- what TensorFlow needs


def test_temporary_files_need_room():
    class Full:
        def write(self, data):
            if len(data) < program._TEMPORARY_BYTES:
                raise OSError(errno.ENOSPC, "No space left on device")
            return 8000

    with pytest.raises(ResourceError, match=r"No space left .*set TMPDIR"):
        program._check_room(Full())


def test_an_address_space_that_is_too_small_is_named(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 30, 1 << 30))
    with pytest.raises(ResourceError, match=r"address space: .*got 1,073,741,824"):
        program._check_address_space()


def test_a_path_that_is_no_text_is_refused_where_it_is_given(monkeypatch):
    monkeypatch.setenv("ODD", "\udcff")
    command = program.Command("name", "usage")
    command.path("place", None, "A path.")
    for word in ("--place=a\udcff", "--place=$ODD/b"):
        command.parse(["name", word])
        with pytest.raises(ConfigError, match=r"--place: expected a path in UTF-8, got .*\\udcff"):
            _ = command.place
