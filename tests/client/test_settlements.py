"""Acknowledgements that are gathered while one message of them is on its way."""

from __future__ import annotations

from measurand.client.settlements import Settlements


def of(*sequences: int) -> Settlements:
    settlements = Settlements()
    for sequence in sequences:
        settlements.deliver(sequence)
    return settlements


def test_what_is_said_while_a_message_is_on_its_way_goes_with_the_next() -> None:
    settlements = of(1, 2, 3)
    settlements.acknowledge(1)
    first = settlements.next_message()
    assert first is not None and list(first.acknowledge) == [1]
    settlements.acknowledge(3)
    settlements.acknowledge(2)
    assert settlements.next_message() is None
    settlements.answered([1], [])
    second = settlements.next_message()
    assert second is not None and list(second.acknowledge) == [2, 3]
    assert not settlements.is_empty
    settlements.answered([2], [3])
    assert settlements.next_message() is None
    assert settlements.held == set()


def test_saying_it_twice_is_harmless_and_the_first_word_counts() -> None:
    settlements = of(1)
    assert settlements.acknowledge(1)
    assert not settlements.acknowledge(1)
    assert not settlements.give_back(1)
    message = settlements.next_message()
    assert message is not None and (list(message.acknowledge), list(message.give_back)) == ([1], [])


def test_a_delay_goes_in_a_message_of_its_own() -> None:
    settlements = of(1, 2, 3)
    settlements.give_back(1, 2.0)
    settlements.give_back(2)
    settlements.acknowledge(3)
    first = settlements.next_message()
    assert first is not None
    assert (list(first.acknowledge), list(first.give_back), first.HasField("give_back_delay")) == ([3], [2], False)
    settlements.answered([2, 3], [])
    second = settlements.next_message()
    assert second is not None
    assert (list(second.give_back), second.give_back_delay.seconds) == ([1], 2)


def test_what_was_not_answered_is_said_again_on_a_new_stream() -> None:
    settlements = of(1, 2)
    settlements.acknowledge(1)
    assert settlements.next_message() is not None
    settlements.acknowledge(2)
    settlements.begin_again()
    message = settlements.next_message()
    assert message is not None and list(message.acknowledge) == [1, 2]


def test_a_record_that_was_prolonged_can_be_acknowledged_before_the_answer() -> None:
    settlements = of(1)
    settlements.extend(1)
    message = settlements.next_message()
    assert message is not None and list(message.extend) == [1]
    settlements.acknowledge(1)
    settlements.answered([1], [])  # to the prolonging
    message = settlements.next_message()
    assert message is not None and list(message.acknowledge) == [1]


def test_the_rest_is_given_back_at_the_end() -> None:
    settlements = of(1, 2, 3)
    settlements.acknowledge(2)
    for sequence in sorted(settlements.held):
        settlements.give_back(sequence)
    message = settlements.next_message()
    assert message is not None and (list(message.acknowledge), list(message.give_back)) == ([2], [1, 3])
