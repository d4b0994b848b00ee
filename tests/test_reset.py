"""ResetInstance: an instance keeps its identity and gets a new system disk, whatever interrupts it.

What is on the new disk is read through an image made of the instance, by qemu-img. A real guest's reinstallation is in
test_guest_changes.py.
"""

import random
import time

import pytest
from cloud import refused
from conftest import BARE_DISKS, CONFIG
from image_files import change_overlay, qcow2, same_disk, system_disk

KILLS = 8
# Most of a reinstallation is done by then, on a slow machine too.
LONGEST_DELAY_SECONDS = 0.8


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS).start()


@pytest.fixture(scope="module")
def sources(files):
    """Two disks of different content and size."""
    disks = [system_disk(files / f"reset-{n}.raw", f"reset {n}", size_mib=64 + 16 * n) for n in range(2)]
    for disk in disks:
        qcow2(disk)
    return disks


@pytest.fixture(scope="module")
def images(alice, host, sources):
    return [alice.imported(host.url(f"reset-{n}.qcow2"), f"reset-{n}") for n in range(len(sources))]


@pytest.fixture
def instance(alice, images):
    [instance] = alice.launched(images[0])
    yield instance
    if alice.instance(instance):
        alice.call("TerminateInstances", InstanceIds=[instance])
        alice.instance_in("TERMINATED", instance)


def holds(server, alice, instance, source):
    """That a stopped instance's disk is a source's."""
    name = f"of-{time.monotonic_ns()}"
    alice.call("CreateImage", InstanceId=instance, ImageName=name)
    image = alice.normal_image(alice.image_named(name).ImageId).ImageId
    same_disk(server.json("image", "export-url", image)["Url"], source)
    alice.call("DeleteImages", ImageIds=[image])


def reset(alice, instance, **parameters):
    alice.call("ResetInstance", InstanceId=instance, **parameters)
    return alice.instance_in("RUNNING", instance)


def identity(found):
    return found.InstanceId, found.Uuid, found.SystemDisk.DiskId, found.PrivateIpAddresses, found.CreatedTime


def test_an_instance_keeps_what_it_is_and_gets_another_disk(server, alice, images, instance):
    before = alice.instance(instance)
    alice.stopped(instance)
    after = reset(alice, instance, ImageId=images[1], HostName="another", SystemDisk={"DiskSize": 2})
    assert identity(after) == identity(before)
    assert (after.ImageId, after.HostName, after.SystemDisk.DiskSize) == (images[1], "another", 2)
    assert (after.LatestOperation, after.LatestOperationState) == ("ResetInstance", "SUCCESS")
    # From running as well, back to the first image; the disk keeps its size, which is more than that image has.
    after = reset(alice, instance, ImageId=images[0])
    assert (after.ImageId, after.HostName, after.SystemDisk.DiskSize) == (images[0], "another", 2)
    assert server.machine_pids().count(server.machine_pid(instance)) == 1


def test_the_new_disk_is_the_images(server, alice, images, sources, instance):
    alice.stopped(instance)
    change_overlay(server.instance_dir(instance) / "root.qcow2", random.Random(2), sources[0], sources[0].with_suffix(".changed"))
    server.run("instance", "reset", instance, account=alice)
    alice.stopped(instance)
    holds(server, alice, instance, sources[0])
    # From running: the machine goes with its disk.
    alice.call("StartInstances", InstanceIds=[instance])
    alice.instance_in("RUNNING", instance)
    before = server.machine_pid(instance)
    reset(alice, instance, ImageId=images[1])
    assert server.machine_pids() == [server.machine_pid(instance)] != [before]
    alice.stopped(instance)
    holds(server, alice, instance, sources[1])


def test_a_reinstallation_survives_the_death_of_its_server(server, alice, images, sources, instance, seed):
    numbers = random.Random(f"{seed}/reset")
    for kill in range(KILLS):
        wanted = numbers.randrange(2)
        alice.call("ResetInstance", InstanceId=instance, ImageId=images[wanted])
        time.sleep(numbers.uniform(0, LONGEST_DELAY_SECONDS))
        server.kill()
        server.start()
        alice.instance_in("RUNNING", instance)
        assert server.machine_pids() == [server.machine_pid(instance)], f"kill {kill}"
        if numbers.random() < 0.5:
            alice.stopped(instance)
            holds(server, alice, instance, sources[wanted])
    server.check_store()


def test_what_is_not_reinstalled(server, alice, bob, host, images, instance):
    ask = ("ResetInstance",)
    refused("InvalidInstanceId.NotFound", alice.call, *ask, InstanceId="ins-00000000")
    refused("InvalidInstanceId.NotFound", bob.call, *ask, InstanceId=instance)
    refused("InvalidImageId.NotFound", alice.call, *ask, InstanceId=instance, ImageId="img-00000000")
    refused("InvalidHostName.Malformed", alice.call, *ask, InstanceId=instance, HostName="-")
    refused("InvalidPassword", alice.call, *ask, InstanceId=instance, LoginSettings={"Password": "short"})
    refused("InvalidParameterValue.Range", alice.call, *ask, InstanceId=instance, SystemDisk={"DiskSize": 4096})
    grown = reset(alice, instance, SystemDisk={"DiskSize": 2})
    assert grown.SystemDisk.DiskSize == 2
    refused("InvalidParameterValue.Range", alice.call, *ask, InstanceId=instance, SystemDisk={"DiskSize": 1})
    # One at a time.
    alice.call(*ask, InstanceId=instance)
    refused("MutexOperation.TaskRunning", alice.call, *ask, InstanceId=instance)
    alice.instance_in("RUNNING", instance)


def test_an_image_that_is_no_longer_shared_gives_no_new_disk(alice, bob, images):
    alice.call("ModifyImageSharePermission", ImageId=images[0], AccountIds=[bob.uin], Permission="SHARE")
    [instance] = bob.launched(images[0])
    reset(bob, instance)
    alice.call("ModifyImageSharePermission", ImageId=images[0], AccountIds=[bob.uin], Permission="CANCEL")
    refused("InvalidImageId.NotFound", bob.call, "ResetInstance", InstanceId=instance)
    refused("InvalidImageId.NotFound", bob.call, "ResetInstance", InstanceId=instance, ImageId=images[0])
    bob.stopped(instance)
    bob.call("StartInstances", InstanceIds=[instance])
    bob.instance_in("RUNNING", instance)
    bob.call("TerminateInstances", InstanceIds=[instance])
    bob.instance_in("TERMINATED", instance)
