"""Watch a directory and miss nothing: examples/watch.py PATH [USER:PASSWORD] [API_URL].

Needs `pip install httpx-sse`. Kill the API node while it runs: it goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
import time

import httpx
import httpx_sse

path = sys.argv[1]
user, _, password = (sys.argv[2] if len(sys.argv) > 2 else "alice:alice-demo").partition(":")
api = sys.argv[3] if len(sys.argv) > 3 else os.environ.get("API_URL", "http://127.0.0.1:3880")

last_event_id = ""
with httpx.Client(auth=(user, password), timeout=httpx.Timeout(10, read=60)) as client:
    made = client.post(f"{api}/api/v1/events/channels").raise_for_status()
    channel = made.headers["Location"]
    client.post(f"{channel}/subscriptions/inotify", json={"path": path}).raise_for_status()
    while True:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        try:
            with httpx_sse.connect_sse(client, "GET", channel, headers=headers) as stream:
                for message in stream.iter_sse():
                    if message.event == "inotify":
                        event = json.loads(message.data)["event"]
                        print(*event["mask"], event.get("name", "."), flush=True)
                        last_event_id = message.id
        except httpx.HTTPError as error:
            print(f"# {error}; once more", file=sys.stderr)
        time.sleep(1)
