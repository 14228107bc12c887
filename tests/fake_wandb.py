"""A stand-in for the Weights & Biases service on the loopback interface, for tests with the real client.

W&B ships no test server. This one answers the few GraphQL operations that wandb 0.31 needs to open a run, stream
its rows, upload files and commit an artifact; what it is not asked for in our tests it does not know.

Rows are kept the way the service keeps them: the client sends each piece of `wandb-history.jsonl` with the line it
begins at, so that a piece sent twice lands on itself, and two *different* pieces for one place would overwrite one
another. A test that finds every point in `Service.history` exactly once has therefore seen neither a loss nor a double.

    with Service() as service:
        ... run the client with `service.environment(...)` ...
        assert [row["trainer/step"] for row in service.history("run-id")] == [1, 2, 3]
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "0123456789canary" * 3  # a well-formed key that must never be found on disk
ENTITY = "tester"


class Run:
    """What the service knows of one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[str, dict[int, str]] = {}  # file -> line number -> text
        self.config = "{}"
        self.display_name = name

    def file(self, name: str) -> list[str]:
        """The lines of a streamed file, in order."""
        lines = self.lines.get(name, {})
        return [lines[number] for number in sorted(lines)]

    def as_bucket(self, project: str) -> dict[str, Any]:
        """The run as GraphQL calls it: a bucket."""
        history, events = self.file("wandb-history.jsonl"), self.file("wandb-events.jsonl")
        summary = self.file("wandb-summary.json")
        return {
            "id": f"id-{self.name}",
            "name": self.name,
            "displayName": self.display_name,
            "description": "",
            "sweepName": None,
            "project": _project(project),
            "config": self.config,
            "wandbConfig": '{"t": 1}',
            "tags": [],
            "notes": "",
            "summaryMetrics": summary[-1] if summary else "{}",
            "historyLineCount": len(history),
            "historyTail": json.dumps(history[-1:]),
            "eventsLineCount": len(events),
            "eventsTail": json.dumps(events[-1:]),
            "logLineCount": 0,
        }


class Service:
    """The stand-in and what it was told. `answer` may be changed while it runs: "ok", "503" or "hang".

    One that is given `runs` is the same service after a failure, at a new address.
    """

    def __init__(self, runs: dict[str, Run] | None = None) -> None:
        self.answer = "ok"
        self.operations: Counter[str] = Counter()
        self.unknown: list[str] = []  # what the client asked and this stand-in does not understand
        self.runs: dict[str, Run] = {} if runs is None else runs
        self.uploads: dict[str, bytes] = {}  # address -> content
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.committed: list[str] = []
        self.asked_aliases: list[tuple[str, str]] = []  # artifact, alias, in the order of asking
        self.alerts: list[dict[str, Any]] = []
        self._released = threading.Event()

    def __enter__(self) -> Service:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Close the port: from now on nobody answers."""
        self._released.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """Variables with which a client knows this service, a key for it, and no setting of the person testing."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, **isolated(home)}

    def versions(self, collection: str) -> list[set[str]]:
        """The aliases of each version of an artifact, oldest first: an alias is with the last that asked for it."""
        keys = [key for key in self.committed if self.artifacts[key]["artifactCollectionName"] == collection]
        holders = {alias: key for key, alias in self.asked_aliases if key in keys}
        return [{alias for alias, holder in holders.items() if holder == key} for key in keys]

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows of a run in the order of their lines."""
        return [json.loads(line) for line in self.runs[run].file("wandb-history.jsonl")]

    def wait(self) -> None:
        """Hang until the service dies."""
        self._released.wait(60)


def isolated(home: Path) -> dict[str, str]:
    """Variables that keep a client away from the settings, the keys and the folders of the person testing."""
    folders = {name: str(home / name.lower()) for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")}
    return {"HOME": str(home), "NETRC": str(home / "netrc"), "WANDB_ERROR_REPORTING": "false", **folders}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: Service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed leaves a broken pipe here, which is nobody's mistake."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        body = self._body()
        if self._in_order():
            self.server.service.uploads[self.path] = body
            self._answer({})

    def do_POST(self) -> None:
        service, body = self.server.service, self._body()
        if not self._in_order():
            return
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if stream:
            self._answer(_stream(service, stream[1], json.loads(body)))
        elif self.path == "/graphql":
            question = json.loads(body)
            named = question.get("operationName") or re.findall(r"(?:query|mutation)\s+(\w+)", question["query"])[0]
            service.operations[named] += 1
            if named not in OPERATIONS:
                service.unknown.append(named)
            answer = OPERATIONS.get(named, lambda *_: {})
            self._answer({"data": answer(service, question.get("variables") or {})})
        else:
            service.unknown.append(self.path)
            self._answer({})

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""

    def _in_order(self) -> bool:
        if self.server.service.answer == "hang":
            self.server.service.wait()
            self.close_connection = True
            return False
        if self.server.service.answer == "503":
            self._answer({}, status=503)
            return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(pieces)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _stream(service: Service, run: str, message: dict[str, Any]) -> dict[str, Any]:
    lines = service.runs[run].lines
    for name, piece in (message.get("files") or {}).items():
        lines.setdefault(name, {}).update(enumerate(piece["content"], start=piece["offset"]))
    return {"exitcode": None, "limits": {}}


def _project(name: str) -> dict[str, Any]:
    return {"id": "project", "name": name, "entity": {"id": "entity", "name": ENTITY}}


def _resume_status(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    run = service.runs.get(asked["name"])
    project = asked.get("project") or "cyclegan"
    return {"model": _project(project) | {"bucket": run and run.as_bucket(project)}}


def _upsert(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    new = asked["name"] not in service.runs
    run = service.runs.setdefault(asked["name"], Run(asked["name"]))
    run.config = asked.get("config") or run.config
    run.display_name = asked.get("displayName") or run.display_name
    return {"upsertBucket": {"bucket": run.as_bucket(asked.get("project") or "cyclegan"), "inserted": new}}


def _run_files(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    files = [{"name": name, "uploadUrl": f"{service.url}/run/{asked['run']}/{name}"} for name in asked["files"]]
    return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}


def _artifact(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    """A version with the same content as one that is there is that one, as in the service."""
    wanted = asked["input"]
    there = {key: service.artifacts[key] for key in service.committed}
    told = ("artifactCollectionName", "digest")
    same = [key for key, one in there.items() if all(one[name] == wanted[name] for name in told)]
    key = same[0] if same else f"artifact{len(service.artifacts)}"
    service.artifacts.setdefault(key, wanted)
    service.asked_aliases += [(key, alias["alias"]) for alias in wanted["aliases"]]
    state = "COMMITTED" if same else "PENDING"
    return {"createArtifact": {"artifact": {"id": key, "state": state, "artifactSequence": {"latestArtifact": None}}}}


def _artifact_files(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    wanted = asked.get("artifactFiles") or asked["input"]["artifactFiles"]
    nodes = [
        {
            "storagePath": file["name"],
            "uploadUrl": f"{service.url}/artifact/{file['artifactID']}/{file['name']}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"id": file["artifactID"]},
        }
        for file in wanted
    ]
    return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}


def _manifest(service: Service, key: str) -> dict[str, Any]:
    return {"id": key, "file": {"id": f"file-{key}", "uploadUrl": f"{service.url}/manifest/{key}", "uploadHeaders": []}}


def _commit(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    service.committed.append(asked["artifactID"])
    return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "digest"}}}


VERSIONS = {"cliVersionInfo": {"min_cli_version": "0.1", "max_cli_version": "9.9"}, "latestLocalVersionInfo": None}
VIEWER = {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "a@b.c", "flags": "{}", "teams": {"edges": []}}

# GraphQL operation -> the data of its answer
OPERATIONS: dict[str, Callable[[Service, dict[str, Any]], dict[str, Any]]] = {
    "ServerFeaturesQuery": lambda *_: {"serverInfo": {"features": []}},
    "ServerInfo": lambda *_: {"serverInfo": VERSIONS},
    "Viewer": lambda *_: {"viewer": VIEWER},
    "OrgFeatureFlags": lambda *_: {"organization": {"featureFlags": []}},
    "OrganizationCoreWeaveOrganizationID": lambda *_: {"entity": {"organization": None}},
    "RunStoppedStatus": lambda *_: {"project": {"run": {"stopped": False}}},
    "RunResumeStatus": _resume_status,
    "UpsertBucket": _upsert,
    "CreateRunFiles": _run_files,
    "MarkRunFilesUploaded": lambda *_: {"markRunFilesUploaded": {"success": True}},
    "ArtifactType": lambda *_: {"project": {"artifact": None}},
    "UseArtifact": lambda *_: {"useArtifact": {"artifact": {"id": "artifact0"}}},
    "ClientIDMapping": lambda *_: {"clientIDMapping": {"serverID": "artifact0"}},
    "CreateArtifact": _artifact,
    "CreateArtifactFiles": _artifact_files,
    "CreateArtifactManifest": lambda service, asked: {
        "createArtifactManifest": {"artifactManifest": _manifest(service, asked["artifactID"])}
    },
    "UpdateArtifactManifest": lambda service, asked: {
        "updateArtifactManifest": {"artifactManifest": _manifest(service, asked["artifactManifestID"])}
    },
    "CommitArtifact": _commit,
    "NotifyScriptableRunAlert": lambda service, asked: service.alerts.append(asked) or {},
}
