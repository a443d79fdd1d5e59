// Mouse, pen and fingers on a picture: what they mean, handed to whoever acts on it.

const CLICK_PIXELS = 4;
const WHEEL_PIXELS = 60;
const SLICE_PIXELS = 6;

/** `hands` has: tool(), scroll(pane, steps), shade(dx, dy), moved(), pick(pane, column, row), point(pane, column, row), enlarge(pane). */
export function listen(pane, hands) {
  const fingers = new Map();
  let deed = null;
  let far = 0;
  let rest = 0;
  const { box } = pane;

  box.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const [x, y] = inside(event);
      if (event.ctrlKey || event.metaKey) {
        pane.zoomAt(Math.exp(-event.deltaY / 300), x, y);
        hands.moved();
        return;
      }
      rest -= event.deltaMode === 1 ? event.deltaY * 20 : event.deltaY;
      const steps = Math.trunc(rest / WHEEL_PIXELS);
      rest -= steps * WHEEL_PIXELS;
      if (steps) hands.scroll(pane, steps);
    },
    { passive: false },
  );

  box.addEventListener("pointerdown", (event) => {
    if (event.button > 2) return;
    box.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, inside(event));
    deed = fingers.size > 1 ? "pinch" : meaning(event, hands.tool());
    far = 0;
    rest = 0;
  });

  box.addEventListener("pointermove", (event) => {
    const now = inside(event);
    const before = fingers.get(event.pointerId);
    if (!before) {
      hands.point(pane, ...pane.under(...now));
      return;
    }
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    far += Math.abs(dx) + Math.abs(dy);
    if (deed === "pinch") pinch(event.pointerId, now);
    fingers.set(event.pointerId, now);
    if (far <= CLICK_PIXELS) return;
    if (deed === "window") hands.shade(dx, dy);
    if (deed === "pan") pane.panBy(dx, dy);
    if (deed === "zoom") pane.zoomAt(Math.exp(-dy / 150), ...pane.size.map((side) => side / 2));
    if (deed === "pan" || deed === "zoom") hands.moved();
    if (deed === "scroll") {
      rest -= dy;
      const steps = Math.trunc(rest / SLICE_PIXELS);
      rest -= steps * SLICE_PIXELS;
      if (steps) hands.scroll(pane, steps);
    }
  });

  const release = (event) => {
    const at = fingers.get(event.pointerId);
    fingers.delete(event.pointerId);
    if (event.type === "pointerup" && at && far <= CLICK_PIXELS && event.button === 0 && !fingers.size) {
      hands.pick(pane, ...pane.under(...at));
    }
    if (!fingers.size) deed = null;
  };
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", release);
  box.addEventListener("dblclick", () => hands.enlarge(pane));
  box.addEventListener("contextmenu", (event) => event.preventDefault());

  function pinch(moved, now) {
    const others = [...fingers].filter(([id]) => id !== moved).map(([, at]) => at);
    if (!others.length) return;
    const [other, before] = [others[0], fingers.get(moved)];
    const [old, current] = [distance(before, other), distance(now, other)];
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    if (old > 10 && current > 10) pane.zoomAt(current / old, ...middle);
    pane.panBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    hands.moved();
  }

  function inside(event) {
    const rectangle = box.getBoundingClientRect();
    return [event.clientX - rectangle.left, event.clientY - rectangle.top];
  }
}

/** What a drag does: the right button always sets the window, the middle one or shift moves, ctrl zooms. */
function meaning(event, tool) {
  if (event.button === 2) return "window";
  if (event.button === 1 || event.shiftKey) return "pan";
  return event.ctrlKey || event.metaKey ? "zoom" : tool;
}

function distance(one, other) {
  return Math.hypot(one[0] - other[0], one[1] - other[1]);
}
