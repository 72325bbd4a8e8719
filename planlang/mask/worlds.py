"""Catalogues for the mask tests and its benchmark: random typed ones of any size, and one like the built-in zoo."""

from random import Random

from catp.planlang.mask import Infeasible, MaskContext, PlanMask
from catp.planlang.money import Money
from catp.planlang.nodes import Input, Literal, Scalar, ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.token_ids import Goal, TokenContext
from catp.planlang.tokens import Header
from catp.planlang.types import Type, TypeDef, TypeTable, list_of, parse_type
from catp.planlang.vocabulary import Vocabulary

__all__ = ["feasible", "random_context", "random_registry", "small_context", "zoo_context", "zoo_registry"]

_BASIC = ("text", "image", "audio", "number", "int", "bool", "json")


def _random_types(rng: Random, count: int) -> tuple[TypeTable, list[Type]]:
    """A table with `count` record types, some of them special cases of others, and all types tools may use."""
    table = TypeTable()
    names: list[str] = []
    for k in range(count):
        near = [*_BASIC, *names[-3:]]
        fields = tuple(
            (f"f{k}_{j}", Type(rng.choice(near), None, rng.random() < 0.15)) for j in range(rng.randrange(4))
        )
        parent = rng.choice(names) if names and rng.random() < 0.3 else None
        table = table.with_type(TypeDef(f"R{k}", fields, parent))
        names.append(f"R{k}")
    pool = [Type(name) for name in (*_BASIC, *names)]
    return table, [*pool, *(list_of(type_) for type_ in rng.sample(pool, min(4, len(pool))))]


def _random_param(rng: Random, position: int, types: list[Type]) -> Param:
    if rng.random() < 0.12:
        return Param(f"p{position}", Type("text"), rng.random() < 0.5, None, ("de", "en", "fr")[: rng.randint(1, 3)])
    return Param(f"p{position}", rng.choice(types), position == 0 or rng.random() < 0.6)


def random_registry(rng: Random, tools: int) -> RegistryView:
    """A catalogue of so many tools over records, basic types and lists."""
    table, types = _random_types(rng, max(2, min(40, tools // 3)))
    signatures = []
    for k in range(tools):
        params = [_random_param(rng, j, types) for j in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4)))]
        returns = rng.choice(types)
        if rng.random() < 0.05:
            returns = Type(returns.name, returns.item, True)
        signatures.append(ToolSig(ToolName(f"tool{k}"), tuple(params), returns))
    return RegistryView(tuple(signatures), table)


def random_context(rng: Random, registry: RegistryView, *, budget: bool | None = None) -> MaskContext:
    """A request on the registry that may or may not be feasible."""
    returned = [tool.returns.required for tool in registry]
    given = [Type("text"), Type("image"), *rng.sample(returned, min(2, len(returned)))]
    inputs = tuple(Input(f"in{k}", rng.choice(given)) for k in range(rng.randint(1, 3)))
    goals = tuple(Goal(f"out{k}", rng.choice(returned), k > 0 and rng.random() < 0.3) for k in range(rng.randint(1, 3)))
    constants: tuple[Scalar, ...] = ("now", 7, 0.5, "x", True)
    literals = tuple(map(Literal, rng.sample(constants, rng.randrange(4))))
    tokens = TokenContext(registry, Header(inputs), goals, literals, Vocabulary(max(64, len(registry))))
    limited = rng.random() < 0.8 if budget is None else budget
    prices = tuple(Money(rng.choice((0, 1, 3, 7, 10, 25, 60))) if rng.random() < 0.97 else None for _ in registry)
    return MaskContext(
        tokens,
        prices,
        Money(rng.choice((5, 20, 60, 150, 600))) if limited else None,
        rng.choice((2, 4, 6, 8)),
        rng.choice((1, 2, 3)),
        rng.choice((1, 3)),
    )


def feasible(rng: Random, registry: RegistryView) -> PlanMask:
    """The mask of the first feasible random request."""
    while True:
        try:
            return PlanMask(random_context(rng, registry))
        except Infeasible:
            continue


def zoo_registry() -> RegistryView:
    """Tools like the built-in ones: images are restored, read and described; texts are analysed."""
    table = TypeTable()
    for name, fields in (
        ("Reading", "text:text confidence:number"),
        ("Language", "code:text confidence:number"),
        ("Sentiment", "label:text score:number"),
        ("KeyPhrases", "items:list[text]"),
        ("Faces", "count:int boxes:list[json]"),
        ("Summary", "text:text"),
    ):
        pairs = tuple((n, parse_type(t)) for n, _, t in (f.partition(":") for f in fields.split()))
        table = table.with_type(TypeDef(name, pairs))
    image, text = Type("image"), Type("text")

    def sig(name: str, returns: str, *params: Param) -> ToolSig:
        return ToolSig(ToolName(name), params, Type(returns))

    page, words = Param("image", image), Param("text", text)
    return RegistryView(
        (
            sig("denoise_median", "image", page, Param("size", Type("int"), False)),
            sig("denoise_dct", "image", page),
            sig("deblur_unsharp", "image", page, Param("amount", Type("number"), False)),
            sig("upscale_lanczos", "image", page, Param("factor", Type("int"), False, None, (2, 3, 4))),
            sig("ocr_rapid", "Reading", page),
            sig("ocr_tesseract", "Reading", page, Param("lang", text, False, None, ("eng", "deu"))),
            sig("faces", "Faces", page),
            sig("language_py3langid", "Language", words),
            sig("sentiment_vader", "Sentiment", words),
            sig("phrases_yake", "KeyPhrases", words, Param("top", Type("int"), False)),
            sig("summary_lead", "Summary", words, Param("sentences", Type("int"), False)),
        ),
        table,
    )


def zoo_context(budget: int | None = 200, max_steps: int = 6) -> MaskContext:
    """A page to be read: its language, its key phrases, and perhaps its mood."""
    goals = (
        Goal("language", Type("Language")),
        Goal("phrases", list_of(Type("text"))),
        Goal("mood", Type("Sentiment"), True),
    )
    tokens = TokenContext(zoo_registry(), Header((Input("page", Type("image")),)), goals)
    prices = tuple(map(Money, (2, 8, 3, 5, 40, 15, 10, 1, 1, 2, 1)))
    return MaskContext(tokens, prices, None if budget is None else Money(budget), max_steps)


def small_context(rng: Random) -> MaskContext:
    """A request small enough to try everything: three or four tools, at most three steps."""
    nested = TypeDef("B", (("a", Type("A")),), rng.choice((None, "A")))
    table = TypeTable().with_type(TypeDef("A", (("x", Type("text")), ("s", Type("number"))))).with_type(nested)
    types = [Type(name) for name in ("text", "image", "A", "B")]

    def params() -> tuple[Param, ...]:
        taken = [*types, list_of(Type("A"))]
        return tuple(
            Param(f"p{j}", rng.choice(taken), j == 0 or rng.random() < 0.6) for j in range(rng.choice((1, 1, 2)))
        )

    tools = tuple(ToolSig(ToolName(f"t{k}"), params(), rng.choice(types)) for k in range(rng.randint(3, 4)))
    given = [*types, list_of(Type("text"))]
    inputs = tuple(Input(f"in{k}", rng.choice(given)) for k in range(rng.randint(1, 2)))
    goals = tuple(Goal(f"o{k}", rng.choice(types), k > 0 and rng.random() < 0.3) for k in range(rng.randint(1, 2)))
    return MaskContext(
        TokenContext(RegistryView(tools, table), Header(inputs), goals),
        tuple(Money(rng.choice((1, 2, 5))) for _ in tools),
        Money(rng.choice((2, 4, 6, 9, 15))),
        rng.choice((1, 2, 3)),
        1 if rng.random() < 0.7 else 2,
        2,
    )
