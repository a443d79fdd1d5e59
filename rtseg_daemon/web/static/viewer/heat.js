// An entropy map on its own coarse grid, cut in the plane of a slice.

import { ask } from "./asking.js";
import { AXIS, Geometry } from "./planes.js";
import { heatTable } from "./shades.js";

export class HeatMap {
  constructor(name, said, steps) {
    this.name = name;
    this.shape = said.shape;
    this.grid = new Geometry({ ...said, z_mm: [], tag: "" });
    this.steps = steps;
    this.table = heatTable(said.step_nats);
    this.cuts = new Map();
  }

  static async load(job, index, name) {
    const answer = await ask(`/cases/${job}/entropy/${index}`);
    const said = JSON.parse(answer.headers.get("x-geometry"));
    return new HeatMap(name, said, new Uint8Array(await answer.arrayBuffer()));
  }

  /** The plane at `mm` as a canvas of the map's own pixels, or null where the map does not reach. */
  cut(plane, mm) {
    const axis = AXIS[plane];
    const at = (mm - this.grid.origin[axis]) / this.grid.spacing[axis];
    const last = this.shape[axis] - 1;
    if (at < -0.5 || at > last + 0.5) return null;
    const place = Math.min(Math.max(at, 0), last);
    const cut = this.cuts.get(plane) || { canvas: document.createElement("canvas"), place: -1 };
    if (cut.place !== place) this.#fill(cut.canvas, plane, place);
    cut.place = place;
    this.cuts.set(plane, cut);
    return cut.canvas;
  }

  #fill(canvas, plane, place) {
    const below = Math.floor(place);
    const above = Math.min(below + 1, this.shape[AXIS[plane]] - 1);
    const part = place - below;
    const [columns, rows] = [this.grid.columns(plane), this.grid.rows(plane)];
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const [, y, x] = this.shape;
    const strides = { axial: [y * x, x, 1], coronal: [x, y * x, 1], sagittal: [1, y * x, x] }[plane];
    for (let row = 0; row < rows; row += 1) {
      const line = (plane === "axial" ? row : rows - 1 - row) * strides[1];
      for (let column = 0; column < columns; column += 1) {
        const offset = line + column * strides[2];
        const first = this.steps[below * strides[0] + offset];
        const second = this.steps[above * strides[0] + offset];
        pixels[row * columns + column] = this.table[Math.round(first + (second - first) * part)];
      }
    }
    context.putImageData(image, 0, 0);
  }

  /** Where the cut lies in a picture of the CT: [left, top, width, height] in its pixels. */
  place(geometry, plane) {
    const [dx, dy] = this.grid.pixel(plane);
    const [columnAxis, rowAxis] = { axial: [2, 1], coronal: [2, 0], sagittal: [1, 0] }[plane];
    const left = geometry.column(plane, this.grid.origin[columnAxis] - dx / 2);
    const width = (this.grid.columns(plane) * dx) / geometry.pixel(plane)[0];
    const height = (this.grid.rows(plane) * dy) / geometry.pixel(plane)[1];
    const edge = geometry.row(plane, this.grid.origin[rowAxis] - dy / 2);
    return [left, plane === "axial" ? edge : edge - height, width, height];
  }
}
