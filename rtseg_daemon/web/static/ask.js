// Links with data-ask lead to a page with a question. Here it is asked in a dialog; the form is the page's own.

export function askHere() {
  document.addEventListener("click", async (event) => {
    const link = event.target.closest?.("a[data-ask]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const dialog = await dialogOf(link.href);
    if (!dialog) { location.assign(link.href); return; }
    document.body.append(dialog);
    dialog.addEventListener("close", () => { dialog.remove(); if (link.isConnected) link.focus(); });
    dialog.addEventListener("click", (inside) => {
      if (inside.target.closest("[data-close]")) { inside.preventDefault(); dialog.close(); }
    });
    dialog.querySelector("form").addEventListener("submit", once);
    dialog.showModal();
  });
  for (const form of document.querySelectorAll("form[data-ask-form]")) form.addEventListener("submit", once);
}

// a second click on the button sends nothing a second time
function once(event) {
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = "1";
}

async function dialogOf(address) {
  try {
    const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return null;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const asked = page.querySelector(".ask");
    if (!asked?.querySelector("form[data-ask-form]")) return null;
    const dialog = document.createElement("dialog");
    dialog.className = "ask";
    const title = asked.querySelector("h1");
    const heading = document.createElement("h2");
    heading.id = "ask-title";
    heading.append(...title.childNodes);
    title.replaceWith(heading);
    dialog.setAttribute("aria-labelledby", "ask-title");
    dialog.append(...asked.childNodes);
    return dialog;
  } catch {
    return null;
  }
}
