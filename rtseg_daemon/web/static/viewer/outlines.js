// Contours of the delivered file as outlines in a picture: its own points in axial slices, what they enclose in others.

export class Organ {
  constructor(roi, geometry) {
    this.name = roi.name;
    this.number = roi.number;
    this.flag = roi.flag;
    this.says = roi.says;
    this.fault = roi.fault;
    this.slices = roi.slices;
    this.colour = `rgb(${roi.colour.join(" ")})`;
    this.doubts = new Map(roi.doubts.map(([z, mean]) => [geometry.sliceAt(z), mean]));
    this.planes = new Map();
    for (const { z, points } of roi.contours) {
      const k = geometry.sliceAt(z);
      if (k < 0) continue;
      if (!this.planes.has(k)) this.planes.set(k, []);
      this.planes.get(k).push(points);
    }
  }

  get drawn() {
    return this.planes.size > 0;
  }

  on(k) {
    return this.planes.has(k);
  }

  /** Index of the slice where the members disagree most, within `slices=` if the file says so; -1 without contours. */
  worst() {
    const [low, high] = this.slices || [1, Infinity];
    let best = -1;
    for (const [k, mean] of this.doubts) {
      if (k >= low - 1 && k <= high - 1 && (best < 0 || mean > this.doubts.get(best))) best = k;
    }
    if (best >= 0) return best;
    if (this.slices) return Math.floor((low + high) / 2) - 1;
    const drawn = [...this.planes.keys()].sort((a, b) => a - b);
    return drawn.length ? drawn[Math.floor(drawn.length / 2)] : -1;
  }

  /** Lowest and highest patient mm along z, y and x of all contours, or null. Worked out once. */
  ends(geometry) {
    if (this.box === undefined) {
      const [x, y] = [[Infinity, -Infinity], [Infinity, -Infinity]];
      for (const points of [...this.planes.values()].flat()) {
        for (let at = 0; at < points.length; at += 2) {
          widen(x, points[at]);
          widen(y, points[at + 1]);
        }
      }
      const slices = [...this.planes.keys()];
      const z = [Math.min(...slices), Math.max(...slices)].map((k) => geometry.mm(0, k));
      this.box = slices.length ? [z, y, x] : null;
    }
    return this.box;
  }

  /** Middle of the largest contour of a slice in mm (x, y), or null. */
  centre(k) {
    const contours = this.planes.get(k);
    if (!contours) return null;
    const points = contours.reduce((a, b) => (b.length > a.length ? b : a));
    const [x, y] = [[Infinity, -Infinity], [Infinity, -Infinity]];
    for (let at = 0; at < points.length; at += 2) {
      widen(x, points[at]);
      widen(y, points[at + 1]);
    }
    return [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
  }

  /** Path data of the outline in a picture of slice k, empty where the organ is not in it. */
  path(geometry, plane, k) {
    return plane === "axial" ? this.#own(geometry, k) : this.#across(geometry, plane, k);
  }

  #own(geometry, k) {
    return (this.planes.get(k) || [])
      .map((points) => {
        const parts = [];
        for (let at = 0; at < points.length; at += 2) {
          const column = geometry.column("axial", points[at]);
          const row = geometry.row("axial", points[at + 1]);
          parts.push(`${column.toFixed(3)} ${row.toFixed(3)}`);
        }
        return `M${parts.join("L")}Z`;
      })
      .join("");
  }

  /** The organ as the plane cuts it: each slice is as thick as its distance, and its contours are crossed there. */
  #across(geometry, plane, k) {
    const [across, along] = plane === "coronal" ? [1, 0] : [0, 1];
    const at = geometry.mm(plane === "coronal" ? 1 : 2, k) + 1e-6;
    const spans = new Map();
    for (const [slice, contours] of this.planes) {
      const crossings = contours.flatMap((points) => crossed(points, across, along, at)).sort((a, b) => a - b);
      if (crossings.length) spans.set(slice, crossings);
    }
    const parts = [];
    for (const [slice, ends] of spans) {
      const top = geometry.shape[0] - slice - 1;
      for (const end of ends) {
        const column = geometry.column(plane, end).toFixed(3);
        parts.push(`M${column} ${top}V${top + 1}`);
      }
      parts.push(level(geometry, plane, ends, spans.get(slice + 1) || [], top));
      if (!spans.has(slice - 1)) parts.push(level(geometry, plane, ends, [], top + 1));
    }
    return parts.join("");
  }
}

function widen(ends, value) {
  ends[0] = Math.min(ends[0], value);
  ends[1] = Math.max(ends[1], value);
}

/** Where a closed line crosses `at` along one coordinate: the values of the other one there. */
function crossed(points, across, along, at) {
  const found = [];
  const last = points.length - 2;
  let [before, beside] = [points[last + across], points[last + along]];
  for (let n = 0; n < points.length; n += 2) {
    const [now, value] = [points[n + across], points[n + along]];
    if (before < at !== now < at) found.push(beside + ((at - before) / (now - before)) * (value - beside));
    [before, beside] = [now, value];
  }
  return found;
}

/** Lines along what only one of two neighbouring slices covers. */
function level(geometry, plane, ends, others, row) {
  const steps = [...ends, ...others].sort((a, b) => a - b);
  let path = "";
  for (let n = 0; n + 1 < steps.length; n += 1) {
    const middle = (steps[n] + steps[n + 1]) / 2;
    if (covers(ends, middle) !== covers(others, middle)) {
      const [from, to] = [geometry.column(plane, steps[n]), geometry.column(plane, steps[n + 1])];
      path += `M${from.toFixed(3)} ${row}H${to.toFixed(3)}`;
    }
  }
  return path;
}

function covers(ends, value) {
  return ends.filter((end) => end < value).length % 2 === 1;
}
