"""The rules of images and instances as plain Python over dictionaries, for holding a server against.

Every operation answers with an `Expectation`: all the reasons there are to refuse it (the server names one of them; none
means that it must be accepted), and what changes where it is accepted. The model knows no storage, no tasks, no HTTP.
What it leaves out: intermediate states (the driver waits for them to end), tags, prices, families.
"""

from dataclasses import dataclass, field
from typing import Callable

COPYING = ("ap-guangzhou", "ap-beijing", "ap-shanghai")
REGIONS = (*COPYING, "ap-singapore")
NAME_CHARS = 60
DENIED = "UnauthorizedOperation"
NO_IMAGE = "InvalidImageId.NotFound"
NOT_YOURS = "UnauthorizedOperation.ImageNotBelongToAccount"


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
    # The disk that it holds, by the name of the file that it came from.
    content: str
    description: str = ""
    state: str = "NORMAL"
    deprecated: bool = False
    shares: set = field(default_factory=set)


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


@dataclass
class Expectation:
    reasons: set
    apply: Callable


class Model:
    def __init__(self, customers, sub_accounts):
        self.customers = set(customers)
        self.sub_accounts = set(sub_accounts)
        self.may_import = set(customers)
        self.limits = {name: Limits() for name in customers}
        self.images = {}
        self.instances = {}
        self.operations = {}

    # ---- what is seen ----------------------------------------------------------------------------------------------

    def type_of(self, account, region, image):
        """How an account sees an image in a region; None where it does not."""
        found = self.images.get(image)
        if found is None or found.region != region:
            return None
        if found.owner == account:
            return "PRIVATE_IMAGE"
        return "SHARED_IMAGE" if account in found.shares else None

    def seen_images(self, account, region):
        seen = {}
        for image, found in self.images.items():
            if kind := self.type_of(account, region, image):
                seen[image] = (kind, found.name, found.description, found.state, found.deprecated)
        return seen

    def own_instances(self, account, region):
        own = {name: found for name, found in self.instances.items() if (found.owner, found.region) == (account, region)}
        return {name: (found.state, found.image) for name, found in own.items()}

    def counted(self, account, region):
        return [i for i in self.images.values() if (i.owner, i.region, i.state) == (account, region, "NORMAL")]

    # ---- reasons -----------------------------------------------------------------------------------------------------

    def may_change(self, caller):
        return {DENIED} if caller.role == "read_only" else set()

    def of_name(self, account, region, name):
        if not name.strip():
            return {"InvalidImageName.Invalid"}
        if len(name) > NAME_CHARS:
            return {"InvalidParameterValue.TooLong"}
        taken = any(image.name == name for image in self.counted(account, region))
        return {"InvalidImageName.Duplicate"} if taken else set()

    def of_room(self, account, region):
        reasons, limits = set(), self.limits[account]
        if len(self.counted(account, region)) >= limits.images:
            reasons.add("ImageQuotaLimitExceeded")
        if self.operations.get((account, region), 0) >= limits.operations:
            reasons.add("LimitExceeded.ImageOperationsPerDay")
        return reasons

    def of_ownership(self, caller, region, image):
        kind = self.type_of(caller.account, region, image)
        return {NO_IMAGE} if kind is None else {NOT_YOURS} if kind == "SHARED_IMAGE" else set()

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

    # ---- operations on images ------------------------------------------------------------------------------------

    def count(self, account, region):
        self.operations[account, region] = self.operations.get((account, region), 0) + 1

    def add(self, image, made):
        self.count(made.owner, made.region)
        self.images[image] = made

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
        return Expectation(reasons, lambda image: self.add(image, made))

    def create_image(self, caller, region, name, instance):
        reasons = self.may_change(caller) | self.of_name(caller.account, region, name)
        reasons |= self.of_room(caller.account, region)
        reasons |= self.of_instance(caller, region, instance, ("RUNNING", "STOPPED"))

        def apply(image):
            self.add(image, Image(caller.account, region, name, self.instances[instance].content))

        return Expectation(reasons, apply)

    def copy_image(self, caller, region, image, destinations, name):
        reasons = self.may_change(caller) | self.of_ownership(caller, region, image)
        if region not in COPYING or any(to in REGIONS and to not in COPYING for to in destinations):
            reasons.add("RegionAbilityLimit.UnsupportedToSyncImage")
        if any(to not in REGIONS for to in destinations):
            reasons.add("InvalidRegion.NotFound")
        if region in destinations:
            reasons.add("UnsupportedOperation.Region")
        source = self.images.get(image)
        if not reasons & {NO_IMAGE, NOT_YOURS} and source.state != "NORMAL":
            reasons.add("InvalidImageId.IncorrectState")
        copied = name if name is not None else source and source.name
        for to in destinations:
            if copied is not None:
                reasons |= self.of_name(caller.account, to, copied)
            reasons |= self.of_room(caller.account, to)

        def apply(copies):
            for to, copy in copies.items():
                made = Image(caller.account, to, copied, source.content, source.description, deprecated=source.deprecated)
                self.add(copy, made)

        return Expectation(reasons, apply)

    def modify_image(self, caller, region, image, name=None, description=None, deprecated=None):
        reasons, kind = self.may_change(caller), self.type_of(caller.account, region, image)
        if kind is None:
            reasons.add(NO_IMAGE)
        elif kind == "SHARED_IMAGE":
            reasons.add("UnsupportedOperation.SharedImageModifyUnsupported")
        found = self.images.get(image)
        if name is not None and not (kind == "PRIVATE_IMAGE" and name == found.name):
            reasons |= self.of_name(caller.account, region, name)

        def apply(_):
            found.name = found.name if name is None else name
            found.description = found.description if description is None else description
            found.deprecated = found.deprecated if deprecated is None else deprecated

        return Expectation(reasons, apply)

    def share_image(self, caller, region, image, accounts, share):
        """`accounts`: names of customers and sub-accounts, and of nobody."""
        reasons = self.of_ownership(caller, region, image)
        if caller.role != "main":
            reasons.add(DENIED)
        found = self.images.get(image)
        if not reasons & {NO_IMAGE, NOT_YOURS} and found.state != "NORMAL":
            reasons.add("InvalidImageId.IncorrectState")
        for account in accounts:
            if account in self.sub_accounts:
                reasons.add("FailedOperation.NotMasterAccount")
            elif account not in self.customers:
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

    def delete_images(self, caller, region, images):
        reasons = self.may_change(caller)
        for image in images:
            of_it = self.of_ownership(caller, region, image)
            if not of_it and self.images[image].shares:
                of_it = {"InvalidImageId.InShared"}
            reasons |= of_it

        def apply(_):
            for image in images:
                self.images.pop(image, None)

        return Expectation(reasons, apply)

    # ---- operations on instances ---------------------------------------------------------------------------------

    def run_instances(self, caller, region, image, count):
        reasons = self.may_change(caller) | self.of_use(caller, region, image)
        if len(self.own_instances(caller.account, region)) + count > self.limits[caller.account].instances:
            reasons.add("LimitExceeded.InstanceQuota")

        def apply(instances):
            for instance in instances:
                self.instances[instance] = Instance(caller.account, region, image, self.images[image].content)

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

        return Expectation(reasons, apply)

    def reset_instance(self, caller, region, instance, image=None):
        reasons = self.may_change(caller) | self.of_instance(caller, region, instance, ("RUNNING", "STOPPED"))
        found = self.instances.get(instance)
        wanted = image or (found and found.image)
        reasons |= self.of_use(caller, region, wanted)

        def apply(_):
            found.image, found.content, found.state = wanted, self.images[wanted].content, "RUNNING"

        return Expectation(reasons, apply)
