"""Shows how nodes become children: as arguments, in lists and dicts, with `after=`, and in chains."""

from __future__ import annotations

import pytest

import flownb as fn


@pytest.fixture
def tasks():
    """Make three tasks: `say` returns its argument, `add` sums, `collect` returns what it got."""

    @fn.task
    def say(value):
        return value

    @fn.task
    def add(a, b=100):
        return a + b

    @fn.task
    def collect(things, rest=None):
        return [things, rest]

    return say, add, collect


def result(node):
    return fn.add(node).result(timeout=20)


def test_a_node_as_an_argument_is_a_child_whose_value_is_passed_in(tasks):
    say, add, _ = tasks
    flow = fn.add(add.node(say.node(3), b=say.node(4)))
    assert flow.result(timeout=20) == 7
    assert flow.job.data == {}
    assert flow.progress().total == 3


def test_values_and_nodes_are_passed_side_by_side(tasks):
    say, add, _ = tasks
    assert result(add.node(say.node(3), 5)) == 8
    assert result(add.node(say.node(3))) == 103
    assert result(add.node(b=say.node(1), a=1)) == 2


def test_nodes_in_lists_tuples_and_dicts_keep_their_places(tasks):
    say, _, collect = tasks
    assert result(collect.node([say.node(i) for i in range(5)])) == [[0, 1, 2, 3, 4], None]
    assert result(collect.node((say.node(1), say.node(2)), {"x": say.node(3), "y": say.node(4)})) == [
        [1, 2],
        {"x": 3, "y": 4},
    ]


def test_the_same_node_twice_runs_once_and_is_passed_twice(tasks):
    say, add, collect = tasks
    one = say.node(21)
    flow = fn.add(add.node(one, one))
    assert flow.result(timeout=20) == 42
    assert flow.progress().total == 2
    shared = say.node(1)
    flow = fn.add(collect.node(add.node(shared, 1), add.node(shared, 2)))
    assert flow.result(timeout=20) == [2, 3]
    assert flow.progress().total == 4


def test_after_waits_without_taking_the_value(tasks):
    say, _, collect = tasks
    flow = fn.add(
        collect.node(5, after=[say.node("a"), {"name": "say", "queueName": "say", "data": {"value": "b"}}])
    )
    assert flow.result(timeout=20) == [5, None]
    assert sorted(flow.job.get_children_values().values()) == ["a", "b"]


@pytest.mark.parametrize(
    "mixed", [lambda node: [node, 1], lambda node: {"a": node, "b": 1}, lambda node: (1, node)]
)
def test_nodes_mixed_with_values_are_refused(tasks, mixed):
    say, _, collect = tasks
    with pytest.raises(TypeError, match="'things' mixes nodes and values; pass them as two arguments"):
        collect.node(mixed(say.node(1)))


def test_a_node_hidden_deeper_is_refused_and_nothing_is_written(tasks, redis):
    say, _, collect = tasks
    with pytest.raises(fn.FlowError, match="Node is not JSON"):
        fn.add(collect.node({"list": [[say.node(1)]]}))
    assert redis.dbsize() == 0


def test_an_optional_child_that_failed_is_passed_as_none(tasks):
    _, _, collect = tasks

    @fn.task
    def bad():
        raise ValueError

    optional = {"failParentOnFailure": False}
    assert result(collect.node(bad.node(opts=optional), [bad.node(opts=optional)])) == [None, [None]]


def test_a_child_that_failed_fails_the_call(tasks):
    _, _, collect = tasks

    @fn.task
    def bad(why):
        raise ValueError(why)

    with pytest.raises(fn.FlowFailed, match="collect > bad: ValueError: no luck"):
        result(collect.node(bad.node("no luck")))


def test_a_task_takes_a_child_of_another_program(tasks):
    _, _, collect = tasks
    flow = fn.add(collect.node(fn.Node("theirs", "node-queue", {"n": 1})))
    with fn.Worker("node-queue", lambda job: job.data):
        assert flow.result(timeout=20) == [{"n": 1}, None]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda add: add.node(1, 2, 3), r"add.node\(\) takes 2 arguments, not 3"),
        (lambda add: add.node(1, a=2), r"add.node\(\) got 'a' twice"),
        (lambda add: add.node(1, b=2, after=add.node(1)), r"add.node\(\): after is a list of nodes"),
        (lambda add: add.node(1, b=2, after="load"), r"after is a list of nodes, .* not 'load'"),
        (lambda add: add.node(1, c=2), r"add.node\(\) has no argument 'c'; it has a, b"),
    ],
)
def test_wrong_arguments_are_refused_at_once(tasks, call, says):
    with pytest.raises(TypeError, match=says):
        call(tasks[1])


def test_a_missing_argument_is_refused_with_the_path(tasks, redis):
    say, add, collect = tasks
    with pytest.raises(fn.FlowError, match=r"^root/children\[0\]: task add: its argument 'a' is missing"):
        fn.add(collect.node(add.node(), say.node(1)))
    assert redis.dbsize() == 0


def test_a_chain_hands_each_value_to_the_next(tasks):
    say, add, collect = tasks
    assert result(fn.chain(say.node(1), add, collect)) == [101, None]
    assert result(fn.chain(say.node(1), add.node(b=1), add.node(b=1))) == 3


def test_a_step_of_a_chain_receives_the_value_as_its_first_free_argument(tasks):
    say, add, collect = tasks
    assert result(fn.chain(say.node(1), add.node(10))) == 11  # `a` is given, so `b` is filled
    assert result(fn.chain(say.node(1), collect.node(rest=say.node(2)))) == [1, 2]


def test_a_chain_may_begin_with_a_task_without_arguments(tasks):
    @fn.task
    def start():
        return 5

    assert result(fn.chain(start, tasks[1])) == 105


def test_what_cannot_be_chained(tasks):
    say, add, _ = tasks
    with pytest.raises(TypeError, match="'add' has no free argument for the value of 'say'"):
        fn.chain(say.node(1), add.node(1, 2))
    with pytest.raises(TypeError, match="a step is a task or a node, not function"):
        fn.chain(say.node(1), lambda x: x)
    with pytest.raises(TypeError, match="a step is a task or a node, not dict"):
        fn.chain({"name": "say", "queueName": "say"}, add.node(b=1))  # add would get the dict itself
    with pytest.raises(TypeError, match="give it the steps"):
        fn.chain()


def test_a_step_used_in_two_chains_is_not_changed_by_the_first(tasks):
    say, add, _ = tasks
    step = add.node(b=1)
    first, second = fn.chain(say.node(1), step), fn.chain(say.node(10), step)
    assert [result(first), result(second)] == [2, 11]


def test_a_node_of_a_task_without_its_call_says_what_to_do(tasks):
    with pytest.raises(fn.FlowError, match=r"a node is a dict or a Node, not Task; call its .node\(...\)"):
        fn.add({"name": "x", "queueName": "q", "children": [tasks[0]]})


def test_a_step_of_a_chain_that_still_misses_an_argument_is_refused(tasks, redis):
    @fn.task
    def three(a, b, c): ...

    with pytest.raises(fn.FlowError, match=r"^root: task three: its argument 'b' is missing"):
        fn.add(fn.chain(tasks[0].node(1), three.node(c=1)))
    assert redis.dbsize() == 0


def scaled_by(factor, **options):
    @fn.task(**options)
    def scaled(x):
        return x * factor

    return scaled


def test_tasks_that_one_function_makes_with_other_values_are_refused_under_one_name_in_a_tree(tasks):
    _, _, collect = tasks
    two, ten = scaled_by(2), scaled_by(10)
    with pytest.raises(fn.FlowError) as refused:
        fn.add(collect.node([two.node(1), ten.node(1)]))
    assert str(refused.value) == (
        "root/children[0]: task 'scaled': queue 'scaled' has another task of this name by now (factor: 2 -> 10), and a job "
        'finds its function by its name: give each a queue of its own, @fn.task(queue=f"scaled-{...}")'
    )
    assert result(ten.node(1)) == 10
    assert fn.fan_out([1, 2], two, name="by two").results(timeout=20)["scaled"].tolist() == [2, 4]


def test_tasks_that_one_function_makes_run_side_by_side_in_queues_of_their_own(tasks):
    _, _, collect = tasks
    made = [scaled_by(factor, queue=f"scaled-{factor}") for factor in (2, 10)]
    assert result(collect.node([task.node(1) for task in made])) == [[2, 10], None]
    found = [fn.fan_out([3], task).results(timeout=20)["scaled"].tolist() for task in made]
    assert found == [[6], [30]]


def test_one_function_may_be_the_task_of_two_queues(tasks):
    _, _, collect = tasks

    def doubled(x):
        return 2 * x

    fast, slow = fn.task(queue="fast")(doubled), fn.task(queue="slow")(doubled)
    assert result(collect.node([fast.node(1), slow.node(2)])) == [[2, 4], None]
