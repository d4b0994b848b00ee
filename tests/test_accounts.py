"""Accounts: collaborators and their keys, contact, the permission to import, limits, and the log of what was done.

Who may do what is in test_authorisation.py; here is what comes of it.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cloud import BEIJING, refused
from conftest import BARE_DISKS, CONFIG
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

IMPORT = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12"}
NOWHERE = {**IMPORT, "ImageUrl": "http://192.0.2.1/disk"}
SECONDS_PER_DAY = 24 * 60 * 60


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS + "\n[workers]\nimages = 4\n").start()


@pytest.fixture(scope="module")
def carol(alice):
    return alice.sub_account("carol", "FULL")


@pytest.fixture(scope="module")
def rita(alice):
    return alice.sub_account("rita", "READ_ONLY")


@pytest.fixture(scope="module")
def normal(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "normal")


# ---- sub-accounts ----------------------------------------------------------------------------------------------------


def test_who_the_caller_is(alice, carol):
    main, sub = alice.identity(), carol.identity()
    assert (main["AccountId"], main["UserId"], main["PrincipalId"]) == (alice.uin,) * 3
    assert (sub["AccountId"], sub["UserId"], sub["PrincipalId"]) == (alice.uin, carol.uin, carol.uin)
    assert (sub["Arn"], sub["Type"]) == (f"qcs::cam:{alice.uin}:uin/{carol.uin}", "CAMUser")


def test_what_a_sub_account_makes_is_its_main_accounts(alice, carol, rita, normal):
    [copy] = carol.raw("SyncImages", ImageIds=[normal], DestinationRegions=[BEIJING], ImageSetRequired=True)["ImageSet"]
    assert alice.normal_image(copy["ImageId"], BEIJING)
    assert rita.image(copy["ImageId"], BEIJING).ImageName == "normal"
    carol.call("DeleteImages", BEIJING, ImageIds=[copy["ImageId"]])
    assert alice.image(copy["ImageId"], BEIJING) is None


def test_read_only_looks_and_changes_nothing(rita, normal):
    assert rita.image(normal) and rita.kiln("DescribeLimits") and rita.tasks()
    message = refused("UnauthorizedOperation", rita.call, "DeleteImages", ImageIds=[normal])
    assert rita.uin in message and "FULL" in message
    refused("UnauthorizedOperation", rita.call, "ImportImage", **NOWHERE, ImageName="x", DryRun=True)
    refused("UnauthorizedOperation", rita.kiln, "CreateApiKey")


def test_a_role_holds_from_the_next_request(alice, normal):
    dora = alice.sub_account("dora", "READ_ONLY")
    rename = {"ImageId": normal, "ImageDescription": "by dora"}
    refused("UnauthorizedOperation", dora.call, "ModifyImageAttribute", **rename)
    alice.kiln("ModifySubAccount", Uin=dora.uin, Role="FULL")
    dora.call("ModifyImageAttribute", **rename)
    alice.kiln("DeleteSubAccount", Uin=dora.uin)
    refused("AuthFailure.SecretIdNotFound", dora.images)


def test_keys_of_its_own(server, alice, carol, bob):
    second = server.account(carol.kiln("CreateApiKey"))
    assert second.uin == carol.uin and second.identity()["UserId"] == carol.uin
    third = server.account(alice.kiln("CreateApiKey", Uin=carol.uin))
    assert {key["SecretId"] for key in carol.kiln("DescribeApiKeys")["ApiKeySet"]} == {
        carol.secret_id, second.secret_id, third.secret_id,
    }  # fmt: skip
    assert [key["SecretId"] for key in alice.kiln("DescribeApiKeys")["ApiKeySet"]] == [alice.secret_id]
    alice.kiln("ModifyApiKey", TargetSecretId=second.secret_id, Enabled=False)
    refused("AuthFailure.SecretIdNotFound", second.images)
    assert carol.images()
    carol.kiln("ModifyApiKey", TargetSecretId=second.secret_id, Enabled=True)
    assert second.images()
    carol.kiln("DeleteApiKey", TargetSecretId=second.secret_id)
    refused("AuthFailure.SecretIdNotFound", second.images)
    # Nobody locks himself out; others may lock him out.
    alice.kiln("ModifyApiKey", TargetSecretId=third.secret_id, Enabled=False)
    refused("FailedOperation.LastKey", carol.kiln, "DeleteApiKey", TargetSecretId=carol.secret_id)
    refused("FailedOperation.LastKey", alice.kiln, "ModifyApiKey", TargetSecretId=alice.secret_id, Enabled=False)
    alice.kiln("ModifyApiKey", TargetSecretId=carol.secret_id, Enabled=False)
    refused("AuthFailure.SecretIdNotFound", carol.images)
    alice.kiln("ModifyApiKey", TargetSecretId=carol.secret_id, Enabled=True)
    # The main account's keys, and other people's, are not a collaborator's.
    refused("InvalidSecretId.NotFound", carol.kiln, "DeleteApiKey", TargetSecretId=alice.secret_id)
    refused("InvalidSecretId.NotFound", bob.kiln, "DeleteApiKey", TargetSecretId=carol.secret_id)
    refused("UnauthorizedOperation", carol.kiln, "CreateApiKey", Uin=alice.uin)
    refused("UnauthorizedOperation", bob.kiln, "CreateApiKey", Uin=carol.uin)
    alice.kiln("CreateApiKey", Uin=carol.uin)
    alice.kiln("CreateApiKey", Uin=carol.uin)
    alice.kiln("CreateApiKey", Uin=carol.uin)
    refused("LimitExceeded.ApiKeys", carol.kiln, "CreateApiKey")


def test_names_and_numbers_of_sub_accounts(alice, bob, carol):
    refused("FailedOperation.SubAccountAlreadyExists", alice.kiln, "CreateSubAccount", Name="carol", Role="FULL")
    bob.kiln("CreateSubAccount", Name="carol", Role="FULL")
    refused("InvalidParameterValue", alice.kiln, "CreateSubAccount", Name="x", Role="ADMIN")
    refused("InvalidAccountId.NotFound", bob.kiln, "DeleteSubAccount", Uin=carol.uin)


def test_sharing_is_between_main_accounts(alice, bob, carol, normal):
    share = {"ImageId": normal, "Permission": "SHARE"}
    ask = "ModifyImageSharePermission"
    bobs = bob.sub_account("ben", "FULL")
    assert bob.uin in refused("FailedOperation.NotMasterAccount", alice.call, ask, AccountIds=[bobs.uin], **share)
    refused("FailedOperation.NotMasterAccount", alice.call, ask, AccountIds=[carol.uin], **share)
    refused("UnauthorizedOperation", carol.call, ask, AccountIds=[bob.uin], **share)
    alice.call(ask, AccountIds=[bob.uin], **share)
    assert bobs.image(normal).ImageType == "SHARED_IMAGE"
    alice.call(ask, ImageId=normal, AccountIds=[bob.uin], Permission="CANCEL")


# ---- the account itself ----------------------------------------------------------------------------------------------


def test_where_an_account_is_reached(server, alice, operator, carol):
    alice.kiln("ModifyAccountContact", Email="alice@example.org", Phone="+86 138-0013-8000")
    shown = alice.kiln("DescribeAccount")
    assert (shown["Uin"], shown["Email"], shown["Phone"]) == (alice.uin, "alice@example.org", "+8613800138000")
    alice.kiln("ModifyAccountContact", Phone="")
    assert operator.kiln("DescribeAccount", Uin=alice.uin)["Phone"] is None
    assert "alice@example.org" in server.run("account", "show", account=carol).stdout
    refused("InvalidParameterValue", alice.kiln, "ModifyAccountContact", Email="alice at example")
    refused("MissingParameter", alice.kiln, "ModifyAccountContact")
    refused("UnauthorizedOperation", carol.kiln, "ModifyAccountContact", Email="carol@example.org")
    refused("UnauthorizedOperation", alice.kiln, "DescribeAccount", Uin=operator.uin)


def test_the_permission_to_import_is_applied_for(server, operator):
    dave = server.create_account("dave", allow_import=False)
    message = refused("UnauthorizedOperation.ImportImage", dave.call, "ImportImage", **NOWHERE, ImageName="x")
    assert "ApplyForImportPermission" in message and "kiln account apply-import" in message
    server.run("account", "apply-import", "--reason", "my machines move here", account=dave)
    refused("FailedOperation.ApplicationPending", dave.kiln, "ApplyForImportPermission", Reason="again")
    assert dave.uin in server.run("account", "applications", "--pending").stdout
    server.run("account", "allow-import", dave.uin, "--revoke", "--answer", "say which machines")
    [seen] = server.json("account", "applications", account=dave)["ImportApplicationSet"]
    assert (seen["State"], seen["Answer"]) == ("REFUSED", "say which machines")
    refused("UnauthorizedOperation.ImportImage", dave.call, "ImportImage", **NOWHERE, ImageName="x")
    dave.kiln("ApplyForImportPermission", Reason="two Debian machines")
    [pending] = operator.kiln("DescribeImportApplications", State="PENDING")["ImportApplicationSet"]
    assert (pending["Uin"], pending["Reason"]) == (dave.uin, "two Debian machines")
    operator.kiln("ModifyImportPermission", Uin=dave.uin, Allowed=True)
    dave.call("ImportImage", **NOWHERE, ImageName="x", DryRun=True)
    refused("FailedOperation.ImportPermissionHeld", dave.kiln, "ApplyForImportPermission", Reason="again")
    assert operator.kiln("DescribeImportApplications", State="PENDING")["TotalCount"] == 0


# ---- limits ----------------------------------------------------------------------------------------------------------


def limits(account, **parameters):
    """What is used and what is allowed, by the limit's name."""
    found = account.kiln("DescribeLimits", **parameters)["LimitSet"]
    return {limit["Name"]: (limit["Used"], limit["Limit"]) for limit in found}


def test_limits_beside_what_is_used(server, alice, bob, operator, normal):
    before = limits(alice)
    assert before["ImagesPerRegion"] == (1, 500) and before["SharesPerImage"] == (0, 500)
    assert before["ImageOperationsPerDay"][1] is None
    alice.call("ModifyImageSharePermission", ImageId=normal, AccountIds=[bob.uin], Permission="SHARE")
    assert limits(alice)["SharesPerImage"] == (1, 500)
    alice.call("ModifyImageSharePermission", ImageId=normal, AccountIds=[bob.uin], Permission="CANCEL")
    server.run("account", "set-limits", alice.uin, "--images-per-region", "7", "--image-operations-per-day", "9")
    assert limits(alice)["ImagesPerRegion"] == limits(operator, Uin=alice.uin)["ImagesPerRegion"] == (1, 7)
    assert limits(alice)["ImageOperationsPerDay"][1] == 9 and limits(alice)["SharesPerImage"] == (0, 500)
    assert alice.raw("DescribeImageQuota")["ImageNumQuota"] == 7
    quota = alice.call("DescribeAccountQuota").AccountQuotaOverview
    [images], [zone, _] = quota.AccountQuota.ImageQuotaSet, quota.AccountQuota.PostPaidQuotaSet
    assert (images.UsedQuota, images.TotalQuota) == (1, 7)
    assert (zone.Zone, zone.UsedQuota, zone.TotalQuota) == ("ap-guangzhou-3", 0, 500)
    one = alice.call("DescribeAccountQuota", Filters=[{"Name": "zone", "Values": ["ap-guangzhou-4"]}])
    assert [zone.Zone for zone in one.AccountQuotaOverview.AccountQuota.PostPaidQuotaSet] == ["ap-guangzhou-4"]
    assert "ImagesPerRegion" in server.run("account", "limits", account=alice).stdout
    assert server.run("account", "set-limits", alice.uin, check=False).returncode == 2, "nothing is named"
    server.run("account", "set-limits", alice.uin, "--reset")
    assert limits(alice)["ImagesPerRegion"] == (1, 500)


def not_around_midnight():
    """Waits until what is done now is counted on one day."""
    left = SECONDS_PER_DAY - time.time() % SECONDS_PER_DAY
    if left < 60:
        time.sleep(left + 1)


def test_a_days_operations_count_also_while_nothing_bounds_them(server, operator, host, small_disk):
    heidi = server.create_account("heidi")
    url = host.url("small.qcow2")
    not_around_midnight()
    heidi.imported(url, "first")
    heidi.call("ImportImage", **IMPORT, ImageUrl=url, ImageName="dry", DryRun=True)
    assert limits(heidi)["ImageOperationsPerDay"] == (1, None)
    operator.set_limits(heidi.uin, ImageOperationsPerDay=1)
    sentence = refused("LimitExceeded.ImageOperationsPerDay", heidi.import_image, url, "second")
    assert "(1 used)" in sentence and limits(heidi)["ImageOperationsPerDay"] == (1, 1)


def test_the_request_rate_is_an_accounts_own_limit(server, operator):
    erin = server.create_account("erin")
    helper = erin.sub_account("helper", "READ_ONLY")
    operator.set_limits(erin.uin, RequestsPerSecond=5)
    # Twice the rate at once, by whoever of the account; the next second brings five more.
    codes = at_once(40, lambda number: (erin, helper)[number % 2].raw("DescribeRegions"))
    assert 10 <= codes.count(None) <= 15 and set(codes) == {None, "RequestLimitExceeded"}
    assert at_once(40, lambda _: operator.raw("DescribeRegions")) == [None] * 40
    operator.kiln("ModifyAccountLimits", Uin=erin.uin)
    # What was used up comes back at the configured rate.
    time.sleep(1)
    assert at_once(40, lambda _: erin.raw("DescribeRegions")) == [None] * 40


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


CROWD, LIMIT = 64, 10


@pytest.fixture(scope="module")
def crowd(server):
    """More accounts than an image can be shared with."""
    return [server.create_account(f"one of many {number}") for number in range(CROWD)]


def exactly_the_limit(codes, code):
    assert sorted(codes, key=str) == sorted([None] * LIMIT + [code] * (CROWD - LIMIT), key=str)


def test_no_crowd_makes_more_images_than_allowed(server, operator, host, small_disk):
    frank = server.create_account("frank")
    operator.set_limits(frank.uin, ImagesPerRegion=LIMIT)
    url = host.url("small.qcow2")
    codes = at_once(CROWD, lambda n: frank.call("ImportImage", **IMPORT, ImageUrl=url, ImageName=f"i{n}"))
    exactly_the_limit(codes, "ImageQuotaLimitExceeded")
    images = [frank.normal_image(image.ImageId).ImageId for image in frank.images()]
    assert len(images) == LIMIT
    copy = {"ImageIds": images[:1], "DestinationRegions": [BEIJING]}
    codes = at_once(CROWD, lambda n: frank.call("SyncImages", ImageName=f"c{n}", **copy))
    exactly_the_limit(codes, "ImageQuotaLimitExceeded")
    assert len(frank.images(BEIJING)) == LIMIT


def test_no_crowd_shares_with_more_than_allowed(server, operator, crowd, host, small_disk):
    grace = server.create_account("grace")
    operator.set_limits(grace.uin, SharesPerImage=LIMIT)
    image = grace.imported(host.url("small.qcow2"), "wanted")
    share = {"ImageId": image, "Permission": "SHARE"}
    codes = at_once(CROWD, lambda n: grace.call("ModifyImageSharePermission", AccountIds=[crowd[n].uin], **share))
    exactly_the_limit(codes, "OverQuota")
    assert len(grace.call("DescribeImageSharePermission", ImageId=image).SharePermissionSet) == LIMIT


# ---- the operation log -----------------------------------------------------------------------------------------------


def test_the_log_says_who_did_what_and_how_it_went(server, alice, bob, carol, rita, operator, host, small_disk):
    image = carol.imported(host.url("small.qcow2"), "logged")
    refused("UnauthorizedOperation", rita.call, "DeleteImages", ImageIds=[image])
    carol.call("DeleteImages", ImageIds=[image])

    def log(account=alice, **parameters):
        return account.kiln("DescribeOperations", **parameters)["OperationSet"]

    deleted, denied = log(Subject=image)
    assert (deleted["AccountUin"], deleted["ActorUin"]) == (alice.uin, carol.uin)
    assert (deleted["ActionName"], deleted["Result"], deleted["SecretId"]) == ("DeleteImages", "SUCCEEDED", carol.secret_id)
    assert (denied["ActorUin"], denied["ErrorCode"]) == (rita.uin, "UnauthorizedOperation")
    [imported] = log(ActionName="ImportImage", Subject="logged")
    assert imported["Message"].startswith(f"{image} by task-")
    assert {entry["ActorUin"] for entry in log(ActorUin=rita.uin)} == {rita.uin}
    assert all(entry["Result"] == "REFUSED" for entry in log(Result="REFUSED"))
    assert log(From=deleted["Time"], Until=denied["Time"]) == []
    newest = alice.kiln("DescribeOperations", Limit=1)
    assert newest["TotalCount"] > 1 and alice.kiln("DescribeOperations", Limit=1, Offset=1)["OperationSet"] != newest["OperationSet"]
    # An account's own, and the operator's everybody's.
    assert all(entry["AccountUin"] == bob.uin for entry in log(bob, Limit=100))
    refused("UnauthorizedOperation", bob.kiln, "DescribeOperations", AccountUin=alice.uin)
    assert log(bob, Subject=image) == [] and len(log(operator, Subject=image)) == 2
    assert {entry["AccountUin"] for entry in log(operator, AccountUin=alice.uin)} == {alice.uin}
    table = server.run("log", "--refused", "--actor", rita.uin, account=alice).stdout
    assert "DeleteImages" in table and image in table and "FULL" in table
