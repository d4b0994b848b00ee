"""The rules of images, instances, disks and snapshots as plain Python over dictionaries, for holding a server against.

Every operation answers with an `Expectation`: all the reasons there are to refuse it (the server names one of them; none
means that it must be accepted), and what changes where it is accepted. The model knows no storage, no tasks, no HTTP.
What it leaves out: intermediate states (the driver waits for them to end), tags, prices, families.
"""

from dataclasses import dataclass, field
from typing import Callable

COPYING = ("ap-guangzhou", "ap-beijing", "ap-shanghai")
REGIONS = (*COPYING, "ap-singapore")
# An instance is launched in its region's first zone. A disk is made in any.
ZONES = {
    "ap-guangzhou": ("ap-guangzhou-3", "ap-guangzhou-4"),
    "ap-beijing": ("ap-beijing-3",),
    "ap-shanghai": ("ap-shanghai-2",),
    "ap-singapore": ("ap-singapore-1",),
}
# Every system disk is smaller than that.
SYSTEM_GIB = 1
MAX_DISK_GIB = 32_000
NAME_CHARS = 60
DENIED = "UnauthorizedOperation"
NO_IMAGE = "InvalidImageId.NotFound"
NOT_YOURS = "UnauthorizedOperation.ImageNotBelongToAccount"
NO_SNAPSHOT = "InvalidSnapshotId.NotFound"
SYSTEM, DATA = "SYSTEM_DISK", "DATA_DISK"


@dataclass
class Caller:
    """An account's own key, or that of one of its sub-accounts."""

    account: str
    role: str = "main"


@dataclass
class Image:
    owner: str
    region: str
    name: str
    # What its system disk holds, by the name of the file that it came from.
    content: str
    description: str = ""
    state: str = "NORMAL"
    deprecated: bool = False
    shares: set = field(default_factory=set)
    # Of its disks, the system disk first.
    snapshots: list = field(default_factory=list)
    public: bool = False


@dataclass
class Snapshot:
    owner: str
    region: str
    usage: str
    size_gib: int
    # Where it is one of a system disk.
    content: str | None
    disk: str = ""
    # The image that it was made with.
    of_image: str | None = None


@dataclass
class Disk:
    owner: str
    region: str
    zone: str
    usage: str
    size_gib: int
    instance: str = ""
    goes_with_instance: bool = False


@dataclass
class Instance:
    owner: str
    region: str
    image: str
    content: str
    state: str = "RUNNING"


@dataclass
class Limits:
    images: int = 4
    operations: int = 1000
    shares: int = 2
    instances: int = 3
    disks: int = 5
    snapshots: int = 3


@dataclass
class Expectation:
    reasons: set
    apply: Callable


class Model:
    def __init__(self, accounts, operator, sub_accounts):
        """`operator`: one of the accounts, which also decides what is public."""
        self.accounts = set(accounts)
        self.operator = operator
        self.sub_accounts = set(sub_accounts)
        self.may_import = set(accounts)
        self.limits = {name: Limits() for name in accounts}
        self.images = {}
        self.instances = {}
        self.disks = {}
        self.snapshots = {}
        self.operations = {}

    # ---- what is seen ----------------------------------------------------------------------------------------------

    def type_of(self, account, region, image):
        """How an account sees an image in a region; None where it does not."""
        found = self.images.get(image)
        if found is None or found.region != region:
            return None
        if found.public:
            return "PUBLIC_IMAGE"
        if found.owner == account:
            return "PRIVATE_IMAGE"
        return "SHARED_IMAGE" if account in found.shares else None

    def seen_images(self, account, region):
        seen = {}
        for image, found in self.images.items():
            if kind := self.type_of(account, region, image):
                seen[image] = (kind, found.name, found.description, found.state, found.deprecated, found.snapshots)
        return seen

    def own_instances(self, account, region):
        own = {name: found for name, found in self.instances.items() if (found.owner, found.region) == (account, region)}
        return {name: (found.state, found.image) for name, found in own.items()}

    def own_disks(self, account, region):
        """An account's disks in a region: what there is of each, and how many snapshots of it."""
        frozen = [snapshot.disk for snapshot in self.snapshots.values()]
        return {
            name: (
                found.usage, found.size_gib, "ATTACHED" if found.instance else "UNATTACHED", found.zone, found.instance,
                found.goes_with_instance, frozen.count(name),
            )
            for name, found in self.disks.items()
            if (found.owner, found.region) == (account, region)
        }  # fmt: skip

    def data_disks(self, account, region, attached):
        """An account's data disks in a region: those that instances have, or those that none has."""
        own = [name for name in self.own_disks(account, region) if self.disks[name].usage == DATA]
        return [name for name in own if bool(self.disks[name].instance) == attached]

    def disks_of(self, instance):
        return [name for name, disk in self.disks.items() if disk.instance == instance]

    def own_snapshots(self, account, region):
        """An account's snapshots in a region, those of its images included."""
        return {
            name: (found.usage, found.size_gib, found.disk, sorted(self.images_of([name])))
            for name, found in self.snapshots.items()
            if (found.owner, found.region) == (account, region)
        }

    def images_of(self, snapshots):
        """The images that have one of the snapshots as a disk."""
        return [name for name, image in self.images.items() if set(image.snapshots) & set(snapshots)]

    def counted(self, account, region):
        normal = [image for image in self.images.values() if image.state == "NORMAL" and not image.public]
        return [image for image in normal if (image.owner, image.region) == (account, region)]

    def public_images(self, region):
        return [name for name, image in self.images.items() if image.public and image.region == region]

    # ---- reasons -----------------------------------------------------------------------------------------------------

    def may_change(self, caller):
        return {DENIED} if caller.role == "read_only" else set()

    def of_operator(self, caller):
        return set() if (caller.account, caller.role) == (self.operator, "main") else {DENIED}

    def of_name(self, account, region, name, public=False):
        if not name.strip():
            return {"InvalidImageName.Invalid"}
        if len(name) > NAME_CHARS:
            return {"InvalidParameterValue.TooLong"}
        others = [self.images[it] for it in self.public_images(region)] if public else self.counted(account, region)
        return {"InvalidImageName.Duplicate"} if any(image.name == name for image in others) else set()

    def of_room(self, account, region):
        reasons, limits = set(), self.limits[account]
        if len(self.counted(account, region)) >= limits.images:
            reasons.add("ImageQuotaLimitExceeded")
        if self.operations.get((account, region), 0) >= limits.operations:
            reasons.add("LimitExceeded.ImageOperationsPerDay")
        return reasons

    def of_ownership(self, caller, region, image):
        kind = self.type_of(caller.account, region, image)
        return {NO_IMAGE} if kind is None else {NOT_YOURS} if kind != "PRIVATE_IMAGE" else set()

    def of_use(self, caller, region, image):
        """Whether something can be launched from an image."""
        if self.type_of(caller.account, region, image) is None:
            return {NO_IMAGE}
        return set() if self.images[image].state == "NORMAL" else {"InvalidImageId.IncorrectState"}

    def of_instance(self, caller, region, instance, states):
        found = self.instances.get(instance)
        if found is None or (found.owner, found.region) != (caller.account, region):
            return {"InvalidInstanceId.NotFound"}
        if found.state in states:
            return set()
        return {"UnsupportedOperation.InstanceState" + found.state.title()}

    def of_deletion(self, caller, region, image):
        reasons = self.of_ownership(caller, region, image)
        return {"InvalidImageId.InShared"} if not reasons and self.images[image].shares else reasons

    def of_data_disk(self, caller, region, disk):
        """Whether a disk can be moved."""
        if disk not in self.own_disks(caller.account, region):
            return {"InvalidDiskId.NotFound"}
        return {"InvalidDisk.NotPortable"} if self.disks[disk].usage == SYSTEM else set()

    def of_disk_room(self, account, region, count, code):
        used = sum(len(self.data_disks(account, region, attached)) for attached in (True, False))
        return {code} if used + count > self.limits[account].disks else set()

    # ---- operations on images ------------------------------------------------------------------------------------

    def count(self, account, region):
        self.operations[account, region] = self.operations.get((account, region), 0) + 1

    def add(self, image, snapshots, made, sizes_gib):
        """Adds an image with its disks, of which each that is no snapshot yet becomes one."""
        if not made.public:
            self.count(made.owner, made.region)
        made.snapshots = snapshots
        self.images[image] = made
        for snapshot, size_gib in zip(snapshots, sizes_gib, strict=True):
            if snapshot not in self.snapshots:
                usage, content = (SYSTEM, made.content) if snapshot == snapshots[0] else (DATA, None)
                self.snapshots[snapshot] = Snapshot(made.owner, made.region, usage, size_gib, content, of_image=image)

    def remove(self, images):
        """Removes images with the snapshots that were made with them."""
        for image in images:
            self.images.pop(image, None)
        self.snapshots = {name: found for name, found in self.snapshots.items() if found.of_image not in images}

    def sizes_of(self, image):
        return [self.snapshots[snapshot].size_gib for snapshot in self.images[image].snapshots]

    def import_image(self, caller, region, name, content, system="Debian"):
        """`content` is None for a file that holds no disk."""
        reasons = self.may_change(caller) | self.of_name(caller.account, region, name)
        reasons |= self.of_room(caller.account, region)
        if caller.account not in self.may_import:
            reasons.add("UnauthorizedOperation.ImportImage")
        if system != "Debian":
            reasons.add("InvalidImageOsType.Unsupported")
        state = "NORMAL" if content else "IMPORTFAILED"
        made = Image(caller.account, region, name, content, state=state)
        return Expectation(reasons, lambda new: self.add(*new, made, [SYSTEM_GIB] if content else []))

    def create_image(self, caller, region, name, instance, data_disks=()):
        reasons = self.may_change(caller) | self.of_name(caller.account, region, name)
        reasons |= self.of_room(caller.account, region)
        unfit = self.of_instance(caller, region, instance, ("RUNNING", "STOPPED"))
        for disk in data_disks if not unfit else ():
            if disk not in self.disks_of(instance):
                reasons.add("InvalidParameter.DataDiskNotBelongSpecifiedInstance")
            elif self.disks[disk].usage == SYSTEM:
                reasons.add("InvalidParameter.DataDiskIdContainsRootDisk")

        def apply(new):
            sizes_gib = [SYSTEM_GIB, *(self.disks[disk].size_gib for disk in data_disks)]
            self.add(*new, Image(caller.account, region, name, self.instances[instance].content), sizes_gib)

        return Expectation(reasons | unfit, apply)

    def create_image_of_snapshots(self, caller, region, name, snapshots):
        reasons = self.may_change(caller) | self.of_name(caller.account, region, name)
        reasons |= self.of_room(caller.account, region)
        own = self.own_snapshots(caller.account, region)
        systems = [snapshot for snapshot in snapshots if snapshot in own and self.snapshots[snapshot].usage == SYSTEM]
        if not set(snapshots) <= own.keys():
            reasons.add(NO_SNAPSHOT)
        elif not systems:
            reasons.add("InvalidParameter.SystemSnapshotNotFound")
        elif len(systems) > 1:
            reasons.add("InvalidParameter.DuplicateSystemSnapshots")

        def apply(new):
            image, shown = new
            disks = [*systems, *(snapshot for snapshot in snapshots if snapshot not in systems)]
            # What goes with another image is taken over under a name of its own.
            named = [new if self.snapshots[old].of_image else old for old, new in zip(disks, shown, strict=True)]
            made = Image(caller.account, region, name, self.snapshots[systems[0]].content)
            self.add(image, named, made, [self.snapshots[disk].size_gib for disk in disks])

        return Expectation(reasons, apply)

    def copy_image(self, caller, region, image, destinations, name):
        unfit = self.of_ownership(caller, region, image)
        if self.type_of(caller.account, region, image) == "PUBLIC_IMAGE":
            unfit = {"InvalidImageId.InstanceImageNotSupported"}
        reasons = self.may_change(caller) | unfit
        if region not in COPYING or any(to in REGIONS and to not in COPYING for to in destinations):
            reasons.add("RegionAbilityLimit.UnsupportedToSyncImage")
        if any(to not in REGIONS for to in destinations):
            reasons.add("InvalidRegion.NotFound")
        if region in destinations:
            reasons.add("UnsupportedOperation.Region")
        source = self.images.get(image)
        if not unfit and source.state != "NORMAL":
            reasons.add("InvalidImageId.IncorrectState")
        copied = name if name is not None else source and source.name
        for to in destinations:
            if copied is not None:
                reasons |= self.of_name(caller.account, to, copied)
            reasons |= self.of_room(caller.account, to)

        def apply(copies):
            for to, new in copies.items():
                made = Image(caller.account, to, copied, source.content, source.description, deprecated=source.deprecated)
                self.add(*new, made, self.sizes_of(image))

        return Expectation(reasons, apply)

    def modify_image(self, caller, region, image, name=None, description=None, deprecated=None):
        reasons, kind = self.may_change(caller), self.type_of(caller.account, region, image)
        if kind is None:
            reasons.add(NO_IMAGE)
        elif kind == "SHARED_IMAGE":
            reasons.add("UnsupportedOperation.SharedImageModifyUnsupported")
        elif kind == "PUBLIC_IMAGE":
            reasons |= self.of_operator(caller) if caller.account == self.operator else {NOT_YOURS}
        found = self.images.get(image)
        if name is not None and not (kind and name == found.name):
            reasons |= self.of_name(caller.account, region, name, kind == "PUBLIC_IMAGE")

        def apply(_):
            found.name = found.name if name is None else name
            found.description = found.description if description is None else description
            found.deprecated = found.deprecated if deprecated is None else deprecated

        return Expectation(reasons, apply)

    def share_image(self, caller, region, image, accounts, share):
        """`accounts`: names of accounts and sub-accounts, and of nobody."""
        reasons = self.of_ownership(caller, region, image)
        if caller.role != "main":
            reasons.add(DENIED)
        found = self.images.get(image)
        if not reasons & {NO_IMAGE, NOT_YOURS} and found.state != "NORMAL":
            reasons.add("InvalidImageId.IncorrectState")
        for account in accounts:
            if account in self.sub_accounts:
                reasons.add("FailedOperation.NotMasterAccount")
            elif account not in self.accounts:
                reasons.add("InvalidAccountId.NotFound")
            elif account == caller.account:
                reasons.add("InvalidAccountIs.YourSelf")
        if not reasons and share:
            if found.shares & set(accounts):
                reasons.add("FailedOperation.AccountAlreadyExists")
            if len(found.shares) + len(accounts) > self.limits[caller.account].shares:
                reasons.add("OverQuota")
        elif not reasons and not set(accounts) <= found.shares:
            reasons.add("InvalidAccountId.NotFound")

        def apply(_):
            found.shares = found.shares | set(accounts) if share else found.shares - set(accounts)

        return Expectation(reasons, apply)

    def delete_images(self, caller, region, images, with_snapshots=False):
        reasons = self.may_change(caller)
        for image in images:
            reasons |= self.of_deletion(caller, region, image)

        def apply(_):
            disks = [snapshot for image in images for snapshot in self.images[image].snapshots]
            self.remove(images)
            for snapshot in disks if with_snapshots else ():
                if not self.images_of([snapshot]):
                    self.snapshots.pop(snapshot, None)

        return Expectation(reasons, apply)

    def publish_image(self, caller, region, image, destinations, name):
        """Makes public copies, in the region itself where none is named."""
        reasons, source = self.of_operator(caller), self.images.get(image)
        if self.type_of(caller.account, region, image) is None:
            reasons.add(NO_IMAGE)
        elif source.owner != caller.account:
            reasons.add(NOT_YOURS)
        elif source.state != "NORMAL":
            reasons.add("InvalidImageId.IncorrectState")
        published = name if name is not None else source and source.name
        for to in destinations or [region]:
            if to not in REGIONS:
                reasons.add("InvalidRegion.NotFound")
            elif to != region and not {region, to} <= set(COPYING):
                reasons.add("RegionAbilityLimit.UnsupportedToSyncImage")
            if published is not None:
                reasons |= self.of_name(caller.account, to, published, public=True)

        def apply(copies):
            for to, new in copies.items():
                made = Image(caller.account, to, published, source.content, source.description, public=True)
                self.add(*new, made, self.sizes_of(image))

        return Expectation(reasons, apply)

    def withdraw_image(self, caller, region, image):
        reasons, kind = self.of_operator(caller), self.type_of(caller.account, region, image)
        if kind is None:
            reasons.add(NO_IMAGE)
        elif kind != "PUBLIC_IMAGE":
            reasons.add("InvalidImageId.NotSupported")
        return Expectation(reasons, lambda _: self.remove([image]))

    # ---- operations on instances ---------------------------------------------------------------------------------

    def run_instances(self, caller, region, image, count, data_disks=()):
        """`data_disks`: of each its size, its snapshot or None, whether it goes with its instance."""
        reasons = self.may_change(caller) | self.of_use(caller, region, image)
        if len(self.own_instances(caller.account, region)) + count > self.limits[caller.account].instances:
            reasons.add("LimitExceeded.InstanceQuota")
        of_image = self.images[image].snapshots[1:] if image in self.images else []
        named = {snapshot: (size_gib, goes) for size_gib, snapshot, goes in data_disks if snapshot in of_image}
        # The image's in their order, as they are or as the request names them, then the others.
        planned = [named.get(disk, (self.snapshots[disk].size_gib, True)) for disk in of_image]
        planned += [(size_gib, goes) for size_gib, snapshot, goes in data_disks if snapshot not in of_image]
        own = self.own_snapshots(caller.account, region)
        for size_gib, snapshot, _ in data_disks:
            known = snapshot in of_image or snapshot in own and self.snapshots[snapshot].usage == DATA
            if snapshot is not None and not known:
                reasons.add("InvalidParameter.SnapshotNotFound")
            elif snapshot is not None and size_gib < self.snapshots[snapshot].size_gib:
                reasons.add("FailedOperation.SnapshotSizeLargerThanDataSize")
        no_room = "ResourceInsufficient.CloudDiskUnavailable"
        reasons |= self.of_disk_room(caller.account, region, count * len(planned), no_room)

        def apply(launched):
            """`launched`: of each instance its system disk and its data disks."""
            zone = ZONES[region][0]
            for instance, (system, disks) in launched.items():
                self.instances[instance] = Instance(caller.account, region, image, self.images[image].content)
                self.disks[system] = Disk(caller.account, region, zone, SYSTEM, SYSTEM_GIB, instance, True)
                for disk, (size_gib, goes) in zip(disks, planned, strict=True):
                    self.disks[disk] = Disk(caller.account, region, zone, DATA, size_gib, instance, goes)

        return Expectation(reasons, apply)

    def power(self, caller, region, instance, action):
        """Starts, stops or terminates."""
        allowed, then = {
            "StartInstances": (("STOPPED",), "RUNNING"),
            "StopInstances": (("RUNNING",), "STOPPED"),
            "TerminateInstances": (("RUNNING", "STOPPED"), None),
        }[action]
        reasons = self.may_change(caller) | self.of_instance(caller, region, instance, allowed)

        def apply(_):
            self.instances[instance].state = then
            if then is None:
                del self.instances[instance]
                for disk in self.disks_of(instance):
                    if self.disks[disk].goes_with_instance:
                        del self.disks[disk]
                    else:
                        self.disks[disk].instance = ""

        return Expectation(reasons, apply)

    def reset_instance(self, caller, region, instance, image=None):
        reasons = self.may_change(caller) | self.of_instance(caller, region, instance, ("RUNNING", "STOPPED"))
        found = self.instances.get(instance)
        wanted = image or (found and found.image)
        reasons |= self.of_use(caller, region, wanted)

        def apply(_):
            found.image, found.content, found.state = wanted, self.images[wanted].content, "RUNNING"

        return Expectation(reasons, apply)

    # ---- operations on disks and snapshots -----------------------------------------------------------------------

    def create_disks(self, caller, region, zone, count, size_gib=None, snapshot=None):
        reasons, least_gib = self.may_change(caller), 0
        if zone not in ZONES[region]:
            reasons.add("InvalidParameterValue")
        if snapshot is not None:
            if snapshot not in self.own_snapshots(caller.account, region):
                reasons.add(NO_SNAPSHOT)
            elif self.snapshots[snapshot].usage == SYSTEM:
                reasons.add("InvalidSnapshot.NotSupported")
            else:
                least_gib = self.snapshots[snapshot].size_gib
        elif size_gib is None:
            reasons.add("MissingParameter")
        if size_gib is not None and not 1 <= size_gib <= MAX_DISK_GIB:
            reasons.add("InvalidParameterValue")
        elif size_gib is not None and size_gib < least_gib:
            reasons.add("InvalidParameter.DiskSizeNotMatch")
        reasons |= self.of_disk_room(caller.account, region, count, "ResourceInsufficient.OverQuota")

        def apply(disks):
            for disk in disks:
                self.disks[disk] = Disk(caller.account, region, zone, DATA, size_gib or least_gib)

        return Expectation(reasons, apply)

    def attach_disks(self, caller, region, instance, disks, goes):
        unfit = self.of_instance(caller, region, instance, ("RUNNING", "STOPPED"))
        reasons = self.may_change(caller) | unfit
        for disk in disks:
            of_it = self.of_data_disk(caller, region, disk)
            if not of_it and self.disks[disk].instance:
                of_it = {"ResourceUnavailable.Attached"}
            elif not of_it and not unfit and self.disks[disk].zone != ZONES[region][0]:
                of_it = {"ResourceUnavailable.ZoneNotMatch"}
            reasons |= of_it

        def apply(_):
            for disk in disks:
                self.disks[disk].instance, self.disks[disk].goes_with_instance = instance, goes

        return Expectation(reasons, apply)

    def detach_disks(self, caller, region, disks, instance=None):
        """`instance`: whose they must be, where that is said."""
        reasons = self.may_change(caller)
        for disk in disks:
            of_it = self.of_data_disk(caller, region, disk)
            if not of_it and not self.disks[disk].instance:
                of_it = {"UnsupportedOperation.StateError"}
            elif not of_it and instance not in (None, self.disks[disk].instance):
                of_it = {"InvalidParameterValue"}
            reasons |= of_it

        def apply(_):
            for disk in disks:
                self.disks[disk].instance, self.disks[disk].goes_with_instance = "", False

        return Expectation(reasons, apply)

    def terminate_disks(self, caller, region, disks):
        reasons = self.may_change(caller)
        for disk in disks:
            of_it = self.of_data_disk(caller, region, disk)
            reasons |= {"ResourceUnavailable.Attached"} if not of_it and self.disks[disk].instance else of_it

        def apply(_):
            for disk in set(disks):
                del self.disks[disk]

        return Expectation(reasons, apply)

    def create_snapshot(self, caller, region, disk, usage=None):
        """`usage`: what it is to be one of, where that is said. The content of a system disk can be data."""
        reasons, found = self.may_change(caller), self.disks.get(disk)
        if disk not in self.own_disks(caller.account, region):
            reasons.add("InvalidDiskId.NotFound")
        elif (usage, found.usage) == (SYSTEM, DATA):
            reasons.add("InvalidParameterValue")
        counted = [it for it in self.own_snapshots(caller.account, region) if not self.snapshots[it].of_image]
        if len(counted) >= self.limits[caller.account].snapshots:
            reasons.add("InsufficientSnapshotQuota")

        def apply(snapshot):
            used_as = usage or found.usage
            content = self.instances[found.instance].content if used_as == SYSTEM else None
            self.snapshots[snapshot] = Snapshot(caller.account, region, used_as, found.size_gib, content, disk)

        return Expectation(reasons, apply)

    def delete_snapshots(self, caller, region, snapshots, with_images):
        reasons, bound = self.may_change(caller), self.images_of(snapshots)
        if not set(snapshots) <= self.own_snapshots(caller.account, region).keys():
            reasons.add(NO_SNAPSHOT)
        elif bound and not with_images:
            reasons.add("UnsupportedOperation.SnapshotHasBindedImage")
        else:
            for image in bound:
                reasons |= self.of_deletion(caller, region, image)

        def apply(_):
            self.remove(bound)
            for snapshot in snapshots:
                self.snapshots.pop(snapshot, None)

        return Expectation(reasons, apply)
