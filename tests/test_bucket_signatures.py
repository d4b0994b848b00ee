"""What a signature of an object's address allows: what its maker said, and nothing that its holder adds or writes otherwise."""

import http.client
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cloud import GUANGZHOU, refused
from object_clients import app_id, cos, s3, s3_refuses

SECONDS = 600
FORM_WITHOUT_ASCII = b'multipart/form-data; boundary=b; a="\xc3\xa9"'
FORM = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--b--\r\n'


@pytest.fixture(scope="module")
def bucket(alice):
    name = f"signed-{app_id(alice)}"
    s3(alice).create_bucket(Bucket=name)
    s3(alice).put_object(Bucket=name, Key="secret", Body=b"of alice")
    return name


def taken(alice, bucket, key="upload"):
    """What is stored under the key."""
    found = s3(alice).list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
    return [s3(alice).get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in found]


@pytest.mark.parametrize("added", [{"x-amz-copy-source": "{bucket}/secret"}, {}])
@pytest.mark.parametrize(
    ("scheme", "covered"),
    [
        ("AWS4-HMAC-SHA256", "host"),
        ("AWS4-HMAC-SHA256", "host;X-Amz-Copy-Source"),
        ("SignedHeaders=x-amz-copy-source,", "host"),
    ],
)
def test_a_presigned_url_is_no_header(alice, bucket, scheme, covered, added):
    """As a header it would outlive its time, and its holder would say what it covers."""
    address = urlsplit(s3(alice).generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "upload"}))
    fields = dict(parse_qsl(address.query))
    signature = fields.pop("X-Amz-Signature")
    credential = f"Credential={fields['X-Amz-Credential']}"
    headers = {
        "Authorization": f"{scheme} {credential}, SignedHeaders={covered}, Signature={signature}",
        "x-amz-date": fields["X-Amz-Date"],
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        **{name: value.format(bucket=bucket) for name, value in added.items()},
    }
    url = address._replace(query=urlencode(fields, quote_via=quote)).geturl()
    answer = requests.put(url, headers=headers, timeout=30)
    assert taken(alice, bucket) == []
    if scheme.startswith("AWS4"):
        assert answer.status_code == 403 and "presigned one without its signature" in answer.text, answer.text
    else:
        assert answer.status_code in (400, 403), answer.text


def test_a_header_that_a_signature_leaves_out_is_refused(server, alice, bucket):
    request = AWSRequest("PUT", f"{server.objects_endpoint}/{bucket}/unsaid", data=b"x")
    S3SigV4Auth(Credentials(alice.secret_id, alice.secret_key), "s3", GUANGZHOU).add_auth(request)
    put = lambda **more: requests.put(request.url, b"x", headers={**request.headers, **more}, timeout=30)  # noqa: E731
    answer = put(**{"x-amz-meta-by": "him"})
    assert answer.status_code == 403 and "does not cover x-amz-meta-by" in answer.text, answer.text
    signed = request.headers["Authorization"]
    for claimed in (signed.replace("host;", "host;X-Amz-Meta-By;"), f"SignedHeaders=x-amz-meta-by, {signed}"):
        assert put(**{"Authorization": claimed, "x-amz-meta-by": "him"}).status_code in (400, 403)
    assert taken(alice, bucket, "unsaid") == []
    assert put().status_code == 200


def test_the_parts_of_an_address_of_cos_are_the_same_in_every_case(server, alice, bucket):
    """COS signs names in lower case; an address of a part of an upload is none of the object."""
    client, where = s3(alice), {"Bucket": bucket, "Key": "in-parts"}
    client.put_object(**where, Body=b"finished")
    upload = client.create_multipart_upload(**where)["UploadId"]
    try:
        for method, parameters in [("PUT", {"partNumber": "1", "uploadId": upload}), ("GET", {"uploadId": upload})]:
            address = cos(server, alice).get_presigned_url(**where, Method=method, Params=parameters)
            for name in parameters:
                address = address.replace(f"&{name}=", f"&{name.lower()}=")
            assert "partNumber" not in address and "uploadId=" not in address
            proxies = {"http": server.objects_endpoint}
            answer = requests.request(method, address, data=b"a part" if method == "PUT" else None, proxies=proxies, timeout=30)
            assert answer.status_code == 200 and b"finished" not in answer.content, answer.text
        [part] = client.list_parts(**where, UploadId=upload)["Parts"]
        assert part["Size"] == len(b"a part") and client.get_object(**where)["Body"].read() == b"finished"
    finally:
        client.abort_multipart_upload(**where, UploadId=upload)


def test_what_an_address_of_cos_says_is_not_said_again_by_its_holder(server, alice, bucket):
    where = {"Bucket": bucket, "Key": "said"}
    address = cos(server, alice).get_presigned_url(**where, Method="PUT", Headers={"x-cos-meta-by": "her"})
    put = lambda **more: requests.put(  # noqa: E731
        address, b"x", headers={"x-cos-meta-by": "her", **more}, proxies={"http": server.objects_endpoint}, timeout=30
    )
    answer = put(**{"x-amz-meta-by": "him"})
    assert answer.status_code == 403 and "x-cos-meta-by" in answer.text and taken(alice, bucket, "said") == []
    assert put().status_code == 200
    assert s3(alice).head_object(**where)["Metadata"] == {"by": "her"}


def test_a_form_is_one_whatever_its_type_says_besides(server, bucket):
    """s3s would take it, and hold it in memory, before anybody had signed anything."""
    address = urlsplit(server.objects_endpoint)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.putrequest("POST", f"/{bucket}")
    connection.putheader("Content-Type", FORM_WITHOUT_ASCII)
    connection.putheader("Content-Length", str(len(FORM)))
    connection.endheaders(FORM)
    answer = connection.getresponse()
    assert answer.status == 400 and b"it names no boundary" in answer.read()
    connection.close()


def test_a_copy_is_made_of_what_its_conditions_say(alice, bucket):
    client, where, source = s3(alice), {"Bucket": bucket, "Key": "copy"}, {"Bucket": bucket, "Key": "secret"}
    there = client.head_object(**source)["ETag"]
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"], "PartNumber": 1}
    s3_refuses("PreconditionFailed", client.upload_part_copy, **upload, CopySource=source, CopySourceIfMatch='"older"')
    s3_refuses("PreconditionFailed", client.upload_part_copy, **upload, CopySource=source, CopySourceIfNoneMatch=there)
    client.upload_part_copy(**upload, CopySource=source, CopySourceIfMatch=there)
    client.abort_multipart_upload(**where, UploadId=upload["UploadId"])
    client.put_object(**where, Body=b"mine")
    s3_refuses("PreconditionFailed", client.copy_object, **where, CopySource=source, IfNoneMatch="*")
    s3_refuses("PreconditionFailed", client.copy_object, **where, CopySource=source, IfMatch='"older"')
    assert client.get_object(**where)["Body"].read() == b"mine"
    client.copy_object(**where, CopySource=source, IfMatch=client.head_object(**where)["ETag"])
    assert client.get_object(**where)["Body"].read() == b"of alice"


def test_an_import_takes_addresses_of_the_object_itself_only(server, alice, operator, bucket):
    wanted = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageName": "of-alice"}
    client, where = s3(alice), {"Bucket": bucket, "Key": "secret"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    parts = client.generate_presigned_url("list_parts", Params={**where, "UploadId": upload})
    client.abort_multipart_upload(**where, UploadId=upload)
    other = f"other-{app_id(alice)}"
    client.create_bucket(Bucket=other)
    address = cos(server, alice).get_presigned_url(Bucket=other, Key="secret", Method="GET", SignHost=False)
    assert f"//{other}." in address
    for url in (parts, address.replace(f"//{other}.", f"//{bucket}.")):
        refused("UnauthorizedOperation.ImportImage", operator.call, "ImportImage", ImageUrl=url, **wanted)
