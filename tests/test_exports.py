"""ExportImages: custom images as image files in a bucket, read back by qemu-img; what refuses, stops and interrupts it.

The bucket's files are fetched by boto3, as their owner would.
"""

import concurrent.futures
import contextlib
import random
import socket
import subprocess
import time

import crcmod
import pytest
from cloud import BEIJING, GUANGZHOU, refused
from conftest import BARE_DISKS, CONFIG, file_system
from image_files import run, system_disk
from kiln_server import wait_until
from object_clients import app_id, files_of, s3
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

MIB = 1 << 20
FORMATS = {"RAW": "raw", "QCOW2": "qcow2", "VHD": "vpc", "VMDK": "vmdk"}
# One worker, so that a test can keep it busy; what nothing uses goes at once.
ONE_WORKER = """
[workers]
images = 1

[collection]
interval_seconds = 1
min_age_seconds = 0
grace_seconds = 0
max_share_percent = 100
"""
TASK_SECONDS = 60
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
# Of COS: CRC-64 of ECMA-182, reflected.
CRC64 = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS + ONE_WORKER).start()


@pytest.fixture(scope="module")
def bucket(server, alice):
    return new_bucket(server, alice, "exports")


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "small")


@pytest.fixture(scope="module")
def large_disk(files, seed):
    """Takes long enough to export to be met in the middle of it."""
    return system_disk(files / "large.raw", seed, size_mib=1024, content_mib=96)


@pytest.fixture(scope="module")
def large_image(alice, host, large_disk):
    return alice.imported(host.url(large_disk.name), "large")


@pytest.fixture(autouse=True)
def no_files_left(server):
    """Whatever a test does, no file is left that is not an object's."""
    yield
    if server.running():
        everybody = [account for account in ACCOUNTS if account.server is server]
        wait_until(lambda: len(files_of(server)) == sum(map(parts_of, everybody)), 20, lambda: files_of(server))


ACCOUNTS = []


def new_bucket(server, account, name, region=GUANGZHOU):
    if account not in ACCOUNTS:
        ACCOUNTS.append(account)
    name = f"{name}-{app_id(account)}"
    where = {} if region == GUANGZHOU else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3(account).create_bucket(Bucket=name, **where)
    return name


def parts_of(account):
    """The files that an account's objects are in: of an export, the number that its ETag ends with."""
    client = s3(account)
    objects = [one for found in client.list_buckets()["Buckets"] for one in listed(client, found["Name"])]
    return sum(int(one["ETag"].strip('"').partition("-")[2] or 1) for one in objects)


def listed(client, bucket):
    return client.list_objects_v2(Bucket=bucket).get("Contents", [])


def export(account, bucket, *images, **parameters):
    """Asks for an export; the number of its task, and the keys of its files."""
    answer = account.call("ExportImages", BucketName=bucket, ImageIds=images, **parameters)
    return answer.TaskId, [path.removeprefix("/") for path in answer.CosPaths]


def task_of(account, number):
    [task] = account.kiln("DescribeTasks", TaskIds=[str(number)])["TaskSet"]
    return task


def ended(account, number):
    """Waits for the end of a task; the task."""
    wait_until(lambda: task_of(account, number)["State"] in ENDED, TASK_SECONDS, lambda: task_of(account, number))
    return task_of(account, number)


def exported(account, bucket, *images, **parameters):
    number, keys = export(account, bucket, *images, **parameters)
    task = ended(account, number)
    assert task["State"] == "SUCCEEDED", task
    return keys


def fetched(account, bucket, key, directory):
    path = directory / key.replace("/", "_")
    s3(account).download_file(bucket, key, str(path))
    return path


def same(path, form, expected):
    run("qemu-img", "compare", "-f", form, "-F", "raw", path, expected)


def clear(account, bucket):
    client = s3(account)
    for one in listed(client, bucket):
        client.delete_object(Bucket=bucket, Key=one["Key"])


@contextlib.contextmanager
def busy_worker(server):
    """Keeps the only worker waiting for a server that says nothing."""
    operator = server.operator()
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/nothing"
    image = operator.import_image(url, f"never-{random.random()}")
    number = next(task["TaskId"] for task in operator.tasks() if task["ImageId"] == image)
    wait_until(lambda: task_of(operator, number)["State"] == "RUNNING", TASK_SECONDS, "the worker is busy")
    yield
    operator.kiln("CancelTask", TaskId=number)
    silent.close()
    ended(operator, number)


# ---- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "form"), FORMATS.items())
def test_each_format_reads_back(server, alice, bucket, image, small_disk, tmp_path, word, form):
    snapshot = alice.image(image).SnapshotSet[0].SnapshotId
    number, keys = export(alice, bucket, image, ExportFormat=word)
    assert keys == [f"{image}_system_{snapshot}.{word.lower()}"]
    task = ended(alice, number)
    assert task["State"] == "SUCCEEDED" and task["BytesDone"] == task["BytesTotal"] == small_disk.stat().st_size
    assert task["Export"] == {"ImageIds": [image], "BucketName": bucket, "CosPaths": [f"/{keys[0]}"]}
    file = fetched(alice, bucket, keys[0], tmp_path)
    same(file, form, small_disk)
    if form == "qcow2":
        run("qemu-img", "check", file)
    head = s3(alice).head_object(Bucket=bucket, Key=keys[0])
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-cos-hash-crc64ecma"] == str(CRC64(file.read_bytes()))
    # Zeros take no place on the server, either.
    stored = sum(path.stat().st_blocks * 512 for path in files_of(server))
    assert stored < 40 * MIB, "what has no content is a hole"
    if form == "vmdk":
        back = alice.imported(f"s3://{bucket}/{keys[0]}", "back")
        run("qemu-img", "compare", "-f", "raw", server.json("image", "export-url", back)["Url"], small_disk)
        alice.call("DeleteImages", ImageIds=[back])
    clear(alice, bucket)


def test_images_are_exported_together_under_their_prefixes(server, alice, bucket, host, image, small_disk, tmp_path):
    second = alice.imported(host.url("small.qcow2"), "second")
    keys = exported(alice, bucket, image, second, FileNamePrefixList=["a", "nightly/b"], ExportFormat="QCOW2")
    assert [key.partition("_img-")[0] for key in keys] == ["a", "nightly/b"]
    assert sorted(one["Key"] for one in listed(s3(alice), bucket)) == sorted(keys)
    for key in keys:
        same(fetched(alice, bucket, key, tmp_path), "qcow2", small_disk)
    # Once more: what has the name is replaced.
    assert exported(alice, bucket, image, FileNamePrefixList=["a"], ExportFormat="QCOW2") == keys[:1]
    alice.call("DeleteImages", ImageIds=[second])
    clear(alice, bucket)


def test_a_dry_run_writes_nothing(server, alice, bucket, image):
    before = len(alice.tasks())
    number, keys = export(alice, bucket, image, DryRun=True, OnlyExportRootDisk=True, RoleName="CVM_QcsRole")
    assert (number, keys) == (0, []) and len(alice.tasks()) == before
    assert listed(s3(alice), bucket) == []


# ---- what refuses it -------------------------------------------------------------------------------------------------


def test_refusals(server, alice, bob, bucket, image, host, small_disk):
    def fails_with(code, account=alice, **changed):
        wanted = {"BucketName": bucket, "ImageIds": [image], **changed}
        return refused(code, account.call, "ExportImages", **wanted)

    elsewhere = new_bucket(server, alice, "elsewhere", BEIJING)
    bobs = new_bucket(server, bob, "bobs")
    assert BEIJING in fails_with("InvalidParameterValue.BucketNotFound", BucketName=elsewhere)
    fails_with("InvalidParameterValue.BucketNotFound", BucketName="nothing-1250000000")
    fails_with("InvalidParameterValue.BucketNotFound", BucketName="No Bucket")
    fails_with("InvalidParameterValue.InvalidBucketPermissionForExport", BucketName=bobs)
    fails_with("InvalidParameterValue", ExportFormat="VDI")
    fails_with("MissingParameter", ImageIds=[])
    fails_with("InvalidImageId.Malformed", ImageIds=["image"])
    fails_with("InvalidImageId.NotFound", ImageIds=["img-00000000"])
    fails_with("InvalidParameterValue.Duplicate", ImageIds=[image, image])
    fails_with("InvalidParameterValue.LimitExceeded", ImageIds=[f"img-0000000{n}" for n in "0123456789a"])
    for prefixes in (["a", "b"], ["../up"], ["x" * 1024], ["line\nbreak"]):
        fails_with("InvalidParameterValue.InvalidFileNamePrefixList", FileNamePrefixList=prefixes)
    failing = alice.import_image(host.url("gone.raw"), "gone")
    assert alice.finished_image(failing).ImageState == "IMPORTFAILED"
    fails_with("InvalidImageId.IncorrectState", ImageIds=[failing])
    fails_with("InvalidImageId.NotFound", bob, BucketName=bobs)
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="SHARE")
    fails_with("UnsupportedOperation.SharedImageExportUnsupported", bob, BucketName=bobs)
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="CANCEL")
    windows = alice.imported(host.url("small.qcow2"), "windows", OsType="Windows Server 2012", OsVersion="R2")
    fails_with("UnsupportedOperation.WindowsImageExportUnsupported", ImageIds=[windows])
    fails_with("UnsupportedOperation.WindowsImageExportUnsupported", ImageIds=[image, windows])
    own = alice.imported(
        host.url("small.qcow2"), "byol", OsType="Windows Server 2012", OsVersion="R2", LicenseType="BYOL"
    )
    export(alice, bucket, own, DryRun=True)
    assert listed(s3(alice), bucket) == []
    alice.call("DeleteImages", ImageIds=[windows, own, failing])
    s3(alice).delete_bucket(Bucket=elsewhere)


def test_no_set_of_requests_gets_past_the_limit(server, operator, alice, bucket, image):
    def ask(_):
        try:
            return export(alice, bucket, image)[0]
        except TencentCloudSDKException as error:
            assert error.get_code() == "LimitExceeded.ExportImageTaskLimitExceeded", error
            return None

    with busy_worker(server), concurrent.futures.ThreadPoolExecutor(32) as pool:
        accepted = [number for number in pool.map(ask, range(32)) if number]
        assert len(accepted) == 5
        limits = {limit["Name"]: limit for limit in alice.kiln("DescribeLimits")["LimitSet"]}
        assert (limits["ExportTasks"]["Limit"], limits["ExportTasks"]["Used"]) == (5, 5)
        # One that waits is cancelled at once, which makes room for another.
        alice.kiln("CancelTask", TaskId=str(accepted[0]))
        assert ended(alice, accepted[0])["State"] == "CANCELLED"
        assert ask(0)
        operator.set_limits(alice.uin, ExportTasks=6)
        accepted += [ask(0)]
        operator.kiln("ModifyAccountLimits", Uin=alice.uin)
    assert [ended(alice, number)["State"] for number in accepted[1:]] == ["SUCCEEDED"] * 5
    clear(alice, bucket)


def test_an_account_whose_buckets_are_full_exports_nothing(make_server, host, small_disk):
    """A raw file's size is known before; those of others when they are written, which then ends."""
    server = make_server(CONFIG + BARE_DISKS + "[objects]\naccount_gib = 1\n").start()
    account = server.create_account("full")
    bucket = new_bucket(server, account, "full")
    image = account.imported(host.url("small.qcow2"), "small")
    client = s3(account)
    hole = bytes(MIB)
    upload = {"Bucket": bucket, "Key": "hole"}
    part = client.put_object(**upload, Body=hole * 64)
    copies = [client.copy_object(Bucket=bucket, Key=f"hole-{n}", CopySource=upload) for n in range(14)]
    assert part and len(copies) == 14
    client.put_object(Bucket=bucket, Key="rest", Body=hole * 50)
    refused("QuotaExceeded", account.call, "ExportImages", BucketName=bucket, ImageIds=[image])
    number, _ = export(account, bucket, image, ExportFormat="VMDK")
    task = ended(account, number)
    assert (task["State"], task["ErrorCode"]) == ("FAILED", "LimitExceeded.BucketBytes")
    assert len(listed(client, bucket)) == 16
    wait_until(lambda: len(files_of(server)) == 16, 10, "what was written is gone")


# ---- what happens meanwhile ------------------------------------------------------------------------------------------


def under_way(account, number):
    wait_until(lambda: task_of(account, number)["BytesDone"] > 0, TASK_SECONDS, lambda: task_of(account, number))


def test_a_cancelled_export_leaves_nothing(server, alice, bucket, large_image):
    number, _ = export(alice, bucket, large_image, ExportFormat="VMDK")
    under_way(alice, number)
    alice.kiln("CancelTask", TaskId=str(number))
    task = ended(alice, number)
    assert (task["State"], task["ErrorCode"]) == ("CANCELLED", "FailedOperation.TaskCancelled")
    assert listed(s3(alice), bucket) == []


def test_the_bucket_goes_meanwhile(server, alice, large_image):
    bucket = new_bucket(server, alice, "short-lived")
    number, _ = export(alice, bucket, large_image, ExportFormat="VMDK")
    under_way(alice, number)
    s3(alice).delete_bucket(Bucket=bucket)
    task = ended(alice, number)
    assert (task["State"], task["ErrorCode"]) == ("FAILED", "InvalidParameterValue.BucketNotFound")
    entry = alice.kiln("DescribeOperations", ActionName="ExportImages", Limit=1)["OperationSet"][0]
    assert (entry["Subject"], entry["ErrorCode"]) == (large_image, "InvalidParameterValue.BucketNotFound")


def test_the_image_goes_meanwhile(server, alice, bucket, host, files, seed, tmp_path):
    """From the answer on: what is exported is kept, also from the collection of garbage, until the export has ended."""
    disk = system_disk(files / "going.raw", f"{seed}/going")
    image = alice.imported(host.url(disk.name), "going")
    with busy_worker(server):
        number, [key] = export(alice, bucket, image, ExportFormat="QCOW2")
        alice.call("DeleteImages", ImageIds=[image])
        time.sleep(2.5)
        server.check_store()
    assert ended(alice, number)["State"] == "SUCCEEDED"
    same(fetched(alice, bucket, key, tmp_path), "qcow2", disk)
    clear(alice, bucket)


def test_kiln_is_killed_meanwhile(server, alice, bucket, large_image, large_disk, seed, tmp_path):
    """The task goes on after each restart, and one object comes of it, whole."""
    chance = random.Random(seed)
    number, [key] = export(alice, bucket, large_image, ExportFormat="VMDK")
    for _ in range(3):
        under_way(alice, number)
        time.sleep(chance.uniform(0, 0.5))
        server.kill()
        server.start()
        found = [one["Key"] for one in listed(s3(alice), bucket)]
        assert found == ([key] if task_of(alice, number)["State"] == "SUCCEEDED" else [])
    task = ended(alice, number)
    assert task["State"] == "SUCCEEDED" and task["Attempts"] > 1, task
    same(fetched(alice, bucket, key, tmp_path), "vmdk", large_disk)
    clear(alice, bucket)
    (tmp_path / key).unlink()


@pytest.fixture
def small_file_system(tmp_path):
    with file_system(tmp_path / "small", 120) as room:
        yield room


def test_the_disk_becomes_full_meanwhile(make_server, host, small_disk, small_file_system):
    server = make_server(data_dir=small_file_system / "data").start()
    account = server.create_account("cramped")
    bucket = new_bucket(server, account, "cramped")
    image = account.imported(host.url("small.qcow2"), "small")
    client = s3(account)
    left = subprocess.run(["df", "--output=avail", "-B1", small_file_system], capture_output=True, text=True).stdout
    client.put_object(Bucket=bucket, Key="filler", Body=random.Random(1).randbytes(int(left.split()[1]) - 10 * MIB))
    number, _ = export(account, bucket, image, ExportFormat="RAW")
    task = ended(account, number)
    assert (task["State"], task["ErrorCode"]) == ("FAILED", "FailedOperation.StorageFull")
    assert [one["Key"] for one in listed(client, bucket)] == ["filler"]
    wait_until(lambda: len(files_of(server)) == 1, 10, "what was written is gone")
    client.delete_object(Bucket=bucket, Key="filler")
    assert len(exported(account, bucket, image)) == 1
    server.kill()


# ---- the command line ------------------------------------------------------------------------------------------------


def export_tasks(account):
    return [task["TaskId"] for task in account.tasks() if task["Kind"] == "export_images"]


def test_the_command_line_makes_a_file(server, alice, image, small_disk, tmp_path):
    run_kiln = lambda *arguments, **options: server.run("image", "export", image, *arguments, account=alice, **options)  # noqa: E731
    file = tmp_path / "disk.qcow2"
    told = server.json("image", "export", image, file, account=alice)
    assert (told["ImageId"], told["FileBytes"]) == (image, file.stat().st_size)
    same(file, "qcow2", small_disk)
    run_kiln(tmp_path / "disk", "--format", "raw")
    same(tmp_path / "disk", "raw", small_disk)
    assert (tmp_path / "disk").stat().st_blocks * 512 < 40 * MIB, "what has no content is a hole here, too"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "disk.qcow2"]
    assert listed(s3(alice), f"exports-{app_id(alice)}") == []
    for arguments, sentence in [
        ([file], "it is there already"),
        ([tmp_path / "disk.vdi"], "give one by --format"),
        ([tmp_path / "nowhere" / "disk.raw"], "no such directory"),
        ([], "--bucket"),
    ]:
        failed = run_kiln(*arguments, check=False)
        assert failed.returncode != 0 and sentence in failed.stderr, failed.stderr
    before = len(export_tasks(alice))
    run_kiln("--bucket", "exports", "--format", "vhd", "--prefix", "nightly")
    [key] = [one["Key"] for one in listed(s3(alice), f"exports-{app_id(alice)}")]
    assert key.startswith(f"nightly_{image}_system_") and key.endswith(".vhd") and len(export_tasks(alice)) == before + 1
    lines = server.run("task", "list", account=alice).stdout.splitlines()
    assert any("export_images" in line and image in line for line in lines), lines
    clear(alice, f"exports-{app_id(alice)}")


def test_the_command_line_goes_on_with_a_download(server, alice, image, small_disk, tmp_path):
    whole, file, bucket = tmp_path / "whole.vmdk", tmp_path / "disk.vmdk", f"exports-{app_id(alice)}"
    export_to = lambda *arguments, **options: server.run("image", "export", image, *arguments, account=alice, **options)  # noqa: E731
    export_to(whole, "--keep-object")
    before = len(export_tasks(alice))
    [found] = listed(s3(alice), bucket)
    unfinished = tmp_path / f".disk.vmdk.unfinished-{found['ETag'].strip(chr(34))}"
    (tmp_path / ".disk.vmdk.unfinished-0123456789abcdef0123456789abcdef-7").write_bytes(b"stale")
    unfinished.write_bytes(b"not what the server has")
    failed = export_to(file, "--keep-object", check=False)
    assert failed.returncode != 0 and "try again" in failed.stderr and not unfinished.exists()
    unfinished.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    export_to(file)
    assert file.read_bytes() == whole.read_bytes() and len(export_tasks(alice)) == before, "nothing was exported again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.vmdk", "whole.vmdk"]
    assert listed(s3(alice), bucket) == []
    same(file, "vmdk", small_disk)
