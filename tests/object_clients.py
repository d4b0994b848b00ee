"""Clients of buckets, as their documentation sets them up: boto3, COS's SDK, and the environments of the programs.

Clients of COS speak to hosts such as BUCKET.cos.REGION.myqcloud.com; they are led here as they would be by a proxy, so
that what they sign is what they sign elsewhere.
"""

import hashlib
import os
import random

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cloud import GUANGZHOU
from qcloud_cos import CosConfig, CosS3Client

MIB = 1 << 20


def app_id(account):
    return account.kiln("DescribeObjectStorage")["AppId"]


def s3(account, endpoint=None, verify=None, region=GUANGZHOU, **options):
    """boto3's client, as its documentation makes one; a new one, since a server has another port after its restart."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint or account.server.objects_endpoint,
        aws_access_key_id=account.secret_id,
        aws_secret_access_key=account.secret_key,
        region_name=region,
        verify=verify,
        config=Config(retries={"max_attempts": 1}, max_pool_connections=32, **options),
    )


def s3_refuses(code, call, *arguments, **parameters):
    """Asserts that a call fails with an error code of S3; its HTTP status and its sentence."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **parameters)
    error = caught.value.response
    assert error["Error"]["Code"] == code, caught.value
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"].get("Message", "")


def cos(server, account, scheme="http", region=GUANGZHOU):
    """COS's SDK, which takes this machine for a proxy on its way to myqcloud.com."""
    key = {"SecretId": account.secret_id, "SecretKey": account.secret_key}
    return CosS3Client(
        CosConfig(Region=region, Scheme=scheme, Proxies={"http": server.objects_endpoint}, **key), retry=0
    )


def coscmd_environment(server, home):
    return {**os.environ, "http_proxy": server.objects_endpoint, "HOME": str(home)}


def rclone_environment(server, account, home):
    """An rclone with one remote, `kiln:`."""
    return {
        **{name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"},
        "RCLONE_CONFIG": str(home / "none.conf"),
        "RCLONE_CONFIG_KILN_TYPE": "s3",
        "RCLONE_CONFIG_KILN_PROVIDER": "Other",
        "RCLONE_CONFIG_KILN_ENDPOINT": server.objects_endpoint,
        "RCLONE_CONFIG_KILN_ACCESS_KEY_ID": account.secret_id,
        "RCLONE_CONFIG_KILN_SECRET_ACCESS_KEY": account.secret_key,
        "RCLONE_CONFIG_KILN_REGION": GUANGZHOU,
    }


def aws_environment(server, account, home):
    """The `aws` of somebody whose configuration names this endpoint."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / "aws.conf"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_S3": server.objects_endpoint,
        "AWS_ACCESS_KEY_ID": account.secret_id,
        "AWS_SECRET_ACCESS_KEY": account.secret_key,
        "AWS_DEFAULT_REGION": GUANGZHOU,
    }


def files_of(server):
    """The files that hold objects and parts."""
    return {path for path in server.data_dir.glob("regions/*/objects/*") if path.is_file()}


def sparse_file(path, size, seed):
    """A file with data here and there, at its begin and at its end."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for at in [0, *sorted(chance.randrange(0, size - MIB) for _ in range(20)), size - MIB]:
            file.seek(at)
            file.write(chance.randbytes(MIB))
    return path


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
