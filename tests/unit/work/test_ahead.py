"""The next job's series, read ahead: used only by the very job that it was read for."""

import threading

from rtseg_daemon.work.ahead import Ahead, ReadJob

JOB = ReadJob(7, ("a.dcm", "digest"))


def test_a_series_that_was_read_ahead_is_handed_to_its_job_once():
    ahead = Ahead()
    ahead.start(JOB, lambda: "series")
    assert ahead.take(JOB) == "series"
    assert ahead.take(JOB) is None


def test_other_files_or_another_job_get_nothing_and_what_was_read_is_let_go():
    ahead = Ahead()
    ahead.start(JOB, lambda: "series")
    assert ahead.take(ReadJob(7, ("a.dcm", "another digest"))) is None
    assert ahead.take(JOB) is None


def test_one_series_is_read_at_a_time_and_one_waits_at_most():
    ahead, go, read = Ahead(), threading.Event(), []

    def slow():
        go.wait(10)
        read.append("first")
        return "first"

    ahead.start(JOB, slow)
    ahead.start(ReadJob(8, ()), lambda: read.append("second"))
    go.set()
    assert ahead.take(JOB) == "first"
    assert read == ["first"]


def test_a_series_that_cannot_be_read_ahead_is_left_to_its_job():
    ahead = Ahead()

    def broken():
        raise OSError("the disk fails")

    ahead.start(JOB, broken)
    assert ahead.take(JOB) is None
