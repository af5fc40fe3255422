"""The options of a mount of `hf://`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from raycache.errors import InvalidRequestError
from raycache.ufs.http.option_values import check_bounds, converted_options, parse_endpoint

_ENDPOINT_URL = "https://huggingface.co"


@dataclasses.dataclass(frozen=True, slots=True)
class HubOptions:
    """All options of the Hub. Empty strings mean: not given."""

    #: Instead of the one of `HF_TOKEN`, or of who is logged in on the node.
    token: str = dataclasses.field(default="", repr=False)
    #: Instead of `HF_ENDPOINT`.
    endpoint_url: str = ""
    connect_timeout_s: float = 5.0
    #: How long nothing may arrive.
    request_timeout_s: float = 30.0
    #: Attempts after the first.
    retries_max: int = 4

    def __post_init__(self) -> None:
        check_bounds(self.connect_timeout_s, self.request_timeout_s, self.retries_max)
        if not self.token.isprintable():
            raise InvalidRequestError("option token must be one printable line")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> HubOptions:
        """Check a mount's options.

        Raises:
            InvalidRequestError: an unknown name, or a value of the wrong type.
        """
        found = converted_options("Hugging Face", cls, options)
        url = found.get("endpoint_url") or os.environ.get("HF_ENDPOINT") or _ENDPOINT_URL
        return cls(**{**found, "endpoint_url": parse_endpoint(url, "https")})
