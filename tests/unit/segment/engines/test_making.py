"""A first start says what it compiles and how long it will take, from what was measured and from nothing else."""

import json
import os
from pathlib import Path

import pytest

from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.segment.engines import openvino_engine
from rtseg_daemon.segment.engines.engine import Choice
from rtseg_daemon.segment.engines.making import Making, Workshop, being_made, making_shape, sentence, times
from rtseg_daemon.segment.engines.start import load_engine
from tests.tiny import make_bundle

OURS = {os.getpid()}


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def workshop(cache: Path | None, clock: Clock, total: int = 3) -> Workshop:
    return Workshop(cache, "han-oar", "sepnet", total, now=clock)


def test_without_a_measurement_no_time_is_made_up(tmp_path: Path) -> None:
    clock = Clock()
    workshop(tmp_path, clock).begin()
    clock.seconds += 12
    (making,) = being_made(tmp_path, OURS, clock.seconds)
    shape = making_shape(making, clock.seconds)
    assert (shape["done"], shape["total"], shape["remaining_seconds"], shape["measured"]) == (0, 3, None, None)
    assert "0 of 3 networks are done after 12 s; how long it will take is not known yet" in sentence(shape)


def test_the_time_is_estimated_from_the_networks_that_are_done(tmp_path: Path) -> None:
    clock = Clock()
    shop = workshop(tmp_path, clock)
    shop.begin()
    clock.seconds += 10
    shop.finished_one()
    shop.begin()
    clock.seconds += 4
    (making,) = being_made(tmp_path, OURS, clock.seconds)
    shape = making_shape(making, clock.seconds)
    assert (shape["done"], shape["remaining_seconds"], shape["measured"]) == (1, 16.0, "now")
    assert "1 of 3 networks are done after 14 s; about 16 s to go, as the first ones took" in sentence(shape)


def test_a_later_start_estimates_from_what_it_took_here_before(tmp_path: Path) -> None:
    clock = Clock()
    first = workshop(tmp_path, clock)
    for _ in range(3):
        first.begin()
        clock.seconds += 10
        first.finished_one()
    first.close()
    assert being_made(tmp_path, OURS, clock.seconds) == []
    assert times(tmp_path) == {"sepnet": 10.0}
    workshop(tmp_path, clock).begin()
    clock.seconds += 5
    shape = making_shape(being_made(tmp_path, OURS, clock.seconds)[0], clock.seconds)
    assert (shape["remaining_seconds"], shape["measured"]) == (25.0, "earlier")
    assert "about 25 s to go, as it took here before" in sentence(shape)


def test_what_takes_longer_than_before_is_said_so_and_no_time_is_claimed() -> None:
    making = Making("han-oar", 1, 1, 100.0, earlier=10.0)
    shape = making_shape(making, 150.0)
    assert shape["remaining_seconds"] is None
    assert "it takes longer than before" in sentence(shape)


def test_networks_that_come_from_the_cache_do_not_count(tmp_path: Path) -> None:
    clock = Clock()
    shop = workshop(tmp_path, clock)
    shop.finished_one()
    shop.finished_one()
    assert being_made(tmp_path, OURS, clock.seconds) == []
    shop.begin()
    assert being_made(tmp_path, OURS, clock.seconds)[0].total == 1


def test_notes_of_a_process_that_is_gone_or_of_before_a_restart_of_the_machine_are_old(tmp_path: Path) -> None:
    clock = Clock()
    workshop(tmp_path, clock).begin()
    assert being_made(tmp_path, {1}, clock.seconds) == []
    assert being_made(tmp_path, OURS, 50.0) == []
    (tmp_path / "making-7.json").write_text("{")
    (tmp_path / "making-8.json").write_text('{"bundle": 1}')
    assert len(being_made(tmp_path, {*OURS, 7, 8}, clock.seconds)) == 1
    (tmp_path / "compile-times.json").write_text("[1]")
    assert times(tmp_path) == {}


def test_where_nothing_can_be_kept_nothing_is_said() -> None:
    shop = workshop(None, Clock())
    shop.begin()
    shop.finished_one()
    shop.close()


def test_an_engine_says_what_it_compiles_while_it_does_and_nothing_when_it_reads_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "models", members=2)
    bundle = load_bundle(tmp_path / "models", "tiny")
    cache, seen = tmp_path / "cache", []
    convert = openvino_engine.convert

    def watched(*arguments: object) -> object:
        seen.append([(one.bundle, one.done, one.total) for one in being_made(cache, OURS, float("inf"))])
        return convert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(openvino_engine, "convert", watched)
    choice = Choice("cpu", "openvino", "fp32")
    load_engine(bundle, choice, cache)
    assert seen == [[("tiny", 0, 2)], [("tiny", 1, 2)]]
    assert not list(cache.glob("making-*"))
    assert len(json.loads((cache / "compile-times.json").read_text())) == 1
    load_engine(bundle, choice, cache)
    assert len(seen) == 2


def test_a_network_that_cannot_be_made_leaves_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "models", members=1)

    def broken(*_arguments: object) -> object:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_engine, "convert", broken)
    with pytest.raises(Exception, match="no such operation"):
        load_engine(load_bundle(tmp_path / "models", "tiny"), Choice("cpu", "openvino", "fp32"), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("making-*"))
    assert times(tmp_path / "cache") == {}
