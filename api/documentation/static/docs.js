"use strict";
function unfold(id) {
  const target = id && document.getElementById(id);
  if (target instanceof HTMLDetailsElement) target.open = true;
}
unfold(location.hash.slice(1));
addEventListener("hashchange", () => unfold(location.hash.slice(1)));
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [path, body, shown] = [form.querySelector("input"), form.querySelector("textarea"), form.querySelector("pre")];
    const headers = {};
    const key = document.getElementById("key").value.trim();
    if (key) headers["Authorization"] = "Bearer " + key;
    if (form.dataset.key === "yes") headers["Idempotency-Key"] = crypto.randomUUID?.() ?? String(Math.random());
    if (body) headers["Content-Type"] = "application/json";
    shown.hidden = false;
    shown.textContent = "…";
    try {
      const target = new URL(path.value, location.origin);
      if (target.origin !== location.origin) throw new Error("this page only calls its own server");
      const answer = await fetch(target, { method: form.dataset.method, headers, body: body?.value });
      const text = await answer.text();
      let pretty = text;
      try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      shown.textContent = answer.status + " " + answer.statusText + "\n\n" + pretty;
    } catch (error) {
      shown.textContent = String(error);
    }
  });
}
