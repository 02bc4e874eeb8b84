"""nginx with Lua: one function for each property."""

import properties
from gateways import Nginx


def nginx_conversations_stay_where_their_beginning_is() -> None:
    properties.conversations_stay_where_their_beginning_is(Nginx)


def nginx_a_killed_engine_is_avoided_until_it_is_back() -> None:
    properties.a_killed_engine_is_avoided_until_it_is_back(Nginx)


def nginx_clients_that_leave_leave_nothing() -> None:
    properties.clients_that_leave_leave_nothing(Nginx)


def nginx_an_answer_that_breaks_off_breaks_off() -> None:
    properties.an_answer_that_breaks_off_breaks_off(Nginx)


def nginx_another_server_is_tried_before_the_first_byte() -> None:
    properties.another_server_is_tried_before_the_first_byte(Nginx)


def nginx_without_servers_there_is_an_error_and_no_ticket() -> None:
    properties.without_servers_there_is_an_error_and_no_ticket(Nginx)


def nginx_tokens_pass_one_by_one() -> None:
    properties.tokens_pass_one_by_one(Nginx)


def nginx_only_requests_for_models_are_passed_on() -> None:
    properties.only_requests_for_models_are_passed_on(Nginx)
