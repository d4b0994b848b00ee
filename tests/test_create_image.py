"""CreateImage: what becomes of the instance that an image is made of, and what is too large for one.

Which disks an image of snapshots and of a whole machine has is in test_snapshots.py; real guests are in test_main_job.py.
"""

import pytest
from cloud import refused
from conftest import BARE_DISKS, CONFIG
from image_files import same_disk


@pytest.fixture(scope="module")
def server(make_server):
    # A guest that halts the processor never switches itself off.
    grace = "power_off_grace_seconds = 240"
    assert grace in CONFIG
    return make_server(CONFIG.replace(grace, "power_off_grace_seconds = 1") + BARE_DISKS).start()


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "small")


def terminated(account, instance):
    account.call("TerminateInstances", InstanceIds=[instance])
    account.instance_in("TERMINATED", instance)


def test_an_instance_goes_on_or_is_switched_off_for_its_image(server, alice, image, small_disk):
    [instance] = alice.launched(image)
    machine = server.machine_pid(instance)
    create = {"InstanceId": instance, "ForcePoweroff": "FALSE"}
    alice.normal_image(alice.call("CreateImage", ImageName="live", **create).ImageId)
    alice.instance_in("RUNNING", instance)
    assert server.is_machine(machine)
    made = alice.call("CreateImage", ImageName="switched-off", **{**create, "ForcePoweroff": "TRUE"}).ImageId
    alice.normal_image(made)
    off = alice.instance_in("STOPPED", instance)
    assert (off.LatestOperation, off.LatestOperationState) == ("CreateImage", "SUCCESS")
    assert not server.is_machine(machine)
    same_disk(server.json("image", "export-url", made)["Url"], small_disk)
    alice.call("StartInstances", InstanceIds=[instance])
    alice.instance_in("RUNNING", instance)
    terminated(alice, instance)


def test_no_image_is_larger_than_its_owner_may_have(operator, alice, image):
    [instance] = alice.launched(image, SystemDisk={"DiskSize": 2})
    alice.stopped(instance)
    snapshot = alice.snapshot_of(alice.instance(instance).SystemDisk.DiskId)
    for source in ({"InstanceId": instance}, {"SnapshotIds": [snapshot]}):
        operator.set_limits(alice.uin, SystemDiskSize=1)
        sentence = refused("InvalidParameterValue.SystemDiskTooLarge", alice.call, "CreateImage", ImageName="large", **source)
        assert "2 GiB" in sentence and "1 GiB" in sentence
        operator.set_limits(alice.uin, SystemDiskSize=2)
        alice.call("CreateImage", ImageName="large", **source, DryRun=True)
    terminated(alice, instance)
