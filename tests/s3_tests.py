"""A plugin of pytest with which ceph's s3-tests run against Kiln, unchanged: see scripts/s3-tests.

It starts a server with an account for each that the suite wants, ends the names of buckets with the number of their
account, as Kiln wants them, and sorts the results into groups. What fails in a group of things that are deliberately absent
does not apply; what fails elsewhere is a defect, unless `REASONS` says why that very test cannot pass.
"""

import configparser
import os
import re
from collections import Counter
from pathlib import Path

from cloud import GUANGZHOU
from kiln_server import KilnServer

CONFIG = '[limits]\npreset = "current"\n[api]\nrequests_per_second = 10000\n'
ACCOUNTS = ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root")

NO_ACL = "Buckets and objects are private to their account; objects are shared by presigned URLs."
NO_POLICY = "There are no policies: accounts, roles and presigned URLs say who may do what."
NO_VERSIONS = "Objects have no versions."
NAMES = "Names of buckets end with their account's number."
V2 = "Signatures of version 2 can be repeated for ever and are refused."
# What is deliberately absent: a group, the markers and names of its tests, and why. The first that fits counts.
ABSENT = [
    ("bucket logging", {"bucket_logging", "bucket_logging_cleanup"}, "logging", "The operation log has every change."),
    ("object lock", {"object_lock"}, "object_lock", "Objects cannot be locked."),
    ("lifecycle, storage classes, restoring",
     {"lifecycle", "lifecycle_expiration", "lifecycle_transition", "cloud_transition", "cloud_restore", "storage_class"},
     "lifecycle|restore_|read_through", "There is one storage class, and nothing expires but abandoned uploads."),
    ("encryption", {"encryption", "sse_s3", "bucket_encryption"}, "_sse|sse_|_enc\\b|_enc_|encrypt", "The server does not encrypt."),
    ("tags", {"tagging"}, "tags|tagging", "Objects and buckets have no tags."),
    ("policies", {"bucket_policy"}, "policy", NO_POLICY),
    ("versions", {"versioning", "delete_marker"}, "version|delete_marker", NO_VERSIONS),
    ("access lists, public access, ownership", {"object_ownership"},
     "acl|access_bucket|anonymous|anon_put|_public|ownership", NO_ACL),
    ("IAM", {"iam_account", "iam_cross_account", "iam_role", "iam_tenant", "iam_user"}, "", "Accounts are Kiln's own."),
    ("signatures of version 2", {"auth_aws2"}, "_aws2$|_v2$", V2),
    ("checksums and attributes of objects", {"checksum"}, "checksum|cksum|attributes",
     "Checksums of AWS's kinds are verified and not kept; HeadObject has what else GetObjectAttributes says."),
    ("extensions of Ceph's gateway", {"appendobject"}, "usage|unordered|head_extended", "Ceph's own."),
]  # fmt: skip
# What is there: groups and the names of their tests. The first that fits counts.
PRESENT = [
    ("headers and signatures", "create_bad_|_date|contentlength|100_continue|expected_bucket_owner"),
    ("forms of browsers", "post_object"),
    ("CORS", "cors"),
    ("presigned URLs", "_raw_|presigned"),
    ("uploads in parts", "multipart|upload_part|_get_part"),
    ("copies", "copy"),
    ("listings", "list"),
    ("conditions and ranges", "if_?(none_?)?match|ifnonmatch|modifiedsince|range"),
    ("buckets", "test_bucket_|_bucket"),
    ("objects", ""),
]
# Why tests of what is there cannot pass: patterns of their names and of their errors.
REASONS = [
    ("", "AccessControlListNotSupported|x-amz-grant|OwnershipControls", NO_ACL),
    ("", "BucketVersioning", NO_VERSIONS),
    ("", "BucketPolicy", NO_POLICY),
    ("", "AWS signature version 2", V2),
    ("", "does not encrypt", "The server does not encrypt."),
    ("", "AppId|not a valid bucket name", NAMES),
    ("bucket_create_exists_nonowner", "", NAMES),
    ("list_buckets_anonymous", "", NO_ACL),
    ("bad_authorization_(empty|none)|bad_contentlength_none", "not raised",
     "boto3 puts the right header over the test's."),
    ("object_delete_key_bucket_gone|object_raw_get_bucket_gone", "", NO_ACL),
    ("put_authenticated_expired", "", "An age below zero is malformed (400), as at AWS."),
    ("chunked_transfer_encoding", "", "A body without a length is refused (411), as at AWS."),
    ("unicode_metadata", "", "Letters outside ASCII come back encoded (RFC 2047), as at AWS."),
    ("prefix_unreadable", "", "The prefix comes back URL-encoded, as it was asked for; boto3 does not decode it."),
    ("bucket_create_exists$", "AttributeError", "The test reads a member that boto3's errors do not have."),
    ("bucket_recreate_not_overriding|bucket_recreate_new_acl", "", "One's own bucket is not made again (409), as at AWS."),
    ("resend_first_finishes_last", "", "It names one part twice, which is refused, as at AWS."),
    ("torrent", "", "There are no torrents."),
    ("read_unreadable", "", "The key is letters outside ASCII in UTF-8, which is a key like others."),
    ("delete_objects?_.*if_match", "", "Objects are not deleted on conditions: that is refused."),
]  # fmt: skip


class Suite:
    """One run: its server, and what came of each test."""

    def __init__(self, config):
        self.config = config
        self.outcomes, self.errors, self.groups = {}, {}, {}
        self.server = KilnServer(Path(os.environ["KILN_BINARY"]), CONFIG).start()
        operator = self.server.operator()
        accounts = {name: self.server.create_account(name) for name in ACCOUNTS}
        app_ids = {found["Uin"]: found["AppId"] for found in operator.kiln("DescribeAccounts")["AccountSet"]}
        self.app_ids = {account.secret_id: app_ids[account.uin] for account in accounts.values()}
        self.main = app_ids[accounts["s3 main"].uin]
        os.environ["S3TEST_CONF"] = str(self.write_configuration(accounts))

    def write_configuration(self, accounts):
        host, port = self.server.objects_endpoint.removeprefix("http://").split(":")
        written = configparser.RawConfigParser()
        written["DEFAULT"] = {"host": host, "port": port, "is_secure": "False"}
        written["s3 main"] = {"api_name": GUANGZHOU}
        written["fixtures"] = {"bucket prefix": "s3-tests-{random}-"}
        for name, account in accounts.items():
            who = {"display_name": account.uin, "user_id": account.uin, "email": f"{account.uin}@example.org"}
            written[name] = {**dict(written[name] if name in written else {}), **who, "access_key": account.secret_id, "secret_key": account.secret_key, "tenant": "tenant"}
        path = self.server.home / "s3tests.conf"
        with path.open("w") as file:
            written.write(file)
        return path

    def name_buckets(self):
        """Bucket names end with their account's number here. Tests import these functions, so this comes before them."""
        from s3tests import functional

        plain_name, plain_bucket = functional.get_new_bucket_name, functional.get_new_bucket

        def get_new_bucket_name():
            return f"{plain_name()}-{self.main}"

        def get_new_bucket(client=None, name=None):
            if client is not None and name is None:
                name = f"{plain_name()}-{self.app_ids[client._request_signer._credentials.access_key]}"
            return plain_bucket(client, name)

        functional.get_new_bucket_name, functional.get_new_bucket = get_new_bucket_name, get_new_bucket

    # ---- results ---------------------------------------------------------------------------------------------------

    def verdict(self, test):
        """The group of a test, what came of it, and why where it does not apply."""
        name, markers = self.groups[test]
        outcome = "passed" if self.outcomes[test] == "passed" else "failed"
        for group, wanted, pattern, why in ABSENT:
            if markers & wanted or (pattern and re.search(pattern, name)):
                return group, outcome if outcome == "passed" else "absent", why
        group = next(group for group, pattern in PRESENT if re.search(pattern, name))
        error = self.errors.get(test, "")
        why = next((why for names, errors, why in REASONS if re.search(names, name) and re.search(errors, error)), "")
        return group, "absent" if outcome == "failed" and why else outcome, why

    def defects(self):
        """The tests that failed without a reason."""
        return [test for test in self.outcomes if self.verdict(test)[1] == "failed"]

    def print_summary(self, write):
        table, whys, defects = {}, {}, self.defects()
        for test in self.outcomes:
            group, outcome, why = self.verdict(test)
            table.setdefault(group, Counter())[outcome] += 1
            if outcome == "absent":
                whys.setdefault(group, Counter())[why] += 1
        write("| group | tests | passed | not applicable | why |")
        write("|---|---|---|---|---|")
        order = [name for name, _ in PRESENT] + [name for name, *_ in ABSENT]
        for group in sorted(table, key=order.index):
            reasons = [f"{why} ({count})" if len(whys[group]) > 1 else why for why, count in whys.get(group, {}).items()]
            counts = table[group]
            write(f"| {group} | {counts.total()} | {counts['passed']} | {counts['absent']} | {' '.join(reasons)} |")
        total = sum(table.values(), Counter())
        write(f"| all | {total.total()} | {total['passed']} | {total['absent']} | |")
        write("")
        write(f"{len(defects)} defects" + "".join(f"\n  {test}: {self.errors[test]}" for test in defects))


def pytest_configure(config):
    config.suite = Suite(config)
    config.suite.name_buckets()


def pytest_unconfigure(config):
    config.suite.server.remove()


def pytest_collection_modifyitems(config, items):
    for item in items:
        config.suite.groups[item.nodeid] = item.originalname, {marker.name for marker in item.iter_markers()}


def pytest_runtest_makereport(item, call):
    # A test whose end fails has failed; what is skipped has not passed.
    suite, failed = item.config.suite, call.excinfo is not None
    suite.outcomes[item.nodeid] = "failed" if failed else suite.outcomes.get(item.nodeid, "passed")
    if failed:
        suite.errors.setdefault(item.nodeid, f"{call.when}: {call.excinfo.type.__name__}: {call.excinfo.value}".splitlines()[0])


def pytest_sessionfinish(session):
    session.exitstatus = 1 if session.config.suite.defects() else 0


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line("")
    config.suite.print_summary(terminalreporter.write_line)
