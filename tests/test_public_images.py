"""Public images: the operator publishes and withdraws them, everybody launches from them, nobody else changes them."""

import hashlib

import pytest
from cloud import BEIJING, GUANGZHOU, SINGAPORE, refused
from conftest import BARE_DISKS, CONFIG
from image_files import same_disk, system_disk

NO_IMAGE = "InvalidImageId.NotFound"
NOT_YOURS = "UnauthorizedOperation.ImageNotBelongToAccount"
DENIED = "UnauthorizedOperation"


@pytest.fixture(scope="module")
def server(make_server):
    # What nothing refers to goes at once, when a test collects.
    collection = "\n[collection]\ninterval_seconds = 3600\nmin_age_seconds = 0\ngrace_seconds = 0\n"
    return make_server(CONFIG + BARE_DISKS + collection).start()


@pytest.fixture(scope="module")
def source(operator, host, small_disk):
    """A custom image of the operator's."""
    return operator.imported(host.url("small.qcow2"), "source", ImageFamily="web")


def published(operator, image, region=GUANGZHOU, **parameters):
    """Publishes an image in one region and waits for it; its ID."""
    answer = operator.kiln("PublishImage", region=GUANGZHOU, ImageId=image, DestinationRegions=[region], **parameters)
    [one] = answer["ImageSet"]
    return operator.normal_image(one["ImageId"], region).ImageId


def newest(account, family):
    found = account.raw("DescribeImageFromFamily", ImageFamily=family)["Image"]
    return found and found["ImageId"]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stored_bytes(operator):
    [store] = [store for store in operator.kiln("DescribeStores")["StoreSet"] if store["Region"] == GUANGZHOU]
    return store["StoredBytes"]


def test_a_published_image_is_everybodys_in_each_region_and_needs_its_source_no_more(
    server, operator, alice, bob, host, small_disk
):
    source = operator.imported(host.url("small.qcow2"), "short-lived")
    answer = operator.kiln("PublishImage", ImageId=source, DestinationRegions=[GUANGZHOU, BEIJING], ImageName="public-1")
    images = {one["Region"]: one["ImageId"] for one in answer["ImageSet"]}
    assert images.keys() == {GUANGZHOU, BEIJING} and source not in images.values()
    for region, image in images.items():
        operator.normal_image(image, region)
    operator.call("DeleteImages", ImageIds=[source])
    for _ in range(2):
        server.collect("--whole-store")
    for region, image in images.items():
        for account in (alice, bob, bob.sub_account(f"in {region}", "READ_ONLY")):
            seen = account.image(image, region)
            assert (seen.ImageType, seen.ImageState, seen.ImageName) == ("PUBLIC_IMAGE", "NORMAL", "public-1")
            assert (seen.ImageSource, seen.ImageCreator) == ("OFFICIAL", operator.uin)
        same_disk(operator.kiln("OpenImageExport", region, ImageId=image)["Url"], small_disk)
        assert bob.kiln("DescribeImageReport", region, ImageId=image)["Report"]["Accepted"]
    server.check_store()
    [instance] = bob.launched(images[BEIJING], BEIJING)
    made = bob.call("CreateImage", BEIJING, InstanceId=instance, ImageName="made").ImageId
    assert bob.normal_image(made, BEIJING).ImageType == "PRIVATE_IMAGE"
    bob.call("TerminateInstances", BEIJING, InstanceIds=[instance])


def test_what_is_public_is_deduplicated_against(operator, host, files):
    disk = system_disk(files / "shared.raw", seed=11)
    before = stored_bytes(operator)
    image = operator.raw("ImportImage", **import_parameters(host.url("shared.raw"), "public-shared"), ImageType="PUBLIC_IMAGE")
    operator.normal_image(image["ImageId"])
    first = stored_bytes(operator) - before
    assert first > 8 << 20
    other = operator.server.create_account("deduplicated")
    other.imported(host.url("shared.raw"), "mine")
    assert stored_bytes(operator) - before - first < first // 20
    # And the other way round: a public image relies on nothing of the operator's own.
    disk.rename(files / "again.raw")
    operator.imported(host.url("again.raw"), "own")


def import_parameters(url, name):
    return {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageUrl": url, "ImageName": name}


def test_a_family_resolves_to_the_newest_version_that_is_public(operator, alice, bob, host, source):
    assert newest(bob, "web") is None and newest(operator, "web") == source
    old = published(operator, source, ImageName="web-1")
    new = published(operator, source, ImageName="web-2")
    assert newest(bob, "web") == new
    operator.call("ModifyImageAttribute", ImageId=new, ImageDeprecated=True)
    assert newest(bob, "web") == old
    operator.call("ModifyImageAttribute", ImageId=new, ImageDeprecated=False, ImageDescription="the second")
    assert newest(bob, "web") == new and bob.image(new).ImageDescription == "the second"
    # One's own family goes before; another's does not count, shared or not.
    own = alice.imported(host.url("small.qcow2"), "web-own", ImageFamily="web")
    alice.call("ModifyImageSharePermission", ImageId=own, AccountIds=[bob.uin], Permission="SHARE")
    assert (newest(alice, "web"), newest(bob, "web")) == (own, new)
    operator.kiln("WithdrawImage", ImageId=new)
    assert newest(bob, "web") == old
    operator.kiln("WithdrawImage", ImageId=old)
    assert newest(bob, "web") is None


def test_nobody_but_the_operator_changes_it(operator, alice, host, source):
    image = published(operator, source, ImageName="fixed")
    deputy = operator.sub_account("deputy", "FULL")
    share = {"AccountIds": [operator.uin], "Permission": "SHARE"}
    for who in (alice, alice.sub_account("helper", "FULL")):
        refused(NOT_YOURS, who.call, "ModifyImageAttribute", ImageId=image, ImageDescription="mine")
        refused(NOT_YOURS, who.call, "DeleteImages", ImageIds=[image])
        refused("InvalidImageId.InstanceImageNotSupported", who.call, "SyncImages", ImageIds=[image], DestinationRegions=[BEIJING])
        refused(DENIED, who.kiln, "PublishImage", ImageId=image)
        refused(DENIED, who.kiln, "WithdrawImage", ImageId=image)
    refused(NOT_YOURS, alice.call, "ModifyImageSharePermission", ImageId=image, **share)
    # Nor the operator's own people.
    refused(DENIED, deputy.call, "ModifyImageAttribute", ImageId=image, ImageDescription="mine")
    refused(DENIED, deputy.kiln, "WithdrawImage", ImageId=image)
    refused(DENIED, deputy.kiln, "ModifyImageFee", ImageId=image, PerHour="1", PerMonth="1")
    refused(DENIED, deputy.raw, "ImportImage", **import_parameters(host.url("small.qcow2"), "x"), ImageType="PUBLIC_IMAGE")
    refused(DENIED, alice.raw, "ImportImage", **import_parameters(host.url("small.qcow2"), "x"), ImageType="PUBLIC_IMAGE")
    assert "WithdrawImage" in refused(NOT_YOURS, operator.call, "DeleteImages", ImageIds=[image])
    operator.kiln("WithdrawImage", ImageId=image)


def test_what_cannot_be_published(operator, alice, host, source):
    refused(NO_IMAGE, operator.kiln, "PublishImage", ImageId="img-00000000")
    refused("InvalidRegion.NotFound", operator.kiln, "PublishImage", ImageId=source, DestinationRegions=["ap-nowhere"])
    refused("RegionAbilityLimit.UnsupportedToSyncImage", operator.kiln, "PublishImage", ImageId=source, DestinationRegions=[SINGAPORE])
    refused("InvalidParameterValue.Duplicate", operator.kiln, "PublishImage", ImageId=source, DestinationRegions=[BEIJING] * 2)
    byol = operator.imported(host.url("small.qcow2"), "byol", LicenseType="BYOL")
    refused("FailedOperation.BYOLImageShareFailed", operator.kiln, "PublishImage", ImageId=byol)
    straight = {**import_parameters(host.url("small.qcow2"), "byol-public"), "ImageType": "PUBLIC_IMAGE", "LicenseType": "BYOL"}
    refused("FailedOperation.BYOLImageShareFailed", operator.raw, "ImportImage", **straight)
    theirs = alice.imported(host.url("small.qcow2"), "theirs")
    alice.call("ModifyImageSharePermission", ImageId=theirs, AccountIds=[operator.uin], Permission="SHARE")
    refused(NOT_YOURS, operator.kiln, "PublishImage", ImageId=theirs)
    image = published(operator, source, ImageName="only-one")
    refused("InvalidImageName.Duplicate", operator.kiln, "PublishImage", ImageId=source, ImageName="only-one")
    refused("InvalidImageId.NotSupported", operator.kiln, "WithdrawImage", ImageId=source)
    # A public image can be made public elsewhere, too, with its fee.
    operator.kiln("ModifyImageFee", ImageId=image, PerHour="0.5", PerMonth="100")
    there = published(operator, image, BEIJING)
    price = alice.raw("InquiryPriceRunInstances", BEIJING, ImageId=there, Placement={"Zone": "ap-beijing-3"})["Price"]
    assert price["ImagePrice"]["UnitPrice"] == 0.5
    operator.kiln("WithdrawImage", ImageId=image)
    operator.kiln("WithdrawImage", BEIJING, ImageId=there)


def test_instances_of_a_withdrawn_image_go_on(operator, bob, source):
    image = published(operator, source, ImageName="passing")
    [instance] = bob.launched(image)
    operator.kiln("WithdrawImage", ImageId=image, DryRun=True)
    assert bob.image(image)
    operator.kiln("WithdrawImage", ImageId=image)
    refused(NO_IMAGE, operator.kiln, "WithdrawImage", ImageId=image)
    for account in (bob, operator):
        assert account.image(image) is None
        refused(NO_IMAGE, account.run_instances, image)
    for _ in range(2):
        operator.server.collect("--whole-store")
    bob.stopped(instance)
    refused(NO_IMAGE, bob.call, "ResetInstance", InstanceId=instance)
    bob.call("StartInstances", InstanceIds=[instance])
    bob.instance_in("RUNNING", instance)
    bob.call("TerminateInstances", InstanceIds=[instance])
    # Its name is free again.
    operator.kiln("WithdrawImage", ImageId=published(operator, source, ImageName="passing"))


def test_a_file_is_held_to_the_checksum_that_it_is_to_have(operator, alice, host, small_disk, files):
    good, bad = sha256(files / "small.qcow2"), "0" * 64
    parameters = import_parameters(host.url("small.qcow2"), "checked")
    refused("InvalidParameterValue", alice.raw, "ImportImage", **parameters, ImageSha256="abc")
    server = alice.server
    bucket = server.json("bucket", "create", "checked", account=alice)["Bucket"]
    server.run("object", "put", files / "small.qcow2", f"{bucket}/small.qcow2", account=alice)
    for url in (host.url("small.qcow2"), f"s3://{bucket}/small.qcow2"):
        image = alice.raw("ImportImage", **{**parameters, "ImageUrl": url}, ImageSha256=bad)["ImageId"]
        alice.finished_image(image)
        state, code, sentence = alice.failure(image)
        assert (state, code) == ("IMPORTFAILED", "FailedOperation.ImageChecksumMismatch") and good in sentence
        image = alice.raw("ImportImage", **{**parameters, "ImageUrl": url}, ImageSha256=good.upper())["ImageId"]
        alice.normal_image(image)
        alice.call("DeleteImages", ImageIds=[image])


def test_the_command_line_publishes_and_withdraws(server, operator, source):
    [image] = server.json("image", "publish", source, "--name", "by-hand", "--family", "hand")["ImageSet"]
    assert (image["ImageType"], image["ImageState"], image["ImageFamily"]) == ("PUBLIC_IMAGE", "NORMAL", "hand")
    server.run("image", "fee", image["ImageId"], "--per-hour", "0.25", "--per-month", "50")
    listed = server.json("image", "list", "--type", "public")["ImageSet"]
    assert image["ImageId"] in [one["ImageId"] for one in listed] and {one["ImageType"] for one in listed} == {"PUBLIC_IMAGE"}
    server.run("image", "withdraw", image["ImageId"])
    assert operator.image(image["ImageId"]) is None
