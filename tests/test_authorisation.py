"""Who may do what: every action of the server's own table, by everybody who could ask for it.

The list of actions comes from the server (DescribeActions), which answers with the table that requests are led by: an
action without a row here fails the test. A cell says `OK` or the exact error code. Where an action knows a dry run, it
is used: all of the checks are the same, and nothing changes for the next cell.
"""

import threading

import pytest
from cloud import GUANGZHOU, ZONES, refused
from conftest import BARE_DISKS, CONFIG
from object_clients import app_id, s3
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

OK = "ok"
NOTHING = "a list with nothing in it"
DENIED = "UnauthorizedOperation"
KEY = "AuthFailure.SecretIdNotFound"
NOT_YOURS = "UnauthorizedOperation.ImageNotBelongToAccount"
NO_IMAGE = "InvalidImageId.NotFound"
NO_INSTANCE = "InvalidInstanceId.NotFound"
NO_DISK = "InvalidDiskId.NotFound"
NO_SNAPSHOT = "InvalidSnapshotId.NotFound"
NO_KEY_PAIR = "InvalidKeyPairId.NotFound"
NO_RESOURCE = "InvalidParameterValue.ResourceIdInvalid"
NO_ACCOUNT = "InvalidAccountId.NotFound"

# `owner` has what is asked about; an image of it is shared with one account and was shared with another.
CALLERS = ("owner", "full", "read_only", "shared_with", "was_shared_with", "stranger", "disabled", "operator")


def cells(owner, full, read_only, shared_with, was_shared_with, stranger, operator):
    """The expectations of a row. A disabled key gets nowhere, so it is never named."""
    by_caller = {"owner": owner, "full": full, "read_only": read_only, "shared_with": shared_with}
    return {**by_caller, "was_shared_with": was_shared_with, "stranger": stranger, "disabled": KEY, "operator": operator}


def others(code):
    return {"shared_with": code, "was_shared_with": code, "stranger": code}


EVERYBODY = cells(OK, OK, OK, OK, OK, OK, OK)
EVERYBODY_CHANGES = cells(OK, OK, DENIED, OK, OK, OK, OK)
OPERATOR_ONLY = cells(DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, OK)
SEES_IMAGE = cells(OK, OK, OK, OK, NO_IMAGE, NO_IMAGE, NO_IMAGE)
READS_OWN_IMAGE = cells(OK, OK, OK, NOT_YOURS, NO_IMAGE, NO_IMAGE, NO_IMAGE)
CHANGES_OWN_IMAGE = cells(OK, OK, DENIED, NOT_YOURS, NO_IMAGE, NO_IMAGE, NO_IMAGE)


def of_the_owners(code, operator=None, read_only=OK, owner=OK, full=OK):
    """What is the owner's, and what others are told of it."""
    return cells(owner, full, read_only, code, code, code, operator or code)


def changes_the_owners(code, operator=None, owner=OK, full=OK):
    return of_the_owners(code, operator, DENIED, owner, full)


# ---- the table -------------------------------------------------------------------------------------------------------

# Action, or action and what is special: what it is called with, and what each caller is told.
MATRIX = {
    "DescribeRegions": (lambda w, who: {}, EVERYBODY),
    "DescribeZones": (lambda w, who: {}, EVERYBODY),
    "DescribeAccountQuota": (lambda w, who: {}, EVERYBODY),
    "GetCallerIdentity": (lambda w, who: {}, EVERYBODY),
    "DescribeActions": (lambda w, who: {}, EVERYBODY),
    "DescribeObjectStorage": (lambda w, who: {}, EVERYBODY),
    # images
    "DescribeImages": (lambda w, who: {"ImageIds": [w.image]}, SEES_IMAGE),
    "DescribeImageReport": (lambda w, who: {"ImageId": w.image}, SEES_IMAGE),
    # A family is its owner's, whoever its images are shared with.
    "DescribeImageFromFamily": (lambda w, who: {"ImageFamily": "family"}, of_the_owners(NOTHING)),
    "DescribeImageQuota": (lambda w, who: {}, EVERYBODY),
    "DescribeImportImageOs": (lambda w, who: {}, EVERYBODY),
    "DescribeImageSharePermission": (lambda w, who: {"ImageId": w.image}, READS_OWN_IMAGE),
    "ImportImage": (
        lambda w, who: {**w.import_parameters, "DryRun": True},
        {**EVERYBODY_CHANGES, **others("UnauthorizedOperation.ImportImage")},
    ),
    "CreateImage": (
        lambda w, who: {"InstanceId": w.stopped(), "ImageName": "made", "DryRun": True},
        changes_the_owners(NO_INSTANCE),
    ),
    "SyncImages": (
        lambda w, who: {"ImageIds": [w.image], "DestinationRegions": ["ap-beijing"], "DryRun": True},
        CHANGES_OWN_IMAGE,
    ),
    "ExportImages": (
        lambda w, who: {"ImageIds": [w.image], "BucketName": w.bucket(who), "DryRun": True},
        {**CHANGES_OWN_IMAGE, "shared_with": "UnsupportedOperation.SharedImageExportUnsupported"},
    ),
    "ExportImages to another's bucket": (
        lambda w, who: {"ImageIds": [w.image], "BucketName": w.bucket("spare"), "DryRun": True},
        {**changes_the_owners(code := "InvalidParameterValue.InvalidBucketPermissionForExport"), "owner": code, "full": code},
    ),
    "ModifyImageAttribute": (lambda w, who: {"ImageId": w.image, "ImageDescription": who}, {**CHANGES_OWN_IMAGE, "shared_with": "UnsupportedOperation.SharedImageModifyUnsupported"}),
    "ModifyImageSharePermission": (
        lambda w, who: {"ImageId": w.image, "AccountIds": [w.spare.uin], "Permission": "SHARE"},
        {**CHANGES_OWN_IMAGE, "full": DENIED},
    ),
    "DeleteImages": (lambda w, who: {"ImageIds": [w.image if who == "shared_with" else w.unshared], "DryRun": True}, CHANGES_OWN_IMAGE),
    "DeleteImages while shared": (
        lambda w, who: {"ImageIds": [w.image], "DryRun": True},
        {**CHANGES_OWN_IMAGE, "owner": "InvalidImageId.InShared", "full": "InvalidImageId.InShared"},
    ),
    # what is for everybody
    "PublishImage": (lambda w, who: {"ImageId": w.lent, "DryRun": True}, OPERATOR_ONLY),
    "PublishImage of what the operator does not see": (
        lambda w, who: {"ImageId": w.image, "DryRun": True},
        {**OPERATOR_ONLY, "operator": NO_IMAGE},
    ),
    "WithdrawImage": (lambda w, who: {"ImageId": w.public, "DryRun": True}, OPERATOR_ONLY),
    "ModifyImageComponents": (lambda w, who: {"ImageId": w.public}, OPERATOR_ONLY),
    "DescribeImageComponents": (lambda w, who: {"ImageId": w.public}, EVERYBODY),
    "DescribeImages for everybody": (lambda w, who: {"ImageIds": [w.public]}, EVERYBODY),
    "DescribeImageReport of what is public": (lambda w, who: {"ImageId": w.public}, EVERYBODY),
    "RunInstances of what is public": (
        lambda w, who: {"ImageId": w.public, "Placement": {"Zone": ZONES[GUANGZHOU]}, "DryRun": True},
        EVERYBODY_CHANGES,
    ),
    "ModifyImageAttribute of what is public": (
        lambda w, who: {"ImageId": w.public, "ImageDescription": who},
        cells(NOT_YOURS, NOT_YOURS, DENIED, NOT_YOURS, NOT_YOURS, NOT_YOURS, OK),
    ),
    "DeleteImages of what is public": (
        lambda w, who: {"ImageIds": [w.public], "DryRun": True},
        cells(NOT_YOURS, NOT_YOURS, DENIED, NOT_YOURS, NOT_YOURS, NOT_YOURS, NOT_YOURS),
    ),
    "ImportImage for everybody": (
        lambda w, who: {**w.import_parameters, "ImageType": "PUBLIC_IMAGE", "DryRun": True},
        OPERATOR_ONLY,
    ),
    "OpenImageExport": (lambda w, who: {"ImageId": w.image, "Transport": "TCP"}, CHANGES_OWN_IMAGE),
    "OpenImageExport on the server's machine": (lambda w, who: {"ImageId": w.image}, OPERATOR_ONLY),
    # prices
    "InquiryPriceRunInstances": (
        lambda w, who: {"ImageId": w.image, "Placement": {"Zone": ZONES[GUANGZHOU]}},
        SEES_IMAGE,
    ),
    "InquiryPriceResetInstance": (lambda w, who: {"InstanceId": w.instance}, of_the_owners(NO_INSTANCE)),
    "ModifyImageFee": (lambda w, who: {"ImageId": w.lent, "PerHour": "0.01", "PerMonth": "1"}, OPERATOR_ONLY),
    "ModifyImageFee of what the operator does not see": (
        lambda w, who: {"ImageId": w.image, "PerHour": "0.01", "PerMonth": "1"},
        {**OPERATOR_ONLY, "operator": NO_IMAGE},
    ),
    # the marketplace
    "ApplyForProvider": (
        lambda w, who: {"Name": who, "Reason": "to sell"},
        cells("FailedOperation.ApplicationPending", DENIED, DENIED, OK, OK, OK, "UnsupportedOperation.Operator"),
    ),
    "DescribeProviders": (lambda w, who: {}, EVERYBODY),
    "ModifyProvider": (lambda w, who: {"Uin": w.owner.uin, "Accepted": True}, OPERATOR_ONLY),
    "SubmitListing": (
        lambda w, who: {"ImageId": w.unshared, "PerHour": "1", "PerMonth": "1", "DryRun": True},
        changes_the_owners("UnauthorizedOperation.NotProvider", full=DENIED),
    ),
    "DescribeListings": (lambda w, who: {"ListingIds": [w.waiting]}, of_the_owners(NOTHING, OK)),
    "DescribeListings of what is sold": (lambda w, who: {"ListingIds": [w.listing]}, EVERYBODY),
    "ReviewListing": (
        lambda w, who: {"ListingId": w.listing, "Decision": "PUBLISH"},
        {**OPERATOR_ONLY, "operator": "FailedOperation.ListingDecided"},
    ),
    "WithdrawListing": (
        lambda w, who: {"ListingId": w.returned},
        changes_the_owners("InvalidListingId.NotFound", LISTED := "FailedOperation.ListingDecided", LISTED, full=DENIED),
    ),
    "DescribeImages that are sold": (lambda w, who: {"ImageIds": [w.sold]}, EVERYBODY),
    "RunInstances of what is sold": (
        lambda w, who: {"ImageId": w.sold, "Placement": {"Zone": ZONES[GUANGZHOU]}, "DryRun": True},
        EVERYBODY_CHANGES,
    ),
    "ModifyImageAttribute of what is sold": (
        lambda w, who: {"ImageId": w.sold, "ImageDescription": who},
        cells(NOT_YOURS, NOT_YOURS, DENIED, NOT_YOURS, NOT_YOURS, NOT_YOURS, NOT_YOURS),
    ),
    "DescribeImages that wait for their review": (
        lambda w, who: {"ImageIds": [w.in_review]},
        of_the_owners(NO_IMAGE, OK),
    ),
    # usage: one's own, and for the operator everybody's
    "DescribeUsage": (lambda w, who: {}, EVERYBODY),
    "DescribeUsage of the owner": (lambda w, who: {"Uin": w.owner.uin}, of_the_owners(DENIED, OK)),
    "DescribeEarnings": (lambda w, who: {}, EVERYBODY),
    "DescribeEarnings of the owner": (lambda w, who: {"Uin": w.owner.uin}, of_the_owners(DENIED, OK)),
    # instances
    "DescribeInstanceTypeConfigs": (lambda w, who: {}, EVERYBODY),
    "DescribeInstanceFamilyConfigs": (lambda w, who: {}, EVERYBODY),
    "DescribeZoneInstanceConfigInfos": (lambda w, who: {}, EVERYBODY),
    "RunInstances": (
        lambda w, who: {"ImageId": w.image, "Placement": {"Zone": ZONES[GUANGZHOU]}, "DryRun": True},
        {**SEES_IMAGE, "read_only": DENIED},
    ),
    "DescribeInstances": (lambda w, who: {"InstanceIds": [w.instance]}, of_the_owners(NOTHING)),
    "DescribeInstancesStatus": (lambda w, who: {"InstanceIds": [w.instance]}, of_the_owners(NOTHING)),
    "DescribeInstanceConnection": (lambda w, who: {"InstanceId": w.instance}, of_the_owners(NO_INSTANCE)),
    "StartInstances": (lambda w, who: {"InstanceIds": [w.stopped()]}, changes_the_owners(NO_INSTANCE)),
    "StopInstances": (
        lambda w, who: {"InstanceIds": [w.running()], "StopType": "HARD"},
        changes_the_owners(NO_INSTANCE),
    ),
    "RebootInstances": (
        lambda w, who: {"InstanceIds": [w.running()], "StopType": "HARD"},
        changes_the_owners(NO_INSTANCE),
    ),
    "TerminateInstances": (
        lambda w, who: {"InstanceIds": [w.stopped()], "DryRun": True},
        changes_the_owners(NO_INSTANCE),
    ),
    # Who may look only does not get the keyboard.
    "DescribeInstanceVncUrl": (lambda w, who: {"InstanceId": w.running()}, of_the_owners(NO_INSTANCE, read_only=DENIED)),
    "DescribeInstancesAttributes": (
        lambda w, who: {"InstanceIds": [w.instance], "Attributes": ["UserData"]},
        of_the_owners(NO_INSTANCE),
    ),
    "ModifyInstancesAttribute": (
        lambda w, who: {"InstanceIds": [w.instance], "InstanceName": who},
        changes_the_owners(NO_INSTANCE),
    ),
    "ModifyInstancesAttribute of the guest": (
        lambda w, who: {"InstanceIds": [w.stopped()], "HostName": "renamed"},
        changes_the_owners(NO_INSTANCE),
    ),
    "ResetInstance": (
        lambda w, who: {"InstanceId": w.stopped()},
        changes_the_owners(NO_INSTANCE),
    ),
    "ResetInstance from an image": (
        lambda w, who: {"InstanceId": w.stopped(), "ImageId": w.image},
        changes_the_owners(NO_INSTANCE),
    ),
    "ResetInstancesPassword": (
        lambda w, who: {"InstanceIds": [w.stopped()], "Password": "pass-word-1"},
        changes_the_owners(NO_INSTANCE),
    ),
    "AssociateInstancesKeyPairs": (
        lambda w, who: {"InstanceIds": [w.stopped()], "KeyIds": [w.key_pair()]},
        changes_the_owners(NO_KEY_PAIR),
    ),
    "AssociateInstancesKeyPairs of one's own": (
        lambda w, who: {"InstanceIds": [w.stopped()], "KeyIds": [w.own_key_pair(who)]},
        changes_the_owners(NO_INSTANCE),
    ),
    "DisassociateInstancesKeyPairs": (
        lambda w, who: {"InstanceIds": [w.stopped()], "KeyIds": [w.key_pair()]},
        changes_the_owners(NO_KEY_PAIR),
    ),
    "DisassociateInstancesKeyPairs of one's own": (
        lambda w, who: {"InstanceIds": [w.stopped()], "KeyIds": [w.own_key_pair(who)]},
        changes_the_owners(NO_INSTANCE),
    ),
    # disks
    "CreateDisks": (lambda w, who: NEW_DISK, EVERYBODY_CHANGES),
    "DescribeDisks": (lambda w, who: {"DiskIds": [w.disk]}, of_the_owners(NOTHING)),
    "AttachDisks": (
        lambda w, who: {"InstanceId": w.stopped(), "DiskIds": w.disks()},
        changes_the_owners(NO_INSTANCE),
    ),
    "DetachDisks": (lambda w, who: {"DiskIds": [w.attached_disk()]}, changes_the_owners(NO_DISK)),
    "TerminateDisks": (lambda w, who: {"DiskIds": w.disks()}, changes_the_owners(NO_DISK)),
    "CreateSnapshot": (lambda w, who: {"DiskId": w.idle_disk()}, changes_the_owners(NO_DISK)),
    "DescribeSnapshots": (lambda w, who: {"SnapshotIds": [w.snapshot()]}, of_the_owners(NOTHING)),
    "DeleteSnapshots": (lambda w, who: {"SnapshotIds": [w.snapshot()]}, changes_the_owners(NO_SNAPSHOT)),
    "CreateDisks of a snapshot": (
        lambda w, who: {**NEW_DISK, "SnapshotId": w.snapshot()},
        changes_the_owners(NO_SNAPSHOT),
    ),
    # key pairs
    "CreateKeyPair": (lambda w, who: {"KeyName": f"made_{who}", "ProjectId": 0}, EVERYBODY_CHANGES),
    "ImportKeyPair": (
        lambda w, who: {"KeyName": who, "ProjectId": 0, "PublicKey": PUBLIC_KEY},
        EVERYBODY_CHANGES,
    ),
    "DescribeKeyPairs": (lambda w, who: {"KeyIds": [w.key_pair()]}, of_the_owners(NOTHING)),
    "ModifyKeyPairAttribute": (
        lambda w, who: {"KeyId": w.key_pair(), "Description": who},
        changes_the_owners(NO_KEY_PAIR),
    ),
    "DeleteKeyPairs": (lambda w, who: {"KeyIds": [w.key_pair()]}, changes_the_owners(NO_KEY_PAIR)),
    # tags: an account has its own, on what is its own
    "DescribeResourceTags": (lambda w, who: {"ResourceId": w.image}, of_the_owners(NOTHING)),
    "TagResources": (
        lambda w, who: {"ResourceList": [w.resource("image", w.image)], "Tags": [{"TagKey": "who", "TagValue": who}]},
        changes_the_owners(NO_RESOURCE),
    ),
    "TagResources of an instance": (
        lambda w, who: {"ResourceList": [w.resource("instance", w.instance)], "Tags": [{"TagKey": "who", "TagValue": who}]},
        changes_the_owners(NO_RESOURCE),
    ),
    "TagResources of a disk": (
        lambda w, who: {"ResourceList": [w.resource("volume", w.disk)], "Tags": [{"TagKey": "who", "TagValue": who}]},
        changes_the_owners(NO_RESOURCE),
    ),
    "TagResources of a snapshot": (
        lambda w, who: {
            "ResourceList": [w.resource("snapshot", w.snapshot())],
            "Tags": [{"TagKey": "who", "TagValue": who}],
        },
        changes_the_owners(NO_RESOURCE),
    ),
    "TagResources of a key pair": (
        lambda w, who: {"ResourceList": [w.resource("keypair", w.key_pair())], "Tags": [{"TagKey": "who", "TagValue": who}]},
        changes_the_owners(NO_RESOURCE),
    ),
    "TagResources in the owner's name": (
        lambda w, who: {"ResourceList": [w.resource("image", w.image, w.owner)], "Tags": [{"TagKey": "who", "TagValue": who}]},
        changes_the_owners("InvalidParameterValue.UinInvalid"),
    ),
    "ModifyResourceTags": (
        lambda w, who: {"Resource": w.resource("image", w.image), "ReplaceTags": [{"TagKey": "who", "TagValue": who}]},
        changes_the_owners(NO_RESOURCE),
    ),
    "UnTagResources": (
        lambda w, who: {"ResourceList": [w.resource("image", w.image)], "TagKeys": ["who"]},
        changes_the_owners(NO_RESOURCE),
    ),
    # accounts
    "CreateAccount": (lambda w, who: {"Nickname": "new"}, OPERATOR_ONLY),
    "DescribeAccounts": (lambda w, who: {}, OPERATOR_ONLY),
    "DescribeAccount": (lambda w, who: {"Uin": w.owner.uin}, of_the_owners(DENIED, OK)),
    "ModifyAccountContact": (
        lambda w, who: {"Uin": w.owner.uin, "Email": "a@example.org"},
        changes_the_owners(DENIED, OK, full=DENIED),
    ),
    "CreateSubAccount": (lambda w, who: {"Name": who, "Role": "FULL"}, {**EVERYBODY_CHANGES, "full": DENIED}),
    "DescribeSubAccounts": (lambda w, who: {"Uin": w.owner.uin}, of_the_owners(DENIED, OK)),
    "ModifySubAccount": (
        lambda w, who: {"Uin": w.sub_account(), "Role": "READ_ONLY"},
        changes_the_owners(NO_ACCOUNT, full=DENIED),
    ),
    "DeleteSubAccount": (lambda w, who: {"Uin": w.sub_account()}, changes_the_owners(NO_ACCOUNT, full=DENIED)),
    "ApplyForImportPermission": (
        lambda w, who: {"Reason": "to move in"},
        {**changes_the_owners("FailedOperation.ImportPermissionHeld", owner="FailedOperation.ImportPermissionHeld",
                              full="FailedOperation.ImportPermissionHeld"), **others(OK)},
    ),
    "DescribeImportApplications": (lambda w, who: {}, EVERYBODY),
    "ModifyImportPermission": (lambda w, who: {"Uin": w.spare.uin, "Allowed": True}, OPERATOR_ONLY),
    "DescribeLimits": (lambda w, who: {"Uin": w.owner.uin}, of_the_owners(DENIED, OK)),
    "ModifyAccountLimits": (lambda w, who: {"Uin": w.spare.uin}, OPERATOR_ONLY),
    "CreateApiKey": (lambda w, who: {"Uin": w.owner.uin}, changes_the_owners(DENIED, OK, full=DENIED)),
    "CreateApiKey of one's own": (lambda w, who: {}, EVERYBODY_CHANGES),
    "CreateApiKey of a sub-account": (
        lambda w, who: {"Uin": w.sub_account()},
        changes_the_owners(DENIED, OK, full=DENIED),
    ),
    "DescribeApiKeys": (
        lambda w, who: {"Uin": w.owner.uin},
        of_the_owners(DENIED, OK, read_only=DENIED, full=DENIED),
    ),
    "DescribeApiKeys of one's own": (lambda w, who: {}, EVERYBODY),
    "ModifyApiKey": (
        lambda w, who: {"TargetSecretId": w.spare_key(), "Enabled": False},
        changes_the_owners("InvalidSecretId.NotFound", OK, full="InvalidSecretId.NotFound"),
    ),
    "DeleteApiKey": (
        lambda w, who: {"TargetSecretId": w.spare_key()},
        changes_the_owners("InvalidSecretId.NotFound", OK, full="InvalidSecretId.NotFound"),
    ),
    "DescribeOperations": (lambda w, who: {"AccountUin": w.owner.uin}, of_the_owners(DENIED, OK)),
    "DescribeMessages": (lambda w, who: {}, EVERYBODY),
    # the rest
    "DescribeTasks": (lambda w, who: {"TaskIds": [w.task]}, of_the_owners("InvalidTaskId.NotFound", OK)),
    # It is found, and has ended: cancelling one that runs is tested with the crashes.
    "CancelTask": (
        lambda w, who: {"TaskId": w.task},
        changes_the_owners("InvalidTaskId.NotFound", ENDED := "UnsupportedOperation.TaskEnded", ENDED, ENDED),
    ),
    "DescribeStores": (lambda w, who: {}, OPERATOR_ONLY),
}  # fmt: skip
NEW_DISK = {
    "Placement": {"Zone": ZONES[GUANGZHOU]}, "DiskChargeType": "POSTPAID_BY_HOUR", "DiskType": "CLOUD_PREMIUM",
    "DiskSize": 1,
}  # fmt: skip
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43


class World:
    """Everybody, and what the owner has."""

    def __init__(self, server, host):
        self.server = server
        self.operator = server.operator()
        self.owner = server.create_account("owner")
        self.full = self.owner.sub_account("full", "FULL")
        self.read_only = self.owner.sub_account("read only", "READ_ONLY")
        self.shared_with, self.was_shared_with, self.stranger, self.spare = (
            server.create_account(name, allow_import=False)
            for name in ("shared with", "was shared with", "stranger", "spare")
        )
        self.disabled = server.account(self.owner.kiln("CreateApiKey"))
        self.owner.kiln("ModifyApiKey", TargetSecretId=self.disabled.secret_id, Enabled=False)
        self.import_parameters = {
            "Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageName": "imported",
            "ImageUrl": host.url("small.qcow2"),
        }  # fmt: skip
        tags = [{"ResourceType": "image", "Tags": [{"Key": "kept", "Value": "yes"}]}]
        url = host.url("small.qcow2")
        self.image = self.owner.imported(url, "image", ImageFamily="family", TagSpecification=tags)
        self.unshared = self.owner.imported(url, "unshared")
        parameters = {**self.import_parameters, "ImageName": "public", "ImageType": "PUBLIC_IMAGE"}
        self.public = self.operator.raw("ImportImage", **parameters)["ImageId"]
        self.operator.normal_image(self.public)
        self.sell(url)
        # The operator's, which everybody else but two do not see.
        self.lent = self.operator.imported(url, "lent")
        borrowers = [self.owner.uin, self.shared_with.uin]
        self.operator.call("ModifyImageSharePermission", ImageId=self.lent, AccountIds=borrowers, Permission="SHARE")
        share = {"ImageId": self.image, "AccountIds": [self.shared_with.uin, self.was_shared_with.uin]}
        self.owner.call("ModifyImageSharePermission", Permission="SHARE", **share)
        self.owner.call("ModifyImageSharePermission", Permission="CANCEL", **{**share, "AccountIds": share["AccountIds"][1:]})
        self.task = next(task["TaskId"] for task in self.owner.tasks() if task["ImageId"] == self.image)
        [self.instance] = self.owner.launched(self.image)
        [self.disk] = self.disks()

    def sell(self, url):
        """A listing of the owner's in each state: sold, sent back, waiting."""
        self.owner.kiln("ApplyForProvider", Name="owner", Reason="to sell")
        self.operator.kiln("ModifyProvider", Uin=self.owner.uin, Accepted=True)
        self.in_review = self.owner.imported(url, "for sale")
        self.listing = self.review("PUBLISH")
        self.sold = self.operator.kiln("DescribeListings", ListingIds=[self.listing])["ListingSet"][0]["ImageId"]
        self.owner.normal_image(self.sold)
        self.returned = self.review("RETURN")
        self.waiting = self.review(None)

    def review(self, decision):
        """Submits the image, and decides about it; the listing."""
        listing = self.owner.kiln("SubmitListing", ImageId=self.in_review, PerHour="1", PerMonth="1")["ListingId"]
        if decision:
            self.operator.kiln("ReviewListing", ListingId=listing, Decision=decision, Reasons="decided")
        return listing

    def running(self):
        return self._in("RUNNING", lambda: self.owner.call("StartInstances", InstanceIds=[self.instance]))

    def stopped(self):
        return self._in("STOPPED", lambda: self.owner.stopped(self.instance))

    def _in(self, state, bring):
        end_states = ("RUNNING", "STOPPED")
        while (found := self.owner.instance(self.instance)).InstanceState not in end_states or (
            found.LatestOperationState == "OPERATING"
        ):
            threading.Event().wait(0.1)
        if found.InstanceState != state:
            bring()
            self.owner.instance_in(state, self.instance)
        return self.instance

    def bucket(self, caller):
        """A bucket of the account that the caller acts for."""
        account = self.owner if caller in ("full", "read_only", "disabled") else getattr(self, caller)
        buckets = s3(account)
        if not buckets.list_buckets()["Buckets"]:
            buckets.create_bucket(Bucket=f"own-{app_id(account)}")
        return buckets.list_buckets()["Buckets"][0]["Name"]

    def disks(self):
        return self.owner.create_disks()

    def idle_disk(self):
        """A disk that nothing is being done with."""
        while any(found.SnapshotState == "CREATING" for found in self.owner.cbs("DescribeSnapshots").SnapshotSet):
            threading.Event().wait(0.1)
        return self.disk

    def snapshot(self):
        """A snapshot of the owner's."""
        self.idle_disk()
        filters = [{"Name": "disk-id", "Values": [self.disk]}]
        found = self.owner.cbs("DescribeSnapshots", Filters=filters).SnapshotSet
        return found[0].SnapshotId if found else self.owner.snapshot_of(self.disk)

    def attached_disk(self):
        disks = [disk.DiskId for disk in self.owner.instance(self.stopped()).DataDisks]
        if not disks:
            disks = self.disks()
            self.owner.attached(self.instance, *disks)
        return disks[0]

    def key_pair(self):
        return self._key_pair_of(self.owner)

    def own_key_pair(self, caller):
        """A key pair of the account that the caller acts for."""
        owners = ("full", "read_only", "disabled")
        return self._key_pair_of(self.owner if caller in owners else getattr(self, caller))

    def _key_pair_of(self, account):
        found = [pair for pair in account.raw("DescribeKeyPairs")["KeyPairSet"] if pair["KeyName"] == "spare"]
        if found:
            return found[0]["KeyId"]
        return account.raw("ImportKeyPair", KeyName="spare", ProjectId=0, PublicKey=PUBLIC_KEY)["KeyId"]

    def resource(self, kind, identifier, owner=None):
        """A resource's full name; where no owner is said, that is who asks."""
        return f"qcs::cvm:{GUANGZHOU}:{f'uin/{owner.uin}' if owner else ''}:{kind}/{identifier}"

    def sub_account(self):
        """A sub-account of the owner's that nobody signs as."""
        found = [sub for sub in self.owner.kiln("DescribeSubAccounts")["SubAccountSet"] if sub["Name"] == "spare"]
        return found[0]["Uin"] if found else self.owner.sub_account("spare", "FULL").uin

    def spare_key(self):
        """A key of that sub-account."""
        uin = self.sub_account()
        keys = self.owner.kiln("DescribeApiKeys", Uin=uin)["ApiKeySet"]
        return keys[0]["SecretId"] if keys else self.owner.kiln("CreateApiKey", Uin=uin)["SecretId"]


@pytest.fixture(scope="module")
def server(make_server):
    # The table is asked for faster than an account ordinarily may.
    more = '\n[nbd]\nlisten = "127.0.0.1:0"\n\n[api]\nrequests_per_second = 10000\n'
    return make_server(CONFIG + BARE_DISKS + more).start()


@pytest.fixture(scope="module")
def world(server, host, small_disk):
    return World(server, host)


@pytest.fixture(scope="module")
def actions(server):
    """Every action of the server's table, by its name."""
    listed = server.operator().kiln("DescribeActions")["ActionSet"]
    by_name = {action["ActionName"]: action for action in listed}
    assert len(by_name) == len(listed), "two services have an action of one name: name the service in the matrix, too"
    return by_name


def action_of(row):
    return row.split(" ")[0]


# ---- the tests -------------------------------------------------------------------------------------------------------


def test_every_action_has_a_row(actions):
    rows = {action_of(row) for row in MATRIX}
    assert not actions.keys() - rows, "these actions of the server have no row in the matrix"
    assert not rows - actions.keys(), "these rows are of no action of the server"


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("row", MATRIX)
def test_cell(world, actions, row, caller):
    parameters, expected = MATRIX[row]
    assert ask(world, actions, row, caller, parameters(world, caller)) == expected[caller]


def ask(world, actions, row, caller, parameters):
    """`OK`, `NOTHING` where there could be something, or the error code that the caller or the resource gets."""
    action = actions[action_of(row)]
    account = getattr(world, caller)
    try:
        answer = account.raw(action["ActionName"], service=action["Service"], version=action["Version"], **parameters)
    except TencentCloudSDKException as error:
        return error.get_code()
    if failed := answer.get("FailedResources"):
        return failed[0]["Code"]
    can_be_empty = NOTHING in MATRIX[row][1].values()
    return NOTHING if can_be_empty and not answer["Image" if "Image" in answer else "TotalCount"] else OK


def test_what_is_declared_to_look_only_is_not_logged_and_the_rest_is(world, actions):
    """Roles and the log both go by whether a command can change something; the names say the same."""
    for row, (parameters, expected) in MATRIX.items():
        changes = actions[action_of(row)]["Access"] == "CHANGE"
        arguments = parameters(world, "read_only")
        before = world.owner.kiln("DescribeOperations", Limit=1)["TotalCount"]
        ask(world, actions, row, "read_only", arguments)
        after = world.owner.kiln("DescribeOperations", Limit=1)["TotalCount"]
        assert after - before == changes, row
        assert not changes or expected["read_only"] == DENIED, row


def test_a_sub_account_of_the_operator_does_not_become_the_operator(world):
    full = world.operator.sub_account("deputy", "FULL")
    assert full.kiln("DescribeStores") and full.kiln("DescribeAccounts")
    for action, parameters in (
        ("CreateAccount", {"Nickname": "x"}),
        ("CreateApiKey", {"Uin": world.operator.uin}),
        ("ModifyImportPermission", {"Uin": world.spare.uin, "Allowed": True}),
        ("ModifyAccountLimits", {"Uin": world.spare.uin}),
        ("ModifyAccountContact", {"Uin": world.spare.uin, "Email": ""}),
        ("PublishImage", {"ImageId": world.lent}),
        ("WithdrawImage", {"ImageId": world.public}),
        ("ModifyProvider", {"Uin": world.owner.uin, "Accepted": True}),
        ("ReviewListing", {"ListingId": world.waiting, "Decision": "PUBLISH"}),
        ("WithdrawListing", {"ListingId": world.waiting}),
        ("ModifyImageFee", {"ImageId": world.lent, "PerHour": "1", "PerMonth": "1"}),
    ):
        refused(DENIED, full.kiln, action, **parameters)


# ---- ending a share --------------------------------------------------------------------------------------------------


def share(world, image, permission):
    parameters = {"ImageId": image, "AccountIds": [world.shared_with.uin], "Permission": permission}
    world.owner.call("ModifyImageSharePermission", **parameters)


def test_after_a_cancel_nothing_is_launched_and_what_runs_goes_on(world, host):
    image = world.owner.imported(host.url("small.qcow2"), "lent")
    share(world, image, "SHARE")
    bob, helper = world.shared_with, world.shared_with.sub_account("helper", "FULL")
    [running, stopped] = bob.launched(image, InstanceCount=2)
    bob.stopped(stopped)
    share(world, image, "CANCEL")
    for who in (bob, helper):
        refused(NO_IMAGE, who.run_instances, image)
        refused(NO_IMAGE, who.run_instances, image, DryRun=True)
        refused(NO_IMAGE, who.run_instances, image, InstanceCount=3, ClientToken="never used before")
        refused(NO_IMAGE, who.raw, "DescribeImages", ImageIds=[image])
        refused(NO_IMAGE, who.kiln, "DescribeImageReport", ImageId=image)
        assert who.image(image) is None
    assert bob.instance(running).InstanceState == "RUNNING"
    bob.stopped(running)
    bob.call("StartInstances", InstanceIds=[running, stopped])
    bob.instance_in("RUNNING", running)
    bob.instance_in("RUNNING", stopped)
    bob.call("TerminateInstances", InstanceIds=[running, stopped])
    world.owner.call("DeleteImages", ImageIds=[image])


def test_no_launch_that_begins_after_a_cancel_is_accepted(world, host):
    """While many launches are under way: each that was asked for after the answer to the cancel is refused."""
    image = world.owner.imported(host.url("small.qcow2"), "contended")
    share(world, image, "SHARE")
    cancelled, accepted_late, asked = threading.Event(), [], []

    def launch():
        for _ in range(20):
            late = cancelled.is_set()
            try:
                world.shared_with.run_instances(image, DryRun=True)
                accepted_late.extend([1] if late else [])
            except TencentCloudSDKException as error:
                assert error.get_code() == NO_IMAGE, error
            asked.append(late)

    threads = [threading.Thread(target=launch) for _ in range(6)]
    for thread in threads:
        thread.start()
    share(world, image, "CANCEL")
    cancelled.set()
    for thread in threads:
        thread.join()
    assert not accepted_late and any(asked), "some launches were asked for after the cancel, and none was accepted"
