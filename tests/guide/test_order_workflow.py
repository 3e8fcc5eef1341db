"""Shows the guide's "Complex Workflow": paid once, after validation, and both dependants get the payment's value."""

from __future__ import annotations

import threading

import pytest

import flownb as fn

ORDER = {
    "orderId": "o-1",
    "items": [{"productId": "p-1", "quantity": 2}],
    "customerId": "c-1",
    "shippingAddress": {"city": "Berlin"},
}
QUEUES = [
    "order-confirmation",
    "order-fulfillment",
    "inventory",
    "payment",
    "validation",
    "item-validation",
    "customer-validation",
    "shipping",
]


def order_tree(order):
    return {
        "name": "send-confirmation",
        "queueName": "order-confirmation",
        "data": {"orderId": order["orderId"]},
        "children": [
            {
                "name": "fulfill-order",
                "queueName": "order-fulfillment",
                "data": {"orderId": order["orderId"]},
                "children": [
                    {
                        "name": "reserve-inventory",
                        "queueName": "inventory",
                        "data": {"orderId": order["orderId"], "items": order["items"]},
                        "children": [
                            {
                                "name": "process-payment",
                                "queueName": "payment",
                                "data": {"orderId": order["orderId"], "customerId": order["customerId"]},
                                "children": [
                                    {
                                        "name": "validate-order",
                                        "queueName": "validation",
                                        "data": {"orderId": order["orderId"]},
                                        "children": [
                                            {
                                                "name": "validate-items",
                                                "queueName": "item-validation",
                                                "data": {"items": order["items"]},
                                            },
                                            {
                                                "name": "validate-customer",
                                                "queueName": "customer-validation",
                                                "data": {"customerId": order["customerId"]},
                                            },
                                        ],
                                    }
                                ],
                            }
                        ],
                    },
                    {
                        "name": "prepare-shipping",
                        "queueName": "shipping",
                        "data": {"orderId": order["orderId"], "address": order["shippingAddress"]},
                        "children": [
                            {
                                "name": "process-payment",
                                "queueName": "payment",
                                "data": {"orderId": order["orderId"], "customerId": order["customerId"]},
                                # This references the same payment job, creating a diamond dependency
                            }
                        ],
                    },
                ],
            }
        ],
    }


class OrderWorkflow:
    def __init__(self):
        self.flow_producer = fn.FlowProducer()

    def process_order(self, order):
        return self.flow_producer.add(order_tree(order))


class Shop:
    """Runs every queue of the workflow and writes down what ran, and on which values."""

    def __init__(self):
        self.ran = []
        self.received = {}
        self.noting = threading.Lock()

    def process(self, job):
        values = job.get_children_values()
        with self.noting:
            self.ran.append(job.name)
            self.received[job.name] = {key.split(":")[0]: value for key, value in values.items()}
        if job.name == "process-payment":
            return {"paid": job.data["customerId"]}
        return job.name

    def __enter__(self):
        self.worker = fn.Worker(QUEUES, self.process, concurrency=4).start()
        return self

    def __exit__(self, *_):
        self.worker.close()


def test_the_payment_is_made_once_and_after_the_validation(capsys):
    with Shop() as shop:
        flow = OrderWorkflow().process_order(ORDER)
        assert flow.result(timeout=30) == "send-confirmation"
    assert "shared: process-payment under reserve-inventory and prepare-shipping" in capsys.readouterr().out
    ran = shop.ran
    assert sorted(ran[:2]) == ["validate-customer", "validate-items"]
    assert ran[2:4] == ["validate-order", "process-payment"]
    assert sorted(ran[4:6]) == ["prepare-shipping", "reserve-inventory"]
    assert ran[6:] == ["fulfill-order", "send-confirmation"]


def test_both_dependants_get_the_payment():
    with Shop() as shop:
        OrderWorkflow().process_order(ORDER).wait(timeout=30)
    assert shop.received["reserve-inventory"] == {"payment": {"paid": "c-1"}}
    assert shop.received["prepare-shipping"] == {"payment": {"paid": "c-1"}}
    assert shop.received["fulfill-order"] == {
        "inventory": "reserve-inventory",
        "shipping": "prepare-shipping",
    }


def test_the_flow_has_eight_jobs_and_counts_the_shared_one_once():
    flow = OrderWorkflow().process_order(ORDER)
    assert flow.progress().total == 8
    assert sorted(flow.jobs()["queue"]) == sorted(QUEUES)
    with Shop():
        flow.wait(timeout=30)
    assert (flow.progress().completed, flow.progress().fraction) == (8, 1.0)


def test_a_payment_that_fails_fails_the_order_and_nothing_is_shipped():
    ran = []

    def process(job):
        ran.append(job.name)
        if job.name == "process-payment":
            raise ValueError("the card was declined")

    flow = OrderWorkflow().process_order(ORDER)
    with (
        fn.Worker(QUEUES, process, concurrency=4),
        pytest.raises(fn.FlowFailed, match=r"process-payment: ValueError: the card was declined"),
    ):
        flow.result(timeout=30)
    assert sorted(ran) == ["process-payment", "validate-customer", "validate-items", "validate-order"]
    failed = flow.jobs("failed")
    assert sorted(failed["name"]) == sorted(
        ["process-payment", "reserve-inventory", "prepare-shipping", "fulfill-order", "send-confirmation"]
    )


def test_two_orders_pay_one_time_each():
    with Shop() as shop:
        flows = [OrderWorkflow().process_order({**ORDER, "orderId": f"o-{n}"}) for n in range(2)]
        for flow in flows:
            flow.result(timeout=30)
    assert shop.ran.count("process-payment") == 2
