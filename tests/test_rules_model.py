"""Random operations by several accounts in several regions, against the plain model of the rules in rules_model.py.

Each operation must be refused for a reason that the model knows, or be accepted where it knows none; after each, every
account sees exactly what the model says in the regions of the operation, and after some in every region. Now and then
the server is killed in between. At the end every image is read by qemu-img. The seed is printed; KILN_TEST_SEED repeats
the choices. A few hundred steps always, the rest with `make soak`.
"""

import datetime
import random
import time

import pytest
from cloud import KILN_VERSION, POLL_SECONDS
from conftest import BARE_DISKS, CONFIG
from image_files import qcow2, same_disk, system_disk
from rules_model import COPYING, DATA, REGIONS, SYSTEM, ZONES, Caller, Limits, Model
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

STEPS = 500
SOAK_STEPS = 4000
CUSTOMERS = ("alice", "bob", "carol")
OPERATOR = "operator"
ACCOUNTS = (*CUSTOMERS, OPERATOR)
SUB_ACCOUNTS = (("alice", "full"), ("alice", "read_only"), (OPERATOR, "full"))
NAMES = ("web", "db", "build", "base", "", "n" * 61)
NAME_WEIGHTS = (8, 8, 8, 8, 1, 1)
DISKS = 3
# Most operations name what there is; some what is another's, or is nowhere.
STRANGE = 0.1
NOBODY = "100000000001"
SOURCE = {"Architecture": "x86_64", "OsVersion": "12"}


class World:
    """A server and the model that it is held against."""

    def __init__(self, server, host, directory, seed):
        self.server, self.host, self.directory = server, host, directory
        self.numbers = random.Random(f"{seed}/rules")
        self.operator = server.operator()
        self.keys, self.uins = {}, {"nobody": NOBODY}
        for name in ACCOUNTS:
            account = self.operator if name == OPERATOR else server.create_account(name)
            self.keys[name, "main"], self.uins[name] = account, account.uin
        for owner, role in SUB_ACCOUNTS:
            sub = self.keys[owner, "main"].sub_account(role, role.upper())
            self.keys[owner, role] = sub
            self.uins[f"{owner}/{role}"] = sub.identity()["UserId"]
        self.model = Model(ACCOUNTS, OPERATOR, [f"{owner}/{role}" for owner, role in SUB_ACCOUNTS])
        for name in ACCOUNTS:
            self.set_limits(name, Limits())
        self.files = [f"rules-{n}" for n in range(DISKS)]
        for disk in self.files:
            qcow2(system_disk(directory / f"{disk}.raw", f"{seed}/{disk}", size_mib=32, content_mib=4))
        (directory / "rules-none.qcow2").write_bytes(b"not a disk" * 1000)
        self.day = today()
        self.history = []
        # The regions that a step did something in.
        self.regions = set()
        self.refusals = self.accepted = 0

    def set_limits(self, name, limits):
        self.operator.set_limits(
            self.uins[name], ImagesPerRegion=limits.images, ImageOperationsPerDay=limits.operations,
            SharesPerImage=limits.shares, InstancesPerRegion=limits.instances, DisksPerRegion=limits.disks,
            SnapshotsPerRegion=limits.snapshots,
        )  # fmt: skip
        self.model.limits[name] = limits

    # ---- choices ---------------------------------------------------------------------------------------------------

    def callers(self):
        return [Caller(*key) for key in [*self.keys, *((name, "main") for name in ACCOUNTS)]]

    def caller(self):
        return self.numbers.choice(self.callers())

    def region(self):
        return self.numbers.choice([*COPYING, *COPYING, *REGIONS])

    def place(self, seen):
        """A caller and a region, most often where `seen` shows the caller something."""
        places = [(caller, region) for caller in self.callers() for region in REGIONS if seen(caller.account, region)]
        if places and self.numbers.random() > STRANGE:
            return self.numbers.choice(places)
        return self.caller(), self.region()

    def name(self):
        return self.numbers.choices(NAMES, NAME_WEIGHTS)[0]

    def one(self, there, everywhere, nowhere):
        """One of those that are there, most often."""
        if there and self.numbers.random() > STRANGE:
            return self.numbers.choice(list(there))
        return self.numbers.choice([*everywhere, nowhere])

    def image(self, caller, region):
        return self.one(self.model.seen_images(caller.account, region), self.model.images, "img-00000000")

    def instance(self, caller, region):
        return self.one(self.model.own_instances(caller.account, region), self.model.instances, "ins-00000000")

    def disk(self, there):
        return self.one(there, self.model.disks, "disk-00000000")

    def disks(self, there):
        return list(dict.fromkeys(self.disk(there) for _ in range(self.numbers.randint(1, 2))))

    def snapshot(self, caller, region, usages=(SYSTEM, DATA)):
        own = self.model.own_snapshots(caller.account, region)
        fit = [snapshot for snapshot in own if self.model.snapshots[snapshot].usage in usages]
        return self.one(fit, self.model.snapshots, "snap-00000000")

    def snapshots(self, caller, region):
        return list(dict.fromkeys(self.snapshot(caller, region) for _ in range(self.numbers.randint(1, 2))))

    def data_disk(self, caller, region, image):
        """A disk for instances to be launched with: its size, its snapshot or None, whether it goes with them."""
        of_image = self.model.images[image].snapshots[1:] if image in self.model.images else []
        snapshot = self.numbers.choice([None, *of_image, self.snapshot(caller, region, [DATA])])
        return self.numbers.randint(1, 3), snapshot, self.numbers.random() < 0.5

    # ---- asking ----------------------------------------------------------------------------------------------------

    def ask(self, expected, caller, action, region, answered=lambda answer: None, **parameters):
        """Asks, and holds the answer against what is expected; `answered` gives what the model needs of it."""
        self.regions |= {region, *parameters.get("DestinationRegions", ())} & set(REGIONS)
        said = f"{caller.account}/{caller.role} {region} {action} {parameters}"
        self.history.append(said)
        try:
            answer = self.keys[caller.account, caller.role].raw(action, region, **parameters)
        except TencentCloudSDKException as refusal:
            assert refusal.get_code() in expected.reasons, self.tell(f"{said}: {refusal}, not {expected.reasons}")
            self.refusals += 1
            return
        assert not expected.reasons, self.tell(f"{said} was accepted, against {expected.reasons}")
        self.accepted += 1
        if not parameters.get("DryRun"):
            expected.apply(answered(answer))

    def tell(self, difference):
        return "\n".join([difference, "after:", *self.history[-40:]])

    def dry(self):
        return {"DryRun": True} if self.numbers.random() < 0.1 else {}

    def made(self, caller, region, name):
        """The image of that name that was asked for last, with its snapshots."""
        images = self.keys[caller.account, "main"].images(region)
        return self.finished(caller, region, next(image.ImageId for image in images if image.ImageName == name))

    def finished(self, caller, region, image):
        """An image and its snapshots, once nothing works on it any more."""
        found = self.keys[caller.account, "main"].finished_image(image, region)
        return image, [disk.SnapshotId for disk in found.SnapshotSet]

    # ---- operations --------------------------------------------------------------------------------------------------

    def import_image(self):
        caller, region, name = self.caller(), self.region(), self.name()
        disk = self.numbers.choice([*self.files, None])
        system = self.numbers.choices(["Debian", "Plan 9"], [15, 1])[0]
        expected = self.model.import_image(caller, region, name, disk, system)
        self.ask(
            expected, caller, "ImportImage", region, lambda _: self.made(caller, region, name), **SOURCE, OsType=system,
            ImageUrl=self.host.url(f"{disk or 'rules-none'}.qcow2"), ImageName=name, **self.dry(),
        )  # fmt: skip

    def create_image(self):
        (caller, region), name = self.place(self.model.own_instances), self.name()
        instance = self.instance(caller, region)
        data = [disk for disk in self.model.disks_of(instance) if self.model.disks[disk].usage == DATA]
        disks = self.numbers.choice([[], self.disks(data)])
        expected = self.model.create_image(caller, region, name, instance, disks)
        self.create_image_of(expected, caller, region, name, InstanceId=instance, DataDiskIds=disks)

    def create_image_of_snapshots(self):
        (caller, region), name = self.place(self.model.own_snapshots), self.name()
        snapshots = self.snapshots(caller, region)
        expected = self.model.create_image_of_snapshots(caller, region, name, snapshots)
        self.create_image_of(expected, caller, region, name, SnapshotIds=snapshots)

    def create_image_of(self, expected, caller, region, name, **source):
        self.ask(
            expected, caller, "CreateImage", region, lambda answer: self.finished(caller, region, answer["ImageId"]),
            ImageName=name, **source, **self.dry(),
        )  # fmt: skip

    def copy_image(self):
        caller, region = self.place(self.model.seen_images)
        image = self.image(caller, region)
        strange = self.numbers.random() < STRANGE
        others = [other for other in COPYING if other != region]
        destinations = self.numbers.sample([*REGIONS, "ap-nowhere"] if strange else others, self.numbers.randint(1, 2))
        name = self.numbers.choice([None, self.name()])
        expected = self.model.copy_image(caller, region, image, destinations, name)
        named = {} if name is None else {"ImageName": name}
        self.ask(
            expected, caller, "SyncImages", region, lambda answer: self.copies(caller, answer), ImageIds=[image],
            DestinationRegions=destinations, ImageSetRequired=True, **named, **self.dry(),
        )  # fmt: skip

    def copies(self, caller, answer):
        """By their regions."""
        copies = answer["ImageSet"]
        return {copy["Region"]: self.finished(caller, copy["Region"], copy["ImageId"]) for copy in copies}

    def publish_image(self):
        caller, region = self.place(self.of_operator)
        image, name = self.image(caller, region), self.numbers.choice([None, self.name()])
        strange = self.numbers.random() < STRANGE
        destinations = self.numbers.sample([*REGIONS, "ap-nowhere"] if strange else COPYING, self.numbers.randint(0, 2))
        expected = self.model.publish_image(caller, region, image, destinations, name)
        named = {} if name is None else {"ImageName": name}
        self.ask(
            expected, caller, "PublishImage", region, lambda answer: self.copies(caller, answer), service="kiln",
            version=KILN_VERSION, ImageId=image, DestinationRegions=destinations, **named, **self.dry(),
        )  # fmt: skip

    def withdraw_image(self):
        caller, region = self.place(lambda *at: self.of_operator(*at) and self.model.public_images(at[1]))
        image = self.one(self.model.public_images(region), self.model.images, "img-00000000")
        expected = self.model.withdraw_image(caller, region, image)
        self.ask(
            expected, caller, "WithdrawImage", region, service="kiln", version=KILN_VERSION, ImageId=image, **self.dry()
        )  # fmt: skip

    def of_operator(self, account, region):
        """What the operator sees; nothing for the others."""
        return account == OPERATOR and self.model.seen_images(account, region)

    def modify_image(self):
        caller, region = self.place(self.model.seen_images)
        image = self.image(caller, region)
        changes = {"name": self.name(), "description": self.name()[:20], "deprecated": self.numbers.random() < 0.5}
        changes = {key: changes[key] for key in self.numbers.sample(sorted(changes), self.numbers.randint(1, 3))}
        parameters = {f"Image{key.title()}": value for key, value in changes.items()}
        expected = self.model.modify_image(caller, region, image, **changes)
        self.ask(expected, caller, "ModifyImageAttribute", region, ImageId=image, **parameters)

    def share_image(self):
        caller, region = self.place(self.model.seen_images)
        image = self.image(caller, region)
        share = self.numbers.random() < 0.6
        strange = self.numbers.random() < STRANGE
        others = [name for name in ACCOUNTS if name != caller.account]
        accounts = self.numbers.sample(sorted(self.uins) if strange else others, self.numbers.randint(1, 2))
        expected = self.model.share_image(caller, region, image, accounts, share)
        self.ask(
            expected, caller, "ModifyImageSharePermission", region, ImageId=image,
            AccountIds=[self.uins[name] for name in accounts], Permission="SHARE" if share else "CANCEL",
        )  # fmt: skip

    def delete_images(self):
        caller, region = self.place(self.model.seen_images)
        images = [self.image(caller, region) for _ in range(self.numbers.randint(1, 2))]
        with_snapshots = self.numbers.random() < 0.3
        expected = self.model.delete_images(caller, region, images, with_snapshots)
        self.ask(
            expected, caller, "DeleteImages", region, ImageIds=images, DeleteBindedSnap=with_snapshots, **self.dry()
        )  # fmt: skip

    def run_instances(self):
        (caller, region), count = self.place(self.model.seen_images), self.numbers.randint(1, 2)
        image = self.image(caller, region)
        disks = [self.data_disk(caller, region, image)] if self.numbers.random() < 0.4 else []

        def answered(answer):
            launched = {}
            for instance in answer["InstanceIdSet"]:
                found = self.keys[caller.account, "main"].instance_in("RUNNING", instance, region)
                launched[instance] = found.SystemDisk.DiskId, [disk.DiskId for disk in found.DataDisks]
            return launched

        named = [
            {"DiskSize": size_gib, "DeleteWithInstance": goes, **({"SnapshotId": snapshot} if snapshot else {})}
            for size_gib, snapshot, goes in disks
        ]
        expected = self.model.run_instances(caller, region, image, count, disks)
        self.ask(
            expected, caller, "RunInstances", region, answered, ImageId=image, InstanceCount=count, DataDisks=named,
            **self.dry(),
        )  # fmt: skip

    def power(self):
        caller, region = self.place(self.model.own_instances)
        instance = self.instance(caller, region)
        actions = ["StartInstances", "StopInstances", "TerminateInstances"]
        self.switch(caller, region, instance, self.numbers.choice(actions))

    def switch(self, caller, region, instance, action):
        hard = {"StopType": "HARD"} if action == "StopInstances" else {}
        expected = self.model.power(caller, region, instance, action)
        self.ask(
            expected, caller, action, region, lambda _: self.settled(caller, region, instance),
            InstanceIds=[instance], **hard,
        )  # fmt: skip

    def reset_instance(self):
        caller, region = self.place(self.model.own_instances)
        instance = self.instance(caller, region)
        image = self.numbers.choice([None, self.image(caller, region)])
        expected = self.model.reset_instance(caller, region, instance, image)
        named = {"ImageId": image} if image else {}
        self.ask(
            expected, caller, "ResetInstance", region, lambda _: self.settled(caller, region, instance),
            InstanceId=instance, **named,
        )  # fmt: skip

    def settled(self, caller, region, instance):
        account = self.keys[caller.account, "main"]
        while (found := account.instance(instance, region)) and found.LatestOperationState == "OPERATING":
            time.sleep(POLL_SECONDS)

    def create_disks(self):
        caller, region = self.place(self.model.own_instances)
        zones = [zone for zones in ZONES.values() for zone in zones]
        zone = self.numbers.choice(zones) if self.numbers.random() < STRANGE else ZONES[region][0]
        snapshot = self.snapshot(caller, region, [DATA])
        wanted = {"size_gib": self.numbers.choice([0, *[1, 2, 3] * 3]), "snapshot": snapshot}
        wanted = {key: wanted[key] for key in self.numbers.choice([["size_gib"], ["snapshot"], wanted])}
        count = self.numbers.randint(1, 2)
        parameters = {{"size_gib": "DiskSize", "snapshot": "SnapshotId"}[key]: value for key, value in wanted.items()}
        expected = self.model.create_disks(caller, region, zone, count, **wanted)
        self.ask(
            expected, caller, "CreateDisks", region, lambda answer: answer["DiskIdSet"], service="cbs", DiskCount=count,
            Placement={"Zone": zone}, DiskChargeType="POSTPAID_BY_HOUR", DiskType="CLOUD_PREMIUM", **parameters,
        )  # fmt: skip

    def attach_disks(self):
        model = self.model
        caller, region = self.place(lambda *at: model.data_disks(*at, attached=False) and model.own_instances(*at))
        instance, goes = self.instance(caller, region), self.numbers.random() < 0.5
        disks = self.disks(self.model.data_disks(caller.account, region, attached=False))
        expected = self.model.attach_disks(caller, region, instance, disks, goes)
        self.ask(
            expected, caller, "AttachDisks", region, lambda _: self.moved(caller, region, disks, "ATTACHED"),
            service="cbs", InstanceId=instance, DiskIds=disks, DeleteWithInstance=goes,
        )  # fmt: skip

    def detach_disks(self):
        caller, region = self.place(lambda *at: self.model.data_disks(*at, attached=True))
        disks = self.disks(self.model.data_disks(caller.account, region, attached=True))
        instance = self.numbers.choice([None, None, self.instance(caller, region)])
        # The guests of bare disks give nothing back while they run.
        for disk in disks:
            of_it = self.model.disks[disk].instance if disk in self.model.disks else ""
            if of_it in self.model.instances and self.model.instances[of_it].state == "RUNNING":
                self.switch(caller, region, of_it, "StopInstances")
        expected = self.model.detach_disks(caller, region, disks, instance)
        named = {"InstanceId": instance} if instance else {}
        self.ask(
            expected, caller, "DetachDisks", region, lambda _: self.moved(caller, region, disks, "UNATTACHED"),
            service="cbs", DiskIds=disks, **named,
        )  # fmt: skip

    def moved(self, caller, region, disks, state):
        for disk in disks:
            self.keys[caller.account, "main"].disk_in(state, disk, region)

    def terminate_disks(self):
        caller, region = self.place(lambda *at: self.model.data_disks(*at, attached=False))
        disks = self.disks(self.model.data_disks(caller.account, region, attached=False))
        expected = self.model.terminate_disks(caller, region, disks)
        self.ask(expected, caller, "TerminateDisks", region, service="cbs", DiskIds=disks)

    def create_snapshot(self):
        caller, region = self.place(self.model.own_disks)
        disk = self.disk(self.model.own_disks(caller.account, region))
        usage = self.numbers.choice([None, None, SYSTEM, DATA])

        def answered(answer):
            account, made = self.keys[caller.account, "main"], answer["SnapshotId"]
            while (found := account.snapshot(made, region)).SnapshotState == "CREATING":
                time.sleep(POLL_SECONDS)
            assert found.SnapshotState == "NORMAL", self.tell(made)
            return made

        expected = self.model.create_snapshot(caller, region, disk, usage)
        named = {"DiskUsage": usage} if usage else {}
        self.ask(expected, caller, "CreateSnapshot", region, answered, service="cbs", DiskId=disk, **named)

    def delete_snapshots(self):
        caller, region = self.place(self.model.own_snapshots)
        snapshots, with_images = self.snapshots(caller, region), self.numbers.random() < 0.3
        expected = self.model.delete_snapshots(caller, region, snapshots, with_images)
        self.ask(
            expected, caller, "DeleteSnapshots", region, service="cbs", SnapshotIds=snapshots,
            DeleteBindImages=with_images,
        )  # fmt: skip

    def change_limits(self):
        name, numbers = self.numbers.choice(ACCOUNTS), self.numbers
        used = max((count for (owner, _), count in self.model.operations.items() if owner == name), default=0)
        limits = Limits(
            images=numbers.randint(1, 4), operations=used + numbers.randint(0, 8), shares=numbers.randint(1, 2),
            instances=numbers.randint(1, 3), disks=numbers.randint(1, 6), snapshots=numbers.randint(1, 4),
        )  # fmt: skip
        self.history.append(f"operator: {name} has {limits}")
        self.set_limits(name, limits)

    def change_import_permission(self):
        name = self.numbers.choice(CUSTOMERS)
        granted = name not in self.model.may_import
        self.history.append(f"operator: {name} may import: {granted}")
        self.operator.kiln("ModifyImportPermission", Uin=self.uins[name], Allowed=granted)
        (self.model.may_import.add if granted else self.model.may_import.discard)(name)

    def restart(self):
        self.history.append("the server is killed")
        self.server.kill()
        self.server.start()

    # ---- comparing ---------------------------------------------------------------------------------------------------

    def step(self):
        operations = [
            (self.import_image, 6), (self.create_image, 3), (self.copy_image, 3), (self.modify_image, 3),
            (self.share_image, 5), (self.delete_images, 3), (self.run_instances, 4), (self.power, 4),
            (self.reset_instance, 2), (self.create_disks, 4), (self.attach_disks, 4), (self.detach_disks, 2),
            (self.terminate_disks, 1), (self.create_snapshot, 3), (self.delete_snapshots, 2),
            (self.create_image_of_snapshots, 2), (self.publish_image, 3), (self.withdraw_image, 1),
            (self.change_limits, 2), (self.change_import_permission, 0.3), (self.restart, 0.3),
        ]  # fmt: skip
        if self.day != today():
            # The day's operations begin anew.
            self.day = today()
            self.model.operations.clear()
        self.regions.clear()
        self.numbers.choices([act for act, _ in operations], [weight for _, weight in operations])[0]()

    def compare(self, regions):
        for name in ACCOUNTS:
            account = self.keys[name, "main"]
            for region in regions:
                images = account.raw("DescribeImages", region, Limit=100)["ImageSet"]
                self.same(name, region, {it["ImageId"]: image(it) for it in images}, self.model.seen_images)
                instances = account.raw("DescribeInstances", region, Limit=100)["InstanceSet"]
                self.same(name, region, {it["InstanceId"]: instance(it) for it in instances}, self.model.own_instances)
                disks = account.raw("DescribeDisks", region, "cbs", Limit=100)["DiskSet"]
                self.same(name, region, {it["DiskId"]: disk(it) for it in disks}, self.model.own_disks)
                snapshots = account.raw("DescribeSnapshots", region, "cbs", Limit=100)["SnapshotSet"]
                self.same(name, region, {it["SnapshotId"]: snapshot(it) for it in snapshots}, self.model.own_snapshots)

    def same(self, name, region, seen, expected):
        expected = expected(name, region)
        assert seen == expected, self.tell(f"{name} in {region} sees {seen}, not {expected}")

    def compare_the_rest(self):
        """What changes less often: shares, quotas, machines."""
        custom = [(name, found) for name, found in self.model.images.items() if not found.public]
        for name, found in custom:
            shared = self.keys[found.owner, "main"].raw("DescribeImageSharePermission", found.region, ImageId=name)
            accounts = {share["AccountId"] for share in shared["SharePermissionSet"]}
            assert accounts == {str(self.uins[account]) for account in found.shares}, self.tell(name)
        for name in ACCOUNTS:
            for region in REGIONS:
                quota = self.keys[name, "main"].raw("DescribeImageQuota", region)
                assert quota["ImageNumQuota"] == self.model.limits[name].images
        running = [name for name, found in self.model.instances.items() if found.state == "RUNNING"]
        pids = sorted(self.server.machine_pid(instance) for instance in running)
        assert self.server.machine_pids() == pids, self.tell("machines that no instance has, or none where one has")

    def compare_contents(self):
        for image, found in self.model.images.items():
            if found.state == "NORMAL":
                opened = self.server.json("image", "export-url", image, region=found.region)
                same_disk(opened["Url"], self.directory / f"{found.content}.raw")


def image(shown):
    return (
        shown["ImageType"], shown["ImageName"], shown["ImageDescription"], shown["ImageState"],
        shown["ImageDeprecated"], [disk["SnapshotId"] for disk in shown["SnapshotSet"]],
    )  # fmt: skip


def instance(shown):
    return shown["InstanceState"], shown["ImageId"]


def disk(shown):
    return (
        shown["DiskUsage"], shown["DiskSize"], shown["DiskState"], shown["Placement"]["Zone"], shown["InstanceId"],
        shown["DeleteWithInstance"], shown["SnapshotCount"],
    )  # fmt: skip


def snapshot(shown):
    of_images = sorted(image["ImageId"] for image in shown["Images"])
    return shown["DiskUsage"], shown["DiskSize"], shown["DiskId"], of_images


def today():
    return datetime.datetime.now(datetime.UTC).date()


@pytest.mark.parametrize("steps", [STEPS, pytest.param(SOAK_STEPS, marks=pytest.mark.soak)])
def test_a_random_history_follows_the_rules(make_server, host, files, seed, steps):
    world = World(make_server(CONFIG + BARE_DISKS).start(), host, files, seed)
    for number in range(1, steps + 1):
        world.step()
        # What was done in no region can show in any.
        world.compare(world.regions or REGIONS)
        if number % 20 == 0:
            world.compare(REGIONS)
            world.compare_the_rest()
    world.compare(REGIONS)
    world.compare_the_rest()
    world.compare_contents()
    assert world.accepted > steps / 6 and world.refusals > steps / 20, "the choices met too little"
    world.server.check_store()
