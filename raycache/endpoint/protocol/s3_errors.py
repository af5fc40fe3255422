"""S3's own errors: what a client is told when a request is refused, and which of them each error of the cache is."""

from __future__ import annotations

from raycache.errors import (
    AlreadyExistsError,
    ConflictError,
    CorruptBlockError,
    DeniedError,
    InvalidRequestError,
    NoSpaceError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)

#: HTTP status and text of each code that is answered here. Source: "Error responses" of the Amazon S3 API reference.
CODES: dict[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
    "AccessDenied": (403, "Access Denied"),
    "AuthorizationHeaderMalformed": (400, "The authorization header that you provided is not valid."),
    "AuthorizationQueryParametersError": (400, "The query parameters of the signature are not valid."),
    "BadDigest": (400, "The checksum you specified did not match what we received."),
    "BucketAlreadyOwnedByYou": (409, "The bucket that you tried to create already exists, and you own it."),
    "BucketNotEmpty": (409, "The bucket that you tried to delete is not empty."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed object size."),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header."),
    "InternalError": (500, "An internal error occurred. Try again."),
    "InvalidAccessKeyId": (403, "The access key ID that you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidDigest": (400, "The Content-MD5 or checksum value that you specified is not valid."),
    "InvalidPart": (400, "One or more of the specified parts could not be found."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidURI": (400, "The specified URI couldn't be parsed."),
    "KeyTooLongError": (400, "Your key is too long."),
    "MalformedXML": (400, "The XML that you provided was not well formed or did not validate."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist."),
    "NotImplemented": (501, "A header or query that you provided implies functionality that is not implemented."),
    "NotModified": (304, "Not Modified"),
    "PreconditionFailed": (412, "At least one of the preconditions that you specified did not hold."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the server's time is too large."),
    "RequestTimeout": (400, "Your socket connection to the server was not read from or written to in time."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": (403, "The request signature that the server calculated does not match the signature."),
    "SlowDown": (503, "Please reduce your request rate."),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match the body."),
}


class S3Error(Exception):
    """A refusal with S3's code.

    Args:
        code: of `CODES`.
        message: instead of the code's own text; one line, no secrets.
        headers: further headers of the answer.
    """

    def __init__(self, code: str, message: str = "", headers: dict[str, str] | None = None) -> None:
        status, text = CODES[code]
        super().__init__(message or text)
        self.code = code
        self.status = status
        self.headers = headers or {}


#: The first that fits; all of the cache's errors end in one.
_BY_CLASS: tuple[tuple[type[RaycacheError], str], ...] = (
    (NotFoundError, "NoSuchKey"),
    (DeniedError, "AccessDenied"),
    (AlreadyExistsError, "PreconditionFailed"),
    (ConflictError, "ServiceUnavailable"),
    (NoSpaceError, "ServiceUnavailable"),
    (CorruptBlockError, "ServiceUnavailable"),
    (UnavailableError, "ServiceUnavailable"),
    (InvalidRequestError, "InvalidRequest"),
)


def s3_error_of(error: RaycacheError) -> S3Error:
    """What a client is told of an error of the cache. What it can only try again is 503, which clients do by themselves."""
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return S3Error(code, "" if code == "NoSuchKey" else str(error))
    return S3Error("InternalError", str(error))
