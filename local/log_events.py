"""Reads a log group to its end."""

from collections import Counter
from collections.abc import Iterator


def log_events(client, group: str, since: int = 0) -> Iterator[dict]:
    """Each event of the group from `since` on (milliseconds), once, in order of time.

    AWS tells of more by a token, and the paginator follows it. The local stack gives 10,000 events and no token:
    what remains is asked for from the last one's time on, until nothing new comes.
    """
    # How many events of each moment and stream were given: a stream only grows.
    given: Counter[tuple[int, str]] = Counter()
    while True:
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
        met: Counter[tuple[int, str]] = Counter()
        fresh = []
        for event in pages.search("events[]"):
            if event is None:
                continue
            place = event["timestamp"], event["logStreamName"]
            met[place] += 1
            if met[place] > given[place]:
                fresh.append(event)
        if not fresh:
            return
        yield from fresh
        given |= met
        since = fresh[-1]["timestamp"]
