"""What a survey says of a load: how much, what is cached, and what has no room."""

from __future__ import annotations

from raycache.master.loads.files import Origin, Page
from raycache.master.loads.survey import Survey
from raycache.master.namespace.entries import pack
from raycache.messages import WantedFile, pack_files
from raycache.types import FileVersion, WorkerView
from raycache.ufs.base import ObjectInfo


def five_files() -> Page:
    """Of ten bytes each."""
    keys = [f"data/{number}" for number in range(5)]
    return Page.of(Origin("s3://b", "data/", "/lake"), keys, [pack(ObjectInfo(key, 10, "e", 1)) for key in keys])


def test_a_survey_adds_up_what_is_cached_and_what_is_over() -> None:
    """Cached bytes are counted once, by live workers only; what is over is named."""
    workers = [WorkerView("a", 1, 35, "actor-a")]
    page = five_files()
    held = {page.ids[0]: (("a", 0b111), ("dead", 0b111)), page.ids[1]: (("a", 0b100),), page.ids[2]: (("dead", 1),)}
    survey = Survey(4, 16, 1, lambda version: held.get(version, ()))
    survey.add(page, workers)
    found = survey.result()
    assert (found.files, found.blocks, found.bytes) == (5, 15, 50)
    assert (found.files_cached, found.bytes_cached) == (1, 12)
    assert (found.capacity_bytes, found.bytes_over, found.files_over) == (35, 15, 2)
    assert found.over == ["/lake/3", "/lake/4"]


def test_a_survey_without_workers_says_nothing_of_room() -> None:
    """Nobody to hold anything yet: there is no capacity, and nothing is called over."""
    survey = Survey(4, 16, 1, lambda _: ())
    survey.add(five_files(), [])
    assert (survey.result().capacity_bytes, survey.result().bytes_over) == (0, 0)


def test_of_given_files_only_the_wanted_blocks_count() -> None:
    """What else of a file is cached, or is not, does not matter."""
    version = FileVersion("s3://b/x", 10, "e", 0)
    (packed,) = pack_files([WantedFile(version, 0b101)])
    survey = Survey(4, 16, 1, lambda _: (("a", 0b110),))
    survey.add(Page.given(packed), [WorkerView("a", 1, 5, "actor-a")])
    found = survey.result()
    assert (found.files, found.blocks, found.bytes, found.files_cached, found.bytes_cached) == (1, 2, 6, 0, 2)
    assert (found.bytes_over, found.over) == (1, ["s3://b/x"])
