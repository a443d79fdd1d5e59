// One picture: a slice of a CT in one plane, the heat map over it, contours, letters, scale bar.

import { AXIS, LETTERS } from "./planes.js";

const SVG = "http://www.w3.org/2000/svg";
const SCALES_CM = [0.2, 0.5, 1, 2, 5, 10, 20];
const EDGE = 8;
const MARGIN_MM = 45;
const NARROW = 420;

export class Pane {
  /** `result` is what is shown: {job, geometry, slices, organs, map}. */
  constructor(result, plane, caption) {
    this.result = result;
    this.plane = plane;
    this.caption = caption;
    this.box = element("div", "viewer-pane");
    this.canvas = this.box.appendChild(document.createElement("canvas"));
    this.svg = this.box.appendChild(document.createElementNS(SVG, "svg"));
    this.svg.setAttribute("aria-hidden", "true");
    this.lines = this.svg.appendChild(document.createElementNS(SVG, "g"));
    this.cross = this.svg.appendChild(document.createElementNS(SVG, "path"));
    this.cross.setAttribute("class", "viewer-cross");
    this.bar = this.svg.appendChild(document.createElementNS(SVG, "path"));
    this.bar.setAttribute("class", "viewer-bar");
    this.letters = [0, 1, 2, 3].map(() => this.#text("viewer-letter"));
    this.barLabel = this.#text("viewer-small");
    this.corner = this.#text("viewer-small");
    this.note = this.#text("viewer-small viewer-end");
    this.paths = new Map();
    this.picture = document.createElement("canvas");
    this.painted = "";
    this.zoom = 1;
    this.pan = [0, 0];
  }

  #text(name) {
    const text = this.svg.appendChild(document.createElementNS(SVG, "text"));
    text.setAttribute("class", name);
    return text;
  }

  setPlane(plane) {
    if (plane === this.plane) return;
    this.plane = plane;
    this.fit();
  }

  /** The whole picture. */
  reset() {
    this.zoom = 1;
    this.pan = [0, 0];
  }

  /** The part of the picture where organs are, with some of what lies around it; all of it where there are none. */
  fit() {
    this.reset();
    const { geometry, organs } = this.result;
    const box = around(organs, geometry, this.plane);
    const [width, height] = this.size;
    if (!box || !width || !height) return;
    const [dx, dy] = geometry.pixel(this.plane);
    const [a, d] = this.transform();
    const zoom = Math.min(width / ((box[2] - box[0]) * a), height / ((box[3] - box[1]) * d));
    this.zoom = Math.min(Math.max(zoom, 1), 4);
    const middle = [(geometry.columns(this.plane) - box[0] - box[2]) / 2, (geometry.rows(this.plane) - box[1] - box[3]) / 2];
    this.pan = [middle[0] * dx, middle[1] * dy];
  }

  /** Width and height in CSS pixels. */
  get size() {
    return [this.box.clientWidth, this.box.clientHeight];
  }

  /** From a picture's pixels to CSS pixels: [scale of columns, scale of rows, left, top]. */
  transform() {
    const { geometry } = this.result;
    const [width, height] = this.size;
    const [dx, dy] = geometry.pixel(this.plane);
    const [wide, high] = [geometry.columns(this.plane) * dx, geometry.rows(this.plane) * dy];
    const scale = Math.min(width / wide, height / high) * this.zoom;
    const left = (width - wide * scale) / 2 + this.pan[0] * scale;
    const top = (height - high * scale) / 2 + this.pan[1] * scale;
    return [dx * scale, dy * scale, left, top];
  }

  /** Column and row under a point of the box. */
  under(x, y) {
    const [a, d, left, top] = this.transform();
    return [(x - left) / a, (y - top) / d];
  }

  /** Larger or smaller about a point of the box, which stays where it is. */
  zoomAt(factor, x, y) {
    const before = this.under(x, y);
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), 20);
    const [a, d, left, top] = this.transform();
    this.panBy(x - (left + before[0] * a), y - (top + before[1] * d));
  }

  /** Move the picture by CSS pixels. */
  panBy(x, y) {
    const scale = this.transform()[0] / this.result.geometry.pixel(this.plane)[0];
    this.pan = [this.pan[0] + x / scale, this.pan[1] + y / scale];
  }

  /** Draw slice k. Returns whether all of it is here. Pixels of another slice are never shown under its number. */
  draw(k, state) {
    const [width, height] = this.size;
    const dots = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * dots) || this.canvas.height !== Math.round(height * dots)) {
      this.canvas.width = Math.round(width * dots);
      this.canvas.height = Math.round(height * dots);
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    }
    const [a, d, left, top] = this.transform();
    const context = this.canvas.getContext("2d", { alpha: false });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(a * dots, 0, 0, d * dots, left * dots, top * dots);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const here = this.#paint(k, state.window);
    if (here) {
      context.drawImage(this.picture, 0, 0);
      this.#heat(context, k, state);
    }
    this.#outline(k, state, `matrix(${a} 0 0 ${d} ${left} ${top})`);
    this.#marks(k, state, [a, d, left, top], width, height, here);
    return here;
  }

  #paint(k, shades) {
    const { geometry, slices } = this.result;
    const values = slices.get(this.plane, k);
    if (!values) return false;
    const key = `${this.plane}:${k}:${shades.level}:${shades.width}`;
    if (key === this.painted) return true;
    const [columns, rows] = [geometry.columns(this.plane), geometry.rows(this.plane)];
    if (!this.image || this.image.width !== columns || this.image.height !== rows) {
      this.picture.width = columns;
      this.picture.height = rows;
      this.image = new ImageData(columns, rows);
    }
    shades.paint(values, new Uint32Array(this.image.data.buffer));
    this.picture.getContext("2d", { alpha: false }).putImageData(this.image, 0, 0);
    this.painted = key;
    return true;
  }

  #heat(context, k, state) {
    const { geometry, map } = this.result;
    if (!map || !state.heat) return;
    const cut = map.cut(this.plane, geometry.mm(AXIS[this.plane], k));
    if (!cut) return;
    context.globalAlpha = state.heat;
    context.drawImage(cut, ...map.place(geometry, this.plane));
    context.globalAlpha = 1;
  }

  #outline(k, state, matrix) {
    this.lines.setAttribute("transform", matrix);
    for (const organ of this.result.organs) {
      let path = this.paths.get(organ);
      if (!path) {
        path = this.lines.appendChild(document.createElementNS(SVG, "path"));
        path.setAttribute("class", "viewer-contour");
        path.setAttribute("stroke", organ.colour);
        path.dataset.roi = organ.name;
        path.shown = "";
        this.paths.set(organ, path);
      }
      const key = state.contours && !state.hidden.has(organ.name) ? `${this.plane}:${k}` : "";
      if (key === path.shown) continue;
      path.shown = key;
      path.setAttribute("d", key ? organ.path(this.result.geometry, this.plane, k) : "");
      path.classList.toggle("viewer-doubtful", Boolean(organ.slices) && this.plane === "axial" && doubted(organ, k));
    }
  }

  #marks(k, state, [a, d, left, top], width, height, here) {
    const places = [
      [EDGE, height / 2],
      [width - EDGE, height / 2],
      [width / 2, EDGE + 12],
      [width / 2, height - EDGE],
    ];
    this.letters.forEach((text, n) => {
      text.textContent = LETTERS[this.plane][n];
      text.setAttribute("x", places[n][0]);
      text.setAttribute("y", places[n][1]);
      text.setAttribute("text-anchor", ["start", "end", "middle", "middle"][n]);
    });
    const { geometry } = this.result;
    const perCm = (10 * a) / geometry.pixel(this.plane)[0];
    const cm = SCALES_CM.findLast((one) => one * perCm <= width / 3) || SCALES_CM[0];
    const [from, base] = [EDGE + 4, height - EDGE - 4];
    this.bar.setAttribute("d", `M${from} ${base - 6}V${base}H${from + cm * perCm}V${base - 6}`);
    this.barLabel.textContent = `${cm} cm`;
    place(this.barLabel, from + 4, base - 8);
    const z = geometry.mm(AXIS[this.plane], k).toFixed(1);
    const axis = { axial: "z", coronal: "y", sagittal: "x" }[this.plane];
    const number = `${this.caption}${this.plane} ${k + 1}/${geometry.count(this.plane)}`;
    this.corner.textContent = width < NARROW ? number : `${number}  ${axis} ${z} mm`;
    place(this.corner, EDGE, EDGE + 12);
    const shades = width < NARROW ? "" : `W ${state.window.width} L ${state.window.level}`;
    this.note.textContent = here ? shades : "loading …";
    place(this.note, width - EDGE, EDGE + 12);
    const [column, row] = geometry.place(this.plane, state.voxel);
    const [x, y] = [left + column * a, top + row * d];
    const gap = 10;
    this.cross.setAttribute(
      "d",
      state.cross
        ? `M0 ${y}H${x - gap}M${x + gap} ${y}H${width}M${x} 0V${y - gap}M${x} ${y + gap}V${height}`
        : "",
    );
  }
}

/** The box around all contours in a picture and MARGIN_MM more: [left, top, right, bottom] in its pixels, or null. */
function around(organs, geometry, plane) {
  const found = [Infinity, Infinity, -Infinity, -Infinity];
  for (const organ of organs) {
    const ends = organ.ends(geometry);
    if (!ends) continue;
    const [z, y, x] = ends;
    const [across, down] = { axial: [x, y], coronal: [x, z], sagittal: [y, z] }[plane];
    const columns = across.map((mm) => geometry.column(plane, mm));
    const rows = down.map((mm) => geometry.row(plane, mm));
    found[0] = Math.min(found[0], ...columns);
    found[1] = Math.min(found[1], ...rows);
    found[2] = Math.max(found[2], ...columns);
    found[3] = Math.max(found[3], ...rows);
  }
  if (found[0] === Infinity) return null;
  const [dx, dy] = geometry.pixel(plane);
  return [
    Math.max(found[0] - MARGIN_MM / dx, 0),
    Math.max(found[1] - MARGIN_MM / dy, 0),
    Math.min(found[2] + MARGIN_MM / dx, geometry.columns(plane)),
    Math.min(found[3] + MARGIN_MM / dy, geometry.rows(plane)),
  ];
}

function doubted(organ, k) {
  return k + 1 >= organ.slices[0] && k + 1 <= organ.slices[1];
}

function place(text, x, y) {
  text.setAttribute("x", x);
  text.setAttribute("y", y);
}

function element(name, className) {
  const made = document.createElement(name);
  made.className = className;
  return made;
}
