// The page's one script. Everything that is worked out is worked out by the server; the page draws and asks.

const HIDDEN = "rgba(213, 94, 0, 0.65)";
const $ = (id) => document.getElementById(id);
const state = {
  about: null, // what there is to choose from
  image: null, // the server's answer about the image shown
  picture: null, // the image itself, ready to be drawn
  mask: new Set(), // hidden patches, counted row by row
  strokes: [], // masks before each stroke
  mine: null, // what the mask comes to
  rivals: new Map(), // agent -> what it hides, null while it thinks
  cursor: -1, // patch under the keyboard, -1 = none
  outlines: false,
  episode: null, // of the query game: {name, baseline, left, over, tried: [answers]}, null in the game of one mask
};

async function ask(question, body) {
  const answer = await fetch(`ask/${question}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? answer.statusText);
  return told;
}

function complain(error) {
  $("error").textContent = error ? error.message : "";
  $("error").hidden = !error;
}

const where = () => ({ game: $("game").value, ratio: Number($("ratio").value), index: state.image?.index ?? 0 });
const spot = () => ({ ...where(), plane: state.image.plane });
const three = () => state.image.grid.length === 3;
const columns = () => state.image.grid.at(-1);
const rows = () => state.image.grid.at(-2);
const first = () => // the first patch of the slice shown
  three() ? Math.floor(state.image.plane / state.image.patch[0]) * rows() * columns() : 0;
const inSlice = () => Array.from({ length: rows() * columns() }, (_, i) => first() + i);

// Choosing what is shown

let latest = 0;
async function show(index, plane = null, keep = false) {
  const asked = ++latest;
  const told = await ask("image", { ...where(), index, plane });
  const picture = await load(told.image);
  if (asked !== latest) return; // another image was asked for meanwhile
  Object.assign(state, { image: told, picture });
  if (!keep) {
    state.mask.clear();
    state.strokes = [];
    state.mine = null;
    $("reconstruction").removeAttribute("src");
    $("losses").removeAttribute("src");
  }
  $("index").value = told.index;
  $("index").max = told.images - 1;
  $("plane-choice").hidden = told.size.length === 2;
  $("plane").max = told.size[0] - 1;
  $("plane").value = told.plane;
  $("plane-shown").textContent = told.plane;
  $("labels-choice").hidden = !told.labels;
  const count = told.grid.reduce((a, b) => a * b);
  $("task").textContent = `Hide ${told.budget} of ${count} patches so that a frozen network rebuilds the image badly. ${told.name}`;
  history.replaceState(null, "", `#${new URLSearchParams({ ...where(), plane: told.size.length === 2 ? "" : told.plane })}`);
  if (!keep) await begin();
  draw();
  await Promise.all([score(), ...[...state.rivals.keys()].map(think)]);
}

const load = (source) => new Promise((resolve, reject) => {
  const picture = new Image();
  picture.onload = () => resolve(picture);
  picture.onerror = reject;
  picture.src = source;
});

// What a mask comes to: one question at a time, the newest mask next

let busy = false, stale = false;
async function score() {
  draw();
  if (state.episode) return; // in the query game only masks that are played are told
  if (busy) { stale = true; return; }
  busy = true;
  try {
    do {
      stale = false;
      const mask = [...state.mask], image = state.image;
      const told = await ask("score", { ...spot(), mask });
      if (image === state.image && !stale) state.mine = told;
    } while (stale);
    complain();
  } catch (error) {
    complain(error);
  }
  busy = false;
  draw();
}

// The query game: a few masks may be tried, and only those are told

async function begin() {
  state.episode = null;
  if (!$("several").checked) return;
  const told = await ask("begin", where());
  state.episode = { name: told.episode, baseline: told.baseline, left: told.left, over: false, tried: [] };
}

async function query() {
  const episode = state.episode;
  if (!episode || episode.over || busy || state.mask.size !== state.image.budget) return;
  busy = true;
  try {
    const told = await ask("query", { episode: episode.name, mask: [...state.mask], plane: state.image.plane });
    if (episode === state.episode) {
      Object.assign(episode, { left: told.left, over: told.over });
      episode.tried.push(told);
      state.mine = told;
    }
    complain();
  } catch (error) {
    complain(error);
  }
  busy = false;
  draw();
}

function drawEpisode() {
  const episode = state.episode, full = state.mask.size === state.image.budget;
  $("episode").hidden = $("query").hidden = !episode;
  $("again").hidden = !episode?.tried.length;
  if (!episode) return;
  $("query").disabled = !full || episode.over;
  const last = episode.tried.at(-1), best = last ? last.best : episode.baseline;
  const earned = `best reward ${said(best)}, ${said(best - episode.baseline)} above the random mask it began with`;
  const bestPoints = last?.best_points === null || !last ? "" : ` (${last.best_points.toFixed(0)} points)`;
  $("episode-told").textContent = episode.over
    ? `The episode is over: ${earned}${bestPoints}.`
    : `${episode.left} ${episode.left === 1 ? "query" : "queries"} left; ${earned}${bestPoints}. Playing the best mask again ends the episode.`;
  $("queries").replaceChildren(...episode.tried.map((told) => {
    const line = document.createElement("li");
    line.textContent = `reward ${said(told.reward)}${told.gain > 0 ? `, gained ${said(told.gain)}` : ""}`;
    line.className = told.reward === best ? "best" : "";
    return line;
  }));
}

async function think(agent) {
  state.rivals.set(agent, null);
  draw();
  const image = state.image;
  try {
    const told = await ask("play", { ...spot(), agent });
    if (state.rivals.has(agent) && image === state.image) state.rivals.set(agent, told);
  } catch (error) {
    if (state.rivals.has(agent)) state.rivals.set(agent, { error: error.message });
  }
  draw();
}

// Painting

function stroke() {
  state.strokes.push([...state.mask]);
  if (state.strokes.length > 200) state.strokes.shift();
}

function paint(patch, hide) {
  if (hide === state.mask.has(patch)) return;
  if (hide && state.mask.size >= state.image.budget) {
    $("count").textContent = `all ${state.image.budget} are hidden: show one first`;
    return;
  }
  if (hide) state.mask.add(patch); else state.mask.delete(patch);
  score();
}

const board = $("board");
let hiding = null, last = null;

function patchAt(event) {
  const box = board.getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left) / box.width * columns());
  const y = Math.floor((event.clientY - box.top) / box.height * rows());
  return x < 0 || y < 0 || x >= columns() || y >= rows() ? null : { x, y, patch: first() + y * columns() + x };
}

board.addEventListener("pointerdown", (event) => {
  const at = state.image && event.button === 0 ? patchAt(event) : null;
  if (!at) return;
  board.setPointerCapture(event.pointerId);
  stroke();
  state.cursor = -1;
  hiding = !state.mask.has(at.patch);
  last = at;
  paint(at.patch, hiding);
});
board.addEventListener("pointermove", (event) => {
  if (hiding === null) return;
  const at = patchAt(event);
  if (!at) return;
  // A fast finger skips patches: those between are on the line from the last one.
  const far = Math.max(Math.abs(at.x - last.x), Math.abs(at.y - last.y));
  for (let i = 1; i <= far; i++) {
    const x = Math.round(last.x + (at.x - last.x) * i / far), y = Math.round(last.y + (at.y - last.y) * i / far);
    paint(first() + y * columns() + x, hiding);
  }
  last = at;
});
for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => { hiding = null; });
board.addEventListener("focus", () => { if (board.matches(":focus-visible") && state.cursor < 0) { state.cursor = 0; draw(); } });
board.addEventListener("blur", () => { state.cursor = -1; draw(); });
board.addEventListener("keydown", (event) => {
  if (!state.image) return;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const cursor = Math.max(state.cursor, 0);
  if (moves[event.key]) {
    const x = Math.min(Math.max(cursor % columns() + moves[event.key][0], 0), columns() - 1);
    const y = Math.min(Math.max(Math.floor(cursor / columns()) + moves[event.key][1], 0), rows() - 1);
    state.cursor = y * columns() + x;
    draw();
  } else if (event.key === " " || event.key === "Enter") {
    stroke();
    state.cursor = cursor;
    paint(first() + cursor, !state.mask.has(first() + cursor));
  } else return;
  event.preventDefault();
});

function clear() { stroke(); state.mask.clear(); score(); }
function undo() { if (state.strokes.length) { state.mask = new Set(state.strokes.pop()); score(); } }
function fill() {
  stroke();
  const count = state.image.grid.reduce((a, b) => a * b);
  const open = Array.from({ length: count }, (_, i) => i).filter((i) => !state.mask.has(i));
  for (let left = state.image.budget - state.mask.size; left > 0; left--) {
    state.mask.add(open.splice(Math.floor(Math.random() * open.length), 1)[0]);
  }
  score();
}

// Drawing

function drawMask(canvas, mask, cursor = -1) {
  const { size } = state.image, [height, width] = size.slice(-2);
  const times = Math.max(1, Math.round(768 / width));
  if (canvas.width !== width * times) [canvas.width, canvas.height] = [width * times, height * times];
  const pen = canvas.getContext("2d"), dx = canvas.width / columns(), dy = canvas.height / rows();
  pen.imageSmoothingEnabled = false;
  pen.drawImage(state.picture, 0, 0, canvas.width, canvas.height);
  pen.fillStyle = HIDDEN;
  inSlice().forEach((patch, i) => { if (mask.has(patch)) pen.fillRect(i % columns() * dx, Math.floor(i / columns()) * dy, dx, dy); });
  pen.strokeStyle = "rgba(160, 168, 180, 0.35)";
  pen.lineWidth = 1;
  pen.beginPath();
  for (let x = 1; x < columns(); x++) { pen.moveTo(x * dx, 0); pen.lineTo(x * dx, canvas.height); }
  for (let y = 1; y < rows(); y++) { pen.moveTo(0, y * dy); pen.lineTo(canvas.width, y * dy); }
  pen.stroke();
  if (state.outlines && state.image.labels) drawOutlines(pen, times, canvas.width / (canvas.clientWidth || canvas.width));
  if (cursor >= 0) {
    pen.lineWidth = 6;
    pen.strokeStyle = "#ffffff";
    pen.strokeRect(cursor % columns() * dx + 4, Math.floor(cursor / columns()) * dy + 4, dx - 8, dy - 8);
    pen.lineWidth = 3;
    pen.strokeStyle = "#00609c";
    pen.strokeRect(cursor % columns() * dx + 4, Math.floor(cursor / columns()) * dy + 4, dx - 8, dy - 8);
  }
}

function drawOutlines(pen, times, thick) { // thick: canvas pixels in one of the screen, so that small pictures have the same lines
  const labels = atob(state.image.labels), [height, width] = state.image.size.slice(-2);
  const at = (x, y) => x < 0 || y < 0 || x >= width || y >= height ? 0 : labels.charCodeAt(y * width + x);
  const lines = new Map(); // label -> path
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const here = at(x, y);
    if (!here) continue;
    const path = lines.get(here) ?? lines.set(here, new Path2D()).get(here);
    const edges = [[x - 1, y, 0, 0, 0, 1], [x + 1, y, 1, 0, 1, 1], [x, y - 1, 0, 0, 1, 0], [x, y + 1, 0, 1, 1, 1]];
    for (const [nx, ny, ax, ay, bx, by] of edges) if (at(nx, ny) !== here) {
      path.moveTo((x + ax) * times, (y + ay) * times);
      path.lineTo((x + bx) * times, (y + by) * times);
    }
  }
  for (const [label, path] of lines) {
    pen.lineWidth = 3.5 * thick;
    pen.strokeStyle = "rgba(255, 255, 255, 0.9)";
    pen.stroke(path);
    pen.lineWidth = 1.75 * thick;
    pen.strokeStyle = state.image.colours[(label - 1) % state.image.colours.length];
    pen.stroke(path);
  }
}

const said = (value) => value.toFixed(3);
const points = (told) => told.points === null || told.points === undefined ? "" : `${told.points.toFixed(0)} points`;
const lesion = (told) => told.lesion === null || told.lesion === undefined ? "" : `${(100 * told.lesion).toFixed(0)} % of the lesion hidden`;

function draw() {
  if (!state.image) return;
  drawMask(board, state.mask, state.cursor);
  const left = state.image.budget - state.mask.size, mine = state.mine;
  $("count").textContent = left ? `${state.mask.size} of ${state.image.budget} hidden, ${left} to go` : `${state.image.budget} hidden`;
  // In the query game what is told is of the mask played last, whatever has been painted since.
  const whole = mine && mine.reward !== null && (state.episode ? true : !left);
  $("reward").textContent = whole ? `reward ${said(mine.reward)}` : "";
  $("reward").dataset.value = whole ? mine.reward : "";
  $("points").textContent = whole ? points(mine) : "";
  $("lesion").textContent = whole ? lesion(mine) : "";
  if (mine) {
    setSource($("reconstruction"), mine.reconstruction);
    setSource($("losses"), mine.losses);
    $("losses").style.aspectRatio = $("reconstruction").style.aspectRatio = `${state.image.size.at(-1)} / ${state.image.size.at(-2)}`;
    if (!$("heat").firstChild) $("heat").append(document.createElement("i"), document.createElement("span"));
    $("heat").lastChild.textContent = mine.top.toFixed(2);
  }
  $("clear").disabled = !state.mask.size;
  $("undo").disabled = !state.strokes.length;
  $("fill").disabled = !left;
  drawEpisode();
  drawRivals();
  drawScale(whole ? mine : null);
}

function setSource(picture, source) {
  if (picture.getAttribute("src") !== source) picture.src = source;
}

function drawRivals() {
  for (const button of $("players").children) {
    button.setAttribute("aria-pressed", state.rivals.has(button.dataset.agent));
    if (button.dataset.agent === "par") button.disabled = state.image.par === null && !state.rivals.has("par");
  }
  for (const card of [...$("rivals").children]) if (!state.rivals.has(card.dataset.agent)) card.remove();
  for (const [agent, told] of state.rivals) {
    const card = [...$("rivals").children].find((one) => one.dataset.agent === agent) ?? newRival(agent);
    const figures = card.querySelector(".figures");
    card.querySelector("button").disabled = !told?.mask;
    if (!told) figures.textContent = "thinking …";
    else if (told.error) figures.textContent = told.error;
    else {
      figures.replaceChildren(...[`reward ${said(told.reward)}`, points(told), lesion(told)].filter(Boolean).map((text) => {
        const part = document.createElement("span");
        part.textContent = text;
        return part;
      }));
      drawMask(card.querySelector("canvas"), new Set(told.mask));
      const [reconstruction, losses] = card.querySelectorAll("img");
      setSource(reconstruction, told.reconstruction);
      setSource(losses, told.losses);
    }
  }
}

function newRival(agent) {
  const card = document.createElement("article");
  card.className = "rival";
  card.dataset.agent = agent;
  card.innerHTML = `<div class="told"><h3></h3><p class="figures"></p><button type="button">Take this mask</button></div>
    <div class="panels"><figure><figcaption>Mask</figcaption><canvas></canvas></figure>
    <figure><figcaption>Reconstruction</figcaption><img alt="Reconstruction"></figure>
    <figure><figcaption>Patch losses</figcaption><img alt="Patch losses"></figure></div>`;
  card.querySelector("h3").textContent = agent;
  card.querySelector("button").addEventListener("click", () => {
    stroke();
    state.mask = new Set(state.rivals.get(agent).mask);
    score();
    board.scrollIntoView({ block: "nearest" });
  });
  $("rivals").append(card);
  return card;
}

function drawScale(mine) {
  const { random, par } = state.image;
  $("scale").hidden = par === null;
  $("scale-note").textContent = par === null
    ? `Random masks have a reward of ${said(random)} here. No par has been searched for this image at this ratio, so there are no points.` : "";
  if (par === null) return;
  const marks = [...state.rivals].filter(([, told]) => told?.reward).map(([agent, told]) => [agent.split(":")[0], told.reward, ""]);
  if (mine) marks.push(["you", mine.reward, " mine"]);
  const place = (reward) => Math.min(Math.max((reward - random) / (par - random), 0), 1) * 100;
  const put = (text, at, kind) => {
    const mark = document.createElement("span");
    mark.textContent = text;
    mark.className = kind;
    if (at !== null) mark.style.setProperty("--at", `${at}%`);
    return mark;
  };
  $("scale").replaceChildren(
    ...marks.sort((a, b) => a[1] - b[1]).map(([name, reward, kind]) => put(name, place(reward), `mark${kind}`)),
    put(`random ${said(random)}`, null, "end low"), put(`par ${said(par)}`, null, "end high"));
  // Names that would lie on each other share one place.
  let last = null;
  for (const mark of [...$("scale").querySelectorAll(".mark")]) {
    if (last && mark.getBoundingClientRect().left < last.getBoundingClientRect().right + 6) {
      last.textContent += `, ${mark.textContent}`;
      if (mark.classList.contains("mine")) last.classList.add("mine");
      mark.remove();
    } else last = mark;
  }
}

// Buttons and keys

function toggle(agent) {
  if (state.rivals.delete(agent)) draw(); else think(agent);
}
const step = (by) => show((state.image.index + by + state.image.images) % state.image.images).catch(complain);
$("next").addEventListener("click", () => step(1));
$("previous").addEventListener("click", () => step(-1));
$("index").addEventListener("change", () => show(Math.max(0, Math.floor(Number($("index").value)) || 0)).catch(complain));
$("game").addEventListener("change", () => show(0).catch(complain));
$("ratio").addEventListener("change", () => show(state.image.index, state.image.plane).catch(complain));
$("plane").addEventListener("input", () => show(state.image.index, Number($("plane").value), true).catch(complain));
$("labels").addEventListener("change", () => { state.outlines = $("labels").checked; draw(); });
$("clear").addEventListener("click", clear);
$("undo").addEventListener("click", undo);
$("fill").addEventListener("click", fill);
$("query").addEventListener("click", query);
$("several").addEventListener("change", () => show(state.image.index, state.image.plane).catch(complain));
$("again").addEventListener("click", () => show(state.image.index, state.image.plane).catch(complain));
$("choices").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (!state.image || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=number], select")) return;
  const key = event.key.toLowerCase(), agents = [...$("players").children];
  const does = { n: () => step(1), p: () => step(-1), c: clear, u: undo, r: fill, q: query, l: () => $("labels").click() };
  if (does[key]) does[key]();
  else if (key === "0") agents.find((one) => one.dataset.agent === "par")?.click();
  else if (/^[1-9]$/.test(key)) agents[Number(key) - 1]?.click();
});

const THEMES = ["system", "light", "dark"];
function dress(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  localStorage.setItem("theme", theme);
}
$("theme").addEventListener("click", () => dress(THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "system") + 1) % 3]));

async function start() {
  dress(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "system");
  state.about = await ask("about");
  const asked = new URLSearchParams(location.hash.slice(1));
  $("game").replaceChildren(...state.about.games.map((name) => new Option(name, name)));
  $("ratio").replaceChildren(...state.about.ratios.map((ratio) => new Option(`${Math.round(100 * ratio)} %`, ratio)));
  $("game-choice").hidden = state.about.games.length < 2;
  $("game").value = state.about.games.includes(asked.get("game")) ? asked.get("game") : state.about.games[0];
  $("ratio").value = state.about.ratios.includes(Number(asked.get("ratio"))) ? asked.get("ratio") : state.about.ratio;
  $("players").replaceChildren(...[...state.about.agents, "par"].map((agent) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: agent });
    button.dataset.agent = agent;
    button.addEventListener("click", () => toggle(agent));
    return button;
  }));
  $("several").checked = state.about.several;
  await show(Number(asked.get("index")) || 0, asked.get("plane") ? Number(asked.get("plane")) : null);
}
start().catch(complain);
window.addEventListener("resize", draw);
