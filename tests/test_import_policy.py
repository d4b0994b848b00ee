"""The import policy from outside: every reason at once, before the transfer where that can be, and a report that stays."""

import json
import shutil
import subprocess

import pytest
from conftest import CONFIG

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(make_server):
    """A server with the default policy, which lets in no disk without a system."""
    return make_server(CONFIG).start()


@pytest.fixture(scope="module")
def bare(alice, host, small_disk):
    """The image that an import of a disk without a system has become."""
    image = alice.import_image(host.url("small.raw"), "bare")
    alice.finished_image(image)
    return image


def report(account, image):
    return account.kiln("DescribeImageReport", ImageId=image)["Report"]


def severities(found):
    return {finding["Code"]: finding["Severity"] for finding in found["FindingSet"]}


def test_a_refusal_names_every_reason_at_once(alice, bare):
    _, code, sentence = alice.failure(bare)
    assert code == "InvalidParameterValue.ImportPolicy"
    refused = [name for name, severity in severities(report(alice, bare)).items() if severity == "REFUSE"]
    assert len(refused) > 5 and "System" in refused and "CloudInit" in refused
    assert all(f"[{name}]" in sentence for name in refused), sentence


def test_the_report_has_every_criterion_and_how_to_mend_it(alice, bare):
    found = report(alice, bare)
    assert found["Policy"] == "guide" and found["Accepted"] is False
    assert severities(found)["FileFormat"] == severities(found)["PartitionTable"] == "PASS"
    assert all(finding["Fix"] for finding in found["FindingSet"] if finding["Severity"] == "REFUSE")


def test_a_hopeless_file_is_refused_before_it_is_fetched(alice, host, files, small_disk):
    shutil.copyfile(small_disk, files / "hopeless")
    with (files / "hopeless").open("r+b") as file:
        file.truncate(4096 * MIB)
    image = alice.import_image(host.url("hopeless"), "hopeless")
    assert alice.finished_image(image).ImageState == "IMPORTFAILED"
    assert alice.failure(image)[1] == "InvalidParameterValue.ImportPolicy"
    asked = [wanted for path, wanted in host.requests if path == "/hopeless"]
    assert asked and all(asked), "the file was asked for as a whole"
    assert len(asked) * (256 << 10) < 64 * MIB


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ({"OsType": "AmigaOS"}, "InvalidImageOsType.Unsupported"),
        ({"OsType": "Debian", "OsVersion": "99"}, "InvalidImageOsVersion.Unsupported"),
    ],
)
def test_systems_that_are_not_supported(alice, host, small_disk, claim, code):
    with pytest.raises(Exception) as refused:
        alice.import_image(host.url("small.raw"), "unsupported", **claim)
    assert refused.value.code == code


def test_the_systems_are_those_of_the_policy(alice):
    answer = alice.call("DescribeImportImageOs")
    assert "Debian" in answer.ImportImageOsListSupported.Linux
    versions = {system.OsName: system.OsVersions for system in answer.ImportImageOsVersionSet}
    assert "12" in versions["Debian"]


def test_a_real_system_meets_every_criterion(alice, host, files, guest_image, server):
    shutil.copyfile(guest_image, files / "guest.qcow2")
    image = alice.imported(host.url("guest.qcow2"), "real")
    found = report(alice, image)
    assert found["Accepted"] and set(severities(found).values()) == {"PASS"}, found
    # The same without a server.
    inspected = subprocess.run(
        [server.binary, "image", "inspect", guest_image, "--os-type", "Debian", "--os-version", "12", "--output", "json"],
        capture_output=True, text=True, check=True,
    )
    assert json.loads(inspected.stdout)["FindingSet"] == found["FindingSet"]


def test_a_local_file_that_would_be_refused_fails(server, small_disk):
    inspected = subprocess.run(
        [server.binary, "image", "inspect", small_disk, "--os-type", "Debian"], capture_output=True, text=True
    )
    assert inspected.returncode == 1 and "may NOT come in" in inspected.stdout
