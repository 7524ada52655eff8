// Reads a stream with npm's eventsource, which comes back by itself: one line of JSON an event.
//
//   AUTHORIZATION='Basic ...' node read.mjs URL

import { EventSource } from "eventsource";

const headers = { Authorization: process.env.AUTHORIZATION };
const source = new EventSource(process.argv[2], {
  fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
});
const tell = (message) => console.log(JSON.stringify([message.type, message.data]));
source.addEventListener("inotify", tell);
source.addEventListener("SYSTEM", tell);
source.addEventListener("error", (error) => {
  if (source.readyState === EventSource.CLOSED) {
    console.error(`refused: ${error.code} ${error.message}`);
    process.exit(1);
  }
});
