"""Kiln is killed at random moments of imports, image creation, copies and launches, and started again.

After each restart every task ends with its result, since nothing but the crash was in its way; no image whose request
was answered is missing; every image reads back byte for byte, by qemu-img over NBD; the store is whole. Garbage is
collected all the while, every second. Rounds share one server, so each also finds what all before it left.

The seed is printed; KILN_TEST_SEED repeats the choices and delays, not what the scheduler makes of them. The first
rounds run always, the rest with `make soak`.
"""

import random
import threading
import time

import pytest
from cloud import BEIJING, GUANGZHOU
from conftest import BARE_DISKS, CONFIG
from image_files import change_overlay, qcow2, same_disk, system_disk
from kiln_server import wait_until
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

ROUNDS = 30
SOAK_ROUNDS = 1000
# Most work of a round is done by then, on a slow machine too.
LONGEST_DELAY_SECONDS = 0.8
SECOND_KILL_PROBABILITY = 0.3
RECOVERY_SECONDS = 60
UNFINISHED = ("QUEUED", "RUNNING")
COLLECT_ALWAYS = """
[collection]
interval_seconds = 1
min_age_seconds = 1
grace_seconds = 1
"""


class World:
    """A server, what is in it, and what every image must read as."""

    def __init__(self, server, host, directory, seed):
        self.server = server
        self.host = host
        self.directory = directory
        self.operator = server.operator()
        self.owner = server.create_account("owner")
        self.seed = seed
        self.sources = [system_disk(directory / f"source-{n}.raw", seed=f"{seed}/{n}") for n in range(4)]
        for source in self.sources:
            qcow2(source)
        # The image that is there from the beginning, and two instances of it with changes of their own.
        self.base = self.owner.imported(host.url("source-0.qcow2"), "base")
        self.kept = {(GUANGZHOU, "base"): self.sources[0]}
        self.stopped, self.running = self.owner.launched(self.base, InstanceCount=2)
        self.disks = {self.stopped: self.sources[0], self.running: self.sources[0]}
        numbers = random.Random(f"{seed}/changes")
        for instance in (self.stopped, self.running):
            self.owner.stopped(instance)
            self.change(instance, numbers)
        self.owner.call("StartInstances", InstanceIds=[self.running])
        self.owner.instance_in("RUNNING", self.running)
        # Requests of tasks that were found in the log, tasks that a restarted Kiln had to take up, and rounds that had any.
        self.logged = set()
        self.taken_up = set()
        self.rounds = 0
        self.rounds_that_interrupted = 0

    def change(self, instance, numbers):
        """Changes the disk of a stopped instance."""
        before, after = self.disks[instance], self.directory / f"{instance}-{numbers.getrandbits(32):x}.raw"
        change_overlay(self.server.instance_dir(instance) / "root.qcow2", numbers, before, after)
        self.disks[instance] = after
        if before not in [*self.sources, *self.kept.values()]:
            before.unlink()


@pytest.fixture(scope="module")
def world(make_server, host, files, seed):
    return World(make_server(CONFIG + BARE_DISKS + COLLECT_ALWAYS).start(), host, files, seed)


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.soak if n >= ROUNDS else ()) for n in range(SOAK_ROUNDS)]
)
def test_nothing_is_lost_when_kiln_is_killed(world, number):
    numbers = random.Random(f"{world.seed}/{number}")
    work = Work(world, number, numbers)
    work.start()
    time.sleep(numbers.uniform(0, LONGEST_DELAY_SECONDS))
    world.server.kill()
    work.join()
    world.server.start()
    if numbers.random() < SECOND_KILL_PROBABILITY:
        time.sleep(numbers.uniform(0, LONGEST_DELAY_SECONDS / 2))
        world.server.kill()
        world.server.start()
    wait_until(lambda: tasks_have_ended(world), RECOVERY_SECONDS, lambda: f"all tasks ended: {world.operator.tasks()}")
    check_tasks(world)
    check_operations(world)
    count_interruptions(world)
    check_images(world, work)
    check_instances(world, work)
    assert world.server.staged_files() == []
    world.server.check_store()
    work.clean_up()


def test_the_kills_met_work_under_way(world):
    """The rounds prove nothing if Kiln was idle whenever it was killed."""
    assert world.rounds > 0, "run the rounds with this test"
    share = world.rounds_that_interrupted / world.rounds
    assert share >= 0.1, f"only {share:.0%} of the rounds interrupted a task"


class Work(threading.Thread):
    """What is asked of Kiln in one round, one request after the other, until it is killed."""

    def __init__(self, world, number, numbers):
        super().__init__(daemon=True)
        self.world = world
        self.number = number
        self.expected = {}
        self.answered = set()
        self.launches = 0
        kinds = [self.import_image, self.create_of_stopped, self.create_of_running, self.copy, self.launch]
        chosen = numbers.sample(kinds, numbers.randint(1, 4))
        # Prepared here, so that the thread does nothing but ask.
        if self.create_of_stopped in chosen:
            world.change(world.stopped, numbers)
        self.source = numbers.choice(world.sources[1:])
        self.form = numbers.choice([".raw", ".qcow2"])
        self.manner = numbers.choice([None, "slow"])
        self.requests = chosen

    def run(self):
        for request in self.requests:
            try:
                request()
            except (TencentCloudSDKException, StopIteration) as error:
                if "Connection" in str(error) or "RemoteDisconnected" in str(error):
                    return
                raise

    def image(self, kind, disk, region=GUANGZHOU):
        """The name of an image that will be asked for, and what it must read as if it comes to be."""
        name = f"{kind}-{self.number}"
        self.expected[region, name] = disk
        return name

    def import_image(self):
        name = self.image("import", self.source)
        url = self.world.host.url(self.source.with_suffix(self.form).name, self.manner)
        self.world.owner.call(
            "ImportImage", Architecture="x86_64", OsType="Debian", OsVersion="12", ImageUrl=url, ImageName=name
        )
        self.answered.add((GUANGZHOU, name))

    def create_of_stopped(self):
        self.create("stopped", self.world.stopped)

    def create_of_running(self):
        self.create("running", self.world.running)

    def create(self, kind, instance):
        name = self.image(kind, self.world.disks[instance])
        self.world.owner.call("CreateImage", InstanceId=instance, ImageName=name)
        self.answered.add((GUANGZHOU, name))

    def copy(self):
        name = self.image("copy", self.world.sources[0], BEIJING)
        self.world.owner.call(
            "SyncImages", ImageIds=[self.world.base], DestinationRegions=[BEIJING], ImageName=name
        )
        self.answered.add((BEIJING, name))

    def launch(self):
        self.launches = 1
        self.world.owner.run_instances(self.world.base, InstanceName=f"launch-{self.number}")

    def clean_up(self):
        """Deletes what the round made, but for one image in ten, which stays to be looked at by all later rounds."""
        owner, world = self.world.owner, self.world
        for region in (GUANGZHOU, BEIJING):
            mine = [image for image in owner.images(region) if (region, image.ImageName) in self.expected]
            if self.number % 10 == 0 and len(world.kept) < 6:
                world.kept |= {(region, image.ImageName): self.expected[region, image.ImageName] for image in mine}
                mine = [image for image in mine if (region, image.ImageName) not in world.kept]
            if mine:
                owner.call("DeleteImages", region, ImageIds=[image.ImageId for image in mine])
        extra = self.extra_instances()
        if extra:
            owner.call("TerminateInstances", InstanceIds=[instance.InstanceId for instance in extra])
            for instance in extra:
                owner.instance_in("TERMINATED", instance.InstanceId)

    def extra_instances(self):
        known = (self.world.stopped, self.world.running)
        instances = self.world.owner.call("DescribeInstances", Limit=100).InstanceSet
        return [instance for instance in instances if instance.InstanceId not in known]


def tasks_have_ended(world):
    return all(task["State"] not in UNFINISHED for task in world.operator.tasks())


def check_tasks(world):
    """Every task succeeded."""
    tasks = world.operator.tasks()
    failed = [task for task in tasks if task["State"] != "SUCCEEDED"]
    assert failed == [], "a task failed though nothing but the crash was in its way"


def check_operations(world):
    """What was begun is in the operation log, however soon after it the server was killed."""
    entries = world.owner.kiln("DescribeOperations", Limit=100)["OperationSet"]
    logged = {entry["OperationRequestId"] for entry in entries}
    # One request is under way at a time.
    assert sum(entry["Result"] == "UNFINISHED" for entry in entries) <= world.rounds + 1
    begun = {task["RequestId"] for task in world.operator.tasks()} - world.logged
    assert begun <= logged, f"changes that the log does not know: {begun - logged}"
    world.logged |= begun


def count_interruptions(world):
    taken_up = {task["TaskId"] for task in world.operator.tasks() if task["Attempts"] > 1}
    world.rounds += 1
    world.rounds_that_interrupted += bool(taken_up - world.taken_up)
    world.taken_up |= taken_up


def check_images(world, work):
    expected = {**world.kept, **work.expected}
    found = {}
    for region in (GUANGZHOU, BEIJING):
        for image in world.owner.images(region):
            found[region, image.ImageName] = image
    missing = (work.answered | world.kept.keys()) - found.keys()
    assert not missing, f"images whose requests were answered are gone: {missing}"
    assert found.keys() <= expected.keys(), "an image that nobody asked for"
    for key, image in found.items():
        assert image.ImageState == "NORMAL", f"{key}: {world.owner.failure(image.ImageId, key[0])}"
        url = world.server.json("image", "export-url", image.ImageId, region=key[0])["Url"]
        same_disk(url, expected[key])


def check_instances(world, work):
    assert world.owner.instance(world.stopped).InstanceState == "STOPPED"
    assert world.owner.instance(world.running).InstanceState == "RUNNING"
    extra = work.extra_instances()
    states = [(instance.InstanceId, instance.InstanceState) for instance in extra]
    assert len(states) <= work.launches and all(state == "RUNNING" for _, state in states), states
    running = [world.running, *(instance.InstanceId for instance in extra)]
    # Every machine is known, and none runs that no instance has.
    assert world.server.machine_pids() == sorted(world.server.machine_pid(instance) for instance in running)
