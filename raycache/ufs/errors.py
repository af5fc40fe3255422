"""The one place where errors of third parties become errors of `raycache.errors`.

Each third party has one function or class: OSError, pyarrow, and S3 (obstore and botocore, which speak of the same
server). A message is one line: what was tried, on which URI, what came of it, and what to do. It is made from the
status and the error code only; the server's own text is kept in `__cause__` with all secrets taken out, since S3
answers a wrong signature with the key id and the text that was signed.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

from raycache.errors import (
    DeniedError,
    InvalidRequestError,
    IsADirectoryRequestError,
    NoSpaceError,
    NotADirectoryRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)

_CAUSE_CHARS_MAX = 600
_SECRET_PARTS = re.compile(
    r"(?is)<(AWSAccessKeyId|StringToSign|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes|SignatureProvided)>"
    r".*?(?:</\1>|\Z)"
    r"|(?:X-Amz-[A-Za-z-]*|Credential|Signature)=[^&\s,]*"
)


class ThirdPartyError(Exception):
    """What another library said, secrets taken out. Only ever the `__cause__` of an error of ours."""


def shown(uri: str) -> str:
    """The URI for a message: one printable line whatever the key holds."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in uri)


def cause_of(error: BaseException, secrets: Iterable[str] = ()) -> ThirdPartyError:
    """The error as a cause that can be printed: type and text, cut short, without secrets."""
    text = str(error)
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _SECRET_PARTS.sub("***", text)
    return ThirdPartyError(f"{type(error).__name__}: {text[:_CAUSE_CHARS_MAX]}")


def map_os_error(error: OSError, action: str, uri: str) -> RaycacheError:
    """Map an OSError of a local disk, or of a library that uses them.

    Args:
        error: as it was raised.
        action: the verb for the message: "read", "write", "list", ...
        uri: what it was done to.
    """
    name = shown(uri)
    code = error.errno
    looks_up = action in ("read", "list", "delete")
    if code == errno.ENAMETOOLONG and not looks_up:
        return InvalidRequestError(f"{name} is too long a name for that disk; use another", uri=uri)
    if (
        code in (errno.ENOENT, errno.ENAMETOOLONG)
        or (code == errno.ENOTDIR and looks_up)
        or isinstance(error, FileNotFoundError)
    ):
        return NotFoundError(f"{name} does not exist in the lake; check the path", uri=uri)
    if code in (errno.EACCES, errno.EPERM, errno.EROFS) or isinstance(error, PermissionError):
        return DeniedError(f"may not {action} {name}; check the permissions of this user", uri=uri)
    if code == errno.EISDIR or isinstance(error, IsADirectoryError):
        return IsADirectoryRequestError(f"{name} is a directory; name a file to {action}", uri=uri)
    if code == errno.ENOTDIR or isinstance(error, NotADirectoryError):
        return NotADirectoryRequestError(f"a file stands where {name} needs a directory; use another path", uri=uri)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(f"no space left to {action} {name}; make room there", uri=uri)
    if code == errno.ENOTEMPTY:
        return InvalidRequestError(f"directory {name} is not empty; remove what is in it first", uri=uri)
    if code in (errno.EINVAL, errno.ELOOP):
        return InvalidRequestError(f"cannot {action} {name}: {error.strerror}; use another path", uri=uri)
    reason = f" ({errno.errorcode[code]})" if code is not None and code in errno.errorcode else ""
    return UnavailableError(f"cannot {action} {name}{reason}; check that storage", uri=uri)


def map_arrow_error(error: Exception, action: str, uri: str) -> RaycacheError:
    """Map an error of a pyarrow filesystem: OSErrors, and its own kinds for requests it cannot do."""
    if isinstance(error, OSError):
        return map_os_error(error, action, uri)
    if isinstance(error, NotImplementedError):  # pyarrow's ArrowNotImplementedError is one
        return InvalidRequestError(f"this filesystem cannot {action} {shown(uri)}; use another", uri=uri)
    return InvalidRequestError(f"the filesystem refused to {action} {shown(uri)}; check path and options", uri=uri)
