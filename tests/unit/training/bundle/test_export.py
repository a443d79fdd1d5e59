"""What goes into a bundle: whole counters, members of the given cases, and no validation case that was learned."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rtseg_training.bundle.export import commit_of, export, weights_of, write_bundle
from rtseg_training.bundle.known_cases import refuse_known_cases
from rtseg_training.bundle.lineage import ancestry, refuse_learned
from rtseg_training.errors import CaseError, CheckpointError, ExportError, RecipeError
from rtseg_training.learn.account import cases_of
from rtseg_training.learn.checkpoint import read_checkpoint, save_checkpoint
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Bounds, Recipe
from rtseg_training.learn.trainer import Run
from rtseg_training.measure.evaluate import open_bundle
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.joined import Listed
from safetensors.torch import save_file

from rtseg_daemon.bundles import MemberFile
from rtseg_daemon.networks import build
from rtseg_daemon.segment.engines.torch_engine import load_member
from tests.structure_sets import tiny_bundle
from tests.unit.training.conftest import no_room, tiny_recipe, write_recipe
from tests.world import ROOT

Meta = dict[str, Any]


@pytest.fixture
def short() -> Recipe:
    return tiny_recipe(steps=1, arguments={"width": 2}, patch=(16, 16, 16))


def trained(recipe: Recipe, name: str, runs: Path, cases: list[Prepared]) -> None:
    member = recipe.member(name)
    start = runs / member.start / "checkpoint.safetensors" if member.start else None
    assert Run(recipe, member, runs / name, start).train(cases, [], lambda _p: None)


def rewritten(runs: Path, name: str, change: Callable[[Meta], Meta]) -> None:
    """The checkpoint with another account of itself."""
    path = runs / name / "checkpoint.safetensors"
    tensors, meta = read_checkpoint(path)
    path.unlink()
    save_file(tensors, str(path), metadata={"meta": json.dumps(change(meta))})


def exported(recipe: Recipe, place: Path, cases: list[Case], held_out: list[dict[str, object]]) -> None:
    path = write_recipe(recipe, place / "recipe.yaml")
    export(place, recipe, path, ["b"], cases, place / "out" / "tiny", "1.0", "", "evaluation", held_out)


def test_counters_of_batch_norm_do_not_overflow(tmp_path: Path) -> None:
    arguments = {"widths": [2, 2, 2, 2, 2]}
    net = build("gtv", classes=2, **arguments)
    counters = [name for name, value in net.state_dict().items() if not value.is_floating_point()]
    assert counters
    for name in counters:
        net.state_dict()[name].fill_(1_000_001)
    average = {key: value.float().clone() for key, value in net.state_dict().items()}
    save_checkpoint(tmp_path / "c", net, average, torch.optim.SGD(net.parameters()), {"step": 1})
    weights, _ = weights_of(tmp_path / "c")
    assert {weights[name].dtype for name in counters} == {torch.int64}
    assert {value.dtype for name, value in weights.items() if name not in counters} == {torch.float16}
    save_file(weights, str(tmp_path / "a"))
    member = MemberFile(name="a", file="a", sha256="", intensity="GTV")
    bundle = tiny_bundle("PTV", family="gtv", arguments=arguments, members=[member])
    bundle._folder = tmp_path
    assert int(load_member(bundle, 0).state_dict()[counters[0]]) == 1_000_001


def test_a_weight_that_does_not_fit_is_still_refused(tmp_path: Path) -> None:
    net = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(net.weight, 1e6)
    average = {key: value.clone() for key, value in net.state_dict().items()}
    save_checkpoint(tmp_path / "c", net, average, torch.optim.SGD(net.parameters()), {"step": 1})
    with pytest.raises(CheckpointError, match="weight is not finite in half precision"):
        weights_of(tmp_path / "c")


def test_a_member_of_other_cases_is_not_exported(tmp_path: Path, short: Recipe, case: Case, prepared: Prepared) -> None:
    for name in "ab":
        trained(short, name, tmp_path, [prepared])
    exported(short, tmp_path, [case], [])
    with pytest.raises(CheckpointError, match=r"b/checkpoint\.safetensors was trained on other cases than .*--data"):
        exported(short, tmp_path, [case, replace(case, name="another")], [])
    rewritten(tmp_path, "b", lambda meta: {k: v for k, v in meta.items() if k not in ("cases", "learned")})
    exported(short, tmp_path, [case, replace(case, name="another")], [])


def test_the_best_weights_are_exported_where_asked_and_told_in_the_provenance(
    tmp_path: Path, short: Recipe, case: Case, prepared: Prepared
) -> None:
    recipe = short.model_copy(update={"steps": 2, "validate_every": 1})
    for name in "ab":
        trained(recipe, name, tmp_path, [prepared])
    run = Run(recipe, recipe.member("a"), tmp_path / "a")
    run.average["head.bias" if "head.bias" in run.average else next(iter(run.average))].fill_(0.5)
    run.step = 1
    run.keep_best({"Parotid_L": 0.7})
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    bundles = {
        best: export(
            tmp_path,
            recipe,
            path,
            ["a", "b"],
            [case],
            tmp_path / str(best) / "tiny",
            "1.0",
            "",
            "evaluation",
            best=best,
        )
        for best in (False, True)
    }
    digests = {best: [member.sha256 for member in bundle.members] for best, bundle in bundles.items()}
    assert digests[True][0] != digests[False][0]
    assert digests[True][1] == digests[False][1], "a member without best weights keeps its last ones"
    assert bundles[True].provenance["best on validation"] == "a 1, b last"
    assert bundles[True].provenance["commit"] == commit_of(ROOT)  # the trainer's, wherever the recipe lies
    assert "best on validation" not in bundles[False].provenance


def test_a_case_that_an_ancestor_learned_is_not_held_out(
    tmp_path: Path, short: Recipe, case: Case, prepared: Prepared
) -> None:
    mine, held = replace(prepared, digest="d1"), replace(prepared, name="phantom2", digest="d2")
    trained(short, "a", tmp_path, [mine, held])
    trained(short, "b", tmp_path, [mine])
    entry: dict[str, object] = {"name": "phantom2-again", "sha256": "d2"}
    with pytest.raises(CheckpointError, match=r"a/checkpoint\.safetensors has learned case phantom2-again, or"):
        exported(short, tmp_path, [case], [{"name": "x", "sha256": "d3"}, entry])
    exported(short, tmp_path, [case], [{"name": "phantom2", "sha256": "another case of that name"}])


def test_what_an_old_ancestor_learned_may_be_unknown(tmp_path: Path) -> None:
    held: list[dict[str, object]] = [{"name": "x", "sha256": "d3"}]
    for cases in ("", cases_of(["phantom1"])):
        refuse_learned({"a": {"step": 1, "cases": cases}}, tmp_path, ["phantom1"], held)
    refuse_learned({"a": {"step": 1}}, tmp_path, ["phantom1"], held)
    others = {"a": {"step": 1, "cases": cases_of(["others"])}}
    refuse_learned(others, tmp_path, ["phantom1"], [])
    with pytest.raises(CheckpointError, match="has learned other cases than those of the training set and does not"):
        refuse_learned(others, tmp_path, ["phantom1"], held)


def test_an_imported_ct_is_known_by_its_name_however_it_was_drawn(tmp_path: Path) -> None:
    chain = {"a": {"step": 1, "learned": [["ct_0123", "d1"]]}}
    with pytest.raises(CheckpointError, match="has learned case ct_0123"):
        refuse_learned(chain, tmp_path, ["ct_0123"], [{"name": "ct_0123", "sha256": "drawn anew"}])


def test_a_patient_that_was_learned_is_not_held_out(tmp_path: Path) -> None:
    """Also where an ancestor alone saw another CT of the patient."""
    chain = {"a": {"step": 1, "learned": [["x", "d1", "pt_1"]]}, "b": {"step": 1, "learned": [["y", "d2"]]}}
    refuse_learned(chain, tmp_path, ["x"], [{"name": "z", "sha256": "d3", "patient": "pt_2"}])
    with pytest.raises(CheckpointError, match="has learned case replanned, or another one of its patient"):
        refuse_learned(chain, tmp_path, ["x"], [{"name": "replanned", "sha256": "d4", "patient": "pt_1"}])


def test_the_chain_goes_back_to_the_first_and_a_run_lists_what_it_learned(
    tmp_path: Path, short: Recipe, prepared: Prepared
) -> None:
    for name in "ab":
        trained(short, name, tmp_path, [replace(prepared, digest="d1")])
    chain = ancestry(tmp_path, short, ["b"])
    assert list(chain) == ["b", "a"]
    assert chain["a"]["learned"] == [["phantom1", "d1", ""]]
    again = Run(short, short.members[0], tmp_path / "a")
    again.save()
    assert ancestry(tmp_path, short, ["a"])["a"]["learned"] == [["phantom1", "d1", ""]]


def test_focusnet_without_its_measured_boxes_is_refused(tmp_path: Path, case: Case) -> None:
    bare = tiny_recipe(family="focusnet", arguments={"widths": [4, 6, 8]}, small_organs=["Brainstem"])
    with pytest.raises(RecipeError, match=r"use the recipe\.yaml beside the runs"):
        exported(bare, tmp_path, [case], [])


def test_a_full_disk_while_exporting_says_what_to_do_and_replaces_nothing(
    tmp_path: Path, short: Recipe, prepared: Prepared, case: Case
) -> None:
    for name in "ab":
        trained(short, name, tmp_path, [prepared])
    with no_room(3000), pytest.raises(ExportError) as fault:
        exported(short, tmp_path, [case], [])
    assert "the bundle cannot be written there" in str(fault.value)
    assert "what stood at its place still stands. Free disk space (TMPDIR says where it is made)" in str(fault.value)
    exported(short, tmp_path, [case], [])
    before = (tmp_path / "out" / "tiny" / "bundle.yaml").read_bytes()
    with no_room(1000), pytest.raises(ExportError, match="the bundle cannot be written there"):
        write_bundle(open_bundle(tmp_path / "out" / "tiny"), tmp_path / "out" / "tiny")
    assert (tmp_path / "out" / "tiny" / "bundle.yaml").read_bytes() == before


def test_the_bundle_has_the_limits_parts_and_cases_of_its_training(
    tmp_path: Path, short: Recipe, prepared: Prepared, case: Case
) -> None:
    recipe = short.model_copy(
        update={"limits": Bounds(known=["Phantoms alone."]), "largest_component": {"Parotid_L": False}}
    )
    for name in "ab":
        trained(recipe, name, tmp_path, [prepared])
    entry = save_case(case, tmp_path) | {"position": "HFP", "patient": "p1"}
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    bundle = export(
        tmp_path, recipe, path, ["b"], [case], tmp_path / "out" / "tiny", "1.0", "", "evaluation", [], [entry]
    )
    assert bundle.limits.positions == ["HFP"]
    assert bundle.limits.minimum_slices == case.ct.shape[0] // 2
    assert bundle.provenance["training positions"] == "HFP 1"
    assert bundle.known_limits == ["Phantoms alone."]
    assert [organ.name for organ in bundle.classes if not organ.largest_component] == ["Parotid_L"]
    with pytest.raises(CaseError, match="has learned case other"):
        refuse_known_cases(bundle, [Listed(tmp_path, {"name": "other", "sha256": "00", "patient": "p1"})])
