"""`config check` on names with flags in them."""

from pathlib import Path
from typing import Any

from rtseg_daemon.config.file import load_config
from rtseg_daemon.daemon.flagged_names import doubtful_names
from tests.structure_sets import tiny_bundle
from tests.world import write_config

ORGANS = ("Brainstem", "Parotid_L", "Glnd_Submand_L", "Glnd_Submand_R")


def warnings(folder: Path, rings: bool = False, **wishes: Any) -> list[str]:
    peer = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": 104, "flag_in_name": True} | wishes
    route = {"name": "a", "match": {"modality": "CT"}, "bundle": "tiny", "destinations": ["tps"], "rings": rings}
    config = load_config(write_config(folder, 1, destinations=[peer], routes=[route]))
    return list(doubtful_names(config, [tiny_bundle(*ORGANS)]))


def test_organs_by_their_own_names_never_clash(tmp_path: Path) -> None:
    assert warnings(tmp_path, rings=True) == []


def test_two_organs_that_could_get_one_name_are_named(tmp_path: Path) -> None:
    (line,) = warnings(tmp_path, roi_names={"Parotid_L": "Organ 7_RVW", "Brainstem": "Organ 7"})
    assert line.startswith("destination tps: both Brainstem and Parotid_L could be called 'Organ 7_RVW'")


def test_a_name_that_would_lose_its_side_is_named(tmp_path: Path) -> None:
    (line,) = warnings(tmp_path, roi_names={"Parotid_L": "PAROTIDGLANDLEFT"})
    assert "'PAROTIDGLAND_RJT' would no longer tell the side of Parotid_L" in line


def test_nothing_is_said_where_flags_do_not_stand_in_names_or_the_organ_is_left_out(tmp_path: Path) -> None:
    own = {"Parotid_L": "PAROTIDGLANDLEFT"}
    assert warnings(tmp_path, roi_names=own, flag_in_name=False) == []
    assert warnings(tmp_path, roi_names=own, only=["Brainstem"]) == []
