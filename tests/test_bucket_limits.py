"""What one account does to its buckets takes nothing from another's, and what passes a limit leaves nothing behind."""

import concurrent.futures
import hashlib
import http.client
import time

import pytest
from botocore.exceptions import ClientError
from conftest import BARE_DISKS, CONFIG
from kiln_server import wait_until
from object_clients import app_id, files_of, s3, s3_refuses

# Other people's clients leave connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

MIB = 1 << 20
AT_ONCE = 4
LIMITS = f"""
[objects]
account_gib = 1
requests_at_once = {AT_ONCE}
"""


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS + LIMITS).start()


def new_bucket(account, name):
    bucket = f"{name}-{app_id(account)}"
    s3(account).create_bucket(Bucket=bucket)
    return bucket


def keys(account, bucket):
    return [found["Key"] for found in s3(account).list_objects_v2(Bucket=bucket).get("Contents", [])]


def send(server, method, url, headers=(), body=b""):
    """Sends a request by hand, as far as `body` goes; its connection."""
    host, port = server.objects_endpoint.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.putrequest(method, url.removeprefix(server.objects_endpoint))
    for name, value in dict(headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    return connection


def slow_put(server, account, bucket, key, size=8 * MIB):
    """Begins an upload that does not end."""
    url = s3(account).generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": key})
    return send(server, "PUT", url, {"Content-Length": str(size)}, b"x" * 64)


# ---- fairness --------------------------------------------------------------------------------------------------------


def test_slow_requests_of_one_account_do_not_block_another(server, alice, bob):
    bucket, others = new_bucket(alice, "slow"), new_bucket(bob, "quick")
    s3(alice).put_object(Bucket=bucket, Key="large", Body=bytes(64 * MIB))
    slow = [slow_put(server, alice, bucket, f"slow-{number}") for number in range(AT_ONCE - 1)]
    url = s3(alice).generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "large"})
    reader = send(server, "GET", url)
    assert reader.getresponse().read(1) == b"\0"
    # They have all turns of the account; as many more wait for theirs, the next is told so.
    waiting = [slow_put(server, alice, bucket, f"waiting-{number}") for number in range(AT_ONCE)]
    wait_until(lambda: is_refused(alice, bucket), 20, "nobody waits behind them")
    for number in range(3 * AT_ONCE):
        s3(bob).put_object(Bucket=others, Key=str(number), Body=b"quick")
    assert len(keys(bob, others)) == 3 * AT_ONCE
    # Whoever waits goes on when one that was before it ends, whichever way.
    reader.close()
    slow.pop().close()
    for connection in slow:
        connection.send(b"x" * (8 * MIB - 64))
        assert connection.getresponse().status == 200
    for connection in waiting:
        connection.send(b"x" * (8 * MIB - 64))
        assert connection.getresponse().status == 200
    assert set(keys(alice, bucket)) >= {f"waiting-{number}" for number in range(AT_ONCE)}


def is_refused(account, bucket):
    try:
        s3(account, read_timeout=2).head_bucket(Bucket=bucket)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    return False


def test_the_rate_of_an_account_is_its_own(make_server):
    server = make_server("[objects]\nrequests_per_second = 5\n").start()
    quick, other = server.create_account("quick"), server.create_account("other")
    client, refused = s3(quick), []
    while not refused:
        try:
            client.list_buckets()
        except ClientError as error:
            refused.append(error.response["Error"]["Code"])
    assert refused == ["SlowDown"]
    assert s3(other).list_buckets()["Buckets"] == []
    time.sleep(0.5)
    assert client.list_buckets()["Buckets"] == []
    server.remove()


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_stored(server, alice):
    """Asserts that what a test was refused left neither an object nor a file."""
    before = files_of(server)
    yield
    wait_until(lambda: files_of(server) <= before, 10, "no file was left")


def test_no_set_of_uploads_gets_past_the_bytes_of_an_account(server, nothing_stored):
    account = server.create_account("hoarder")
    bucket, client = new_bucket(account, "full"), s3(account)
    client.put_object(Bucket=bucket, Key="0", Body=bytes(100 * MIB))
    for number in range(1, 10):
        client.copy_object(Bucket=bucket, Key=str(number), CopySource={"Bucket": bucket, "Key": "0"})
    where = {"Bucket": bucket, "Key": "parts"}
    upload = client.create_multipart_upload(**where)["UploadId"]

    def put_part(number):
        try:
            return client.upload_part(**where, UploadId=upload, PartNumber=number, Body=bytes(12 * MIB))["ETag"]
        except ClientError as error:
            return error.response["Error"]["Code"]

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(put_part, range(1, 4)))
    assert ends.count("QuotaExceeded") == 1, ends
    assert account.kiln("DescribeObjectStorage")["UsedBytes"] == 1024 * MIB
    status, sentence = s3_refuses("QuotaExceeded", client.put_object, Bucket=bucket, Key="more", Body=b"x")
    assert status == 403 and f"hold {1 << 30} bytes" in sentence
    client.abort_multipart_upload(**where, UploadId=upload)
    client.put_object(Bucket=bucket, Key="more", Body=b"x")
    assert keys(account, bucket) == [*map(str, range(10)), "more"]
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys(account, bucket)]})
    client.delete_bucket(Bucket=bucket)


def test_what_is_on_its_way_counts(server, nothing_stored):
    account = server.create_account("starter")
    bucket, client = new_bucket(account, "begun"), s3(account)
    begun = [slow_put(server, account, bucket, f"begun-{number}", 400 * MIB) for number in range(2)]

    def third():
        connection = slow_put(server, account, bucket, "third", 400 * MIB)
        connection.sock.settimeout(1)
        try:
            return b"<Code>QuotaExceeded</Code>" in connection.getresponse().read()
        except TimeoutError:
            return False
        finally:
            connection.close()

    wait_until(third, 20, "a third has room beside the two that were begun")
    status, sentence = s3_refuses("QuotaExceeded", client.put_object, Bucket=bucket, Key="k", Body=bytes(230 * MIB))
    assert status == 403 and "on its way" in sentence
    client.put_object(Bucket=bucket, Key="small", Body=b"there is room for this")
    for connection in begun:
        connection.close()
    wait_until(lambda: not third(), 20, "what broke off takes no room")
    client.delete_object(Bucket=bucket, Key="small")
    client.delete_bucket(Bucket=bucket)


def test_parts_and_objects_that_are_too_large(server, alice, nothing_stored):
    bucket, client = new_bucket(alice, "large"), s3(alice)
    where = {"Bucket": bucket, "Key": "large"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    part = {**where, "UploadId": upload, "PartNumber": 1}
    for method, parameters in (("put_object", where), ("upload_part", part)):
        url = client.generate_presigned_url(method, Params=parameters)
        connection = send(server, "PUT", url, {"Content-Length": str((5 << 30) + 1)})
        answer = connection.getresponse()
        assert answer.status == 400 and b"<Code>EntityTooLarge</Code>" in answer.read()
        connection.close()
    assert "Parts" not in client.list_parts(**where, UploadId=upload)
    client.abort_multipart_upload(**where, UploadId=upload)
    client.delete_bucket(Bucket=bucket)


def test_a_body_that_is_not_the_signed_one(server, alice, nothing_stored):
    bucket = new_bucket(alice, "signed")
    client = s3(alice, request_checksum_calculation="when_required")

    def change(request, **_):
        request.body = b"Body"

    client.meta.events.register("before-send.s3.PutObject", change)
    assert s3_refuses("XAmzContentSHA256Mismatch", client.put_object, Bucket=bucket, Key="k", Body=b"body")[0] == 400
    assert keys(alice, bucket) == []
    s3(alice).delete_bucket(Bucket=bucket)


def test_who_sends_on_after_a_refusal_learns_why(server, bob, alice, nothing_stored):
    """Clients that ask for no 100-continue send all of a body before they read; the answer is still there then."""
    bucket = new_bucket(alice, "refusing")
    url = s3(bob).generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    connection = send(server, "PUT", url, {"Content-Length": str(64 * MIB)}, bytes(64 * MIB))
    answer = connection.getresponse()
    assert answer.status == 403 and b"<Code>AccessDenied</Code>" in answer.read()
    s3(alice).delete_bucket(Bucket=bucket)


def test_a_full_disk_refuses_and_keeps_what_is_there(make_server, small_room):
    server = make_server(data_dir=small_room / "data").start()
    account = server.create_account("owner")
    bucket, client = new_bucket(account, "room"), s3(account)
    noise = hashlib.shake_256(b"noise").digest(16 * MIB)
    client.put_object(Bucket=bucket, Key="kept", Body=noise)
    upload = client.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    for call, parameters in ((client.put_object, {"Key": "more"}), (client.upload_part, {**part, "PartNumber": 1})):
        status, sentence = s3_refuses("InsufficientStorage", call, **{"Bucket": bucket, "Body": 4 * noise, **parameters})
        assert status == 507 and "disk is full" in sentence and str(small_room) not in sentence
    # The very object that is there is not lost to one that does not fit.
    s3_refuses("InsufficientStorage", client.put_object, Bucket=bucket, Key="kept", Body=4 * noise)
    assert client.get_object(Bucket=bucket, Key="kept")["Body"].read() == noise
    assert keys(account, bucket) == ["kept"] and "Parts" not in client.list_parts(**part)
    wait_until(lambda: len(files_of(server)) == 1, 10, "what did not fit left no file")
    client.upload_part(**part, PartNumber=1, Body=noise)
    client.put_object(Bucket=bucket, Key="fits", Body=noise[:MIB])
    server.kill()
    server.start()
    assert s3(account).get_object(Bucket=bucket, Key="kept")["Body"].read() == noise
    server.remove()
