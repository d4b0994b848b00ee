"""Each client that people have, unmodified, with gigabytes and with thousands of objects: aws, boto3, coscmd, COS's SDK, rclone.

An upload is interrupted in its middle and goes on as the client's users know it: coscmd and COS's SDK find what is there
themselves, users of aws and boto3 list the parts, and rclone outlasts a server that is killed and comes back.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cloud import GUANGZHOU
from conftest import BARE_DISKS, CONFIG
from kiln_server import wait_until
from object_clients import (
    MIB, app_id, aws_environment, cos, coscmd_environment, files_of, rclone_environment, s3, sha256, sparse_file,
)  # fmt: skip

# Other people's clients leave connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

# An odd number: the last part is a short one.
SIZE_BYTES = 2260 * MIB + 12_345
PART_MIB = 32
# Every part that `aws` is told to send by hand is a process.
AWS_PART_MIB = 256
CLIENT_SECONDS = 300
OBJECTS = 5000

BY_BOTO3 = f"""
import sys, boto3
from boto3.s3.transfer import TransferConfig
parts = TransferConfig(multipart_chunksize={PART_MIB * MIB}, max_concurrency=3)
boto3.client("s3").upload_file(*sys.argv[1:], Config=parts)
"""
BY_COS = f"""
import os, sys
from qcloud_cos import CosConfig, CosS3Client
client = CosS3Client(CosConfig(Region="{GUANGZHOU}", SecretId=os.environ["ID"], SecretKey=os.environ["KEY"], Scheme="http"))
file, bucket, key = sys.argv[1:]
client.upload_file(Bucket=bucket, Key=key, LocalFilePath=file, PartSize={PART_MIB}, MAXThread=3)
"""


@pytest.fixture(scope="module")
def server(make_server):
    """A server whose buckets are at one address, also after a restart."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    return make_server(CONFIG + BARE_DISKS + f'\n[objects]\nlisten = "{address}"\n').start()


@pytest.fixture(scope="module")
def bucket(server, alice):
    name = f"gigabytes-{app_id(alice)}"
    s3(alice).create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def large(tmp_path_factory, seed):
    path = sparse_file(tmp_path_factory.mktemp("gigabytes") / "large.raw", SIZE_BYTES, seed)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def large_sha256(large):
    return sha256(large)


class Client:
    """A client's way to one bucket."""

    part_mib = PART_MIB
    # So many parts are there when the upload is interrupted.
    parts = 4

    def __init__(self, server, account, bucket, home):
        self.server, self.account, self.bucket, self.home = server, account, bucket, home
        self.boto3 = s3(account)
        self.environment = self.make_environment()

    def command(self, *arguments):
        return [*self.program, *map(str, arguments)]

    def run(self, *arguments):
        done = subprocess.run(
            self.command(*arguments), env=self.environment, cwd=self.home, capture_output=True, text=True,
            timeout=CLIENT_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def running(self, *arguments, **options):
        """The client at work; it is gone afterwards."""
        process = subprocess.Popen(self.command(*arguments), env=self.environment, cwd=self.home, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def printed_sha256(self, *arguments):
        with self.running(*arguments, stdout=subprocess.PIPE) as process:
            digest = hashlib.sha256()
            while piece := process.stdout.read(MIB):
                digest.update(piece)
            assert process.wait(CLIENT_SECONDS) == 0
        return digest.hexdigest()

    def stored(self, key):
        """The upload of a key that is under way, and its parts."""
        uploads = [one for one in self.boto3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []) if one["Key"] == key]
        if not uploads:
            return None, []
        (upload,) = [one["UploadId"] for one in uploads]
        return upload, self.boto3.list_parts(Bucket=self.bucket, Key=key, UploadId=upload).get("Parts", [])

    def wait_for_parts(self, key, process):
        def enough():
            assert process.poll() is None, "the upload ended before it could be interrupted"
            return len(self.stored(key)[1]) >= self.parts

        wait_until(enough, CLIENT_SECONDS, "some parts are there")

    def kept(self, key):
        """The files of the parts that are there, when the others are gone."""
        present = lambda: len(files_of(self.server)) == len(self.stored(key)[1])  # noqa: E731
        wait_until(present, 20, "what was not finished is gone")
        return files_of(self.server)

    def interrupted_upload(self, file, key):
        """Uploads with a client that is killed in its middle, then goes on; the part files that were there between."""
        with self.running(*self.upload(file, key)) as process:
            self.wait_for_parts(key, process)
        kept = self.kept(key)
        self.go_on(file, key)
        return kept

    def go_on(self, file, key):
        self.run(*self.upload(file, key))

    def missing(self, file, key):
        """The upload, its parts, and the numbers and places of those that are missing."""
        upload, parts = self.stored(key)
        had, step = {part["PartNumber"] for part in parts}, self.part_mib * MIB
        count = -(-file.stat().st_size // step)
        return upload, [(number, (number - 1) * step) for number in range(1, count + 1) if number not in had]

    def named_parts(self, key):
        return {"Parts": [{name: part[name] for name in ("PartNumber", "ETag")} for part in self.stored(key)[1]]}


class Aws(Client):
    program = [Path(sys.executable).with_name("aws")]
    part_mib = AWS_PART_MIB
    parts = 2

    def make_environment(self):
        settings = f"[default]\ns3 =\n  multipart_chunksize = {AWS_PART_MIB}MB\n  max_concurrent_requests = 2\n"
        (self.home / "aws.conf").write_text(settings)
        return aws_environment(self.server, self.account, self.home)

    def upload(self, file, key):
        return "s3", "cp", "--quiet", file, f"s3://{self.bucket}/{key}"

    def go_on(self, file, key):
        where = ["--bucket", self.bucket, "--key", key]
        (upload,) = json.loads(self.run("s3api", "list-multipart-uploads", "--bucket", self.bucket))["Uploads"]
        where += ["--upload-id", upload["UploadId"]]
        piece = self.home / "piece"
        for number, start in self.missing(file, key)[1]:
            cut(file, piece, start, self.part_mib * MIB)
            self.run("s3api", "upload-part", *where, "--part-number", number, "--body", piece)
        piece.unlink()
        parts = json.loads(self.run("s3api", "list-parts", *where))["Parts"]
        named = {"Parts": [{name: part[name] for name in ("PartNumber", "ETag")} for part in parts]}
        self.run("s3api", "complete-multipart-upload", *where, "--multipart-upload", json.dumps(named))

    def sha256(self, key):
        return self.printed_sha256("s3", "cp", f"s3://{self.bucket}/{key}", "-")

    def delete(self, key):
        self.run("s3", "rm", f"s3://{self.bucket}/{key}")

    def keys(self):
        return [line.split(maxsplit=3)[3] for line in self.run("s3", "ls", "--recursive", f"s3://{self.bucket}").splitlines()]


class Boto3(Client):
    program = [sys.executable, "-c", BY_BOTO3]

    def make_environment(self):
        return aws_environment(self.server, self.account, self.home)

    def upload(self, file, key):
        return file, self.bucket, key

    def go_on(self, file, key):
        where = {"Bucket": self.bucket, "Key": key}
        where["UploadId"], missing = self.missing(file, key)
        with file.open("rb") as source:
            for number, start in missing:
                source.seek(start)
                self.boto3.upload_part(**where, PartNumber=number, Body=source.read(self.part_mib * MIB))
        self.boto3.complete_multipart_upload(**where, MultipartUpload=self.named_parts(key))

    def sha256(self, key):
        digest = Digest()
        self.boto3.download_fileobj(self.bucket, key, digest)
        return digest.sha256.hexdigest()

    def delete(self, key):
        self.boto3.delete_object(Bucket=self.bucket, Key=key)

    def keys(self):
        pages = self.boto3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [found["Key"] for page in pages for found in page["Contents"]]


class Digest:
    """A file to write to of which only the digest is kept."""

    def __init__(self):
        self.sha256 = hashlib.sha256()

    def write(self, data):
        self.sha256.update(data)


class Coscmd(Client):
    program = [Path(sys.executable).with_name("coscmd")]

    def make_environment(self):
        return coscmd_environment(self.server, self.home)

    def command(self, *arguments):
        return super().command("-c", self.home / "cos.conf", "-l", self.home / "cos.log", *arguments)

    def upload(self, file, key):
        key_pair = ["-a", self.account.secret_id, "-s", self.account.secret_key]
        place = ["-b", self.bucket, "-r", GUANGZHOU, "-p", PART_MIB, "-m", 3, "--do-not-use-ssl"]
        self.run("config", *key_pair, *place)
        return "-s", "upload", file, key

    def sha256(self, key):
        back = self.home / "back"
        self.run("-s", "download", key, back)
        found = sha256(back)
        back.unlink()
        return found

    def delete(self, key):
        self.run("delete", "-f", key)

    def keys(self):
        self.upload(None, None)
        return re.findall(r"\b\d/\d{5}\b", self.run("list", "-a", "-r"))


class Cos(Client):
    program = [sys.executable, "-c", BY_COS]

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.sdk = cos(self.server, self.account)

    def make_environment(self):
        key = {"ID": self.account.secret_id, "KEY": self.account.secret_key}
        return {**coscmd_environment(self.server, self.home), **key}

    def upload(self, file, key):
        return file, self.bucket, key

    def sha256(self, key):
        digest = hashlib.sha256()
        for piece in self.sdk.get_object(Bucket=self.bucket, Key=key)["Body"].get_stream(MIB):
            digest.update(piece)
        return digest.hexdigest()

    def delete(self, key):
        self.sdk.delete_object(Bucket=self.bucket, Key=key)

    def keys(self):
        found, page = [], {"IsTruncated": "true", "NextMarker": ""}
        while page["IsTruncated"] == "true":
            page = self.sdk.list_objects(Bucket=self.bucket, Marker=page["NextMarker"])
            found += [one["Key"] for one in page["Contents"]]
        return found


class Rclone(Client):
    program = ["rclone", "--retries", "1", "--s3-chunk-size", f"{PART_MIB}M", "--s3-upload-concurrency", "3"]

    def make_environment(self):
        return rclone_environment(self.server, self.account, self.home)

    def upload(self, file, key):
        return "copyto", file, f"kiln:{self.bucket}/{key}"

    def interrupted_upload(self, file, key):
        with self.running(*self.upload(file, key)) as process:
            self.wait_for_parts(key, process)
            # Nothing new comes while it is counted what is there.
            process.send_signal(signal.SIGSTOP)
            self.server.kill()
            self.server.start()
            kept = self.kept(key)
            process.send_signal(signal.SIGCONT)
            assert process.wait(CLIENT_SECONDS) == 0
        return kept

    def sha256(self, key):
        return self.printed_sha256("cat", f"kiln:{self.bucket}/{key}")

    def delete(self, key):
        self.run("deletefile", f"kiln:{self.bucket}/{key}")

    def keys(self):
        return self.run("lsf", "-R", "--files-only", f"kiln:{self.bucket}").split()


def cut(file, piece, start, length):
    """A piece of a file, as a file of its own with the holes that it has."""
    command = ["dd", f"if={file}", f"of={piece}", "bs=1M", "conv=sparse", "status=none", "iflag=skip_bytes,count_bytes"]
    subprocess.run([*command, f"skip={start}", f"count={length}"], check=True)
    with piece.open("r+b") as cut_out:
        cut_out.truncate(min(length, file.stat().st_size - start))


CLIENTS = {"aws": Aws, "boto3": Boto3, "coscmd": Coscmd, "cos-python-sdk-v5": Cos, "rclone": Rclone}
each_client = pytest.mark.parametrize("name", CLIENTS)


@each_client
def test_gigabytes_that_are_interrupted_and_go_on(name, server, alice, bucket, large, large_sha256, tmp_path):
    client = CLIENTS[name](server, alice, bucket, tmp_path)
    key = f"by {name}/large.raw"
    kept = client.interrupted_upload(large, key)
    assert len(kept) >= client.parts and kept <= files_of(server), "what was there was not sent again"
    head = client.boto3.head_object(Bucket=bucket, Key=key)
    count = -(-SIZE_BYTES // (client.part_mib * MIB))
    assert head["ContentLength"] == SIZE_BYTES and head["ETag"].endswith(f'-{count}"')
    assert client.stored(key) == (None, [])
    stored = sum(path.stat().st_blocks * 512 for path in files_of(server))
    assert stored < 64 * MIB, "zeros are not written"
    assert client.sha256(key) == large_sha256
    client.delete(key)
    wait_until(lambda: not files_of(server), 20, "no file is left")
    shutil.rmtree(tmp_path)


# ---- thousands of objects --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(server, alice):
    """A bucket of 5,000 objects, and their keys."""
    client, name = s3(alice), f"many-{app_id(alice)}"
    client.create_bucket(Bucket=name)
    keys = sorted(f"{number % 7}/{number:05}" for number in range(OBJECTS))
    random.Random(1).shuffle(shuffled := list(keys))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=name, Key=key, Body=b"x"), shuffled))
    yield name, keys
    for start in range(0, OBJECTS, 1000):
        named = {"Objects": [{"Key": key} for key in keys[start : start + 1000]], "Quiet": True}
        assert "Errors" not in client.delete_objects(Bucket=name, Delete=named)
    client.delete_bucket(Bucket=name)


@each_client
def test_5000_objects_are_listed(name, server, alice, many, tmp_path):
    bucket, keys = many
    assert CLIENTS[name](server, alice, bucket, tmp_path).keys() == keys


def test_5000_objects_are_listed_in_both_versions(server, alice, many):
    (name, keys), client = many, s3(alice)
    for listing in ("list_objects_v2", "list_objects"):
        pages = client.get_paginator(listing).paginate(Bucket=name)
        assert [found["Key"] for page in pages for found in page["Contents"]] == keys, listing
        pages = list(client.get_paginator(listing).paginate(Bucket=name, Delimiter="/", PaginationConfig={"PageSize": 3}))
        assert [found["Prefix"] for page in pages for found in page.get("CommonPrefixes", [])] == [
            f"{digit}/" for digit in range(7)
        ]
        pages = client.get_paginator(listing).paginate(Bucket=name, Prefix="3/0")
        assert [found["Key"] for page in pages for found in page["Contents"]] == [
            key for key in keys if key.startswith("3/0")
        ]
    after = client.list_objects_v2(Bucket=name, StartAfter=keys[4990])
    assert [found["Key"] for found in after["Contents"]] == keys[4991:]
