"""Constraints on text: whatever is drawn from random logits fits; whatever cannot be used is refused with a reason."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from catp.serving.engine.errors import EngineFailed, Refused
from catp.serving.engine.sampling import Draw, Drawn, Sampling
from catp.serving.model.sampler import sample
from catp.serving.programs.grammar import GrammarCompiler, Spec

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    '{"name": "Ada Lovelace", "age": 36, "tags": ["math", "poetry"], "ok": true, "rest": null, "price": -1.5e3}',
    "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. 0123456789 [] {} : ,",
    "alpha beta gamma delta epsilon red green blue yes no maybe 2026-11-22 12:30:00",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A byte-level BPE with spaces, case and every byte, as those of chat models are."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        TEXTS * 5, vocab_size=420, special_tokens=["<s>", "</s>", "<tool>"], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def shipped() -> Any:
    """The tokenizer of catp-tiny, which drops spaces and capitals: what it encodes is not what was written."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(ROOT / "datasets" / "models" / "catp-tiny"), local_files_only=True)


@pytest.fixture(scope="module")
def compiler(tokenizer: Any) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, seconds=30.0)


def write(tokenizer: Any, compiler: GrammarCompiler, spec: Spec, seed: int, most: int = 400) -> tuple[str, int]:
    """Return a text drawn from random logits under a constraint, and how many of its tokens were forced."""
    constraint = compiler.compile(spec).start()
    ids = list(constraint.opening)
    forced = len(ids)
    generator = np.random.default_rng([seed])
    for place in range(most):
        if constraint.stopped:
            break
        logits = torch.from_numpy(generator.normal(0, 2, (1, len(tokenizer))).astype(np.float32))
        outcome = sample(logits, [[Draw(Sampling(), seed, place, allowed=constraint.allowed())]])[0]
        assert isinstance(outcome, tuple), outcome
        (drawn,) = outcome
        assert isinstance(drawn, Drawn)
        run = constraint.advance(drawn.token)
        if drawn.token == tokenizer.eos_token_id:
            break
        ids += [drawn.token, *run]
        forced += len(run)
    else:
        pytest.fail(f"no end after {most} draws: {tokenizer.decode(ids)!r}")
    assert not set(ids) & set(tokenizer.all_special_ids)
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False), forced


SHORT = {"type": "string", "maxLength": 6}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"name": SHORT, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
     "required": ["name", "age"], "additionalProperties": False},
    {"type": "array", "items": {"enum": ["alpha beta", "Gamma", 3, None, True]}, "minItems": 1, "maxItems": 4},
    {"type": "object", "properties": {"kind": {"const": "Alpha beta"}, "point": {"$ref": "#/$defs/point"}},
     "required": ["kind", "point"], "additionalProperties": False,
     "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "boolean"}},
                         "required": ["x"], "additionalProperties": False}}},
    {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-c]{2,5}$"}, {"type": "string", "format": "date"}]},
    {"type": "object", "properties": {"tree": {"$ref": "#/$defs/tree"}}, "required": ["tree"],
     "additionalProperties": False,
     "$defs": {"tree": {"type": "object",
                        "properties": {"left": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]}},
                        "required": ["left"], "additionalProperties": False}}},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_every_text_drawn_under_a_schema_fits_it(tokenizer: Any, compiler: GrammarCompiler, number: int) -> None:
    schema = SCHEMAS[number]
    texts = [write(tokenizer, compiler, Spec("json_schema", json.dumps(schema)), seed)[0] for seed in range(6)]
    for text in texts:
        jsonschema.validate(json.loads(text), schema)
    assert len(set(texts)) > 1


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_a_tokenizer_that_loses_characters_changes_nothing(shipped: Any, number: int) -> None:
    schema = SCHEMAS[number]
    compiler = GrammarCompiler(shipped, seconds=30.0)
    text, _ = write(shipped, compiler, Spec("json_schema", json.dumps(schema)), 3)
    jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("pattern", ["[a-f]{3}-[0-9]{2}", "(yes|no|maybe) [A-Z]{1,3}", "(ab|cd){0,4}", "é{2}ü"])
def test_every_text_drawn_under_a_regular_expression_matches_all_of_it(
    tokenizer: Any, compiler: GrammarCompiler, pattern: str
) -> None:
    for seed in range(5):
        assert re.fullmatch(pattern, write(tokenizer, compiler, Spec("regex", pattern), seed)[0])


def test_every_text_drawn_under_a_lark_grammar_parses(tokenizer: Any, compiler: GrammarCompiler) -> None:
    import lark

    grammar = 'start: step (";" step){0,3}\nstep: VERB "(" NUMBER ")"\nVERB: "go" | "turn"\nNUMBER: /[1-9][0-9]?/\n'
    parser = lark.Lark(grammar.replace("{0,3}", "*"))
    for seed in range(5):
        parser.parse(write(tokenizer, compiler, Spec("lark", grammar), seed)[0])


def test_what_is_forced_is_not_drawn(tokenizer: Any, compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(Spec("json_schema", json.dumps(SCHEMAS[0])))
    constraint = grammar.start()
    assert tokenizer.decode(constraint.opening).startswith('{"name":')
    for letter in '""' if tokenizer.decode(constraint.opening).endswith(":") else '"':
        run = constraint.advance(tokenizer.convert_tokens_to_ids(letter))
    assert tokenizer.decode(run) == ',"age":'
    text, forced = write(tokenizer, compiler, Spec("regex", "the quick brown fox"), 1)
    assert text == "the quick brown fox"
    assert forced == len(tokenizer.encode(text))


def test_texts_of_one_grammar_do_not_disturb_each_other(tokenizer: Any, compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(Spec("regex", "(ax|by)+"))
    first, second = grammar.start(), grammar.start()
    ids = [tokenizer.convert_tokens_to_ids(letter) for letter in "ab"]
    before = second.allowed().copy()
    first.advance(ids[0])
    assert (second.allowed() == before).all()
    second.advance(ids[1])
    assert bool(first.stopped) == bool(second.stopped) is False


def test_text_may_end_where_the_grammar_accepts_and_only_there(tokenizer: Any, compiler: GrammarCompiler) -> None:
    def allows(mask: Any, token: int) -> bool:
        return bool(mask[token // 32] >> np.uint32(token % 32) & 1)

    constraint = compiler.compile(Spec("regex", "[ab]{2,3}")).start()
    letter = tokenizer.convert_tokens_to_ids("a")
    ends = [allows(constraint.allowed(), tokenizer.eos_token_id)]
    for _ in range(3):
        assert allows(constraint.allowed(), letter)
        assert not constraint.stopped
        assert constraint.advance(letter) == ()
        ends.append(allows(constraint.allowed(), tokenizer.eos_token_id))
    assert ends == [False, False, True, True]
    assert constraint.stopped


def test_several_ends(tokenizer: Any) -> None:
    tool = tokenizer.convert_tokens_to_ids("<tool>")
    constraint = GrammarCompiler(tokenizer, [tokenizer.eos_token_id, tool]).compile(Spec("regex", "a*")).start()
    mask = constraint.allowed()
    assert all(mask[token // 32] >> np.uint32(token % 32) & 1 for token in (tokenizer.eos_token_id, tool))


def test_a_token_that_is_not_allowed_fails_its_request(tokenizer: Any, compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(Spec("regex", "a{2}b*")).start()
    with pytest.raises(EngineFailed, match="does not allow token"):
        constraint.advance(tokenizer.convert_tokens_to_ids("z"))


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("regex", "(a", "invalid regex"),
        ("regex", "(?=a)b", "invalid regex"),
        ("lark", "start: foo", "unknown name"),
        ("lark", "start: a\na: a", "no text fits"),
        ("lark", "", "Empty grammar"),
        ("lark", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000, "nested"),
        ("lark", "start: a0\n" + "".join(f"a{i}: a{i + 1}\n" for i in range(4000)) + 'a4000: "x"', "rules"),
        ("json_schema", "{", "not JSON"),
        ("json_schema", "[" * 30_000, "not JSON"),
        ("json_schema", "[]", "JSON object"),
        ("json_schema", '{"type": "nosuch"}', "nosuch"),
        ("json_schema", '{"not": {}}', "not"),
        ("json_schema", '{"$ref": "#/$defs/none"}', "none"),
        ("json_schema", '{"allOf": [{"type": "string"}, {"type": "integer"}]}', "Unsatisfiable"),
        ("json_schema", json.dumps({"allOf": [{"$ref": "#"}] * 1800}), "references"),
        ("lark", "start: " + " | ".join(f'/a{i}/ "x"' for i in range(2500)), "simplify the grammar or the schema"),
        ("regex", "a" * 70_000, "longer than 65536 bytes"),
    ],
)  # fmt: skip
def test_a_broken_grammar_is_refused(compiler: GrammarCompiler, kind: Any, text: str, why: str) -> None:
    for _ in range(2):  # the second time from the cache
        with pytest.raises(Refused, match=re.escape(why)) as caught:
            compiler.compile(Spec(kind, text))
        assert caught.value.reason == "bad_grammar"
        assert caught.value.status == 400
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["rules", "tokens", "references"])
def test_the_longest_chains_let_through_do_not_end_the_process(compiler: GrammarCompiler, kind: str) -> None:
    lines = "".join(f"a{i}: a{i + 1}\n" for i in range(990))
    references = {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(990)} | {"a990": {"const": 1}}
    specs = {
        "rules": Spec("lark", f'start: a0\n{lines}a990: "x"'),
        "tokens": Spec("lark", f'start: A0\n{lines.upper()}A990: "x"'),
        "references": Spec("json_schema", json.dumps({"$defs": references, "$ref": "#/$defs/a0"})),
    }
    constraint = compiler.compile(specs[kind]).start()
    assert constraint.opening or constraint.allowed().any()


def test_one_compilation_for_one_grammar(tokenizer: Any) -> None:
    compiler = GrammarCompiler(tokenizer, kept=2)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(compiler.compile(Spec("regex", "a+b")))) for _ in range(8)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(grammar) for grammar in found}) == 1
    for pattern in ("c", "d", "e"):
        compiler.compile(Spec("regex", pattern))
    assert compiler.compile(Spec("regex", "a+b")) is not found[0]  # forgotten: two are kept


def test_limits_on_time_and_on_what_waits(tokenizer: Any) -> None:
    slow = Spec("json_schema", json.dumps({"properties": {f"p{i}": SHORT for i in range(1200)}}))
    hasty = GrammarCompiler(tokenizer, workers=1, seconds=0.0, pending=2)
    with pytest.raises(Refused, match="does not compile within 0 s") as late:
        hasty.compile(slow)
    assert late.value.reason == "bad_grammar"
    with pytest.raises(Refused, match="does not compile"):
        hasty.compile(Spec("regex", "ab"))
    with pytest.raises(Refused) as full:
        hasty.compile(Spec("regex", "abc"))
    assert (full.value.reason, full.value.status, full.value.retry_after) == ("queue_full", 503, 1.0)
    hasty.close()
    with pytest.raises(Refused, match="shutting down") as closed:
        hasty.compile(Spec("regex", "abcd"))
    assert closed.value.reason == "draining"
