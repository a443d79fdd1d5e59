from rtseg_daemon.assemble.reconstructions import Candidate, preferred, still_coming

THICK = Candidate(1, "HN 3.0 soft tissue", 3.0, 60.0)
THIN = Candidate(2, "HN 1.0 soft tissue", 1.0, 60.0)
BONE = Candidate(3, "HN 0.8 bone", 0.8, 60.0)
IMAR = Candidate(4, "HN 3.0 iMAR", 3.0, 60.0)
ALL = [THICK, THIN, BONE, IMAR]


def test_the_earliest_pattern_wins_whatever_the_thickness() -> None:
    assert preferred(ALL, ["imar", "soft"]) == IMAR


def test_among_equals_the_thinnest_wins_and_then_the_first() -> None:
    assert preferred(ALL, ["soft"]) == THIN
    assert preferred([THICK, Candidate(9, "soft", 3.0, 0.0)], ["soft"]) == THICK


def test_where_no_pattern_fits_the_thinnest_wins() -> None:
    assert preferred(ALL, ["lung"]) == BONE


def test_a_series_still_coming_delays_the_choice() -> None:
    assert not still_coming(ALL, 30.0)
    assert still_coming([*ALL, Candidate(5, "late", 1.0, 3.0)], 30.0)
