"""What of the suite is left out, and why."""

from __future__ import annotations

import re

_UNSERVED = "not served, and refused as such"
#: Marks of tests that are not run, by reason.
MARKERS = {
    "appendobject": "a feature of Ceph's alone",
    "auth_aws2": "signatures of version 2 are refused",
    "bucket_encryption": _UNSERVED,
    "bucket_logging": _UNSERVED,
    "bucket_policy": _UNSERVED,
    "cloud_restore": _UNSERVED,
    "cloud_transition": _UNSERVED,
    "delete_marker": "there are no versions",
    "encryption": _UNSERVED,
    "fails_on_aws": "Amazon's S3 does not pass",
    "iam_account": "there are no users",
    "iam_cross_account": "there are no users",
    "iam_role": "there are no users",
    "iam_tenant": "there are no users",
    "iam_user": "there are no users",
    "lifecycle": _UNSERVED,
    "object_lock": _UNSERVED,
    "object_ownership": _UNSERVED,
    "s3website": _UNSERVED,
    "sns": _UNSERVED,
    "sse_s3": _UNSERVED,
    "storage_class": _UNSERVED,
    "tagging": _UNSERVED,
    "user_policy": "there are no users",
    "versioning": "there are no versions",
}
#: Patterns of names of tests that fail, by reason; the first that fits counts.
NAMES = {
    r"version": "there are no versions",
    r"_current_(object_)?if_(none_)?match|_objects_version_if": "there are no versions",
    r"raw_put_authenticated_expired": "Amazon's S3 answers otherwise, as the endpoint does",
    r"acl|grant|anon|object_raw_(get|auth)|_access_|private_object|publicread|not_owned|nonowner|owner|unreadable_anon|_gone$"
    r"|100_continue|special_key_names|list_return_data|read_unreadable": "no access lists: whoever has the key may do all",
    r"post_object": "uploads by a browser's form are not served",
    r"policy|public_block|undefined_public|lock|legal_hold|retention|cors|tagging|sse|logging|torrent": _UNSERVED,
    r"object_attributes": "GetObjectAttributes is not served",
    r"metadata|contenttype|cache_control|write_expires|content_encoding|multipart_upload$|resend_part"
    r"|test_object_raw_response_headers": "metadata and content types are not kept",
    r"checksum|cksum": "checksums are compared, and not kept",
    r"get_part|part_number": "an object has one part once it is there",
    r"aws2": "signatures of version 2 are refused",
    r"bucket_create|bucket_delete|buckets_list_ctime|create_exists|bucket_notexist": "a bucket is what is mounted, from its path and since then",
    r"list_buckets_paginated": "ListBuckets has one page",
    r"unordered|account_usage|bucket_head_extended|head_bucket_usage": "a feature of Ceph's alone",
    r"if_none_?match|ifnonmatch|put_object_if_match": "Amazon's S3 answers otherwise, as the endpoint does",
    r"prefix_ends_with|not_skip_special": "objects whose keys end in a slash may only be empty",
    r"prefix_unreadable": "boto3 leaves this field encoded",
    r"chunked_transfer|bad_contentlength_none|bad_authorization": "today's boto3 sends the header after all, or a length is wanted",
    r"if_match_(size|last_modified)|delete_object_if|delete_objects_if": "a delete can only be bound to an etag",
    r"resend_first_finishes_last": "a part may be named once",
}


def reason(name: str) -> str:
    """Why a test is left out; empty: it is not."""
    return next((text for pattern, text in NAMES.items() if re.search(pattern, name)), "")
