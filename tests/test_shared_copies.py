"""Copies of shared images, where the operator allows them: a custom image of one's own, in the same region."""

from cloud import BEIJING, GUANGZHOU, refused
from conftest import BARE_DISKS, CONFIG
from image_files import same_disk


def test_a_shared_image_becomes_ones_own(make_server, host, small_disk):
    server = make_server(f"{CONFIG}{BARE_DISKS}\n[sharing]\nallow_copies = true\n").start()
    alice, bob = server.create_account("alice"), server.create_account("bob", allow_import=False)
    image = alice.imported(host.url("small.qcow2"), "lent")
    here = {"ImageIds": [image], "DestinationRegions": [GUANGZHOU], "ImageSetRequired": True}
    refused("InvalidImageId.NotFound", bob.call, "SyncImages", **here)
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="SHARE")
    refused("UnsupportedOperation.Region", alice.call, "SyncImages", **here)
    refused("UnsupportedOperation.Region", bob.call, "SyncImages", **{**here, "DestinationRegions": [GUANGZHOU, BEIJING]})
    [made] = bob.raw("SyncImages", **here, ImageName="kept")["ImageSet"]
    kept = bob.normal_image(made["ImageId"])
    assert (kept.ImageType, kept.ImageName, kept.ImageCreator) == ("PRIVATE_IMAGE", "kept", bob.uin)
    # Whoever launches from it again is told again, though the command does not name it.
    [instance] = bob.launched(image)
    bob.stopped(instance)
    told = server.run("instance", "reset", instance, account=bob)
    assert f"Image {image} comes from another account" in told.stderr
    bob.call("TerminateInstances", InstanceIds=[instance])
    bob.instance_in("TERMINATED", instance)
    assert f"SharedWith  {bob.uin}" in server.run("image", "show", image, account=alice).stdout
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="CANCEL")
    alice.call("DeleteImages", ImageIds=[image])
    server.collect()
    same_disk(server.json("image", "export-url", kept.ImageId)["Url"], small_disk)
    refused("InvalidImageId.NotFound", alice.call, "DeleteImages", ImageIds=[kept.ImageId])
