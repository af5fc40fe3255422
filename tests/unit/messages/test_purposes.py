"""Purposes of requests for blocks: each has its terms, and what contradicts them is refused."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.errors import InvalidRequestError
from raycache.messages import (
    PREFETCHING,
    TERMS,
    BlockRequest,
    Claim,
    FileColumns,
    Purpose,
    claim_column,
    decode,
    encode,
)
from raycache.types import FileVersion
from tests.support.requests import fields_of

FILE = FileVersion("s3://b/x", 16, "e", 0)


def request(**fields: Any) -> BlockRequest:
    """For two blocks."""
    return BlockRequest("n", 1, 1, FileColumns.of([FILE]), [0, 0], [0, 1], [0, 0], [8, 8], 8, **fields)


def test_every_purpose_has_terms() -> None:
    """In the table, in their order, and nothing else."""
    assert list(Purpose) == list(TERMS)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_request_is_legal_just_within_its_terms(purpose: Purpose) -> None:
    """Its claims go as far as the terms allow; a source and the age of a job stand where they belong, and nowhere else."""
    terms, fields = TERMS[purpose], fields_of(purpose)
    for claim in Claim:
        error = request(**fields, claims=bytes([claim])).refusal()
        assert isinstance(error, InvalidRequestError) == (claim > terms.claims)
    for name, value, nothing in (("source_actor", "actor", ""), ("job_age_s", 2.0, None)):
        error = request(**fields | {name: nothing if name in fields else value}).refusal()
        assert isinstance(error, InvalidRequestError), name


@pytest.mark.parametrize(
    "fields", [{"purpose": len(Purpose)}, {"purpose": 0, "claims": b""}, {"purpose": 0, "claims": b"\0\0\0"}]
)
def test_what_no_sender_of_this_version_says_is_refused(fields: dict[str, Any]) -> None:
    """A purpose that does not exist, and a claim column of the wrong length."""
    assert isinstance(request(**fields).refusal(), InvalidRequestError)
    assert not request(**fields).loads or fields["purpose"] in TERMS


@pytest.mark.parametrize("purpose", PREFETCHING)
def test_prefetching_is_the_same_without_handing_out(purpose: Purpose) -> None:
    """What a reader may ask for, it may announce: with the same claims, room and source."""
    assert TERMS[purpose].hands_out and TERMS[purpose].is_read
    assert TERMS[PREFETCHING[purpose]] == TERMS[purpose]._replace(hands_out=False, is_read=False)


@pytest.mark.parametrize(
    ("claims", "column"),
    [
        ([], b""),
        ([Claim.FOLLOW], b"\1"),
        ([Claim.CLAIM] * 3, b"\2"),
        ([Claim.IGNORE, Claim.CLAIM, Claim.CLAIM], b"\0\2\2"),
    ],
)
def test_a_claim_column_is_one_byte_where_all_are_the_same(claims: list[Claim], column: bytes) -> None:
    """Either way the request says the same of each block."""
    assert column == claim_column(claims)
    found = request(purpose=0, claims=column)
    assert claims == [found.claim(position) for position in range(len(claims))]


def test_a_look_at_what_is_held_names_blocks_and_lengths() -> None:
    """Of one file; purposes and claims travel as numbers, not as enums with their names."""
    found: BlockRequest = decode(encode(BlockRequest.held("n", FILE, {3: 8, 4: 5}, 8)))
    assert ([0, 0], [3, 4], [0, 0], [8, 5]) == (found.file_index, found.block_index, found.offsets, found.lengths)
    assert (Purpose.READ_HELD, int, None) == (found.purpose, type(found.purpose), found.refusal())
