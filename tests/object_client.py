"""boto3 at a server's buckets, and what its errors say."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cloud import GUANGZHOU


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
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]
