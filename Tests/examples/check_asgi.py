"""The gateway in Python: one function for each property."""

import properties
from gateways import ASGI


def asgi_conversations_stay_where_their_beginning_is() -> None:
    properties.conversations_stay_where_their_beginning_is(ASGI)


def asgi_a_killed_engine_is_avoided_until_it_is_back() -> None:
    properties.a_killed_engine_is_avoided_until_it_is_back(ASGI)


def asgi_clients_that_leave_leave_nothing() -> None:
    properties.clients_that_leave_leave_nothing(ASGI)


def asgi_an_answer_that_breaks_off_breaks_off() -> None:
    properties.an_answer_that_breaks_off_breaks_off(ASGI)


def asgi_another_server_is_tried_before_the_first_byte() -> None:
    properties.another_server_is_tried_before_the_first_byte(ASGI)


def asgi_without_servers_there_is_an_error_and_no_ticket() -> None:
    properties.without_servers_there_is_an_error_and_no_ticket(ASGI)


def asgi_tokens_pass_one_by_one() -> None:
    properties.tokens_pass_one_by_one(ASGI)


def asgi_only_requests_for_models_are_passed_on() -> None:
    properties.only_requests_for_models_are_passed_on(ASGI)
