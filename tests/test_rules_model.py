"""Random operations by several accounts in several regions, against the plain model of the rules in rules_model.py.

Each operation must be refused for a reason that the model knows, or be accepted where it knows none; after each, every
account sees in every region exactly what the model says. Now and then the server is killed in between. At the end every
image is read by qemu-img. The seed is printed; KILN_TEST_SEED repeats the choices. A few hundred steps always, the rest
with `make soak`.
"""

import datetime
import random
import time

import pytest
from cloud import POLL_SECONDS
from conftest import BARE_DISKS, CONFIG
from image_files import qcow2, same_disk, system_disk
from rules_model import COPYING, REGIONS, Caller, Limits, Model
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

STEPS = 400
SOAK_STEPS = 4000
CUSTOMERS = ("alice", "bob", "carol")
SUB_ACCOUNTS = (("alice", "full"), ("alice", "read_only"))
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
        for name in CUSTOMERS:
            account = server.create_account(name)
            self.keys[name, "main"], self.uins[name] = account, account.uin
        for owner, role in SUB_ACCOUNTS:
            sub = self.keys[owner, "main"].sub_account(role, role.upper())
            self.keys[owner, role] = sub
            self.uins[f"{owner}/{role}"] = sub.identity()["UserId"]
        self.model = Model(CUSTOMERS, [f"{owner}/{role}" for owner, role in SUB_ACCOUNTS])
        for name in CUSTOMERS:
            self.set_limits(name, Limits())
        self.disks = [f"rules-{n}" for n in range(DISKS)]
        for disk in self.disks:
            qcow2(system_disk(directory / f"{disk}.raw", f"{seed}/{disk}", size_mib=32, content_mib=4))
        (directory / "rules-none.qcow2").write_bytes(b"not a disk" * 1000)
        self.day = today()
        self.history = []
        self.refusals = self.accepted = 0

    def set_limits(self, name, limits):
        self.operator.set_limits(
            self.uins[name], ImagesPerRegion=limits.images, ImageOperationsPerDay=limits.operations,
            SharesPerImage=limits.shares, InstancesPerRegion=limits.instances,
        )  # fmt: skip
        self.model.limits[name] = limits

    # ---- choices ---------------------------------------------------------------------------------------------------

    def caller(self):
        return Caller(*self.numbers.choice([*self.keys, *((name, "main") for name in CUSTOMERS)]))

    def region(self):
        return self.numbers.choice([*COPYING, *COPYING, *REGIONS])

    def place(self, seen):
        """A caller and a region, most often where `seen` shows the caller something."""
        caller = self.caller()
        regions = [region for region in REGIONS if seen(caller.account, region)]
        return caller, self.numbers.choice(regions) if regions and self.numbers.random() > STRANGE else self.region()

    def name(self):
        return self.numbers.choices(NAMES, NAME_WEIGHTS)[0]

    def image(self, caller, region):
        seen = list(self.model.seen_images(caller.account, region))
        if seen and self.numbers.random() > STRANGE:
            return self.numbers.choice(seen)
        return self.numbers.choice([*self.model.images, "img-00000000"])

    def instance(self, caller, region):
        own = list(self.model.own_instances(caller.account, region))
        if own and self.numbers.random() > STRANGE:
            return self.numbers.choice(own)
        return self.numbers.choice([*self.model.instances, "ins-00000000"])

    # ---- asking ----------------------------------------------------------------------------------------------------

    def ask(self, expected, caller, action, region, answered=lambda answer: None, **parameters):
        """Asks, and holds the answer against what is expected; `answered` gives what the model needs of it."""
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
        """The image of that name that was asked for last, once nothing works on it any more."""
        account = self.keys[caller.account, "main"]
        newest = next(image for image in account.images(region) if image.ImageName == name)
        account.finished_image(newest.ImageId, region)
        return newest.ImageId

    # ---- operations --------------------------------------------------------------------------------------------------

    def import_image(self):
        caller, region, name = self.caller(), self.region(), self.name()
        disk = self.numbers.choice([*self.disks, None])
        system = self.numbers.choices(["Debian", "Plan 9"], [15, 1])[0]
        expected = self.model.import_image(caller, region, name, disk, system)
        self.ask(
            expected, caller, "ImportImage", region, lambda _: self.made(caller, region, name), **SOURCE, OsType=system,
            ImageUrl=self.host.url(f"{disk or 'rules-none'}.qcow2"), ImageName=name, **self.dry(),
        )  # fmt: skip

    def create_image(self):
        (caller, region), name = self.place(self.model.own_instances), self.name()
        instance = self.instance(caller, region)

        def answered(answer):
            self.keys[caller.account, "main"].finished_image(answer["ImageId"], region)
            return answer["ImageId"]

        expected = self.model.create_image(caller, region, name, instance)
        self.ask(expected, caller, "CreateImage", region, answered, InstanceId=instance, ImageName=name, **self.dry())

    def copy_image(self):
        caller, region = self.place(self.model.seen_images)
        image = self.image(caller, region)
        strange = self.numbers.random() < STRANGE
        others = [other for other in COPYING if other != region]
        destinations = self.numbers.sample([*REGIONS, "ap-nowhere"] if strange else others, self.numbers.randint(1, 2))
        name = self.numbers.choice([None, self.name()])

        def answered(answer):
            copies = {copy["Region"]: copy["ImageId"] for copy in answer["ImageSet"]}
            for to, copy in copies.items():
                self.keys[caller.account, "main"].finished_image(copy, to)
            return copies

        expected = self.model.copy_image(caller, region, image, destinations, name)
        named = {} if name is None else {"ImageName": name}
        self.ask(
            expected, caller, "SyncImages", region, answered, ImageIds=[image], DestinationRegions=destinations,
            ImageSetRequired=True, **named, **self.dry(),
        )  # fmt: skip

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
        others = [name for name in CUSTOMERS if name != caller.account]
        accounts = self.numbers.sample(sorted(self.uins) if strange else others, self.numbers.randint(1, 2))
        expected = self.model.share_image(caller, region, image, accounts, share)
        self.ask(
            expected, caller, "ModifyImageSharePermission", region, ImageId=image,
            AccountIds=[self.uins[name] for name in accounts], Permission="SHARE" if share else "CANCEL",
        )  # fmt: skip

    def delete_images(self):
        caller, region = self.place(self.model.seen_images)
        images = [self.image(caller, region) for _ in range(self.numbers.randint(1, 2))]
        expected = self.model.delete_images(caller, region, images)
        self.ask(expected, caller, "DeleteImages", region, ImageIds=images, **self.dry())

    def run_instances(self):
        (caller, region), count = self.place(self.model.seen_images), self.numbers.randint(1, 2)
        image = self.image(caller, region)

        def answered(answer):
            for instance in answer["InstanceIdSet"]:
                self.keys[caller.account, "main"].instance_in("RUNNING", instance, region)
            return answer["InstanceIdSet"]

        expected = self.model.run_instances(caller, region, image, count)
        self.ask(expected, caller, "RunInstances", region, answered, ImageId=image, InstanceCount=count, **self.dry())

    def power(self):
        caller, region = self.place(self.model.own_instances)
        instance = self.instance(caller, region)
        action = self.numbers.choice(["StartInstances", "StopInstances", "TerminateInstances"])
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

    def change_limits(self):
        name, numbers = self.numbers.choice(CUSTOMERS), self.numbers
        used = max((count for (owner, _), count in self.model.operations.items() if owner == name), default=0)
        limits = Limits(numbers.randint(1, 4), used + numbers.randint(0, 8), numbers.randint(1, 2), numbers.randint(1, 3))
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
            (self.reset_instance, 2), (self.change_limits, 2), (self.change_import_permission, 0.3), (self.restart, 0.3),
        ]  # fmt: skip
        if self.day != today():
            # The day's operations begin anew.
            self.day = today()
            self.model.operations.clear()
        self.numbers.choices([act for act, _ in operations], [weight for _, weight in operations])[0]()

    def compare(self):
        for name in CUSTOMERS:
            account = self.keys[name, "main"]
            for region in REGIONS:
                seen = {
                    image["ImageId"]: (
                        image["ImageType"], image["ImageName"], image["ImageDescription"], image["ImageState"],
                        image["ImageDeprecated"],
                    )
                    for image in account.raw("DescribeImages", region, Limit=100)["ImageSet"]
                }  # fmt: skip
                expected = self.model.seen_images(name, region)
                assert seen == expected, self.tell(f"{name} in {region} sees {seen}, not {expected}")
                own = {
                    instance["InstanceId"]: (instance["InstanceState"], instance["ImageId"])
                    for instance in account.raw("DescribeInstances", region, Limit=100)["InstanceSet"]
                }
                expected = self.model.own_instances(name, region)
                assert own == expected, self.tell(f"{name} in {region} has {own}, not {expected}")

    def compare_the_rest(self):
        """What changes less often: shares, quotas, machines."""
        for name, found in self.model.images.items():
            shared = self.keys[found.owner, "main"].raw("DescribeImageSharePermission", found.region, ImageId=name)
            accounts = {share["AccountId"] for share in shared["SharePermissionSet"]}
            assert accounts == {str(self.uins[account]) for account in found.shares}, self.tell(name)
        for name in CUSTOMERS:
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


def today():
    return datetime.datetime.now(datetime.UTC).date()


@pytest.mark.parametrize("steps", [STEPS, pytest.param(SOAK_STEPS, marks=pytest.mark.soak)])
def test_a_random_history_follows_the_rules(make_server, host, files, seed, steps):
    world = World(make_server(CONFIG + BARE_DISKS).start(), host, files, seed)
    for number in range(1, steps + 1):
        world.step()
        world.compare()
        if number % 20 == 0:
            world.compare_the_rest()
    world.compare_the_rest()
    world.compare_contents()
    assert world.accepted > steps / 6 and world.refusals > steps / 20, "the choices met too little"
    world.server.check_store()
