// A pointer that rests on a case's link, or presses it, tells the server to begin reading that case's images.
const REST_MS = 80;

export function readAhead() {
  const told = new Set();
  let timer = 0;
  const caseOf = (target) => {
    const link = target instanceof Element && target.closest("a[href]");
    return link && /^\/cases\/\d+$/.test(link.pathname) ? link.pathname : "";
  };
  const tell = (path) => {
    if (!path || told.has(path)) return;
    told.add(path);
    fetch(`${path}/ahead`).catch(() => told.delete(path));
  };
  document.addEventListener("pointerover", (event) => {
    clearTimeout(timer);
    const path = caseOf(event.target);
    if (path) timer = setTimeout(tell, REST_MS, path);
  });
  document.addEventListener("pointerdown", (event) => tell(caseOf(event.target)));
  document.addEventListener("focusin", (event) => tell(caseOf(event.target)));
}
