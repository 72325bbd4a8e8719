"""OpenAI's own client, unchanged, against a server on a socket (scripted backend)."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.serving.server.running import Running, running
from tests.serving.server.scripted import LETTERS, MODEL, Scripted


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(Scripted()) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=30) as found:
        yield found


ASK = [{"role": "user", "content": "the alphabet, please"}]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "catp"
    with pytest.raises(openai.NotFoundError, match="there is no model 'other'"):
        client.models.retrieve("other")


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=30)  # type: ignore[arg-type]
    choice = answer.choices[0]
    assert (choice.message.content, choice.message.role) == ((LETTERS * 2)[:30], "assistant")
    assert (choice.finish_reason, choice.index, choice.logprobs) == ("length", 0, None)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 30
    assert answer.usage.prompt_tokens == len("the alphabet, please")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 30
    again = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_completion_tokens=3)  # type: ignore[arg-type]
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens - 1
    assert again.usage.model_extra is not None
    assert again.usage.model_extra["catp"]["device_seconds"] == pytest.approx(3 * 0.002)
    assert again.usage.model_extra["catp"]["price_usd"] == "0.000000013"  # 6 ms at 2.1e-06 dollars a second


def test_chat_streams(client: openai.OpenAI) -> None:
    chunks: Any = list(client.chat.completions.create(
        model=MODEL, messages=ASK, temperature=0, max_tokens=5, stream=True, stream_options={"include_usage": True},
    ))  # type: ignore[call-overload]  # fmt: skip
    *body, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in body) == "abcde"
    assert body[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in body] == [None] * 4 + ["length"]
    assert all(chunk.usage is None for chunk in body)
    assert last.choices == []
    assert last.usage.completion_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1


def test_choices_are_told_apart_and_seeds_repeat(client: openai.OpenAI) -> None:
    def texts(seed: int) -> list[str | None]:
        answer = client.chat.completions.create(model=MODEL, messages=ASK, n=4, seed=seed, max_tokens=6)  # type: ignore[arg-type]
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.message.content for choice in answer.choices]

    assert texts(7) == texts(7) != texts(8)
    assert len(set(texts(7))) > 1
    streamed = ["", "", "", ""]
    stream: Any = client.chat.completions.create(model=MODEL, messages=ASK, n=4, seed=7, max_tokens=6, stream=True)  # type: ignore[arg-type]
    for chunk in stream:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts(7)


def test_stop_and_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=ASK, temperature=0, stop=["d"], logprobs=True, top_logprobs=2  # type: ignore[arg-type]
    )  # fmt: skip
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("abc", "stop")
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert [one.token for one in choice.logprobs.content] == ["a", "b", "c", "d"]
    assert choice.logprobs.content[0].bytes == [97]
    assert [top.token for top in choice.logprobs.content[0].top_logprobs] == ["a", "b"]


def test_completions_of_texts_and_tokens(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=["one", "three"], temperature=0, max_tokens=3, n=2, echo=True
    )
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "oneabc"), (1, "oneabc"), (2, "threeabc"), (3, "threeabc"),
    ]  # fmt: skip
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 12)
    tokens = client.completions.create(model=MODEL, prompt=[1, 2, 3], temperature=0, logprobs=1)
    assert tokens.choices[0].text == LETTERS[:16]  # OpenAI's default of max_tokens
    assert tokens.choices[0].logprobs is not None
    assert tokens.choices[0].logprobs.text_offset == list(range(16))
    assert tokens.choices[0].logprobs.top_logprobs is not None
    assert tokens.choices[0].logprobs.top_logprobs[0] == {"a": -1.5}
    streamed = client.completions.create(model=MODEL, prompt=["one", "two"], temperature=0, max_tokens=2, stream=True)
    texts = ["", ""]
    for chunk in streamed:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["ab", "ab"]


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=ASK)  # type: ignore[arg-type]
    assert (unknown.value.code, unknown.value.param) == ("unknown_model", "model")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="x", max_tokens=5000)
    assert long.value.code == "too_long"
    with pytest.raises(openai.BadRequestError) as grammar:
        client.chat.completions.create(
            model=MODEL, messages=ASK, extra_body={"structured_outputs": {"regex": "(a"}}  # type: ignore[arg-type]
        )  # fmt: skip
    assert (grammar.value.code, grammar.value.type) == ("bad_grammar", "invalid_request_error")


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "unsupported_parameter", "tools"),
        ({"temprature": 1}, "unknown_parameter", "temprature"),
        ({"temperature": 9}, "bad_request", "temperature"),
        ({"temperature": "1"}, "bad_request", "temperature"),
        ({"n": 1000}, "bad_request", "n"),
        ({"stop": ["a"] * 17}, "bad_request", "stop"),
        ({"stop": ""}, "bad_request", "stop"),
        ({"logit_bias": {"x": 1}}, "bad_request", "logit_bias"),
        ({"top_logprobs": 2}, "bad_request", "top_logprobs"),
        ({"response_format": {"type": "json_schema"}}, "bad_request", "response_format.json_schema"),
        ({"messages": []}, "bad_request", "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "bad_request",
         "messages.0.content.0.type"),
        ({"store": True}, "unsupported_parameter", "store"),
        ({"best_of": 3}, "unsupported_parameter", "best_of"),
        ({"reasoning_effort": "high"}, "unsupported_parameter", "reasoning_effort"),
    ],
)  # fmt: skip
def test_nothing_is_ignored_in_silence(server: Running, more: dict[str, object], code: str, param: str) -> None:
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json={"model": MODEL, "messages": ASK, **more})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error


def test_what_has_no_effect_is_named(server: Running) -> None:
    ask = {"model": MODEL, "messages": ASK, "max_tokens": 1, "user": "me", "store": False, "tools": [], "n": None}
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=ask)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-catp-ignored"] == "user"
    assert answer.headers["x-request-id"] == answer.json()["id"]


def test_usage_so_far_for_load_generators(server: Running) -> None:
    ask = {"model": MODEL, "prompt": "abc", "max_tokens": 3, "stream": True, "ignore_eos": True,
           "stream_options": {"include_usage": True, "continuous_usage_stats": True}}  # fmt: skip
    with server.client() as client, client.stream("POST", "/v1/completions", json=ask) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert '"completion_tokens":1,"total_tokens":4' in lines[0]


def test_schemas_are_documented(server: Running) -> None:
    with server.client() as client:
        document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/plans"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert body.rpartition("/")[2] in schemas
    references = {text.partition('"')[0] for text in str(document).replace("'", '"').split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
