// The viewer's keys, while it or something in it has the focus.

const WRITES = "input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea";

/** Key -> deed of `viewer`. */
const DEEDS = {
  ArrowUp: (viewer) => viewer.step(1),
  ArrowDown: (viewer) => viewer.step(-1),
  PageUp: (viewer) => viewer.step(10),
  PageDown: (viewer) => viewer.step(-10),
  Home: (viewer) => viewer.step(-Infinity),
  End: (viewer) => viewer.step(Infinity),
  n: (viewer) => viewer.stepDoubtful(1),
  p: (viewer) => viewer.stepDoubtful(-1),
  1: (viewer) => viewer.preset("soft tissue"),
  2: (viewer) => viewer.preset("bone"),
  3: (viewer) => viewer.preset("lung"),
  4: (viewer) => viewer.preset("brain"),
  a: (viewer) => viewer.setPlane("axial"),
  c: (viewer) => viewer.setPlane("coronal"),
  s: (viewer) => viewer.setPlane("sagittal"),
  h: (viewer) => viewer.toggleHeat(),
  o: (viewer) => viewer.toggleContours(),
  x: (viewer) => viewer.toggleCross(),
  "+": (viewer) => viewer.zoom(1.25),
  "-": (viewer) => viewer.zoom(0.8),
  0: (viewer) => viewer.fit(true),
  f: (viewer) => viewer.fit(),
};

export function listenToKeys(root, viewer) {
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches(WRITES)) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const deed = DEEDS[name];
    if (!deed || (event.target.matches("input[type=radio]") && name.startsWith("Arrow"))) return;
    if (event.target.matches("input[type=range]") && !event.target.matches("[data-slider]") && name.length > 1) return;
    event.preventDefault();
    deed(viewer);
  });
}
