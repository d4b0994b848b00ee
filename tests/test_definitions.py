"""Answers against the public definition: the official SDK's types take them without a member left over or a type
missed, for every action of the CVM service that Kiln has.
"""

import json

import pytest
from cloud import BEIJING
from tencentcloud.cvm.v20170312 import models

# Members of features that Kiln has not.
MAY_BE_ABSENT = {
    "DescribeImages": {"CdcCacheStatus"},
    "DescribeInstances": {
        "CpuTopology", "EnableJumboFrame", "GPUInfo", "Metadata", "PartitionNumber", "PublicIPv6Addresses", "Uuid",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(alice, bob, host, small_disk):
    """An answer of every action, by its name, as it came."""
    answers = {}

    def ask(action, **parameters):
        answers[action] = alice.raw(action, **parameters)
        return answers[action]

    image = import_image(alice, ask, host.url("small.qcow2"))
    public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    key = ask("ImportKeyPair", KeyName="key", ProjectId=0, PublicKey=public_key)["KeyId"]
    [instance] = ask("RunInstances", ImageId=image, Placement={"Zone": "ap-guangzhou-3"})["InstanceIdSet"]
    alice.instance_in("RUNNING", instance)
    for action in ACTIONS:
        if action.startswith("Describe") and action != "DescribeImageSharePermission":
            ask(action)
    ask("CreateImage", InstanceId=instance, ImageName="created")
    created = alice.normal_image(answers["CreateImage"]["ImageId"]).ImageId
    ask("SyncImages", ImageIds=[image], DestinationRegions=[BEIJING], ImageSetRequired=True)
    ask("ModifyImageAttribute", ImageId=image, ImageName="renamed", ImageDescription="described")
    ask("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="SHARE")
    ask("DescribeImageSharePermission", ImageId=image)
    switch_off_and_on(alice, ask, instance)
    ask("TerminateInstances", InstanceIds=[instance])
    alice.instance_in("TERMINATED", instance)
    ask("DeleteKeyPairs", KeyIds=[key])
    ask("DeleteImages", ImageIds=[created])
    return answers


def import_image(alice, ask, url):
    ask("ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=url, ImageName="small")
    return alice.normal_image(alice.image_named("small").ImageId).ImageId


def switch_off_and_on(alice, ask, instance):
    ask("RebootInstances", InstanceIds=[instance], StopType="HARD")
    alice.instance_in("RUNNING", instance)
    ask("StopInstances", InstanceIds=[instance], StopType="HARD")
    alice.instance_in("STOPPED", instance)
    ask("StartInstances", InstanceIds=[instance])
    alice.instance_in("RUNNING", instance)


ACTIONS = [
    "CreateImage", "DeleteImages", "DeleteKeyPairs", "DescribeAccountQuota", "DescribeImageQuota", "DescribeImageSharePermission",
    "DescribeImages", "DescribeInstances", "DescribeInstancesStatus", "DescribeKeyPairs", "DescribeRegions",
    "DescribeZones", "ImportImage", "ImportKeyPair", "ModifyImageAttribute", "ModifyImageSharePermission",
    "RebootInstances", "RunInstances", "StartInstances", "StopInstances", "SyncImages", "TerminateInstances",
]  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS)
def test_an_answer_has_the_public_shape(answers, action):
    """What the SDK's type gives back is what came: nothing left over, nothing of another type."""
    typed = getattr(models, f"{action}Response")()
    typed._deserialize(answers[action])
    back = without_absent(json.loads(typed.to_json_string()))
    assert back == without_absent(answers[action])


@pytest.mark.parametrize("action", ["DescribeImages", "DescribeInstances"])
def test_a_listed_resource_leaves_no_public_member_out(answers, action):
    """Clients compare what they find with what they asked for: a member that is missing reads as a change."""
    [members] = [value for value in answers[action].values() if isinstance(value, list)]
    public = {"DescribeImages": models.Image, "DescribeInstances": models.Instance}[action]()
    names = set(json.loads(public.to_json_string()))
    missing = names - set(members[0])
    assert missing <= MAY_BE_ABSENT[action], missing - MAY_BE_ABSENT[action]


def without_absent(value):
    """A value without members that are null."""
    if isinstance(value, dict):
        return {name: without_absent(part) for name, part in value.items() if part is not None}
    return [without_absent(part) for part in value] if isinstance(value, list) else value
