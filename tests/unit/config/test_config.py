from pathlib import Path

import pytest

from rtseg_daemon.config.file import Config, load_config, parse_config
from rtseg_daemon.errors import ConfigError

HERE = Path("/etc/rtseg/config.yaml")
ROUTE = "routes: [{name: a, match: {modality: CT}, bundle: han-oar, destinations: [tps]}]\n"
TPS = "destinations: [{name: tps, ae_title: TPS, host: 127.0.0.1, port: 11113}]\n"


def mistake(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, HERE)
    return str(caught.value)


def test_an_empty_file_is_the_documented_defaults() -> None:
    config = parse_config("", HERE)
    assert config == Config()
    assert (config.dicom.ae_title, config.dicom.port, config.series.quiet_seconds) == ("RTSEG", 11112, 30)
    assert config.database_url == "sqlite:////var/lib/rtseg/rtseg.db"


def test_the_example_file_is_valid_and_states_the_defaults() -> None:
    example = load_config(Path(__file__).parents[3] / "config.example.yaml")
    plain = example.model_copy(update={"routes": (), "destinations": ()})
    plain = plain.model_copy(update={"dicom": plain.dicom.model_copy(update={"allowed_callers": ()})})
    assert plain == Config()
    assert example.routes[0].bundle == ("han-oar",)


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_key() -> None:
    message = mistake("dicom:\n  ae_title: X\nseries:\n  quiet_second: 3\n")
    assert "line 4: series.quiet_second: unknown key; did you mean 'quiet_seconds'?" in message


def test_a_misspelt_key_inside_a_list_is_named_with_its_line() -> None:
    message = mistake("routes:\n- name: a\n  match: {modalty: CT}\n  bundle: b\n")
    assert "line 3: routes.0.match.modalty: unknown key; did you mean 'modality'?" in message


def test_a_wrong_value_is_named_with_its_line() -> None:
    assert "line 2: dicom.port" in mistake("dicom:\n  port: 99999\n")
    assert "line 1: logging.level" in mistake("logging: {level: LOUD}")


def test_a_missing_key_is_named_at_its_section() -> None:
    assert "line 2: destinations.0.port: is missing" in mistake("destinations:\n- {name: t, ae_title: T, host: h}\n")


def test_every_mistake_is_listed_at_once() -> None:
    assert len(mistake("dicom: {port: 0}\nstorage: {keep_days: -1}\n").splitlines()) == 2


def test_a_key_that_stands_twice_is_refused() -> None:
    assert "line 3: dicom.port: stands twice" in mistake("dicom:\n  port: 1\n  port: 2\n")


def test_a_route_to_an_unknown_destination_is_refused() -> None:
    message = mistake(ROUTE + TPS.replace("name: tps", "name: tpz"))
    assert "routes.0.destinations: no destination 'tps'; did you mean 'tpz'?" in message


def test_a_name_used_twice_is_refused() -> None:
    assert "used twice" in mistake(TPS.replace("]", ", {name: tps, ae_title: B, host: h, port: 3}]"))


def test_two_listeners_on_one_port_are_refused() -> None:
    tls = "tls: {certificate: a, key: b, ca: c, port: 11112}"
    assert "dicom.tls.port: port 11112 is already taken by dicom.port" in mistake(f"dicom: {{{tls}}}")


@pytest.mark.parametrize("text", ["dicom: {port: 8080}", "web: {port: 11112}"])
def test_the_dashboard_and_reception_do_not_share_a_port(text: str) -> None:
    assert "is already taken by dicom.port" in mistake(text)


@pytest.mark.parametrize("text", ["dicom: {port: 8080}\nweb: {enabled: false}", "web: {port: 11112, enabled: false}"])
def test_no_port_is_taken_by_a_dashboard_that_is_not_started(text: str) -> None:
    config = parse_config(text, HERE)
    assert config.dicom.port == config.web.port


def test_a_bad_regular_expression_is_refused() -> None:
    assert "routes.0.match.body_part: not a regular expression" in mistake(
        'routes: [{name: a, match: {body_part: "("}, bundle: b}]'
    )


def test_a_destination_over_tls_needs_our_certificate() -> None:
    assert "destinations.0.tls: needs our certificate" in mistake(TPS.replace("}]", ", tls: true}]"))


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "A\\\\B", "Ä"])
def test_a_title_that_is_none_is_refused(title: str) -> None:
    assert "dicom.ae_title" in mistake(f'dicom: {{ae_title: "{title}"}}')


def test_relative_paths_are_relative_to_the_file() -> None:
    config = parse_config("models: {directory: mine}\nstorage: {directory: /data}\n", HERE)
    assert config.models.directory == Path("/etc/rtseg/mine")
    assert config.storage.directory == Path("/data")


def test_a_bundle_may_be_a_name_or_a_list() -> None:
    assert parse_config(ROUTE + TPS, HERE).routes[0].bundle == ("han-oar",)
    assert parse_config(ROUTE.replace("han-oar", "[a, b]") + TPS, HERE).routes[0].bundle == ("a", "b")


def test_what_is_not_yaml_is_refused_with_the_place() -> None:
    assert "line 2" in mistake("dicom:\n  ]: 1\n")
    assert "expected sections" in mistake("- a\n")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/no/such\.yaml"):
        load_config(Path("/no/such.yaml"))


def test_several_bundles_make_a_structure_set_each_unless_the_route_joins_them() -> None:
    route = "routes: [{name: a, match: {modality: CT}, bundle: [x, y]%s}]\n"
    assert parse_config(route % "", HERE).routes[0].jobs == ("x", "y")
    assert parse_config(route % ", structure_sets: separate", HERE).routes[0].jobs == ("x", "y")
    assert parse_config(route % ", structure_sets: joined", HERE).routes[0].jobs == ("x+y",)
    assert "line 1: routes.0.structure_sets" in mistake(route % ", structure_sets: both")


def test_a_bundle_with_a_plus_in_its_name_is_explained() -> None:
    message = mistake("routes:\n- name: a\n  match: {modality: CT}\n  bundle: x+y\n")
    assert "line 4: routes.0.bundle.0: list the bundles and say `structure_sets: joined`" in message


def renamed(roi_names: str, route: str = ROUTE) -> str:
    return route + f"destinations:\n- {{name: tps, ae_title: T, host: h, port: 104, roi_names: {{{roi_names}}}}}\n"


@pytest.mark.parametrize(
    "name",
    [
        "Parotid_R", "PAROTID_R", "parotid right", "ParotisRe", "Parotis rechts", "Parotide D", "Par. droite", "Par dx",
        "Parotida der", "RParotid", "RightParotid", "PAROTIDR", "PAR-RE", "Parotid_R_L", "Parotid^R", "OHRSPDR RE",
    ],
)  # fmt: skip
def test_a_name_of_the_other_side_is_refused(name: str) -> None:
    message = mistake(renamed(f'Parotid_L: "{name}"'))
    assert "line 3: destinations.0.roi_names.Parotid_L: " in message
    assert "names the right side, on which Parotid_L does not lie" in message


@pytest.mark.parametrize("name", ["Parotid_L", "Parotis links", "par sin", "Parotide G", "Par sx", "Parot izq"])
def test_the_left_gland_is_no_name_for_the_right_one(name: str) -> None:
    assert "names the left side" in mistake(renamed(f'Parotid_R: "{name}"'))


@pytest.mark.parametrize(
    ("organ", "name"),
    [
        ("Parotid_L", "Parotis li"), ("Parotid_L", "OHRSPDR LI"), ("Parotid_R", "G PAROTIS R"), ("Brainstem", "Stem"),
        ("Glnd_Submand_R", "GLND SMG RE"), ("SpinalCord", "Cord"), ("Esophagus", "OESOPHAGUS"),
        ("PTV_7000", "PTV Brain"),
        ("Lobe_Temporal_L", "Brain TempLobe L"), ("Bone_Mandible_L", "Mandible L"), ("Larynx", "OAR 12"),
    ],
)  # fmt: skip
def test_another_name_of_the_same_organ_is_taken(organ: str, name: str) -> None:
    assert parse_config(renamed(f'{organ}: "{name}"'), HERE).destinations[0].roi_names == {organ: name}


@pytest.mark.parametrize(
    ("organ", "name", "other"),
    [
        ("Brainstem", "SpinalCord", "SpinalCord"),
        ("Brainstem", "PRV Cord", "SpinalCord"),
        ("Brainstem", "Rückenmark", "SpinalCord"),
        ("Parotid_L", "Submand li", "Glnd_Submand"),
        ("PTV_7000", "Brainstem", "Brainstem"),
    ],
)
def test_a_name_of_another_organ_is_refused(organ: str, name: str, other: str) -> None:
    assert f"roi_names.{organ}: '{name}' names another organ ({other}) than {organ}" in mistake(
        renamed(f'{organ}: "{name}"')
    )


def test_an_organ_is_not_called_a_target() -> None:
    assert "'PTV 70' names an irradiated volume, and Brainstem is an organ" in mistake(renamed("Brainstem: PTV 70"))


@pytest.mark.parametrize(("first", "second"), [("OAR", "oar"), ("OAR É", "OAR E"), ("OAR 甲", "OAR 乙")])
def test_two_organs_under_one_name_are_refused_however_it_is_written(first: str, second: str) -> None:
    message = mistake(renamed(f'Brainstem: "{first}", SpinalCord: "{second}"'))
    assert "roi_names.SpinalCord: " in message
    assert "would name both Brainstem and SpinalCord" in message


def test_names_whose_rings_would_be_alike_after_16_characters_are_refused_where_rings_are_sent() -> None:
    names = "Parotid_L: OHRSPEICHELDRU_L, Parotid_R: OHRSPEICHELDRU_R"
    parse_config(renamed(names), HERE)
    message = mistake(renamed(names, ROUTE.replace("destinations", "rings: true, destinations")))
    assert "'zOHRSPEICHELDRU_' would name both Parotid_L and Parotid_R" in message


@pytest.mark.parametrize("text", ["", "\n\n", "# routes:\n  # nothing\n"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml line 1: the file is empty"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dicom:\n  port: 011112\n", "line 2: dicom.port: YAML reads 011112 as 4682"),
        ("series:\n  quiet_seconds: 1:30\n", "line 2: series.quiet_seconds: YAML reads 1:30 as 90"),
        (TPS.replace("11113", "0104"), "line 1: destinations.0.port: YAML reads 0104 as 68"),
    ],
)
def test_a_number_that_yaml_reads_otherwise_is_refused(text: str, message: str) -> None:
    assert message in mistake(text)


def test_plain_numbers_and_quoted_ones_with_a_leading_zero_are_taken() -> None:
    text = 'dicom: {ae_title: "0123", port: 104}\nstorage: {minimum_free_gb: 0.5, keep_days: 10}\n'
    assert parse_config(text, HERE).dicom.ae_title == "0123"


@pytest.mark.parametrize("modality", ["MR", "ct", "RTSTRUCT"])
def test_a_route_for_anything_but_ct_is_refused(modality: str) -> None:
    message = mistake(ROUTE.replace("CT", modality) + TPS)
    assert f"line 1: routes.0.match.modality: only CT is contoured (found '{modality}')" in message


TWO_ROUTES = """routes:
- {name: a, match: {%s}, bundle: x}
- {name: b, match: {%s}, bundle: y}
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("modality: CT", "modality: CT, body_part: head"),
        ("", "calling_ae: PACS"),
        ("body_part: head", "body_part: head"),
        ("calling_ae: PACS", "calling_ae: PACS, series_description: soft"),
        ("modality: CT", ""),
    ],
)
def test_a_route_behind_one_that_takes_everything_of_it_is_refused(first: str, second: str) -> None:
    message = mistake(TWO_ROUTES % (first, second))
    assert "line 3: routes.1.match: is never reached: route 'a' before it takes every series" in message


@pytest.mark.parametrize(
    ("first", "second"), [("body_part: head", ""), ("calling_ae: A", "calling_ae: B"), ("body_part: a", "body_part: b")]
)
def test_a_route_that_something_reaches_is_taken(first: str, second: str) -> None:
    assert len(parse_config(TWO_ROUTES % (first, second), HERE).routes) == 2


@pytest.mark.parametrize(
    ("listener", "host"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1"), ("10.0.0.5", "10.0.0.5")],
)
def test_a_destination_that_is_the_daemon_itself_is_refused(listener: str, host: str) -> None:
    text = f"dicom: {{host: {listener}, port: 11113}}\n" + TPS.replace("127.0.0.1", host)
    assert f"line 2: destinations.0.port: {host}:11113 is this daemon itself" in mistake(text)


def test_a_destination_with_our_port_on_another_machine_is_taken() -> None:
    parse_config("dicom: {host: 10.0.0.5, port: 11113}\n" + TPS, HERE)
    parse_config("dicom: {port: 11113}\n" + TPS.replace("127.0.0.1", "10.0.0.5"), HERE)


@pytest.mark.parametrize(
    ("storage", "wait", "days"),
    [("0.01", "{}", "0.0417"), ("0.5", "{abandon_minutes: 1440}", "1"), ("0.1", "{late_minutes: 180}", "0.125")],
)
def test_images_are_kept_as_long_as_a_series_is_waited_for(storage: str, wait: str, days: str) -> None:
    message = mistake(f"series: {wait}\nstorage:\n  keep_days: {storage}\n")
    assert f"line 3: storage.keep_days: images must be kept for {days} days at least" in message


@pytest.mark.parametrize("days", ["0", "-1", ".inf", ".nan", "soon"])
def test_a_time_to_keep_images_that_makes_no_sense_is_refused(days: str) -> None:
    assert "line 1: storage.keep_days: " in mistake(f"storage: {{keep_days: {days}}}\n")


def test_half_a_day_is_a_time_to_keep_images() -> None:
    assert parse_config("storage: {keep_days: 0.5}\n", HERE).storage.keep_days == 0.5


@pytest.mark.parametrize(("written", "hour", "minute"), [('"07:30"', 7, 30), ('"7:05"', 7, 5), ('"23:59"', 23, 59)])
def test_the_digest_has_a_time(written: str, hour: int, minute: int) -> None:
    digest = parse_config(f"alarms: {{digest: {written}}}", Path("c.yaml")).alarms.digest
    assert digest is not None
    assert (digest.hour, digest.minute) == (hour, minute)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("digest: morning", 'a time of day is written "07:30"'),
        ("digest: 10:30", "put a text in quotes"),
        ('digest: "24:00"', 'a time of day is written "07:30"'),
        ("at_once: [HOLD]", "alarms.at_once.0"),
        ("mail: {to: a@b, user: rtseg}", "a password is not sent in the clear"),
        ("mail: {to: a@b, password_file: secret}", "there is a password_file and no `user`"),
        ("mail: {to: a@b, password: secret}", "did you mean 'password_file'?"),
    ],
)
def test_alarms_that_cannot_be_meant_are_refused_by_name(section: str, words: str) -> None:
    with pytest.raises(ConfigError, match="line 1: alarms") as refused:
        parse_config(f"alarms: {{{section}}}", Path("c.yaml"))
    assert words in str(refused.value)


def test_a_password_in_the_configuration_is_not_quoted_in_the_error() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config("alarms: {mail: {to: a@b, user: u, password: hunter2}}", Path("c.yaml"))
    assert "hunter2" not in str(refused.value)


def test_polling_without_a_query_peer_is_refused() -> None:
    message = mistake("feedback: {poll: true}")
    assert "line 1: feedback.poll: there is nobody to ask" in message


def test_feedback_is_taken_from_callers_that_say_so_or_by_polling() -> None:
    callers = "dicom: {allowed_callers: [{ae_title: TPS, host: 127.0.0.1, feedback: %s}]}"
    assert parse_config(callers % "true", HERE).takes_feedback
    assert not parse_config(callers % "false", HERE).takes_feedback
    peer = "query: [{name: pacs, ae_title: PACS, host: 127.0.0.1, port: 104}]"
    assert parse_config(f"feedback: {{poll: true}}\n{peer}", HERE).takes_feedback


CLUSTER = "cluster: {tls: {certificate: a.crt, key: a.key, ca: ca.crt}}\n"
POSTGRESQL = "database: {url: 'postgresql://rtseg@db/rtseg'}\n"


@pytest.mark.parametrize("address", ["auto", "10.0.3.20:6379", "ray://head.hospital.local:10001", "[fd00::2]:6379"])
def test_cards_in_ray_are_named_by_the_address_of_its_head(address: str) -> None:
    config = parse_config(f"{CLUSTER}{POSTGRESQL}compute: {{cluster: '{address}', cluster_token: ray-token}}\n", HERE)
    assert config.compute.cluster == address
    assert config.compute.cluster_token == HERE.parent / "ray-token"


@pytest.mark.parametrize("address", ["head", "http://head:10001", "ray://head", "head:0", "ray://a b:1", "head:70000"])
def test_what_is_no_address_of_ray_is_refused_by_name(address: str) -> None:
    message = mistake(f"{CLUSTER}{POSTGRESQL}compute:\n  cluster: '{address}'\n")
    assert "line 4: compute.cluster: write auto, HOST:PORT, or ray://HOST:PORT" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLUSTER + POSTGRESQL, None),
        ("storage: {shared: true}\n" + POSTGRESQL, None),
        (POSTGRESQL, "fetch images from this host, and bring results to it; set cluster.tls (or"),
        (CLUSTER + "database: {url: 'sqlite:////x.db'}\n", "need a ledger that they reach; name its PostgreSQL in"),
    ],
)
def test_cards_in_ray_need_a_ledger_and_files_that_they_reach(text: str, said: str | None) -> None:
    whole = text + "compute: {cluster: auto}\n"
    if said is None:
        assert parse_config(whole, HERE).compute.cluster == "auto"
    else:
        assert said in mistake(whole)


def test_a_token_without_a_ray_is_a_mistake() -> None:
    assert "compute.cluster_token: is the token of a Ray cluster" in mistake("compute: {cluster_token: a}\n")
