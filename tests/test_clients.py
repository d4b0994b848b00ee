"""The full life of an image with each official client of API 3.0, unmodified: the command line client, the SDK for
Node.js, and the SDK for Python with each of its signatures and methods.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cloud import BEIJING, GUANGZHOU
from kiln_server import wait_until
from tencentcloud.common import credential
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tls_front import TlsFront

NODE_MODULES = Path(__file__).parent.parent / ".cache/node/node_modules"
VERSION = "2017-03-12"


class Refused(Exception):
    """A call was refused; the error's code is in it."""


class Tccli:
    """The command line client. It speaks HTTPS only, so a front ends TLS.

    It trusts what `certifi` names and nothing else. Debian's own `certifi` names the system's authorities; here, one
    that goes before the one from PyPI names the front's.
    """

    def __init__(self, account, front, home):
        self.front, self.home = front, home
        (home / "certifi.py").write_text(f"def where():\n    return {str(front.certificate)!r}\n")
        self.environment = {
            **os.environ, "HOME": str(home), "PYTHONPATH": str(home),
            "TENCENTCLOUD_SECRET_ID": account.secret_id, "TENCENTCLOUD_SECRET_KEY": account.secret_key,
        }  # fmt: skip

    def call(self, action, region=GUANGZHOU, **parameters):
        request = self.home / "request.json"
        request.write_text(json.dumps(parameters))
        command = [Path(sys.executable).with_name("tccli"), "cvm", action, "--cli-input-json", f"file://{request}"]
        command += ["--endpoint", self.front.address, "--region", region]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        found = re.search(r"code:(\S+)", done.stdout + done.stderr)
        if done.returncode != 0 or found:
            raise Refused(found[1] if found else done.stdout + done.stderr)
        return json.loads(done.stdout)


class NodeSdk:
    """The SDK for Node.js."""

    def __init__(self, account):
        self.account = account

    def call(self, action, region=GUANGZHOU, **parameters):
        asked = {
            "secretId": self.account.secret_id, "secretKey": self.account.secret_key, "region": region,
            "endpoint": self.account.server.endpoint.removeprefix("http://"), "action": action, "parameters": parameters,
        }  # fmt: skip
        assert NODE_MODULES.is_dir(), "the SDK is missing; `scripts/install-tools.sh node` installs it"
        done = subprocess.run(
            ["node", Path(__file__).with_name("node_client.js")], env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
            input=json.dumps(asked), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode != 0:
            raise Refused(done.stderr.split(":")[0])
        return json.loads(done.stdout)


class PythonSdk:
    """The SDK for Python, with a signature and a method."""

    def __init__(self, account, method, sign):
        self.account, self.method, self.sign = account, method, sign

    def call(self, action, region=GUANGZHOU, **parameters):
        address = self.account.server.endpoint.removeprefix("http://")
        http = HttpProfile(protocol="http", endpoint=address, reqMethod=self.method)
        profile = ClientProfile(signMethod=self.sign, httpProfile=http)
        key = credential.Credential(self.account.secret_id, self.account.secret_key)
        try:
            answer = CommonClient("cvm", VERSION, key, region, profile).call_json(action, parameters)
        except TencentCloudSDKException as error:
            raise Refused(error.get_code()) from error
        return answer["Response"]


CLIENTS = ["tccli", "node"] + [
    f"{sign} {method}" for sign in ("TC3-HMAC-SHA256", "HmacSHA256", "HmacSHA1") for method in ("POST", "GET")
]


@pytest.fixture(scope="module")
def front(server, tmp_path_factory):
    host, port = server.endpoint.removeprefix("http://").split(":")
    front = TlsFront(tmp_path_factory.mktemp("front"), [], (host, int(port)))
    yield front
    front.close()


@pytest.fixture(params=CLIENTS)
def client(request, alice, front, tmp_path):
    match request.param.split():
        case ["tccli"]:
            return Tccli(alice, front, tmp_path)
        case ["node"]:
            return NodeSdk(alice)
        case [sign, method]:
            return PythonSdk(alice, method, sign)


def test_the_life_of_an_image(client, alice, bob, host, small_disk, request):
    """Imported, found, launched from, made again of the instance, renamed, shared, copied, and deleted."""
    name = re.sub(r"\W", "-", request.node.callspec.params["client"])

    def image(name, region=GUANGZHOU):
        filters = [{"Name": "image-name", "Values": [name]}, {"Name": "image-type", "Values": ["PRIVATE_IMAGE"]}]
        return next(found for found in client.call("DescribeImages", region, Filters=filters)["ImageSet"])

    def normal(name, region=GUANGZHOU):
        wait_until(lambda: image(name, region)["ImageState"] == "NORMAL", 60, lambda: image(name, region))
        return image(name, region)["ImageId"]

    client.call(
        "ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=host.url("small.qcow2"),
        ImageName=name, TagSpecification=[{"ResourceType": "image", "Tags": [{"Key": "client", "Value": name}]}],
    )  # fmt: skip
    imported = normal(name)
    tagged = client.call("DescribeImages", Filters=[{"Name": "tag:client", "Values": [name]}])["ImageSet"]
    assert [found["ImageId"] for found in tagged] == [imported]

    placement = {"Zone": "ap-guangzhou-3"}
    [instance] = client.call("RunInstances", ImageId=imported, Placement=placement, InstanceCount=1)["InstanceIdSet"]
    alice.instance_in("RUNNING", instance)
    client.call("CreateImage", InstanceId=instance, ImageName=f"{name}-made")
    made = normal(f"{name}-made")
    client.call("TerminateInstances", InstanceIds=[instance])

    client.call("ModifyImageAttribute", ImageId=made, ImageName=f"{name}-renamed", ImageDescription="Ünïcode & 100 %")
    assert image(f"{name}-renamed")["ImageDescription"] == "Ünïcode & 100 %"
    client.call("ModifyImageSharePermission", ImageId=made, AccountIds=[bob.uin], Permission="SHARE")
    shares = client.call("DescribeImageSharePermission", ImageId=made)["SharePermissionSet"]
    assert [share["AccountId"] for share in shares] == [bob.uin]
    [copy] = client.call("SyncImages", ImageIds=[made], DestinationRegions=[BEIJING], ImageSetRequired=True)["ImageSet"]
    assert normal(f"{name}-renamed", BEIJING) == copy["ImageId"]

    with pytest.raises(Refused, match="^InvalidImageId.InShared"):
        client.call("DeleteImages", ImageIds=[made])
    client.call("ModifyImageSharePermission", ImageId=made, AccountIds=[bob.uin], Permission="CANCEL")
    client.call("DeleteImages", ImageIds=[made, imported])
    client.call("DeleteImages", BEIJING, ImageIds=[copy["ImageId"]])
    with pytest.raises(Refused, match="^InvalidImageId.NotFound"):
        client.call("DescribeImages", ImageIds=[made])
