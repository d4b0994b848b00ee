"""TLS: the official clients over it, with the authority that the server prints; and what must not get through.

Servers here speak TLS although they listen on loopback. That they do so by themselves elsewhere is the configuration's
matter, and tested with it.
"""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import certifi
import pytest
from botocore.exceptions import SSLError
from cloud import Account
from conftest import BARE_DISKS
from kiln_server import wait_until
from object_clients import s3
from qcloud_cos import CosClientError, CosConfig, CosS3Client
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

# A bucket in the host name is a label more than a wildcard stands for.
COS_HOST = "cos.ap-guangzhou.kiln.example.org"
NAMES = f'[tls]\nmode = "on"\nnames = ["kiln.example.org", "*.kiln.example.org", "{COS_HOST}", "*.{COS_HOST}"]\n'
RELOAD_SECONDS = 40


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(NAMES + BARE_DISKS).start()


@pytest.fixture
def resolver(monkeypatch):
    """Every name under example.org is this machine."""
    ask = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        name = host.decode() if isinstance(host, bytes) else host
        return ask("127.0.0.1" if name and name.endswith("example.org") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


class At:
    """A server as it is reached under another name, by somebody who trusts a certain authority."""

    def __init__(self, server, host, authority):
        self.endpoint = f"https://{host}:{port(server)}"
        self.authority = authority

    def regions(self, account):
        there = Account(self, account.uin, account.secret_id, account.secret_key)
        return there.raw("DescribeRegions")["TotalCount"]


def port(server):
    return int(server.endpoint.rsplit(":", 1)[1])


def printed_authority(server, directory):
    path = directory / "kiln-authority.pem"
    path.write_text(server.run("tls", "authority").stdout)
    return str(path)


def not_trusted(call):
    """Asserts that a call is not made since the server cannot prove who it is; why not."""
    with pytest.raises(TencentCloudSDKException) as caught:
        call()
    assert caught.value.get_code() == "ClientNetworkError" and "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    return str(caught.value)


# ---- the clients -----------------------------------------------------------------------------------------------------


def test_the_sdk_under_every_name(server, operator, tmp_path, resolver):
    authority = printed_authority(server, tmp_path)
    for host in ("127.0.0.1", "localhost", "kiln.example.org", "cvm.kiln.example.org"):
        assert At(server, host, authority).regions(operator) == 6, host


def test_a_wrong_name_and_a_missing_authority_fail(server, operator, tmp_path, resolver, make_server):
    authority = printed_authority(server, tmp_path)
    assert "hostname" in not_trusted(lambda: At(server, "elsewhere.example.org", authority).regions(operator)).lower()
    not_trusted(lambda: At(server, "a.b.kiln.example.org", authority).regions(operator))
    not_trusted(lambda: At(server, "127.0.0.1", certifi.where()).regions(operator))
    # Another Kiln's authority is another one, and it keeps its own over a restart.
    other = make_server(NAMES).start()
    not_trusted(lambda: At(other, "127.0.0.1", authority).regions(other.operator()))
    others = Path(other.authority).read_text()
    other.stop()
    other.start()
    assert Path(other.authority).read_text() == others and other.operator().raw("DescribeRegions")
    other.remove()


def test_tccli_trusts_what_is_added_to_its_bundle(server, operator, tmp_path):
    """It knows no option for it: its Python's bundle is what it trusts, as `kiln tls trust` says."""
    bundled = Path(certifi.__file__).parent
    shutil.copytree(bundled, tmp_path / "certifi", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [
        Path(sys.executable).parent / "tccli", "cvm", "DescribeRegions", "--region", "ap-guangzhou",
        "--endpoint", server.endpoint.removeprefix("https://"),
        "--secretId", operator.secret_id, "--secretKey", operator.secret_key,
    ]  # fmt: skip

    def tccli():
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    without = tccli()
    assert without.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in without.stdout + without.stderr
    with (tmp_path / "certifi" / "cacert.pem").open("a") as bundle:
        bundle.write(server.run("tls", "authority").stdout)
    done = tccli()
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["TotalCount"] == 6


def test_the_command_line_client(server, operator, tmp_path):
    assert "UIN" in server.run("account", "list").stdout
    key = {"TENCENTCLOUD_SECRET_ID": operator.secret_id, "TENCENTCLOUD_SECRET_KEY": operator.secret_key}
    elsewhere = {**key, "KILN_DATA_DIR": str(tmp_path), "KILN_ENDPOINT": server.endpoint}

    def client(**more):
        environment = {**os.environ, **elsewhere, **more}
        return subprocess.run([server.binary, "account", "list"], env=environment, capture_output=True, text=True)

    untrusted = client()
    assert untrusted.returncode != 0 and "certificate" in untrusted.stderr, untrusted.stderr
    trusted = client(KILN_AUTHORITY=printed_authority(server, tmp_path))
    assert trusted.returncode == 0, trusted.stderr


def test_what_is_printed_about_trust(server, tmp_path):
    advice = server.run("tls", "trust").stdout
    assert server.authority in advice and "KILN_AUTHORITY" in advice
    openssl = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", server.authority]
    fingerprint = subprocess.run(openssl, capture_output=True, text=True, check=True).stdout.strip().split("=")[1]
    assert server.json("tls", "trust")["Sha256"] == fingerprint and fingerprint in advice
    assert "kiln tls trust" in server.log.read_text()
    for path in Path(server.authority).parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_openssl_finds_nothing_wrong(server, tmp_path):
    chain = ["openssl", "s_client", "-connect", f"127.0.0.1:{port(server)}", "-CAfile", server.authority]
    strict = ["-verify_return_error", "-verify_hostname", "cvm.kiln.example.org", "-x509_strict"]
    done = subprocess.run([*chain, *strict], input="", capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "Verify return code: 0 (ok)" in done.stdout, done.stderr
    old = subprocess.run([*chain, "-tls1_1"], input="", capture_output=True, text=True, timeout=30)
    assert old.returncode != 0


# ---- buckets ---------------------------------------------------------------------------------------------------------


def test_buckets_by_tls(server, operator, files, small_disk, tmp_path, resolver):
    storage = operator.kiln("DescribeObjectStorage")
    assert (storage["Scheme"], f"https://{storage['Address']}") == ("https", server.objects_endpoint)
    authority = printed_authority(server, tmp_path)
    client, bucket = s3(operator, verify=authority), f"tls-{storage['AppId']}"
    with pytest.raises(SSLError):
        s3(operator, verify=certifi.where()).list_buckets()
    client.create_bucket(Bucket=bucket)
    client.upload_file(str(files / "small.qcow2"), bucket, "disk")
    port = server.objects_endpoint.rsplit(":", 1)[1]
    by_host = s3(operator, f"https://{COS_HOST}:{port}", authority, s3={"addressing_style": "virtual"})
    assert by_host.get_object(Bucket=bucket, Key="disk")["Body"].read() == (files / "small.qcow2").read_bytes()
    context = ssl.create_default_context(cafile=authority)
    presigned = by_host.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "disk"})
    assert presigned.startswith(f"https://{bucket}.{COS_HOST}")
    assert urllib.request.urlopen(presigned, context=context).status == 200
    # Imports know own objects by all of these, and the command line by what the server says of itself.
    for number, url in enumerate([f"{server.objects_endpoint}/{bucket}/disk", presigned]):
        operator.imported(url, f"tls-{number}")
    server.run("object", "get", f"{bucket}/disk", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (files / "small.qcow2").read_bytes()
    url = server.run("object", "presign", f"{bucket}/disk").stdout.strip()
    assert urllib.request.urlopen(url, context=context).status == 200
    facts = ["--os-type", "Debian", "--os-version", "12"]
    server.run("image", "import", files / "small.qcow2", "--name", "tls-file", *facts)


def test_clients_of_buckets_trust_the_authority(server, operator, files, small_disk, tmp_path, resolver, monkeypatch):
    """As `kiln tls trust` says: boto3 and COS's SDK by their environment, rclone by a flag."""
    authority, bucket = printed_authority(server, tmp_path), f"trust-{operator.kiln('DescribeObjectStorage')['AppId']}"
    monkeypatch.setenv("AWS_CA_BUNDLE", authority)
    s3(operator).create_bucket(Bucket=bucket)
    key = {"SecretId": operator.secret_id, "SecretKey": operator.secret_key}
    port = server.objects_endpoint.rsplit(":", 1)[1]
    cos = CosS3Client(CosConfig(Endpoint=f"{COS_HOST}:{port}", Scheme="https", **key), retry=0)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    with pytest.raises(CosClientError):
        cos.put_object(Bucket=bucket, Key="k", Body=b"by tls")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
    cos.put_object(Bucket=bucket, Key="k", Body=b"by tls")
    remote = f":s3,provider=Other,endpoint='{server.objects_endpoint}'"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}, "HOME": str(tmp_path),
        "RCLONE_S3_ACCESS_KEY_ID": operator.secret_id, "RCLONE_S3_SECRET_ACCESS_KEY": operator.secret_key,
    }  # fmt: skip

    def rclone(*flags):
        command = ["rclone", "--retries", "1", "--low-level-retries", "1", *flags, "cat", f"{remote}:{bucket}/k"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert "certificate" in rclone().stderr
    assert rclone("--ca-cert", authority).stdout == "by tls"


def test_buckets_beyond_loopback_are_by_tls(make_server, tmp_path):
    """The API is on loopback and plain; what is on every address has a name that the API was reached by, and TLS."""
    server = make_server('[objects]\nlisten = "0.0.0.0:0"\n').start()
    storage = server.operator().kiln("DescribeObjectStorage")
    port = server.objects_endpoint.rsplit(":", 1)[1]
    assert server.endpoint.startswith("http://") and server.objects_endpoint.startswith("https://")
    assert (storage["Scheme"], storage["Address"]) == ("https", f"127.0.0.1:{port}")
    (tmp_path / "file").write_text("by tls")
    server.run("bucket", "create", "beyond")
    server.run("object", "put", tmp_path / "file", "beyond/file")
    client = s3(server.operator(), f"https://{storage['Address']}", server.authority)
    assert client.get_object(Bucket=f"beyond-{storage['AppId']}", Key="file")["Body"].read() == b"by tls"
    with pytest.raises((urllib.error.URLError, ConnectionError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://{storage['Address']}/", timeout=10)
    server.remove()


# ---- the listener ----------------------------------------------------------------------------------------------------


def test_plain_http_is_not_answered(server):
    with pytest.raises((urllib.error.URLError, ConnectionError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://127.0.0.1:{port(server)}/healthz", timeout=10)


def test_who_says_nothing_keeps_nobody_waiting(server, operator):
    silent = [socket.create_connection(("127.0.0.1", port(server))) for _ in range(100)]
    try:
        start = time.monotonic()
        assert operator.raw("DescribeRegions")["TotalCount"] == 6
        assert time.monotonic() - start < 5
    finally:
        for connection in silent:
            connection.close()


# ---- certificates of others ------------------------------------------------------------------------------------------


def make_certificate(directory, common_name):
    """A certificate that vouches for itself, and its key."""
    paths = directory / "certificate.pem", directory / "key.pem"
    new = [path.with_suffix(".new") for path in paths]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={common_name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-out", new[0], "-keyout", new[1]], check=True, capture_output=True)
    for path in paths:
        path.with_suffix(".new").rename(path)
    return paths


def shown_by(server):
    """The subject of the certificate that the server shows."""
    text = ssl.get_server_certificate(("127.0.0.1", port(server)))
    openssl = ["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"]
    return subprocess.run(openssl, input=text, capture_output=True, text=True, check=True).stdout


def test_files_are_used_and_read_again(make_server, tmp_path):
    certificate, key = make_certificate(tmp_path, "first")
    server = make_server(f'[tls]\nmode = "on"\ncertificate = "{certificate}"\nkey = "{key}"\n').start()
    server.authority = str(certificate)
    assert server.operator().raw("DescribeRegions") and "first" in shown_by(server)
    make_certificate(tmp_path, "second")
    wait_until(lambda: "second" in shown_by(server), RELOAD_SECONDS, "the new certificate was taken")
    assert server.operator().raw("DescribeRegions")
    key.write_text("no key")
    wait_until(lambda: "cannot be used" in server.log.read_text(), RELOAD_SECONDS, "the bad key was told of")
    assert "second" in shown_by(server) and server.operator().raw("DescribeRegions")
    server.remove()


@pytest.mark.parametrize("broken", ["certificate", "key", "other key", "missing"])
def test_files_that_cannot_be_used_are_named_at_the_start(make_server, tmp_path, broken):
    certificate, key = make_certificate(tmp_path, "first")
    if broken == "other key":
        (tmp_path / "other").mkdir()
        _, key = make_certificate(tmp_path / "other", "other")
    elif broken == "missing":
        key.unlink()
    else:
        (certificate if broken == "certificate" else key).write_text("nothing\n")
    server = make_server(f'[tls]\nmode = "on"\ncertificate = "{certificate}"\nkey = "{key}"\n')
    server.spawn()
    assert server.process.wait(30) != 0
    assert str(certificate if broken == "certificate" else key) in server.log.read_text()


def test_an_impossible_name_is_named_at_the_start(make_server):
    server = make_server('[tls]\nmode = "on"\nnames = ["kiln.exämple.org"]\n')
    server.spawn()
    assert server.process.wait(30) != 0 and "tls.names" in server.log.read_text()
