// The page: a grid of all heads, and the chosen one as a map or as lines. Text comes in only as textContent.
(async function () {
  const byId = (id) => document.getElementById(id);
  const info = JSON.parse(byId("information").textContent);
  const rows = info.queries.length, columns = info.keys.length;
  const levels = info.bits === 16 ? 65535 : 255;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const thumbnails = bytesOf(byId("thumbnails").textContent);
  const state = {
    head: info.chosen, view: info.view, scale: info.scale, colours: info.colours, token: null, cell: null, pinned: false,
    across: [0, columns], down: [0, rows], weights: null, levels: [], scroll: 0,
  };
  const grid = byId("grid"), view = byId("view"), tip = byId("tip");

  function bytesOf(text) {
    const binary = atob(text.trim());
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  async function inflated(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return await new Response(stream).arrayBuffer();
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const font = (size, weight) => `${weight || 400} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  const lut = () => luts[state.colours + (dark.matches ? "-dark" : "")] || luts[state.colours];
  const luts = {};
  for (const name of Object.keys(info.maps)) luts[name] = bytesOf(info.maps[name]);

  function canvasOf(shades, height, width) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const image = new ImageData(width, height), map = lut();
    for (let i = 0; i < shades.length; i++) {
      const from = 3 * shades[i], to = 4 * i;
      image.data[to] = map[from];
      image.data[to + 1] = map[from + 1];
      image.data[to + 2] = map[from + 2];
      image.data[to + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  /** The canvas in pixels of the screen, drawn in pixels of the page. */
  function sized(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }

  function shortened(pen, text, width) {
    if (pen.measureText(text).width <= width) return text;
    let few = 0, many = text.length;
    while (many - few > 1) {
      const middle = (few + many) >> 1;
      if (pen.measureText(text.slice(0, middle) + "…").width <= width) few = middle;
      else many = middle;
    }
    return text.slice(0, few) + "…";
  }

  const widest = (pen, texts, most) => Math.min(most, texts.reduce((w, t) => Math.max(w, pen.measureText(t).width), 0));

  // --- the grid of heads

  let tiles = []; // the thumbnails in the colours of now
  const gridPlaces = { left: 0, top: 0, step: 0, high: 0, size: 0, tall: 0 };

  function drawGrid() {
    const height = info.thumbnail[0], width = info.thumbnail[1];
    const room = byId("grid-room").clientWidth;
    const places = gridPlaces;
    const probe = grid.getContext("2d");
    probe.font = font(12);
    places.left = Math.ceil(Math.max(...info.layers.map((n) => probe.measureText(`Layer ${n}`).width))) + 8;
    places.top = 20;
    const gap = 4;
    places.size = Math.max(14, Math.min(110, Math.floor((room - places.left - 2) / info.heads.length) - gap));
    places.tall = Math.max(8, Math.round(places.size * Math.min(3, height / width)));
    places.step = places.size + gap;
    places.high = places.tall + gap;
    const pen = sized(grid, places.left + info.heads.length * places.step, places.top + info.layers.length * places.high);
    pen.font = font(12);
    pen.textBaseline = "middle";
    const named = labelStep(places.step, pen.measureText("00").width + 4);
    for (let c = 0; c < info.heads.length; c += named) {
      pen.fillStyle = colour(c === state.head[1] ? "--text" : "--faint");
      pen.textAlign = "center";
      pen.fillText(String(info.heads[c]), places.left + c * places.step + places.size / 2, places.top / 2);
    }
    pen.imageSmoothingEnabled = places.size * (window.devicePixelRatio || 1) < width;
    for (let r = 0; r < info.layers.length; r++) {
      const y = places.top + r * places.high;
      pen.fillStyle = colour(r === state.head[0] ? "--text" : "--faint");
      pen.textAlign = "left";
      pen.fillText(`Layer ${info.layers[r]}`, 0, y + places.tall / 2);
      for (let c = 0; c < info.heads.length; c++) {
        const start = (r * info.heads.length + c) * height * width;
        const x = places.left + c * places.step;
        const number = r * info.heads.length + c;
        tiles[number] = tiles[number] || canvasOf(thumbnails.subarray(start, start + height * width), height, width);
        pen.drawImage(tiles[number], x, y, places.size, places.tall);
        const isChosen = r === state.head[0] && c === state.head[1];
        pen.strokeStyle = colour(isChosen ? "--accent" : "--line");
        pen.lineWidth = isChosen ? 3 : 1;
        pen.strokeRect(x - 0.5, y - 0.5, places.size + 1, places.tall + 1);
      }
    }
    grid.setAttribute("aria-label", `${headName(state.head)} of ${info.layers.length} layers and ${info.heads.length} heads`);
  }

  function gridCell(event) {
    const column = Math.floor((event.offsetX - gridPlaces.left) / gridPlaces.step);
    const row = Math.floor((event.offsetY - gridPlaces.top) / gridPlaces.high);
    const inside = row >= 0 && row < info.layers.length && column >= 0 && column < info.heads.length;
    return inside ? [row, column] : null;
  }

  const headName = (head) => info.single || `Layer ${info.layers[head[0]]}, head ${info.heads[head[1]]}`;

  function statistics(head) {
    const found = info.statistics[head[0]][head[1]];
    return Object.keys(found).map((name) => [name, found[name]]);
  }

  function tell(event, text) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const side = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - side.width - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 16, innerHeight - side.height - 8)}px`;
  }

  async function choose(head) {
    state.head = head;
    const stored = byId(`weights-${head[0]}-${head[1]}`);
    const buffer = await inflated(bytesOf(stored.textContent));
    if (state.head !== head) return;
    const codes = info.bits === 16 ? new Uint16Array(buffer) : new Uint8Array(buffer);
    state.weights = unquantise(codes, Number(stored.dataset.top), levels);
    shade();
    byId("head-title").textContent = headName(head);
    const list = byId("statistics");
    list.replaceChildren();
    for (const [name, value] of statistics(head)) {
      const term = document.createElement("dt"), definition = document.createElement("dd");
      term.textContent = name;
      definition.textContent = value;
      list.append(term, definition);
    }
    drawGrid();
    draw();
  }

  // --- the chosen head

  function shade() {
    if (!state.weights) return;
    let level = { shades: shadesOf(state.weights, rows, columns, state.scale), rows: rows, columns: columns };
    state.levels = [];
    for (;;) {
      state.levels.push({ canvas: canvasOf(level.shades, level.rows, level.columns), rows: level.rows, columns: level.columns });
      if (Math.max(level.rows, level.columns) <= 256) break;
      level = poolShades(level.shades, level.rows, level.columns);
    }
  }

  const line = 16;
  const places = { left: 0, top: 0, width: 0, height: 0, right: 0, pitch: 0 };

  function draw() {
    if (!state.weights) return;
    const stage = byId("stage");
    const pen = sized(view, stage.clientWidth, stage.clientHeight);
    pen.font = font(12.5);
    pen.textBaseline = "middle";
    if (state.view === "map") drawMap(pen, stage.clientWidth, stage.clientHeight);
    else drawLines(pen, stage.clientWidth, stage.clientHeight);
    for (const [name, id] of [["map", "show-map"], ["lines", "show-lines"]]) {
      byId(id).setAttribute("aria-pressed", String(state.view === name));
    }
    byId("help").textContent = state.view === "map"
      ? "Wheel or + and − zoom, dragging moves, arrows walk from cell to cell, 0 shows the whole map."
      : "Point at a token for its lines alone, click to keep it; wheel or arrows walk through the tokens.";
    readOut();
  }

  function drawMap(pen, width, height) {
    const across = state.across, down = state.down;
    const side = widest(pen, info.queries, 150) + 10, roof = widest(pen, info.keys, 150) + 10;
    places.left = side;
    places.top = roof;
    places.width = width - side - 58;
    places.height = height - roof - 4;
    const cellWidth = places.width / (across[1] - across[0]), cellHeight = places.height / (down[1] - down[0]);
    const ratio = window.devicePixelRatio || 1;
    let index = 0;
    while (index + 1 < state.levels.length && Math.min(cellWidth, cellHeight) * ratio * 2 ** index < 0.75) index++;
    const level = state.levels[index], scale = 2 ** index;
    pen.imageSmoothingEnabled = Math.min(cellWidth, cellHeight) * ratio * scale < 1;
    pen.save();
    pen.beginPath();
    pen.rect(places.left, places.top, places.width, places.height);
    pen.clip();
    pen.drawImage(
      level.canvas, places.left - across[0] * cellWidth, places.top - down[0] * cellHeight,
      level.columns * scale * cellWidth, level.rows * scale * cellHeight,
    );
    if (state.cell) {
      pen.strokeStyle = colour("--accent");
      pen.lineWidth = 2;
      const x = places.left + (state.cell[1] - across[0]) * cellWidth, y = places.top + (state.cell[0] - down[0]) * cellHeight;
      pen.strokeRect(x - 1, y - 1, Math.max(cellWidth, 3) + 2, Math.max(cellHeight, 3) + 2);
    }
    pen.restore();
    pen.strokeStyle = colour("--line");
    pen.lineWidth = 1;
    pen.strokeRect(places.left - 0.5, places.top - 0.5, places.width + 1, places.height + 1);
    ruler(pen, info.queries, down, cellHeight, side - 10, (at, label) => {
      pen.textAlign = "right";
      pen.fillText(label, places.left - 6, places.top + at);
    }, state.cell && state.cell[0]);
    ruler(pen, info.keys, across, cellWidth, roof - 10, (at, label) => {
      pen.save();
      pen.translate(places.left + at, places.top - 6);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "left";
      pen.fillText(label, 0, 0);
      pen.restore();
    }, state.cell && state.cell[1]);
    drawBar(pen, width);
    view.setAttribute("aria-label", `${headName(state.head)}: map of ${rows} by ${columns} tokens`);
  }

  function ruler(pen, labels, range, cell, room, write, marked) {
    const step = labelStep(cell, line);
    for (let i = Math.ceil(Math.floor(range[0]) / step) * step; i < Math.min(labels.length, range[1]); i += step) {
      const at = (i + 0.5 - range[0]) * cell;
      if (at < 0 || at > cell * (range[1] - range[0])) continue;
      if (marked !== null && i !== marked && Math.abs(i - marked) * cell < line) continue;
      pen.fillStyle = colour(marked === null || i === marked ? "--text" : "--faint");
      write(at, shortened(pen, labels[i], room));
    }
    if (marked !== null && marked % step !== 0 && marked >= range[0] && marked < range[1]) {
      pen.fillStyle = colour("--text");
      write((marked + 0.5 - range[0]) * cell, shortened(pen, labels[marked], room));
    }
  }

  function drawBar(pen, width) {
    const ramp = new Uint8Array(256);
    for (let i = 0; i < 256; i++) ramp[i] = 255 - i;
    const x = width - 46;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(canvasOf(ramp, 256, 1), x, places.top, 10, places.height);
    pen.fillStyle = colour("--faint");
    pen.textAlign = "left";
    const top = state.scale === "shared" ? 1 : largest(state.weights);
    for (const place of [0, 0.5, 1]) {
      let text = state.scale === "row" ? `${100 * place}%` : (place * top).toPrecision(2);
      if (state.scale === "log") text = (top * 10 ** (4 * (place - 1))).toExponential(0);
      if (place === 0 && state.scale !== "log") text = "0";
      pen.fillText(text, x + 13, places.top + 7 + (1 - place) * (places.height - 14));
    }
  }

  function drawLines(pen, width, height) {
    const most = width * 0.3, heading = 26;
    places.left = Math.max(60, widest(pen, info.queries, most) + 8);
    places.right = width - Math.max(90, widest(pen, info.keys, most) + 8);
    places.top = heading;
    const tokens = Math.max(rows, columns);
    places.pitch = Math.min(30, Math.max(line + 2, (height - heading) / tokens));
    state.scroll = Math.min(Math.max(0, state.scroll), Math.max(0, tokens * places.pitch - (height - heading)));
    const yOf = (i) => heading + (i + 0.5) * places.pitch - state.scroll;
    const top = state.scale === "shared" ? 1 : largest(state.weights);
    let lines = strongestLines(state.weights, columns, top, 4000);
    if (state.token) {
      const [axis, index] = state.token;
      const found = strongestOf(state.weights, rows, columns, axis, index, 500).reverse();
      const own = state.scale === "shared" ? 1 : found[found.length - 1].weight; // one token's lines have their own scale
      lines = found.map((other) => ({
        query: axis === 0 ? index : other.index, key: axis === 0 ? other.index : index,
        strength: own > 0 ? Math.min(1, other.weight / own) : 0,
      }));
    }
    pen.save();
    pen.beginPath();
    pen.rect(0, heading - 2, width, height);
    pen.clip();
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = Math.min(4, Math.max(1.2, places.pitch / 8));
    for (const each of lines) {
      pen.globalAlpha = each.strength;
      pen.beginPath();
      pen.moveTo(places.left, yOf(each.query));
      pen.lineTo(places.right, yOf(each.key));
      pen.stroke();
    }
    pen.globalAlpha = 1;
    for (const [axis, labels, x, align] of [[0, info.queries, places.left - 6, "right"], [1, info.keys, places.right + 6, "left"]]) {
      pen.textAlign = align;
      for (let i = 0; i < labels.length; i++) {
        const y = yOf(i);
        if (y < heading - line || y > height + line) continue;
        const isMarked = state.token && state.token[0] === axis && state.token[1] === i;
        pen.font = font(12.5, isMarked ? 700 : 400);
        pen.fillStyle = colour(state.token && !isMarked ? "--faint" : "--text");
        pen.fillText(shortened(pen, labels[i], most - 12), x, y);
      }
    }
    pen.restore();
    pen.font = font(12);
    pen.fillStyle = colour("--faint");
    pen.textAlign = "right";
    pen.fillText("looks", places.left - 6, 10);
    pen.textAlign = "left";
    pen.fillText("is looked at", places.right + 6, 10);
    view.setAttribute("aria-label", `${headName(state.head)}: lines between ${rows} and ${columns} tokens`);
  }

  function readOut() {
    let text = "";
    if (state.view === "map" && state.cell) {
      const [query, key] = state.cell;
      const weight = shownWeight(state.weights[query * columns + key], info.bits === 16);
      text = `“${info.queries[query]}” (${query}) looks at “${info.keys[key]}” (${key}) with weight ${weight}`;
    } else if (state.view === "lines" && state.token) {
      const [axis, index] = state.token;
      const others = axis === 0 ? info.keys : info.queries;
      const strongest = strongestOf(state.weights, rows, columns, axis, index, 4)
        .map((found) => `“${others[found.index]}” ${shownWeight(found.weight, info.bits === 16)}`).join(", ");
      text = axis === 0 ? `“${info.queries[index]}” looks at ${strongest}` : `“${info.keys[index]}” is looked at by ${strongest}`;
    }
    byId("readout").textContent = text || "Point at something to read it off.";
  }

  // --- mouse and keyboard

  function cellAt(event) {
    const x = (event.offsetX - places.left) / places.width, y = (event.offsetY - places.top) / places.height;
    if (x < 0 || x >= 1 || y < 0 || y >= 1) return null;
    const key = Math.floor(state.across[0] + x * (state.across[1] - state.across[0]));
    const query = Math.floor(state.down[0] + y * (state.down[1] - state.down[0]));
    return [Math.min(query, rows - 1), Math.min(key, columns - 1)];
  }

  function tokenAt(event) {
    const index = Math.floor((event.offsetY - places.top + state.scroll) / places.pitch);
    const axis = event.offsetX < places.left ? 0 : event.offsetX > places.right ? 1 : null;
    return axis === null || index < 0 || index >= (axis === 0 ? rows : columns) ? null : [axis, index];
  }

  function zoom(factor, x, y) {
    state.across = zoomed(state.across, x, factor, columns);
    state.down = zoomed(state.down, y, factor, rows);
    draw();
  }

  function whole() {
    state.across = [0, columns];
    state.down = [0, rows];
    state.scroll = 0;
    state.token = null;
    state.pinned = false;
    draw();
  }

  function setView(name) {
    state.view = name;
    draw();
  }

  grid.addEventListener("click", (event) => {
    const cell = gridCell(event);
    if (cell) choose(cell);
  });
  grid.addEventListener("mousemove", (event) => {
    const cell = gridCell(event);
    grid.style.cursor = cell ? "pointer" : "default";
    tell(event, cell ? [headName(cell), ...statistics(cell).map(([name, value]) => `${name}: ${value}`)].join("\n") : "");
  });
  grid.addEventListener("mouseleave", (event) => tell(event, ""));
  grid.addEventListener("keydown", (event) => {
    const head = steppedHead(state.head, event.key, info.layers.length, info.heads.length);
    if (!head) return;
    event.preventDefault();
    choose(head);
  });

  let drag = null;
  view.addEventListener("pointerdown", (event) => {
    drag = { x: event.offsetX, y: event.offsetY, across: state.across, down: state.down, scroll: state.scroll };
    view.setPointerCapture(event.pointerId);
    if (state.view === "lines") {
      const token = tokenAt(event);
      state.pinned = token !== null && !(state.pinned && String(state.token) === String(token));
      state.token = token;
      draw();
    }
  });
  view.addEventListener("pointerup", () => { drag = null; });
  view.addEventListener("pointermove", (event) => {
    if (drag && state.view === "map") {
      const tokensAcross = drag.across[1] - drag.across[0], tokensDown = drag.down[1] - drag.down[0];
      state.across = moved(drag.across, (drag.x - event.offsetX) / places.width * tokensAcross, columns);
      state.down = moved(drag.down, (drag.y - event.offsetY) / places.height * tokensDown, rows);
    }
    if (drag && state.view === "lines") state.scroll = drag.scroll + drag.y - event.offsetY;
    if (state.view === "map") state.cell = cellAt(event);
    else if (!state.pinned) state.token = tokenAt(event);
    draw();
  });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (state.view === "lines") {
      state.scroll += event.deltaY;
      draw();
      return;
    }
    const x = Math.min(1, Math.max(0, (event.offsetX - places.left) / places.width));
    const y = Math.min(1, Math.max(0, (event.offsetY - places.top) / places.height));
    zoom(1.0015 ** -event.deltaY, x, y);
  }, { passive: false });
  view.addEventListener("dblclick", whole);
  view.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      state.cell = state.token = null;
      state.pinned = false;
    } else if (state.view === "map" && (event.key === "+" || event.key === "=")) zoom(1.5, 0.5, 0.5);
    else if (state.view === "map" && event.key === "-") zoom(1 / 1.5, 0.5, 0.5);
    else if (state.view === "map") {
      const cell = steppedHead(state.cell || [0, 0], event.key, rows, columns);
      if (!cell) return;
      state.cell = cell;
      state.down = revealing(state.down, cell[0], rows);
      state.across = revealing(state.across, cell[1], columns);
    } else {
      const [axis, index] = state.token || [0, -1];
      const count = axis === 0 ? rows : columns;
      if (event.key === "ArrowDown") state.token = [axis, Math.min(count - 1, index + 1)];
      else if (event.key === "ArrowUp") state.token = [axis, Math.max(0, index - 1)];
      else if (event.key === "ArrowRight") state.token = [1, Math.min(columns - 1, Math.max(0, index))];
      else if (event.key === "ArrowLeft") state.token = [0, Math.min(rows - 1, Math.max(0, index))];
      else return;
      state.pinned = true;
      const at = state.token[1] * places.pitch;
      const seen = view.clientHeight - places.top - places.pitch;
      state.scroll = Math.min(Math.max(state.scroll, at - seen), at);
    }
    event.preventDefault();
    draw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    if (event.key === "m") setView("map");
    else if (event.key === "l") setView("lines");
    else if (event.key === "0") whole();
  });
  byId("show-map").addEventListener("click", () => setView("map"));
  byId("show-lines").addEventListener("click", () => setView("lines"));
  byId("whole").addEventListener("click", whole);
  byId("scale").addEventListener("change", (event) => {
    state.scale = event.target.value;
    shade();
    draw();
  });

  function recolour() {
    tiles = [];
    shade();
    drawGrid();
    draw();
  }
  for (const name of info.names) {
    const option = document.createElement("option");
    option.value = name;
    option.textContent = name;
    byId("colours").append(option);
  }
  byId("colours").value = state.colours;
  byId("scale").value = state.scale;
  byId("colours").addEventListener("change", (event) => {
    state.colours = event.target.value;
    recolour();
  });
  dark.addEventListener("change", recolour);
  new ResizeObserver(drawGrid).observe(byId("grid-room"));
  new ResizeObserver(draw).observe(byId("stage"));

  byId("title").textContent = info.title;
  byId("caption").textContent = info.caption;
  byId("text").textContent = info.text;
  byId("text").hidden = !info.text;
  byId("main").classList.toggle("single", info.layers.length * info.heads.length === 1);
  await choose(state.head);
})();
