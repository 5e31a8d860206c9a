from __future__ import annotations

from typing import Any

import pytest

from stem_core.model.errors import InvalidName, InvalidOption
from stem_core.producer.routes import Routes


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("billing.charge", "billing"),
        ("billing.refund.late", "billing"),
        ("billing", None),
        ("reports.daily", "reports"),
        ("mail.send", "mail"),
        ("mail.sends", None),
        ("other", None),
    ],
)
def test_the_first_pattern_that_fits_names_the_queue(task: str, queue: str | None) -> None:
    routes = Routes(
        {"billing.*": "billing", "reports.?aily": "reports", "reports.*": "no", "mail.send": "mail"}
    )
    assert routes.queue_of(task) == queue


def test_routes_are_a_mapping_or_a_text() -> None:
    text = Routes.parse("billing.*=billing, reports.*=reports,")
    assert text.patterns == {"billing.*": "billing", "reports.*": "reports"}
    assert Routes.parse(text.patterns).queue_of("reports.x") == "reports"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("billing.*", InvalidOption),
        ({"": "q"}, InvalidOption),
        ({"a b": "q"}, InvalidOption),
        ({7: "q"}, InvalidOption),
        ({"a": ""}, InvalidName),
        ({"a": "no queue"}, InvalidName),
    ],
)
def test_a_route_that_cannot_be_is_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Routes.parse(given)
