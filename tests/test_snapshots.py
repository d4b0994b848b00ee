"""Snapshots of disks, disks and images of snapshots, and whole-machine images.

What is on a disk is written and read with qemu-io and qemu-img, beside the server. What a running guest wrote is asked of
a real Debian.
"""

import json
import random
import subprocess
import time

import pytest
from cloud import BEIJING, GUANGZHOU, refused
from conftest import BARE_DISKS, CONFIG
from file_host import FileHost
from guests import KeyPair
from image_files import change_overlay, same_disk
from test_disks import NEW_DISK, file_of, ids, path_of, run, started, terminated

MIB = 1 << 20
KILLS = 5
LONGEST_DELAY_SECONDS = 0.5


@pytest.fixture(scope="module")
def server(make_server):
    # Garbage goes at once where a test collects.
    return make_server(CONFIG + BARE_DISKS + "\n[collection]\nmin_age_seconds = 0\ngrace_seconds = 0\n").start()


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "small")


@pytest.fixture
def instance(alice, image):
    """A stopped instance with a data disk."""
    [instance] = alice.launched(image, DataDisks=[{"DiskSize": 1}])
    alice.stopped(instance)
    yield instance
    if alice.instance(instance):
        terminated(alice, instance)


def data_disk(alice, instance):
    [disk] = ids(alice.instance(instance).DataDisks)
    return disk


def system_disk(alice, instance):
    return alice.instance(instance).SystemDisk.DiskId


def write(file, pattern, offset=0, length=MIB):
    run("qemu-io", "-f", "qcow2", "-c", f"write -q -P {pattern} {offset} {length}", file)


def reads(server, alice, disk, pattern, offset=0, length=MIB):
    """That a disk reads so: through an overlay of the very base that its instance reads it from."""
    [instance] = alice.launched(alice.image_named("small").ImageId)
    alice.attached(instance, disk)
    base = {"driver": "nbd", "server": {"type": "unix", "path": str(server.instance_dir(instance) / "base.sock")}, "export": disk}
    overlay = {"driver": "qcow2", "file": {"driver": "file", "filename": str(file_of(server, disk))}, "backing": base}
    opened = "json:" + json.dumps({**overlay, "read-only": True, "force-share": True})
    done = subprocess.run(["qemu-io", "-r", "-U", "-c", f"read -P {pattern} {offset} {length}", opened], capture_output=True, text=True)
    terminated(alice, instance)
    assert done.returncode == 0 and "Pattern verification failed" not in done.stdout, done.stdout + done.stderr


def test_a_disk_of_a_snapshot_begins_as_the_disk_was(server, alice, instance):
    disk = data_disk(alice, instance)
    write(file_of(server, disk), 0x11)
    first = alice.snapshot_of(disk, SnapshotName="first", Tags=[{"Key": "for", "Value": "test"}])
    write(file_of(server, disk), 0x22)
    found = alice.snapshot(first)
    assert (found.SnapshotName, found.DiskId, found.DiskSize, found.DiskUsage) == ("first", disk, 1, "DATA_DISK")
    assert (found.Percent, found.SnapshotState, found.ImageCount) == (100, "NORMAL", 0)
    assert [(tag.Key, tag.Value) for tag in found.Tags] == [("for", "test")]
    [copy] = alice.create_disks(SnapshotId=first, DiskSize=2)
    reads(server, alice, copy, 0x11)
    reads(server, alice, copy, 0x00, offset=1 << 30)
    # A copy's own writes, and a snapshot of it in turn; all of it outlives what it was made of.
    write(file_of(server, copy), 0x33, offset=8 * MIB)
    second = alice.snapshot_of(copy)
    assert alice.disk(copy).SnapshotCount == 1
    alice.cbs("TerminateDisks", DiskIds=[copy])
    alice.cbs("DeleteSnapshots", SnapshotIds=[first])
    assert alice.snapshot(first) is None
    collected(server)
    [last] = alice.create_disks(SnapshotId=second, DiskSize=None)
    assert alice.disk(last).DiskSize == 2
    reads(server, alice, last, 0x11)
    reads(server, alice, last, 0x33, offset=8 * MIB)
    alice.cbs("DeleteSnapshots", SnapshotIds=[second])
    collected(server)
    reads(server, alice, last, 0x33, offset=8 * MIB)
    alice.cbs("TerminateDisks", DiskIds=[last])


def collected(server):
    """Removes whatever nothing refers to, and finds the store whole."""
    for _ in range(3):
        server.collect("--whole-store")
    server.check_store()


def test_a_snapshot_costs_what_was_changed(server, alice, instance, seed):
    disk = data_disk(alice, instance)
    noise = random.Random(seed).randbytes(8 * MIB)
    (server.home / "noise").write_bytes(noise)
    run("qemu-io", "-f", "qcow2", "-c", f"write -q -s {server.home / 'noise'} 0 8M", file_of(server, disk))
    before = stored(server)
    first = alice.snapshot_of(disk)
    whole = stored(server)
    assert whole - before > 8 * MIB
    [copy] = alice.create_disks(SnapshotId=first)
    alice.attached(instance, copy)
    run("qemu-io", "-f", "qcow2", "-c", f"write -q -s {server.home / 'noise'} 64M 64k", file_of(server, copy))
    alice.snapshot_of(copy)
    assert stored(server) - whole < MIB
    alice.detached(copy)
    alice.cbs("TerminateDisks", DiskIds=[copy])


def stored(server):
    stores = server.json("store", "status")["StoreSet"]
    return next(store for store in stores if store["Region"] == GUANGZHOU)["StoredBytes"]


def test_images_are_made_of_snapshots(server, alice, small_disk, instance, seed):
    changed = small_disk.with_name("snapshots-changed.raw")
    change_overlay(server.instance_dir(instance) / "root.qcow2", random.Random(seed), small_disk, changed)
    disk = data_disk(alice, instance)
    write(file_of(server, disk), 0x44)
    system, data = alice.snapshot_of(system_disk(alice, instance)), alice.snapshot_of(disk)
    assert alice.snapshot(system).DiskUsage == "SYSTEM_DISK"
    create = ("CreateImage",)
    refused("InvalidParameter.SystemSnapshotNotFound", alice.call, *create, ImageName="x", SnapshotIds=[data])
    refused("InvalidSnapshotId.NotFound", alice.call, *create, ImageName="x", SnapshotIds=["snap-00000000"])
    as_data = alice.snapshot_of(system_disk(alice, instance), DiskUsage="DATA_DISK")
    assert alice.snapshot(as_data).DiskUsage == "DATA_DISK"
    second = alice.snapshot_of(system_disk(alice, instance))
    refused("InvalidParameter.DuplicateSystemSnapshots", alice.call, *create, ImageName="x", SnapshotIds=[system, second])
    refused("InvalidSnapshot.NotSupported", alice.cbs, "CreateDisks", SnapshotId=system, **NEW_DISK)

    image = alice.call("CreateImage", ImageName="of-snapshots", SnapshotIds=[data, system]).ImageId
    found = alice.normal_image(image)
    assert [(disk.SnapshotId, disk.DiskUsage) for disk in found.SnapshotSet] == [(system, "SYSTEM_DISK"), (data, "DATA_DISK")]
    assert (found.OsName, found.ImageSource) == (alice.image(alice.image_named("small").ImageId).OsName, "CREATE_IMAGE")
    same_disk(server.json("image", "export-url", image)["Url"], changed)
    [of_it] = alice.snapshot(system).Images
    assert of_it.ImageId == image
    refused("UnsupportedOperation.SnapshotHasBindedImage", alice.cbs, "DeleteSnapshots", SnapshotIds=[system])
    # The image goes without its snapshots, or the snapshots with their image.
    alice.call("DeleteImages", ImageIds=[image])
    assert alice.snapshot(system) and alice.snapshot(data)
    image = alice.call("CreateImage", ImageName="of-snapshots", SnapshotIds=[system]).ImageId
    alice.normal_image(image)
    alice.cbs("DeleteSnapshots", SnapshotIds=[system, second], DeleteBindImages=True)
    assert alice.image(image) is None and alice.snapshot(system) is None
    image = alice.call("CreateImage", ImageName="again", SnapshotIds=[alice.snapshot_of(system_disk(alice, instance)), data]).ImageId
    made_of = [disk.SnapshotId for disk in alice.normal_image(image).SnapshotSet]
    alice.call("DeleteImages", ImageIds=[image], DeleteBindedSnap=True)
    assert [alice.snapshot(snapshot) for snapshot in made_of] == [None, None]
    alice.cbs("DeleteSnapshots", SnapshotIds=[as_data])


def test_a_whole_machine_becomes_an_image_and_machines_again(server, alice, instance):
    disk = data_disk(alice, instance)
    write(file_of(server, disk), 0x55)
    started(alice, instance)
    refused("InvalidParameter.DataDiskIdContainsRootDisk", alice.call, "CreateImage", ImageName="x", InstanceId=instance,
            DataDiskIds=[system_disk(alice, instance)])  # fmt: skip
    refused("InvalidParameter.DataDiskNotBelongSpecifiedInstance", alice.call, "CreateImage", ImageName="x",
            InstanceId=instance, DataDiskIds=alice.create_disks())  # fmt: skip
    image = alice.call("CreateImage", ImageName="whole", InstanceId=instance, DataDiskIds=[disk]).ImageId
    system, data = alice.normal_image(image).SnapshotSet
    assert (system.DiskUsage, data.DiskUsage, data.DiskSize) == ("SYSTEM_DISK", "DATA_DISK", 1)
    # What is an image's own shows as a snapshot, and is none to be deleted without it.
    assert alice.snapshot(data.SnapshotId).Images[0].ImageId == image
    refused("UnsupportedOperation.SnapshotHasBindedImage", alice.cbs, "DeleteSnapshots", SnapshotIds=[data.SnapshotId])

    [plain, larger] = alice.launched(image), alice.launched(image, DataDisks=[
        {"DiskSize": 3, "SnapshotId": data.SnapshotId, "DeleteWithInstance": False}, {"DiskSize": 1},
    ])  # fmt: skip
    assert [found.DiskSize for found in alice.instance(plain[0]).DataDisks] == [1]
    of_image, other = alice.instance(larger[0]).DataDisks
    assert (of_image.DiskSize, of_image.DeleteWithInstance, other.DiskSize) == (3, False, 1)
    large = alice.snapshot_of(of_image.DiskId)
    refused("FailedOperation.SnapshotSizeLargerThanDataSize", alice.run_instances, alice.image_named("small").ImageId,
            DataDisks=[{"DiskSize": 1, "SnapshotId": large}])  # fmt: skip
    terminated(alice, *plain, *larger)
    reads(server, alice, of_image.DiskId, 0x55)

    [copied] = alice.raw("SyncImages", ImageIds=[image], DestinationRegions=[BEIJING], ImageSetRequired=True)["ImageSet"]
    there = alice.normal_image(copied["ImageId"], BEIJING)
    assert [found.DiskUsage for found in there.SnapshotSet] == ["SYSTEM_DISK", "DATA_DISK"]
    assert {found.SnapshotId for found in there.SnapshotSet}.isdisjoint({system.SnapshotId, data.SnapshotId})
    alice.call("DeleteImages", ImageIds=[image])
    assert alice.snapshot(data.SnapshotId) is None
    collected(server)
    [far] = alice.launched(there.ImageId, BEIJING)
    assert len(alice.instance(far, BEIJING).DataDisks) == 1
    alice.call("StopInstances", BEIJING, InstanceIds=[far], StopType="HARD")
    alice.instance_in("STOPPED", far, BEIJING)
    alice.call("TerminateInstances", BEIJING, InstanceIds=[far])
    alice.instance_in("TERMINATED", far, BEIJING)


def test_a_snapshot_survives_the_death_of_its_server(server, alice, instance, seed):
    numbers = random.Random(f"{seed}/snapshots")
    disk = data_disk(alice, instance)
    for kill in range(KILLS):
        pattern = 0x61 + kill
        write(file_of(server, disk), pattern)
        running = numbers.random() < 0.6
        if running:
            started(alice, instance)
        made = alice.cbs("CreateSnapshot", DiskId=disk).SnapshotId
        time.sleep(numbers.uniform(0, LONGEST_DELAY_SECONDS))
        server.kill()
        server.start()
        while (found := alice.snapshot(made)).SnapshotState == "CREATING":
            time.sleep(0.1)
        assert found.SnapshotState == "NORMAL", f"kill {kill}"
        if running:
            alice.stopped(instance)
        assert not list(server.instance_dir(instance).glob("live*")), f"kill {kill}"
        [copy] = alice.create_disks(SnapshotId=made)
        reads(server, alice, copy, pattern)
        alice.cbs("TerminateDisks", DiskIds=[copy])
        alice.cbs("DeleteSnapshots", SnapshotIds=[made])
    server.check_store()


def test_what_cannot_be_frozen_or_deleted(server, operator, alice, bob, instance):
    disk = data_disk(alice, instance)
    refused("InvalidDiskId.NotFound", alice.cbs, "CreateSnapshot", DiskId="disk-00000000")
    refused("InvalidDiskId.NotFound", bob.cbs, "CreateSnapshot", DiskId=disk)
    refused("InvalidParameterValue", alice.cbs, "CreateSnapshot", DiskId=disk, DiskUsage="SYSTEM_DISK")
    refused("UnsupportedOperation", alice.cbs, "CreateSnapshot", DiskId=disk, Deadline="2030-01-01T00:00:00+00:00")
    refused("InvalidSnapshotId.NotFound", alice.cbs, "DeleteSnapshots", SnapshotIds=["snap-00000000"])
    snapshot = alice.snapshot_of(disk)
    refused("InvalidSnapshotId.NotFound", bob.cbs, "DeleteSnapshots", SnapshotIds=[snapshot])
    refused("InvalidSnapshotId.NotFound", bob.cbs, "CreateDisks", SnapshotId=snapshot, **NEW_DISK)
    refused("InvalidSnapshotId.NotFound", alice.cbs, "DeleteSnapshots", SnapshotIds=[snapshot, "snap-00000000"])
    assert alice.snapshot(snapshot)
    alice.call("StartInstances", InstanceIds=[instance])
    refused("ResourceBusy", alice.cbs, "CreateSnapshot", DiskId=disk)
    alice.instance_in("RUNNING", instance)
    operator.set_limits(alice.uin, ImagesPerRegion=500, SnapshotsPerRegion=1)
    refused("InsufficientSnapshotQuota", alice.cbs, "CreateSnapshot", DiskId=disk)
    operator.set_limits(alice.uin, ImagesPerRegion=500)
    listed = server.run("snapshot", "list", account=alice).stdout
    assert snapshot in listed
    made = server.json("snapshot", "create", disk, "--name", "cli", account=alice)["SnapshotSet"][0]
    assert (made["SnapshotName"], made["SnapshotState"]) == ("cli", "NORMAL")
    server.run("snapshot", "delete", snapshot, made["SnapshotId"], account=alice)
    assert alice.snapshot(snapshot) is None


def test_a_running_guest_is_frozen_at_one_moment(server, alice, guest_image, tmp_path_factory):
    """What a guest had on its disks when it was frozen is what a machine of the image has."""
    pair = KeyPair(tmp_path_factory.mktemp("keys"))
    key = alice.call("ImportKeyPair", KeyName="guests", ProjectId=0, PublicKey=pair.public_key).KeyId
    host = FileHost(guest_image.parent)
    debian = alice.imported(host.url(guest_image.name), "debian-12")
    host.close()
    common = {"InstanceType": "S5.SMALL1", "LoginSettings": {"KeyIds": [key]}}
    [instance] = alice.launched(debian, DataDisks=[{"DiskSize": 1}], **common)
    disk = data_disk(alice, instance)
    pair.ssh(alice, instance, f"mkfs.ext4 -q {path_of(disk)} && mount {path_of(disk)} /mnt && echo frozen > /mnt/said && sync")
    image = alice.call("CreateImage", ImageName="whole-debian", InstanceId=instance, DataDiskIds=[disk]).ImageId
    alice.normal_image(image, seconds=600)
    # Nobody looked for secrets on the data disk, and its owner is told before anybody is given it.
    found = {one["Code"]: one for one in alice.kiln("DescribeImageReport", ImageId=image)["Report"]["FindingSet"]}
    assert found["PrivateKeys"]["Severity"] == "WARN" and "data disks, and the image has 1" in found["PrivateKeys"]["Found"], found
    assert pair.ssh(alice, instance, "cat /mnt/said").strip() == "frozen"
    terminated(alice, instance)
    [again] = alice.launched(image, **common)
    copy = data_disk(alice, again)
    said = pair.ssh(alice, again, f"mount {path_of(copy)} /mnt && cat /mnt/said")
    assert said.strip() == "frozen"
    terminated(alice, again)
