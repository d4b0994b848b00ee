"""Uploads by forms, as a browser sends them: boto3 makes those of S3; those of COS are made as its documentation says."""

import base64
import hashlib
import hmac
import html
import http.client
import json
import random
import time
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
import requests
from kiln_server import wait_until
from object_clients import app_id, files_of, s3

# Other people's clients leave connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

MIB = 1 << 20
LARGE_BYTES = 200 * MIB
# What the server may take more of memory while a large form comes.
MEMORY_BYTES = 64 * MIB


@pytest.fixture(scope="module")
def bucket(alice):
    name = f"forms-{app_id(alice)}"
    s3(alice).create_bucket(Bucket=name)
    return name


def presigned(account, bucket, key, fields=None, conditions=None, seconds=60, **options):
    made = s3(account, **options).generate_presigned_post(bucket, key, fields, conditions, seconds)
    return made["url"], made["fields"]


def post(url, fields, content=b"by a form", name="file.txt", **options):
    return requests.post(url, data=fields, files={"file": (name, content)}, timeout=60, allow_redirects=False, **options)


def refused(answer, status, code, words=""):
    text = html.unescape(answer.text)
    assert answer.status_code == status and f"<Code>{code}</Code>" in text and words in text, (answer.status_code, text)


def body_of(account, bucket, key):
    return s3(account).get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.fixture
def nothing_stored(server, alice, bucket):
    """Asserts that what a test was refused left neither an object nor a file."""
    before = keys(alice, bucket), files_of(server)
    yield
    assert keys(alice, bucket) == before[0]
    wait_until(lambda: files_of(server) <= before[1], 10, "no file was left")


def keys(account, bucket):
    return [found["Key"] for found in s3(account).list_objects_v2(Bucket=bucket).get("Contents", [])]


# ---- S3 --------------------------------------------------------------------------------------------------------------


def test_what_a_form_says_is_kept_with_its_file(alice, bucket):
    said = {"Content-Type": "text/plain", "Cache-Control": "no-store", "x-amz-meta-colour": "blue"}
    conditions = [["starts-with", "$Content-Type", "text/"], {"Cache-Control": "no-store"}, {"x-amz-meta-colour": "blue"}]
    answer = post(*presigned(alice, bucket, "user/ü & <1>", said, conditions))
    etag = f'"{hashlib.md5(b"by a form").hexdigest()}"'
    assert answer.status_code == 204 and answer.headers["ETag"] == etag, answer.text
    got = s3(alice).get_object(Bucket=bucket, Key="user/ü & <1>")
    assert got["Body"].read() == b"by a form" and got["ETag"] == etag
    assert (got["ContentType"], got["CacheControl"], got["Metadata"]) == ("text/plain", "no-store", {"colour": "blue"})
    time = "Wed, 21 Oct 2026 07:28:00 GMT"
    post(*presigned(alice, bucket, "timed", {"Expires": time}, [{"Expires": time}]))
    assert s3(alice).get_object(Bucket=bucket, Key="timed")["ExpiresString"] == time
    timeless = presigned(alice, bucket, "timeless", {"Expires": "soon"}, [{"Expires": "soon"}])
    refused(post(*timeless), 400, "MalformedPOSTRequest", "expires")
    post(*presigned(alice, bucket, "empty"), content=b"")
    assert body_of(alice, bucket, "empty") == b""


def test_a_form_has_the_answer_that_it_asks_for(server, alice, bucket):
    def answer(key, **said):
        return post(*presigned(alice, bucket, key, said, [{name: value} for name, value in said.items()]))

    created = answer("a/1 & 2", success_action_status="201")
    document = ElementTree.fromstring(created.text)
    said = {part.tag: part.text for part in document}
    assert created.status_code == 201 and document.tag == "PostResponse"
    assert (said["Bucket"], said["Key"], said["ETag"]) == (bucket, "a/1 & 2", created.headers["ETag"])
    assert said["Location"] == created.headers["Location"] == f"{server.objects_endpoint}/{bucket}/a/1%20%26%202"
    assert answer("a/2", success_action_status="200").status_code == 200
    assert answer("a/3", success_action_status="404").status_code == 204
    redirected = answer("a/4", success_action_redirect="https://console.example.org/done?from=form")
    target = urlsplit(redirected.headers["Location"])
    assert redirected.status_code == 303 and target.netloc == "console.example.org"
    query = {"from": ["form"], "bucket": [bucket], "key": ["a/4"], "etag": [redirected.headers["ETag"]]}
    assert parse_qs(target.query) == query
    assert answer("a/5", success_action_redirect="javascript:alert(1)").status_code == 204


def test_a_file_can_name_its_object(alice, bucket):
    url, fields = presigned(alice, bucket, "by-name/${filename}")
    for sent, kept in [("disk.raw", "disk.raw"), ("C:\\images\\ä.raw", "ä.raw"), ("../../up", "up")]:
        assert post(url, fields, sent.encode(), name=sent).status_code == 204
        assert body_of(alice, bucket, f"by-name/{kept}") == sent.encode()


def test_the_older_signature_is_as_good_for_a_form(alice, bucket, nothing_stored):
    url, fields = presigned(alice, bucket, "older", signature_version="s3")
    assert "signature" in fields and post(url, fields).status_code == 204
    assert body_of(alice, bucket, "older") == b"by a form"
    refused(post(url, {**fields, "signature": fields["signature"][::-1]}), 403, "SignatureDoesNotMatch")
    s3(alice).delete_object(Bucket=bucket, Key="older")


def test_a_large_file_is_not_held_in_memory(server, alice, bucket, seed):
    pieces = [random.Random(seed + number).randbytes(MIB) for number in range(4)]
    summed, url_fields = hashlib.sha256(), presigned(alice, bucket, "large", None, [["content-length-range", 0, LARGE_BYTES]])
    head, tail = form(url_fields[1])
    before, most = memory(server), 0

    def body():
        nonlocal most
        yield head
        for number in range(LARGE_BYTES // MIB):
            summed.update(pieces[number % 4])
            yield pieces[number % 4]
            most = max(most, memory(server))
        yield tail

    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = requests.post(url_fields[0], data=body(), headers=kind, timeout=120)
    assert answer.status_code == 204, answer.text
    assert most - before < MEMORY_BYTES, f"{(most - before) >> 20} MiB"
    found = hashlib.sha256()
    for piece in s3(alice).get_object(Bucket=bucket, Key="large")["Body"].iter_chunks(MIB):
        found.update(piece)
    assert found.digest() == summed.digest()
    s3(alice).delete_object(Bucket=bucket, Key="large")


def memory(server):
    """The bytes that the server's process has in memory."""
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) << 10


def form(fields):
    """What comes before and after the file in a form."""
    part = '--edge\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    head = "".join(part.format(name, value) for name, value in fields.items())
    head += '--edge\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    return head.encode(), b"\r\n--edge--\r\n"


# ---- COS -------------------------------------------------------------------------------------------------------------


def cos_form(account, conditions, seconds=60, **fields):
    """The fields of a form of COS."""
    now = int(time.time())
    key_time = f"{now - 1};{now + seconds}"
    expiration = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now + seconds))
    signer = [{"q-sign-algorithm": "sha1"}, {"q-ak": account.secret_id}, {"q-sign-time": key_time}]
    policy = json.dumps({"expiration": expiration, "conditions": [*signer, *conditions]})

    def sign(key, text):
        return hmac.new(key.encode(), text.encode(), "sha1").hexdigest()

    signature = sign(sign(account.secret_key, key_time), hashlib.sha1(policy.encode()).hexdigest())
    return {
        **fields, "policy": base64.b64encode(policy.encode()).decode(), "q-sign-algorithm": "sha1",
        "q-ak": account.secret_id, "q-key-time": key_time, "q-signature": signature,
    }  # fmt: skip


def test_forms_of_cos(server, alice, bucket):
    host = {"Host": f"{bucket}.cos.ap-guangzhou.myqcloud.com"}
    said = {"key": "cos/${filename}", "x-cos-meta-colour": "red", "Content-Type": "image/raw"}
    fields = cos_form(alice, [{"bucket": bucket}, ["starts-with", "$key", "cos/"]], **said)
    answer = post(server.objects_endpoint, {**fields, "success_action_status": "200"}, name="disk", headers=host)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Location"] == f"http://{host['Host']}/cos/disk" and answer.headers["x-cos-request-id"]
    head = s3(alice).head_object(Bucket=bucket, Key="cos/disk")
    assert (head["ContentType"], head["Metadata"]) == ("image/raw", {"colour": "red"})
    elsewhere = cos_form(alice, [["starts-with", "$key", "other/"]], key="cos/other")
    refused(post(server.objects_endpoint, elsewhere, headers=host), 403, "AccessDenied", '"key"')
    # A form is for one bucket, and leads only where its policy says.
    anywhere = cos_form(alice, [["starts-with", "$key", "cos/"]], key="cos/any")
    refused(post(server.objects_endpoint, anywhere, headers=host), 403, "AccessDenied", '"bucket"')
    away = {**fields, "success_action_redirect": "http://elsewhere.example.org/"}
    refused(post(server.objects_endpoint, away, headers=host), 403, "AccessDenied", "success_action_redirect")
    late = cos_form(alice, [], -30, key="cos/late")
    refused(post(server.objects_endpoint, late, headers=host), 403, "AccessDenied", "expired")
    refused(post(server.objects_endpoint, {**fields, "q-signature": "0" * 40}, headers=host), 403, "SignatureDoesNotMatch")


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_the_policy_does_not_allow(server, alice, bob, bucket, nothing_stored):
    url, fields = presigned(alice, bucket, "k", None, [["content-length-range", 5, 1000]])
    refused(post(url, fields, b"four"), 400, "EntityTooSmall")
    refused(post(url, fields, bytes(1001)), 400, "EntityTooLarge")
    refused(post(url, fields, bytes(8 * MIB)), 400, "EntityTooLarge")
    refused(post(url, {**fields, "key": "other"}), 403, "AccessDenied", '"key"')
    refused(post(url, {**fields, "x-amz-meta-more": "1"}), 403, "AccessDenied", "x-amz-meta-more")
    refused(post(url, {**fields, "x-amz-signature": "0" * 64}), 403, "SignatureDoesNotMatch")
    refused(post(url, {**fields, "policy": fields["policy"][:-8]}), 403, "SignatureDoesNotMatch")
    refused(post(url, {name: value for name, value in fields.items() if name != "x-amz-signature"}), 400, "InvalidArgument")
    refused(post(url, {"key": "unsigned"}), 403, "AccessDenied", "sign")
    refused(post(*presigned(alice, bucket, "late", seconds=-30)), 403, "AccessDenied", "expired")
    unknown = type(alice)(server, alice.uin, "AKIDnone", "x")
    refused(post(*presigned(unknown, bucket, "k")), 403, "InvalidAccessKeyId")
    refused(post(*presigned(bob, bucket, "k")), 403, "AccessDenied", "another account")
    refused(post(url + "/k", fields), 405, "MethodNotAllowed")
    wrong = {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    refused(post(*presigned(alice, bucket, "k", wrong, [wrong])), 400, "BadDigest")
    wrong = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"other").digest()).decode()}
    refused(post(*presigned(alice, bucket, "k", wrong, [wrong])), 400, "BadDigest")
    for wrong in ({"x-amz-meta-a b": "c"}, {"Content-Disposition": "a\nX-Other: b"}, {"x-amz-meta-a": "b\tc"}):
        refused(post(*presigned(alice, bucket, "k", wrong, [wrong])), 400, "InvalidArgument", "characters")
    for key in ("a/../b", "k" * 1025):
        assert post(*presigned(alice, bucket, key)).status_code == 400


def test_a_sub_account_that_may_look_only_signs_no_form(alice, bucket, nothing_stored):
    reader = alice.sub_account("reader", "READ_ONLY")
    refused(post(*presigned(reader, bucket, "k")), 403, "AccessDenied", "may look only")


def test_forms_that_are_none(alice, bucket, nothing_stored):
    url, fields = presigned(alice, bucket, "k")
    head, tail = form(fields)

    def send(body, kind="multipart/form-data; boundary=edge"):
        return requests.post(url, data=body, headers={"Content-Type": kind}, timeout=60)

    refused(send(head + b"x" + tail, "multipart/form-data"), 400, "MalformedPOSTRequest", "boundary")
    refused(send(b"nothing"), 400, "MalformedPOSTRequest")
    refused(send(head.replace(b'"file"', b'"other"') + b"x" + tail), 400, "IncorrectNumberOfFilesInPostRequest")
    refused(send(form({**fields, "KEY": "k"})[0] + b"x" + tail), 400, "MalformedPOSTRequest", "twice")
    refused(send(head + b"x" * 100), 400, "IncompleteBody")
    too_long = form({"x-ignore-me": "x" * (65 << 10), **fields})[0]
    refused(send(too_long + b"x" + tail), 400, "MaxPostPreDataLengthExceededError")
    endless = b"--edge\r\nContent-Disposition: " + bytes(8 * MIB)
    refused(send(endless), 400, "MaxPostPreDataLengthExceededError")
    keyless = form({name: value for name, value in fields.items() if name != "key"})[0]
    refused(send(keyless + b"x" + tail), 403, "AccessDenied", '"key"')


def test_a_form_that_breaks_off_leaves_nothing(server, alice, bucket, nothing_stored):
    url, fields = presigned(alice, bucket, "broken")
    before = files_of(server)
    connection = http.client.HTTPConnection(server.objects_endpoint.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", f"/{bucket}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=edge")
    connection.putheader("Content-Length", str(20 * MIB))
    connection.endheaders()
    connection.send(form(fields)[0] + b"x" * (6 * MIB))
    wait_until(lambda: files_of(server) - before, 10, "some of it was written")
    connection.close()
