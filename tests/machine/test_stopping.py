"""Signals to a process that listens, in processes of their own: each says what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from fsseg_bench.machine import stopping
from tests.support.fresh import ROOT

START = """
import os, signal, sys, time
from fsseg_bench.machine import stopping
from fsseg_bench.machine.stopping import Stopped
TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT
def send(number):
    os.kill(os.getpid(), number)
    for _ in range(1000): pass
"""


def told(body: str) -> list[str]:
    """What a script prints, line by line; its exit code comes last."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", START + body], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()[-1:], str(done.returncode)]


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_outside_of_steps_the_end_is_at_once(number: signal.Signals) -> None:
    body = f"""
try:
    with stopping.listening():
        send({int(number)})
        print("goes on")
except Stopped as stop:
    print(stop.number, isinstance(stop, KeyboardInterrupt))
"""
    assert told(body) == [f"{int(number)} True", "0"]


def test_between_steps_the_first_signal_is_noted_and_later_ones_change_nothing() -> None:
    body = """
try:
    with stopping.listening():
        with stopping.deferred():
            print(stopping.asked())
            send(USR1)
            print("the step is finished", stopping.asked())
            send(TERM); send(USR1); send(TERM)
            print("and its checkpoint")
            stopping.check()
            print("another step")
except Stopped as stop:
    print(stop.number == USR1)
send(TERM)  # on the last lines of a process that has ended its work
print("end")
"""
    assert told(body) == ["False", "the step is finished True", "and its checkpoint", "True", "end", "0"]


def test_a_second_ctrl_c_ends_the_step_at_work_and_a_third_the_process() -> None:
    body = """
with stopping.listening():
    try:
        with stopping.deferred():
            send(INT)
            print("a step", flush=True)
            send(INT)
            print("never")
    except Stopped:
        print("at once", flush=True)
    send(INT)
    print("never")
"""
    assert told(body) == ["a step", "at once", str(-signal.SIGINT)]


def test_a_signal_after_the_last_step_ends_the_body() -> None:
    body = """
try:
    with stopping.listening(), stopping.deferred():
        send(TERM)
except Stopped:
    print("stopped")
"""
    assert told(body) == ["stopped", "0"]


def test_who_does_not_listen_keeps_what_there_was() -> None:
    body = """
with stopping.deferred():
    try:
        send(INT)
    except KeyboardInterrupt as error:
        print(type(error).__name__)
    print(stopping.asked())
with stopping.listening(): pass
print(signal.getsignal(TERM) == signal.SIG_DFL, signal.getsignal(INT) == signal.default_int_handler)
"""
    assert told(body) == ["KeyboardInterrupt", "False", "True True", "0"]


def test_a_forked_process_leaves_signals_to_the_one_that_listens() -> None:
    body = """
with stopping.listening():
    if not (child := os.fork()):
        send(TERM); send(USR1)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), stopping.asked())
"""
    assert told(body) == ["7 False", "0"]


def test_a_wait_that_no_handler_would_end_is_ended() -> None:
    body = """
with stopping.listening():
    with stopping.undeferred():
        send(USR1)
        print("never")
"""
    assert told(body) == [str(-signal.SIGUSR1)]


def test_a_background_process_of_a_shell_is_not_for_ctrl_c() -> None:
    body = """
signal.signal(INT, signal.SIG_IGN)
with stopping.listening():
    send(INT)
    print("goes on")
"""
    assert told(body) == ["goes on", "0"]


def test_other_threads_do_not_listen() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def listen() -> None:
        with stopping.listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
