"""A bundle is read whole or refused with the file that is wrong."""

import pytest
import yaml

from rtseg_daemon.anatomy.sides import mirrored_channels, one_sided
from rtseg_daemon.bundles import (
    at_site,
    bundle_names,
    digest_of,
    installed_models,
    load_bundle,
    load_bundles,
    models_of,
    readable_bundles,
    research_fault,
    research_faults,
)
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Match, Models, Route
from rtseg_daemon.errors import BundleError
from tests.structure_sets import tiny_bundle
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


def test_twins_swap_channels_and_organs_without_a_side_stay():
    assert mirrored_channels(["background", "Brainstem", "Parotid_L", "Parotid_R"]) == [0, 1, 3, 2]
    assert one_sided(["Brainstem", "Parotid_L", "Parotid_R", "Eye_L"]) == ["Eye_L"]


def test_a_mirrored_member_needs_both_sides_of_every_organ(tmp_path):
    folder = make_bundle(tmp_path)
    members = yaml.safe_load((folder / "bundle.yaml").read_text())["members"]
    members[1]["mirror"] = True
    change(folder, members=members)
    with pytest.raises(BundleError, match="Parotid_L has no class for the other side"):
        load_bundle(tmp_path, "tiny")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"family": "swin"}, "not a bundle of format"),
        ({"window": [18, 24, 24]}, r"window \[18, 24, 24\]: sepnet needs multiples of \[8, 8, 8\]"),
        ({"window_step": [8, 8, 4]}, r"window_step \[8, 8, 4\]"),
    ],
)
def test_what_no_engine_could_run_is_refused_when_it_is_read(tmp_path, changes, fault):
    change(make_bundle(tmp_path), **changes)
    with pytest.raises(BundleError, match=fault):
        load_bundle(tmp_path, "tiny")


def test_weights_that_sum_to_nothing_are_refused(tmp_path):
    folder = make_bundle(tmp_path)
    classes = yaml.safe_load((folder / "bundle.yaml").read_text())["classes"]
    classes[1]["weights"] = [0.0, 0.0]
    change(folder, classes=classes)
    with pytest.raises(BundleError, match="weights of SpinalCord"):
        load_bundle(tmp_path, "tiny")


def test_yaml_that_would_run_code_is_refused(tmp_path):
    (make_bundle(tmp_path) / "bundle.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(BundleError, match="not a bundle"):
        load_bundle(tmp_path, "tiny")


def test_several_bundles_are_named_with_a_plus_and_each_once(tmp_path):
    make_bundle(tmp_path, "a")
    make_bundle(tmp_path, "b")
    found = load_bundles(tmp_path, "b+a")
    assert [bundle.name for bundle in found] == ["b", "a"]
    assert digest_of(found) == f"{found[0].digest}+{found[1].digest}"
    assert digest_of(load_bundles(tmp_path, "a")) == found[1].digest
    with pytest.raises(BundleError, match=r"a\+a names a bundle twice"):
        load_bundles(tmp_path, "a+a")
    with pytest.raises(BundleError, match="no bundle 'c'"):
        load_bundles(tmp_path, "a+c")


def test_research_goes_only_where_the_route_says_so_and_never_where_the_route_is_gone(tmp_path):
    make_bundle(tmp_path, "plain")
    make_bundle(tmp_path, "trial", intended_use="research")
    plain, trial = load_bundles(tmp_path, "plain+trial")
    route = Route(name="all", match=Match(), bundle=("plain", "trial"))
    allowing = route.model_copy(update={"research": True})
    assert research_fault(plain, route) is research_fault(plain, None) is research_fault(trial, allowing) is None
    fault = "bundle trial is for research only and route 'all' does not say `research: true`"
    assert research_fault(trial, route) == fault
    assert research_faults([plain, trial], route) == [fault]
    assert research_fault(trial, None) == "bundle trial is for research only and its route is no longer configured"


def test_of_a_jobs_bundles_those_that_are_gone_or_damaged_are_left_out(tmp_path):
    make_bundle(tmp_path, "a")
    (make_bundle(tmp_path, "b") / "member0.safetensors").write_bytes(b"x")
    assert [bundle.name for bundle in readable_bundles(tmp_path, "gone+a+b")] == ["a"]


def test_bundles_lie_where_the_configuration_says_or_came_with_the_package(tmp_path):
    assert models_of(Config(models=Models(directory=tmp_path))) == tmp_path
    assert models_of(Config()) == installed_models()


def test_no_bundle_has_a_plus_in_its_name(tmp_path):
    make_bundle(tmp_path, "a+b")
    with pytest.raises(BundleError, match="name"):
        load_bundle(tmp_path, "a+b")


@pytest.mark.parametrize("family", ["anatomynet", "focusnet"])
def test_a_family_that_sees_the_whole_volume_is_refused_with_windows_that_do_not(tmp_path, family):
    folder = make_bundle(tmp_path)
    whole = {"window": [80, 38, 32], "extent_mm": [400.0, 304.0, 256.0]}
    change(folder, family=family, **whole)
    assert load_bundle(tmp_path, "tiny").family == family
    change(folder, family=family, **whole | {"window": [80, 38, 30]})
    with pytest.raises(BundleError, match=rf"{family} takes the whole volume in one window"):
        load_bundle(tmp_path, "tiny")
    change(folder, family="sepnet", window=[80, 40, 24])
    assert load_bundle(tmp_path, "tiny").family == "sepnet"


def test_a_sites_own_limits_take_the_place_of_the_bundles() -> None:
    bundle = tiny_bundle("SpinalCord", "Larynx")
    config = Config.model_validate({"bundles": {bundle.name: {"acceptable": {"SpinalCord": 0.8}}}})
    assert [organ.acceptable for organ in at_site(bundle, config).classes] == [0.8, 0.6]
    assert at_site(bundle, config).digest == bundle.digest
    assert at_site(bundle, Config()) is bundle


def test_a_limit_of_an_organ_that_the_bundle_lacks_is_refused() -> None:
    bundle = tiny_bundle("SpinalCord")
    config = Config.model_validate({"bundles": {bundle.name: {"acceptable": {"SpinalCrod": 0.8}}}})
    with pytest.raises(BundleError, match="acceptable names SpinalCrod, which the bundle does not contour"):
        at_site(bundle, config)
