"""The options of a store that this process knows of: its caller's, completed by its environment."""

from __future__ import annotations

import os
from typing import Any

from raycache.ufs.s3.options import options_from_environment

#: Options that name an identity: with one of them the environment's keys must not be mixed in.
_IDENTITY_OPTIONS = frozenset({"access_key_id", "secret_access_key", "session_token", "anonymous", "profile"})


def environment_options(root_uri: str) -> dict[str, Any]:
    """What this process's environment says about a store; empty for other than S3."""
    return options_from_environment(dict(os.environ)) if root_uri.startswith("s3://") else {}


def with_environment(root_uri: str, options: dict[str, Any]) -> dict[str, Any]:
    """A caller's options, completed by this process's environment; identities are not mixed."""
    found = environment_options(root_uri)
    if _IDENTITY_OPTIONS & set(options):
        found = {key: value for key, value in found.items() if key not in _IDENTITY_OPTIONS}
    return {**found, **options}
