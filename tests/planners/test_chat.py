"""The chat planner against a real HTTP server on the loopback interface that plays a scripted model."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catp.planlang.jsonform import from_json, json_schema, to_json
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.printer import to_text
from catp.planlang.registry_view import Size, ToolSig, ValueFacts
from catp.planlang.types import Type
from catp.planners.chat import MAX_TOOLS, ChatPlanner
from catp.planners.chat_prompt import EXAMPLE
from catp.planners.protocol import NothingFits, Objective, PlanningFailed, PlanRequest, Proposal, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.testing import page_catalogue

KEY = "sk-very-secret-0123456789"
IMAGE, TEXT = Type("image"), Type("text")


def request(objective: Objective | None = None, tools: int = 24, **changes: Any) -> PlanRequest:
    registry, estimator = page_catalogue(tools)
    inputs = {"page": ValueFacts(IMAGE, Size(500_000), "noisy")}
    wanted = (Wanted("text", TEXT, capability=("ocr",)), Wanted("language", Type("Language")))
    made = PlanRequest("Read this page", inputs, wanted, objective or Objective(), registry, estimator)
    return replace(made, **changes)


def step(name: str, tool: str, param: str, ref: str) -> dict[str, Any]:
    value = {"name": param, "each": False, "value": {"ref": ref}}
    return {"name": name, "try": [{"tool": tool, "args": [value]}]}


def out(name: str, ref: str) -> dict[str, Any]:
    return {"name": name, "ref": ref}


GOOD: dict[str, Any] = {
    "planlang": 1,
    "steps": [step("reading", "ocr_0", "image", "page"), step("lang", "language_0", "text", "reading.text")],
    "outputs": [out("language", "lang"), out("text", "reading.text")],
}
UNKNOWN_TOOL = {**GOOD, "steps": [step("reading", "ocr_9", "image", "page"), GOOD["steps"][1]]}
NO_LANGUAGE = {**GOOD, "steps": GOOD["steps"][:1], "outputs": GOOD["outputs"][1:]}


def says(plan: object, *, usage: object = None, finish: str = "stop", **members: Any) -> dict[str, Any]:
    content = plan if isinstance(plan, str) or plan is None else json.dumps(plan)
    used = {"prompt_tokens": 1000, "completion_tokens": 200} if usage is None else usage
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish, **members}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": used}


def status(code: int, text: str = "", **headers: str) -> Callable[["Handler"], None]:
    return lambda handler: handler.reply(code, text.encode(), **headers)


class Handler(BaseHTTPRequestHandler):
    script: "list[Any]"
    seen: "list[dict[str, Any]]"
    leave: threading.Event
    asked: threading.Event

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append({"path": self.path, "headers": dict(self.headers), "body": body, "at": time.monotonic()})
        self.asked.set()
        turn = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(turn):
            turn(self)
        else:
            self.reply(200, turn if isinstance(turn, bytes) else json.dumps(turn).encode())


class Server:
    """The scripted model: its last turn is repeated. A turn is a body, or a function of the handler."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"

    def play(self, *turns: Any) -> None:
        Handler.script, Handler.seen, Handler.asked = list(turns), [], threading.Event()

    @property
    def seen(self) -> list[dict[str, Any]]:
        return Handler.seen

    def bodies(self) -> list[dict[str, Any]]:
        return [one["body"] for one in Handler.seen]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    Handler.leave = threading.Event()
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients hang up on purpose here
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Server(made.server_port)
    Handler.leave.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("CATP_CHAT_API_KEY", KEY)
    monkeypatch.setattr("catp.planners.chat_client._BACKOFF_S", 0.01)
    running.play(says(GOOD))
    return running


def planner(server: Server, **options: Any) -> ChatPlanner:
    return ChatPlanner("tiny", base_url=server.url, **{"timeout_s": 10.0, **options})


async def failure(made: ChatPlanner, asked: PlanRequest | None = None) -> PlanningFailed:
    with pytest.raises(PlanningFailed) as caught:
        await made.plan(asked or request())
    assert KEY not in str(caught.value)
    return caught.value


def tools_of(plan: Plan) -> list[str]:
    return [str(attempt.tool) for one in plan.steps for attempt in one.attempts]


# A plan, and what is said of it


async def test_a_plan_is_priced_and_rated_exactly_as_the_search_planner_does_it(server: Server) -> None:
    searched = SearchPlanner().search(request()).best
    server.play(says(to_json(replace(searched.plan, name=None, doc=None, inputs=()))))
    found = await planner(server).plan(request())
    assert len(found.candidates) == 1
    assert not found.exact
    best = found.best
    assert (best.plan, best.price, best.latency) == (searched.plan, searched.price, searched.latency)
    assert best.quality == pytest.approx(searched.quality)
    assert any("'tiny'" in note and server.url in note for note in found.notes)


async def test_outputs_stand_in_the_order_of_the_request(server: Server) -> None:
    best = (await planner(server).plan(request())).best
    assert [output.name for output in best.plan.outputs] == ["text", "language"]
    assert (best.plan.name, best.plan.doc) == ("read_this_page", "Read this page")


async def test_what_is_sent(server: Server) -> None:
    await planner(server, temperature=0.0).plan(request(Objective(budget=Money(10_000_000), deadline_ms=900)))
    (sent,) = server.seen
    body = sent["body"]
    assert (sent["path"], sent["headers"]["Authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.0, 4096)
    text = body["messages"][-1]["content"]
    assert "ocr_0(image: image) -> Reading; for ocr; $" in text
    assert " (noisy), " in text, "accuracy at the input's condition and at restored ones"
    assert "Reading: text: text, confidence: number" in text
    assert "page: image, size 500,000, condition noisy" in text
    assert "text: text; made by a tool for ocr" in text
    assert "at most $0.01" in text
    assert "at most 900 ms" in text
    assert '"Read this page"' in text
    assert body["messages"][0]["role"] == "system"


async def test_the_schema_is_that_of_the_request_and_narrower_than_that_of_all_plans(server: Server) -> None:
    await planner(server).plan(request())
    form = server.bodies()[0]["response_format"]
    schema = form["json_schema"]["schema"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    jsonschema.Draft202012Validator.check_schema(schema)
    accepts = jsonschema.Draft202012Validator(schema).is_valid
    assert accepts(GOOD)
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(GOOD)
    assert not accepts(UNKNOWN_TOOL), "tools of the catalogue only"
    assert not accepts({**GOOD, "outputs": [out("summary", "reading.text")]}), "wanted outputs only"
    assert not accepts({**GOOD, "steps": [step("reading", "ocr_0", "picture", "page")]}), "known parameters only"
    assert not accepts({**GOOD, "limits": {"cost": "1"}})


def test_the_example_is_a_plan() -> None:
    assert [len(one.attempts) for one in from_json(EXAMPLE).steps] == [1, 2, 1]


async def test_fallbacks_and_lists_are_understood(server: Server) -> None:
    plan = json.loads(json.dumps(GOOD))
    plan["steps"][0]["try"].append({"tool": "ocr_1", "args": [{"name": "image", "value": {"ref": "page"}}]})
    server.play(says(plan))
    found = await planner(server).plan(request(tools=60))
    assert tools_of(found.best.plan) == ["ocr_0", "ocr_1", "language_0"]


async def test_text_around_the_plan_is_no_obstacle(server: Server) -> None:
    server.play(
        says(f'<think>maybe {{"steps": []}} ...</think>Sure!\n```json\n{json.dumps(GOOD, indent=1)}\n```\nCall {{it}}.')
    )
    assert tools_of((await planner(server).plan(request())).best.plan) == ["ocr_0", "language_0"]


async def test_content_may_come_in_parts(server: Server) -> None:
    parts = [{"type": "text", "text": json.dumps(GOOD)[:40]}, {"type": "text", "text": json.dumps(GOOD)[40:]}]
    server.play(says(None, message={"content": parts}))
    assert (await planner(server).plan(request())).candidates


# Invalid plans


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (UNKNOWN_TOOL, "ocr_9"),
        (NO_LANGUAGE, "output `language` (Language) is missing"),
        ({**GOOD, "outputs": [out("text", "page"), GOOD["outputs"][0]]}, "`page` is image, wanted is text"),
        ({**GOOD, "outputs": [out("text", "lang.code"), out("language", "lang")]}, "no field `code`"),
        ({**GOOD, "limits": {"cost": "0.01"}}, "/limits: leave it out"),
        ({**GOOD, "inputs": [{"name": "memo", "type": "text"}]}, "no input `memo`; the inputs are: page"),
        ({**GOOD, "steps": GOOD["steps"] * 40}, "80 steps; at most 64"),
        ('{"planlang": 1, "steps": [], "outputs": NaN}', "NaN"),
        ("I would rather not.", "no JSON object"),
        ("{" * 5000, "not JSON: Expecting property name"),
        ("{" + "x" * 300_000, "300,001 characters"),
        (json.dumps(GOOD)[:-3], "not JSON: Expecting ',' delimiter"),
        ('Here: {"plan": []}', "unknown member 'plan'"),
    ],
)
async def test_errors_go_back_to_the_model_once_per_attempt(server: Server, answer: Any, told: str) -> None:
    server.play(says(answer), says(GOOD))
    found = await planner(server).plan(request())
    assert tools_of(found.best.plan) == ["ocr_0", "language_0"]
    first, second = server.bodies()
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][-2]["role"] == "assistant"
    assert told in second["messages"][-1]["content"]
    server.play(says(answer))
    error = await failure(planner(server, attempts=3))
    assert len(server.seen) == 3
    assert told in str(error)
    assert "'tiny'" in str(error)
    assert server.url in str(error)
    assert "3 attempts" in str(error)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (says(json.dumps(GOOD)[:50], finish="length"), "cut off at 4,096 tokens"),
        ({**says(GOOD), "choices": []}, "no choices"),
        ({"error": {"message": f"no credit for {KEY}"}}, "no credit for ***"),
        (says(None, finish="content_filter"), "content_filter"),
        (says(None, message={"content": None, "refusal": "I must not"}), "refused: I must not"),
        (says("   "), "no text"),
    ],
)
async def test_answers_without_a_text_are_asked_for_again(server: Server, body: Any, told: str) -> None:
    server.play(body, says(GOOD))
    assert (await planner(server).plan(request())).candidates
    assert server.bodies()[1]["messages"][-1]["role"] == "user"
    server.play(body)
    assert told in str(await failure(planner(server)))


async def test_tools_that_write_are_neither_shown_nor_accepted(server: Server) -> None:
    asked = request()
    writing = tuple(replace(sig, effects="write") if sig.name == "ocr_0" else sig for sig in asked.registry)
    asked = replace(asked, registry=replace(asked.registry, tools=writing))
    error = await failure(planner(server), asked)
    assert "`ocr_0` changes the world" in str(error)
    assert "ocr_0(" not in server.bodies()[0]["messages"][-1]["content"]


async def test_a_large_catalogue_is_shown_in_part_and_says_so(server: Server) -> None:
    found = await planner(server).plan(request(tools=200))
    enum = json.dumps(server.bodies()[0]["response_format"])
    assert '"ocr_0"' in enum
    shown = [line for line in server.bodies()[0]["messages"][1]["content"].splitlines() if ") -> " in line]
    assert len(shown) == MAX_TOOLS
    assert any("72 were left out" in note for note in found.notes)


# Money and time


async def test_hard_limits_hold_and_their_breach_is_told(server: Server) -> None:
    priced = (await planner(server).plan(request())).best
    assert priced.price.p95 is not None
    short = Money(priced.price.p95 - 1)
    error = await failure(planner(server), request(Objective(budget=short)))
    assert isinstance(error, NothingFits)
    assert error.limit == "budget"
    assert "use cheaper tools than in `reading`" in str(error) or "use cheaper tools than in `lang`" in str(error)
    assert (await planner(server).plan(request(Objective(budget=priced.price.p95)))).best.plan == priced.plan
    late = await failure(planner(server), request(Objective(deadline_ms=priced.latency.expected_ms / 2)))
    assert isinstance(late, NothingFits)
    assert late.limit == "deadline"


async def test_unknown_prices_count_as_the_dearest_and_never_fit_a_budget(server: Server) -> None:
    asked = request()
    unpriced = replace(asked, estimator=replace(asked.estimator, unpriced=frozenset({"ocr_0"})))  # type: ignore[type-var]
    best = (await planner(server).plan(unpriced)).best
    assert best.price.expected is None
    assert best.quality is not None
    assert best.utility == pytest.approx(0.8 * best.quality - 0.2)
    error = await failure(planner(server), replace(unpriced, objective=Objective(budget=Money(10**9))))
    assert "nobody knows the price of `reading`" in str(error)


async def test_planning_costs_what_the_provider_charges_for_all_attempts(server: Server) -> None:
    server.play(says(UNKNOWN_TOOL), says(GOOD, usage={"prompt_tokens": 1500, "completion_tokens": 100}))
    priced = planner(server, input_price="0.15", output_price="0.60")
    # 2,500 tokens at 150 nano-USD and 300 at 600
    assert (await priced.plan(request())).price == 2500 * 150 + 300 * 600
    server.play(says(UNKNOWN_TOOL))
    assert (await failure(priced)).price == 2 * (1000 * 150 + 200 * 600)


async def test_a_price_that_nobody_knows_is_none(server: Server) -> None:
    found = await planner(server).plan(request())
    assert found.price is None
    assert any("nobody knows what the model charged" in note for note in found.notes)
    server.play(says(GOOD, usage={"prompt_tokens": 10, "completion_tokens": 2, "cost": 0.00042}))
    assert (await planner(server).plan(request())).price == 420_000


@pytest.mark.parametrize(
    "usage",
    [[], "none", {"prompt_tokens": "12"}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 10**400},
     {"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": float("nan"), "completion_tokens": 1}],
)  # fmt: skip
async def test_usage_that_cannot_be_true_is_unknown(server: Server, usage: Any) -> None:
    server.play(json.dumps(says(GOOD, usage=usage)).encode())
    assert (await planner(server, input_price="1", output_price="1").plan(request())).price is None


async def test_several_samples_are_ranked_and_paid_for(server: Server) -> None:
    rival = json.loads(json.dumps(GOOD).replace("ocr_0", "ocr_1"))
    server.play(says(GOOD), says(rival), says(UNKNOWN_TOOL))
    made = planner(server, samples=3, temperature=0.7, attempts=1, input_price="1", output_price="0")
    found = await made.plan(request(tools=60))
    assert {tools_of(one.plan)[0] for one in found.candidates} == {"ocr_0", "ocr_1"}
    assert found.candidates[0].utility >= found.candidates[1].utility
    assert found.price == 3 * 1_000_000
    assert any("1 of 3 answers could not be used" in note for note in found.notes)
    server.play(says(GOOD), says(rival))
    assert len((await made.plan(request(tools=60, candidates=1))).candidates) == 1


# Servers that understand less


def refusing(*words: str) -> Callable[[Handler], None]:
    """A server that refuses bodies with any of the words, and answers others."""

    def turn(handler: Handler) -> None:
        body = json.dumps(handler.seen[-1]["body"])
        bad = next((word for word in words if f'"{word}"' in body), None)
        if bad is None:
            handler.reply(200, json.dumps(says(GOOD)).encode())
        else:
            handler.reply(400, json.dumps({"error": {"message": f"unsupported: {bad}; see the manual"}}).encode())

    return turn


@pytest.mark.parametrize(
    ("words", "asked", "form"),
    [
        (("json_schema",), 2, {"type": "json_object"}),
        (("response_format",), 3, None),
        (("json_schema", "temperature"), 3, {"type": "json_object"}),
    ],
)
async def test_it_asks_more_simply_where_the_server_refuses_and_remembers(
    server: Server, words: tuple[str, ...], asked: int, form: object
) -> None:
    server.play(refusing(*words))
    made = planner(server)
    await made.plan(request())
    assert len(server.seen) == asked
    assert server.bodies()[-1].get("response_format") == form
    await made.plan(request())
    assert len(server.seen) == asked + 1, "the second request starts with what was understood"
    assert server.bodies()[-1].get("response_format") == form


async def test_newer_models_count_their_answer_differently(server: Server) -> None:
    def turn(handler: Handler) -> None:
        if "max_tokens" in handler.seen[-1]["body"]:
            handler.reply(400, b"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        else:
            handler.reply(200, json.dumps(says(GOOD)).encode())

    server.play(turn)
    await planner(server).plan(request())
    assert server.bodies()[-1]["max_completion_tokens"] == 4096
    assert server.bodies()[-1]["response_format"]["type"] == "json_schema"


async def test_a_request_that_is_refused_in_any_form_quotes_the_server(server: Server) -> None:
    server.play(status(400, f"context length exceeded for {KEY}\x1b[31m"))
    made = planner(server)
    error = await failure(made)
    assert "HTTP 400" in str(error)
    assert "context length exceeded for ***" in str(error)
    assert "\x1b" not in str(error)
    assert made.endpoint.dialect.form == "json_schema", "nothing was learned"
    assert error.price == 0


# Faults


@pytest.mark.parametrize(
    ("turn", "told", "price"),
    [
        (status(401, f"Incorrect API key provided: {KEY}"), "CATP_CHAT_API_KEY holds no key that is valid", 0),
        (status(404, "model not found"), "check the model's name", 0),
        (status(302, location="https://elsewhere.example/"), "moved to 'https://elsewhere.example/'", 0),
        (status(500, "boom"), "the server failed", None),
        (b"<html>Welcome to nginx</html>", "no JSON but '<html>Welcome", None),
        (b"[1, 2]", "no chat completion but a list", None),
        (b"[" * 100_000, "no JSON", None),
        (b'{"choices": 1' + b"0" * 5000 + b"}", "no JSON", None),
        (b" " * (5 << 20), "exceeds 4,194,304 bytes", None),
        (lambda handler: handler.connection.close(), "look at the server's log", None),
        (lambda handler: handler.wfile.write(b"garbage\r\n\r\n"), "look at the server's log", None),
    ],
)
async def test_faults_name_the_model_the_address_and_the_fix(
    server: Server, turn: Any, told: str, price: int | None
) -> None:
    server.play(turn)
    error = await failure(planner(server, input_price="1", output_price="1"))
    assert told in str(error)
    assert "'tiny'" in str(error)
    assert f"{server.url}/chat/completions" in str(error)
    assert error.price == price


async def test_nobody_listens() -> None:
    error = await failure(ChatPlanner("tiny", base_url="http://127.0.0.1:9/v1"))
    assert "cannot connect" in str(error)
    assert "http://127.0.0.1:9/v1" in str(error)
    assert error.price == 0


async def test_without_a_key_none_is_sent_and_a_401_asks_for_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CATP_CHAT_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.play(status(401, "who are you"))
    error = await failure(planner(server))
    assert "set the environment variable CATP_CHAT_API_KEY to a key" in str(error)
    assert "Authorization" not in server.seen[0]["headers"], "OpenAI's key goes to OpenAI only"
    await failure(planner(server, api_key_env="OPENAI_API_KEY"))
    assert server.seen[-1]["headers"]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-two lines\nof it", "sk-grün", "sk\x00zero"])
async def test_a_key_that_no_header_can_hold_is_not_shown(server: Server, key: str) -> None:
    error = await failure(planner(server, api_key=key))
    assert "api_key holds characters that no API key has" in str(error)
    assert key not in str(error)
    assert not server.seen


async def test_the_key_appears_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = planner(server, api_key=KEY, attempts=1)
    named = json.loads(json.dumps(GOOD).replace("reading", KEY))  # a server that echoes the key in the plan
    server.play(says(named))
    texts = [repr(made), str(made), str(await failure(made))]
    server.play(says(GOOD))
    texts += [repr(await made.plan(request())), caplog.text, "".join(capfd.readouterr())]
    assert not [text for text in texts if KEY in text]


async def test_a_busy_server_is_asked_again_when_it_says(server: Server) -> None:
    server.play(status(429, retry_after="0.2"), status(503), says(GOOD))
    assert (await planner(server).plan(request())).candidates
    first, second, _ = server.seen
    assert second["at"] - first["at"] >= 0.19
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)
    server.play(status(429, retry_after=date), status(429, retry_after="soon"), says(GOOD))
    assert (await planner(server).plan(request())).candidates


async def test_a_wait_beyond_the_timeout_is_not_waited_for(server: Server) -> None:
    server.play(status(429, "slow down", retry_after="3600"))
    began = time.monotonic()
    error = await failure(planner(server, timeout_s=5))
    assert time.monotonic() - began < 3
    assert len(server.seen) == 1
    assert "asks to wait for 3600" in str(error)
    assert "slow down" in str(error)
    server.play(status(429, retry_after="0"))
    await failure(planner(server))
    assert len(server.seen) == 3, "it gives up"


def hang(handler: Handler) -> None:
    handler.leave.wait(20)


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    while not handler.leave.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


@pytest.mark.parametrize("turn", [hang, drip])
async def test_a_hanging_server_is_left_in_time_and_its_charge_is_unknown(server: Server, turn: Any) -> None:
    server.play(says(UNKNOWN_TOOL), turn)
    began = time.monotonic()
    error = await failure(planner(server, timeout_s=0.6, input_price="1", output_price="1"))
    assert time.monotonic() - began < 3
    assert "no complete answer in time" in str(error)
    assert "raise timeout_s" in str(error)
    assert "its last answer could not be used" in str(error)
    assert "ocr_9" in str(error)
    assert error.price is None


async def test_a_cancelled_plan_stops_at_once_and_leaves_nothing_behind(server: Server) -> None:
    server.play(hang)
    before = asyncio.all_tasks()
    task = asyncio.create_task(planner(server, samples=2, temperature=1.0).plan(request()))
    await asyncio.to_thread(Handler.asked.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)
    assert asyncio.all_tasks() <= before | {task}


def test_one_planner_serves_one_event_loop_after_another(server: Server) -> None:
    made = planner(server)
    assert [len(asyncio.run(made.plan(request())).candidates) for _ in range(2)] == [1, 1]


# Falling back


async def test_the_fallback_plans_with_a_note_and_both_are_paid(server: Server) -> None:
    server.play(says(UNKNOWN_TOOL))
    made = planner(server, fallback=SearchPlanner(), input_price="1", output_price="1")
    found = await made.plan(request())
    alone = await SearchPlanner().plan(request())
    assert to_text(found.best.plan) == to_text(alone.best.plan)
    assert "ocr_9" in found.notes[0]
    assert found.notes[0].endswith("planned by search instead")
    assert found.price is not None
    assert found.price >= 2 * 1_200_000
    assert found.by == "search"


async def test_if_the_fallback_fails_too_its_reason_is_told_and_both_are_paid(server: Server) -> None:
    class Broke:
        name = "broke"

        async def plan(self, request: PlanRequest) -> Proposal:
            raise NothingFits("too dear", "budget")

    server.play(says(UNKNOWN_TOOL))
    error = await failure(planner(server, fallback=Broke(), input_price="1", output_price="1"))
    assert isinstance(error, NothingFits)
    assert str(error) == "too dear"
    assert "ocr_9" in str(error.__cause__)
    assert error.price == 2 * 1_200_000


# Whatever a model says

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["page", "reading.text", "ocr_0", "language_0", "image", "text", "1.0", "<", "retry", "@"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["ref", "template", "list", "object", "money", "name", "value", "tool", "args",
                                       "try", "each", "steps", "outputs", "when", "accept", "else", "notes"])
                      | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
RICH = {
    **GOOD,
    "name": "x", "doc": "y", "approve": False, "inputs": [{"name": "page", "type": "image"}],
    "steps": [
        {**GOOD["steps"][0], "notes": [["retry", [[None, 2]]], ["timeout", [[None, {"duration": "3s"}]]]]},
        {**GOOD["steps"][1], "when": [["reading.confidence", ">=", 0.5]]},
        {"name": "again", "try": [{"tool": "language_0", "args": [{"value": {"template": "see {reading.text}"}}],
                                   "accept": [["code", "==", "en"]]}], "else": "lang",
         "when": [["reading.confidence", "<", 0.5]]},
    ],
    "outputs": [out("language", "again"), out("text", "reading.text")],
}  # fmt: skip


def places(form: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = form.items() if isinstance(form, dict) else enumerate(form) if isinstance(form, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(form: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(form) if isinstance(form, dict) else list(form)
    copy[path[0]] = changed(form[path[0]], path[1:], value)
    return copy


MUTANTS = st.builds(
    lambda path, value: changed(RICH, path, value), st.sampled_from(sorted(places(RICH), key=repr)), ANY
)


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(MUTANTS, ANY))
def test_nothing_a_model_says_raises_anything_but_planning_failed(server: Server, answer: Any) -> None:
    server.play(says(json.dumps(answer)))
    asked = request(Objective(), tools=24)
    try:
        found = asyncio.run(planner(server, attempts=1, timeout_s=20).plan(asked))
    except PlanningFailed:
        return
    assert from_json(to_json(found.best.plan)) == found.best.plan


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    ANY, st.builds(lambda choice: {"choices": choice}, ANY),
    st.builds(lambda message, finish: {"choices": [{"message": message, "finish_reason": finish}]}, ANY, ANY),
    st.builds(lambda content, usage: {"choices": [{"message": {"content": content}}], "usage": usage}, ANY, ANY),
))  # fmt: skip
def test_no_body_raises_anything_but_planning_failed(server: Server, body: Any) -> None:
    server.play(json.dumps(body).encode())
    with pytest.raises(PlanningFailed):
        asyncio.run(planner(server, attempts=1, timeout_s=20, input_price="1", output_price="1").plan(request()))


# Making one


@pytest.mark.parametrize(
    ("spec", "model", "url", "key"),
    [
        ("openai:gpt-4o-mini", "gpt-4o-mini", "https://api.openai.com/v1/chat/completions", "OPENAI_API_KEY"),
        ("openai:llama3.1:8b@http://localhost:11434/v1/", "llama3.1:8b", "http://localhost:11434/v1/chat/completions",
         "CATP_CHAT_API_KEY"),
        ("openai:@cf/meta/llama@https://gateway.example/v1#key=GATE,in=0.1,out=0.2,timeout=5", "@cf/meta/llama",
         "https://gateway.example/v1/chat/completions", "GATE"),
    ],
)  # fmt: skip
def test_specs(spec: str, model: str, url: str, key: str) -> None:
    made = ChatPlanner.from_spec(spec)
    assert (made.name, made.endpoint.shown) == (f"openai:{model}", url)
    assert made.endpoint.key_env == key
    if "#" in spec:
        assert made.timeout_s == 5.0
        assert "$0.0001 per 1k tokens in + $0.0002 per 1k" in repr(made)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("openai:", "write openai:MODEL"),
        ("gpt-4o", "write openai:MODEL"),
        ("openai:x@http://", "base_url must be an address"),
        ("openai:x@http://h:99999/v1", "base_url must be an address"),
        ("openai:x#pric=1", "no option 'pric'"),
        ("openai:x#timeout=soon", "timeout=soon: give seconds"),
        ("openai:x#in=1", "give both"),
        ("openai:x#in=1,out=cheap", "output_price must be US dollars per million tokens such as '0.15', got 'cheap'"),
        (f"openai:x@https://me:{KEY}@h/v1", "must not hold a user or password"),
    ],
)
def test_specs_that_are_none(spec: str, told: str) -> None:
    with pytest.raises(ValueError, match="planner ") as caught:
        ChatPlanner.from_spec(spec)
    assert told in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": " "}, "no name"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"samples": 2}, "raise temperature"),
        ({"temperature": -1}, "temperature"),
        ({"base_url": "localhost:8000/v1"}, "base_url"),
        ({"input_price": "-1", "output_price": "1"}, "input_price"),
        ({"input_price": "inf", "output_price": "1"}, "input_price"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ChatPlanner(**{"model": "m", **options})


async def test_nothing_wanted_and_no_tools_fail_before_anything_is_asked(server: Server) -> None:
    assert "nothing is wanted" in str(await failure(planner(server), request(wanted=())))
    asked = request()
    bare: tuple[ToolSig, ...] = ()
    error = await failure(planner(server), replace(asked, registry=replace(asked.registry, tools=bare)))
    assert "no tool" in str(error)
    assert not server.seen
