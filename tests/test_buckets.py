"""Buckets with the clients that people have, none of them modified: boto3, coscmd, COS's SDK, rclone, a presigned URL.

What each of them does with gigabytes and with thousands of objects is in test_bucket_clients.py.
"""

import base64
import datetime
import hashlib
import http.client
import io
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from cloud import GUANGZHOU, refused
from kiln_server import wait_until
from object_clients import (
    MIB, app_id, cos, coscmd_environment, files_of, rclone_environment, s3, s3_refuses, sha256, sparse_file,
)  # fmt: skip
from qcloud_cos import CosConfig, CosS3Client

# Other people's clients leave connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

LARGE_BYTES = 300 * MIB
SHANGHAI = "ap-shanghai"


def fails(code, call, *arguments, **parameters):
    """Asserts that a call fails with an error code of S3; its HTTP status."""
    return s3_refuses(code, call, *arguments, **parameters)[0]


@pytest.fixture(scope="module")
def bucket(server, alice):
    name = f"tests-{app_id(alice)}"
    s3(alice).create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def large(tmp_path_factory, seed):
    return sparse_file(tmp_path_factory.mktemp("large") / "large.raw", LARGE_BYTES, seed)


# ---- boto3 -----------------------------------------------------------------------------------------------------------


def test_buckets_are_made_found_and_removed(server, alice, bob):
    client, number = s3(alice), app_id(alice)
    name = f"short-lived-{number}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": SHANGHAI})
    assert client.get_bucket_location(Bucket=name)["LocationConstraint"] == SHANGHAI
    assert client.head_bucket(Bucket=name)["BucketRegion"] == SHANGHAI
    assert name in [found["Name"] for found in client.list_buckets()["Buckets"]]
    assert name not in [found["Name"] for found in s3(bob).list_buckets()["Buckets"]]
    assert fails("BucketAlreadyOwnedByYou", client.create_bucket, Bucket=name) == 409
    client.put_object(Bucket=name, Key="k", Body=b"v")
    assert fails("BucketNotEmpty", client.delete_bucket, Bucket=name) == 409
    client.delete_object(Bucket=name, Key="k")
    client.delete_bucket(Bucket=name)
    assert fails("NoSuchBucket", client.list_objects_v2, Bucket=name) == 404
    assert fails("AccessDenied", client.create_bucket, Bucket="somebody-elses-1250000000") == 403
    assert fails("InvalidBucketName", client.create_bucket, Bucket="without-number") == 400


def test_an_object_comes_back_with_what_was_said_of_it(server, alice, bucket):
    client = s3(alice)
    body = random.Random(1).randbytes(3 * MIB + 17)
    said = {"ContentType": "text/plain", "CacheControl": "no-store", "Metadata": {"colour": "blue"}}
    put = client.put_object(Bucket=bucket, Key="dir/ü + &.bin", Body=body, **said)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = client.get_object(Bucket=bucket, Key="dir/ü + &.bin")
    assert got["Body"].read() == body and got["ETag"] == put["ETag"]
    assert {name: got[name] for name in said} == said
    head = client.head_object(Bucket=bucket, Key="dir/ü + &.bin")
    assert head["ContentLength"] == len(body) and head["Metadata"] == said["Metadata"]
    client.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert client.get_object(Bucket=bucket, Key="empty")["Body"].read() == b""


def test_what_is_replaced_or_deleted_leaves_no_file(server, alice, bucket):
    client, before = s3(alice), files_of(server)
    for body in (b"one", b"two"):
        client.put_object(Bucket=bucket, Key="replaced", Body=body)
    wait_until(lambda: len(files_of(server) - before) == 1, 10, "only the second is there")
    reading = client.get_object(Bucket=bucket, Key="replaced")["Body"]
    client.delete_object(Bucket=bucket, Key="replaced")
    assert reading.read() == b"two"
    wait_until(lambda: files_of(server) <= before, 10, "none is there")


def test_ranges_and_conditions(server, alice, bucket):
    client = s3(alice)
    body = random.Random(2).randbytes(2 * MIB)
    etag = client.put_object(Bucket=bucket, Key="ranges", Body=body)["ETag"]

    def get(**parameters):
        return client.get_object(Bucket=bucket, Key="ranges", **parameters)

    for asked, expected in [("0-0", body[:1]), ("1000000-1100000", body[1000000:1100001]), ("-5", body[-5:])]:
        got = get(Range=f"bytes={asked}")
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206 and got["Body"].read() == expected
    assert get(Range=f"bytes={len(body) - 1}-")["ContentRange"] == f"bytes {len(body) - 1}-{len(body) - 1}/{len(body)}"
    assert fails("InvalidRange", get, Range=f"bytes={len(body)}-") == 416
    assert get(IfMatch=etag)["ContentLength"] == len(body)
    assert fails("PreconditionFailed", get, IfMatch='"0"') == 412
    assert fails("304", client.head_object, Bucket=bucket, Key="ranges", IfNoneMatch=etag) == 304
    assert fails("PreconditionFailed", client.put_object, Bucket=bucket, Key="ranges", Body=b"", IfNoneMatch="*") == 412
    client.put_object(Bucket=bucket, Key="ranges", Body=b"next", IfMatch=etag)
    assert fails("NoSuchKey", client.get_object, Bucket=bucket, Key="nothing") == 404


def test_a_large_file_in_parts_and_back(server, alice, bucket, large, tmp_path):
    client = s3(alice)
    parts = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)
    client.upload_file(str(large), bucket, "large.raw", Config=parts)
    head = client.head_object(Bucket=bucket, Key="large.raw")
    assert head["ContentLength"] == LARGE_BYTES and head["ETag"].endswith(f'-{LARGE_BYTES // (8 * MIB) + 1}"')
    client.download_file(bucket, "large.raw", str(tmp_path / "back"), Config=parts)
    assert sha256(tmp_path / "back") == sha256(large)
    stored = sum(path.stat().st_blocks * 512 for path in files_of(server))
    assert stored < LARGE_BYTES // 2, "zeros are not written"
    # A copy in one request; the SDK's own makes it in parts.
    client.copy_object(Bucket=bucket, Key="copy.raw", CopySource={"Bucket": bucket, "Key": "large.raw"})
    client.copy({"Bucket": bucket, "Key": "large.raw"}, bucket, "copy-2.raw", Config=parts)
    client.delete_object(Bucket=bucket, Key="large.raw")
    for key in ("copy.raw", "copy-2.raw"):
        client.download_file(bucket, key, str(tmp_path / "back"), Config=parts)
        assert sha256(tmp_path / "back") == sha256(large)
        client.delete_object(Bucket=bucket, Key=key)


def test_an_upload_that_was_interrupted_goes_on(server, alice, bucket):
    client = s3(alice)
    pieces = [random.Random(number).randbytes(2 * MIB) for number in range(4)]
    where = {"Bucket": bucket, "Key": "resumed"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    for number in (3, 1):
        client.upload_part(**where, UploadId=upload, PartNumber=number, Body=pieces[number - 1])
    server.kill()
    server.start()
    client = s3(alice)
    found = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in found] == [("resumed", upload)]
    assert [part["PartNumber"] for part in client.list_parts(**where, UploadId=upload)["Parts"]] == [1, 3]
    for number in (2, 4):
        client.upload_part(**where, UploadId=upload, PartNumber=number, Body=pieces[number - 1])
    parts = client.list_parts(**where, UploadId=upload)["Parts"]
    named = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
    done = client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": named})
    sums = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    assert done["ETag"] == f'"{hashlib.md5(sums).hexdigest()}-4"'
    assert client.get_object(**where)["Body"].read() == b"".join(pieces)
    assert client.get_object(**where, Range="bytes=2097151-2097152")["Body"].read() == pieces[0][-1:] + pieces[1][:1]
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_presigned_urls_read_and_write_for_their_time(server, alice, bucket):
    client = s3(alice)
    where = {"Bucket": bucket, "Key": "presigned"}
    put = client.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(put, data=b"by a browser", method="PUT")) as answer:
        assert answer.status == 200
    get = client.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert urllib.request.urlopen(get).read() == b"by a browser"
    expired = client.generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    time.sleep(2.1)
    others = get.replace("/presigned?", "/ranges?")
    for bad in (expired, others, get.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), get.split("?")[0]):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(bad)
        assert caught.value.code == 403, bad
    # Who may write one object must not read another through it, nor say what its owner did not, however he writes the URL.
    unsigned = {"x-cos-copy-source": f"{bucket}/ranges", "x-amz-copy-source": f"{bucket}/ranges", "x-amz-meta-by": "him"}
    for url, header in itertools.product((put, put.replace("X-Amz-Sig", "X%2DAmz-%53ig")), unsigned.items()):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, data=b"other", method="PUT", headers=dict([header])))
        assert caught.value.code == 403 and b"does not cover" in caught.value.read(), (url, header)
    assert urllib.request.urlopen(get).read() == b"by a browser"
    signed = client.generate_presigned_url("put_object", Params={**where, "Metadata": {"by": "her"}})
    urllib.request.urlopen(urllib.request.Request(signed, data=b"said", method="PUT", headers={"x-amz-meta-by": "her"}))
    assert client.head_object(**where)["Metadata"] == {"by": "her"}


def test_a_reader_can_want_other_headers(server, alice, bucket):
    client, where = s3(alice), {"Bucket": bucket, "Key": "renamed"}
    client.put_object(**where, Body=b"x", ContentType="text/html", ContentLanguage="de")
    wanted = {"ResponseContentType": "application/zip", "ResponseContentDisposition": 'attachment; filename="ü.zip"'}
    url = client.generate_presigned_url("get_object", Params={**where, **wanted})
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Type"] == "application/zip" and answer.headers["Content-Language"] == "de"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        # It is a stranger's file, perhaps at the host of the console.
        assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert client.get_object(**where)["ContentType"] == "text/html"
    client.delete_object(**where)


def test_what_tools_expect_of_s3(alice, bucket):
    """What ceph's s3-tests (scripts/s3-tests) found once, and tools of users meet."""
    client = s3(alice)
    where = {"Bucket": bucket, "Key": "expected"}
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    etag = client.put_object(**where, Body=b"body", Expires=expires, ContentEncoding="deflate, gzip")["ETag"]
    head = client.head_object(**where)
    assert head["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT" and head["ContentEncoding"] == "deflate, gzip"
    # Who has an object already is told which, and a copy for him is none.
    with pytest.raises(ClientError) as caught:
        client.get_object(**where, IfNoneMatch=etag)
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag
    copy = {"Bucket": bucket, "Key": "expected-2", "CopySource": where}
    assert fails("PreconditionFailed", client.copy_object, **copy, CopySourceIfNoneMatch=etag) == 412
    assert fails("InvalidRequest", client.copy_object, **{**copy, "Key": where["Key"]}) == 400
    assert fails("NoSuchKey", client.put_object, Bucket=bucket, Key="nothing", Body=b"", IfMatch=etag) == 404
    assert fails("NotImplemented", client.delete_object, **where, IfMatch='"0"') == 501
    assert fails("InvalidDigest", client.put_object, **where, Body=b"body", ContentMD5="") == 400
    assert fails("AccessDenied", client.get_object, **where, ExpectedBucketOwner="100000000000") == 403
    assert client.get_object(**where, ExpectedBucketOwner=alice.uin)["Body"].read() == b"body"
    # Access lists say what is so, and may be set to it.
    (grant,) = client.get_object_acl(**where)["Grants"]
    assert (grant["Grantee"]["ID"], grant["Permission"]) == (alice.uin, "FULL_CONTROL")
    client.put_object_acl(**where, ACL="private")
    client.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Grants": [grant], "Owner": {"ID": alice.uin}})
    fails("AccessControlListNotSupported", client.put_bucket_acl, Bucket=bucket, ACL="public-read")
    client.delete_object(**where)


def test_parts_are_read_by_number_and_an_upload_is_completed_again(server, alice, bucket):
    client = s3(alice)
    where = {"Bucket": bucket, "Key": "in parts"}
    pieces = [random.Random(number).randbytes(MIB + number) for number in range(3)]
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    etags = [client.upload_part(**upload, PartNumber=n + 1, Body=piece)["ETag"] for n, piece in enumerate(pieces)]
    named = {"Parts": [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]}
    done = client.complete_multipart_upload(**upload, MultipartUpload=named)
    # Who lost the answer asks again.
    assert client.complete_multipart_upload(**upload, MultipartUpload=named)["ETag"] == done["ETag"]
    named["Parts"].pop()
    assert fails("NoSuchUpload", client.complete_multipart_upload, **upload, MultipartUpload=named) == 404
    for number, piece in enumerate(pieces, 1):
        got = client.get_object(**where, PartNumber=number)
        assert got["PartsCount"] == 3 and got["Body"].read() == piece
    assert fails("InvalidPart", client.get_object, **where, PartNumber=4) == 400
    upload["UploadId"] = client.create_multipart_upload(**where)["UploadId"]
    part = {**upload, "PartNumber": 1, "CopySource": where}
    assert fails("InvalidRange", client.upload_part_copy, **part, CopySourceRange=f"bytes=0-{3 * MIB + 3}") == 416
    assert fails("InvalidArgument", client.upload_part_copy, **part, CopySourceRange="bytes=0-") == 400
    # Another upload of the same parts is another one, also when it is gone.
    for n, piece in enumerate(pieces):
        client.upload_part(**upload, PartNumber=n + 1, Body=piece)
    client.abort_multipart_upload(**upload)
    named = {"Parts": [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]}
    assert fails("NoSuchUpload", client.complete_multipart_upload, **upload, MultipartUpload=named) == 404
    client.delete_object(**where)


def test_buckets_are_listed_in_pages_and_go_with_their_unfinished_uploads(server, alice):
    client, before = s3(alice), files_of(server)
    names = [f"pages-{letter}-{app_id(alice)}" for letter in "abc"]
    for name in names:
        client.create_bucket(Bucket=name)
    pages = list(client.get_paginator("list_buckets").paginate(Prefix="pages-", PaginationConfig={"PageSize": 2}))
    assert [[one["Name"] for one in page["Buckets"]] for page in pages] == [names[:2], names[2:]]
    upload = client.create_multipart_upload(Bucket=names[0], Key="k")["UploadId"]
    client.upload_part(Bucket=names[0], Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    for name in names:
        client.delete_bucket(Bucket=name)
    wait_until(lambda: files_of(server) <= before, 10, "the part is gone")


# ---- COS -------------------------------------------------------------------------------------------------------------


def test_the_sdk_of_cos(server, alice, large, tmp_path):
    client, name = cos(server, alice, region=SHANGHAI), f"of-cos-{app_id(alice)}"
    client.create_bucket(Bucket=name)
    assert client.get_bucket_location(Bucket=name)["LocationConstraint"] == SHANGHAI
    body = random.Random(3).randbytes(MIB)
    put = client.put_object(Bucket=name, Key="ä/1 2", Body=body, EnableMD5=True, Metadata={"x-cos-meta-colour": "red"})
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"' and put["x-cos-request-id"]
    got = client.get_object(Bucket=name, Key="ä/1 2")
    assert got["Body"].get_raw_stream().read() == body and got["x-cos-meta-colour"] == "red"
    assert client.head_object(Bucket=name, Key="ä/1 2")["x-cos-hash-crc64ecma"] == str(crc64(body))
    client.upload_file(Bucket=name, Key="large", LocalFilePath=str(large), PartSize=10, MAXThread=3)
    head = client.head_object(Bucket=name, Key="large")
    assert head["Content-Length"] == str(LARGE_BYTES)
    # COS's SDK checks the CRC of the whole, which was put together from those of the parts.
    client.download_file(Bucket=name, Key="large", DestFilePath=str(tmp_path / "back"), PartSize=10, EnableCRC=True)
    assert sha256(tmp_path / "back") == sha256(large)
    source = {"Bucket": name, "Key": "ä/1 2", "Region": SHANGHAI}
    client.copy(Bucket=name, Key="copied", CopySource=source)
    assert [found["Key"] for found in client.list_objects(Bucket=name)["Contents"]] == ["copied", "large", "ä/1 2"]
    presigned = client.get_presigned_url(Method="GET", Bucket=name, Key="copied", Expired=60)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": server.objects_endpoint}))
    assert opener.open(presigned).read() == body
    deleted = client.delete_objects(
        Bucket=name, Delete={"Object": [{"Key": "copied"}, {"Key": "large"}, {"Key": "ä/1 2"}], "Quiet": "false"}
    )
    assert len(deleted["Deleted"]) == 3
    client.delete_bucket(Bucket=name)


def crc64(data):
    """As crcmod, which COS's own clients use, has it."""
    import crcmod

    return crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)(data)


def test_a_wrong_key_signs_nothing_for_cos(server, alice, bucket):
    from qcloud_cos import CosServiceError

    wrong = type(alice)(server, alice.uin, alice.secret_id, "0" * 40)
    for account, code in ((wrong, "SignatureDoesNotMatch"), (type(alice)(server, "", "AKIDnone", "x"), "InvalidAccessKeyId")):
        with pytest.raises(CosServiceError) as caught:
            cos(server, account).list_objects(Bucket=bucket)
        assert caught.value.get_error_code() == code


def test_coscmd(server, alice, bucket, large, tmp_path):
    program = Path(sys.executable).with_name("coscmd")
    config = tmp_path / "cos.conf"
    environment = coscmd_environment(server, tmp_path)

    def coscmd(*arguments):
        command = [program, "-c", config, "-l", tmp_path / "cos.log", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    key = ["-a", alice.secret_id, "-s", alice.secret_key]
    coscmd("config", *key, "-b", bucket, "-r", GUANGZHOU, "-p", 10, "--do-not-use-ssl")
    small = tmp_path / "small"
    small.write_bytes(b"by coscmd")
    coscmd("upload", small, "coscmd/small")
    coscmd("upload", large, "coscmd/large")
    assert "coscmd/large" in coscmd("list", "coscmd/")
    coscmd("download", "coscmd/large", tmp_path / "back")
    assert sha256(tmp_path / "back") == sha256(large)
    coscmd("delete", "-r", "-f", "coscmd/")
    assert "coscmd/large" not in coscmd("list", "coscmd/")


# ---- rclone ----------------------------------------------------------------------------------------------------------


def test_rclone(server, alice, bucket, large, tmp_path):
    environment = rclone_environment(server, alice, tmp_path)

    def rclone(*arguments):
        done = subprocess.run(
            ["rclone", "--retries", "1", "--s3-upload-cutoff", "16M", "--s3-chunk-size", "16M", *map(str, arguments)],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "small").write_text("by rclone")
    os.link(large, source / "large.raw")
    rclone("sync", source, f"kiln:{bucket}/rclone")
    rclone("check", "--download", source, f"kiln:{bucket}/rclone")
    assert sorted(rclone("lsf", "-R", f"kiln:{bucket}/rclone").split()) == ["below/", "below/small", "large.raw"]
    rclone("purge", f"kiln:{bucket}/rclone")
    assert "Contents" not in s3(alice).list_objects_v2(Bucket=bucket, Prefix="rclone")


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_published(server, alice, bucket):
    """Asserts that what a test was refused left neither an object nor a file."""
    before = keys(server, alice, bucket), files_of(server)
    yield
    assert keys(server, alice, bucket) == before[0]
    wait_until(lambda: files_of(server) <= before[1], 10, "no file was left")


def keys(server, account, bucket):
    return [found["Key"] for found in s3(account).list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_bad_uploads(server, alice, bucket, nothing_published):
    client = s3(alice)
    where = {"Bucket": bucket, "Key": "bad"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    where_part = {**where, "UploadId": upload}
    etags = [client.upload_part(**where_part, PartNumber=n, Body=b"x" * (MIB if n < 3 else 9))["ETag"] for n in (1, 2, 3)]

    def complete(*named):
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in named]
        return client.complete_multipart_upload(**where_part, MultipartUpload={"Parts": parts})

    assert fails("InvalidPartOrder", complete, (2, etags[1]), (1, etags[0])) == 400
    assert fails("InvalidPartOrder", complete, (1, etags[0]), (1, etags[0])) == 400
    assert fails("InvalidPart", complete, (1, etags[1].replace(etags[1][1:5], "0000"))) == 400
    assert fails("InvalidPart", complete, (1, etags[0]), (4, etags[0])) == 400
    client.upload_part(**where_part, PartNumber=1, Body=b"too small")
    small = f'"{hashlib.md5(b"too small").hexdigest()}"'
    assert fails("EntityTooSmall", complete, (1, small), (2, etags[1])) == 400
    assert fails("InvalidArgument", client.upload_part, **where_part, PartNumber=10001, Body=b"") == 400
    wrong = {**where_part, "Key": "another"}
    assert fails("NoSuchUpload", client.upload_part, **wrong, PartNumber=1, Body=b"") == 404
    client.abort_multipart_upload(**where_part)
    assert fails("NoSuchUpload", complete, (1, etags[0])) == 404


def test_wrong_checksums(server, alice, bucket, nothing_published):
    client = s3(alice)
    where = {"Bucket": bucket, "Key": "bad", "Body": b"body"}
    other = hashlib.md5(b"other")
    assert fails("BadDigest", client.put_object, **where, ContentMD5=base64.b64encode(other.digest()).decode()) == 400
    assert fails("InvalidDigest", client.put_object, **where, ContentMD5="bm9uZQ==") == 400
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert fails("BadDigest", client.put_object, **where, ChecksumSHA256=wrong) == 400
    assert fails("BadDigest", client.put_object, **where, ChecksumCRC32="AAAAAA==") == 400


def test_bodies_that_are_too_large_or_break_off(server, alice, bucket, nothing_published):
    url = s3(alice).generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "bad"}, ExpiresIn=60)
    target = url.removeprefix(server.objects_endpoint)
    address = server.objects_endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.putrequest("PUT", target)
    connection.putheader("Content-Length", str((5 << 30) + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400 and b"EntityTooLarge" in answer.read()
    connection.close()
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.putrequest("PUT", target)
    connection.putheader("Content-Length", str(10 * MIB))
    connection.endheaders()
    connection.send(b"x" * (3 * MIB))
    wait_until(lambda: any(path.stat().st_size > MIB for path in files_of(server)), 10, "some of it was written")
    connection.close()


def test_an_object_is_its_only_version(server, alice, bucket):
    client = s3(alice)
    keys = [f"versions/{name}" for name in ("a", "b/1", "b/2", "c")]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    pages = client.get_paginator("list_object_versions").paginate(
        Bucket=bucket, Prefix="versions/", PaginationConfig={"PageSize": 3}
    )
    found = [one for page in pages for one in page["Versions"]]
    assert [(one["Key"], one["VersionId"], one["IsLatest"]) for one in found] == [(key, "null", True) for key in keys]
    folded = client.list_object_versions(Bucket=bucket, Prefix="versions/", Delimiter="/")
    assert [one["Prefix"] for one in folded["CommonPrefixes"]] == ["versions/b/"] and len(folded["Versions"]) == 2
    where = {"Bucket": bucket, "Key": keys[0]}
    assert client.get_object(**where, VersionId="null")["Body"].read() == b"x"
    for call in (client.get_object, client.delete_object):
        assert fails("NoSuchVersion", call, **where, VersionId="1") == 404
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": "null"} for key in keys]})
    assert "Versions" not in client.list_object_versions(Bucket=bucket, Prefix="versions/")


def test_what_is_asked_for_and_not_there_is_refused(server, alice, bucket, nothing_published):
    client = s3(alice)
    where = {"Bucket": bucket, "Key": "bad"}
    for code, asked in [
        ("AccessControlListNotSupported", {"ACL": "public-read"}),
        ("NotImplemented", {"GrantRead": "id=1"}),
        ("NotImplemented", {"ServerSideEncryption": "AES256"}),
        ("NotImplemented", {"Tagging": "a=b"}),
        ("NotImplemented", {"ObjectLockLegalHoldStatus": "ON"}),
        ("InvalidStorageClass", {"StorageClass": "GLACIER"}),
    ]:
        fails(code, client.put_object, **where, Body=b"x", **asked)
        fails(code, client.create_multipart_upload, **where, **asked)
    client.put_object(**where, Body=b"x", ACL="private", StorageClass="STANDARD")
    client.delete_object(**where)


def test_keys_that_would_be_paths_above(server, alice, bucket, nothing_published):
    client = s3(alice)
    for key in ("a/../b", "..", "../../../etc/passwd"):
        url = f"{server.objects_endpoint}/{bucket}/{key}"
        fails("InvalidURI", client.create_multipart_upload, Bucket=bucket, Key=key)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url)
    assert fails("KeyTooLongError", client.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == 400


def test_buckets_are_private_to_their_account(server, alice, bob, bucket, nothing_published):
    stranger = s3(bob)
    where = {"Bucket": bucket, "Key": "ranges"}
    for call, parameters in [
        (stranger.get_object, where),
        (stranger.put_object, {**where, "Body": b"x"}),
        (stranger.delete_object, where),
        (stranger.list_objects_v2, {"Bucket": bucket}),
        (stranger.create_multipart_upload, where),
        (stranger.list_multipart_uploads, {"Bucket": bucket}),
        (stranger.delete_bucket, {"Bucket": bucket}),
    ]:
        assert fails("AccessDenied", call, **parameters) == 403
    own = f"bobs-{app_id(bob)}"
    stranger.create_bucket(Bucket=own)
    assert fails("AccessDenied", stranger.copy_object, Bucket=own, Key="k", CopySource=where) == 403
    stranger.delete_bucket(Bucket=own)


def test_a_disabled_key_signs_nothing(server, bob):
    key = server.operator().kiln("CreateApiKey", Uin=bob.uin)
    second = server.account({"Uin": bob.uin, **key})
    assert s3(second).list_buckets()["Buckets"] == []
    bob.kiln("ModifyApiKey", TargetSecretId=second.secret_id, Enabled=False)
    assert fails("InvalidAccessKeyId", s3(second).list_buckets) == 403
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(server.objects_endpoint)
    assert caught.value.code == 403


def test_nothing_is_half_there_after_kills(make_server, seed):
    """Puts go on while the server is killed again and again; then every object is whole, and no file is without one."""
    server = make_server().start()
    account, chance = server.create_account("writer"), random.Random(seed)
    name = f"killed-{app_id(account)}"
    s3(account).create_bucket(Bucket=name)
    attempted, acknowledged, stop = {}, {}, threading.Event()

    def write(worker):
        number = 0
        while not stop.is_set():
            number += 1
            body = random.Random(f"{worker}/{number}").randbytes(random.Random(number).randrange(1, 3 * MIB))
            # Some of them again and again, each of the others once.
            key = f"{worker}/again" if number % 3 == 0 else f"{worker}/{number}"
            attempted.setdefault(key, set()).add(hashlib.md5(body).hexdigest())
            try:
                s3(account).put_object(Bucket=name, Key=key, Body=io.BytesIO(body))
                acknowledged[key] = True
            except Exception:  # Whatever a client says of a server that is gone.
                stop.wait(0.05)

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(6):
        stop.wait(chance.uniform(0.3, 1.2))
        server.kill()
        server.start()
    stop.set()
    for writer in writers:
        writer.join()
    server.kill()
    server.start()
    client = s3(account)
    found = client.list_objects_v2(Bucket=name).get("Contents", [])
    assert found
    for one in found:
        body = client.get_object(Bucket=name, Key=one["Key"])["Body"].read()
        assert hashlib.md5(body).hexdigest() in attempted[one["Key"]]
    assert acknowledged.keys() <= {one["Key"] for one in found}, "what was acknowledged is there"
    wait_until(lambda: len(files_of(server)) == len(found), 20, lambda: f"{len(files_of(server))} files, {len(found)} objects")


# ---- imports, and the command line -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disk_object(server, alice, bucket, files, small_disk):
    s3(alice).upload_file(str(files / "small.qcow2"), bucket, "disks/small disk.qcow2")
    return "disks/small disk.qcow2"


def test_imports_read_own_objects_in_place(server, alice, bucket, disk_object, small_disk):
    client = s3(alice)
    path = "disks/small%20disk.qcow2"
    urls = {
        "s3": f"s3://{bucket}/{path}",
        "s3-short": f"s3://{bucket.rpartition('-')[0]}/{path}",
        "virtual-host": f"https://{bucket}.cos.{GUANGZHOU}.myqcloud.com/{path}",
        "path": f"{server.objects_endpoint}/{bucket}/{path}",
        "presigned": client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": disk_object}),
    }
    for name, url in urls.items():
        image = alice.imported(url, f"own-{name}")
        task = next(task for task in alice.tasks() if task["ImageId"] == image)
        assert "Signature" not in json.dumps(task)
        export = server.json("image", "export-url", image)["Url"]
        compared = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", export, small_disk])
        assert compared.returncode == 0, name
    assert server.staged_files() == []


def test_an_address_that_is_signed_without_its_bucket_is_refused(server, alice, bucket, disk_object):
    """COS's SDK signs no bucket that stands in the path: such an address would be good for every other bucket."""
    key = {"SecretId": alice.secret_id, "SecretKey": alice.secret_key}
    host = server.objects_endpoint.removeprefix("http://")
    client = CosS3Client(CosConfig(Region=GUANGZHOU, Scheme="http", Domain=f"{host}/{bucket}", **key), retry=0)
    address = client.get_presigned_url(Method="GET", Bucket=bucket, Key=disk_object, Expired=60)
    assert f"/{bucket}/" in address and requests.get(address, timeout=30).status_code == 403
    assert client.head_object(Bucket=bucket, Key=disk_object), "with the signature in a header it is answered"


def test_imports_of_others_objects_need_a_signature(server, alice, operator, bucket, disk_object):
    url = f"{server.objects_endpoint}/{bucket}/disks/small%20disk.qcow2"
    wanted = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageName": "of-alice"}
    refused("UnauthorizedOperation.ImportImage", operator.call, "ImportImage", ImageUrl=url, **wanted)
    other = cos(server, operator).get_presigned_url(Method="GET", Bucket=bucket, Key=disk_object, Expired=60)
    refused("UnauthorizedOperation.ImportImage", operator.call, "ImportImage", ImageUrl=other, **wanted)
    bad = "InvalidParameter.InvalidParameterUrlError"
    refused(bad, alice.call, "ImportImage", ImageUrl=f"s3://{bucket}/nothing", **wanted)
    refused(bad, alice.call, "ImportImage", ImageUrl="s3://no-such-1250000000/x", **wanted)
    by_cos = cos(server, alice).get_presigned_url(Method="GET", Bucket=bucket, Key=disk_object, Expired=60)
    by_aws = s3(alice).generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": disk_object})
    operator.imported(by_cos, "of-alice-by-cos")
    operator.imported(by_aws, "of-alice-by-aws")


def test_the_command_line_of_buckets(server, alice, large, tmp_path):
    run = lambda *arguments, **options: server.run(*arguments, account=alice, **options)  # noqa: E731
    name = run("bucket", "create", "by-hand").stdout.strip()
    assert name == f"by-hand-{app_id(alice)}"
    run("object", "put", large, "by-hand/dir/large file")
    listed = server.json("object", "list", "by-hand", "--prefix", "dir/", account=alice)["Objects"]
    assert [(found["Key"], found["Size"]) for found in listed] == [("dir/large file", LARGE_BYTES)]
    run("object", "get", "by-hand/dir/large file", tmp_path / "back")
    assert sha256(tmp_path / "back") == sha256(large)
    told = run("object", "get", "by-hand/dir/large file", tmp_path / "back", check=False)
    assert told.returncode != 0 and "it is there already" in told.stderr
    # A name that somebody else has put there is not written through.
    etag = s3(alice).head_object(Bucket=name, Key="dir/large file")["ETag"].strip('"')
    (tmp_path / "victim").write_text("mine")
    (tmp_path / f".link.unfinished-{etag}").symlink_to(tmp_path / "victim")
    told = run("object", "get", "by-hand/dir/large file", tmp_path / "link", check=False)
    assert told.returncode != 0 and (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "link").exists()
    (tmp_path / "small").write_text("a few words\n")
    run("object", "put", tmp_path / "small", "by-hand/small")
    run("object", "put", tmp_path / "small", "by-hand/in/")
    assert s3(alice).head_object(Bucket=name, Key="in/small")["ContentLength"] == (tmp_path / "small").stat().st_size
    assert run("object", "get", "by-hand/small", "-").stdout == "a few words\n"
    run("object", "delete", "by-hand/small", "by-hand/in/small")
    told = run("bucket", "create", "By_Hand", check=False)
    assert told.returncode != 0 and "lower-case letters" in told.stderr
    url = run("object", "presign", "by-hand/dir/large file", "--seconds", "60").stdout.strip()
    asked = urllib.request.Request(url, headers={"Range": "bytes=0-9"})
    with large.open("rb") as file:
        assert urllib.request.urlopen(asked).read() == file.read(10)
    told = run("bucket", "delete", "by-hand", check=False)
    assert told.returncode != 0 and "BucketNotEmpty" in told.stderr
    run("object", "delete", "by-hand/dir/large file")
    run("bucket", "delete", "by-hand")
    assert name not in run("bucket", "list").stdout


def test_put_goes_on_where_it_stopped(server, alice, bucket, large, tmp_path):
    client, key = s3(alice), "half.raw"
    # Parts as the command line sends them: of this length, and told apart by their CRCs.
    client.meta.events.register(
        "before-sign.s3.UploadPart", lambda request, **_: request.headers.add_header("x-kiln-part-etag", "crc64")
    )
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    put = {"Bucket": bucket, "Key": key, "UploadId": upload}
    with large.open("rb") as file:
        for number in (1, 2, 3):
            client.upload_part(**put, PartNumber=number, Body=file.read(16 * MIB))
    kept = files_of(server)
    # This one is not the file's, though it is as long.
    client.upload_part(**put, PartNumber=4, Body=bytes(16 * MIB))
    server.run("object", "put", large, f"{bucket}/{key}", account=alice)
    assert kept <= files_of(server), "the parts that were there are parts of the object"
    assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == LARGE_BYTES
    client.download_file(bucket, key, str(tmp_path / "back"))
    assert sha256(tmp_path / "back") == sha256(large)
    client.delete_object(Bucket=bucket, Key=key)


def test_image_import_takes_a_file_of_this_machine(server, alice, files, small_disk):
    arguments = ["--os-type", "Debian", "--os-version", "12", "--name", "by-hand"]
    images = server.json("image", "import", files / "small.qcow2", *arguments, account=alice)["ImageSet"]
    assert images[0]["ImageState"] == "NORMAL"
    before = files_of(server)
    assert keys(server, alice, f"imports-{app_id(alice)}") == [], "the upload is gone after the import"
    told = server.run("image", "import", files / "nothing", *arguments, account=alice, check=False)
    assert told.returncode != 0 and "nothing" in told.stderr
    # What was uploaded for an import that is refused is kept, which is said, and is not uploaded again.
    told = server.run("image", "import", files / "small.qcow2", *arguments, account=alice, check=False)
    assert told.returncode != 0 and "InvalidImageName.Duplicate" in told.stderr
    assert keys(server, alice, f"imports-{app_id(alice)}") == [], "what is refused at once is not uploaded"
    arguments[-1] = "by-hand-2"
    wrong = ["--sha256", "0" * 64]
    told = server.run("image", "import", files / "small.qcow2", *arguments, *wrong, account=alice, check=False)
    [kept] = keys(server, alice, f"imports-{app_id(alice)}")
    assert told.returncode != 0 and f"kept as imports-{app_id(alice)}/{kept}" in told.stderr
    parts = files_of(server) - before
    again = ["--os-type", "Debian", "--os-version", "12", "--name"]
    server.run("image", "import", files / "small.qcow2", *again, "kept", "--keep-object", account=alice)
    server.run("object", "delete", f"imports-{app_id(alice)}/kept/{kept}", account=alice)
    wait_until(lambda: files_of(server) - before == parts, 20, lambda: files_of(server))
    server.run("image", "import", files / "small.qcow2", *arguments, "--no-wait", account=alice)
    assert parts and files_of(server) - before == parts
    server.run("object", "delete", f"imports-{app_id(alice)}/{kept}", account=alice)
    told = server.run("object", "delete", f"imports-{app_id(alice)}/{kept}", account=alice, check=False)
    assert told.returncode != 0 and "no object" in told.stderr
