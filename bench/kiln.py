"""A Kiln server of the benchmark's own, and its API by the official SDK.

The server has a data directory that goes with it, a free loopback port, and the limits preset `current`, since the
default ones allow five images a day. A new account shares no chunks with others, so what it imports is new.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cvm.v20170312.cvm_client import CvmClient
from tencentcloud.cvm.v20170312.models import (
    CreateImageRequest,
    DescribeImagesRequest,
    DescribeInstancesRequest,
    ExportImagesRequest,
    ImportImageRequest,
    RunInstancesRequest,
    StopInstancesRequest,
    SyncImagesRequest,
    TerminateInstancesRequest,
)

REGION = "ap-guangzhou"
OTHER_REGIONS = ["ap-beijing", "ap-shanghai", "ap-hongkong"]
START_SECONDS = 30
WAIT_SECONDS = 1200
POLL_SECONDS = 0.02

CONFIGURATION = """
[transfer]
allow_private = ["127.0.0.1/32"]
[limits]
preset = "current"
"""


class Account:
    """One account's view of the server."""

    def __init__(self, endpoint: str, secret_id: str, secret_key: str):
        self.credential = Credential(secret_id, secret_key)
        self.profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=endpoint, keepAlive=True))
        self.kiln = CommonClient("kiln", "2026-11-01", self.credential, REGION, self.profile)
        self.regions: dict[str, CvmClient] = {}

    def cvm(self, region: str = REGION) -> CvmClient:
        if region not in self.regions:
            self.regions[region] = CvmClient(self.credential, region, self.profile)
        return self.regions[region]

    def call(self, action: str, **parameters) -> dict:
        """An action of Kiln's own service."""
        return self.kiln.call_json(action, parameters)["Response"]

    def import_image(self, url: str, name: str) -> str:
        """Imports a file and answers the image once it is NORMAL."""
        request = ImportImageRequest()
        request.Architecture, request.OsType, request.OsVersion = "x86_64", "Debian", "12"
        request.ImageUrl, request.ImageName = url, name
        self.cvm().ImportImage(request)
        return self.wait_for_image(REGION, "image-name", name)

    def create_image(self, instance: str, name: str) -> str:
        """Makes an image of an instance and answers it once it is NORMAL."""
        request = CreateImageRequest()
        request.InstanceId, request.ImageName = instance, name
        return self.wait_for_image(REGION, "image-id", self.cvm().CreateImage(request).ImageId)

    def copy_image(self, image: str, region: str) -> str:
        """Copies an image to a region and answers the copy once it is NORMAL."""
        request = SyncImagesRequest()
        request.ImageIds, request.DestinationRegions, request.ImageSetRequired = [image], [region], True
        copy = self.cvm().SyncImages(request).ImageSet[0].ImageId
        return self.wait_for_image(region, "image-id", copy)

    def export_image(self, image: str, bucket: str, form: str) -> str:
        """Exports an image's system disk, and answers the object's key once it is there."""
        request = ExportImagesRequest()
        request.ImageIds, request.BucketName, request.ExportFormat = [image], bucket, form
        answer = self.cvm().ExportImages(request)
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            task = self.call("DescribeTasks", TaskIds=[str(answer.TaskId)])["TaskSet"][0]
            if task["State"] == "SUCCEEDED":
                return answer.CosPaths[0].removeprefix("/")
            if task["State"] not in ("QUEUED", "RUNNING"):
                raise RuntimeError(f"export of {image}: {task['State']}: {task['ErrorMessage']}")
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"the export of {image} has not ended after {WAIT_SECONDS} s")

    def wait_for_image(self, region: str, field: str, value: str) -> str:
        """Waits until the one image with that name or id is NORMAL."""
        request = DescribeImagesRequest()
        request.from_json_string(json.dumps({"Filters": [{"Name": field, "Values": [value]}]}))
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            image = self.cvm(region).DescribeImages(request).ImageSet[0]
            if image.ImageState == "NORMAL":
                return image.ImageId
            if image.ImageState.endswith("FAILED"):
                raise RuntimeError(f"image {image.ImageId}: {image.ImageState}: {self.reason(image.ImageId)}")
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"image {value} is not NORMAL after {WAIT_SECONDS} s")

    def reason(self, image: str) -> str:
        """Why the newest task on an image failed."""
        tasks = self.call("DescribeTasks", Limit=100)["TaskSet"]
        return next((task["ErrorMessage"] for task in tasks if task["ImageId"] == image), "unknown")

    def launch_and_stop(self, image: str) -> str:
        """An instance of an image that was switched off as soon as it ran."""
        request = RunInstancesRequest()
        request.ImageId, request.InstanceCount = image, 1
        instance = self.cvm().RunInstances(request).InstanceIdSet[0]
        self.wait_for_instance(instance, "RUNNING")
        stop = StopInstancesRequest()
        stop.InstanceIds, stop.StopType = [instance], "HARD"
        self.cvm().StopInstances(stop)
        self.wait_for_instance(instance, "STOPPED")
        return instance

    def terminate(self, instance: str):
        request = TerminateInstancesRequest()
        request.InstanceIds = [instance]
        self.cvm().TerminateInstances(request)

    def wait_for_instance(self, instance: str, state: str):
        request = DescribeInstancesRequest()
        request.InstanceIds = [instance]
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            found = self.cvm().DescribeInstances(request).InstanceSet[0]
            if found.InstanceState == state:
                return
            if found.InstanceState == "LAUNCH_FAILED":
                raise RuntimeError(f"instance {instance}: {found.LatestOperationErrorMsg}")
            time.sleep(5 * POLL_SECONDS)
        raise RuntimeError(f"instance {instance} is not {state} after {WAIT_SECONDS} s")


class Server:
    """A server and the accounts made on it."""

    def __init__(self, binary: Path, data_dir: Path, configuration: str = ""):
        self.binary, self.data_dir = binary, data_dir
        data_dir.mkdir(parents=True)
        self.config = data_dir / "bench.toml"
        self.config.write_text(CONFIGURATION + configuration)
        self.process, self.endpoint = None, f"127.0.0.1:{free_port()}"
        self.start()

    def start(self):
        """Starts it, and takes up the operator's account."""
        log = (self.data_dir / "server.log").open("ab")
        command = [self.binary, "serve", "--config", self.config, "--data-dir", self.data_dir]
        command += ["--listen", self.endpoint]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        self.wait_until_ready()
        keys = json.loads((self.data_dir / "credentials.json").read_text())
        self.operator = Account(self.endpoint, keys["SecretId"], keys["SecretKey"])

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{self.endpoint}/readyz")
                return
            time.sleep(0.05)
        raise RuntimeError(f"kiln does not start: {(self.data_dir / 'server.log').read_text()[-2000:]}")

    def account(self, nickname: str) -> Account:
        """A new account that may import."""
        made = self.operator.call("CreateAccount", Nickname=nickname, AllowImport=True)
        return Account(self.endpoint, made["SecretId"], made["SecretKey"])

    def export_url(self, image: str) -> str:
        """Where an image is read over NBD."""
        return self.operator.call("OpenImageExport", ImageId=image, Transport="UNIX")["Url"]

    def store_dir(self, region: str = REGION) -> Path:
        return self.data_dir / "regions" / region / "store"

    def stored_bytes(self, region: str = REGION) -> int:
        """Bytes of the region's objects, as the file system has them."""
        return sum(path.stat().st_size for path in self.store_dir(region).rglob("*") if path.is_file())

    def overlay(self, instance: str) -> Path:
        return self.data_dir / "instances" / instance / "root.qcow2"

    def peak_memory_bytes(self) -> int:
        """The most memory that the server's process had at once (VmHWM)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel does not tell the process's peak memory")

    def pause(self):
        """Stops it; `start` goes on."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """Stops it and removes everything that it kept."""
        self.pause()
        shutil.rmtree(self.data_dir, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bypass_proxies():
    """Keeps the SDK's requests to the loopback address off any proxy of this machine."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

