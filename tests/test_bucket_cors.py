"""Pages of other origins, as browsers let them use a bucket: the preflight, and the headers of the answers after it."""

import pytest
import requests
from object_clients import app_id, s3, s3_refuses
from qcloud_cos import CosConfig, CosS3Client

# Other people's clients leave connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

CONSOLE = "https://console.example.org"
PAGE = "https://app.example.org"
RULE = {
    "ID": "pages",
    "AllowedOrigins": ["https://*.example.org"],
    "AllowedMethods": ["GET", "PUT"],
    "AllowedHeaders": ["content-type", "x-amz-*"],
    "ExposeHeaders": ["ETag"],
    "MaxAgeSeconds": 600,
}
READ_BY_ALL = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(f'[objects]\nallowed_origins = ["{CONSOLE}"]\n').start()


@pytest.fixture(scope="module")
def bucket(alice):
    name = f"pages-{app_id(alice)}"
    s3(alice).create_bucket(Bucket=name)
    s3(alice).put_object(Bucket=name, Key="k", Body=b"for a page")
    return name


@pytest.fixture
def rules(alice, bucket):
    s3(alice).put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [RULE, READ_BY_ALL]})


def preflight(server, path, origin, method, headers=""):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return requests.options(f"{server.objects_endpoint}{path}", headers=asked, timeout=30)


def allowed(answer):
    """What an answer tells a browser."""
    prefix = "access-control-"
    return {name.lower().removeprefix(prefix): value for name, value in answer.headers.items() if prefix in name.lower()}


def test_rules_are_kept_as_they_were_given(alice, bob, bucket):
    client = s3(alice)
    assert s3_refuses("NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket)[0] == 404
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [RULE, READ_BY_ALL]})
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == [RULE, READ_BY_ALL]
    for call in (s3(bob).get_bucket_cors, s3(bob).delete_bucket_cors):
        assert s3_refuses("AccessDenied", call, Bucket=bucket)[0] == 403
    reader = alice.sub_account("reader", "READ_ONLY")
    assert s3(reader).get_bucket_cors(Bucket=bucket)["CORSRules"]
    s3_refuses("AccessDenied", s3(reader).delete_bucket_cors, Bucket=bucket)
    client.delete_bucket_cors(Bucket=bucket)
    s3_refuses("NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket)


def test_rules_that_are_none(alice, bucket):
    def put(*rules):
        s3(alice).put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(rules)})

    for wrong, words in [
        ({"AllowedMethods": ["PATCH"]}, "PATCH"),
        ({"AllowedOrigins": ["https://*.*.org"]}, "asterisk"),
        ({"AllowedHeaders": ["*-*"]}, "asterisk"),
        ({"AllowedHeaders": ["ü"]}, "characters"),
    ]:
        assert words in s3_refuses("InvalidRequest", put, {**RULE, **wrong})[1]
    assert "101" in s3_refuses("InvalidRequest", put, *[RULE] * 101)[1]
    s3_refuses("NoSuchCORSConfiguration", s3(alice).get_bucket_cors, Bucket=bucket)


def test_what_a_page_may_do(server, alice, bucket, rules):
    told = preflight(server, f"/{bucket}/k", PAGE, "PUT", "content-type, X-Amz-Date")
    assert told.status_code == 200 and allowed(told) == {
        "allow-origin": PAGE, "allow-methods": "GET, PUT", "allow-headers": "content-type, X-Amz-Date",
        "expose-headers": "ETag", "max-age": "600",
    }  # fmt: skip
    assert "Origin" in told.headers["Vary"]
    for origin, method, headers in [
        (PAGE, "DELETE", ""),
        (PAGE, "PUT", "authorization"),
        ("https://example.net", "PUT", ""),
        ("https://app.example.org.example.net", "PUT", ""),
    ]:
        refused = preflight(server, f"/{bucket}/k", origin, method, headers)
        assert refused.status_code == 403 and "AccessForbidden" in refused.text and not allowed(refused)
    # Nobody learns by it which buckets there are.
    unknown = preflight(server, f"/none-{app_id(alice)}/k", PAGE, "GET")
    assert unknown.status_code == 403 and "AccessForbidden" in unknown.text
    assert requests.options(f"{server.objects_endpoint}/{bucket}/k").status_code == 400


def test_answers_say_what_a_page_may_read(server, alice, bucket, rules):
    client, where = s3(alice), {"Bucket": bucket, "Key": "k"}
    get = client.generate_presigned_url("get_object", Params=where)
    read = requests.get(get, headers={"Origin": PAGE})
    assert read.text == "for a page" and allowed(read)["allow-origin"] == PAGE
    assert allowed(requests.get(get, headers={"Origin": "https://example.net"}))["allow-origin"] == "*"
    assert not allowed(requests.get(get))
    put = client.generate_presigned_url("put_object", Params=where)
    assert not allowed(requests.put(put, b"for a page", headers={"Origin": "https://example.net"}))
    # A refusal can be read, too.
    unsigned = requests.get(get.split("?")[0], headers={"Origin": PAGE})
    assert unsigned.status_code == 403 and allowed(unsigned)["allow-origin"] == PAGE


def test_pages_of_the_server_and_of_the_operator_need_no_rule(server, alice, bucket):
    s3(alice).delete_bucket_cors(Bucket=bucket)
    for origin in (server.endpoint, CONSOLE):
        told = allowed(preflight(server, f"/{bucket}/k", origin, "DELETE", "authorization,x-amz-date"))
        assert told["allow-origin"] == origin and "DELETE" in told["allow-methods"]
        assert told["allow-headers"] == "authorization, x-amz-date"
    form = s3(alice).generate_presigned_post(bucket, "by-a-page")
    sent = requests.post(form["url"], form["fields"], files={"file": b"x"}, headers={"Origin": CONSOLE})
    assert sent.status_code == 204 and "ETag" in allowed(sent)["expose-headers"]
    assert preflight(server, f"/{bucket}/k", PAGE, "GET").status_code == 403


def test_rules_over_cos(server, alice, bucket):
    config = CosConfig(
        Region="ap-guangzhou", Scheme="http", SecretId=alice.secret_id, SecretKey=alice.secret_key,
        Proxies={"http": server.objects_endpoint},
    )  # fmt: skip
    client = CosS3Client(config, retry=0)
    rule = {"ID": "1", "MaxAgeSeconds": "100", "AllowedOrigin": [PAGE], "AllowedMethod": ["GET"], "AllowedHeader": ["*"]}
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRule": [rule]})
    found = client.get_bucket_cors(Bucket=bucket)["CORSRule"][0]
    assert {name: found[name] for name in rule} == rule
    host = {"Host": f"{bucket}.cos.ap-guangzhou.myqcloud.com", "Origin": PAGE, "Access-Control-Request-Method": "GET"}
    assert allowed(requests.options(f"{server.objects_endpoint}/k", headers=host))["allow-origin"] == PAGE
    client.delete_bucket_cors(Bucket=bucket)
    with pytest.raises(Exception, match="NoSuchCORSConfiguration"):
        client.get_bucket_cors(Bucket=bucket)


def test_rules_outlive_a_restart(server, alice, bucket, rules):
    server.kill()
    server.start()
    assert s3(alice).get_bucket_cors(Bucket=bucket)["CORSRules"] == [RULE, READ_BY_ALL]
