"""Hosts that share a ledger, on the first page: who is up, what each is at, and what one does for all."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.ledger import hosts, jobs
from rtseg_daemon.ledger.cards import Card, CardsInRay, note_cards
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.duties import take
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import LEASE_SECONDS
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.supervision import note_process
from rtseg_daemon.web.place import Place
from tests.arrivals import receive
from tests.dashboard import logged_in, make_place
from tests.unit.ledger.test_jobs import arrival


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = make_place(tmp_path)
    with writing(made.engine) as session:
        for name in ("north", "south"):
            hosts.register(session, name, storage=name, version="1.0", address=f"{name}:11443")
            note_process(session, "worker-0", 4711, "running", 0, host=name)
        series = receive(session, arrival(1, host="north")).series_id
        jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
        claimed = jobs.claim_job(session, "worker-0@north/4711-9f3a1c")
        assert claimed is not None
        take(session, "sweep", "south/supervisor-1-aa")
    return made


def page(place: Place) -> str:
    with logged_in(place) as person:
        return person.get("/").text


def test_each_host_with_its_worker_job_lease_and_duties(place: Place) -> None:
    with logged_in(place) as person:
        shapes = {one["name"]: one for one in person.get("/api/v1/status").json()["hosts"]}
        text = person.get("/").text
    (at_work,), (idle,) = shapes["north"]["workers"], shapes["south"]["workers"]
    assert at_work["job"] == 1
    assert 0 < at_work["lease_seconds"] <= LEASE_SECONDS
    assert idle == {"name": "worker-0", "state": "running", "job": None, "stage": None, "lease_seconds": None}
    assert shapes["south"]["duties"] == ["sweep"]
    section = text[text.index('id="hosts"') : text.index('id="machine"')]
    assert section.index("north") < section.index("lease") < section.index("south") < section.index("sweep")


def test_a_host_that_is_away_is_seen_at_a_glance(place: Place) -> None:
    with writing(place.engine) as session:
        session.get_one(Host, "south").seen_at -= 300
    assert '<span class="chip down">away</span>' in page(place)


def test_cards_in_ray_are_shown_with_their_node_and_why_one_takes_no_jobs(place: Place) -> None:
    ready = Card("a-0", "gpu1", 0, "GPU", "ready", 0.0, "card-0@ray:gpu1/7-abc", "1.0")
    refused = Card("b-0", "gpu2", 0, "GPU", "refused", 0.0, detail="this node runs rtseg-daemon 0.9")
    with writing(place.engine) as session:
        note_cards(session, CardsInRay("up", 0.0, "ray://head:10001", cards=(ready, refused)))
    text = page(place)
    section = text[text.index("Cards in Ray") : text.index('id="machine"')]
    assert section.index("gpu1") < section.index("ready") < section.index("gpu2") < section.index("refused")
    assert "this node runs rtseg-daemon 0.9" in section


def test_a_department_with_one_machine_sees_no_hosts(physicist: TestClient) -> None:
    assert 'id="hosts"' not in physicist.get("/").text
