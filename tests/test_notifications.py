"""People are told what happened: by a real SMTP server's account of it, and by what a webhook is posted.

Messages that could not be sent are sent later, also after a restart; where nothing is configured they are kept.
"""

import email
import email.policy
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cloud import refused
from conftest import BARE_DISKS, CONFIG
from kiln_server import wait_until

# Its warnings are about servers that others can reach.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
SEND_SECONDS = 60
PASSWORD, TOKEN = "hunter2", "sesame"


class Mailbox:
    """What an SMTP server, which wants a password, was handed."""

    def __init__(self, port=0):
        self.port = port or free_port()
        self.mails = []
        self.answer = "250 taken"
        self.controller = None

    def start(self):
        def check(_server, _session, _envelope, _mechanism, data):
            return AuthResult(success=(data.login, data.password) == (b"kiln", PASSWORD.encode()))

        self.controller = Controller(
            self, hostname="127.0.0.1", port=self.port, authenticator=check, auth_required=True, auth_require_tls=False
        )
        self.controller.start()

    def stop(self):
        if self.controller:
            self.controller.stop()

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802: the library calls it so
        if self.answer.startswith("250"):
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.mails.append((envelope.rcpt_tos, mail["Subject"], mail.get_content()))
        return self.answer

    def to(self, address):
        return [(subject, text) for recipients, subject, text in self.mails if recipients == [address]]


class Gateway:
    """What a webhook was posted."""

    def __init__(self):
        self.posted = []
        self.status = 200
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if gateway.status == 200:
                    gateway.posted.append((self.headers["Authorization"], body["phone"], body["text"]))
                self.send_response(gateway.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def to(self, phone):
        return [text for _, number, text in self.posted if number == phone]


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.fixture(scope="module")
def mailbox():
    mailbox = Mailbox()
    mailbox.start()
    yield mailbox
    mailbox.stop()


@pytest.fixture(scope="module")
def gateway():
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def server(make_server, mailbox, gateway):
    notifications = f"""
[notifications]
smtp = "smtp://kiln:{PASSWORD}@127.0.0.1:{mailbox.port}"
from = "Kiln <kiln@example.org>"
sms_webhook = "http://127.0.0.1:{gateway.server.server_port}/send"
sms_token = "{TOKEN}"
"""
    return make_server(CONFIG + BARE_DISKS + notifications).start()


@pytest.fixture(scope="module")
def normal(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "normal")


def share(alice, image, account, permission):
    alice.call("ModifyImageSharePermission", ImageId=image, AccountIds=[account.uin], Permission=permission)


def sent(call, what):
    return wait_until(call, SEND_SECONDS, what)


def states(account):
    """How far each message of an account has got, newest first."""
    listed = account.kiln("DescribeMessages", Limit=100)["MessageSet"]
    ways = [{way["Channel"]: way["State"] for way in message["DeliverySet"]} for message in listed]
    return list(zip([message["Event"] for message in listed], ways))


def test_imports_shares_and_decisions_are_told(server, operator, alice, mailbox, gateway, host, normal, files):
    dana = server.create_account("dana", allow_import=False)
    dana.kiln("ModifyAccountContact", Email="dana@example.org", Phone="+86 138-0013-8000")
    operator.kiln("ModifyAccountContact", Email="operator@example.org")
    share(alice, normal, dana, "SHARE")
    [(subject, text)] = sent(lambda: mailbox.to("dana@example.org"), "the share was told of")
    assert normal in subject and alice.uin in text and "not reviewed" in text
    sent(lambda: gateway.to("+8613800138000"), "and by a short message")
    assert gateway.posted[0][0] == f"Bearer {TOKEN}" and normal in gateway.to("+8613800138000")[0]
    share(alice, normal, dana, "CANCEL")
    sent(lambda: len(mailbox.to("dana@example.org")) == 2, "its end was told of")

    dana.kiln("ApplyForImportPermission", Reason="my machines move here")
    [(subject, text)] = sent(lambda: mailbox.to("operator@example.org"), "the operator was told of the application")
    assert dana.uin in subject and "my machines move here" in text
    operator.kiln("ModifyImportPermission", Uin=dana.uin, Allowed=True, Answer="welcome")
    sent(lambda: "welcome" in (mailbox.to("dana@example.org") or [("", "")])[-1][1], "the decision was told of")

    good = dana.imported(host.url("small.qcow2"), "good")
    (files / "no-disk.bin").write_bytes(b"#" * 4096)
    bad = dana.import_image(host.url("no-disk.bin"), "bad")
    dana.finished_image(bad)
    told = sent(lambda: [s for s, _ in mailbox.to("dana@example.org") if bad in s], "the failure was told of")
    assert "failed" in told[0] and any(good in subject for subject, _ in mailbox.to("dana@example.org"))
    reason = next(text for subject, text in mailbox.to("dana@example.org") if bad in subject)
    assert dana.failure(bad)[1] in reason
    # The log has it, too: what was accepted and came to nothing.
    [failed, _] = dana.kiln("DescribeOperations", ActionName="ImportImage", Limit=2)["OperationSet"]
    assert (failed["Subject"], failed["ErrorCode"]) == (bad, dana.failure(bad)[1])
    wanted = ["IMPORT_FAILED", "IMPORT_SUCCEEDED", "IMPORT_PERMISSION_GRANTED", "SHARE_CANCELLED", "IMAGE_SHARED"]
    every_way = {"EMAIL": "SENT", "SMS": "SENT"}
    sent(lambda: states(dana) == [(event, every_way) for event in wanted], lambda: f"all were sent: {states(dana)}")
    assert "EMAIL:SENT" in server.run("messages", account=dana).stdout


def test_an_owner_is_told_in_the_order_in_which_it_happened(server, alice, mailbox, normal):
    iris = server.create_account("iris")
    iris.kiln("ModifyAccountContact", Email="iris@example.org")
    for _ in range(8):
        share(alice, normal, iris, "SHARE")
        share(alice, normal, iris, "CANCEL")
    told = sent(lambda: len(mailbox.to("iris@example.org")) == 16 and mailbox.to("iris@example.org"), "all was told")
    ends = ["no longer" in subject for subject, _ in told]
    assert ends == [False, True] * 8


def test_each_way_can_be_turned_off(server, alice, mailbox, gateway, normal):
    eve = server.create_account("eve")
    eve.kiln("ModifyAccountContact", Email="eve@example.org", Phone="12345", NotifyByEmail=False)
    share(alice, normal, eve, "SHARE")
    sent(lambda: gateway.to("12345"), "the short message was sent")
    server.run("account", "contact", "--notify-email", "true", "--notify-sms", "false", account=eve)
    share(alice, normal, eve, "CANCEL")
    sent(lambda: mailbox.to("eve@example.org"), "the e-mail was sent")
    assert states(eve) == [("SHARE_CANCELLED", {"EMAIL": "SENT"}), ("IMAGE_SHARED", {"SMS": "SENT"})]
    assert len(mailbox.to("eve@example.org")) == len(gateway.to("12345")) == 1
    # Nobody else reads them.
    assert alice.kiln("DescribeMessages")["TotalCount"] == len(alice.kiln("DescribeMessages", Limit=100)["MessageSet"])
    assert all(message["Subject"] != eve.uin for message in alice.kiln("DescribeMessages", Limit=100)["MessageSet"])


def test_what_cannot_be_sent_is_sent_later_also_by_another_process(make_server, server, alice, mailbox, gateway, normal):
    finn = server.create_account("finn")
    finn.kiln("ModifyAccountContact", Email="finn@example.org", Phone="54321")
    mailbox.stop()
    gateway.status = 503
    share(alice, normal, finn, "SHARE")
    tried = lambda: all(way["Attempts"] for way in finn.kiln("DescribeMessages")["MessageSet"][0]["DeliverySet"])
    sent(tried, "both were tried")
    assert states(finn) == [("IMAGE_SHARED", {"EMAIL": "PENDING", "SMS": "PENDING"})]
    assert PASSWORD not in json.dumps(finn.kiln("DescribeMessages")) and PASSWORD not in server.log.read_text()
    server.kill()
    mailbox.start()
    gateway.status = 200
    server.start()
    sent(lambda: states(finn) == [("IMAGE_SHARED", {"EMAIL": "SENT", "SMS": "SENT"})], "both were sent in the end")
    assert len(mailbox.to("finn@example.org")) == len(gateway.to("54321")) == 1


def test_what_is_refused_for_good_is_given_up(server, alice, mailbox, gateway, normal):
    gary = server.create_account("gary")
    gary.kiln("ModifyAccountContact", Email="gary@example.org", Phone="99999")
    mailbox.answer, gateway.status = "550 no such person", 404
    share(alice, normal, gary, "SHARE")
    sent(lambda: states(gary)[0][1] == {"EMAIL": "GIVEN_UP", "SMS": "GIVEN_UP"}, "both were given up")
    [message] = gary.kiln("DescribeMessages")["MessageSet"]
    assert "no such person" in message["DeliverySet"][0]["ErrorMessage"]
    mailbox.answer, gateway.status = "250 taken", 200


def test_without_a_way_messages_are_kept(make_server, host, small_disk):
    server = make_server().start()
    alice, bob = server.create_account("alice"), server.create_account("bob")
    bob.kiln("ModifyAccountContact", Email="bob@example.org")
    image = alice.imported(host.url("small.qcow2"), "kept")
    share(alice, image, bob, "SHARE")
    assert states(bob) == [("IMAGE_SHARED", {})] and states(alice) == [("IMPORT_SUCCEEDED", {})]
    assert image in server.run("messages", account=bob).stdout
    server.remove()


def test_an_importer_is_told_of_a_cancelled_import_whoever_cancelled_it(make_server, host, small_disk):
    """Of the one that the only worker is at, from a server that says nothing, and of those that wait behind it."""
    server = make_server(CONFIG + BARE_DISKS + "\n[workers]\nimages = 1\n").start()
    operator, alice = server.operator(), server.create_account("alice")

    def task_of(image):
        return next(task for task in alice.tasks() if task["ImageId"] == image)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = alice.import_image(f"http://127.0.0.1:{silent.getsockname()[1]}/nothing", "begun")
        sent(lambda: task_of(begun)["State"] == "RUNNING", "the worker is busy")
        waiting = [alice.import_image(host.url("small.qcow2"), name) for name in ("waits", "waits, too")]
        for who, image, state in ((alice, waiting[0], "QUEUED"), (operator, waiting[1], "QUEUED"), (operator, begun, "RUNNING")):
            task = task_of(image)
            assert task["State"] == state
            who.kiln("CancelTask", TaskId=task["TaskId"])
            alice.finished_image(image)
            failed, code, reason = alice.failure(image)
            assert (failed, code, task_of(image)["State"]) == ("IMPORTFAILED", "FailedOperation.TaskCancelled", "CANCELLED")
            [message, *_] = alice.kiln("DescribeMessages")["MessageSet"]
            assert (message["Event"], message["Subject"]) == ("IMPORT_FAILED", image) and reason in message["Text"]
            [logged] = alice.kiln("DescribeOperations", ActionName="ImportImage", Subject=image)["OperationSet"]
            assert (logged["ErrorCode"], logged["Message"]) == (code, reason)
            # Who it was, the log says of the cancelling.
            assert "owner" not in reason + message["Text"]
            [cancelling] = operator.kiln("DescribeOperations", ActionName="CancelTask", Subject=task["TaskId"])["OperationSet"]
            assert cancelling["ActorUin"] == who.uin
    assert alice.kiln("DescribeMessages")["TotalCount"] == 3
    server.remove()


def test_a_wrong_configuration_is_told_at_the_start(make_server):
    server = make_server(f'[notifications]\nsmtp = "imap://kiln:{PASSWORD}@mail"\nfrom = "kiln@example.org"\n')
    server.spawn()
    assert server.process.wait(30) != 0
    said = server.log.read_text()
    assert "notifications" in said and PASSWORD not in said


def test_a_sub_account_reads_what_its_account_was_told(alice, normal):
    helper = alice.sub_account("helper", "READ_ONLY")
    assert helper.kiln("DescribeMessages")["TotalCount"] == alice.kiln("DescribeMessages")["TotalCount"] > 0
    refused("UnauthorizedOperation", helper.kiln, "ModifyAccountContact", NotifyByEmail=False)
