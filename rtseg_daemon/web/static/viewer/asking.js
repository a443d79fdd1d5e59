// Answers of the server: waits where it is busy, and says in its own words what cannot be shown.

const MOST_TRIES = 8;

export class NotShown extends Error {}

/** The answer to a GET. Throws NotShown with the server's sentence, or AbortError. */
export async function ask(path, signal) {
  for (let tries = 1; ; tries += 1) {
    let answer;
    try {
      answer = await fetch(path, { signal, headers: { accept: "application/json" }, credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new NotShown("the server does not answer; is the daemon running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 503 && tries < MOST_TRIES) {
      await pause(1000 * Number(answer.headers.get("retry-after") || 1), signal);
      continue;
    }
    throw new NotShown(await sentence(answer));
  }
}

async function sentence(answer) {
  if (answer.status === 401) return "your session has ended; load this page again to log in";
  try {
    return (await answer.json()).error || `the server answered ${answer.status}`;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}
