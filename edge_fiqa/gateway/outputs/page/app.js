// The gateway's page. Reads the API once a second, draws, and keeps nothing but the token of this tab.

const POLL_MS = 1000;
const FRAME_MS = 250;
const SHOTS = 24;
const CAUSES = 3;
const GIVE_UP_MS = 8000;
const TOKEN = "edge-fiqa-token";

const byId = (id) => document.getElementById(id);
const visible = (element, yes) => { element.hidden = !yes; };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class SignedOut extends Error {}

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(GIVE_UP_MS) });
  if (answer.status === 401 || answer.status === 429) throw new SignedOut((await answer.json()).error);
  return answer;
}

async function json(path) {
  const answer = await ask(path);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// One element for each key, in this order: created once, updated, and removed with its item.
function keyed(parent, known, items, keyOf, create, update) {
  const keys = new Set(items.map(keyOf));
  for (const [key, element] of known) {
    if (!keys.has(key)) { element.remove(); known.delete(key); }
  }
  items.forEach((item, index) => {
    const key = keyOf(item);
    if (!known.has(key)) known.set(key, create(item));
    const element = known.get(key);
    update(element, item);
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
}

const whole = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const milliseconds = (s) => s >= 10 ? `${s.toFixed(0)} s` : s >= 1 ? `${s.toFixed(1)} s` : `${Math.round(s * 1000)} ms`;

function ago(seconds) {
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

const grade = (track) => {
  const quality = track.record?.quality.scalar;
  if (quality == null) return "";
  if (track.accepted != null) return track.accepted ? "good" : "poor";
  return quality >= 60 ? "good" : quality >= 35 ? "fair" : "poor";
};

// Cameras

const cameras = new Map();
let framesAllowed = true;

const STATES = {
  connecting: "Connecting", stale: "No new frame", ended: "The video has ended", failed: "Not reachable",
};

function makeCamera() {
  const card = make("article", "camera");
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  const message = make("p");
  card.append(make("div", "stage", canvas, message),
    make("footer", "", make("span", "dot"), make("h3"), make("span", "quiet")));
  Object.assign(card, { canvas, message, picture: null, pictured: null });
  return card;
}

function updateCamera(card, camera) {
  card.camera = camera;
  card.className = `camera ${camera.state}${camera.state === "live" ? "" : " away"}`;
  card.querySelector("h3").textContent = camera.name;
  const age = camera.frame_age_s == null ? "" : `, for ${milliseconds(camera.frame_age_s)}`;
  const waiting = framesAllowed ? "Waiting for a picture" : "Live pictures are switched off";
  card.message.textContent = camera.state !== "live"
    ? STATES[camera.state] + (camera.state === "stale" ? age : "")
    : card.picture && framesAllowed ? "" : waiting;
  const faces = camera.faces.length;
  card.querySelector(".quiet").textContent = camera.state === "live"
    ? `${camera.frames_per_s.toFixed(1)} frames/s · ${faces} ${faces === 1 ? "face" : "faces"}`
    : camera.state;
  const asked = camera.faces.flatMap((face) => face.instruction ? [face.instruction] : []);
  card.canvas.setAttribute("aria-label", [`${camera.name}: ${camera.state}, ${faces} faces`, ...asked].join("; "));
  draw(card);
}

function draw(card) {
  const { canvas, picture, pictured } = card;
  if (!picture) return;
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  if (card.camera.state !== "live" || !pictured.size) return;
  // Boxes are in pixels of the camera's frame; the picture may be smaller, and the card smaller still.
  const scale = picture.width / pictured.size[0];
  const unit = picture.width / Math.max(canvas.clientWidth, 1);
  for (const mask of pictured.masks) drawArea(pen, mask, "masked", unit, picture);
  for (const [name, zone] of Object.entries(pictured.zones)) drawArea(pen, zone, name, unit, picture);
  for (const face of pictured.faces) drawFace(pen, face, scale, unit, picture);
}

// Points are shares of the picture; two strokes are seen on any ground.
function drawArea(pen, points, name, unit, picture) {
  const corners = points.map(([x, y]) => [x * picture.width, y * picture.height]);
  pen.beginPath();
  for (const [x, y] of corners) pen.lineTo(x, y);
  pen.closePath();
  pen.setLineDash([6 * unit, 4 * unit]);
  for (const [colour, width] of [["rgb(0 0 0 / 55%)", 3], ["rgb(255 255 255 / 90%)", 1.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * unit;
    pen.stroke();
  }
  pen.setLineDash([]);
  drawName(pen, name, corners, unit, picture);
}

// At the corner that is highest, the left one of two; within the picture.
function drawName(pen, name, corners, unit, picture) {
  const [x, y] = corners.reduce((a, b) => b[1] < a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a);
  pen.font = `500 ${11 * unit}px system-ui, sans-serif`;
  const wide = pen.measureText(name).width + 10 * unit;
  const left = Math.max(0, Math.min(x + 3 * unit, picture.width - wide));
  const top = Math.max(0, Math.min(y + 3 * unit, picture.height - 17 * unit));
  pen.fillStyle = "rgb(0 0 0 / 55%)";
  pen.beginPath();
  pen.roundRect(left, top, wide, 17 * unit, 4 * unit);
  pen.fill();
  pen.fillStyle = "#fff";
  pen.textBaseline = "middle";
  pen.fillText(name, left + 5 * unit, top + 9 * unit);
}

function drawFace(pen, face, scale, unit, picture) {
  const [x, y, width, height] = face.box.map((value) => value * scale);
  const style = getComputedStyle(document.documentElement);
  const quality = face.quality;
  const name = quality == null ? "--soft" : quality >= 60 ? "--good" : quality >= 35 ? "--fair" : "--poor";
  const colour = style.getPropertyValue(name);
  pen.lineWidth = 2 * unit;
  pen.strokeStyle = colour;
  pen.beginPath();
  pen.roundRect(x, y, width, height, 6 * unit);
  pen.stroke();
  const text = quality == null ? "not scored" : face.depth ? `${quality} · exit ${face.depth}` : `${quality}`;
  pen.font = `600 ${12 * unit}px system-ui, sans-serif`;
  const wide = pen.measureText(text).width + 14 * unit;
  const left = Math.max(0, Math.min(x, picture.width - wide));
  const top = y > 24 * unit ? y - 24 * unit : Math.min(y + height + 4 * unit, picture.height - 20 * unit);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.roundRect(left, top, wide, 20 * unit, 6 * unit);
  pen.fill();
  pen.fillStyle = style.getPropertyValue("--card");
  pen.textBaseline = "middle";
  pen.fillText(text, left + 7 * unit, top + 10.5 * unit);
  if (face.instruction) drawInstruction(pen, face.instruction, x + width / 2, Math.max(y + height, top + 20 * unit), unit, picture);
}

// For the person in front of the camera: below the face, in letters that are read from afar.
function drawInstruction(pen, instruction, middle, below, unit, picture) {
  const style = getComputedStyle(document.documentElement);
  const text = instruction[0].toUpperCase() + instruction.slice(1);
  const size = (picture.width < 480 * unit ? 15 : 18) * unit;
  pen.font = `700 ${size}px system-ui, sans-serif`;
  const wide = Math.min(pen.measureText(text).width + size, picture.width);
  const left = Math.max(0, Math.min(middle - wide / 2, picture.width - wide));
  const top = Math.min(below + 5 * unit, picture.height - 1.7 * size);
  pen.fillStyle = style.getPropertyValue("--warn-ground");
  pen.beginPath();
  pen.roundRect(left, top, wide, 1.7 * size, 6 * unit);
  pen.fill();
  pen.fillStyle = style.getPropertyValue("--warn-ink");
  pen.textBaseline = "middle";
  pen.fillText(text, left + size / 2, top + 0.88 * size, wide - size);
}

const onScreen = (element) => {
  const place = element.getBoundingClientRect();
  return place.bottom > 0 && place.top < innerHeight;
};

async function fetchFrame(card) {
  const pictured = card.camera;
  const answer = await ask(`/api/cameras/${encodeURIComponent(card.camera.name)}/frame`);
  if (!answer.ok) return;
  const picture = await createImageBitmap(await answer.blob());
  card.picture?.close();  // only now: the numbers may be drawn anew at every await
  Object.assign(card, { picture, pictured });
  updateCamera(card, card.camera);
}

// Boxes are asked for together with the pictures, and kept with them, so that they belong together.
async function updateFrames() {
  const list = await json("/api/cameras");
  for (const camera of list) {
    const card = cameras.get(camera.name);
    if (card) card.camera = camera;
  }
  await Promise.allSettled([...cameras.values()].filter((card) => onScreen(card)
    && card.camera.frame_age_s != null && (card.camera.state === "live" || !card.picture)).map(fetchFrame));
}

async function frames() {
  for (;;) {
    if (framesAllowed && !document.hidden && cameras.size && byId("login").hidden) await updateFrames().catch(() => {});
    await sleep(FRAME_MS);
  }
}

// Best shots

const shots = new Map();

function makeShot() {
  const card = make("li", "shot");
  card.append(make("div", "face"), make("div", "", make("p", "score"), make("p", "quiet"), make("p", "why")));
  return card;
}

function updateShot(card, track) {
  const quality = track.record?.quality;
  const score = card.querySelector(".score");
  score.className = `score ${grade(track)}`;
  score.replaceChildren(quality?.scalar == null ? "–" : `${quality.scalar}`);
  if (quality && track.accepted != null) {
    const [sign, word] = track.accepted ? ["✓", "accepted"] : ["✗", "rejected"];
    score.append(make("small", "", `${sign} `, make("span", "word", word)));
  }
  const seen = track.open ? "" : ` · ${ago(Date.now() / 1000 - track.seen)}`;
  const zones = track.zones.length ? ` · ${track.zones.join(", ")}` : "";
  card.querySelector(".quiet").textContent = track.camera + seen + zones;
  showCauses(card.querySelector(".why"), track.record?.reasons?.reported ?? []);
  card.title = track.id;
  const face = card.querySelector(".face");
  let here = face.querySelector(".here");
  if (track.open && !here) face.append(make("span", "here", "here now"));
  if (!track.open) here?.remove();
  const version = quality ? `${track.record.id} ${quality.raw}` : "";
  if (version === card.version) return;
  card.version = version;
  if (quality) showFace(face, track);
  else face.prepend("no usable face");
}

// The most certain ones by name; on top of it all, with their values.
function showCauses(line, reported) {
  const named = reported.map(({ cause, value }) => ({ name: cause.replaceAll("_", " "), value }));
  line.textContent = named.slice(0, CAUSES).map(({ name }) => name).join(", ");
  line.title = named.map(({ name, value }) => `${name}: ${value} of 100`).join(", ");
}

async function showFace(face, track) {
  const path = track.id.split("/").map(encodeURIComponent).join("/");
  const answer = await ask(`/api/tracks/${path}/snapshot`).catch(() => null);
  if (!answer?.ok) return;
  const image = make("img");
  image.alt = `Best face of ${track.id}`;
  image.src = URL.createObjectURL(await answer.blob());
  await image.decode().catch(() => {});
  URL.revokeObjectURL(image.src);
  face.querySelector("img")?.remove();
  face.prepend(image);
}

// Numbers

function showNumbers({ totals }) {
  byId("load").textContent = `${Math.round(100 * totals.load)} %`;
  byId("load-meter").value = totals.load;
  byId("latency").textContent = totals.latency_s ? milliseconds(totals.latency_s[0]) : "–";
  byId("latency-tail").textContent = totals.latency_s
    ? `median; 99 % within ${milliseconds(totals.latency_s[1])}` : "no event yet";
  byId("scored").textContent = whole.format(totals.faces_scored);
  const skipped = Object.entries(totals.skipped).filter(([, count]) => count);
  byId("skipped").textContent = `of ${whole.format(totals.faces_found)} found`;
  byId("skipped").title = skipped.map(([reason, count]) => `${reason.replaceAll("_", " ")}: ${count}`).join(", ");
  byId("misses").textContent = whole.format(totals.misses);
  const ended = totals.events.end ?? 0;
  byId("events").textContent = `${whole.format(ended)} ${ended === 1 ? "person" : "persons"} so far`;
  showDepths(totals.depths);
}

function showDepths(depths) {
  const all = depths.reduce((sum, faces) => sum + faces, 0);
  visible(byId("depths"), all > 0);
  visible(byId("no-depths"), all === 0);
  byId("mean-exit").textContent = "";
  if (!all) return;
  const mean = depths.reduce((sum, faces, index) => sum + faces * (index + 1), 0) / all;
  byId("mean-exit").textContent = `· mean exit ${mean.toFixed(1)} of ${depths.length}`;
  const most = Math.max(...depths);
  const list = byId("depths");
  while (list.children.length > depths.length) list.lastChild.remove();
  depths.forEach((faces, index) => {
    if (!list.children[index]) list.append(make("li", "", make("em"), make("i"), make("span")));
    const bar = list.children[index];
    bar.className = faces ? "" : "none";
    bar.title = `exit ${index + 1}: ${faces} faces`;
    bar.children[0].textContent = faces ? `${Math.round((100 * faces) / all) || "<1"}%` : "";
    bar.children[1].style.height = `${(82 * faces) / most}%`;
    bar.children[2].textContent = index + 1;
  });
}

// Warnings

const notices = new Map();

function showNotices(status, list) {
  const current = [];
  if (status.why_not_ready) current.push({ who: "Not ready", text: status.why_not_ready, bad: true });
  for (const output of status.outputs) {
    if (output.problem) {
      const waits = output.waiting ? `; ${whole.format(output.waiting)} events wait` : "";
      current.push({ who: output.name, text: output.problem + waits, bad: true });
    }
    if (output.dropped) current.push({ who: output.name, text: `${whole.format(output.dropped)} events were dropped` });
  }
  for (const camera of list) {
    for (const text of camera.warnings) current.push({ who: camera.name, text });
  }
  keyed(byId("notices"), notices, current, (notice) => `${notice.who} ${notice.text}`, () => make("li"), (line, notice) => {
    line.className = notice.bad ? "bad" : "";
    if (!line.childNodes.length) line.append(make("b", "", notice.who), `: ${notice.text}`);
  });
}

// All together

function show(status, list, tracks) {
  framesAllowed = status.frames;
  const ready = !status.why_not_ready;
  byId("health").className = `pill ${ready ? "good" : "bad"}`;
  byId("health").textContent = ready ? "Ready" : "Not ready";
  byId("about").textContent = `${status.model} on ${status.backend} · version ${status.version}`;
  showNotices(status, list);
  keyed(byId("cameras"), cameras, list, (camera) => camera.name, makeCamera, updateCamera);
  visible(byId("no-cameras"), list.length === 0);
  const live = list.filter((camera) => camera.state === "live").length;
  byId("cameras-count").textContent = list.length ? `${live} of ${list.length} live` : "";
  keyed(byId("shots"), shots, tracks, (track) => track.id, makeShot, updateShot);
  visible(byId("no-shots"), tracks.length === 0);
  const here = tracks.filter((track) => track.open).length;
  byId("shots-count").textContent = here ? `${here} here now` : "";
  showNumbers(status);
}

function signIn(wrong) {
  visible(byId("main"), false);
  visible(byId("leave"), false);
  visible(byId("login"), true);
  const tried = sessionStorage.getItem(TOKEN);
  byId("wrong").textContent = !tried ? "" : wrong.includes("needed") ? "That is not the token." : `${wrong}; wait a little.`;
  sessionStorage.removeItem(TOKEN);
  byId("health").className = "pill";
  byId("health").textContent = "Signed out";
  byId("about").textContent = "";
  byId("token").focus();
}

async function poll() {
  try {
    const [status, list, tracks] = await Promise.all(
      [json("/api/status"), json("/api/cameras"), json(`/api/tracks?limit=${SHOTS}`)]);
    visible(byId("login"), false);
    visible(byId("main"), true);
    visible(byId("leave"), sessionStorage.getItem(TOKEN) !== null);
    byId("main").classList.remove("stale");
    show(status, list, tracks);
  } catch (problem) {
    if (problem instanceof SignedOut) return signIn(problem.message);
    byId("main").classList.add("stale");
    byId("health").className = "pill bad";
    byId("health").textContent = "No answer, trying again";
  }
}

async function run() {
  for (;;) {
    if (!document.hidden && byId("login").hidden) await poll();
    await sleep(POLL_MS);
  }
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  poll();
});
byId("leave").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  location.reload();
});

run();
frames();
