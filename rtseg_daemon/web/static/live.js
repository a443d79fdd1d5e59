// A page with [data-live] parts asks for itself anew when the server says that the ledger changed.
// Only parts that differ are replaced, so that focus, scrolling and what is being read stay.

const SLOW_MS = 10000; // where no stream can be had

export function keepLive() {
  if (!document.querySelector("[data-live]")) return;
  const sign = document.getElementById("live");
  let source = null, timer = 0, asking = false, again = false;

  const say = (text, away) => {
    sign.hidden = false;
    sign.classList.toggle("away", away);
    if (sign.textContent !== text) sign.textContent = text;
  };

  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (answer.redirected && new URL(answer.url).pathname === "/login") { say("logged out", true); stop(); return; }
      if (answer.status === 404) { location.reload(); return; }
      if (!answer.ok) { say(`not up to date: the server answers ${answer.status}`, true); return; }
      update(new DOMParser().parseFromString(await answer.text(), "text/html"));
      say("live", false);
    } catch {
      say("not up to date: the server does not answer", true);
    } finally {
      asking = false;
      if (again) { again = false; refresh(); }
    }
  };

  const poll = () => { timer ||= setInterval(refresh, SLOW_MS); };

  const start = () => {
    if (source || document.hidden) return;
    source = new EventSource("/live");
    source.addEventListener("open", () => { clearInterval(timer); timer = 0; say("live", false); refresh(); });
    source.addEventListener("change", refresh);
    source.addEventListener("error", () => {
      say("not up to date: connecting", true);
      if (source && source.readyState === EventSource.CLOSED) { source = null; poll(); }
    });
  };

  const stop = () => { source?.close(); source = null; clearInterval(timer); timer = 0; };

  // a browser keeps few connections to one server: pages that nobody looks at give theirs back
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  start();
}

function update(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = old.id && fresh.getElementById(old.id);
    if (!now || old.outerHTML === now.outerHTML) continue;
    if ((old.dataset.reload ?? "") !== (now.dataset.reload ?? "")) { location.reload(); return; }
    const focus = focusIn(old), open = openIn(old);
    old.replaceWith(now);
    for (const id of open) now.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
    if (focus) now.querySelector(focus)?.focus({ preventScroll: true });
  }
}

function focusIn(part) {
  const active = document.activeElement;
  if (!active || !part.contains(active)) return null;
  if (active.id) return `#${CSS.escape(active.id)}`;
  const href = active.getAttribute("href");
  return href ? `a[href="${CSS.escape(href)}"]` : null;
}

function openIn(part) {
  return [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
}
