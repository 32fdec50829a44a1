"use strict";
// Each two seconds: the same page again, of which the parts marked data-live take the place of the old ones.
(() => {
  const EVERY_MS = 2000;
  const PATIENCE_MS = 10000;
  const note = document.getElementById("refreshed");
  const lost = document.getElementById("lost");
  let shown = note.textContent;
  let began = 0;

  // Once the console is gone, anybody may have its port: nothing is asked there any more.
  function gone() {
    clearInterval(timer);
    lost.textContent = "The console has ended, is open elsewhere, or cannot be reached. What is below is old and stays " +
      "as it is. Reload this page, or start the console again: penstock-agent console";
    lost.hidden = false;
  }

  function alike(one, other) {
    return one.textContent === other.textContent &&
      ["href", "aria-label"].every((name) => one.getAttribute(name) === other.getAttribute(name));
  }

  // Whoever is at a link or a button stays there.
  function focus(used, old, fresh) {
    const place = used === old ? fresh : [...fresh.querySelectorAll(used.tagName)].find((each) => alike(each, used));
    (place || fresh).focus({ preventScroll: true });
  }

  // False where somebody is about to press something, or to copy it.
  function replaced(old, fresh) {
    if (fresh.innerHTML === old.innerHTML) return true;
    const chosen = getSelection();
    if (old.matches(":active") || (!chosen.isCollapsed && old.contains(chosen.anchorNode))) return false;
    const used = old.contains(document.activeElement) ? document.activeElement : null;
    const aside = old.scrollLeft;
    old.replaceWith(document.adoptNode(fresh));
    fresh.scrollLeft = aside;
    if (used) focus(used, old, fresh);
    return true;
  }

  async function refresh() {
    if (document.hidden) return;
    if (began) {
      const waited = Date.now() - began;
      if (waited > PATIENCE_MS) note.textContent = `${shown}: nothing new for ${Math.round(waited / 1000)} s`;
      return;
    }
    began = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, cache: "no-store", redirect: "error" });
      if (answer.status === 403) return gone();
      if (!answer.ok) throw new RangeError(String(answer.status));
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      const all = [...document.querySelectorAll("[data-live]")].map((old) => {
        const fresh = found.getElementById(old.id);
        return Boolean(fresh) && replaced(old, fresh);
      });
      const said = found.getElementById("refreshed");
      if (said) shown = said.textContent;
      note.textContent = shown + (all.every(Boolean) ? "" : "; what you have selected is older");
    } catch (error) {
      if (!(error instanceof RangeError)) return gone();
      note.textContent = `${shown}: it could not be refreshed (${error.message})`;
    } finally {
      began = 0;
    }
  }
  const timer = setInterval(refresh, EVERY_MS);
})();
