"""Versions of a bundle side by side: which one serves, and what the small file that says so may hold."""

import json
from pathlib import Path

import pytest

from rtseg_daemon.bundles import bundle_in, bundle_names, load_bundle, load_bundles
from rtseg_daemon.config.values import without_version
from rtseg_daemon.errors import BundleError
from rtseg_daemon.versions import Active, Serving, stamp, versions_of, write_active
from tests.tiny import make_bundle


def serve(models: Path, name: str, version: str, folder: str | None = None) -> None:
    place = models / name / (version if folder is None else folder)
    digest = bundle_in(place).digest
    write_active(models, name, Active(serving=[Serving(version=version, folder=folder or version, digest=digest)]))


def test_a_bundle_in_the_old_layout_serves_as_before(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    assert bundle_names(tmp_path) == ["tiny"]
    assert load_bundle(tmp_path, "tiny").version == "1.0"
    assert versions_of(tmp_path, "tiny") == {"1.0": tmp_path / "tiny"}


def test_the_version_that_was_activated_serves_and_each_is_found_by_its_name(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    make_bundle(tmp_path, version="2.0", members=1)
    assert load_bundle(tmp_path, "tiny").version == "1.0"
    serve(tmp_path, "tiny", "2.0")
    assert load_bundle(tmp_path, "tiny").folder == tmp_path / "tiny" / "2.0"
    assert load_bundle(tmp_path, "tiny@1.0").folder == tmp_path / "tiny"
    assert load_bundle(tmp_path, "tiny@2.0").digest == load_bundle(tmp_path, "tiny").digest
    assert bundle_in(tmp_path / "tiny" / "2.0").version == "2.0"
    assert bundle_in(tmp_path / "tiny").version == "2.0"
    assert bundle_names(tmp_path) == ["tiny"]


def test_versions_of_which_none_is_active_say_what_to_do(tmp_path: Path) -> None:
    make_bundle(tmp_path, version="2.0")
    make_bundle(tmp_path, version="3.0")
    with pytest.raises(BundleError, match=r"no version of bundle tiny is active \(there: 2\.0, 3\.0\); activate one"):
        load_bundle(tmp_path, "tiny")
    with pytest.raises(BundleError, match=r"bundle tiny has no version 4\.0 in .* \(there: 2\.0, 3\.0\)"):
        load_bundle(tmp_path, "tiny@4.0")


@pytest.mark.parametrize("name", ["../tiny", "tiny@../2.0", "tiny@.", "tiny@/etc", ".hidden"])
def test_no_path_is_made_of_a_name(tmp_path: Path, name: str) -> None:
    make_bundle(tmp_path / "models", version="2.0")
    make_bundle(tmp_path / "models" / ".hidden")
    with pytest.raises(BundleError, match=r"no bundle|has no version"):
        load_bundle(tmp_path / "models", name)


def test_a_version_that_was_changed_after_its_activation_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, version="2.0")
    serve(tmp_path, "tiny", "2.0")
    text = (folder / "bundle.yaml").read_text()
    (folder / "bundle.yaml").write_text(text.replace("random weights", "other weights"))
    with pytest.raises(BundleError, match=r"2\.0 is not what was activated \(its digest differs\)"):
        load_bundle(tmp_path, "tiny")


def test_a_folder_is_named_as_the_version_in_it(tmp_path: Path) -> None:
    make_bundle(tmp_path, version="2.0").rename(tmp_path / "tiny" / "3.0")
    with pytest.raises(BundleError, match=r"3\.0 holds version 2\.0; name the folder as its bundle\.yaml says"):
        load_bundle(tmp_path, "tiny@3.0")


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"serving": [{"version": "1"}]}', '{"shell": "rm"}'])
def test_a_damaged_record_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    (make_bundle(tmp_path) / "active.json").write_text(text)
    with pytest.raises(BundleError, match=r"active\.json is damaged; move it away, then activate a version of tiny"):
        load_bundle(tmp_path, "tiny")


def test_the_stamp_changes_with_what_serves_and_not_otherwise(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    before = stamp(tmp_path, "tiny")
    make_bundle(tmp_path, version="2.0")
    assert stamp(tmp_path, "tiny") == stamp(tmp_path, "tiny@1.0") == before
    serve(tmp_path, "tiny", "2.0")
    assert stamp(tmp_path, "tiny") != before


def test_a_version_more_is_no_second_bundle(tmp_path: Path) -> None:
    make_bundle(tmp_path, version="2.0")
    assert without_version("tiny@2.0+other") == "tiny+other"
    with pytest.raises(BundleError, match="names a bundle twice"):
        load_bundles(tmp_path, "tiny@2.0+tiny")


def test_the_record_is_plain_json_with_who_and_why(tmp_path: Path) -> None:
    make_bundle(tmp_path, version="2.0")
    serve(tmp_path, "tiny", "2.0")
    document = json.loads((tmp_path / "tiny" / "active.json").read_text())
    assert document["serving"][-1]["version"] == "2.0"
    assert oct((tmp_path / "tiny" / "active.json").stat().st_mode & 0o777) in ("0o644", "0o600")
