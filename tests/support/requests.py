"""What each purpose needs in a request, for tests that go through all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from raycache.messages import TERMS, BlockRequest, BlockState, Claim, Purpose, claim_column
from raycache.workers.effects import Reply


def fields_of(purpose: Purpose) -> dict[str, Any]:
    """The purpose, and the fields that a request must have for it."""
    terms = TERMS[purpose]
    source = {"source_actor": "actor-there"} if terms.has_source else {}
    age = {"job_age_s": 1.0} if terms.of_job else {}
    return {"purpose": int(purpose), **source, **age}


def drawn_fields(data: st.DataObject, purpose: Purpose, count: int) -> dict[str, Any]:
    """The same with whatever else the purpose allows, for a request of so many blocks."""
    legal = [claim for claim in Claim if claim <= TERMS[purpose].claims]
    claims = [data.draw(st.sampled_from(legal)) for _ in range(count)]
    fields = fields_of(purpose) | {"claims": claim_column(claims)}
    return fields | {"job_age_s": data.draw(st.sampled_from([0.0, 5.0, 50.0]))} if "job_age_s" in fields else fields


def check_states(request: BlockRequest, reply: Reply) -> None:
    """Check that the states answered are such as the request allows."""
    assert len(reply.states) == len(request.block_index)
    for position, state in enumerate(reply.states):
        assert (state is BlockState.FAILED) == (position in reply.errors)
        assert (state is BlockState.ELSEWHERE) == (position in reply.claimants)
        assert request.claim(position) != Claim.IGNORE or state is not BlockState.ELSEWHERE
        assert request.loads or state not in (BlockState.LOADED, BlockState.FAILED)
