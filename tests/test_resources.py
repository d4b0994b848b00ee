"""Tags, image families, prices, and the filters of lists: what one finds by them, and who finds it."""

import pytest
from cloud import refused
from conftest import BARE_DISKS, CONFIG

PRICED = """
[[instance_types]]
name = "S5.LARGE1"
vcpus = 2
memory_gib = 1
per_hour = 0.12
per_month = 60.5
"""
ZONE = "ap-guangzhou-3"


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + PRICED + BARE_DISKS).start()


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    tags = [{"ResourceType": "image", "Tags": [{"Key": "env", "Value": "test"}, {"Key": "app", "Value": "web"}]}]
    return alice.imported(host.url("small.qcow2"), "small", TagSpecification=tags, ImageFamily="web")


@pytest.fixture(scope="module")
def instance(alice, image):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "env", "Value": "live"}]}]
    return alice.launched(image, InstanceName="tagged", TagSpecification=tags)[0]


def tag_service(account, action, **parameters):
    return account.raw(action, service="tag", version="2018-08-13", **parameters)


def tags(resource):
    return {tag.Key: tag.Value for tag in resource.Tags}


def name_of(account, kind, identifier):
    return f"qcs::cvm:ap-guangzhou:uin/{account.uin}:{kind}/{identifier}"


def found(account, name, *values):
    return [image.ImageId for image in account.images(Filters=[{"Name": name, "Values": list(values)}])]


# ---- tags ------------------------------------------------------------------------------------------------------------


def test_what_is_made_carries_its_tags(alice, image, instance):
    assert tags(alice.image(image)) == {"env": "test", "app": "web"}
    assert tags(alice.instance(instance)) == {"env": "live"}


def test_tags_find_images(alice, image):
    assert found(alice, "tag-key", "env", "other") == found(alice, "tag-value", "web") == [image]
    assert found(alice, "tag:env", "test", "live") == [image]
    assert found(alice, "tag:env", "live") == found(alice, "tag-key", "colour") == []


def test_tags_change_in_the_tag_service(alice, image, instance):
    ours, theirs = name_of(alice, "image", image), name_of(alice, "image", "img-00000000")
    added = [{"TagKey": "colour", "TagValue": "red"}]
    failed = tag_service(alice, "TagResources", ResourceList=[ours, theirs], Tags=added)["FailedResources"]
    assert [(one["Resource"], one["Code"]) for one in failed] == [(theirs, "InvalidParameterValue.ResourceIdInvalid")]
    tag_service(alice, "ModifyResourceTags", Resource=ours, ReplaceTags=[{"TagKey": "colour", "TagValue": ""}])
    rows = tag_service(alice, "DescribeResourceTags", ResourceId=image)["Rows"]
    assert {row["TagKey"]: row["TagValue"] for row in rows} == {"env": "test", "app": "web", "colour": ""}
    assert all(row["ResourceId"] == image and len(row["TagKeyMd5"]) == 32 for row in rows)
    rows = tag_service(alice, "DescribeResourceTags", ResourcePrefix="instance")["Rows"]
    assert [row["ResourceId"] for row in rows] == [instance]
    tag_service(alice, "UnTagResources", ResourceList=[ours], TagKeys=["colour"])
    assert tags(alice.image(image)) == {"env": "test", "app": "web"}


def test_nobody_tags_or_finds_by_what_is_anothers(alice, bob, image):
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="SHARE")
    assert tags(bob.image(image)) == {} and found(bob, "tag-key", "env") == []
    for owner in (alice, bob):
        name, added = name_of(owner, "image", image), [{"TagKey": "mine", "TagValue": "no"}]
        assert tag_service_fails(bob, name, added)
    assert tag_service(bob, "DescribeResourceTags")["Rows"] == []
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="CANCEL")


def tag_service_fails(account, name, added):
    return tag_service(account, "TagResources", ResourceList=[name], Tags=added)["FailedResources"]


@pytest.mark.parametrize(
    ("code", "action", "parameters"),
    [
        ("InvalidParameterValue.ResourceDescriptionError", "TagResources", {"ResourceList": ["img-1"], "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("MissingParameter", "ModifyResourceTags", {"Resource": "qcs::cvm:ap-guangzhou::image/img-00000000"}),
        ("InvalidParameterValue.TagKeyCharacterIllegal", "TagResources", {"ResourceList": ["qcs::cvm:ap-guangzhou::image/img-00000000"], "Tags": [{"TagKey": "", "TagValue": "b"}]}),
        ("InvalidParameterValue.ResourceIdInvalid", "ModifyResourceTags", {"Resource": "qcs::cvm:ap-guangzhou::image/img-00000000", "ReplaceTags": [{"TagKey": "a", "TagValue": "b"}]}),
    ],
)  # fmt: skip
def test_refusals_of_tags(alice, code, action, parameters):
    refused(code, tag_service, alice, action, **parameters)


def test_a_key_twice_and_a_foreign_kind(alice, image):
    twice = [{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}]
    wanted = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12", "ImageUrl": "http://192.0.2.1/", "ImageName": "x"}
    refused("InvalidParameterValue.DuplicateTags", alice.call, "ImportImage", **wanted, TagSpecification=twice)
    kind = [{"ResourceType": "bucket", "Tags": [{"Key": "a", "Value": "1"}]}]
    refused("InvalidParameterValue", alice.call, "ImportImage", **wanted, TagSpecification=kind)


# ---- families --------------------------------------------------------------------------------------------------------


def test_a_family_gives_its_newest_image_that_is_not_deprecated(alice, bob, host, image):
    def newest(account):
        return account.call("DescribeImageFromFamily", ImageFamily="web").Image

    newer = alice.imported(host.url("small.qcow2"), "newer", ImageFamily="web")
    assert newest(alice).ImageId == newer and newest(alice).ImageFamily == "web"
    alice.call("ModifyImageAttribute", ImageId=newer, ImageDeprecated=True)
    assert newest(alice).ImageId == image and alice.image(newer).ImageDeprecated
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="SHARE")
    assert newest(bob) is None
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[bob.uin], Permission="CANCEL")
    alice.call("DeleteImages", ImageIds=[newer])
    refused("InvalidParameterValue.InvalidImageFamily", alice.call, "DescribeImageFromFamily", ImageFamily="a b")


# ---- prices ----------------------------------------------------------------------------------------------------------


def price(account, image, **parameters):
    placement = {"Zone": ZONE}
    return account.raw("InquiryPriceRunInstances", Placement=placement, ImageId=image, **parameters)["Price"]


def test_nothing_configured_costs_nothing(alice, image):
    assert price(alice, image)["InstancePrice"]["UnitPrice"] == 0


def test_an_image_carries_the_fee_of_the_one_it_was_made_from(alice, operator, host, server):
    base = operator.imported(host.url("small.qcow2"), "licensed")
    operator.kiln("ModifyImageFee", ImageId=base, PerHour="0.0301", PerMonth="10")
    operator.call("ModifyImageSharePermission", ImageId=base, AccountIds=[alice.uin], Permission="SHARE")
    [instance] = alice.launched(base, InstanceType="S5.LARGE1")
    made = alice.call("CreateImage", InstanceId=instance, ImageName="of-licensed").ImageId
    alice.normal_image(made)
    for image in (base, made):
        hourly = price(alice, image, InstanceType="S5.LARGE1", InstanceCount=2)
        assert (hourly["InstancePrice"]["UnitPrice"], hourly["InstancePrice"]["ChargeUnit"]) == (0.3002, "HOUR")
        assert hourly["ImagePrice"]["UnitPrice"] == 0.0602
        prepaid = {"InstanceChargeType": "PREPAID", "InstanceChargePrepaid": {"Period": 3}}
        monthly = price(alice, image, InstanceType="S5.LARGE1", **prepaid)
        assert (monthly["InstancePrice"]["OriginalPrice"], monthly["ImagePrice"]["OriginalPrice"]) == (211.5, 30)
    reset = alice.raw("InquiryPriceResetInstance", InstanceId=instance)["Price"]
    assert (reset["InstancePrice"]["UnitPrice"], reset["ImagePrice"]["UnitPrice"]) == (0.1501, 0.0301)
    refused("UnauthorizedOperation", alice.kiln, "ModifyImageFee", ImageId=made, PerHour="0", PerMonth="0")
    refused("InvalidParameterValue", operator.kiln, "ModifyImageFee", ImageId=base, PerHour="0.00001", PerMonth="0")


# ---- what there is to launch, and what runs --------------------------------------------------------------------------


def test_types_are_those_of_the_configuration(alice):
    types = alice.call("DescribeInstanceTypeConfigs", Filters=[{"Name": "zone", "Values": [ZONE]}])
    assert [(one.InstanceType, one.CPU) for one in types.InstanceTypeConfigSet] == [("S5.SMALL1", 1), ("S5.LARGE1", 2)]
    families = alice.call("DescribeInstanceFamilyConfigs").InstanceFamilyConfigSet
    assert [family.InstanceFamily for family in families] == ["S5"]
    filters = [{"Name": "instance-type", "Values": ["S5.LARGE1"]}]
    [offer, *_] = alice.call("DescribeZoneInstanceConfigInfos", Filters=filters).InstanceTypeQuotaSet
    assert (offer.Status, offer.Price.UnitPrice, offer.Price.OriginalPrice) == ("SELL", 0.12, 60.5)


def test_filters_find_instances(alice, image, instance):
    uuid = alice.instance(instance).Uuid
    finding = [
        ("image-id", image), ("zone", ZONE), ("instance-name", "tagged"), ("instance-state", "RUNNING"), ("uuid", uuid),
        ("tag-key", "env"), ("tag-value", "live"), ("tag:env", "live"), ("project-id", "0"),
        ("instance-charge-type", "POSTPAID_BY_HOUR"), ("creation-start-time", "2020-01-01 00:00:00"),
    ]  # fmt: skip
    missing = [
        ("image-id", "img-00000000"), ("zone", "ap-guangzhou-4"), ("uuid", "0"), ("tag:env", "test"), ("vpc-id", "vpc-1"),
        ("project-id", "1"), ("instance-charge-type", "PREPAID"), ("creation-end-time", "2020-01-01 00:00:00"),
    ]  # fmt: skip
    for expected, cases in ((True, finding), (False, missing)):
        for name, value in cases:
            filters = [{"Name": name, "Values": [value]}]
            listed = alice.call("DescribeInstances", Filters=filters, Limit=100).InstanceSet
            assert (instance in [one.InstanceId for one in listed]) == expected, (name, value)
    refused("InvalidFilter", alice.call, "DescribeInstances", Filters=[{"Name": "smell", "Values": ["good"]}])
