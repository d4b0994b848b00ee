"""The main job, on a real Debian image, with the official SDK: an image comes in by URL, an instance starts from it and
is changed, an image is made of that, many instances start from it, it is copied, shared, and deleted.

The steps build on one another: each is a fixture that the tests of what it must show share, so that every guest
boots once. Guests prove themselves on their serial consoles.
"""

import os
import re
from pathlib import Path

import pytest
from cloud import BEIJING, GUANGZHOU, refused
from conftest import CONFIG
from guests import READY, KeyPair, console, console_shows, user_data
from image_files import MIB, same_disk
from kiln_server import wait_until

MARKER = "KILN-CHANGED-IN-THE-FIRST-INSTANCE"
FIRMWARE = "SeaBIOS"
COLLECTION = """
[collection]
interval_seconds = 3600
min_age_seconds = 0
grace_seconds = 0
"""
GUEST = {"InstanceType": "S5.SMALL1"}


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + COLLECTION).start()


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return KeyPair(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def key_id(alice, key):
    return alice.call("ImportKeyPair", KeyName="e2e", ProjectId=0, PublicKey=key.public_key).KeyId


@pytest.fixture(scope="module")
def first(alice, debian, key_id):
    """An instance of it that has booted, with a host name, a key, and user data."""
    [instance] = alice.launched(
        debian, HostName="first-one", InstanceName="first", LoginSettings={"KeyIds": [key_id]},
        UserData=user_data("echo marker-of-user-data > /root/marker"), **GUEST,
    )  # fmt: skip
    console_shows(alice, instance, f"{READY} first-one")
    return instance


@pytest.fixture(scope="module")
def changed(alice, first, key):
    """The first instance after a change on its disk."""
    key.ssh(alice, first, f"echo {MARKER} > change; sync")
    return first


@pytest.fixture(scope="module")
def second(alice, changed):
    """An image of the changed instance, made while it runs."""
    image = alice.call("CreateImage", InstanceId=changed, ImageName="changed", ImageDescription="of first").ImageId
    return alice.normal_image(image).ImageId


@pytest.fixture(scope="module")
def fleet(alice, second):
    """Three instances of that image, launched at once, which are to print the file that was changed."""
    data = user_data("cat /root/change > /dev/ttyS0")
    return alice.run_instances(second, InstanceCount=3, HostName="node", UserData=data, **GUEST)


@pytest.fixture(scope="module")
def copy(alice, second):
    """A copy of it in another region."""
    answer = alice.call("SyncImages", ImageIds=[second], DestinationRegions=[BEIJING], ImageSetRequired=True)
    [made] = answer.ImageSet
    assert made.Region == BEIJING
    return alice.normal_image(made.ImageId, BEIJING).ImageId


# ---- the image comes in ----------------------------------------------------------------------------------------------


def test_the_import_reads_back_equal(server, debian, guest_image):
    same_disk(server.json("image", "export-url", debian)["Url"], guest_image)


def test_the_image_is_described_as_clients_expect(alice, debian):
    image = alice.image(debian)
    assert (image.ImageType, image.ImageState, image.ImageSource) == ("PRIVATE_IMAGE", "NORMAL", "EXTERNAL_IMPORT")
    assert (image.ImageSize, image.Architecture, image.Platform) == (2, "x86_64", "Debian")
    [disk] = image.SnapshotSet
    assert (disk.DiskUsage, disk.DiskSize) == ("SYSTEM_DISK", 2)


def test_the_command_line_shows_it(server, alice, debian):
    assert server.json("image", "show", debian, account=alice)["ImageName"] == "debian-12"
    listed = server.run("image", "list", account=alice).stdout
    assert re.search(rf"{debian}\s+debian-12\s+NORMAL\s+PRIVATE_IMAGE\s+Debian 12\s+2\b", listed), listed
    [task] = [task for task in server.json("task", "list", account=alice)["TaskSet"] if task["ImageId"] == debian]
    assert (task["Kind"], task["State"]) == ("import_image", "SUCCEEDED")


# ---- an instance starts from it and is changed -----------------------------------------------------------------------


def test_the_guest_got_its_name_key_and_user_data(alice, first, key):
    said = key.ssh(alice, first, "hostname; cat marker; ip -4 -o addr show eth0")
    assert said.split()[:2] == ["first-one", "marker-of-user-data"]
    [address] = alice.instance(first).PrivateIpAddresses
    assert f" {address}/" in said


def test_the_guest_is_confined(server, first):
    """A guest that breaks out of QEMU finds itself as a user that owns nothing, under a system call filter."""
    pid = server.machine_pid(first)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    uids = {int(uid) for uid in status["Uid"].split()}
    assert 0 not in uids and (os.geteuid() != 0 or uids.isdisjoint({os.getuid()}))
    assert status["Groups"].strip() == "" or os.geteuid() != 0
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16)) == ("1", "2", 0)
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    assert arguments[arguments.index("-sandbox") + 1].startswith("on,")


def test_the_console_log_is_bounded(server, alice, changed, key):
    """A guest that floods its console costs the host no disk."""

    def logs():
        return server.instance_dir(changed).glob("console.log*")

    flood = "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 100; echo THE-END"
    key.ssh(alice, changed, f"({flood}) > /dev/ttyS0")
    console_shows(alice, changed, "THE-END")
    wait_until(lambda: sum(log.stat().st_size for log in logs()) < 2 * MIB + (64 << 10), 60, "the log was cut")


# ---- an image is made of it, and many start from that ----------------------------------------------------------------


def test_an_image_of_an_instance_costs_what_changed(server, alice, second):
    image = alice.image(second)
    assert (image.ImageSource, image.ImageDescription, image.OsName) == ("CREATE_IMAGE", "of first", "Debian 12")
    stores = {store["Region"]: store for store in server.json("store", "status")["StoreSet"]}
    store = stores[GUANGZHOU]
    # Two disks of 2 GiB; the second adds what a boot writes.
    assert store["LogicalBytes"] == 2 * (2 << 30)
    assert store["StoredBytes"] < 700 << 20, store


def test_the_instance_went_on_meanwhile(alice, second, first, key):
    assert alice.instance(first).InstanceState == "RUNNING"
    assert key.ssh(alice, first, "cat change; touch still-writable").strip() == MARKER


def test_every_instance_of_the_new_image_shows_the_change(alice, second, fleet):
    for number, instance in enumerate(fleet, start=1):
        said = console_shows(alice, instance, f"{READY} node-{number}")
        assert MARKER in said and "first-one" not in said
        assert alice.instance_in("RUNNING", instance).ImageId == second


def test_instances_are_found_by_their_image(alice, second, fleet):
    found = alice.call("DescribeInstances", Filters=[{"Name": "image-id", "Values": [second]}]).InstanceSet
    assert {instance.InstanceId for instance in found} >= set(fleet)


# ---- it is copied ----------------------------------------------------------------------------------------------------


def test_the_copy_reads_back_equal(server, second, copy):
    source = server.json("image", "export-url", second)["Url"]
    same_disk(server.json("image", "export-url", copy, region=BEIJING)["Url"], source)


def test_the_copy_is_an_image_of_its_own(alice, second, copy):
    assert copy != second
    assert alice.image(copy) is None, "it is in the other region only"
    alice.call("ModifyImageAttribute", BEIJING, ImageId=copy, ImageName="changed-in-beijing")
    assert alice.image(second).ImageName == "changed"


# ---- it is shared ----------------------------------------------------------------------------------------------------


def test_sharing_lets_another_account_launch_and_nothing_else(server, alice, bob, second):
    alice.call("ModifyImageSharePermission", ImageId=second, AccountIds=[bob.uin], Permission="SHARE")
    shares = alice.call("DescribeImageSharePermission", ImageId=second).SharePermissionSet
    assert [share.AccountId for share in shares] == [bob.uin]
    assert bob.image(second).ImageType == "SHARED_IMAGE"
    [instance] = bob.launched(second, **GUEST)

    not_changeable = "UnsupportedOperation.SharedImageModifyUnsupported"
    refused(not_changeable, bob.call, "ModifyImageAttribute", ImageId=second, ImageName="mine")
    not_yours = "UnauthorizedOperation.ImageNotBelongToAccount"
    refused(not_yours, bob.call, "SyncImages", ImageIds=[second], DestinationRegions=[BEIJING])
    refused(not_yours, bob.call, "DeleteImages", ImageIds=[second])
    refused(not_yours, bob.call, "DescribeImageSharePermission", ImageId=second)
    refused(
        not_yours, bob.call, "ModifyImageSharePermission", ImageId=second, AccountIds=[alice.uin], Permission="SHARE"
    )
    refused("InvalidImageId.InShared", alice.call, "DeleteImages", ImageIds=[second])

    alice.call("ModifyImageSharePermission", ImageId=second, AccountIds=[bob.uin], Permission="CANCEL")
    assert bob.image(second) is None
    refused("InvalidImageId.NotFound", bob.run_instances, second, **GUEST)
    # What was launched goes on, and can be stopped and started.
    assert bob.instance(instance).InstanceState == "RUNNING"
    bob.stopped(instance)
    bob.call("StartInstances", InstanceIds=[instance])
    bob.instance_in("RUNNING", instance)
    bob.call("TerminateInstances", InstanceIds=[instance])
    bob.instance_in("TERMINATED", instance)


# ---- instances stop, start and go ------------------------------------------------------------------------------------


def test_a_guest_is_asked_to_stop_and_keeps_what_it_wrote(server, alice, first, fleet, key):
    """Asked by ACPI, as a power button would; its disk is the same after the start."""
    server.run("instance", "terminate", *fleet[1:], account=alice)
    key.ssh(alice, first, "echo kept > kept")
    before = server.machine_pid(first)
    alice.stopped(first, "SOFT")
    assert before not in server.machine_pids()
    alice.call("StartInstances", InstanceIds=[first])
    alice.instance_in("RUNNING", first)
    assert key.ssh(alice, first, "cat kept").strip() == "kept"


def test_a_reboot_is_a_new_boot(alice, first, key):
    """The firmware speaks on the serial console at each boot."""
    key.ssh(alice, first, "echo BEFORE-THE-REBOOT > /dev/ttyS0")
    console_shows(alice, first, "BEFORE-THE-REBOOT")
    alice.call("RebootInstances", InstanceIds=[first], StopType="HARD")
    alice.instance_in("RUNNING", first)
    wait_until(lambda: FIRMWARE in console(alice, first).rpartition("BEFORE-THE-REBOOT")[2], 60, "it boots again")


# ---- everything goes, and the space comes back -----------------------------------------------------------------------


def test_what_is_deleted_gives_its_space_back(server, alice, debian, second, copy, first, fleet):
    alice.call("DeleteImages", ImageIds=[debian, second])
    server.run("image", "delete", copy, account=alice, region=BEIJING)
    assert alice.images() == [] and alice.images(BEIJING) == []
    # The instances' disks still need what the images consisted of.
    assert server.collect("--whole-store")[BEIJING]["CondemnedBytes"] > 0
    assert alice.instance(first).InstanceState == "RUNNING"
    left = [instance.InstanceId for instance in alice.call("DescribeInstances", Limit=100).InstanceSet]
    server.run("instance", "terminate", *left, account=alice)
    for instance in left:
        alice.instance_in("TERMINATED", instance)
    assert server.machine_pids() == [] and list((server.data_dir / "instances").iterdir()) == []

    planned = server.collect("--plan")
    assert planned == server.collect("--plan"), "a plan changes nothing"
    assert planned[GUANGZHOU]["Condemned"] > 0
    # One run condemns, the next deletes what was condemned long enough: manifests first, then the packs they used.
    for _ in range(6):
        server.collect("--whole-store")
    stores = server.json("store", "status")["StoreSet"]
    assert [store["StoredBytes"] for store in stores] == [0] * len(stores)
    kept = sum(file.stat().st_size for file in server.data_dir.glob("regions/*/store/**/*") if file.is_file())
    assert kept < 1 << 20, f"{kept} bytes are still in the stores"


def test_the_store_is_whole(server):
    """Last, after everything that happened to it."""
    assert all(store["Unknown"] == 0 for store in server.check_store().values())
