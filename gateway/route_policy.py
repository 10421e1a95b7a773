"""The policy of each route: who may call it, and whether its requests are counted and logged.

The policy is declared at the route.
"""

from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any, NamedTuple, TypeVar

from flask import Blueprint

View = TypeVar("View", bound=Callable[..., Any])


class Policy(NamedTuple):
    """The policy of a route, or of all requests for unknown paths."""

    public: bool = False
    """Callers of a public route need no API key. Health probes send no key. The web page loads without a
    key, and its user then enters a key in the page. A request for an unknown path needs a key. Callers
    without a key therefore cannot find out which paths exist."""
    limited: bool = True
    """Requests for a limited route count toward the caller's rate limit. An open web page therefore does not
    use up its user's limit."""
    quiet: bool = False
    """A quiet route receives requests every few seconds, so its requests are logged at level DEBUG."""
    on_loop: bool = False
    """The route's view is a coroutine function, so the view runs on the event loop instead of in a thread."""


def route(
    bp: Blueprint,
    rule: str,
    methods: Sequence[str] = ("GET",),
    *,
    public: bool = False,
    limited: bool = True,
    quiet: bool = False,
) -> Callable[[View], View]:
    """Return a decorator that adds a view's route to a blueprint, and declares the route's policy.

    The view is a view of Flask, or a coroutine function that `gateway.front` calls.
    """

    def add(view: View) -> View:
        vars(view)["policy"] = Policy(public, limited, quiet, iscoroutinefunction(view))
        bp.add_url_rule(rule, view_func=view, methods=methods)
        return view

    return add


def policy_of(view: Callable[..., Any]) -> Policy:
    """Return the policy that a view's route declares."""
    declared: Policy = vars(view).get("policy", Policy())
    return declared
