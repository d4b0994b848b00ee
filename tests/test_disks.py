"""Data disks: made, given to instances that run and that do not, taken back, kept through everything, and removed.

What a guest sees is asked of real Debians, over SSH. The rest needs no guest that does anything.
"""

import random
import threading
import time

import pytest
from cloud import GUANGZHOU, ZONES, refused
from conftest import BARE_DISKS, CONFIG
from guests import KeyPair
from image_files import run
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

GIB = 1 << 30
KILLS = 6
# Most of an attachment is done by then, on a slow machine too.
LONGEST_DELAY_SECONDS = 0.4
NEW_DISK = {"Placement": {"Zone": ZONES[GUANGZHOU]}, "DiskChargeType": "POSTPAID_BY_HOUR", "DiskType": "CLOUD_SSD"}


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS).start()


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "small")


@pytest.fixture
def instance(alice, image):
    [instance] = alice.launched(image)
    yield instance
    if alice.instance(instance):
        terminated(alice, instance)


def terminated(account, *instances):
    account.call("TerminateInstances", InstanceIds=instances)
    for instance in instances:
        account.instance_in("TERMINATED", instance)


def started(account, instance):
    account.call("StartInstances", InstanceIds=[instance])
    return account.instance_in("RUNNING", instance)


def file_of(server, disk):
    return server.data_dir / "disks" / f"data-{disk}.qcow2"


def open_files(server, instance):
    """The files that an instance's QEMU has open, by their names in its directory."""
    fds = f"/proc/{server.machine_pid(instance)}/fd"
    return set(run("find", fds, "-printf", "%l\n").decode().split())


def has_open(server, instance, disk):
    return any(file.endswith(f"data-{disk}.qcow2") for file in open_files(server, instance))


def ids(disks):
    return [disk.DiskId for disk in disks]


# ---- without a guest -------------------------------------------------------------------------------------------------


def test_disks_are_made_found_and_removed(server, alice):
    made = alice.create_disks(DiskCount=3, DiskName="pool", DiskSize=7, Tags=[{"Key": "for", "Value": "test"}])
    assert len(set(made)) == 3

    def found(name, *values):
        return sorted(ids(alice.cbs("DescribeDisks", Filters=[{"Name": name, "Values": list(values)}]).DiskSet))

    assert found("disk-name", "pool") == found("tag:for", "test") == found("disk-id", *made) == sorted(made)
    disk = alice.disk(made[0])
    assert (disk.DiskName, disk.DiskSize, disk.DiskState, disk.DiskUsage) == ("pool", 7, "UNATTACHED", "DATA_DISK")
    assert (disk.Placement.Zone, disk.Attached, disk.Portable) == (ZONES[GUANGZHOU], False, True)
    assert [(tag.Key, tag.Value) for tag in disk.Tags] == [("for", "test")]
    assert found("disk-state", "ATTACHED") == [] and found("zone", "ap-guangzhou-4") == []
    oldest = ids(alice.cbs("DescribeDisks", Order="ASC", DiskIds=made).DiskSet)
    assert oldest == ids(alice.cbs("DescribeDisks", DiskIds=made).DiskSet)[::-1]
    alice.cbs("TerminateDisks", DiskIds=made)
    assert alice.cbs("DescribeDisks", DiskIds=made).TotalCount == 0
    refused("InvalidDiskId.NotFound", alice.cbs, "TerminateDisks", DiskIds=made)


def test_a_repeated_request_makes_nothing_more(alice):
    first = alice.create_disks(ClientToken="once")
    assert alice.create_disks(ClientToken="once") == first
    refused("InvalidParameter.InvalidClientToken", alice.create_disks, ClientToken="once", DiskSize=2)
    alice.cbs("TerminateDisks", DiskIds=first)


def test_a_system_disk_is_listed_and_stays_with_its_instance(alice, instance):
    [disk] = alice.cbs("DescribeDisks", Filters=[{"Name": "instance-id", "Values": [instance]}]).DiskSet
    assert disk.DiskId == alice.instance(instance).SystemDisk.DiskId
    assert (disk.DiskUsage, disk.DiskState, disk.Portable) == ("SYSTEM_DISK", "ATTACHED", False)
    for action in ("DetachDisks", "TerminateDisks"):
        refused("InvalidDisk.NotPortable", alice.cbs, action, DiskIds=[disk.DiskId])
    refused("InvalidDisk.NotPortable", alice.cbs, "AttachDisks", InstanceId=instance, DiskIds=[disk.DiskId])


def test_a_disk_goes_from_one_instance_to_another_with_what_is_on_it(server, alice, image):
    one, other = alice.launched(image, InstanceCount=2)
    [disk] = alice.create_disks(DiskSize=2)
    # A running machine gets it at once, a stopped one with its next start.
    [found] = alice.attached(one, disk)
    assert (found.InstanceId, found.Attached) == (one, True) and has_open(server, one, disk)
    assert [(it.DiskId, it.DiskSize, it.DeleteWithInstance) for it in alice.instance(one).DataDisks] == [(disk, 2, False)]
    alice.stopped(one)
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x5a 1G 1M", file_of(server, disk))
    alice.detached(disk)
    alice.stopped(other)
    alice.attached(other, disk)
    started(alice, other)
    assert has_open(server, other, disk) and not alice.instance(one).DataDisks
    # Through a start of its own, a reinstallation, and its server's death.
    alice.call("ResetInstance", InstanceId=other)
    alice.instance_in("RUNNING", other)
    server.kill()
    server.start()
    assert has_open(server, other, disk)
    # The instance goes, the disk stays.
    terminated(alice, one, other)
    assert alice.disk(disk).DiskState == "UNATTACHED"
    run("qemu-io", "-f", "qcow2", "-c", "read -q -P 0x5a 1G 1M", file_of(server, disk))
    alice.cbs("TerminateDisks", DiskIds=[disk])
    assert not file_of(server, disk).exists()


def test_an_instance_is_launched_with_disks(server, alice, image):
    wanted = [{"DiskSize": 1, "DiskName": "goes"}, {"DiskSize": 3, "DiskName": "stays", "DeleteWithInstance": False}]
    [instance] = alice.launched(image, DataDisks=wanted)
    goes, stays = alice.instance(instance).DataDisks
    assert [(goes.DiskSize, goes.DiskName), (stays.DiskSize, stays.DiskName)] == [(1, "goes"), (3, "stays")]
    assert has_open(server, instance, goes.DiskId) and has_open(server, instance, stays.DiskId)
    [late] = alice.create_disks()
    alice.attached(instance, late, DeleteWithInstance=True)
    terminated(alice, instance)
    assert alice.disk(goes.DiskId) is None and alice.disk(late) is None
    assert alice.disk(stays.DiskId).DiskState == "UNATTACHED"
    files = {file.name for file in (server.data_dir / "disks").iterdir()}
    assert files == {file_of(server, stays.DiskId).name}
    alice.cbs("TerminateDisks", DiskIds=[stays.DiskId])


def test_the_command_line_moves_disks(server, alice, instance):
    [disk] = server.json("disk", "create", "--size", "1", "--name", "cli", account=alice)["DiskSet"]
    shown = server.run("disk", "attach", instance, disk["DiskId"], account=alice).stdout
    assert disk["DiskId"] in shown and "ATTACHED" in shown
    assert disk["DiskId"] in server.run("disk", "list", account=alice).stdout
    alice.stopped(instance)
    assert "UNATTACHED" in server.run("disk", "detach", disk["DiskId"], account=alice).stdout
    server.run("disk", "delete", disk["DiskId"], account=alice)
    assert alice.disk(disk["DiskId"]) is None


def test_an_attachment_survives_the_death_of_its_server(server, alice, instance, seed):
    numbers = random.Random(f"{seed}/disks")
    disks = alice.create_disks(DiskCount=2)
    for kill in range(KILLS):
        running = alice.instance(instance).InstanceState == "RUNNING"
        alice.cbs("AttachDisks", InstanceId=instance, DiskIds=disks)
        time.sleep(numbers.uniform(0, LONGEST_DELAY_SECONDS))
        server.kill()
        server.start()
        for disk in disks:
            assert alice.disk_in("ATTACHED", disk).InstanceId == instance, f"kill {kill}"
            assert not running or has_open(server, instance, disk), f"kill {kill}"
        if running:
            alice.stopped(instance)
        alice.cbs("DetachDisks", DiskIds=disks)
        time.sleep(numbers.uniform(0, LONGEST_DELAY_SECONDS / 4))
        server.kill()
        server.start()
        for disk in disks:
            alice.disk_in("UNATTACHED", disk)
        if numbers.random() < 0.7:
            started(alice, instance)
    alice.cbs("TerminateDisks", DiskIds=disks)


@pytest.mark.parametrize(
    ("code", "parameters"),
    [
        ("InvalidParameterValue", {"DiskSize": 0}),
        ("InvalidParameterValue", {"DiskSize": 32_001}),
        ("MissingParameter", {"DiskSize": None}),
        ("InvalidParameterValue.LimitExceeded", {"DiskCount": 0}),
        ("InvalidParameterValue.LimitExceeded", {"DiskCount": 21}),
        ("InvalidParameterValue", {"DiskName": "x" * 61}),
        ("InvalidParameterValue", {"DiskName": "a\nb"}),
        ("InvalidParameterValue", {"Placement": {"Zone": "ap-beijing-3"}}),
        ("InvalidParameterValue", {"DiskChargeType": "PREPAID"}),
        ("InvalidParameterValue", {"Shareable": True}),
        ("InvalidSnapshotId.NotFound", {"SnapshotId": "snap-00000000"}),
        ("InvalidSnapshotId.NotFound", {"SnapshotId": "no snapshot"}),
        ("UnsupportedOperation", {"Encrypt": "ENCRYPT"}),
        ("InvalidParameterValue", {"Tags": [{"Key": "", "Value": "x"}]}),
    ],
)
def test_disks_that_cannot_be_made(alice, code, parameters):
    request = {**NEW_DISK, "DiskSize": 1, **parameters}
    request = {name: value for name, value in request.items() if value is not None}
    refused(code, alice.cbs, "CreateDisks", **request)


def test_what_cannot_be_moved(alice, bob, image, instance):
    def attach(disks, code, to=instance, account=alice):
        refused(code, account.cbs, "AttachDisks", InstanceId=to, DiskIds=disks)

    [disk], [elsewhere] = alice.create_disks(), alice.create_disks(Placement={"Zone": "ap-guangzhou-4"})
    attach([disk], "InvalidInstanceId.NotFound", to="ins-00000000")
    attach(["disk-00000000"], "InvalidDiskId.NotFound")
    attach([disk], "InvalidInstanceId.NotFound", account=bob)
    attach([elsewhere], "ResourceUnavailable.ZoneNotMatch")
    attach([disk] * 11, "InvalidParameterValue.LimitExceeded")
    refused("UnsupportedOperation.StateError", alice.cbs, "DetachDisks", DiskIds=[disk])
    alice.attached(instance, disk)
    attach([disk], "ResourceUnavailable.Attached")
    refused("ResourceUnavailable.Attached", alice.cbs, "TerminateDisks", DiskIds=[disk])
    refused("InvalidDiskId.NotFound", bob.cbs, "DetachDisks", DiskIds=[disk])
    refused("InvalidParameterValue", alice.cbs, "DetachDisks", DiskIds=[disk], InstanceId="ins-00000000")
    # One operation on an instance at a time, and all disks of a request or none.
    [second] = alice.create_disks()
    alice.call("StopInstances", InstanceIds=[instance], StopType="HARD")
    attach([second], "ResourceBusy")
    alice.instance_in("STOPPED", instance)
    attach([second, elsewhere], "ResourceUnavailable.ZoneNotMatch")
    assert alice.disk(second).DiskState == "UNATTACHED"
    # As many as there are places.
    many = alice.create_disks(DiskCount=20)
    alice.attached(instance, *many[:10])
    attach(many[10:], "LimitExceeded.InstanceAttachedDisk")
    alice.detached(*many[:9])
    terminated(alice, instance)
    alice.cbs("TerminateDisks", DiskIds=[disk, second, elsewhere, *many])


def test_no_crowd_gets_past_the_limit(server, operator):
    account = server.create_account("limited")
    operator.set_limits(account.uin, DisksPerRegion=10)
    outcomes = []

    def create():
        try:
            outcomes.extend(account.create_disks(DiskCount=2))
        except TencentCloudSDKException as error:
            outcomes.append(error.get_code())

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [outcome for outcome in outcomes if outcome.startswith("disk-")]
    assert len(made) == 10 and set(outcomes) - set(made) == {"ResourceInsufficient.OverQuota"}
    assert account.cbs("DescribeDisks").TotalCount == 10


# ---- with guests -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key_pair(alice, tmp_path_factory):
    pair = KeyPair(tmp_path_factory.mktemp("keys"))
    pair.id = alice.call("ImportKeyPair", KeyName="guests", ProjectId=0, PublicKey=pair.public_key).KeyId
    return pair


@pytest.fixture(scope="module")
def guests(alice, debian, key_pair):
    """Two Debians, the first launched with a disk."""
    common = {"InstanceType": "S5.SMALL1", "LoginSettings": {"KeyIds": [key_pair.id]}}
    [first] = alice.run_instances(debian, DataDisks=[{"DiskSize": 1}], **common)
    [second] = alice.run_instances(debian, **common)
    for instance in (first, second):
        alice.instance_in("RUNNING", instance)
    return first, second


def path_of(disk):
    """How a guest finds a disk by its serial number."""
    return f"/dev/disk/by-id/virtio-{disk}"


def test_a_guest_uses_its_disks_and_gives_them_back(server, alice, key_pair, guests):
    first, second = guests
    [launched] = ids(alice.instance(first).DataDisks)
    size = key_pair.ssh(alice, first, f"blockdev --getsize64 {path_of(launched)}")
    assert int(size) == GIB
    # A second disk comes while the guest runs; what is written there goes with it to the other guest.
    [disk] = alice.create_disks(DiskSize=2)
    alice.attached(first, disk)
    written = "the lazy dog"
    key_pair.ssh(
        alice, first,
        f"udevadm settle; mkfs.ext4 -q {path_of(disk)} && mount {path_of(disk)} /mnt && echo {written} > /mnt/said "
        f"&& umount /mnt && lsblk -dn -o SERIAL > /root/disks && sync",
    )  # fmt: skip
    seen = key_pair.ssh(alice, first, "cat /root/disks").split()
    assert launched in seen and disk in seen
    alice.detached(disk)
    assert disk not in key_pair.ssh(alice, first, "lsblk -dn -o SERIAL").split()
    assert not has_open(server, first, disk)
    alice.attached(second, disk)
    read = key_pair.ssh(alice, second, f"udevadm settle; mount -o ro {path_of(disk)} /mnt && cat /mnt/said && umount /mnt")
    assert read.strip() == written


def test_a_disk_that_a_guest_never_gives_back_stays(alice, instance):
    """The guest of a bare disk halts: it answers no request."""
    [disk] = alice.create_disks()
    alice.attached(instance, disk)
    alice.cbs("DetachDisks", DiskIds=[disk])
    found = alice.disk_in("ATTACHED", disk)
    assert "InvalidDisk.Busy" in found.ErrorPrompt and "stop the instance" in found.ErrorPrompt
    alice.stopped(instance)
    alice.detached(disk)
    assert alice.disk(disk).ErrorPrompt == ""
    alice.cbs("TerminateDisks", DiskIds=[disk])
