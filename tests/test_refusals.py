"""Bad input gets the public API's error code and a sentence, and loses nothing: what was there is there afterwards,
nothing is left half-done.

Codes are those of the public definition; what a sentence must name is asserted where a user could not act without it.
"""

import socket
import threading
import time
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from cloud import BEIJING, GUANGZHOU, SINGAPORE, Account, refused
from conftest import BARE_DISKS, CONFIG
from image_files import MIB, no_disks, run, same_disk, system_disk
from kiln_server import wait_until
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

IMPORT = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12"}
NOWHERE = {**IMPORT, "ImageUrl": "http://192.0.2.1/disk", "ImageName": "nowhere"}
LONG = {"ImageDescription": "ä" * 257}


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS + "\n[workers]\nimages = 4\n").start()


@pytest.fixture(scope="module")
def normal(alice, host, small_disk):
    """An image that is there before and must be there after."""
    return alice.imported(host.url("small.qcow2"), "normal")


@pytest.fixture(autouse=True)
def nothing_lost(request):
    """After each test: the image that was there reads as before, nothing is staged, the store is whole."""
    yield
    if not {"server", "normal", "small_disk"} <= set(request.fixturenames):
        return
    server, normal, small_disk = (request.getfixturevalue(name) for name in ("server", "normal", "small_disk"))
    same_disk(server.json("image", "export-url", normal)["Url"], small_disk)
    wait_until(lambda: server.staged_files() == [], 60, lambda: f"the staging is empty: {server.staged_files()}")
    server.check_store()


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_a_wrong_secret_key(server, alice):
    stranger = Account(server, alice.uin, alice.secret_id, alice.secret_key[::-1])
    refused("AuthFailure.SignatureFailure", stranger.call, "DescribeImages")


def test_an_unknown_secret_id(server, alice):
    stranger = Account(server, alice.uin, "AKID" + "z" * 32, alice.secret_key)
    refused("AuthFailure.SecretIdNotFound", stranger.call, "DescribeImages")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_timestamp_that_is_too_far_off(alice, monkeypatch, minutes):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 60 * minutes)
    assert "clock" in refused("AuthFailure.SignatureExpire", alice.call, "DescribeImages")


def test_an_unsigned_payload(alice):
    client = alice.cvm()
    client.profile.unsignedPayload = True
    refused("AuthFailure.SignatureFailure", client.call_json, "DescribeImages", {})


def test_no_signature_at_all(server):
    headers = {"X-TC-Action": "DescribeImages", "X-TC-Version": "2017-03-12"}
    request = urllib.request.Request(server.endpoint, b"{}", headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert (answer.status, b"AuthFailure" in answer.read()) == (200, True)


def test_a_disabled_and_a_deleted_key(server, operator):
    account = server.create_account("short-lived")
    operator.kiln("ModifyApiKey", TargetSecretId=account.secret_id, Enabled=False)
    refused("AuthFailure.SecretIdNotFound", account.call, "DescribeImages")
    operator.kiln("DeleteApiKey", TargetSecretId=account.secret_id)
    refused("AuthFailure.SecretIdNotFound", account.call, "DescribeImages")


# ---- the request's form ----------------------------------------------------------------------------------------------


def unknown_images(count):
    return [f"img-{number:08}" for number in range(count)]


def tag_filters(count, values=1):
    return [{"Name": f"tag:key-{number}", "Values": [f"value-{value}" for value in range(values)]} for number in range(count)]


@pytest.mark.parametrize(
    ("code", "action", "options"),
    [
        ("InvalidAction", "MakeCoffee", {}),
        ("NoSuchVersion", "DescribeImages", {"version": "2016-01-01"}),
        ("NoSuchProduct", "DescribeImages", {"service": "tea"}),
        ("UnsupportedRegion", "DescribeImages", {"region": "ap-nowhere"}),
        ("MissingParameter", "DescribeImages", {"region": ""}),
        ("MissingParameter", "ImportImage", {**IMPORT, "ImageName": "no-url"}),
        ("InvalidParameter", "DescribeImages", {"Limit": "many"}),
        ("InvalidParameter", "DescribeImages", {"ImageIds": "img-00000000"}),
        ("UnknownParameter", "DescribeImages", {"Colour": "red"}),
        ("InvalidParameterValue.Range", "DescribeImages", {"Limit": 101}),
        ("InvalidImageId.Malformed", "DescribeImages", {"ImageIds": ["image-1"]}),
        ("InvalidImageId.NotFound", "DescribeImages", {"ImageIds": ["img-00000000"]}),
        ("InvalidFilter", "DescribeImages", {"Filters": [{"Name": "smell", "Values": ["good"]}]}),
        ("InvalidFilter", "DescribeImages", {"Filters": tag_filters(11)}),
        ("InvalidFilterValue.LimitExceeded", "DescribeImages", {"Filters": tag_filters(1, values=6)}),
        ("InvalidParameterValue.LimitExceeded", "DescribeImages", {"ImageIds": unknown_images(101)}),
        (
            "InvalidParameter.InvalidParameterCoexistImageIdsFilters",
            "DescribeImages",
            {"ImageIds": ["img-00000000"], "Filters": [{"Name": "image-name", "Values": ["a"]}]},
        ),
        ("InvalidImageOsType.Unsupported", "ImportImage", {**NOWHERE, "OsType": "BeOS"}),
        ("InvalidParameter.InvalidParameterUrlError", "ImportImage", {**NOWHERE, "ImageUrl": "file:///etc/passwd"}),
        ("InvalidParameterValue.TooLong", "ImportImage", {**NOWHERE, "ImageName": "n" * 61}),
        ("InvalidParameterValue.TooLong", "ImportImage", {**NOWHERE, **LONG}),
        ("InvalidParameterValue.TooLong", "CreateImage", {"InstanceId": "ins-00000000", "ImageName": "long", **LONG}),
        ("InvalidParameterValue.TooLong", "ModifyImageAttribute", {"ImageId": "img-00000000", **LONG}),
        ("InvalidInstanceId.NotFound", "CreateImage", {"InstanceId": "ins-00000000", "ImageName": "none"}),
        ("MissingParameter", "CreateImage", {"ImageName": "of-nothing"}),
        (
            "InvalidParameter.SpecifyOneParameter",
            "CreateImage",
            {"ImageName": "of-both", "InstanceId": "ins-00000000", "SnapshotIds": ["snap-00000000"]},
        ),
        (
            "InvalidParameterValue.LimitExceeded",
            "SyncImages",
            {"ImageIds": unknown_images(2), "DestinationRegions": [BEIJING]},
        ),
        ("InvalidImageId.NotFound", "RunInstances", {"ImageId": "img-00000000"}),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense(alice, normal, code, action, options):
    assert refused(code, alice.raw, action, **options).endswith(".")
    assert [image.ImageId for image in alice.images()] == [normal]


def test_as_much_as_a_request_may_have(alice, normal):
    assert alice.images(Filters=tag_filters(10, values=5)) == []
    refused("InvalidImageId.NotFound", alice.call, "DescribeImages", ImageIds=unknown_images(100))
    longest = "ä" * 256
    alice.call("ModifyImageAttribute", ImageId=normal, ImageDescription=longest)
    assert alice.image(normal).ImageDescription == longest


def test_an_unknown_image_is_unknown_whoever_asked_before(alice):
    unknown = ["img-zzzz9999"]
    for _ in range(2):
        refused("InvalidImageId.NotFound", alice.raw, "DescribeImages", ImageIds=unknown)
        # By a filter it is none of what is found, which the server may remember.
        assert alice.raw("DescribeImages", Filters=[{"Name": "image-id", "Values": unknown}])["TotalCount"] == 0


def test_a_body_over_ten_mebibytes(server, alice, normal):
    """Refused by its announced length, before it is read or its signature checked."""
    host, port = server.endpoint.removeprefix("http://").split(":")
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {10 * MIB + 1}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        assert b"RequestSizeLimitExceeded" in connection.recv(1 << 16)
    assert alice.images()


# ---- imports that cannot be ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hopeless(alice, host, files, small_disk):
    """Imports of everything that is no system disk or cannot be fetched, all at once: name to state and reason."""
    for name in no_disks(files, small_disk):
        alice.import_image(host.url(name), f"is {name}")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", small_disk, "-F", "raw", files / "backed.qcow2")
    alice.import_image(host.url("backed.qcow2"), "is backed")
    for manner in ("cut", "status-404", "status-500"):
        alice.import_image(host.url("small.raw", manner), manner)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        alice.import_image(f"http://127.0.0.1:{unused.getsockname()[1]}/disk", "unreachable")
        alice.import_image("http://no-such-host.invalid/disk", "no such host")
        # A private address that the configuration does not allow.
        alice.import_image(f"http://127.0.0.2:{host.server.server_port}/small.raw", "private")
        images = [image for image in alice.images() if image.ImageName != "normal"]
        for image in images:
            alice.finished_image(image.ImageId)
    return {image.ImageName: (image.ImageId, *alice.failure(image.ImageId)) for image in images}


NOT_FETCHED = "FailedOperation.ImportSourceUnreadable"
FORMAT = "InvalidParameterValue.ImageFormat"
NO_SYSTEM = "InvalidParameterValue.ImportPolicy"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("cut", NOT_FETCHED, "broke off after"),
        ("status-404", NOT_FETCHED, "404"),
        ("status-500", NOT_FETCHED, "500"),
        ("unreachable", NOT_FETCHED, "cannot be reached"),
        ("no such host", NOT_FETCHED, "could not be looked up"),
        ("private", NOT_FETCHED, "allow_private"),
        ("is backed", FORMAT, "backing"),
        ("is cut.qcow2", None, ""),
        ("is empty", None, ""),
        ("is gzip", None, "gzip"),
        ("is noise", NO_SYSTEM, "[PartitionTable]"),
        ("is page", None, ""),
        ("is tar", None, ""),
        ("is text", None, ""),
        ("is zeros", NO_SYSTEM, "[PartitionTable]"),
    ],
)
def test_what_cannot_be_imported_ends_with_a_reason(normal, hopeless, name, code, words):
    _, state, found, sentence = hopeless[name]
    assert state == "IMPORTFAILED"
    assert found == code if code else found in (FORMAT, NO_SYSTEM), (found, sentence)
    assert words in sentence and sentence.endswith(".") and "/" + "tmp" not in sentence, sentence


def test_a_failed_import_takes_no_place_and_can_be_deleted(server, operator, host, hopeless):
    carol = server.create_account("carol")
    operator.set_limits(carol.uin, ImagesPerRegion=1)
    failed = carol.import_image(host.url("small.raw", "status-404"), "again")
    assert carol.finished_image(failed).ImageState == "IMPORTFAILED"
    carol.imported(host.url("small.raw"), "again")
    carol.call("DeleteImages", ImageIds=[failed])
    assert [image.ImageState for image in carol.images()] == ["NORMAL"]


def test_a_cancelled_import(alice, normal, host, files, small_disk):
    alice.import_image(host.url(big_file(files, small_disk), "slow"), "cancelled")
    image = alice.image_named("cancelled").ImageId
    task = next(task for task in alice.tasks() if task["ImageId"] == image)
    alice.kiln("CancelTask", TaskId=task["TaskId"])
    assert alice.finished_image(image).ImageState == "IMPORTFAILED"
    assert alice.failure(image)[1] == "FailedOperation.TaskCancelled"


def big_file(files, small_disk):
    """A disk that takes some seconds to be served slowly; a look at its beginning finds nothing wrong."""
    path = files / "big"
    shutil.copyfile(small_disk, path)
    with path.open("r+b") as file:
        file.truncate(300 * MIB)
    return path.name


def test_who_may_not_import(bob, normal, host):
    sentence = refused(
        "UnauthorizedOperation.ImportImage", bob.import_image, host.url("small.raw"), "not-allowed"
    )
    assert "kiln account apply-import" in sentence
    assert bob.images() == []


# ---- a full disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_fails_the_import_and_nothing_else(make_server, small_room, host, files, small_disk):
    server = make_server(data_dir=small_room / "data").start()
    owner = server.create_account("owner")
    kept = owner.imported(host.url("small.qcow2"), "kept")
    too_much = system_disk(files / "too-much.raw", seed=2, size_mib=96, content_mib=60)
    also_too_much = system_disk(files / "also-too-much.raw", seed=3, size_mib=64, content_mib=24)
    for disk in (too_much, also_too_much):
        image = owner.import_image(host.url(disk.name), disk.stem)
        assert owner.finished_image(image).ImageState == "IMPORTFAILED"
        state, code, sentence = owner.failure(image)
        assert code == "FailedOperation.StorageFull" and str(small_room) not in sentence, (code, sentence)
        assert server.staged_files() == []
        same_disk(server.json("image", "export-url", kept)["Url"], small_disk)
    server.check_store()
    # The same import succeeds once what failed left room again and an image has made some.
    owner.call("DeleteImages", ImageIds=[kept])
    server.stop()
    server.config.write_text(CONFIG + BARE_DISKS + "[collection]\ninterval_seconds = 1\nmin_age_seconds = 0\ngrace_seconds = 0\n")
    server.start()
    wait_until(lambda: used_bytes(server) < 4 * MIB, 30, lambda: f"garbage went: {used_bytes(server)} bytes are used")
    image = owner.imported(host.url(also_too_much.name), "fits-now")
    same_disk(server.json("image", "export-url", image)["Url"], also_too_much)
    server.check_store()
    server.remove()


def used_bytes(server):
    return sum(file.stat().st_blocks * 512 for file in server.data_dir.glob("regions/**/*") if file.is_file())


# ---- many at once ----------------------------------------------------------------------------------------------------


def at_once(count, call):
    """Calls from as many threads at the same moment; the error code of each, None for success."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait()
        try:
            call(number)
        except TencentCloudSDKException as error:
            return error.get_code()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_two_imports_of_one_name(alice, normal, host):
    wanted = {**IMPORT, "ImageUrl": host.url("small.qcow2", "slow"), "ImageName": "twice"}
    codes = at_once(8, lambda _: alice.call("ImportImage", **wanted))
    assert sorted(codes, key=str) == ["InvalidImageName.Duplicate"] * 7 + [None]
    [image] = [image for image in alice.images() if image.ImageName == "twice"]
    alice.normal_image(image.ImageId)


@pytest.mark.parametrize(
    ("limits", "accepted", "code"),
    [
        ({"ImagesPerRegion": 10}, 10, "ImageQuotaLimitExceeded"),
        ({"ImagesPerRegion": 100, "ImageOperationsPerDay": 5}, 5, "LimitExceeded.ImageOperationsPerDay"),
    ],
)
def test_no_crowd_gets_past_a_limit(server, operator, normal, host, limits, accepted, code):
    dave = server.create_account("dave")
    operator.set_limits(dave.uin, **limits)
    url = host.url("small.qcow2")
    codes = at_once(64, lambda number: dave.call("ImportImage", **IMPORT, ImageUrl=url, ImageName=f"n{number}"))
    assert sorted(codes, key=str) == sorted([None] * accepted + [code] * (64 - accepted), key=str)
    assert len(dave.images()) == accepted
    for image in dave.images():
        dave.normal_image(image.ImageId)
    message = refused(code, dave.call, "ImportImage", **IMPORT, ImageUrl=url, ImageName="one more")
    assert str(accepted) in message


# ---- what is in use, and what is only tried --------------------------------------------------------------------------


def test_deleting_is_all_or_nothing(alice, bob, normal, host, files, small_disk):
    shared = alice.imported(host.url("small.qcow2"), "shared")
    alice.call("ModifyImageSharePermission", ImageId=shared, AccountIds=[bob.uin], Permission="SHARE")
    message = refused("InvalidImageId.InShared", alice.call, "DeleteImages", ImageIds=[shared, normal])
    assert shared in message and alice.image(normal) and alice.image(shared)
    importing = alice.import_image(host.url(big_file(files, small_disk), "slow"), "importing")
    not_yet = "InvalidImageId.IncorrectState"
    refused(not_yet, alice.call, "DeleteImages", ImageIds=[importing, normal])
    refused(not_yet, alice.call, "SyncImages", ImageIds=[importing], DestinationRegions=[BEIJING])
    refused(not_yet, alice.run_instances, importing)
    alice.kiln("CancelTask", TaskId=next(task["TaskId"] for task in alice.tasks() if task["ImageId"] == importing))
    alice.finished_image(importing)
    alice.call("ModifyImageSharePermission", ImageId=shared, AccountIds=[bob.uin], Permission="CANCEL")
    alice.call("DeleteImages", ImageIds=[shared])


def test_deleting_an_image_touches_no_instance_of_it(alice, normal, host):
    image = alice.imported(host.url("small.qcow2"), "soon-gone")
    [instance] = alice.launched(image)
    alice.call("DeleteImages", ImageIds=[image])
    assert alice.instance(instance).InstanceState == "RUNNING"
    alice.stopped(instance)
    alice.call("StartInstances", InstanceIds=[instance])
    alice.instance_in("RUNNING", instance)
    refused("InvalidImageId.NotFound", alice.run_instances, image)
    alice.call("TerminateInstances", InstanceIds=[instance])
    alice.instance_in("TERMINATED", instance)
    refused("InvalidInstanceId.NotFound", alice.call, "StartInstances", InstanceIds=[instance])


def test_an_instance_that_is_busy_or_in_the_wrong_state(alice, normal):
    [instance] = alice.launched(normal)
    refused("UnsupportedOperation.InstanceStateRunning", alice.call, "StartInstances", InstanceIds=[instance])
    alice.call("TerminateInstances", InstanceIds=[instance])
    codes = at_once(4, lambda number: alice.call("CreateImage", InstanceId=instance, ImageName=f"late-{number}"))
    # Busy, then gone.
    assert set(codes) <= {"MutexOperation.TaskRunning", "InvalidInstanceId.NotFound"}
    alice.instance_in("TERMINATED", instance)


@pytest.mark.parametrize(
    ("code", "parameters"),
    [
        ("InvalidRegion.NotFound", {"DestinationRegions": ["ap-nowhere"]}),
        ("UnsupportedOperation.Region", {"DestinationRegions": [GUANGZHOU]}),
        ("RegionAbilityLimit.UnsupportedToSyncImage", {"DestinationRegions": [SINGAPORE]}),
    ],
)
def test_where_an_image_cannot_be_copied(alice, normal, code, parameters):
    refused(code, alice.call, "SyncImages", ImageIds=[normal], **parameters)


@pytest.mark.parametrize(
    ("code", "account"),
    [
        ("InvalidAccountIs.YourSelf", None),
        ("InvalidAccountId.NotFound", "999999999999"),
        ("InvalidAccountId.NotFound", "me"),
    ],
)
def test_whom_an_image_cannot_be_shared_with(alice, normal, code, account):
    accounts = [account or alice.uin]
    refused(code, alice.call, "ModifyImageSharePermission", ImageId=normal, AccountIds=accounts, Permission="SHARE")


def test_an_image_with_a_licence_of_ones_own_is_not_shared(alice, bob, normal, host):
    byol = alice.imported(host.url("small.qcow2"), "byol", LicenseType="BYOL")
    share = {"ImageId": byol, "AccountIds": [bob.uin], "Permission": "SHARE"}
    refused("FailedOperation.BYOLImageShareFailed", alice.call, "ModifyImageSharePermission", **share)
    assert bob.image(byol) is None
    alice.call("DeleteImages", ImageIds=[byol])


def test_a_dry_run_changes_nothing(server, alice, normal, host):
    [instance] = alice.launched(normal)

    before = everything(alice)
    alice.call("ImportImage", **IMPORT, ImageUrl=host.url("small.raw"), ImageName="dry", DryRun=True)
    alice.call("CreateImage", InstanceId=instance, ImageName="dry", DryRun=True)
    alice.call("SyncImages", ImageIds=[normal], DestinationRegions=[BEIJING], DryRun=True)
    alice.call("DeleteImages", ImageIds=[normal], DryRun=True)
    alice.run_instances(normal, InstanceCount=2, DryRun=True)
    assert everything(alice) == before
    taken = {"InstanceId": instance, "ImageName": "normal", "DryRun": True}
    refused("InvalidImageName.Duplicate", alice.call, "CreateImage", **taken)
    alice.call("TerminateInstances", InstanceIds=[instance])
    alice.instance_in("TERMINATED", instance)


def everything(account):
    """What an account has and what was ever done for it."""
    images = [(image.ImageId, image.ImageName) for region in (GUANGZHOU, BEIJING) for image in account.images(region)]
    instances = account.call("DescribeInstances", Limit=100).InstanceSet
    states = [(instance.InstanceId, instance.InstanceState) for instance in instances]
    return images, states, [task["TaskId"] for task in account.tasks()]


def test_only_the_operator_runs_the_place(alice, normal):
    refused("UnauthorizedOperation", alice.kiln, "CreateAccount", Nickname="mallory")
    refused("UnauthorizedOperation", alice.kiln, "DescribeStores")
    refused("UnauthorizedOperation", alice.kiln, "OpenImageExport", ImageId=normal, Transport="UNIX")


def test_what_is_anothers_does_not_exist(alice, bob, normal):
    [instance] = alice.launched(normal)
    refused("InvalidImageId.NotFound", bob.run_instances, normal)
    refused("InvalidImageId.NotFound", bob.call, "DeleteImages", ImageIds=[normal])
    refused("InvalidInstanceId.NotFound", bob.call, "StopInstances", InstanceIds=[instance])
    refused("InvalidInstanceId.NotFound", bob.call, "CreateImage", InstanceId=instance, ImageName="stolen")
    assert bob.tasks() == []
    alice.call("TerminateInstances", InstanceIds=[instance])
    alice.instance_in("TERMINATED", instance)
