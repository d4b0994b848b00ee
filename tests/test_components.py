"""What guests of public images get besides what is in them: EnhancedService.SecurityService turns it on and off."""

import base64
import re

import pytest
from cloud import BEIJING, refused
from conftest import BARE_DISKS, CONFIG
from guests import READY, console_shows, user_data

MARKER = "KILN-COMPONENTS-RAN"
SCRIPT = f"""#!/bin/sh
echo "{MARKER} as $(id -un); 'quoted' $(grep -c '^bash is already' /var/log/kiln-components.log)" > /dev/ttyS0
"""
DENIED = "UnauthorizedOperation"
GUEST = {"InstanceType": "S5.SMALL1"}


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS).start()


def public(operator, url, name, **parameters):
    wanted = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageUrl": url, "ImageName": name}
    image = operator.raw("ImportImage", **{**wanted, "ImageType": "PUBLIC_IMAGE", **parameters})["ImageId"]
    return operator.normal_image(image).ImageId


def switch(enabled):
    return {"EnhancedService": {"SecurityService": {"Enabled": enabled}, "MonitorService": {"Enabled": enabled}}}


@pytest.fixture(scope="module")
def image(server, operator, guest_image, host, files, tmp_path_factory):
    """A real one, whose guests get a package and a script."""
    (files / "guest.img").symlink_to(guest_image)
    image = public(operator, host.url("guest.img"), "with components")
    script = tmp_path_factory.mktemp("components") / "script"
    script.write_text(SCRIPT)
    server.run("image", "components", image, "--package", "bash", "--script", script)
    return image


def test_a_guest_gets_them_by_default_and_not_where_they_are_turned_off(server, bob, image):
    named = server.json("image", "components", image, account=bob)
    assert (named["Packages"], named["Script"]) == (["bash"], SCRIPT)
    # The user's own packages, which take the place of others in a cloud-config, change nothing.
    [guest] = bob.run_instances(image, **GUEST, UserData=user_data())
    said = console_shows(bob, guest, READY)
    # Installed by the guest's own package manager (it was there already), then run once, as root.
    assert said.count(f"{MARKER} as root; 'quoted' 1") == 1
    # Reinstalled, the guest is asked again, and has them turned off.
    bob.call("ResetInstance", InstanceId=guest, **switch(False))
    said = console_shows(bob, guest, READY, times=2)
    assert said.count(MARKER) == 1
    bob.call("TerminateInstances", InstanceIds=[guest])


def test_a_launch_and_a_reinstallation_say_whether_a_guest_gets_them(server, bob, image):
    """By what is in the data that the guest is handed."""

    def gets_them(guest):
        data = (server.instance_dir(guest) / "seed.iso").read_bytes()
        # Scripts are base64 in it.
        handed = [base64.b64decode(text, validate=True) for text in re.findall(rb"[A-Za-z0-9+/]{64,}=*", data)]
        return any(b"kiln-components.log" in script for script in handed)

    for at_launch, asked, answers in (
        ({}, switch(False), (True, False)),
        (switch(False), switch(True), (False, True)),
        (switch(False), {}, (False, True)),
    ):
        [guest] = bob.launched(image, **GUEST, **at_launch)
        first = gets_them(guest)
        bob.stopped(guest)
        bob.call("ResetInstance", InstanceId=guest, **asked)
        bob.instance_in("RUNNING", guest)
        assert (first, gets_them(guest)) == answers
        bob.call("TerminateInstances", InstanceIds=[guest])


def test_only_the_operator_names_them_for_public_images_that_can_install_them(operator, alice, bob, host, small_disk):
    image = public(operator, host.url("small.qcow2"), "small")
    custom = operator.imported(host.url("small.qcow2"), "custom")
    bare = public(operator, host.url("small.qcow2"), "without cloud-init", Force=True)
    for who in (alice, operator.sub_account("deputy", "FULL")):
        refused(DENIED, who.kiln, "ModifyImageComponents", ImageId=image, Packages=["a"])
    refused("InvalidImageId.NotSupported", operator.kiln, "ModifyImageComponents", ImageId=custom, Packages=["a"])
    refused("UnsupportedOperation.NoCloudInit", operator.kiln, "ModifyImageComponents", ImageId=bare, Packages=["a"])
    for wrong in ({"Packages": ["a b"]}, {"Packages": ["--purge"]}, {"Script": "echo"}, {"Script": "#!" + "x" * 16384}):
        refused("InvalidParameterValue", operator.kiln, "ModifyImageComponents", ImageId=image, **wrong)
    operator.kiln("ModifyImageComponents", ImageId=image, Packages=["clamav"])
    copy = operator.kiln("PublishImage", ImageId=image, DestinationRegions=[BEIJING])["ImageSet"][0]["ImageId"]
    operator.normal_image(copy, BEIJING)
    assert bob.kiln("DescribeImageComponents", BEIJING, ImageId=copy)["Packages"] == ["clamav"]
    # A new version of a family has its newest version's from its beginning.
    server = {"ImageFamily": "server", "ImageType": "PUBLIC_IMAGE"}
    first = public(operator, host.url("small.qcow2"), "server 1", **server)
    operator.kiln("ModifyImageComponents", ImageId=first, Packages=["clamav"], Script="#!/bin/sh")
    second = public(operator, host.url("small.qcow2"), "server 2", **server)
    carried = bob.kiln("DescribeImageComponents", ImageId=second)
    assert (carried["Packages"], carried["Script"]) == (["clamav"], "#!/bin/sh")
    operator.kiln("ModifyImageComponents", ImageId=image)
    assert bob.kiln("DescribeImageComponents", ImageId=image) | {"RequestId": ""} == {"Packages": [], "Script": None, "RequestId": ""}
