// The page: sign in, choose a directory, see its events live.
//
// User and password stay in this module's memory. An EventSource cannot send them, so signing in
// also sets a cookie that scripts cannot read and that is good for reading streams only. Everything
// that comes from the storage is written as text, never as markup.

const MOST_ROWS = 1000;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30000;

// Characters that would hide, or turn the text around them: `\u202egpj.exe` would look like exe.jpg.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const element = (id) => document.getElementById(id);

let authorization = "";
let source = null;
let timer = 0;
let waitMs = FIRST_WAIT_MS;
let count = 0;
let watched = "";
let clientId = newName();

function newName() {
  return `page-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
}

function basic(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

function ask(path, options = {}) {
  const headers = { Authorization: authorization, "Suppress-WWW-Authenticate": "yes" };
  return fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
}

async function explain(answer) {
  if (answer.status === 401) return "User or password is wrong.";
  try {
    const body = await answer.json();
    return body.limit ? `${body.detail} (${body.limit})` : body.detail;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

function visible(text) {
  return text.replace(UNSEEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function complain(where, field, text) {
  element(where).textContent = text;
  element(field).setAttribute("aria-invalid", text !== "");
  if (text) {
    element(field).focus();
    element(field).select();
  }
}

function show(state, text) {
  element("state").dataset.state = state;
  element("state").textContent = text;
}

// Signing in and out

async function signIn(event) {
  event.preventDefault();
  const user = element("name").value;
  authorization = basic(user, element("password").value);
  complain("sign-in-error", "password", "");
  let answer;
  try {
    answer = await ask("/session", { method: "POST" });
  } catch {
    complain("sign-in-error", "password", "The server cannot be reached.");
    return;
  }
  if (!answer.ok) {
    authorization = "";
    complain("sign-in-error", "password", await explain(answer));
    return;
  }
  const { home } = await answer.json();
  element("password").value = "";
  element("user").textContent = user;
  element("sign-in").hidden = true;
  element("who").hidden = element("choose").hidden = false;
  element("path").focus();
  await go(home || "/");
}

async function signOut() {
  stop();
  await leave(clientId);
  await ask("/session", { method: "DELETE" }).catch(() => {});
  authorization = "";
  element("sign-in").hidden = false;
  element("who").hidden = element("choose").hidden = element("live").hidden = true;
  clear();
  element("name").focus();
}

// Choosing a directory

function encode(path) {
  return path.split("/").filter(Boolean).map(encodeURIComponent).join("/");
}

function choice(label, path) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = visible(label);
  button.addEventListener("click", async () => {
    await go(path);
    element("directories").querySelector("button")?.focus();
  });
  return button;
}

async function go(path) {
  element("path").value = path;
  complain("watch-error", "path", "");
  const place = element("directories");
  place.replaceChildren();
  const parts = path.split("/").filter(Boolean);
  if (parts.length) place.append(choice("↑ up", `/${parts.slice(0, -1).join("/")}`));
  const answer = await ask(`/api/v1/namespace/${encode(path)}?children=true`).catch(() => null);
  if (!answer?.ok) return;
  const { children = [] } = await answer.json();
  if (element("path").value !== path) return; // another directory was chosen meanwhile
  children
    .filter((child) => child.fileType === "DIR")
    .map((child) => child.fileName)
    .sort()
    .forEach((name) => place.append(choice(name, `/${[...parts, name].join("/")}`)));
}

// The stream

function address() {
  const query = new URLSearchParams({
    watch: element("path").value,
    recursive: element("recursive").checked,
    details: true,
  });
  const include = element("include").value.trim();
  if (include) query.set("include", include);
  return `/api/v1/events/stream?${query}`;
}

function start(event) {
  event.preventDefault();
  stop();
  complain("watch-error", "path", "");
  element("live").hidden = element("stop").hidden = false;
  waitMs = FIRST_WAIT_MS;
  const url = address();
  if (url !== watched) {
    clear(); // names are told as they stand in what is watched
    if (watched) leave(clientId);
    clientId = newName();
    watched = url;
  }
  const below = element("recursive").checked ? " and below" : "";
  element("where").textContent = `in ${visible(element("path").value)}${below}`;
  connect(`${url}&client-id=${clientId}`);
}

// Ends a channel that would live on for minutes; on it, another watch would begin with the end of
// this one.
async function leave(name) {
  try {
    const found = await (await ask(`/api/v1/events/channels?client-id=${name}`)).json();
    for (const channel of found) await ask(new URL(channel).pathname, { method: "DELETE" });
  } catch {
    // It ends by itself.
  }
}

function stop() {
  clearTimeout(timer);
  source?.close();
  source = null;
  element("stop").hidden = true;
  show("idle", "not connected");
}

function connect(url) {
  show("waiting", "connecting …");
  const opened = new EventSource(url);
  source = opened;
  opened.addEventListener("open", () => {
    waitMs = FIRST_WAIT_MS;
    show("live", "live");
  });
  opened.addEventListener("inotify", (message) => told(message));
  opened.addEventListener("SYSTEM", (message) => system(message));
  opened.addEventListener("error", () => lost(opened, url));
}

// An EventSource comes back by itself after a lost connection, and gives up after a refusal.
async function lost(opened, url) {
  if (opened !== source) return;
  if (opened.readyState !== EventSource.CLOSED) {
    show("waiting", "reconnecting …");
    return;
  }
  const problem = await refusal();
  if (opened !== source) return;
  if (problem) {
    stop();
    show("ended", "ended");
    element("live").hidden = count === 0;
    complain("watch-error", "path", problem);
    return;
  }
  show("waiting", `reconnecting in ${Math.round(waitMs / 1000)} s …`);
  timer = setTimeout(() => connect(url), waitMs);
  waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
}

// Says why a stream was refused; "" if it is worth trying again. The stream itself is not asked:
// whatever it told a second reader would be missing in the first.
async function refusal() {
  const final = (answer) => answer.status >= 400 && answer.status < 500 && answer.status !== 429;
  try {
    const session = await ask("/session", { method: "POST" });
    if (final(session)) return await explain(session);
    const place = await ask(
      `/api/v1/namespace/${encode(element("path").value)}?children=true&limit=1`,
    );
    if (final(place)) return "There is no such directory, or you may not see it.";
  } catch {
    return "";
  }
  return "";
}

// Showing events

function row(kind, ...texts) {
  const line = document.createElement("tr");
  line.className = kind;
  texts.forEach((text, column) => {
    const cell = document.createElement("td");
    cell.className = ["time", "mask", "name", "details"][column];
    cell.append(...[text].flat());
    line.append(cell);
  });
  const body = element("events");
  body.prepend(line);
  while (body.childElementCount > MOST_ROWS) body.lastElementChild.remove();
  element("empty").hidden = true;
}

function now() {
  return new Date().toLocaleTimeString([], { hour12: false });
}

function size(bytes) {
  if (bytes === undefined || bytes === null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes ? Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1) : 0;
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

function flags([what, ...more]) {
  if (!more.includes("IN_ISDIR")) return what;
  const kind = document.createElement("small");
  kind.textContent = "directory";
  return [what, " ", kind];
}

function counted(events) {
  count = events;
  element("count").textContent = events;
  element("noun").textContent = events === 1 ? "event" : "events";
}

function told(message) {
  const { event } = JSON.parse(message.data);
  const details = event.details ?? {};
  const about = [size(details.size), details.user, details.locality].filter(Boolean).join(" · ");
  counted(count + 1);
  row("event", now(), flags(event.mask), visible(event.name ?? "(the directory itself)"), about);
}

function system(message) {
  const { type } = JSON.parse(message.data);
  const words = {
    EVENT_LOSS: "Some events are lost: look at the directory again.",
    SHUTDOWN: "The node stops; the stream goes on elsewhere.",
    COMPETING_CLIENT: "Another connection has taken this stream over.",
    CREDENTIALS_EXPIRED: "The sign-in has ended: sign in again to go on.",
    CREDENTIALS_REVOKED: "The storage does not let this user in any more.",
    SUBSCRIPTION_CLOSED: "The watch has ended.",
  };
  if (words[type]) row(type === "EVENT_LOSS" ? "system loss" : "system", now(), type, words[type], "");
}

function clear() {
  counted(0);
  element("events").replaceChildren();
  element("empty").hidden = false;
}

element("sign-in").addEventListener("submit", signIn);
element("sign-out").addEventListener("click", signOut);
element("watch").addEventListener("submit", start);
element("stop").addEventListener("click", stop);
element("clear").addEventListener("click", clear);
element("path").addEventListener("change", () => go(element("path").value));
