"""Datasets, models and spaces of the Hugging Face Hub (`hf://datasets/owner/name@revision/file`), read-only.

What a path means, what stands there and what is in a directory, `huggingface_hub` says: its fsspec filesystem takes paths apart,
its client asks the Hub. It is an optional package (`raycache[hf]`). A version is the digest of an LFS file, else the git id of the blob.

A revision may move while a file of it is read, and a read of the Hub knows no `If-Match`. So bytes are read at a commit, which does
not change: at the revision's newest, once the version that is asked for was found there. Each read is then one GET of exactly the
range. Which commit is the newest is asked once a second at most; when it is another one, each file is looked up there before it is
read on, and a version that does not stand there any more is a conflict, as with any other store.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

from typing_extensions import Buffer

from raycache.clock import Clock, SystemClock
from raycache.errors import DeniedError, InvalidRequestError, NotFoundError, RaycacheError, UnavailableError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo
from raycache.ufs.checks import changed, check_file_key, check_range, check_version, is_path_key, past_end
from raycache.ufs.errors import cause_of, shown
from raycache.ufs.identity import Way, key_way
from raycache.ufs.retry import Retrier, RetryPolicy
from raycache.ufs.walk import Children, Pager, WalkEntry
from raycache.ufs.web.hub_options import HubOptions
from raycache.ufs.web.read_only import ReadOnlyStorage
from raycache.ufs.web.web_storage import WebStorage

T = TypeVar("T")
#: Files whose commit is remembered, and revisions whose newest commit is.
_PLACES_MAX = 65_536
_REVISIONS_MAX = 1_024
_COMMIT_S = 1.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DENIED = frozenset({401, 403})
_LATER = frozenset({408, 429})


class _Place(NamedTuple):
    """Where a version was found."""

    commit: str
    #: What the bytes have as a key.
    key: str


class HubStorage(ReadOnlyStorage):
    """One kind of repositories (`hf://datasets`), or one owner's models (`hf://owner`). Thread-safe.

    Args:
        root_uri: `hf://` and the first part of the path.
        options: see `HubOptions`.
        retrier: instead of the one that the options ask for.
        clock: says how old an answer is.

    Raises:
        InvalidRequestError: an option is unknown or wrong, or `huggingface_hub` is not installed.
    """

    has_directories = False

    def __init__(
        self,
        root_uri: str,
        options: Mapping[str, Any],
        retrier: Retrier | None = None,
        clock: Clock | None = None,
    ) -> None:
        parsed = HubOptions.parse(options)
        try:
            import huggingface_hub
        except ModuleNotFoundError as error:
            raise InvalidRequestError(
                "hf:// needs the package huggingface_hub on every node: pip install 'raycache[hf]'"
            ) from error
        self.root_uri = root_uri
        self._options = parsed
        token = parsed.token or huggingface_hub.get_token() or ""
        self._secrets = [token]
        self._hub: Any = huggingface_hub.HfApi(endpoint=parsed.endpoint_url, token=token or False)
        self._paths: Any = huggingface_hub.HfFileSystem(
            endpoint=parsed.endpoint_url, token=token or False, skip_instance_cache=True
        )
        self._url_of = huggingface_hub.hf_hub_url
        self._bytes = WebStorage(
            parsed.endpoint_url,
            {
                "authorization": f"Bearer {token}" if token else "",
                "connect_timeout_s": parsed.connect_timeout_s,
                "request_timeout_s": parsed.request_timeout_s,
                "retries_max": parsed.retries_max,
            },
            retrier,
        )
        self._retrier = retrier or Retrier(
            RetryPolicy(attempts_max=parsed.retries_max + 1, total_s=2 * parsed.request_timeout_s)
        )
        self._pager = Pager(_HubTree(self))
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        #: By (key, etag).
        self._places: OrderedDict[tuple[str, str], _Place] = OrderedDict()
        #: (until when, newest commit) by (kind, repository, revision).
        self._commits: OrderedDict[tuple[str, str, str], tuple[float, str]] = OrderedDict()

    def __repr__(self) -> str:
        return f"HubStorage({self.root_uri!r}, {self._options.endpoint_url!r})"

    @property
    def slow_downs(self) -> int:
        """How often the Hub has said "slow down" so far."""
        return self._retrier.slow_downs + self._bytes.slow_downs

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`. Below a repository only: the Hub's own list of repositories is no directory."""
        return self._pager.page(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        check_file_key(self.root_uri, key)
        if not is_path_key(key):
            raise self._missing(key)
        return self._run("read", key, lambda: self._head_once(key, ""))

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        check_file_key(self.root_uri, key)
        uri = self._uri(key)
        check_range(uri, offset, length)
        if version is not None and offset + length > version.size_bytes:
            raise past_end(uri, offset, length, version.size_bytes)
        place = self._run("read", key, lambda: self._place(key, version))
        try:
            return self._bytes.read(place, offset, length)
        except DeniedError as error:
            raise self._denied("read", key, error.fields.get("status")) from error
        except NotFoundError as error:  # history was rewritten, and the commit with it
            with self._lock:
                self._places.clear()
                self._commits.clear()
            raise changed(uri) from error

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`."""
        return key_way(self.root_uri, key)

    def close(self) -> None:
        """See `UnderStorage.close`. A later call connects again."""
        self._pager.close()
        self._bytes.close()

    def children(self, directory: str) -> Children | None:
        """What is in a directory; see `Tree.children`."""
        if directory and not is_path_key(directory.removesuffix("/")):
            return None
        try:
            return self._run("list", directory, lambda: self._children_once(directory))
        except NotFoundError:
            return None

    # --- one request each ---------------------------------------------------------------------------------------------

    def _resolved(self, key: str) -> Any:
        """Kind, repository, revision and path inside."""
        parts = self._paths.resolve_path(f"{self.root_uri}/{key}".rstrip("/"))
        if not hasattr(parts, "repo_id"):
            raise InvalidRequestError(
                f"{shown(self._uri(key))} is in no repository; name a dataset, a model or a space"
            )
        return parts

    def _head_once(self, key: str, commit: str) -> ObjectInfo:
        parts = self._resolved(key)
        if parts.path_in_repo:
            found = self._hub.get_paths_info(
                parts.repo_id, [parts.path_in_repo], revision=commit or parts.revision, repo_type=parts.repo_type
            )
            if found and hasattr(found[0], "blob_id"):
                return described(key, found[0])
        raise self._missing(key)

    def _children_once(self, directory: str) -> Children:
        parts = self._resolved(directory)
        found = self._hub.list_repo_tree(
            parts.repo_id, parts.path_in_repo or None, revision=parts.revision, repo_type=parts.repo_type
        )
        return Children([
            WalkEntry(item.path.rpartition("/")[2] + ("" if hasattr(item, "blob_id") else "/"), item) for item in found
        ])  # fmt: skip

    def _place(self, key: str, version: FileVersion | None) -> str:
        """Where the bytes of a version are, as a key of `_bytes`."""
        parts = self._resolved(key)
        commit = self._newest(parts)
        identity = (key, version.etag if version is not None else "")
        with self._lock:
            known = self._places.get(identity)
        if known is not None and known.commit == commit:
            return known.key
        check_version(self._uri(key), self._head_once(key, commit), version)
        url = self._url_of(
            parts.repo_id, parts.path_in_repo,
            repo_type=parts.repo_type, revision=commit, endpoint=self._options.endpoint_url,
        )  # fmt: skip
        found = _Place(commit, str(url).removeprefix(f"{self._options.endpoint_url}/"))
        with self._lock:
            _keep(self._places, identity, found, _PLACES_MAX)
        return found.key

    def _newest(self, parts: Any) -> str:
        """The commit that a revision means now, or a second ago."""
        revision = str(parts.revision)
        if _COMMIT.fullmatch(revision):
            return revision
        identity = (parts.repo_type, parts.repo_id, revision)
        now_s = self._clock.now_s()
        with self._lock:
            until_s, commit = self._commits.get(identity, (0.0, ""))
        if not commit or now_s >= until_s:
            said = self._hub.repo_info(parts.repo_id, revision=revision, repo_type=parts.repo_type, expand=["sha"])
            commit = str(said.sha)
            with self._lock:
                _keep(self._commits, identity, (now_s + _COMMIT_S, commit), _REVISIONS_MAX)
        return commit

    # --- errors -------------------------------------------------------------------------------------------------------

    def _run(self, action: str, key: str, function: Callable[[], T]) -> T:
        def once() -> T:
            try:
                return function()
            except RaycacheError:
                raise
            except Exception as error:  # of whichever HTTP client this release of the package has; `_mapped` knows ours
                raise self._mapped(error, action, key) from cause_of(error, self._secrets)

        return self._retrier.call(once)

    def _mapped(self, error: Exception, action: str, key: str) -> RaycacheError:
        """Turn an error of the package into one of ours; raises again what is none of its."""
        name = shown(self._uri(key))
        status = getattr(getattr(error, "response", None), "status_code", None)
        status = status if status is not None else _status_behind(error)
        if status in _DENIED:
            return self._denied(action, key, status)
        if status == 404 or isinstance(error, FileNotFoundError):
            # The package remembers what was not there.
            self._paths.invalidate_cache()
            self._paths._repo_and_revision_exists_cache.clear()  # noqa: SLF001  # nothing public forgets it
            return self._missing(key)
        if isinstance(error, NotImplementedError):
            return DeniedError(f"{name} cannot be listed; name a repository", uri=self._uri(key), code="AccessDenied")
        if isinstance(status, int) and status < 500 and status not in _LATER:
            return InvalidRequestError(f"the Hub refused to {action} {name} ({status}); check the path", status=status)
        if isinstance(error, ValueError) and status is None:
            return NotFoundError(f"{name} names no repository of the Hub; check the path", uri=self._uri(key))
        if status is not None or isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "requests")):
            said = "could not" if status is None else f"answered {status}, and could not"
            return UnavailableError(
                f"{self._options.endpoint_url} {said} {action} {name}; try later", uri=self._uri(key), status=status
            )
        raise error

    def _denied(self, action: str, key: str, status: Any) -> DeniedError:
        uri = self._uri(key)
        return DeniedError(
            f"may not {action} {shown(uri)} ({status}); check option token, and whether its owner has access to the repository",
            uri=uri, status=status,
        )  # fmt: skip

    def _missing(self, key: str) -> NotFoundError:
        uri = self._uri(key)
        return NotFoundError(f"{shown(uri)} does not exist on the Hub, or needs a token; check the path", uri=uri)

    def _refuse(self, key: str) -> NoReturn:
        uri = self._uri(key)
        raise InvalidRequestError(f"cannot write {shown(uri)}: hf:// is a read-only lake; use another", uri=uri)

    def _uri(self, key: str) -> str:
        return f"{self.root_uri}/{key}" if key else self.root_uri


class _HubTree:
    """Of the pager: a repository's files in their directories."""

    def __init__(self, storage: HubStorage) -> None:
        self._storage = storage

    def children(self, directory: str) -> Children | None:
        return self._storage.children(directory)

    def describe(self, key: str, entry: WalkEntry) -> ObjectInfo:
        return described(key, entry.detail)


def described(key: str, file: Any) -> ObjectInfo:
    """A `RepoFile` as ours."""
    return ObjectInfo(key, file.size, f'"{file.lfs.sha256 if file.lfs else file.blob_id}"', None)


def _status_behind(error: BaseException) -> int | None:
    """The status of the answer that an error was made of."""
    cause = error.__cause__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, count_max: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > count_max:
        kept.popitem(last=False)
