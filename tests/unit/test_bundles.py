"""A bundle is read whole or refused with the file that is wrong."""

import pytest
import yaml

from rtseg_daemon.bundles import bundle_names, load_bundle
from rtseg_daemon.errors import BundleError
from tests.tiny import make_bundle


def change(folder, **changes):
    path = folder / "bundle.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def test_a_good_bundle_knows_its_folder_and_digest(tmp_path):
    folder = make_bundle(tmp_path)
    bundle = load_bundle(tmp_path, "tiny")
    assert bundle.folder == folder
    assert len(bundle.digest) == 64
    assert bundle.label == "tiny 1.0"
    assert bundle_names(tmp_path) == ["tiny"]


def test_another_bundle_yaml_is_another_digest(tmp_path):
    folder = make_bundle(tmp_path)
    before = load_bundle(tmp_path, "tiny").digest
    change(folder, version="1.1")
    assert load_bundle(tmp_path, "tiny").digest != before


def test_an_unknown_name_lists_what_is_there(tmp_path):
    make_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"no bundle 'tinny'.*tiny"):
        load_bundle(tmp_path, "tinny")


def test_an_altered_member_is_refused_by_name(tmp_path):
    member = make_bundle(tmp_path) / "member1.safetensors"
    data = bytearray(member.read_bytes())
    data[-1] ^= 1
    member.write_bytes(data)
    with pytest.raises(BundleError, match=r"member1\.safetensors was altered"):
        load_bundle(tmp_path, "tiny")


def test_a_missing_member_is_refused_by_name(tmp_path):
    (make_bundle(tmp_path) / "member0.safetensors").unlink()
    with pytest.raises(BundleError, match=r"member0\.safetensors is missing"):
        load_bundle(tmp_path, "tiny")


def test_a_member_outside_the_bundle_is_refused(tmp_path):
    folder = make_bundle(tmp_path)
    members = yaml.safe_load((folder / "bundle.yaml").read_text())["members"]
    members[0]["file"] = "../elsewhere.safetensors"
    change(folder, members=members)
    with pytest.raises(BundleError, match="elsewhere"):
        load_bundle(tmp_path, "tiny")


@pytest.mark.parametrize("changes", [{"format": 2}, {"name": "other"}, {"shell": "rm"}, {"spacing_mm": "wide"}])
def test_another_format_name_or_key_is_refused(tmp_path, changes):
    change(make_bundle(tmp_path), **changes)
    with pytest.raises(BundleError, match=r"bundle\.yaml"):
        load_bundle(tmp_path, "tiny")


def test_weights_must_name_every_member(tmp_path):
    folder = make_bundle(tmp_path)
    classes = yaml.safe_load((folder / "bundle.yaml").read_text())["classes"]
    classes[1]["weights"] = [1.0]
    change(folder, classes=classes)
    with pytest.raises(BundleError, match="SpinalCord has 1 weights for 2 members"):
        load_bundle(tmp_path, "tiny")


def test_yaml_that_would_run_code_is_refused(tmp_path):
    (make_bundle(tmp_path) / "bundle.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(BundleError, match="not a bundle"):
        load_bundle(tmp_path, "tiny")
