// What the page computes, apart from what it shows: no document is needed here.
"use strict";

/** Codes 0 … levels to weights: the square of the share, times the head's largest weight. */
function unquantise(codes, top, levels) {
  const weights = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const share = codes[i] / levels;
    weights[i] = share * share * top;
  }
  return weights;
}

function largest(values) {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}

/** Weights [rows × columns] to places 0 … 255 in a colour map. scale: "head", "shared", "row" or "log" (4 decades). */
function shadesOf(weights, rows, columns, scale) {
  const shades = new Uint8Array(weights.length);
  let top = scale === "shared" ? 1 : largest(weights);
  const decades = 4;
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    if (scale === "row") top = largest(weights.subarray(start, start + columns));
    for (let i = start; i < start + columns; i++) {
      const share = top > 0 ? Math.min(1, weights[i] / top) : 0;
      const place = scale === "log" ? 1 + Math.log10(Math.max(share, 1e-9)) / decades : share;
      shades[i] = Math.round(255 * Math.max(0, place));
    }
  }
  return shades;
}

/** The largest of every 2 × 2 cells, so that no single strong one is lost from afar. */
function poolShades(shades, rows, columns) {
  const height = Math.ceil(rows / 2), width = Math.ceil(columns / 2);
  const pooled = new Uint8Array(height * width);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const place = (row >> 1) * width + (column >> 1);
      const shade = shades[row * columns + column];
      if (shade > pooled[place]) pooled[place] = shade;
    }
  }
  return { shades: pooled, rows: height, columns: width };
}

/** Label every how-manieth token, so that labels of this line height do not touch. */
function labelStep(cell, line) {
  return Math.max(1, Math.ceil(line / cell));
}

/** A stretch [first, last] of count tokens, enlarged by factor around a place 0 … 1 of it. */
function zoomed(range, place, factor, count) {
  const length = Math.min(count, Math.max(Math.min(4, count), (range[1] - range[0]) / factor));
  const fixed = range[0] + place * (range[1] - range[0]);
  return moved([fixed - place * length, fixed - place * length + length], 0, count);
}

/** A stretch moved by so many tokens, within 0 … count. */
function moved(range, by, count) {
  const length = range[1] - range[0];
  const first = Math.min(Math.max(0, range[0] + by), Math.max(0, count - length));
  return [first, first + length];
}

/** The stretch moved just so far that a token is in it. */
function revealing(range, token, count) {
  if (token < range[0]) return moved(range, token - range[0], count);
  if (token + 1 > range[1]) return moved(range, token + 1 - range[1], count);
  return range;
}

/** The lines to draw, the strongest last: at most so many, none fainter than a fiftieth of top. */
function strongestLines(weights, columns, top, most) {
  const found = [];
  for (let i = 0; i < weights.length; i++) if (weights[i] >= 0.02 * top) found.push(i);
  found.sort((a, b) => weights[a] - weights[b]);
  return found.slice(Math.max(0, found.length - most)).map((i) => ({
    query: Math.floor(i / columns), key: i % columns, strength: Math.min(1, weights[i] / top),
  }));
}

/** The keys that a query looks at (axis 0), or the queries that look at a key (axis 1); the strongest first. */
function strongestOf(weights, rows, columns, axis, index, most) {
  const count = axis === 0 ? columns : rows;
  const found = [];
  for (let i = 0; i < count; i++) {
    const weight = axis === 0 ? weights[index * columns + i] : weights[i * columns + index];
    found.push({ index: i, weight: weight });
  }
  found.sort((a, b) => b.weight - a.weight);
  return found.slice(0, most);
}

/** Another head by the arrow keys; [row, column] of the grid. */
function steppedHead(head, key, rows, columns) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (key === "Home") return [head[0], 0];
  if (key === "End") return [head[0], columns - 1];
  if (key === "PageUp") return [0, head[1]];
  if (key === "PageDown") return [rows - 1, head[1]];
  if (!(key in steps)) return null;
  const clamp = (value, count) => Math.min(Math.max(0, value), count - 1);
  return [clamp(head[0] + steps[key][0], rows), clamp(head[1] + steps[key][1], columns)];
}

/** A weight as it is read; of quantised ones not more digits than they have. */
function shownWeight(weight, exact) {
  if (weight === 0) return "0";
  if (!exact) return "≈ " + Number(weight.toPrecision(2)).toString();
  return weight < 0.0001 ? weight.toExponential(1) : weight.toFixed(4);
}
