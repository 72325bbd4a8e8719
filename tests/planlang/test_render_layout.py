"""Layout: what must hold in every drawing, and what makes a drawing good."""

from itertools import combinations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.render.layout import Box, Direction, Layout, Spacing, layout, ranks

EPSILON = 0.02


def graph_of(*edges: tuple[str, str], nodes: str = "") -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


@st.composite
def dags(draw: st.DrawFn) -> tuple["nx.DiGraph[str]", dict[str, tuple[float, float]]]:
    count = draw(st.integers(1, 24))
    names = draw(st.permutations([f"n{i}" for i in range(count)]))
    pairs = list(combinations(names, 2))
    edges = draw(st.lists(st.sampled_from(pairs), max_size=60)) if pairs else []
    graph = graph_of(*edges)
    graph.add_nodes_from(names)
    size = st.tuples(st.floats(10, 300), st.floats(10, 120))
    return graph, {name: draw(size) for name in names}


def overlaps(a: Box, b: Box) -> bool:
    return (
        a.x + a.w > b.x + EPSILON
        and b.x + b.w > a.x + EPSILON
        and a.y + a.h > b.y + EPSILON
        and b.y + b.h > a.y + EPSILON
    )


def crosses(box: Box, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """True if the axis-parallel hull of a segment's straight part runs through the inside of a box."""
    low_x, high_x = sorted((start[0], end[0]))
    low_y, high_y = sorted((start[1], end[1]))
    inside_x = low_x < box.x + box.w - EPSILON and high_x > box.x + EPSILON
    inside_y = low_y < box.y + box.h - EPSILON and high_y > box.y + EPSILON
    return inside_x and inside_y


@pytest.mark.parametrize("direction", ["LR", "TB"])
@settings(deadline=None, max_examples=150)
@given(drawing=dags())
def test_boxes_are_apart_inside_the_page_and_in_the_direction_of_the_edges(
    drawing: tuple["nx.DiGraph[str]", dict[str, tuple[float, float]]], direction: Direction
) -> None:
    graph, sizes = drawing
    drawn = layout(graph, sizes=sizes, direction=direction)
    assert set(drawn.nodes) == set(graph.nodes)
    for name, box in drawn.nodes.items():
        assert (box.w, box.h) == pytest.approx(sizes[name], abs=EPSILON)
        assert min(box.x, box.y) >= 0
        assert box.x + box.w <= drawn.width + EPSILON
        assert box.y + box.h <= drawn.height + EPSILON
    for (a, box_a), (b, box_b) in combinations(drawn.nodes.items(), 2):
        assert not overlaps(box_a, box_b), (a, b)
    for source, target in graph.edges:
        first, second = drawn.nodes[source], drawn.nodes[target]
        if direction == "LR":
            assert first.x + first.w < second.x
        else:
            assert first.y + first.h < second.y


@settings(deadline=None, max_examples=150)
@given(drawing=dags())
def test_every_edge_runs_from_border_to_border_and_around_all_boxes(
    drawing: tuple["nx.DiGraph[str]", dict[str, tuple[float, float]]],
) -> None:
    graph, sizes = drawing
    drawn = layout(graph, sizes=sizes)
    assert sorted((edge.source, edge.target) for edge in drawn.edges) == sorted(graph.edges)
    for edge in drawn.edges:
        first, second = drawn.nodes[edge.source], drawn.nodes[edge.target]
        assert edge.points[0] == pytest.approx((first.x + first.w, first.y + first.h / 2), abs=EPSILON)
        assert edge.points[-1] == pytest.approx((second.x, second.y + second.h / 2), abs=EPSILON)
        for start, end in zip(edge.points, edge.points[1:], strict=False):
            assert end[0] > start[0], "edges never turn back"
            if start[1] == end[1]:  # bends happen between ranks, where no box is
                others = (box for name, box in drawn.nodes.items() if name not in (edge.source, edge.target))
                assert not any(crosses(box, start, end) for box in others)


@settings(deadline=None, max_examples=60)
@given(drawing=dags())
def test_the_same_graph_is_drawn_the_same(
    drawing: tuple["nx.DiGraph[str]", dict[str, tuple[float, float]]],
) -> None:
    graph, sizes = drawing
    again = graph_of(*reversed(list(graph.edges)))
    once = layout(graph, sizes=sizes)
    assert layout(graph.copy(), sizes=dict(reversed(sizes.items()))) == once
    assert set(layout(again, sizes=sizes).nodes) <= set(once.nodes)


def test_ranks_are_longest_paths_and_sources_stay_near_their_consumers() -> None:
    graph = graph_of(("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("late", "d"))
    assert ranks(graph) == {"a": 0, "b": 1, "c": 2, "d": 3, "late": 2}


def test_a_cycle_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="cycle through or before node 'b'"):
        layout(graph_of(("a", "b"), ("b", "c"), ("c", "b")))


def test_an_empty_graph_has_an_empty_drawing() -> None:
    assert layout(nx.DiGraph()) == Layout(0.0, 0.0, {}, ())


def test_a_chain_is_one_straight_line() -> None:
    drawn = layout(graph_of(("a", "b"), ("b", "c"), ("c", "d")), sizes={"b": (80, 90)})
    assert all(len(edge.points) == 2 for edge in drawn.edges)
    assert len({point[1] for edge in drawn.edges for point in edge.points}) == 1


def test_a_long_edge_passes_beside_the_nodes_it_skips() -> None:
    drawn = layout(graph_of(("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")))
    skipping = next(edge for edge in drawn.edges if (edge.source, edge.target) == ("a", "d"))
    middle = [y for x, y in skipping.points if drawn.nodes["b"].x <= x <= drawn.nodes["c"].x + drawn.nodes["c"].w]
    assert middle
    assert len(set(middle)) == 1, "straight between its two bends"


def test_readers_of_one_value_share_a_line() -> None:
    spine = [(f"s{i}", f"s{i + 1}") for i in range(6)]
    drawn = layout(graph_of(*spine, *(("lang", f"s{i}") for i in range(7))))
    bus = {y for edge in drawn.edges if edge.source == "lang" for x, y in edge.points[1:-2]}
    assert len(bus) <= 2


def test_a_tree_and_a_crossed_pair_are_drawn_without_crossings() -> None:
    drawn = layout(graph_of(("a", "y"), ("b", "x"), ("c", "z"), ("a", "z"), nodes="abcxyz"))

    def centre(name: str) -> float:
        return drawn.nodes[name].y + drawn.nodes[name].h / 2

    edges = [(edge.source, edge.target) for edge in drawn.edges]
    for (s1, t1), (s2, t2) in combinations(edges, 2):
        assert (centre(s1) - centre(s2)) * (centre(t1) - centre(t2)) >= 0, "crossing"


def test_spacing_is_kept() -> None:
    gaps = Spacing(rank=100, node=40, margin=5)
    drawn = layout(graph_of(("a", "b"), ("a", "c")), spacing=gaps)
    a, b, c = (drawn.nodes[name] for name in "abc")
    assert b.x - (a.x + a.w) == pytest.approx(100)
    assert abs(b.y - c.y) - b.h == pytest.approx(40)
    assert min(a.x, b.y, c.y) == pytest.approx(5)


def test_a_dense_graph_falls_back_to_straight_lines_and_still_keeps_boxes_apart() -> None:
    names = [f"n{i}" for i in range(90)]
    drawn = layout(graph_of(*combinations(names, 2)))
    assert len(drawn.edges) == 90 * 89 // 2
    assert not any(overlaps(a, b) for a, b in combinations(drawn.nodes.values(), 2))
