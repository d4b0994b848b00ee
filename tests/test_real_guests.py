"""Real Debian guests that differ in one respect each: what an import finds in them, and the network file when they boot.

The guests are variants of scripts/build-guest-image. Of each the complete list of findings is compared, under both
policies: nothing may be missed, and nothing else be found. Booted guests print the network file on their consoles.
"""

import configparser
import ipaddress
import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from conftest import CONFIG
from file_host import FileHost
from guests import console_shows
from image_files import MIB, run

BUILDER = Path(__file__).parent.parent / "scripts" / "build-guest-image"
CRITERIA = (
    "FileFormat VirtualSize InspectionComplete PartitionTable PartitionTableIntact Bootable RootFileSystem System "
    "OsTypeAgrees OsVersionAgrees ArchitectureAgrees Kernel VirtioBlock VirtioNet CloudInit OtherInterfaces StaticIpv6 "
    "License SshHostKeys AuthorizedKeys PrivateKeys ShellHistories CloudCredentials PasswordHashes MachineId"
).split()

# A guest's name, and what its build is told.
VARIANTS = {
    "default": (),
    "ext3": ("--root-fs", "ext3", "--without-cloud-init"),
    "bare": ("--boot-partition", "--without-cloud-init", "--tell-network"),
    "gpt": ("--table", "gpt"),
    "uefi": ("--table", "gpt", "--uefi"),
    "xfs": ("--root-fs", "xfs", "--tell-network"),
    "no-virtio": ("--without-virtio",),
    "crowded": ("--second-interface", "--leaked-key"),
}
# What is found wrong: severity and a part of the sentence. All other criteria are met.
NO_CLOUD_INIT = {"CloudInit": ("REFUSE", "cloud-init is not installed.")}
NOT_MET = {
    "default": {},
    "ext3": NO_CLOUD_INIT,
    "bare": NO_CLOUD_INIT,
    "gpt": {"PartitionTable": ("REFUSE", "The disk has a GPT.")},
    "uefi": {
        "PartitionTable": ("REFUSE", "The disk has a GPT."),
        "Bootable": ("REFUSE", "The disk starts by UEFI only."),
    },
    "xfs": {"RootFileSystem": ("REFUSE", "The root is on XFS.")},
    "no-virtio": {"VirtioBlock": ("REFUSE", "virtio_blk as a module, but not in its initramfs")},
    "crowded": {
        "OtherInterfaces": ("WARN", "eth1 (/etc/systemd/network/30-eth1.network). DHCP still brings eth0 up."),
        "PrivateKeys": ("WARN", "Found 1: /root/.ssh/id_ed25519."),
    },
}
MODERN_TAKES = ("PartitionTable", "RootFileSystem")

GUEST = {"InstanceType": "S5.SMALL1"}
TOLD = "NETWORK-TOLD"


@pytest.fixture(scope="session")
def guest(guest_image):
    """Gives a variant's image, which is built once."""

    @cache
    def built(name):
        if name == "default":
            return guest_image
        done = subprocess.run([BUILDER, *VARIANTS[name]], stdout=subprocess.PIPE, text=True, check=True)
        return Path(done.stdout.strip())

    return built


def inspected(binary, image, policy, *flags):
    """The report of a local file."""
    claim = ["--os-type", "Debian", "--os-version", "12", "--policy", policy]
    done = subprocess.run(
        [binary, "image", "inspect", image, *claim, *flags, "--output", "json"], capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["Accepted"] else 1), done.stderr
    return report


def findings(report):
    return [(finding["Code"], finding["Severity"]) for finding in report["FindingSet"]]


# ---- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["guide", "modern"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_guest_gets_exactly_the_findings_it_should(kiln_binary, guest, name, policy):
    wrong = {
        code: what for code, what in NOT_MET[name].items() if policy == "guide" or code not in MODERN_TAKES
    }
    report = inspected(kiln_binary, guest(name), policy)
    severities = {code: severity for code, (severity, _) in wrong.items()}
    assert findings(report) == [(code, severities.get(code, "PASS")) for code in CRITERIA]
    said = {finding["Code"]: finding for finding in report["FindingSet"]}
    for code, (_, sentence) in wrong.items():
        assert sentence in said[code]["Found"] and said[code]["Fix"], said[code]
    assert report["Accepted"] == ("REFUSE" not in severities.values())


def test_what_a_disk_is_like_is_seen(kiln_binary, guest):
    """The facts behind the findings that are all the same."""

    def facts(name):
        return inspected(kiln_binary, guest(name), "modern")["Inspection"]

    def root(name):
        inspection = facts(name)
        number = inspection["system"]["Linux"]["root_partition"]
        [partition] = [one for one in inspection["table"]["partitions"] if one["number"] == number]
        return inspection["table"]["scheme"], number, partition["content"]

    assert root("default") == ("Mbr", 1, "Ext4") and root("ext3") == ("Mbr", 1, "Ext3")
    assert root("bare") == ("Mbr", 2, "Ext4") and root("xfs") == ("Mbr", 2, "Xfs")
    assert root("gpt") == ("Gpt", 1, "Ext4") and root("uefi") == ("Gpt", 2, "Ext4")
    for name in VARIANTS:
        boot = facts(name)["boot"]
        expected = (False, True, "SystemdBoot") if name == "uefi" else (True, False, "Extlinux")
        assert (boot["bios"], boot["uefi"], boot["loader"]) == expected, name


def test_a_guest_that_starts_by_uefi_meets_the_guide_where_that_is_said(kiln_binary, guest):
    report = inspected(kiln_binary, guest("uefi"), "guide", "--boot-mode", "UEFI")
    assert set(findings(report)) == {(code, "PASS") for code in CRITERIA}


# ---- what comes in ---------------------------------------------------------------------------------------------------


class Freezer:
    """A QEMU whose guests run no instruction while `frozen`: their disks are then as Kiln made them."""

    def __init__(self):
        # Not under pytest's own directory: instances' users may not enter that.
        self.directory = Path(tempfile.mkdtemp(prefix="kiln-test-qemu-"))
        self.directory.chmod(0o755)
        self.flag = self.directory / "frozen"
        program = self.directory / "qemu-system-x86_64"
        qemu = shutil.which("qemu-system-x86_64")
        program.write_text(f'#!/bin/sh\nif [ -e {self.flag} ]; then set -- "$@" -S; fi\nexec {qemu} "$@"\n')
        program.chmod(0o755)

    def __enter__(self):
        self.flag.touch()

    def __exit__(self, *_):
        self.flag.unlink()


@pytest.fixture(scope="module")
def frozen(kiln_binary):
    freezer = Freezer()
    yield freezer
    shutil.rmtree(freezer.directory)


@pytest.fixture(scope="module")
def server(make_server, frozen):
    """A server with the policy `guide`, whose guests can be frozen."""
    return make_server(CONFIG, environment={"PATH": f"{frozen.directory}:{os.environ['PATH']}"}).start()


@pytest.fixture(scope="module")
def carol(make_server):
    """An account of a server with the policy `modern`."""
    return make_server(CONFIG + '[import]\npolicy = "modern"\n').start().create_account("carol")


@pytest.fixture(scope="module")
def import_guest(guest):
    """Imports a guest as an account; the image's ID once it is finished."""
    hosts = []

    def imported(account, name, image_name=None, **parameters):
        hosts.append(FileHost(guest(name).parent))
        image = account.import_image(hosts[-1].url(guest(name).name), image_name or name, **parameters)
        account.finished_image(image)
        return image

    yield imported
    for host in hosts:
        host.close()


@pytest.fixture(scope="module")
def forced(alice, import_guest):
    """The guests without cloud-init, each an image."""
    return {name: import_guest(alice, name, Force=True) for name in ("ext3", "bare")}


@pytest.fixture(scope="module")
def modern(carol, import_guest):
    return {name: import_guest(carol, name) for name in ("gpt", "xfs")}


def test_an_import_finds_the_same(alice, carol, forced, modern, kiln_binary, guest):
    for account, images, policy, flags in ((alice, forced, "guide", ["--force"]), (carol, modern, "modern", [])):
        for name, image in images.items():
            account.normal_image(image)
            report = account.kiln("DescribeImageReport", ImageId=image)["Report"]
            assert set(findings(report)) == {(code, "PASS") for code in CRITERIA}
            assert report["FindingSet"] == inspected(kiln_binary, guest(name), policy, *flags)["FindingSet"]


@pytest.mark.parametrize("name", ["bare", "gpt", "uefi", "xfs", "no-virtio"])
def test_an_import_that_does_not_meet_the_guide_fails_and_names_the_criterion(alice, import_guest, name):
    """Once more, unforced."""
    image = import_guest(alice, name, f"refused-{name}")
    state, code, sentence = alice.failure(image)
    assert (state, code) == ("IMPORTFAILED", "InvalidParameterValue.ImportPolicy")
    assert re.findall(r"\[(\w+)\]", sentence) == list(NOT_MET[name])


# ---- the network file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ext3", "bare"])
def test_a_file_system_is_clean_after_an_offline_write(server, alice, frozen, forced, guest, tmp_path, name):
    """The disk as it is before the first boot: Kiln's overlay on what was imported."""
    with frozen:
        [instance] = alice.launched(forced[name], HostName="never-booted", **GUEST)
        alice.stopped(instance)
    overlay = server.instance_dir(instance) / "root.qcow2"
    base = {"driver": "qcow2", "file": {"driver": "file", "filename": str(guest(name))}}
    disk = {"driver": "qcow2", "file": {"driver": "file", "filename": str(overlay)}, "backing": base}
    raw = tmp_path / "disk.raw"
    run("qemu-img", "convert", "-O", "raw", f"json:{json.dumps(disk)}", raw)

    table = json.loads(run("sfdisk", "--json", raw))["partitiontable"]["partitions"]
    offset = table[-1]["start"] * 512
    root = f"{raw}?offset={offset}"
    said = run("e2fsck", "-fn", root).decode()
    complaints = [line for line in said.splitlines() if line and not re.match(r"Pass |.* files \(.* blocks$", line)]
    assert complaints == []
    text = run("debugfs", "-R", "cat /etc/qcloud-network-config.ini", root).decode()
    check_network_file(alice, instance, text)
    # Nothing before the root has changed: the boot record, and /boot where it is apart.
    compared = ["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=1M", f"count={offset // MIB}"]
    run(*compared, f"if={guest(name)}", f"of={tmp_path / 'before'}")
    run("cmp", f"--bytes={offset}", tmp_path / "before", raw)
    alice.call("TerminateInstances", InstanceIds=[instance])


@pytest.fixture(scope="module")
def booting(alice, carol, forced, modern):
    """Guests that start at once, by name, each with the account it is of."""
    started = [(alice, forced, "bare"), (carol, modern, "xfs"), (carol, modern, "gpt")]
    return {
        name: (account, account.launched(images[name], HostName=f"{name}-guest", **GUEST)[0])
        for account, images, name in started
    }


@pytest.mark.parametrize("name", ["bare", "xfs"])
def test_a_booted_guest_shows_the_network_file(booting, name):
    """With cloud-init (the XFS one) from its seed, without it (the bare one) from its disk."""
    account, instance = booting[name]
    said = console_shows(account, instance, TOLD).replace("\r", "")
    # The login prompt comes when it likes: it may stand in between, or have cut off what the guest then said again.
    said = re.sub(r"\n*Debian GNU/Linux 12 \S+ ttyS0\n+(\S+ login: )?", "", said)
    file, _, kernel = said.rpartition("NETWORK-FILE-BEGIN\n")[2].partition("NETWORK-FILE-END\n")
    facts = check_network_file(account, instance, file)
    # What the guest's own network is by DHCP.
    assert re.search(rf"inet {facts['ip']['ip']}/{facts['prefix']} ", kernel), kernel
    assert f"link/ether {facts['nic']['mac']} " in kernel
    # The notice of a missing file is not there.
    assert not account.instance(instance).LatestOperationErrorMsg


def test_a_guest_starts_by_uefi(alice, import_guest):
    image = import_guest(alice, "uefi", "by-uefi", BootMode="UEFI")
    alice.normal_image(image)
    [instance] = alice.launched(image, HostName="uefi-guest", **GUEST)
    console_shows(alice, instance, "uefi-guest login:")
    alice.stopped(instance)
    alice.call("StartInstances", InstanceIds=[instance])
    # The console's log goes on: the second start gets as far as the first, with the variables that it left.
    console_shows(alice, instance, "uefi-guest login:", times=2)
    alice.call("TerminateInstances", InstanceIds=[instance])


def test_a_guest_on_a_gpt_boots(booting):
    account, instance = booting["gpt"]
    console_shows(account, instance, "gpt-guest login:")


def check_network_file(account, instance, text):
    """Compares the file with what the API says of the instance; what is in it."""
    parser = configparser.ConfigParser()
    parser.read_string(text)
    facts = {section: dict(parser[section]) for section in parser.sections()}
    shown = account.instance(instance)
    assert set(facts) == {"ip", "dns", "nic", "host"} and set(facts["ip"]) == {"ip", "mask", "gateway"}
    assert [facts["ip"]["ip"]] == shown.PrivateIpAddresses
    network = ipaddress.ip_network(f"{facts['ip']['ip']}/{facts['ip']['mask']}", strict=False)
    assert ipaddress.ip_address(facts["ip"]["gateway"]) in network
    assert ipaddress.ip_address(facts["dns"]["dns"]) in network
    assert re.fullmatch(r"52:54(:[0-9a-f]{2}){4}", facts["nic"]["mac"])
    assert facts["host"]["hostname"] == shown.HostName
    return {**facts, "prefix": network.prefixlen}
