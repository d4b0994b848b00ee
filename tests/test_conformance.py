"""Answers and requests against the public definitions, for every action that Kiln has of the public services.

`tccli` carries the definitions. A scenario calls each action; its answer must have the declared members, of the
declared types, and no others, and the request without a required parameter must be refused as the public API does it.
"""

import base64

import pytest
from cloud import BEIJING, refused
from definitions import VERSIONS, definition, departures, required_parameters, without
from object_clients import app_id, s3

# The public part of the table of actions in the project's specification of its interfaces.
WANTED = {
    "cvm": """
        CreateImage DeleteImages DescribeImages DescribeImageQuota DescribeImageSharePermission
        DescribeImageFromFamily DescribeImportImageOs ExportImages ImportImage ModifyImageAttribute
        ModifyImageSharePermission SyncImages
        RunInstances DescribeInstances DescribeInstancesStatus StartInstances StopInstances RebootInstances
        TerminateInstances ResetInstance ModifyInstancesAttribute ResetInstancesPassword DescribeInstancesAttributes
        DescribeInstanceVncUrl InquiryPriceRunInstances InquiryPriceResetInstance DescribeInstanceTypeConfigs
        DescribeInstanceFamilyConfigs DescribeZoneInstanceConfigInfos
        DescribeRegions DescribeZones DescribeAccountQuota
        CreateKeyPair ImportKeyPair DescribeKeyPairs DeleteKeyPairs ModifyKeyPairAttribute
        AssociateInstancesKeyPairs DisassociateInstancesKeyPairs
    """.split(),
    "cbs": """
        CreateDisks DescribeDisks AttachDisks DetachDisks TerminateDisks CreateSnapshot DescribeSnapshots
        DeleteSnapshots
    """.split(),
    "tag": "DescribeResourceTags ModifyResourceTags TagResources UnTagResources".split(),
    "sts": ["GetCallerIdentity"],
}
# What the server does not have of it; the scenario calls the rest.
NOT_YET = set()
CALLED = [(service, action) for service, actions in WANTED.items() for action in actions if (service, action) not in NOT_YET]

# Members that Kiln has beside the declared ones: why an image failed, and what of a price is for the image.
EXTENSIONS = {"ImageSet.ImageErrorCode", "ImageSet.ImageErrorMessage", "Price.ImagePrice"}

ZONE = "ap-guangzhou-3"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
TAGS = [{"Key": "env", "Value": "test"}]


class Scenario:
    """Calls actions, and keeps what was asked and answered."""

    def __init__(self, account):
        self.account = account
        self.requests = {}
        self.answers = {}

    def ask(self, action, service="cvm", **parameters):
        answer = self.account.raw(action, service=service, version=VERSIONS[service], **parameters)
        self.requests[service, action] = parameters
        self.answers.setdefault((service, action), []).append(answer)
        return answer


@pytest.fixture(scope="module")
def scenario(alice, bob, host, small_disk):
    """An answer of every action at least, as it came."""
    calls = Scenario(alice)
    image = import_image(calls, host.url("small.qcow2"))
    key = work_on_key_pairs(calls)
    instance = launch(calls, image, key)
    describe_everything(calls, image, instance)
    work_on_images(calls, image, instance, bob)
    work_on_disks(calls, instance)
    change_guest(calls, instance, key)
    tag(calls, image, instance)
    switch_off_and_on(calls, instance)
    calls.ask("TerminateInstances", InstanceIds=[instance])
    alice.instance_in("TERMINATED", instance)
    calls.ask("DeleteKeyPairs", KeyIds=[key])
    return calls


def specification(kind):
    return [{"ResourceType": kind, "Tags": TAGS}]


def import_image(calls, url):
    calls.ask(
        "ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=url, ImageName="small",
        ImageFamily="small", TagSpecification=specification("image"),
    )  # fmt: skip
    image = calls.account.image_named("small").ImageId
    failing = calls.ask(
        "ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=url + ".gone", ImageName="gone"
    )["ImageId"]
    assert calls.account.finished_image(failing).ImageState == "IMPORTFAILED"
    return calls.account.normal_image(image).ImageId


def work_on_key_pairs(calls):
    calls.ask("CreateKeyPair", KeyName="made", ProjectId=0, TagSpecification=specification("keypair"))
    key = calls.ask("ImportKeyPair", KeyName="key", ProjectId=0, PublicKey=PUBLIC_KEY)["KeyId"]
    calls.ask("ModifyKeyPairAttribute", KeyId=key, KeyName="renamed", Description="described")
    return key


def launch(calls, image, key):
    user_data = base64.b64encode(b"#!/bin/sh\n").decode()
    [instance] = calls.ask(
        "RunInstances", ImageId=image, Placement={"Zone": ZONE}, LoginSettings={"KeyIds": [key]}, UserData=user_data,
        DataDisks=[{"DiskSize": 1}],
        TagSpecification=specification("instance"),
    )["InstanceIdSet"]  # fmt: skip
    calls.account.instance_in("RUNNING", instance)
    return instance


def describe_everything(calls, image, instance):
    for action in """
        DescribeImages DescribeImageQuota DescribeImportImageOs DescribeInstances DescribeInstancesStatus
        DescribeInstanceTypeConfigs DescribeInstanceFamilyConfigs DescribeZoneInstanceConfigInfos DescribeRegions
        DescribeZones DescribeAccountQuota DescribeKeyPairs
    """.split():
        calls.ask(action)
    calls.ask("DescribeImageFromFamily", ImageFamily="nobody")
    calls.ask("DescribeImageFromFamily", ImageFamily="small")
    calls.ask("DescribeInstancesAttributes", InstanceIds=[instance], Attributes=["UserData"])
    calls.ask("InquiryPriceRunInstances", Placement={"Zone": ZONE}, ImageId=image)
    calls.ask("InquiryPriceResetInstance", InstanceId=instance)
    calls.ask("DescribeInstanceVncUrl", InstanceId=instance)
    calls.ask("GetCallerIdentity", service="sts")


def work_on_images(calls, image, instance, bob):
    bucket = f"exports-{app_id(calls.account)}"
    s3(calls.account).create_bucket(Bucket=bucket)
    calls.ask("ExportImages", BucketName=bucket, ImageIds=[image], ExportFormat="QCOW2", FileNamePrefixList=["nightly"])
    calls.ask("ExportImages", BucketName=bucket, ImageIds=[image], DryRun=True)
    created = calls.ask("CreateImage", InstanceId=instance, ImageName="created")["ImageId"]
    calls.account.normal_image(created)
    calls.ask("SyncImages", ImageIds=[image], DestinationRegions=[BEIJING], ImageSetRequired=True)
    calls.ask("ModifyImageAttribute", ImageId=image, ImageName="renamed", ImageDeprecated=True, ImageFamily="other")
    calls.ask("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="SHARE")
    calls.ask("DescribeImageSharePermission", ImageId=image)
    calls.ask("DeleteImages", ImageIds=[created])


def work_on_disks(calls, instance):
    [disk] = calls.ask(
        "CreateDisks", "cbs", Placement={"Zone": ZONE}, DiskChargeType="POSTPAID_BY_HOUR", DiskType="CLOUD_PREMIUM",
        DiskSize=1, DiskName="disk", Tags=TAGS,
    )["DiskIdSet"]  # fmt: skip
    calls.account.stopped(instance)
    calls.ask("AttachDisks", "cbs", InstanceId=instance, DiskIds=[disk])
    calls.account.disk_in("ATTACHED", disk)
    calls.ask("DescribeDisks", "cbs")
    calls.ask("DescribeInstances")
    calls.ask("DetachDisks", "cbs", DiskIds=[disk])
    calls.account.disk_in("UNATTACHED", disk)
    calls.account.instance_in("STOPPED", instance)
    calls.ask("DescribeDisks", "cbs")
    snapshot = calls.ask("CreateSnapshot", "cbs", DiskId=disk, SnapshotName="snapshot", Tags=TAGS)["SnapshotId"]
    calls.ask("DescribeSnapshots", "cbs")
    while calls.account.snapshot(snapshot).SnapshotState == "CREATING":
        pass
    calls.ask("DescribeSnapshots", "cbs")
    calls.ask("DescribeDisks", "cbs")
    calls.ask("DeleteSnapshots", "cbs", SnapshotIds=[snapshot])
    calls.ask("TerminateDisks", "cbs", DiskIds=[disk])
    calls.account.call("StartInstances", InstanceIds=[instance])
    calls.account.instance_in("RUNNING", instance)


def change_guest(calls, instance, key):
    calls.account.stopped(instance)
    calls.ask("ResetInstancesPassword", InstanceIds=[instance], Password="pass-word-1")
    calls.ask("AssociateInstancesKeyPairs", InstanceIds=[instance], KeyIds=[key])
    calls.ask("DescribeKeyPairs")
    calls.ask("DisassociateInstancesKeyPairs", InstanceIds=[instance], KeyIds=[key])
    calls.ask("ModifyInstancesAttribute", InstanceIds=[instance], InstanceName="renamed")
    calls.ask("ResetInstance", InstanceId=instance, HostName="reset")
    calls.account.instance_in("RUNNING", instance)
    calls.account.stopped(instance)
    calls.ask("StartInstances", InstanceIds=[instance])
    calls.account.instance_in("RUNNING", instance)


def tag(calls, image, instance):
    name = "qcs::cvm:ap-guangzhou:uin/{}:{}/{}".format
    uin = calls.account.uin
    resources = [name(uin, "image", image), name(uin, "instance", instance), name(uin, "image", "img-00000000")]
    calls.ask("TagResources", "tag", ResourceList=resources, Tags=[{"TagKey": "app", "TagValue": "web"}])
    calls.ask("DescribeResourceTags", "tag", ServiceType="cvm", ResourcePrefix="image")
    calls.ask(
        "ModifyResourceTags", "tag", Resource=resources[0], ReplaceTags=[{"TagKey": "app", "TagValue": "db"}],
        DeleteTags=[{"TagKey": "env"}],
    )  # fmt: skip
    calls.ask("DescribeImages")
    calls.ask("UnTagResources", "tag", ResourceList=resources, TagKeys=["app"])


def switch_off_and_on(calls, instance):
    calls.ask("RebootInstances", InstanceIds=[instance], StopType="HARD")
    calls.account.instance_in("RUNNING", instance)
    calls.ask("StopInstances", InstanceIds=[instance], StopType="HARD")
    calls.account.instance_in("STOPPED", instance)


@pytest.mark.parametrize(("service", "action"), CALLED)
def test_an_answer_is_as_it_is_declared(scenario, service, action):
    for answer in scenario.answers[service, action]:
        assert departures(service, action, answer, EXTENSIONS) == []


@pytest.mark.parametrize(("service", "action"), CALLED)
def test_a_required_parameter_that_is_missing_is_missed(scenario, service, action):
    request = scenario.requests[service, action]
    missed = set(required_parameters(service, action)) - request.keys()
    assert not missed, f"the scenario leaves {missed} out"
    for missing, incomplete in without(request, service, action):
        options = {"service": service, "version": VERSIONS[service]}
        sentence = refused("MissingParameter", scenario.account.raw, action, **options, **incomplete)
        assert missing in sentence


def test_a_departure_is_seen(scenario):
    """The check itself: each kind of departure from a definition is told."""
    [answer] = scenario.answers["cvm", "DescribeImageQuota"]
    for wrong in ({"ImageNumQuota": "10"}, {"ImageNumQuota": None}, {"ImageNumQuota": True}, {"Colour": "red"}):
        assert departures("cvm", "DescribeImageQuota", {**answer, **wrong}) != []
    assert departures("cvm", "DescribeImageQuota", {"RequestId": answer["RequestId"]}) == ["ImageNumQuota is missing"]


def test_actions_are_covered(scenario, alice, operator, capsys):
    """What the server has is what was called; the rest is refused as unknown."""
    wanted = [(service, action) for service, actions in WANTED.items() for action in actions]
    assert all(action in definition(service)["actions"] for service, action in wanted)
    listed = {(action["Service"], action["ActionName"]) for action in operator.kiln("DescribeActions")["ActionSet"]}
    assert set(scenario.answers) == set(CALLED) == {action for action in listed if action[0] in VERSIONS}
    for service, action in NOT_YET:
        with pytest.raises(Exception, match="InvalidAction|NoSuchProduct"):
            alice.raw(action, service=service, version=VERSIONS[service])
    with capsys.disabled():
        print(f"\nactions covered {len(CALLED)} / {len(wanted)} in api.md")
