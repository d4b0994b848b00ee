"""What instances and their images cost: recorded while they run, reported month by month."""

import csv
import io
import os
import signal
import time
from decimal import ROUND_HALF_UP, Decimal

import pytest
from cloud import refused
from conftest import BARE_DISKS, CONFIG

PRICES = """
[[instance_types]]
name = "S5.SMALL1"
vcpus = 1
memory_gib = 0.5
per_hour = 3600.0
per_month = 7200.0
"""
MACHINE_PER_SECOND, FEE_PER_SECOND = Decimal(1), Decimal("0.5")
FEE_PER_HOUR = "1800"
PLACE = Decimal("0.0001")


@pytest.fixture(scope="module")
def server(make_server):
    config = CONFIG.split("[[instance_types]]")[0]
    return make_server(config + BARE_DISKS + PRICES).start()


@pytest.fixture(scope="module")
def licensed(operator, host, small_disk):
    """A public image with a licence fee."""
    image = operator.raw(
        "ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=host.url("small.qcow2"),
        ImageName="licensed", ImageType="PUBLIC_IMAGE",
    )["ImageId"]  # fmt: skip
    operator.normal_image(image)
    operator.kiln("ModifyImageFee", ImageId=image, PerHour=FEE_PER_HOUR, PerMonth="1")
    return image


def usage(account, **parameters):
    return account.kiln("DescribeUsage", Limit=100, **parameters)


def lines_of(account, instance):
    return [line for line in usage(account)["UsageSet"] if line["InstanceId"] == instance]


def terminated(account, *instances):
    account.call("TerminateInstances", InstanceIds=list(instances))
    for instance in instances:
        account.instance_in("TERMINATED", instance)


def amount(seconds, per_second):
    return (Decimal(str(seconds)) * per_second).quantize(PLACE, ROUND_HALF_UP)


def test_a_machine_is_paid_for_while_it_runs(operator, bob, licensed):
    begun = time.monotonic()
    [instance] = bob.launched(licensed)
    ran = time.monotonic()
    [line] = lines_of(bob, instance)
    assert (line["ImageId"], line["FeeImageId"], line["ProviderUin"]) == (licensed, licensed, operator.uin)
    assert (line["MachinePerHour"], line["ImagePerHour"]) == ("3600.0000", "1800.0000")
    time.sleep(1)
    least = time.monotonic() - ran
    bob.stopped(instance)
    most = time.monotonic() - begun
    [line] = lines_of(bob, instance)
    assert least - 0.2 <= line["Seconds"] <= most
    assert Decimal(line["MachineAmount"]) == amount(line["Seconds"], MACHINE_PER_SECOND)
    assert Decimal(line["ImageAmount"]) == amount(line["Seconds"], FEE_PER_SECOND)
    assert Decimal(line["Amount"]) == Decimal(line["MachineAmount"]) + Decimal(line["ImageAmount"])
    assert lines_of(bob, instance) == [line], "what has stopped costs nothing more"
    bob.call("StartInstances", InstanceIds=[instance])
    bob.instance_in("RUNNING", instance)
    terminated(bob, instance)
    [longer] = lines_of(bob, instance)
    assert longer["Seconds"] > line["Seconds"] and lines_of(bob, instance) == [longer]


def test_what_is_made_of_an_image_carries_its_fee_and_another_image_another(operator, bob, licensed, host):
    free = operator.raw(
        "ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=host.url("small.qcow2"),
        ImageName="free", ImageType="PUBLIC_IMAGE",
    )["ImageId"]  # fmt: skip
    operator.normal_image(free)
    [first] = bob.launched(licensed)
    made = bob.normal_image(bob.call("CreateImage", InstanceId=first, ImageName="made").ImageId).ImageId
    [second] = bob.launched(made)
    [line] = lines_of(bob, second)
    assert (line["ImageId"], line["FeeImageId"], line["ImagePerHour"]) == (made, licensed, "1800.0000")
    bob.call("ResetInstance", InstanceId=second, ImageId=free)
    bob.instance_in("RUNNING", second)
    assert [(line["ImageId"], line["ImagePerHour"]) for line in lines_of(bob, second)] == [
        (made, "1800.0000"), (free, "0.0000"),
    ]  # fmt: skip
    # Another price holds at once, for what runs as well.
    operator.kiln("ModifyImageFee", ImageId=licensed, PerHour="900", PerMonth="1")
    assert [line["ImagePerHour"] for line in lines_of(bob, first)] == ["1800.0000", "900.0000"]
    operator.kiln("ModifyImageFee", ImageId=licensed, PerHour=FEE_PER_HOUR, PerMonth="1")
    terminated(bob, first, second)
    bob.call("DeleteImages", ImageIds=[made])


def test_a_kill_loses_no_usage(server, bob, licensed):
    [goes_on, ends] = bob.launched(licensed, InstanceCount=2)
    server.kill()
    pid = server.machine_pid(ends)
    os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    server.start()
    bob.instance_in("STOPPED", ends)
    [before], [line] = lines_of(bob, ends), lines_of(bob, goes_on)
    assert before["Seconds"] >= 1 and lines_of(bob, ends) == [before]
    assert lines_of(bob, goes_on)[0]["Seconds"] > line["Seconds"] >= 1
    terminated(bob, goes_on, ends)


def test_each_sees_its_own_and_the_operator_all(server, operator, alice, bob, licensed):
    [hers] = alice.launched(licensed)
    terminated(alice, hers)
    assert {line["Uin"] for line in usage(alice)["UsageSet"]} == {alice.uin}
    assert {line["Uin"] for line in usage(bob.sub_account("books", "READ_ONLY"))["UsageSet"]} == {bob.uin}
    assert {alice.uin, bob.uin} <= {line["Uin"] for line in usage(operator)["UsageSet"]}
    assert usage(operator, Uin=alice.uin)["UsageSet"] == usage(alice)["UsageSet"]
    refused("UnauthorizedOperation", usage, bob, Uin=alice.uin)
    # What they paid for the image is what its provider earned; he is told of no customer.
    lines = [line for line in usage(operator)["UsageSet"] if line["FeeImageId"] == licensed]
    earned = operator.kiln("DescribeEarnings")
    assert Decimal(earned["Amount"]) == sum(Decimal(line["ImageAmount"]) for line in lines) > 0
    assert {line["ProviderUin"] for line in earned["EarningsSet"]} == {operator.uin}
    assert not {alice.uin, bob.uin} & set(map(str, earned["EarningsSet"][0].values()))
    assert bob.kiln("DescribeEarnings")["EarningsSet"] == []


def test_reports_have_months_pages_and_forms(server, operator, alice):
    report = usage(alice)
    assert usage(alice, Month=report["Month"])["UsageSet"] == report["UsageSet"] != []
    assert usage(alice, Month="2020-01")["UsageSet"] == []
    for wrong in ("2026-13", "november", "2026-1"):
        assert "2026-11" in refused("InvalidParameterValue", usage, alice, Month=wrong)
    whole = usage(operator)
    assert whole["TotalCount"] == len(whole["UsageSet"]) > 2
    page = operator.kiln("DescribeUsage", Offset=1, Limit=1)
    assert page["UsageSet"] == whole["UsageSet"][1:2] and page["Amount"] == whole["Amount"]
    assert Decimal(whole["Amount"]) == sum(Decimal(line["Amount"]) for line in whole["UsageSet"])
    shown = server.json("usage")
    assert shown["UsageSet"] == whole["UsageSet"]
    rows = list(csv.DictReader(io.StringIO(server.run("usage", "--csv").stdout)))
    assert [row["Amount"] for row in rows] == [line["Amount"] for line in whole["UsageSet"]]
    assert {row["Month"] for row in rows} == {whole["Month"]}
    rows = list(csv.DictReader(io.StringIO(server.run("usage", "--earnings", "--csv").stdout)))
    assert sum(Decimal(row["Amount"]) for row in rows) == Decimal(operator.kiln("DescribeEarnings")["Amount"])
    table = server.run("usage", "--account", alice.uin, account=operator).stdout
    assert alice.uin in table and f"{whole['Month']}: " in table
