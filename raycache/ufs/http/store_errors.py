"""What the errors of all stores behind HTTP have in common: a root, an endpoint, and words that are secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from raycache.errors import InvalidRequestError, RaycacheError, UnavailableError
from raycache.ufs.errors import ThirdPartyError, cause_of, shown

_TIMED_OUT = re.compile(r"Timeout|TimedOut|timed out")
_UNTRUSTED = re.compile(r"(?i)certificate|UnknownIssuer")


class StoreErrors:
    """Makes errors that name what was tried, and show no secret.

    Args:
        root_uri: `s3://bucket`, `gs://bucket`, `https://host`.
        endpoint_url: for messages.
        secrets: gives what is never shown.
    """

    def __init__(self, root_uri: str, endpoint_url: str, secrets: Callable[[], Iterable[str]]) -> None:
        self._root_uri = root_uri
        self._endpoint_url = endpoint_url
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root_uri!r}, {self._endpoint_url!r})"

    def uri(self, key: str) -> str:
        """The URI of a key."""
        return f"{self._root_uri}/{key}" if key else self._root_uri

    def cause(self, error: BaseException) -> ThirdPartyError:
        """What to raise from."""
        return cause_of(error, self._secrets())

    def _no_text(self, action: str, key: str) -> InvalidRequestError:
        uri = self.uri(key)
        return InvalidRequestError(f"cannot {action} {shown(uri)}: it is no Unicode text; use another path", uri=uri)

    def _busy(self, said: str, action: str, name: str, facts: dict[str, Any]) -> UnavailableError:
        return UnavailableError(f"{self._endpoint_url} could not {action} {name} now ({said}); try later", **facts)

    def _unreachable(self, text: str, action: str, key: str, *, timed_out: bool | None = None) -> RaycacheError:
        """For an error of the network.

        Args:
            text: what the library says.
            action, key: what was tried, and on what.
            timed_out: None: to be found in the text.
        """
        uri = self.uri(key)
        doing = f"({action} {shown(uri)})"
        if _UNTRUSTED.search(text):
            return InvalidRequestError(
                f"{self._endpoint_url} has a certificate that is not trusted here {doing}; set option ca_file, or check "
                f"the endpoint",
                uri=uri,
            )
        late = _TIMED_OUT.search(text) is not None if timed_out is None else timed_out
        what = "gave no answer in time" if late else "cannot be reached or broke off"
        return UnavailableError(f"{self._endpoint_url} {what} {doing}; check the endpoint and the network", uri=uri)
