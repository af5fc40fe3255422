"""The options of a mount of `https://`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from raycache.errors import InvalidRequestError
from raycache.ufs.http.option_values import check_bounds, converted_options


@dataclasses.dataclass(frozen=True, slots=True)
class WebOptions:
    """All options of one host. Empty strings mean: not given."""

    #: Sent as the header of that name, to this host only.
    authorization: str = dataclasses.field(default="", repr=False)
    connect_timeout_s: float = 5.0
    #: How long nothing may arrive. What keeps arriving may take longer.
    request_timeout_s: float = 30.0
    #: Attempts after the first.
    retries_max: int = 4
    verify_tls: bool = True
    #: A PEM file of authorities to trust.
    ca_file: str = ""

    def __post_init__(self) -> None:
        check_bounds(self.connect_timeout_s, self.request_timeout_s, self.retries_max)
        if not self.authorization.isprintable():
            raise InvalidRequestError("option authorization must be one printable line")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> WebOptions:
        """Check a mount's options.

        Raises:
            InvalidRequestError: an unknown name, or a value of the wrong type.
        """
        return cls(**converted_options("HTTP", cls, options))
