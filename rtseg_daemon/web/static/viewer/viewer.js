// The viewer of a case: what is looked at, and everything that follows when that changes.

import { NotShown, ask } from "./asking.js";
import { Controls } from "./controls.js";
import { HeatMap } from "./heat.js";
import { listenToKeys } from "./keys.js";
import { Organ } from "./outlines.js";
import { Pane } from "./pane.js";
import { AXIS, Geometry, PLANES } from "./planes.js";
import { PRESETS, Window } from "./shades.js";
import { Slices } from "./slices.js";
import { listen } from "./touch.js";

class Viewer {
  constructor(root) {
    this.root = root;
    this.plane = "axial";
    this.voxel = [0, 0, 0];
    this.direction = 1;
    this.state = {
      window: new Window(),
      heat: 0.5,
      contours: true,
      hidden: new Set(),
      cross: true,
      voxel: this.voxel,
    };
    this.results = [];
    this.panes = [];
    this.due = false;
    this.controls = new Controls(root, this);
  }

  get base() {
    return this.results[0];
  }

  get index() {
    return this.voxel[AXIS[this.plane]];
  }

  /** Read the case, and the one beside it if the page asks for one. */
  async start() {
    try {
      const job = Number(this.root.dataset.job);
      const beside = Number(this.root.dataset.beside) || 0;
      const opened = [this.#open(job), ...(beside && beside !== job ? [this.#open(beside)] : [])];
      this.results = await Promise.all(opened);
      const strangers = this.results.some((one) => one.series !== this.base.series);
      if (strangers) throw new NotShown(`job ${beside} is of another series; it cannot be laid beside job ${job}`);
      this.#arrange();
      await Promise.all(this.results.map((one) => one.drawn));
      this.controls.fill(this.base, this.results[1]);
      this.fit();
      this.#goToStart();
    } catch (error) {
      this.fail(error);
    }
  }

  /** One job: its geometry, then at once slices, contours and maps. */
  async #open(job) {
    const pending = this.#contours(job);
    pending.catch(() => {});
    const said = await (await ask(`/cases/${job}/volume`)).json();
    const geometry = new Geometry(said);
    const result = { job, said, geometry, series: said.series, organs: [], maps: [], map: null };
    const arrived = () => this.change();
    result.slices = new Slices(job, geometry, arrived, (error) => this.fail(error));
    if (!this.voxel.some(Boolean)) this.#place(geometry.shape.map((count) => Math.floor(count / 2)));
    result.drawn = this.#draw(result, pending);
    return result;
  }

  async #contours(job) {
    return (await ask(`/cases/${job}/contours`)).json();
  }

  /** Contours and heat map of a result. What is missing is said, and the CT is shown all the same. */
  async #draw(result, pending) {
    const { job, said, geometry } = result;
    const maps = Promise.allSettled(said.entropy.map((name, index) => HeatMap.load(job, index, name)));
    try {
      if (said.contours) result.organs = (await pending).rois.map((roi) => new Organ(roi, geometry));
      else this.say("This job has no structure set yet. Its images alone are shown.");
    } catch (error) {
      this.say(`Job ${job}: ${error.message}`, true);
    }
    result.maps = (await maps).filter((one) => one.status === "fulfilled").map((one) => one.value);
    result.map = result.maps[0] || null;
  }

  /** The pictures: one large and two small ones, or two results side by side. */
  #arrange() {
    const { pictures } = this.controls;
    pictures.replaceChildren();
    const twins = this.results.length > 1;
    pictures.classList.toggle("viewer-twins", twins);
    const caption = (result) => (twins ? `job ${result.job}  ` : "");
    this.panes = twins
      ? this.results.map((result) => new Pane(result, this.plane, caption(result)))
      : [this.plane, ...PLANES.filter((plane) => plane !== this.plane)].map((p) => new Pane(this.base, p, ""));
    for (const pane of this.panes) {
      listen(pane, this);
      pictures.append(pane.box);
    }
    new ResizeObserver(() => this.change()).observe(pictures);
  }

  /** The worst slice of the organ in the gravest doubt, or the middle of the organs, or of the CT. */
  #goToStart() {
    const rank = ["REJECT", "REVIEW"];
    const drawn = this.base.organs.filter((organ) => organ.drawn);
    const worst = drawn.filter((one) => rank.includes(one.flag)).sort((a, b) => rank.indexOf(a.flag) - rank.indexOf(b.flag));
    const organ = worst.find((one) => one.slices) || worst[0] || drawn[0];
    if (organ) this.goToOrgan(organ.name);
    else this.change();
  }

  #place(voxel) {
    const { shape } = this.base ? this.base.geometry : { shape: voxel.map((at) => 2 * at + 2) };
    this.voxel = voxel.map((at, axis) => Math.min(Math.max(at, 0), shape[axis] - 1));
    this.state.voxel = this.voxel;
  }

  /** The same place in another result: its CT may have other slices. */
  #indexIn(geometry, plane) {
    const axis = AXIS[plane];
    const own = this.base.geometry;
    if (geometry.tag === own.tag) return this.voxel[axis];
    return geometry.nearest(axis, own.mm(axis, this.voxel[axis]));
  }

  // --- what a person does ------------------------------------------------------------------------------------------

  step(count) {
    if (!this.base) return;
    this.goTo(this.index + count, this.plane);
  }

  goTo(k, plane = this.plane) {
    const axis = AXIS[plane];
    const last = this.base.geometry.shape[axis] - 1;
    const next = Math.min(Math.max(k, 0), last);
    if (next !== this.voxel[axis]) this.direction = next > this.voxel[axis] ? 1 : -1;
    this.#place(this.voxel.map((at, n) => (n === axis ? next : at)));
    this.change();
  }

  /** Numbers of all slices that any organ's line names, from 0. */
  doubtful() {
    const found = new Set();
    for (const { slices } of this.base ? this.base.organs : []) {
      for (let number = slices ? slices[0] : 1; slices && number <= slices[1]; number += 1) found.add(number - 1);
    }
    return [...found].sort((a, b) => a - b);
  }

  stepDoubtful(direction) {
    const slices = this.doubtful();
    const at = this.voxel[0];
    const next = direction > 0 ? slices.find((k) => k > at) : slices.findLast((k) => k < at);
    if (next === undefined) {
      this.say(slices.length ? "There is no further doubtful slice this way." : "No organ of this result names a doubtful slice.");
      return;
    }
    this.setPlane("axial");
    this.goTo(next, "axial");
  }

  /** To an organ's worst slice. `range` is what the organ's row says where the file has no contours of it. */
  goToOrgan(name, range = null) {
    if (!this.base) return;
    const { geometry } = this.base;
    const organ = this.base.organs.find((one) => one.name === name);
    let k = organ ? organ.worst() : -1;
    if (k < 0 && range) k = Math.floor((range[0] + range[1]) / 2) - 1;
    if (k < 0) {
      this.say(`${name} has no contours in this structure set.`);
      return;
    }
    this.setPlane("axial");
    const centre = organ && organ.centre(k);
    const [x, y] = centre || [geometry.mm(2, this.voxel[2]), geometry.mm(1, this.voxel[1])];
    this.#place([k, geometry.nearest(1, y), geometry.nearest(2, x)]);
    this.controls.mark(name);
    this.say("");
    this.change();
  }

  setPlane(plane) {
    if (plane === this.plane || !this.panes.length) return;
    this.plane = plane;
    if (this.results.length > 1) for (const pane of this.panes) pane.setPlane(plane);
    else {
      const [large, ...small] = this.panes;
      const twin = small.find((pane) => pane.plane === plane);
      twin.setPlane(large.plane);
      large.setPlane(plane);
    }
    this.change();
  }

  preset(name) {
    this.state.window.set(PRESETS[name]);
    this.change();
  }

  toggleHeat() {
    this.controls.setHeat(this.state.heat ? 0 : 0.5);
  }

  toggleContours() {
    this.state.contours = !this.state.contours;
    this.change();
  }

  toggleCross() {
    this.state.cross = !this.state.cross;
    this.change();
  }

  toggleOrgan(name, shown) {
    if (shown) this.state.hidden.delete(name);
    else this.state.hidden.add(name);
    this.change();
  }

  chooseMap(name) {
    for (const result of this.results) result.map = result.maps.find((map) => map.name === name) || result.map;
    this.change();
  }

  zoom(factor) {
    if (!this.panes.length) return;
    this.panes[0].zoomAt(factor, ...this.panes[0].size.map((side) => side / 2));
    this.moved(this.panes[0]);
  }

  /** The part with organs, or with `whole` the whole of every picture. */
  fit(whole = false) {
    for (const pane of this.panes) {
      if (whole) pane.reset();
      else pane.fit();
    }
    this.moved();
  }

  // --- what hands on a picture do ----------------------------------------------------------------------------------

  tool() {
    return this.controls.tool;
  }

  scroll(pane, steps) {
    this.goTo(this.voxel[AXIS[pane.plane]] + steps, pane.plane);
  }

  shade(dx, dy) {
    const { level, width } = this.state.window;
    const gain = Math.max(width / 300, 0.5);
    this.state.window.set({ level: level - dy * gain, width: width + dx * gain });
    this.change();
  }

  /** One picture was moved or made larger: its twin follows. */
  moved(pane = this.panes[0]) {
    if (this.results.length > 1) {
      for (const twin of this.panes) [twin.zoom, twin.pan] = [pane.zoom, [...pane.pan]];
    }
    this.change();
  }

  pick(pane, column, row) {
    const { geometry } = pane.result;
    const k = this.#indexIn(geometry, pane.plane);
    const voxel = geometry.voxel(pane.plane, k, column, row);
    const own = this.base.geometry;
    this.#place(geometry.tag === own.tag ? voxel : voxel.map((at, axis) => own.nearest(axis, geometry.mm(axis, at))));
    this.change();
  }

  point(pane, column, row) {
    const { geometry, slices } = pane.result;
    const k = this.#indexIn(geometry, pane.plane);
    const [columns, rows] = [geometry.columns(pane.plane), geometry.rows(pane.plane)];
    const values = slices.get(pane.plane, k);
    const inside = values && column >= 0 && row >= 0 && column < columns && row < rows;
    const voxel = geometry.voxel(pane.plane, k, column, row);
    const mm = voxel.map((at, axis) => geometry.mm(axis, at).toFixed(1));
    const hu = inside ? values[Math.floor(row) * columns + Math.floor(column)] : null;
    this.controls.under(inside ? `x ${mm[2]}  y ${mm[1]}  z ${mm[0]} mm   ${hu} HU` : "");
  }

  enlarge(pane) {
    this.setPlane(pane.plane);
  }

  // --- drawing -----------------------------------------------------------------------------------------------------

  say(sentence, grave = false) {
    this.controls.say(sentence, grave);
  }

  fail(error) {
    this.root.dataset.failed = "true";
    this.say(error instanceof NotShown ? sentence(error.message) : `The viewer failed: ${error.message}`, true);
  }

  change() {
    if (this.due || !this.panes.length) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.draw();
    });
  }

  draw() {
    this.root.dataset.slice = String(this.index + 1);
    this.root.dataset.plane = this.plane;
    let whole = true;
    for (const result of this.results) {
      const own = this.panes.filter((pane) => pane.result === result);
      result.slices.want(
        own.map((pane) => ({
          plane: pane.plane,
          k: this.#indexIn(result.geometry, pane.plane),
          direction: this.direction,
          wide: pane.plane === this.plane,
        })),
      );
    }
    for (const pane of this.panes) {
      const drawn = pane.draw(this.#indexIn(pane.result.geometry, pane.plane), this.state);
      if (pane.plane === this.plane) whole = whole && drawn;
    }
    this.root.dataset.shown = whole ? `${this.plane}:${this.index + 1}` : "";
    this.controls.show();
  }
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

for (const root of document.querySelectorAll("[data-viewer]")) {
  const viewer = new Viewer(root);
  listenToKeys(root, viewer);
  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-organ]");
    if (!row || event.target.closest("a, button, input, select, label")) return;
    const range = (row.dataset.slices || "").match(/^(\d+)-(\d+)$/);
    viewer.goToOrgan(row.dataset.organ, range && [Number(range[1]), Number(range[2])]);
    root.scrollIntoView({ block: "nearest" });
  });
  viewer.start();
}
