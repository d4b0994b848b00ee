"""The public API as its users meet it: accounts, their clients from the official SDK, and waiting for work to end.

The SDK is the one from PyPI, unmodified; only its endpoint is set.
"""

import json
import time

from tencentcloud.common import credential
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cbs.v20170312 import cbs_client
from tencentcloud.cbs.v20170312 import models as cbs_models
from tencentcloud.cvm.v20170312 import cvm_client, models

import pytest

GUANGZHOU = "ap-guangzhou"
BEIJING = "ap-beijing"
SHANGHAI = "ap-shanghai"
SINGAPORE = "ap-singapore"
ZONES = {GUANGZHOU: "ap-guangzhou-3", BEIJING: "ap-beijing-3", SHANGHAI: "ap-shanghai-2"}
KILN_VERSION = "2026-11-01"

WORK_SECONDS = 120
POLL_SECONDS = 0.1
UNFINISHED = ("CREATING", "IMPORTING", "SYNCING")


class Account:
    """An account's key at a server."""

    def __init__(self, server, uin, secret_id, secret_key):
        self.server = server
        self.uin = uin
        self.secret_id = secret_id
        self.secret_key = secret_key

    def _profile(self):
        protocol, address = self.server.endpoint.split("://")
        authority = self.server.authority if protocol == "https" else None
        http = HttpProfile(protocol=protocol, endpoint=address, reqTimeout=60, certification=authority)
        return credential.Credential(self.secret_id, self.secret_key), ClientProfile(httpProfile=http)

    def cvm(self, region=GUANGZHOU):
        """The SDK's own client; a new one, since a server has another port after its restart."""
        key, profile = self._profile()
        return cvm_client.CvmClient(key, region, profile)

    def call(self, action, region=GUANGZHOU, **parameters):
        """An action of the CVM service with the SDK's typed request; its typed answer."""
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return getattr(self.cvm(region), action)(request)

    def cbs(self, action, region=GUANGZHOU, **parameters):
        """An action of the CBS service with the SDK's typed request; its typed answer."""
        key, profile = self._profile()
        request = getattr(cbs_models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return getattr(cbs_client.CbsClient(key, region, profile), action)(request)

    def raw(self, action, region=GUANGZHOU, service="cvm", version="2017-03-12", **parameters):
        """An action with the SDK's untyped client, which checks nothing; the answer as it came."""
        key, profile = self._profile()
        client = CommonClient(service, version, key, region, profile)
        return client.call_json(action, parameters)["Response"]

    def kiln(self, action, region=GUANGZHOU, **parameters):
        """An action of Kiln's own service."""
        return self.raw(action, region, "kiln", KILN_VERSION, **parameters)

    # ---- images ----------------------------------------------------------------------------------------------------

    def images(self, region=GUANGZHOU, **parameters):
        return self.call("DescribeImages", region, Limit=100, **parameters).ImageSet

    def image(self, image, region=GUANGZHOU):
        """The image as it is now, or None."""
        found = self.images(region, Filters=[{"Name": "image-id", "Values": [image]}])
        return found[0] if found else None

    def import_image(self, url, name, region=GUANGZHOU, **parameters):
        """Asks for an import and gives the image's ID."""
        wanted = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageUrl": url, "ImageName": name}
        self.call("ImportImage", region, **{**wanted, **parameters})
        return self.image_named(name, region).ImageId

    def image_named(self, name, region=GUANGZHOU):
        filters = [{"Name": "image-name", "Values": [name]}, {"Name": "image-type", "Values": ["PRIVATE_IMAGE"]}]
        return next(image for image in self.images(region, Filters=filters) if image.ImageName == name)

    def finished_image(self, image, region=GUANGZHOU, seconds=WORK_SECONDS):
        """Waits until nothing works on the image any more."""
        end = time.monotonic() + seconds
        while (found := self.image(image, region)).ImageState in UNFINISHED:
            assert time.monotonic() < end, f"{image} is still {found.ImageState} after {seconds} s"
            time.sleep(POLL_SECONDS)
        return found

    def normal_image(self, image, region=GUANGZHOU, seconds=WORK_SECONDS):
        found = self.finished_image(image, region, seconds)
        assert found.ImageState == "NORMAL", self.failure(image, region)
        return found

    def failure(self, image, region=GUANGZHOU):
        """Code and sentence of a failed image: members that the SDK's type does not have."""
        found = self.raw("DescribeImages", region, ImageIds=[image])["ImageSet"][0]
        return found["ImageState"], found.get("ImageErrorCode"), found.get("ImageErrorMessage")

    def imported(self, url, name, region=GUANGZHOU, **parameters):
        """Imports an image and waits for it; its ID."""
        return self.normal_image(self.import_image(url, name, region, **parameters), region).ImageId

    # ---- instances -------------------------------------------------------------------------------------------------

    def run_instances(self, image, region=GUANGZHOU, **parameters):
        """Launches instances; their IDs."""
        placement = {"Zone": ZONES[region]}
        return self.call("RunInstances", region, Placement=placement, ImageId=image, **parameters).InstanceIdSet

    def instance(self, instance, region=GUANGZHOU):
        filters = [{"Name": "instance-id", "Values": [instance]}]
        found = self.call("DescribeInstances", region, Filters=filters).InstanceSet
        return found[0] if found else None

    def instance_in(self, state, instance, region=GUANGZHOU, seconds=WORK_SECONDS):
        """Waits until an instance is in a state and nothing works on it; a terminated one is not listed any more."""
        end = time.monotonic() + seconds
        while True:
            found = self.instance(instance, region)
            done = found is None or found.LatestOperationState != "OPERATING"
            if done and (found.InstanceState if found else "TERMINATED") == state:
                return found
            assert not (done and found and found.LatestOperationState == "FAILED"), found.LatestOperationErrorMsg
            assert time.monotonic() < end, f"{instance} is {found and found.InstanceState}, not {state}"
            time.sleep(POLL_SECONDS)

    def launched(self, image, region=GUANGZHOU, **parameters):
        """Launches instances and waits until their machines run; their IDs."""
        instances = self.run_instances(image, region, **parameters)
        for instance in instances:
            self.instance_in("RUNNING", instance, region)
        return instances

    def stopped(self, instance, stop_type="HARD"):
        self.call("StopInstances", InstanceIds=[instance], StopType=stop_type)
        return self.instance_in("STOPPED", instance)

    def connection(self, instance, region=GUANGZHOU):
        """How the guest is reached from this machine."""
        return self.kiln("DescribeInstanceConnection", region, InstanceId=instance)

    # ---- disks -----------------------------------------------------------------------------------------------------

    def create_disks(self, region=GUANGZHOU, **parameters):
        """Makes data disks; their IDs."""
        wanted = {"Placement": {"Zone": ZONES[region]}, "DiskChargeType": "POSTPAID_BY_HOUR", "DiskType": "CLOUD_PREMIUM"}
        return self.cbs("CreateDisks", region, **{**wanted, "DiskSize": 1, **parameters}).DiskIdSet

    def disk(self, disk, region=GUANGZHOU):
        """The disk as it is now, or None."""
        found = self.cbs("DescribeDisks", region, DiskIds=[disk]).DiskSet
        return found[0] if found else None

    def attached(self, instance, *disks, region=GUANGZHOU, **parameters):
        """Gives disks to an instance and waits until it has them."""
        self.cbs("AttachDisks", region, InstanceId=instance, DiskIds=disks, **parameters)
        return [self.disk_in("ATTACHED", disk, region) for disk in disks]

    def detached(self, *disks, region=GUANGZHOU):
        """Takes disks from their instances and waits until they are free."""
        self.cbs("DetachDisks", region, DiskIds=disks)
        return [self.disk_in("UNATTACHED", disk, region) for disk in disks]

    def snapshot(self, snapshot, region=GUANGZHOU):
        """The snapshot as it is now, or None."""
        found = self.cbs("DescribeSnapshots", region, SnapshotIds=[snapshot]).SnapshotSet
        return found[0] if found else None

    def snapshot_of(self, disk, region=GUANGZHOU, seconds=WORK_SECONDS, **parameters):
        """Makes a snapshot of a disk and waits for it; its ID."""
        made = self.cbs("CreateSnapshot", region, DiskId=disk, **parameters).SnapshotId
        end = time.monotonic() + seconds
        while (found := self.snapshot(made, region)) and found.SnapshotState == "CREATING":
            assert time.monotonic() < end, f"{made} is still being made"
            time.sleep(POLL_SECONDS)
        assert found, [task for task in self.tasks() if task["SnapshotId"] == made]
        return made

    def disk_in(self, state, disk, region=GUANGZHOU, seconds=WORK_SECONDS):
        """Waits until a disk is in a state; no other operation on its instance is under way then."""
        end = time.monotonic() + seconds
        while (found := self.disk(disk, region)).DiskState in ("ATTACHING", "DETACHING"):
            assert time.monotonic() < end, f"{disk} is still {found.DiskState}"
            time.sleep(POLL_SECONDS)
        assert found.DiskState == state, found.ErrorPrompt
        while found.InstanceId and self.instance(found.InstanceId, region).LatestOperationState == "OPERATING":
            time.sleep(POLL_SECONDS)
        return found

    # ---- people ----------------------------------------------------------------------------------------------------

    def sub_account(self, name, role):
        """Creates a sub-account; it with its first key."""
        return self.server.account(self.kiln("CreateSubAccount", Name=name, Role=role))

    def identity(self):
        return self.raw("GetCallerIdentity", service="sts", version="2018-08-13")

    # ---- the rest --------------------------------------------------------------------------------------------------

    def tasks(self):
        return self.kiln("DescribeTasks", Limit=100)["TaskSet"]

    def set_limits(self, uin, **changed):
        """As the operator: gives an account limits of its own, the guide's with some changed."""
        limits = {
            "ImagesPerRegion": 10, "ImageOperationsPerDay": 1000, "SharesPerImage": 50, "SystemDiskSize": 50,
            "ImageNameLength": 60, "ImageDescriptionLength": 256, "InstancesPerRegion": 500,
            "RequestsPerSecond": 1000, "ExportTasks": 5, "DisksPerRegion": 500, "SnapshotsPerRegion": 500,
        }  # fmt: skip
        self.kiln("ModifyAccountLimits", Uin=uin, Limits={**limits, **changed})


def refused(code, call, *arguments, **parameters):
    """Asserts that a call is refused with an error code; the sentence that came with it."""
    with pytest.raises(TencentCloudSDKException) as caught:
        call(*arguments, **parameters)
    assert caught.value.get_code() == code, f"{caught.value.get_code()}: {caught.value.get_message()}"
    return caught.value.get_message()
