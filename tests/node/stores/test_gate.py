"""Many may pass, or one alone; nobody is let through while another is alone."""

from __future__ import annotations

import threading

from node.stores.gate import Gate

WAIT = 20.0  # seconds, after which a test has failed


def test_whoever_wants_to_be_alone_waits_for_those_who_are_through_and_keeps_others_out() -> None:
    gate = Gate()
    inside, leave, alone, late = (threading.Event() for _ in range(4))
    order: list[str] = []

    def use() -> None:
        with gate.shared():
            inside.set()
            leave.wait(WAIT)
            order.append("user leaves")

    def be_alone() -> None:
        with gate.alone():
            order.append("alone")
            alone.set()

    def use_late() -> None:
        alone.wait(WAIT)
        with gate.shared():
            order.append("late user")
            late.set()

    threads = [threading.Thread(target=work) for work in (use, be_alone, use_late)]
    threads[0].start()
    assert inside.wait(WAIT)
    for thread in threads[1:]:
        thread.start()
    assert order == []
    leave.set()
    assert late.wait(WAIT)
    for thread in threads:
        thread.join(WAIT)
    assert order == ["user leaves", "alone", "late user"]


def test_two_may_be_through_at_once() -> None:
    gate = Gate()
    with gate.shared():
        second = threading.Thread(target=lambda: gate.shared().__enter__())
        second.start()
        second.join(WAIT)
        assert not second.is_alive()
