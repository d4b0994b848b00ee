"""A real browser sends files to a bucket from a page of another origin: by signed requests, and by a form.

The page is the test's own, on an origin of its own, and tells it how it went. The browser checks what it is allowed by the
bucket's CORS rules, as it does for anybody.
"""

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue

import pytest
from object_clients import MIB, app_id, s3

# Other people's clients leave connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

SECONDS = 300
HOST = "pages.example.org"
PARTS = 5
PIECE = 16 * MIB
PIECES = 28  # of each part, so that all of them are 2.2 GiB
MARK = 16  # bytes that say which part it is

# What every page begins with: `tell` ends the test.
BEGIN = """<!doctype html><meta charset="utf-8"><title>upload</title><body><script>
const tell = (what) => fetch("/told", { method: "POST", body: JSON.stringify(what) });
const given = GIVEN;
"""

PARTS_PAGE = """
const piece = new Blob([new Uint8Array(given.piece).fill(97)]);
const mark = (number) => `part ${number}`.padEnd(given.mark, ".");
const part = (number) => new Blob([mark(number), ...Array(given.pieces).fill(piece)]);
const send = (number, signal) => fetch(given.urls[number - 1], { method: "PUT", body: part(number), signal });

async function sendInterrupted(number) {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  return send(number, stop.signal).then(() => "was not interrupted", (error) => error.name);
}

async function run() {
  const interrupted = await sendInterrupted(2);
  let list = "";
  for (let number = 1; number <= given.urls.length; number++) {
    const answer = await send(number);
    if (!answer.ok) throw new Error(`part ${number}: ${answer.status} ${await answer.text()}`);
    list += `<Part><PartNumber>${number}</PartNumber><ETag>${answer.headers.get("ETag")}</ETag></Part>`;
  }
  const body = `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`;
  const answer = await fetch(given.complete, { method: "POST", body });
  return { interrupted, status: answer.status, text: await answer.text() };
}
run().then(tell, (error) => tell({ error: String(error) }));
</script>
"""

FORBIDDEN_PAGE = """
fetch(given.url, { method: "PUT", body: "x" }).then(
  (answer) => tell({ status: answer.status }), (error) => tell({ error: error.name }));
</script>
"""

FORM_PAGE = """
const form = document.createElement("form");
Object.assign(form, { action: given.url, method: "post", enctype: "multipart/form-data" });
for (const [name, value] of Object.entries(given.fields)) {
  const input = document.createElement("input");
  Object.assign(input, { type: "hidden", name, value });
  form.append(input);
}
const chosen = new DataTransfer();
chosen.items.add(new File([new Uint8Array(given.bytes).fill(98)], "disk ä.raw", { type: "application/x-raw" }));
const file = document.createElement("input");
Object.assign(file, { type: "file", name: "file", files: chosen.files });
form.append(file);
document.body.append(form);
form.submit();
</script>
"""


class PageHost:
    """Serves one page, and hears what it tells and where its form leads."""

    def __init__(self):
        self.page, self.told = "", Queue()
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                """Says nothing."""

            def do_GET(self):
                if self.path.startswith("/done"):
                    host.told.put(self.path)
                body = host.page.encode() if self.path == "/" else b""
                self.answer(200, body)

            def do_POST(self):
                host.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(204, b"")

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A host of its own: pages of the server's, and of this machine where that is the server's, need no rule.
        self.origin = f"http://{HOST}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def pages():
    host = PageHost()
    yield host
    host.close()


@pytest.fixture(scope="module")
def bucket(alice):
    name = f"browser-{app_id(alice)}"
    s3(alice).create_bucket(Bucket=name)
    return name


@pytest.fixture
def browse(pages, tmp_path):
    """Opens a page in a browser, and gives what it tells."""
    browser = shutil.which("chromium") or pytest.fail("there is no chromium; scripts/install-tools.sh test installs it")

    def run(page, **given):
        pages.page = BEGIN.replace("GIVEN", json.dumps(given)) + page
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += [f"--host-resolver-rules=MAP {HOST} 127.0.0.1", f"--user-data-dir={tmp_path / 'profile'}"]
        log = (tmp_path / "browser.log").open("wb")
        running = subprocess.Popen([*command, pages.origin], stdout=log, stderr=log)
        try:
            return pages.told.get(timeout=SECONDS)
        except Empty:
            pytest.fail(f"the page told nothing: {(tmp_path / 'browser.log').read_text(errors='replace')[-2000:]}")
        finally:
            running.terminate()
            running.wait()
            log.close()
            shutil.rmtree(tmp_path / "profile", ignore_errors=True)

    return run


def allow(alice, bucket, origin):
    rule = {"AllowedOrigins": [origin], "AllowedMethods": ["PUT", "POST"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"]}
    s3(alice).put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})


def test_gigabytes_go_up_in_signed_parts_and_an_interrupted_one_again(alice, bucket, pages, browse):
    client, where = s3(alice), {"Bucket": bucket, "Key": "disks/large.raw"}
    allow(alice, bucket, pages.origin)
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    urls = [
        client.generate_presigned_url("upload_part", Params={**upload, "PartNumber": number}, ExpiresIn=SECONDS)
        for number in range(1, PARTS + 1)
    ]
    complete = client.generate_presigned_url("complete_multipart_upload", Params=upload, ExpiresIn=SECONDS)
    told = browse(PARTS_PAGE, urls=urls, complete=complete, piece=PIECE, pieces=PIECES, mark=MARK)
    assert told.get("status") == 200 and told["interrupted"] == "AbortError", told
    length = MARK + PIECE * PIECES
    assert client.head_object(**where)["ContentLength"] == PARTS * length
    for number in range(PARTS):
        begin = number * length
        found = client.get_object(**where, Range=f"bytes={begin}-{begin + MARK + 99}")["Body"].read()
        assert found == f"part {number + 1}".ljust(MARK, ".").encode() + b"a" * 100
    client.delete_object(**where)


def test_a_page_of_an_origin_without_a_rule_sends_nothing(alice, bucket, browse):
    allow(alice, bucket, "https://elsewhere.example.org")
    url = s3(alice).generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "forbidden"})
    assert browse(FORBIDDEN_PAGE, url=url) == {"error": "TypeError"}
    assert "Contents" not in s3(alice).list_objects_v2(Bucket=bucket, Prefix="forbidden")


def test_a_form_uploads_the_file_that_was_chosen(alice, bucket, pages, browse):
    done = f"{pages.origin}/done"
    fields = {"success_action_redirect": done, "Content-Type": "application/x-raw"}
    conditions = [{name: value} for name, value in fields.items()]
    made = s3(alice).generate_presigned_post(bucket, "from-form/${filename}", fields, conditions)
    told = browse(FORM_PAGE, url=made["url"], fields=made["fields"], bytes=5 * MIB)
    assert told.startswith("/done?"), told
    [found] = s3(alice).list_objects_v2(Bucket=bucket, Prefix="from-form/")["Contents"]
    assert (found["Key"], found["Size"]) == ("from-form/disk ä.raw", 5 * MIB)
    assert s3(alice).get_object(Bucket=bucket, Key=found["Key"])["ContentType"] == "application/x-raw"
