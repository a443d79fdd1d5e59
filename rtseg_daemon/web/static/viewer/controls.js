// Everything around the pictures: buttons, organs, the slider with its strip of doubt, and what is said.

import { AXIS } from "./planes.js";
import { HOTTEST, PRESETS, heatColour } from "./shades.js";

const QUIET_MS = 350;

export class Controls {
  constructor(root, viewer) {
    this.root = root;
    this.viewer = viewer;
    this.find = (name) => root.querySelector(`[data-part="${name}"]`);
    this.pictures = this.find("pictures");
    this.slider = root.querySelector("[data-slider]");
    this.strip = this.find("strip");
    this.timer = 0;
    this.filled = false;
    this.tool = "scroll";
    this.#listen();
    this.#legend();
  }

  #listen() {
    const { viewer, root } = this;
    this.slider.addEventListener("input", () => viewer.goTo(Number(this.slider.value) - 1));
    this.find("heat").addEventListener("input", (event) => this.setHeat(Number(event.target.value) / 100));
    this.find("map").addEventListener("change", (event) => viewer.chooseMap(event.target.value));
    this.find("beside").addEventListener("change", (event) => {
      const place = new URL(location.href);
      place.searchParams.delete("beside");
      if (event.target.value) place.searchParams.set("beside", event.target.value);
      location.assign(place);
    });
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.toPlane) viewer.setPlane(button.dataset.toPlane);
      if (button.dataset.preset) viewer.preset(button.dataset.preset);
      if (button.dataset.doubtful) viewer.stepDoubtful(Number(button.dataset.doubtful));
      if (button.dataset.roi) viewer.goToOrgan(button.dataset.roi);
      if (button.dataset.tool) this.#use(button.dataset.tool);
      if (button.dataset.all) this.#all(button.dataset.all === "show");
      if (button.dataset.fit) viewer.fit(button.dataset.fit === "whole");
    });
  }

  #use(tool) {
    this.tool = tool;
    for (const one of this.root.querySelectorAll("[data-tool]")) one.setAttribute("aria-pressed", one.dataset.tool === tool);
  }

  #all(shown) {
    for (const box of this.find("organs").querySelectorAll("input")) {
      box.checked = shown;
      this.viewer.toggleOrgan(box.value, shown);
    }
  }

  setHeat(opacity) {
    this.viewer.state.heat = opacity;
    this.find("heat").value = Math.round(opacity * 100);
    this.viewer.change();
  }

  /** The colours of the heat map, from certain to the most doubtful. */
  #legend() {
    const canvas = this.find("scale");
    const context = canvas.getContext("2d");
    for (let column = 0; column < canvas.width; column += 1) {
      context.fillStyle = `rgb(${heatColour(column / (canvas.width - 1)).join(" ")})`;
      context.fillRect(column, 0, 1, canvas.height);
    }
    this.find("hottest").textContent = `${HOTTEST} nats`;
  }

  /** What the case has: organs, maps, and results to lay beside it. */
  fill(result, beside) {
    const twins = beside ? beside.organs.filter((one) => !result.organs.some((own) => own.name === one.name)) : [];
    this.find("organs").replaceChildren(...[...result.organs, ...twins].map((organ) => this.#row(organ)));
    this.root.classList.toggle("viewer-without-heat", !result.maps.length);
    this.find("map").replaceChildren(...result.maps.map((map) => new Option(map.name, map.name)));
    this.find("map-choice").hidden = result.maps.length < 2;
    const others = result.said.others.map((one) => {
      const option = new Option(`job ${one.job}: ${one.bundle}, run ${one.run}`, one.job);
      option.selected = Boolean(beside) && one.job === beside.job;
      return option;
    });
    this.find("beside").replaceChildren(new Option("nothing", ""), ...others);
    this.find("beside-choice").hidden = !others.length;
    const doubtful = this.viewer.doubtful().length;
    for (const button of this.root.querySelectorAll("[data-doubtful]")) button.disabled = !doubtful;
    this.filled = true;
  }

  #row(organ) {
    const row = document.createElement("li");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = organ.drawn;
    box.disabled = !organ.drawn;
    box.value = organ.name;
    box.setAttribute("aria-label", `show ${organ.name}`);
    box.addEventListener("change", () => this.viewer.toggleOrgan(organ.name, box.checked));
    const colour = document.createElement("span");
    colour.className = "viewer-colour";
    colour.style.backgroundColor = organ.colour;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.roi = organ.name;
    button.textContent = organ.name;
    button.title = organ.says;
    const flag = document.createElement("span");
    flag.className = "viewer-flag";
    flag.dataset.is = organ.flag;
    flag.textContent = organ.drawn ? organ.flag : `${organ.flag} no contours`.trim();
    row.append(box, colour, button, flag);
    return row;
  }

  /** Which organ was gone to. */
  mark(name) {
    for (const button of this.root.querySelectorAll("[data-roi]")) {
      if (button.tagName === "BUTTON") button.toggleAttribute("aria-current", button.dataset.roi === name);
    }
  }

  say(sentence, grave = false) {
    const box = this.find(grave ? "trouble" : "message");
    box.textContent = sentence;
    box.hidden = !sentence;
  }

  under(text) {
    this.find("under").textContent = text;
  }

  /** The controls follow what is shown. */
  show() {
    const { viewer, root } = this;
    const { geometry } = viewer.base;
    const count = geometry.count(viewer.plane);
    this.slider.max = count;
    this.slider.value = viewer.index + 1;
    const mm = geometry.mm(AXIS[viewer.plane], viewer.index).toFixed(1);
    this.slider.setAttribute("aria-valuetext", `${viewer.plane} slice ${viewer.index + 1} of ${count}, ${mm} mm`);
    for (const one of root.querySelectorAll("[data-to-plane]")) {
      one.setAttribute("aria-pressed", one.dataset.toPlane === viewer.plane);
    }
    for (const one of root.querySelectorAll("[data-preset]")) {
      const { level, width } = PRESETS[one.dataset.preset];
      one.setAttribute("aria-pressed", level === viewer.state.window.level && width === viewer.state.window.width);
    }
    this.#drawStrip(count);
    if (this.filled) root.dataset.ready = "true";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#tell(count, mm), QUIET_MS);
  }

  /** Where along the axial slices the shown organs' members disagree, and where the view is. */
  #drawStrip(count) {
    const { viewer } = this;
    const [wide, high] = [this.strip.clientWidth, this.strip.clientHeight];
    if (this.strip.width !== wide) this.strip.width = wide;
    if (this.strip.height !== high) this.strip.height = high;
    const context = this.strip.getContext("2d");
    context.clearRect(0, 0, wide, high);
    if (viewer.plane !== "axial") return;
    const worst = new Map();
    for (const organ of viewer.base.organs) {
      if (viewer.state.hidden.has(organ.name)) continue;
      for (const [k, mean] of organ.doubts) worst.set(k, Math.max(worst.get(k) || 0, mean));
    }
    const step = wide / count;
    for (const [k, mean] of worst) {
      context.fillStyle = `rgb(${heatColour(mean / HOTTEST).join(" ")})`;
      context.fillRect(k * step, 0, Math.ceil(step), high - 4);
    }
    context.fillStyle = getComputedStyle(this.strip).color;
    for (const k of viewer.doubtful()) context.fillRect(k * step, high - 3, Math.ceil(step), 3);
    context.fillRect(viewer.index * step + step / 2 - 1, 0, 2, high);
  }

  #tell(count, mm) {
    const { viewer } = this;
    const shown = viewer.base.organs.filter((one) => viewer.plane === "axial" && one.on(viewer.index));
    const names = shown.map((one) => (one.flag && one.flag !== "OK" ? `${one.name} (${one.flag})` : one.name));
    const organs = viewer.plane === "axial" ? ` Organs here: ${names.join(", ") || "none"}.` : "";
    this.find("live").textContent = `${viewer.plane} slice ${viewer.index + 1} of ${count} at ${mm} mm.${organs}`;
  }
}
