"""Pictures that a user named: what is refused before anybody waits for it."""

from pathlib import Path

import pytest

from api.named_pictures import read_picture, require_pictures
from api.picture_answers import decode_one
from indexer.backbones.backbones import BUILTIN_PREPARATION
from search.errors import BadImage, UsageError
from tests.conftest import Draw


def test_a_picture_is_read_whole_also_through_a_link(draw: Draw, tmp_path: Path) -> None:
    picture = draw("a.png", 1)
    link = tmp_path / "link.png"
    link.symlink_to(picture)
    assert read_picture(link) == picture.read_bytes()


def test_a_pipe_is_refused_and_not_waited_for(pipe: Path) -> None:
    with pytest.raises(UsageError, match=r"pipe\.jpg is no regular file, but a pipe or a device; save the picture"):
        read_picture(pipe)
    link = pipe.with_name("link.jpg")
    link.symlink_to(pipe)
    with pytest.raises(UsageError, match=r"link\.jpg is no regular file"):
        require_pictures([link])


def test_a_file_that_becomes_a_pipe_after_it_was_looked_at_is_a_bad_picture(pipe: Path) -> None:
    with pytest.raises(BadImage, match="no regular file any more"):
        decode_one(pipe, BUILTIN_PREPARATION)


def test_a_device_and_a_folder_are_refused() -> None:
    with pytest.raises(UsageError, match="/dev/zero is no regular file"):
        require_pictures([Path("/dev/zero")])
    with pytest.raises(UsageError, match=r"/dev is a folder: name its pictures, such as /dev/\*\.jpg"):
        read_picture(Path("/dev"))


def test_what_cannot_even_be_looked_at_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.jpg: No such file or directory; name a picture that can be read"):
        require_pictures([tmp_path / "none.jpg"])
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UsageError, match="Not a directory; name a picture"):
        require_pictures([tmp_path / "a.jpg" / "b.jpg"])
    with pytest.raises(BadImage, match="has no bytes"):
        read_picture(tmp_path / "a.jpg")
