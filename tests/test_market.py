"""The marketplace: providers are accepted, their images reviewed, sold at their price, and what is made of them carries it."""

import time
from decimal import Decimal

import pytest
from cloud import BEIJING, GUANGZHOU, ZONES, refused
from conftest import BARE_DISKS, CONFIG
from image_files import same_disk

NO_IMAGE = "InvalidImageId.NotFound"
NOT_YOURS = "UnauthorizedOperation.ImageNotBelongToAccount"
DENIED = "UnauthorizedOperation"
DECIDED = "FailedOperation.ListingDecided"
PRICE = {"PerHour": "0.5", "PerMonth": "100"}


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS + '\n[nbd]\nlisten = "127.0.0.1:0"\n').start()


@pytest.fixture(scope="module")
def provider(server, operator):
    """An account that may sell."""
    account = server.create_account("provider")
    account.kiln("ApplyForProvider", Name="Fine Images Ltd", Reason="images with a database")
    operator.kiln("ModifyProvider", Uin=account.uin, Accepted=True)
    return account


def listing_of(account, listing):
    [found] = account.kiln("DescribeListings", ListingIds=[listing])["ListingSet"]
    return found


def submitted(account, image, **parameters):
    return account.kiln("SubmitListing", ImageId=image, **{**PRICE, **parameters})["ListingId"]


def sold(provider, operator, image, **parameters):
    """Submits and publishes an image; its listing, and the image for everybody."""
    listing = submitted(provider, image, **parameters)
    operator.kiln("ReviewListing", ListingId=listing, Decision="PUBLISH")
    return listing, provider.normal_image(listing_of(provider, listing)["ImageId"]).ImageId


def price(account, image, region=GUANGZHOU, **parameters):
    """What a launch costs: machine and image together, and the image."""
    quote = account.raw("InquiryPriceRunInstances", region, ImageId=image, Placement={"Zone": ZONES[region]}, **parameters)
    return quote["Price"]["InstancePrice"], quote["Price"].get("ImagePrice")


def told(account):
    return [(message["Event"], message["Subject"]) for message in account.kiln("DescribeMessages", Limit=100)["MessageSet"]]


def test_a_provider_applies_and_the_operator_decides(server, operator, alice, bob, host, small_disk):
    image = alice.imported(host.url("small.qcow2"), "early")
    assert "ApplyForProvider" in refused("UnauthorizedOperation.NotProvider", submitted, alice, image)
    for wrong in ({"Name": ""}, {"Name": "x" * 61}, {"Reason": " "}, {"Reason": "a\nb"}):
        refused("InvalidParameterValue", alice.kiln, "ApplyForProvider", **{"Name": "Alice", "Reason": "to sell", **wrong})
    refused(DENIED, alice.sub_account("sales", "FULL").kiln, "ApplyForProvider", Name="Alice", Reason="to sell")
    alice.kiln("ApplyForProvider", Name="Alice", Reason="to sell")
    refused("FailedOperation.ApplicationPending", alice.kiln, "ApplyForProvider", Name="Alice", Reason="to sell")
    refused("UnauthorizedOperation.NotProvider", submitted, alice, image)
    assert ("PROVIDER_REQUESTED", alice.uin) in told(operator)
    [waiting] = operator.kiln("DescribeProviders", State="PENDING")["ProviderSet"]
    assert (waiting["Uin"], waiting["Name"], waiting["Reason"]) == (alice.uin, "Alice", "to sell")
    refused(DENIED, alice.kiln, "ModifyProvider", Uin=alice.uin, Accepted=True)
    refused("InvalidAccountId.NotFound", operator.kiln, "ModifyProvider", Uin=bob.uin, Accepted=True)
    operator.kiln("ModifyProvider", Uin=alice.uin, Accepted=False, Answer="not yet")
    assert alice.kiln("DescribeProviders")["ProviderSet"][0]["Answer"] == "not yet"
    assert bob.kiln("DescribeProviders")["ProviderSet"] == []
    alice.kiln("ApplyForProvider", Name="Alice", Reason="now")
    operator.kiln("ModifyProvider", Uin=alice.uin, Accepted=True)
    assert told(alice)[:2] == [("PROVIDER_ACCEPTED", alice.uin), ("PROVIDER_REFUSED", alice.uin)]
    listing = submitted(alice, image)
    # Who is refused later submits no more.
    operator.kiln("ModifyProvider", Uin=alice.uin, Accepted=False)
    alice.kiln("WithdrawListing", ListingId=listing)
    refused("UnauthorizedOperation.NotProvider", submitted, alice, image)


def test_what_is_submitted_is_seen_by_the_operator_only_until_it_is_decided(operator, provider, bob, host, small_disk):
    image = provider.imported(host.url("small.qcow2"), "in review")
    assert operator.image(image) is None
    listing = submitted(provider, image, ImageName="Database 1", ImageDescription="with a database")
    assert ("LISTING_SUBMITTED", listing) in told(operator)
    assert operator.image(image).ImageType == "SHARED_IMAGE"
    assert operator.kiln("DescribeImageReport", ImageId=image)["Report"]["Accepted"]
    operator.run_instances(image, DryRun=True)
    shown = listing_of(operator, listing)
    assert (shown["State"], shown["SubmittedImageId"], shown["ProviderName"]) == ("SUBMITTED", image, "Fine Images Ltd")
    assert shown["Report"]["FindingSet"] and (shown["PerHour"], shown["PerMonth"]) == ("0.5000", "100.0000")
    assert bob.kiln("DescribeListings", ListingIds=[listing])["ListingSet"] == []
    refused("FailedOperation.ListingPending", submitted, provider, image)
    refused("UnsupportedOperation.ImageInReview", provider.call, "DeleteImages", ImageIds=[image])
    refused("UnsupportedOperation.ImageInReview", provider.call, "ModifyImageSharePermission", ImageId=image,
            AccountIds=[operator.uin], Permission="CANCEL")  # fmt: skip
    for who in (provider, bob):
        refused(DENIED, who.kiln, "ReviewListing", ListingId=listing, Decision="PUBLISH")
    refused(DENIED, operator.sub_account("reviewer", "FULL").kiln, "ReviewListing", ListingId=listing, Decision="PUBLISH")
    refused("InvalidListingId.NotFound", bob.kiln, "WithdrawListing", ListingId=listing)
    refused("InvalidParameterValue", operator.kiln, "ReviewListing", ListingId=listing, Decision="RETURN")

    operator.kiln("ReviewListing", ListingId=listing, Decision="RETURN", Reasons="Remove the host keys.")
    shown = listing_of(provider, listing)
    assert (shown["State"], shown["Answer"], shown["ImageId"]) == ("RETURNED", "Remove the host keys.", None)
    assert told(provider)[0] == ("LISTING_RETURNED", listing)
    assert "Remove the host keys." in provider.kiln("DescribeMessages", Limit=1)["MessageSet"][0]["Text"]
    assert operator.image(image) is None
    refused(NO_IMAGE, operator.run_instances, image)
    for decision in ("PUBLISH", "RETURN"):
        refused(DECIDED, operator.kiln, "ReviewListing", ListingId=listing, Decision=decision, Reasons="again")
    refused(DECIDED, provider.kiln, "WithdrawListing", ListingId=listing)
    again = submitted(provider, image)
    assert again != listing
    provider.kiln("WithdrawListing", ListingId=again)
    assert listing_of(operator, again)["State"] == "WITHDRAWN" and operator.image(image) is None
    # What was shared with the operator before a review is so after it.
    share = {"ImageId": image, "AccountIds": [operator.uin]}
    provider.call("ModifyImageSharePermission", **share, Permission="SHARE")
    provider.kiln("WithdrawListing", ListingId=submitted(provider, image))
    assert operator.image(image) is not None
    provider.call("ModifyImageSharePermission", **share, Permission="CANCEL")
    provider.call("DeleteImages", ImageIds=[image])


def test_a_published_image_is_sold_to_everybody_at_its_price(operator, provider, bob, host, small_disk):
    source = provider.imported(host.url("small.qcow2"), "for sale")
    listing, image = sold(provider, operator, source, ImageName="Database 2", ImageDescription="better")
    assert told(provider)[0] == ("LISTING_PUBLISHED", listing)
    assert operator.image(source) is None
    provider.call("DeleteImages", ImageIds=[source])
    seen = bob.image(image)
    assert (seen.ImageType, seen.ImageName, seen.ImageCreator) == ("MARKET_IMAGE", "Database 2", provider.uin)
    same_disk(operator.kiln("OpenImageExport", ImageId=image)["Url"], small_disk)
    shown = listing_of(bob, listing)
    assert (shown["ImageId"], shown["PerHour"]) == (image, "0.5000") and "SubmittedImageId" not in shown
    both, part = price(bob, image)
    assert part["UnitPrice"] == 0.5 and both["UnitPrice"] == part["UnitPrice"]
    both, part = price(bob, image, InstanceCount=3, InstanceChargeType="PREPAID", InstanceChargePrepaid={"Period": 2})
    assert part["OriginalPrice"] == both["OriginalPrice"] == 600.0
    for who in (bob, provider):
        for action, parameters in (
            ("ModifyImageAttribute", {"ImageId": image, "ImageDescription": "mine"}),
            ("DeleteImages", {"ImageIds": [image]}),
            ("ModifyImageSharePermission", {"ImageId": image, "AccountIds": [operator.uin], "Permission": "SHARE"}),
        ):
            refused(NOT_YOURS, who.call, action, **parameters)
    refused("UnsupportedOperation.ImageCarriesFee", operator.kiln, "ModifyImageFee", ImageId=image, PerHour="0", PerMonth="0")
    refused("InvalidImageId.NotSupported", operator.kiln, "WithdrawImage", ImageId=image)

    [instance] = bob.launched(image)
    # Taken as data, its content would be paid for no more.
    system_disk = bob.instance(instance).SystemDisk.DiskId
    refused("UnsupportedOperation", bob.cbs, "CreateSnapshot", DiskId=system_disk, DiskUsage="DATA_DISK")
    made = bob.normal_image(bob.call("CreateImage", InstanceId=instance, ImageName="made").ImageId).ImageId
    copy = bob.call("SyncImages", ImageIds=[made], DestinationRegions=[BEIJING], ImageSetRequired=True).ImageSet[0].ImageId
    bob.normal_image(copy, BEIJING)
    assert price(bob, made)[1]["UnitPrice"] == price(bob, copy, BEIJING)[1]["UnitPrice"] == 0.5
    # Others' content does not leave, is not sold again and not published; whom it is shared with pays as well.
    refused("UnsupportedOperation.MarketImageExportUnsupported", bob.kiln, "OpenImageExport", ImageId=made, Transport="TCP")
    bob.server.run("bucket", "create", "out", account=bob)
    refused("UnsupportedOperation.MarketImageExportUnsupported", bob.call, "ExportImages", BucketName="out",
            ImageIds=[made], ExportFormat="RAW", FileNamePrefixList=["x"])  # fmt: skip
    bob.kiln("ApplyForProvider", Name="Bob", Reason="to sell")
    operator.kiln("ModifyProvider", Uin=bob.uin, Accepted=True)
    refused("UnsupportedOperation.ImageCarriesFee", submitted, bob, made)
    bob.call("ModifyImageSharePermission", ImageId=made, AccountIds=[operator.uin], Permission="SHARE")
    refused("UnsupportedOperation.ImageCarriesFee", operator.kiln, "ModifyImageFee", ImageId=made, PerHour="0", PerMonth="0")
    [lent] = operator.launched(made)
    assert price(operator, made)[1]["UnitPrice"] == 0.5
    lent_image = operator.normal_image(operator.call("CreateImage", InstanceId=lent, ImageName="of the lent").ImageId).ImageId
    refused("UnsupportedOperation.ImageCarriesFee", operator.kiln, "PublishImage", ImageId=lent_image)
    operator.call("TerminateInstances", InstanceIds=[lent])

    # Another price is reviewed; from then on it holds for what runs, too.
    change = submitted(provider, image, PerHour="1", ImageDescription="dearer")
    assert price(bob, image)[1]["UnitPrice"] == 0.5
    operator.kiln("ReviewListing", ListingId=change, Decision="PUBLISH")
    assert price(bob, made)[1]["UnitPrice"] == 1.0 and bob.image(image).ImageDescription == "dearer"
    assert listing_of(operator, listing)["State"] == "REPLACED"
    lines = [line for line in bob.kiln("DescribeUsage", Limit=100)["UsageSet"] if line["InstanceId"] == instance]
    assert [line["ImagePerHour"] for line in lines] == ["0.5000", "1.0000"]
    assert {line["ProviderUin"] for line in lines} == {provider.uin}

    # Withdrawn, it is not launched any more; what runs goes on, at its price.
    refused(DENIED, bob.kiln, "WithdrawListing", ListingId=change)
    operator.kiln("WithdrawListing", ListingId=change, Reason="It phones home.")
    assert told(provider)[0] == ("LISTING_WITHDRAWN", change)
    assert bob.image(image) is None and provider.image(image) is None
    refused(NO_IMAGE, bob.run_instances, image)
    bob.stopped(instance)
    bob.call("StartInstances", InstanceIds=[instance])
    bob.instance_in("RUNNING", instance)
    assert price(bob, made)[1]["UnitPrice"] == 1.0
    bob.call("TerminateInstances", InstanceIds=[instance])
    bob.instance_in("TERMINATED", instance)
    earned = provider.kiln("DescribeEarnings")
    paid = [line for line in operator.kiln("DescribeUsage", Limit=100)["UsageSet"] if line["FeeImageId"] == image]
    assert Decimal(earned["Amount"]) == sum(Decimal(line["ImageAmount"]) for line in paid) > 0
    assert {line["ImageId"] for line in earned["EarningsSet"]} == {image}
    assert {line["ImagePerHour"] for line in earned["EarningsSet"]} == {"0.5000", "1.0000"}


def test_a_licence_fee_is_carried_and_a_free_image_leaves(operator, provider, bob, host, small_disk):
    parameters = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageUrl": host.url("small.qcow2")}
    public = operator.raw("ImportImage", **parameters, ImageName="base", ImageType="PUBLIC_IMAGE")["ImageId"]
    operator.normal_image(public)
    [instance] = provider.launched(public)
    made = provider.normal_image(provider.call("CreateImage", InstanceId=instance, ImageName="from public").ImageId).ImageId
    provider.call("TerminateInstances", InstanceIds=[instance])
    provider.kiln("OpenImageExport", ImageId=made, Transport="TCP")
    provider.kiln("SubmitListing", ImageId=made, **PRICE, DryRun=True)
    operator.kiln("ModifyImageFee", ImageId=public, PerHour="2", PerMonth="3")
    refused("UnsupportedOperation.PublicImageExportUnsupported", provider.kiln, "OpenImageExport", ImageId=made, Transport="TCP")
    refused("UnsupportedOperation.ImageCarriesFee", provider.kiln, "SubmitListing", ImageId=made, **PRICE, DryRun=True)
    # What others made of it carries that fee, and gets none of its own.
    provider.call("ModifyImageSharePermission", ImageId=made, AccountIds=[operator.uin], Permission="SHARE")
    refused("UnsupportedOperation.ImageCarriesFee", operator.kiln, "ModifyImageFee", ImageId=made, PerHour="0", PerMonth="0")
    operator.kiln("ModifyImageFee", ImageId=public, PerHour="4", PerMonth="5")
    assert price(provider, made)[1]["UnitPrice"] == 4.0


def test_what_cannot_be_submitted(operator, provider, bob, host, small_disk):
    byol = provider.imported(host.url("small.qcow2"), "byol", LicenseType="BYOL")
    refused("FailedOperation.BYOLImageShareFailed", submitted, provider, byol)
    refused(NO_IMAGE, submitted, provider, "img-00000000")
    failed = provider.import_image(host.url("gone"), "gone")
    provider.finished_image(failed)
    refused("InvalidImageId.IncorrectState", submitted, provider, failed)
    fine = provider.imported(host.url("small.qcow2"), "fine")
    for wrong in ("-1", "free", "0.00001"):
        refused("InvalidParameterValue", submitted, provider, fine, PerHour=wrong)
    refused("InvalidImageName.Invalid", submitted, provider, fine, ImageName=" ")
    refused(DENIED, provider.sub_account("sales", "FULL").kiln, "SubmitListing", ImageId=fine, **PRICE)
    refused("UnsupportedOperation.Operator", operator.kiln, "ApplyForProvider", Name="operator", Reason="to sell")


def test_a_publication_that_fails_is_sent_back(server, operator, provider, host, small_disk):
    image = provider.imported(host.url("small.qcow2"), "damaged")
    listing = submitted(provider, image)
    manifests, hidden = server.data_dir / "regions" / GUANGZHOU / "store" / "manifests", server.home / "hidden"
    manifests.rename(hidden)
    operator.kiln("ReviewListing", ListingId=listing, Decision="PUBLISH")
    end = listing_after(provider, listing, "PUBLISHED")
    hidden.rename(manifests)
    assert end["State"] == "RETURNED" and "Submit it again" in end["Answer"]
    assert told(provider)[0] == ("LISTING_RETURNED", listing)
    assert not [one for one in provider.images() if one.ImageType == "MARKET_IMAGE" and one.ImageName == "damaged"]
    again, _ = sold(provider, operator, image)
    provider.kiln("WithdrawListing", ListingId=again)


def listing_after(account, listing, state):
    end = time.monotonic() + 60
    while (found := listing_of(account, listing))["State"] == state:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_the_command_line_does_it_all(server, operator, host, small_disk):
    seller = server.create_account("seller")
    server.run("market", "apply", "--name", "Seller", "--reason", "to sell", account=seller)
    assert "Seller" in server.run("market", "providers", "--pending").stdout
    server.run("market", "accept", seller.uin, "--answer", "welcome")
    image = seller.imported(host.url("small.qcow2"), "by hand")
    submit = ["market", "submit", image, "--per-hour", "0.1", "--per-month", "9"]
    first = server.json(*submit, account=seller)["ListingId"]
    assert "PASS" in server.run("market", "show", first).stdout
    server.run("market", "return", first, "--reasons", "dear")
    second = server.json(*submit, "--name", "By Hand", account=seller)["ListingId"]
    server.run("market", "publish", second)
    shown = server.json("market", "show", second, account=seller)
    assert (shown["State"], shown["ImageName"]) == ("PUBLISHED", "By Hand")
    seller.normal_image(shown["ImageId"])
    listed = server.json("market", "list", "--state", "published", account=seller)["ListingSet"]
    assert second in [one["ListingId"] for one in listed]
    server.run("market", "withdraw", second, account=seller)
    assert server.json("market", "show", second)["State"] == "WITHDRAWN"
