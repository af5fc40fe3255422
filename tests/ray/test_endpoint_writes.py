"""Writing through the S3 endpoint: into the lake, whole, and seen by everybody."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import pytest
from botocore.exceptions import ClientError
from obstore.store import S3Store

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.ray.test_endpoint import client_of
from tests.support.lake import Lake, content

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1 << 20


@pytest.fixture(scope="module")
def cache(
    cluster: LocalCluster, s3_server: SeaweedServer, proxy: S3Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cache]:
    assert cluster
    cache = raycache.start(memory="150MiB", disk="200MiB", endpoint=True)
    lake = Lake.make(s3_server, proxy)
    cache.mount("/s3", lake.uri, lake.options, metadata_ttl_s=600, readonly=False)
    cache.mount("/disk", f"file://{tmp_path_factory.mktemp('lake')}", metadata_ttl_s=600, readonly=False)
    cache.mount("/closed", f"{lake.uri}/closed", lake.options, metadata_ttl_s=600)
    yield cache
    raycache.stop()


@pytest.fixture(scope="module")
def s3(cache: Cache) -> S3Client:
    return client_of(cache.endpoint())


def status(call: Any, **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    response = refused.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


@pytest.mark.parametrize("bucket", ["s3", "disk"])
def test_what_is_put_is_read(cache: Cache, s3: S3Client, bucket: str) -> None:
    """By the endpoint and by the cache, at once, also where something else stood and was cached."""
    for body in (b"one", content(1, 9 * MIB + 1), b""):
        put = s3.put_object(Bucket=bucket, Key="a/x y+ä", Body=body)
        got = s3.get_object(Bucket=bucket, Key="a/x y+ä")
        assert (put["ETag"], body) == (got["ETag"], got["Body"].read())
        assert body == cache.read(f"/{bucket}/a/x y+ä").to_pybytes()
    s3.delete_object(Bucket=bucket, Key="a/x y+ä")
    s3.delete_object(Bucket=bucket, Key="a/x y+ä")
    assert (404, "NoSuchKey") == status(s3.get_object, Bucket=bucket, Key="a/x y+ä")
    assert not cache.exists(f"/{bucket}/a/x y+ä")


@pytest.mark.parametrize("bucket", ["s3", "disk"])
def test_conditions_of_writes(s3: S3Client, bucket: str) -> None:
    """Made only where nothing is, or changed only while it is what it was."""
    etag = s3.put_object(Bucket=bucket, Key="c", Body=b"1", IfNoneMatch="*")["ETag"]
    assert 412 == status(s3.put_object, Bucket=bucket, Key="c", Body=b"2", IfNoneMatch="*")[0]
    assert 412 == status(s3.put_object, Bucket=bucket, Key="c", Body=b"2", IfMatch='"x"')[0]
    assert b"1" == s3.get_object(Bucket=bucket, Key="c")["Body"].read()
    s3.put_object(Bucket=bucket, Key="c", Body=b"22", IfMatch=etag)
    assert b"22" == s3.get_object(Bucket=bucket, Key="c")["Body"].read()


@pytest.mark.parametrize("bucket", ["s3", "disk"])
def test_uploads_in_parts(cache: Cache, s3: S3Client, bucket: str) -> None:
    """Parts in any order, sent again, of copies; nothing appears before the end, and nothing of an aborted one."""
    pieces = [content(number, 5 * MIB) for number in range(2)] + [b"end"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, Body=b"wrong")
    etags = {}
    for number in (2, 0, 1):
        part = s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=number + 1, Body=pieces[number])
        etags[number + 1] = part["ETag"]
    s3.put_object(Bucket=bucket, Key="source", Body=b"0123456789")
    copied = s3.upload_part_copy(
        Bucket=bucket,
        Key="big",
        UploadId=upload,
        PartNumber=4,
        CopySource=f"{bucket}/source",
        CopySourceRange="bytes=2-4",
    )
    part = {"Bucket": bucket, "Key": "big", "UploadId": upload, "PartNumber": 5, "CopySource": f"{bucket}/source"}
    for wrong, refusal in (("bytes=2-10", (416, "InvalidRange")), ("bytes=2-", (400, "InvalidArgument"))):
        assert refusal == status(s3.upload_part_copy, **part, CopySourceRange=wrong)
    assert [5 * MIB, 5 * MIB, 3, 3] == [
        p["Size"] for p in s3.list_parts(Bucket=bucket, Key="big", UploadId=upload)["Parts"]
    ]
    assert ["big"] == [u["Key"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    assert not cache.exists(f"/{bucket}/big")
    wanted = [{"PartNumber": number, "ETag": etags[number]} for number in (1, 2, 3)]
    last = {"PartNumber": 4, "ETag": copied["CopyPartResult"]["ETag"]}
    complete = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    for parts, code in (
        ([*wanted, last], "EntityTooSmall"),
        ([wanted[1], wanted[0]], "InvalidPartOrder"),
        ([{"PartNumber": 1, "ETag": '"x"'}], "InvalidPart"),
    ):
        assert (400, code) == status(s3.complete_multipart_upload, **complete, MultipartUpload={"Parts": parts})
    done = s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": wanted})  # type: ignore[arg-type]
    got = s3.get_object(Bucket=bucket, Key="big")
    assert (done["ETag"], b"".join(pieces)) == (got["ETag"], got["Body"].read())
    again = s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": wanted})  # type: ignore[arg-type]
    assert done["ETag"] == again["ETag"]  # a client that has not got the answer asks again
    upload = s3.create_multipart_upload(Bucket=bucket, Key="none")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="none", UploadId=upload)
    assert (404, "NoSuchUpload") == status(
        s3.upload_part, Bucket=bucket, Key="none", UploadId=upload, PartNumber=1, Body=b"x"
    )


def test_boto_uploads_large_files_by_itself(cache: Cache, s3: S3Client) -> None:
    """In parts, several at once."""
    s3.upload_fileobj(io.BytesIO(content(7, 30 * MIB)), "s3", "auto")
    target = io.BytesIO()
    s3.download_fileobj("s3", "auto", target)
    assert content(7, 30 * MIB) == target.getvalue() == cache.read("/s3/auto").to_pybytes()


@pytest.mark.parametrize("bucket", ["s3", "disk"])
def test_copies_and_many_deletes(s3: S3Client, bucket: str) -> None:
    """A copy is the same; a delete of many names says what went."""
    s3.put_object(Bucket=bucket, Key="d/0", Body=b"zero")
    etag = s3.head_object(Bucket=bucket, Key="d/0")["ETag"]
    for number in range(1, 5):
        s3.copy_object(
            Bucket=bucket, Key=f"d/{number}", CopySource={"Bucket": bucket, "Key": "d/0"}, CopySourceIfMatch=etag
        )
    assert b"zero" == s3.get_object(Bucket=bucket, Key="d/4")["Body"].read()
    refusal = {"CopySource": {"Bucket": bucket, "Key": "d/0"}, "CopySourceIfMatch": '"x"'}
    assert 412 == status(s3.copy_object, Bucket=bucket, Key="d/9", **refusal)[0]
    keys = [f"d/{number}" for number in range(5)]
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys, "d/none"]]})
    assert [*keys, "d/none"] == sorted(item["Key"] for item in gone["Deleted"])
    assert 0 == s3.list_objects_v2(Bucket=bucket, Prefix="d/")["KeyCount"]


@pytest.mark.parametrize("bucket", ["s3", "disk"])
def test_deletes_that_are_bound_to_an_etag(s3: S3Client, bucket: str) -> None:
    """In a list of many, what is another object by now stays, and so does what is named by a version."""
    etags = {key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode())["ETag"] for key in ("e/1", "e/2", "e/3")}
    objects: Any = [
        {"Key": "e/1", "ETag": etags["e/1"]},
        {"Key": "e/2", "ETag": etags["e/1"]},
        {"Key": "e/3", "VersionId": "v"},
    ]
    found = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert ["e/1"] == [item["Key"] for item in found["Deleted"]]
    failed = {item["Key"]: item["Code"] for item in found["Errors"]}
    assert {"e/2": "PreconditionFailed", "e/3": "InvalidArgument"} == failed
    left = s3.list_objects_v2(Bucket=bucket, Prefix="e/")["Contents"]
    assert ["e/2", "e/3"] == [item["Key"] for item in left]


def test_what_is_not_served_is_not_ignored(s3: S3Client) -> None:
    """A version, a key to encrypt with, readers, a lock: each is refused, and nothing is done in its stead."""
    s3.put_object(Bucket="s3", Key="plain", Body=b"1")
    invalid, unserved = (400, "InvalidArgument"), (501, "NotImplemented")
    assert invalid == status(s3.get_object, Bucket="s3", Key="plain", VersionId="v")
    assert invalid == status(s3.delete_object, Bucket="s3", Key="plain", VersionId="v")
    versioning: Any = {"Bucket": "s3", "VersioningConfiguration": {"Status": "Enabled"}}
    assert unserved == status(s3.put_bucket_versioning, **versioning)
    assert unserved == status(s3.put_object, Bucket="s3", Key="plain", Body=b"2", ObjectLockLegalHoldStatus="ON")
    listed = (400, "AccessControlListNotSupported")
    assert listed == status(s3.put_object, Bucket="s3", Key="plain", Body=b"2", ACL="public-read")
    assert unserved == status(s3.put_object, Bucket="s3", Key="folder/", Body=b"2")
    assert b"1" == s3.get_object(Bucket="s3", Key="plain", VersionId="null")["Body"].read()


def test_read_only_mounts_are_not_written(cache: Cache, s3: S3Client, tmp_path: Path) -> None:
    """Nor is what is not mounted; nor does a bucket come or go."""
    del tmp_path
    assert cache
    denied = (403, "AccessDenied")
    assert denied == status(s3.put_object, Bucket="closed", Key="x", Body=b"x")
    assert denied == status(s3.create_multipart_upload, Bucket="closed", Key="x")
    assert denied == status(s3.delete_object, Bucket="closed", Key="x")
    assert denied == status(s3.create_bucket, Bucket="new-one")
    assert denied == status(s3.delete_bucket, Bucket="s3")


def test_a_broken_body_changes_nothing(s3: S3Client) -> None:
    """What was promised of it must hold."""
    s3.put_object(Bucket="s3", Key="kept", Body=b"kept")
    assert (400, "BadDigest") == status(
        s3.put_object, Bucket="s3", Key="kept", Body=b"other", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg=="
    )
    assert b"kept" == s3.get_object(Bucket="s3", Key="kept")["Body"].read()


def test_obstore_writes(cache: Cache) -> None:
    """Small and large, conditional, renamed and deleted."""
    options: dict[str, Any] = cache.endpoint().storage_options()
    store = S3Store("s3", config=options, client_options={"allow_http": True})
    obstore.put(store, "o/small", b"small", mode="create")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "o/small", b"again", mode="create")
    obstore.put(store, "o/large", content(3, 21 * MIB), chunk_size=5 * MIB)
    obstore.copy(store, "o/large", "o/copy")
    assert content(3, 21 * MIB) == cache.read("/s3/o/copy").to_pybytes()
    obstore.delete(store, ["o/small", "o/large", "o/copy"])
    assert [] == [item for batch in obstore.list(store, "o") for item in batch]
