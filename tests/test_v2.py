"""The legacy API v2 as its official client speaks it: the one from PyPI, unmodified.

It knows neither plain HTTP nor another host than its own, but an HTTPS proxy: the tests are that.
"""

import json
import re
import time

import pytest
from cloud import BEIJING
from kiln_server import wait_until
from QcloudApi.qcloudapi import QcloudApi
from tls_front import TlsFront

CUSTOM, PUBLIC, MARKET, SHARED = 1, 2, 3, 4
CREATING, NORMAL, COPYING, BEING_COPIED = 1, 2, 4, 5
HOSTS = {"image": "image.api.qcloud.com", "cvm": "cvm.api.qcloud.com"}


@pytest.fixture(scope="module", autouse=True)
def front(server, tmp_path_factory):
    """The way from the client's own host to the server."""
    host, port = server.endpoint.removeprefix("http://").split(":")
    front = TlsFront(tmp_path_factory.mktemp("front"), HOSTS.values(), (host, int(port)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("https_proxy", f"http://{front.address}")
        patch.setenv("SSL_CERT_FILE", str(front.certificate))
        yield front
    front.close()


class Client:
    """The official client with an account's key."""

    def __init__(self, account, module="image", method="GET", sign="HmacSHA1", region="gz"):
        self.account, self.module = account, module
        self.config = {
            "Region": region, "method": method, "SignatureMethod": sign,
            "secretId": account.secret_id, "secretKey": account.secret_key,
        }  # fmt: skip

    def ask(self, action, **parameters):
        """The answer, whatever it is."""
        return json.loads(QcloudApi(self.module, self.config).call(action, parameters))

    def call(self, action, **parameters):
        """The answer of a call that must succeed."""
        answer = self.ask(action, **parameters)
        assert (answer.pop("code"), answer.pop("message"), answer.pop("codeDesc")) == (0, "", "Success")
        return answer

    def images(self, kind=CUSTOM, **parameters):
        return self.call("DescribeImages", imageType=kind, **parameters)["imageSet"]

    def status(self, image):
        return self.images(imageIds=[image])[0]["status"]


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "small")


@pytest.fixture(scope="module")
def instance(alice, image):
    return alice.launched(image)[0]


@pytest.mark.parametrize("module", ["image", "cvm"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sign", ["HmacSHA1", "HmacSHA256"])
def test_each_way_to_ask(alice, image, module, method, sign):
    [found] = Client(alice, module, method, sign).images(imageIds=[image])
    assert found["unImgId"] == image


def test_the_life_of_an_image(alice, bob, instance):
    """Made of an instance, found, renamed, shared, copied, no longer shared, deleted."""
    client, other = Client(alice), Client(bob, method="POST", sign="HmacSHA256")
    task = client.call("CreateImage", instanceId=instance, imageName="v2-image", imageDescription="made")["requestId"]
    assert task in [found["TaskId"] for found in alice.tasks()]
    image = next(found for found in client.images() if found["imageName"] == "v2-image")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", image["createTime"])
    assert (image["imageType"], image["creator"], image["imageDescription"]) == (CUSTOM, alice.uin, "made")
    image = image["unImgId"]
    wait_until(lambda: client.status(image) == NORMAL, 60, lambda: client.images(imageIds=[image]))

    client.call("ModifyImageAttributes", imageId=image, imageName="v2-renamed", imageDescription="described")
    [found] = client.images(imageIds=[image])
    assert (found["imageName"], found["imageDescription"]) == ("v2-renamed", "described")

    client.call("ShareImage", imageId=image, uinList=[bob.uin])
    assert [found["unImgId"] for found in other.images(SHARED)] == [image]
    assert other.images(CUSTOM) == other.images(PUBLIC) == other.images(MARKET) == []
    data = client.call("GetImageShareUinInfo", imageIds=[image])["data"]
    assert (data["imageNum"], data["maxImgShareNum"]) == (1, 500)
    [listed] = data["imageList"]
    assert (listed["imageId"], [share["uin"] for share in listed["shareUinInfo"]]) == (image, [bob.uin])

    client.call("SyncCvmImage", srcRegion="gz", imgIdList=[image], dstRegion=["bj"])
    copy = alice.image_named("v2-renamed", BEIJING).ImageId
    there = Client(alice, region="bj")
    wait_until(lambda: there.status(copy) == NORMAL, 60, lambda: there.images(imageIds=[copy]))
    wait_until(lambda: client.status(image) == NORMAL, 60, lambda: client.images(imageIds=[image]))

    refused = client.ask("DeleteImages", imageIds=[image, "img-00000000"])
    assert (refused["code"], refused["codeDesc"]) == (5100, "InvalidImageId.InShared")
    assert [refused["detail"][one]["code"] for one in (image, "img-00000000")] == [5100, 5000]
    client.call("CancelShareImage", imageId=image, uinList=[bob.uin])
    assert other.images(SHARED) == []
    detail = client.call("DeleteImages", imageIds=[image])["detail"]
    assert (detail[image]["code"], detail[image]["message"]) == (0, "")
    assert alice.image(image) is None and there.status(copy) == NORMAL


def test_states_are_told_apart(alice, image):
    client = Client(alice)
    assert [found["status"] for found in client.images(status=NORMAL)] == [NORMAL]
    assert client.images(status=CREATING) == client.images(status=COPYING) == client.images(status=BEING_COPIED) == []


@pytest.mark.parametrize(
    ("code", "name", "action", "parameters"),
    [
        (4000, "InvalidAction", "MakeCoffee", {}),
        (4000, "MissingParameter", "DescribeImages", {}),
        (4000, "InvalidParameterValue", "DescribeImages", {"imageType": 5}),
        (4000, "InvalidParameterValue", "CreateImage", {"instanceId": "ins-00000000", "imageName": "seventeen-letters"}),
        (4000, "InvalidParameterValue", "CreateImage", {"instanceId": "ins-00000000", "imageName": "under_score"}),
        (5000, "InvalidInstanceId.NotFound", "CreateImage", {"instanceId": "ins-00000000", "imageName": "none"}),
        (5000, "InvalidImageId.NotFound", "ShareImage", {"imageId": "img-00000000", "uinList": ["100000000000"]}),
        (4000, "UnsupportedRegion", "SyncCvmImage", {"srcRegion": "xx", "imgIdList": ["img-00000000"], "dstRegion": ["bj"]}),
        (4000, "InvalidParameterValue", "GetImageShareUinInfo", {"imageIds": ["img-00000000"] * 11}),
    ],
)  # fmt: skip
def test_refusals(alice, code, name, action, parameters):
    answer = Client(alice).ask(action, **parameters)
    assert (answer["code"], answer["codeDesc"]) == (code, name)
    assert answer["message"]


def test_signatures_are_checked(alice, monkeypatch):
    client = Client(alice)
    client.config["secretKey"] = alice.secret_key[::-1]
    assert client.ask("DescribeImages", imageType=CUSTOM)["code"] == 4100
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 600)
    assert Client(alice).ask("DescribeImages", imageType=CUSTOM)["code"] == 4200
