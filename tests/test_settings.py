"""store.toml: what a person may do to it, and what nobody may."""

from pathlib import Path

import pytest

from api.cli import main
from search.errors import UsageError
from search.settings import is_sealed, new_settings, publish_settings, read_settings, seal_settings
from search.storing.store import Store


def written(root: Path, blobs: str = "s3://bucket/one") -> Path:
    publish_settings(root, new_settings(root, None, blobs, None)[1])
    return root / "store.toml"


def test_a_setting_changed_by_hand_is_told_from_damage_by_removing_the_line_that_says_so(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert "remove this line: `lookalike migrate` writes it anew" in file.read_text().splitlines()[-1]
    file.write_text(file.read_text().replace("bucket/one", "bucket/two"))
    with pytest.raises(UsageError, match="if you have changed a setting, remove the line that begins with `sha256`"):
        read_settings(tmp_path)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("sha256")))
    assert read_settings(tmp_path).blobs == "s3://bucket/two"
    assert not is_sealed(tmp_path)
    seal_settings(tmp_path)
    assert is_sealed(tmp_path)
    assert read_settings(tmp_path).blobs == "s3://bucket/two"


def test_comments_blanks_and_order_are_a_persons_own(tmp_path: Path) -> None:
    file = written(tmp_path)
    first, second, seal = file.read_text().splitlines()
    file.write_text(f"# ours\n\n{seal}\n  {second}   # since May\n{first}\n")
    assert read_settings(tmp_path).blobs == "s3://bucket/one"


def test_a_misspelt_setting_is_named_instead_of_meaning_its_default(tmp_path: Path) -> None:
    (tmp_path / "store.toml").write_text('format = 1\ncatalog = "postgresql://user@host/name"\n')
    with pytest.raises(UsageError, match="no setting 'catalog'; did you mean catalogue?"):
        read_settings(tmp_path)
    (tmp_path / "store.toml").write_text("format = 1\nxyz = 1\n")
    with pytest.raises(UsageError, match="choose of format, catalogue, blobs, cache_gib, accept_license"):
        read_settings(tmp_path)


def test_the_checksum_of_an_older_store_comes_with_migrate_and_leaves_the_rest_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.create(tmp_path).close()
    file = tmp_path / "store.toml"
    file.write_text("# ours\nformat = 1\ncache_gib = 2.5   # small")
    file.chmod(0o640)
    for arguments, sealed in ((["migrate", "--check"], False), (["migrate"], True), (["migrate"], True)):
        before = is_sealed(tmp_path)
        with pytest.raises(SystemExit) as stop:
            main(["--store", str(tmp_path), *arguments])
        assert stop.value.code == 0
        assert is_sealed(tmp_path) is sealed
        assert ("has a checksum now" in capsys.readouterr().err) is (sealed and not before)
    assert file.read_text().startswith("# ours\nformat = 1\ncache_gib = 2.5   # small\nsha256 = ")
    assert file.stat().st_mode & 0o777 == 0o640, "others who read it before cannot any more"


def test_where_store_toml_cannot_be_written_the_migration_counts_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.create(tmp_path).close()
    (tmp_path / "store.toml").write_text("format = 1\n")

    def refuse(_path: Path, _target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(SystemExit) as stop:
        main(["--store", str(tmp_path), "migrate"])
    assert stop.value.code == 0
    assert "goes without a checksum: Read-only file system" in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("*.toml*")] == ["store.toml"]


def test_a_link_to_store_toml_stays_one(tmp_path: Path) -> None:
    (tmp_path / "kept.toml").write_text("format = 1\n")
    (tmp_path / "store.toml").symlink_to(tmp_path / "kept.toml")
    seal_settings(tmp_path)
    assert (tmp_path / "store.toml").is_symlink()
    assert is_sealed(tmp_path)
