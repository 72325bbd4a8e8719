"""Keys, tenants and their limits: by themselves, and on a socket (scripted backend)."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catp.serving.server.keys import KeyFileError, read_environment, read_keys
from catp.serving.server.mailbox import Mailbox
from catp.serving.server.problems import HttpProblem
from catp.serving.server.spec import Spec
from catp.serving.server.tenants import Tenant, Tenants
from tests.serving.server.running import running, until
from tests.serving.server.scripted import MODEL, Scripted

KEY, OTHER = "sk-ann-0123456789abcdef", "sk-bob-0123456789abcdef"
ASK = {"prompt": "hello", "max_tokens": 5, "temperature": 0}


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def write(folder: Path, text: str) -> Path:
    path = folder / "keys.toml"
    path.write_text(text)
    return path


def test_a_file_of_keys(tmp_path: Path) -> None:
    text = f"""
        [tenants.ann]
        keys = ["{KEY}"]
        requests_per_minute = 60
        tokens_per_minute = 1000.5
        concurrent = 2
        priority = 3
        admin = true
        [tenants.bob]
        keys_sha256 = ["{digest(OTHER).hex()}"]
    """
    assert read_keys(write(tmp_path, text)) == (
        Tenant("ann", (digest(KEY),), 60, 1000.5, 2, 3, True),
        Tenant("bob", (digest(OTHER),)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"there must be tables \[tenants.NAME\]"),
        ("tenants = 3", r"there must be tables"),
        ("[tenants.a]\n", "has no key"),
        ("[tenants.a]\nkeys = ['short']", "shorter than 16"),
        (f"[tenants.a]\nkeys = '{KEY}'", "must be a list of texts"),
        (f"[tenants.a]\nkeys = ['{KEY}']\nrpm = 3", "unknown rpm; there is admin"),
        (f"[tenants.a]\nkeys = ['{KEY}']\nconcurrent = 0", "must be a number above 0"),
        (f"[tenants.a]\nkeys = ['{KEY}']\nadmin = 'yes'", "admin true or false"),
        (f"[tenants.a]\nkeys = ['{KEY}']\n[tenants.b]\nkeys = ['{KEY}']", "listed twice"),
        ("[tenants.a]\nkeys_sha256 = ['abc']", "64 hex digits"),
        ("[tenants.a\n", "is not TOML"),
    ],
)
def test_a_file_of_keys_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(KeyFileError, match=message) as found:
        read_keys(write(tmp_path, text))
    assert KEY not in str(found.value)


def test_keys_in_the_environment() -> None:
    assert read_environment("") == ()
    assert read_environment(f"ann:{KEY}, bob:{OTHER}") == (
        Tenant("ann", (digest(KEY),), admin=True), Tenant("bob", (digest(OTHER),), admin=True),
    )  # fmt: skip
    with pytest.raises(KeyFileError, match="pairs `tenant:key`"):
        read_environment("justakey")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(tenants: Tenants, tenant: Tenant) -> HttpProblem:
    with pytest.raises(HttpProblem) as found:
        tenants.admit(tenant)
    assert found.value.status == 429
    return found.value


def test_requests_a_minute() -> None:
    clock, tenant = Clock(), Tenant("ann", (digest(KEY),), requests_per_minute=3)
    tenants = Tenants([tenant], clock)
    for _ in range(3):
        tenants.admit(tenant)
    wait = refused(tenants, tenant).retry_after
    assert wait is not None
    assert wait == pytest.approx(20)
    clock.now += wait - 0.01
    refused(tenants, tenant)
    clock.now += 0.02
    tenants.admit(tenant)  # as was said
    clock.now += 3600
    for _ in range(3):  # never more than a minute's worth
        tenants.admit(tenant)
    refused(tenants, tenant)


def test_tokens_a_minute_are_paid_when_known() -> None:
    clock, tenant = Clock(), Tenant("ann", (digest(KEY),), tokens_per_minute=60)
    tenants = Tenants([tenant], clock)
    with tenants.admit(tenant) as visit:
        visit.pay(90)  # more than there was: the bucket is 30 below zero
    assert refused(tenants, tenant).retry_after == pytest.approx(31)
    clock.now += 31.01
    tenants.admit(tenant)


def test_limits_on_a_socket() -> None:
    ann = Tenant("ann", (digest(KEY),), concurrent=1)
    bob = Tenant("bob", (digest(OTHER),), requests_per_minute=2, admin=True)
    backend = Scripted(step_seconds=0.01)
    with running(backend, tenants=[ann, bob]) as server, server.client() as client, ThreadPoolExecutor(2) as pool:

        def post(key: str, **more: Any) -> Any:
            return client.post("/v1/completions", json={**ASK, **more}, headers=bearer(key))

        slow = pool.submit(post, KEY, max_tokens=100)
        until(lambda: backend.health().running)
        busy = post(KEY)
        assert (busy.status_code, busy.json()["error"]["code"]) == (429, "rate_limited")
        assert int(busy.headers["retry-after"]) >= 1
        assert [post(OTHER).status_code for _ in range(3)] == [200, 200, 429]  # others are not held up
        assert slow.result().status_code == 200
        assert post(KEY).status_code == 200  # the place was given back
        figures = client.get("/metrics", headers=bearer(OTHER)).text
        assert 'catp_refused_total{code="rate_limited",tenant="ann"} 1.0' in figures
        assert 'catp_refused_total{code="rate_limited",tenant="bob"} 1.0' in figures
        assert 'catp_cost_usd_total{adapter="",kind="output",tenant="ann"}' in figures


def test_keys_on_a_socket() -> None:
    ann, bob = Tenant("ann", (digest(KEY),)), Tenant("bob", (digest(OTHER),), admin=True)
    with running(Scripted(), tenants=[ann, bob]) as server, server.client() as client:
        wrong_keys: list[tuple[dict[str, str], str]] = [
            ({}, "missing_api_key"), ({"Authorization": "Basic x"}, "missing_api_key"),
            (bearer("nonsense"), "invalid_api_key"), (bearer(KEY + "x"), "invalid_api_key"),
        ]  # fmt: skip
        for headers, code in wrong_keys:
            answer = client.post("/v1/completions", content=b"{", headers=headers)  # the body is not even read
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get("/v1/models", headers=headers).status_code == 401
        assert client.get("/live").status_code == 200  # health needs no key
        assert client.get("/metrics", headers=bearer(KEY)).json()["error"]["code"] == "not_admin"
        load = {"name": "legal", "path": "somewhere"}
        assert client.post("/v1/adapters", json=load, headers=bearer(KEY)).status_code == 403
        loaded = client.post("/v1/adapters", json=load, headers=bearer(OTHER))
        assert loaded.json() == {"name": "legal", "digest": "digest-of-somewhere", "path": "somewhere"}
        cards = client.get("/v1/models", headers=bearer(KEY)).json()["data"]
        assert [(card["id"], card["parent"]) for card in cards] == [(MODEL, None), ("legal", MODEL)]
        used = client.post("/v1/completions", json={**ASK, "model": "legal"}, headers=bearer(KEY))
        assert (used.status_code, used.json()["model"]) == (200, "legal")
        assert 'adapter="legal"' in client.get("/metrics", headers=bearer(OTHER)).text
        assert client.delete("/v1/adapters/legal", headers=bearer(OTHER)).json()["unloaded"]
        assert client.delete("/v1/adapters/legal", headers=bearer(OTHER)).status_code == 404
        wrong = client.post("/v1/adapters", json={"name": "x", "path": "missing"}, headers=bearer(OTHER))
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "bad_request")


def test_catalogues_are_the_tenants_own() -> None:
    ann, bob = Tenant("ann", (digest(KEY),)), Tenant("bob", (digest(OTHER),))
    body = {"tools": [{"name": "t", "returns": "text"}]}
    with running(Scripted(), tenants=[ann, bob]) as server, server.client() as client:
        assert client.put("/v1/catalogues/mine", json=body, headers=bearer(KEY)).status_code == 200
        assert client.get("/v1/catalogues", headers=bearer(OTHER)).json()["data"] == []
        ask = {"wanted": [{"name": "w", "type": "text"}], "catalogue": "mine"}
        theirs = client.post("/v1/plans", json=ask, headers=bearer(OTHER))
        assert theirs.json()["error"]["code"] == "unknown_catalogue"
        assert "catalogue" not in client.post("/v1/plans", json=ask, headers=bearer(KEY)).text


def test_priorities_are_given_and_not_taken() -> None:
    ann, bob = Tenant("ann", (digest(KEY),), priority=2), Tenant("bob", (digest(OTHER),), admin=True)
    backend = Scripted()
    seen = []
    real = backend.submit

    async def submit(spec: Spec) -> Mailbox:
        seen.append(spec.priority)
        return await real(spec)

    backend.submit = submit  # type: ignore[method-assign]
    with running(backend, tenants=[ann, bob]) as server, server.client() as client:
        for key, asked in ((KEY, None), (KEY, 1), (KEY, 99), (OTHER, 99)):
            extra = {} if asked is None else {"catp": {"priority": asked}}
            assert client.post("/v1/completions", json={**ASK, **extra}, headers=bearer(key)).status_code == 200
    assert seen == [2, 1, 2, 99]
