"""What needs a person: the open events of the ledger, in the reader's language, each with a way to look."""

from __future__ import annotations

from typing import Any

from api.page.view import Need, View
from metering.site import Building, Meter, Vehicle

EVENTS_AT_MOST = 200
QUIET = {"info"}
PLACE_CHARS = 80


def needs_of(view: View) -> list[Need]:
    """The open events of the site, broken things first, then the newest."""
    if "needs" not in view.memo:
        view.memo["needs"] = _read(view)
    return view.memo["needs"]


def _read(view: View) -> list[Need]:
    if view.services.ledger is None:
        return []
    here = ("", view.site.id if view.site else "")
    events = view.services.ledger.events(open_only=True, limit=EVENTS_AT_MOST)
    found = [need_of(view, event) for event in events if event.severity not in QUIET and event.site in here]
    return sorted(found, key=lambda need: need.state != "broken")


def need_of(view: View, event: Any) -> Need:
    """One event as a line on the page."""
    thing = view.services.installation.by_id.get(event.subject)
    text = event.text.in_language(view.language)
    known = isinstance(thing, Building | Meter | Vehicle)
    subject = view.name(thing) if known else event.subject  # type: ignore[arg-type]
    since = view.words("needs.since", since=view.moment(event.since).text)
    place, colon, rest = text.partition("：" if view.language == "zh" else ": ")
    if colon and len(place) <= PLACE_CHARS:  # a sentence that says itself where and since when
        subject, text, since = place, rest, ""
    else:
        text = text.removeprefix(subject).lstrip()
    number = event.data.get("incident")
    if number is not None and view.services.insights is not None:
        href = view.link(f"/incidents/{number}")
    elif isinstance(thing, Meter) and event.kind in ("water_at_night", "night_load"):
        href = view.link(view.path_of(thing), period="week", date=None)
    elif known:
        href = view.link(view.path_of(thing))  # type: ignore[arg-type]
    else:
        href = view.link("/collector") + "#lines"
    where = "building" if isinstance(thing, Building) else "vehicle" if isinstance(thing, Vehicle) else "meter"
    building = thing.id if isinstance(thing, Building) else thing.building if known else ""  # type: ignore[union-attr]
    state = "broken" if event.severity == "broken" else "needs"
    label = view.words(f"needs.to_{where}" if known else "needs.to_collector")
    if number is not None and view.services.insights is not None:
        label = view.words("needs.to_incident")
    return Need(state, subject, text, since, href, label, thing.id if known else "", building)  # type: ignore[union-attr]
