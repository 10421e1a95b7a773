"""The policy of each route: who may call it, and whether its requests are counted and logged.

The policy is declared at the route, with the decorator `policy`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

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


def policy(*, public: bool = False, limited: bool = True, quiet: bool = False) -> Callable[[View], View]:
    """Return a decorator that declares the policy of a view's route."""

    def declare(view: View) -> View:
        vars(view)["policy"] = Policy(public, limited, quiet)
        return view

    return declare


def policy_of(view: Callable[..., Any] | None) -> Policy:
    """Return the policy that a view declares, or the default policy."""
    return vars(view).get("policy", Policy()) if view else Policy()
