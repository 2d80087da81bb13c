"""Reads a log group to its end."""

from collections.abc import Iterator


def log_events(client, group: str, since: int = 0) -> Iterator[dict]:
    """Each event of the group from `since` on (milliseconds), once, in order of time.

    AWS tells of more by a token, and the paginator follows it. The local stack gives 10,000 events and no token:
    what remains is asked for from the last one's time on, until nothing new comes.
    """
    seen: set[str] = set()
    while True:
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
        fresh = [event for event in pages.search("events[]") if event and event["eventId"] not in seen]
        if not fresh:
            return
        yield from fresh
        seen |= {event["eventId"] for event in fresh}
        since = fresh[-1]["timestamp"]
