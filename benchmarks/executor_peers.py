"""The peers of `executor.py`: other executors of graphs, each with the same graph and the same work."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from benchmarks.executor_graphs import FAILS, NODES, SLEEPS, Graph, Work, ends


class LangGraph:
    name = "langgraph"
    package = "langgraph"

    def __init__(self, graph: Graph, work: Work) -> None:
        import operator
        from typing import Annotated, TypedDict

        from langgraph.graph import END, START, StateGraph

        state = TypedDict("state", {"done": Annotated[list[str], operator.add]})  # noqa: UP013
        builder = StateGraph(state)
        for node, needs in graph.items():
            builder.add_node(node, self._node(node, work))
            if needs:
                builder.add_edge(list(needs), node)
            else:
                builder.add_edge(START, node)
        for node in ends(graph):
            builder.add_edge(node, END)
        self.app = builder.compile()
        self.limit = len(graph) + 5

    @staticmethod
    def _node(name: str, work: Work) -> Callable[[Any], Awaitable[dict[str, list[str]]]]:
        async def node(state: Any) -> dict[str, list[str]]:
            await work(name)
            return {"done": [name]}

        return node

    async def run(self) -> Any:
        return await self.app.ainvoke({"done": []}, {"recursion_limit": self.limit})


class LlamaWorkflows:
    name = "llama-index-workflows"
    package = "llama-index-workflows"

    def __init__(self, graph: Graph, work: Work) -> None:
        from workflows import Workflow, step
        from workflows.events import Event, StartEvent, StopEvent

        kinds = {node: type(f"Done_{node}", (Event,), {}) for node in graph}
        starts = {node: type(f"Start_{node}", (Event,), {}) for node, needs in graph.items() if not needs}

        flow: Any = type("Flow", (Workflow,), {})

        async def begin(ctx: Any, ev: Any) -> None:
            for kind in starts.values():
                ctx.send_event(kind())

        async def finish(ctx: Any, ev: Any) -> Any:
            if ctx.collect_events(ev, [kinds[node] for node in ends(graph)]) is None:
                return None
            return StopEvent(result=None)

        from workflows import Context

        def union(found: list[type]) -> Any:
            whole: Any = found[0]
            for kind in found[1:]:
                whole = whole | kind
            return whole

        begin.__annotations__ = {"ctx": Context, "ev": StartEvent, "return": union([*starts.values()]) | None}
        finish.__annotations__ = {
            "ctx": Context,
            "ev": union([kinds[n] for n in ends(graph)]),
            "return": StopEvent | None,
        }
        step(workflow=flow)(begin)
        step(workflow=flow)(finish)
        for node, needs in graph.items():
            step(workflow=flow, num_workers=NODES)(self._step(node, needs, kinds, starts, work, Context, union))
        self.flow = flow(timeout=None)

    @staticmethod
    def _step(
        node: str, needs: tuple[str, ...], kinds: Any, starts: Any, work: Work, context: Any, union: Any
    ) -> Callable[..., Any]:
        async def run(ctx: Any, ev: Any) -> Any:
            if len(needs) > 1 and ctx.collect_events(ev, [kinds[need] for need in needs]) is None:
                return None
            await work(node)
            return kinds[node]()

        run.__name__ = f"step_{node}"
        waits = union([kinds[need] for need in needs]) if needs else starts[node]
        run.__annotations__ = {"ctx": context, "ev": waits, "return": kinds[node] | None}
        return run

    async def run(self) -> Any:
        return await self.flow.run()


class PydanticGraph:
    name = "pydantic-graph"
    package = "pydantic-graph"

    def __init__(self, graph: Graph, work: Work) -> None:
        from pydantic_graph import GraphBuilder, StepContext
        from pydantic_graph.join import reduce_list_append

        builder: Any = GraphBuilder(output_type=object)
        steps: dict[str, Any] = {}
        for node in graph:
            steps[node] = builder.step(node_id=node)(self._step(node, work, StepContext))
        edges = []
        starts = [steps[node] for node, needs in graph.items() if not needs]
        edges.append(builder.edge_from(builder.start_node).to(*starts))
        for node, needs in graph.items():
            if len(needs) == 1:
                edges.append(builder.edge_from(steps[needs[0]]).to(steps[node]))
            elif needs:
                join = builder.join(reduce_list_append, initial_factory=list)
                edges.append(builder.edge_from(*[steps[need] for need in needs]).to(join))
                edges.append(builder.edge_from(join).to(steps[node]))
        last = ends(graph)
        if len(last) == 1:
            edges.append(builder.edge_from(steps[last[0]]).to(builder.end_node))
        else:
            join = builder.join(reduce_list_append, initial_factory=list)
            edges.append(builder.edge_from(*[steps[node] for node in last]).to(join))
            edges.append(builder.edge_from(join).to(builder.end_node))
        builder.add(*edges)
        self.graph = builder.build()

    @staticmethod
    def _step(name: str, work: Work, context: Any) -> Callable[[Any], Awaitable[Any]]:
        async def node(ctx: Any) -> Any:
            await work(name)
            return name

        node.__annotations__ = {"ctx": context[None, None, object], "return": object}
        return node

    async def run(self) -> Any:
        return await self.graph.run()


class Hamilton:
    name = "hamilton async"
    package = "apache-hamilton"

    def __init__(self, graph: Graph, work: Work) -> None:
        from hamilton import ad_hoc_utils, async_driver

        functions = []
        for node, needs in graph.items():
            scope: dict[str, Any] = {"work": work, "Any": Any}
            params = ", ".join(f"{need}: Any" for need in needs)
            exec(f"async def {node}({params}) -> Any:\n    return await work({node!r})\n", scope)
            functions.append(scope[node])
        module = ad_hoc_utils.create_temporary_module(*functions, module_name=f"bench_{id(self)}")
        self.driver = async_driver.AsyncDriver({}, module, result_builder=None)
        self.wanted = ends(graph)

    async def run(self) -> Any:
        return await self.driver.raw_execute(self.wanted)


class Dask:
    name = "dask threaded"
    package = "dask"

    def __init__(self, graph: Graph, work: Work) -> None:
        def node(name: str, *inputs: Any) -> Any:
            seconds = sleeps.get(name)
            if seconds:
                time.sleep(seconds)
            if name in fails:
                raise RuntimeError(name)
            return name

        sleeps, fails = SLEEPS, FAILS
        self.graph = {name: (partial(node, name), *needs) for name, needs in graph.items()}
        self.wanted = ends(graph)

    async def run(self) -> Any:
        from dask.threaded import get

        return get(self.graph, self.wanted, num_workers=8)


PEERS: tuple[Any, ...] = (LangGraph, LlamaWorkflows, PydanticGraph, Hamilton, Dask)
